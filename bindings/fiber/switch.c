/* switch.c - a fiber starts, suspends, goes on and ends. fiber.h is the contract.
 *
 *   fiber_enter:  resumer -> RUNNING fiber -> back here when it suspends or ends
 *
 * Invariants  the thread state is exchanged on the resumer's side alone, once before and once after
 *             the switch; an exception on its way in or out stays in the thread state meanwhile.
 * Talks to    interpreter.h, thread.c, stack_pool.c, holdfast/fiber.h.   Called by fiber.c.
 * Threads     the GIL is held; only the thread that started a fiber switches to it. */
#include "fiber.h"

/* The first chunk of the data stack: together with the first C frames it starts in the middle of a
 * page, so that a shallow fiber touches one page. */
#define CHUNK_SIZE    ((size_t)14 << 10)
#define ARGS_ON_STACK 15

const char *fiber_name(fiber *self) {
    const char *name = self->name != NULL ? PyUnicode_AsUTF8(self->name) : NULL;
    if (name == NULL) PyErr_Clear();
    return name != NULL ? name : "?";
}

/* First function on a fiber's stack. */
static void fiber_main(void *argument, void *value) {
    (void)value;
    fiber *self = argument;
    const Py_ssize_t keyword_count = self->keywords != NULL ? PyTuple_GET_SIZE(self->keywords) : 0;
    const Py_ssize_t total = self->arg_count + keyword_count;
    PyObject *keywords = Py_XNewRef(self->keywords);
    /* The resumer's array is gone when it goes on. One slot before is lent to the callee. */
    PyObject *few[ARGS_ON_STACK + 1], *result = NULL;
    PyObject **args = total <= ARGS_ON_STACK ? few : PyMem_New(PyObject *, (size_t)total + 1);
    if (args != NULL) {
        args[0] = NULL;
        for (Py_ssize_t i = 0; i < total; i++)
            args[i + 1] = Py_NewRef(self->args[i]);
        self->args = args + 1; /* for the collector */
        self->held_count = total;
        const size_t count = (size_t)self->arg_count | PY_VECTORCALL_ARGUMENTS_OFFSET;
        result = PyObject_Vectorcall(self->function, args + 1, count, keywords);
        self->held_count = 0;
        for (Py_ssize_t i = 0; i < total; i++)
            Py_DECREF(args[i + 1]);
        if (args != few) PyMem_Free(args);
    } else {
        PyErr_NoMemory();
    }
    Py_XDECREF(keywords);
    self->value = result;
    self->state = FIBER_FINISHED;
    hf_context_switch_float(&self->inside, &self->outside, NULL);
    Py_FatalError("holdfast: a finished fiber was resumed");
}

static void fiber_end(fiber *self) {
    fiber_unlink(self);
    if (!interpreter_is_at_start(&self->base, &self->interpreter))
        Py_FatalError("holdfast: a fiber left something on the data stack");
    const hf_status status = hf_stack_give(self->pool->pool, &self->stack);
    if (status != HF_OK) Py_FatalError("holdfast: the stack of a fiber is not its pool's");
    fiber_thread_release(self->thread);
    self->thread = NULL;
    PyObject *context, *handled, *function = self->function;
    interpreter_finish(&self->base, &self->interpreter, &context, &handled);
    self->function = NULL;
    /* Last: these may run anything. */
    Py_XDECREF(handled);
    Py_XDECREF(context);
    Py_XDECREF(function);
}

/* To the fiber and back. */
static PyObject *fiber_enter(fiber *self, fiber_thread *thread, PyThreadState *tstate) {
    fiber *resumer = thread->current;
    self->resumer = resumer;
    if (resumer != NULL) resumer->state = FIBER_WAITING;
    self->state = FIBER_RUNNING;
    thread->current = self;
    const int nesting = thread->nesting;
    thread->nesting = nesting + 1 + self->nesting;
    Py_INCREF(self);
    interpreter_enter(tstate, &self->base, &self->interpreter);

    hf_context_switch_float(&self->outside, &self->inside, NULL);

    interpreter_leave(tstate, &self->base, &self->interpreter);
    self->nesting = thread->nesting - nesting - 1;
    thread->nesting = nesting;
    thread->current = resumer;
    if (resumer != NULL) resumer->state = FIBER_RUNNING;
    self->resumer = NULL;
    PyObject *value = self->value;
    self->value = NULL;
    if (self->state == FIBER_FINISHED) {
        if (value == NULL) { /* what fiber_end sets free must not see the exception */
            PyObject *kind, *error, *traceback;
            PyErr_Fetch(&kind, &error, &traceback);
            fiber_end(self);
            PyErr_Restore(kind, error, traceback);
        } else {
            fiber_end(self);
        }
    }
    Py_DECREF(self);
    return value;
}

static PyObject *refuse(fiber *self, const char *verb) {
    switch (self->state) {
    case FIBER_FINISHED:
        return fiber_raise(HF_E_CLOSED, "fiber '%s' is finished: it cannot be %s", fiber_name(self),
                           verb);
    case FIBER_LOST:
        return fiber_raise(HF_E_CLOSED,
                           "fiber '%s' is lost: its thread has ended or was not taken along by "
                           "fork, or it would not end; it cannot be %s",
                           fiber_name(self), verb);
    default:
        return fiber_raise(HF_E_INVALID, "fiber '%s' is %s: it cannot be %s", fiber_name(self),
                           fiber_state_names[self->state], verb);
    }
}

static int check_nesting(fiber_thread *thread) {
    if (thread->nesting < Py_GetRecursionLimit()) return 0;
    PyErr_SetString(PyExc_RecursionError,
                    "maximum recursion depth exceeded: fibers that resume fibers");
    return -1;
}

PyObject *fiber_start(fiber *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    PyThreadState *tstate = PyThreadState_Get();
    fiber_thread *thread = fiber_thread_get(tstate);
    if (thread == NULL || check_nesting(thread) < 0) return NULL;
    if (thread->doomed != NULL) fiber_thread_drain(thread);
    if (self->state != FIBER_NEW) return refuse(self, "started");
    if (stack_pool_take(self->pool, &self->stack, "", self->name, self->function) < 0) return NULL;

    char *start = (char *)self->stack.stack_ptr - CHUNK_SIZE;
    interpreter_start(tstate, &self->base, &self->interpreter, fiber_base_code, self->context,
                      start, CHUNK_SIZE, self->pool->levels);
    self->context = NULL;
    hf_context_make(&self->inside, start, fiber_main, self, 1);
    self->args = args;
    self->arg_count = count;
    self->held_count = 0;
    self->keywords = keywords;
    self->thread = thread;
    thread->users++;
    fiber_link(&thread->live, self);
    return fiber_enter(self, thread, tstate);
}

/* The calling thread's record if the fiber may go on here. */
static fiber_thread *check_resumable(fiber *self, PyThreadState *tstate, const char *verb) {
    fiber_thread *thread = fiber_thread_get(tstate);
    if (thread == NULL) return NULL;
    if (thread->doomed != NULL) fiber_thread_drain(thread);
    if (self->state != FIBER_SUSPENDED) {
        refuse(self, verb);
        return NULL;
    }
    if (self->thread != thread) {
        fiber_raise(HF_E_INVALID,
                    "fiber '%s' belongs to thread %lu, which started it: it cannot be %s by thread "
                    "%lu",
                    fiber_name(self), self->thread->ident, verb, thread->ident);
        return NULL;
    }
    return check_nesting(thread) < 0 ? NULL : thread;
}

PyObject *fiber_resume(fiber *self, PyObject *value) {
    PyThreadState *tstate = PyThreadState_Get();
    fiber_thread *thread = check_resumable(self, tstate, "resumed");
    if (thread == NULL) return NULL;
    self->value = Py_NewRef(value);
    return fiber_enter(self, thread, tstate);
}

/* As `raise` in the fiber does it: what is being handled there is the context of what is raised. */
static void chain_exception(void) {
    PyObject *handled = PyErr_GetHandledException();
    if (handled == NULL) return;
    PyObject *kind, *error, *traceback;
    PyErr_Fetch(&kind, &error, &traceback);
    PyErr_NormalizeException(&kind, &error, &traceback);
    PyObject *context = error != NULL ? PyException_GetContext(error) : NULL;
    if (error != NULL && error != handled && context == NULL)
        PyException_SetContext(error, Py_NewRef(handled));
    Py_XDECREF(context);
    PyErr_Restore(kind, error, traceback);
    Py_DECREF(handled);
}

PyObject *fiber_suspend(PyObject *value) {
    fiber_thread *thread = fiber_thread_here;
    fiber *self = thread != NULL && thread->tstate == PyThreadState_Get() ? thread->current : NULL;
    if (self == NULL) {
        return fiber_raise(HF_E_INVALID, "suspend() was called outside of any fiber");
    }
    self->value = Py_NewRef(value);
    self->state = FIBER_SUSPENDED;
    hf_context_switch_float(&self->inside, &self->outside, NULL);
    PyObject *given = self->value;
    self->value = NULL;
    if (given == NULL) chain_exception();
    return given;
}

PyObject *fiber_throw(fiber *self) {
    PyObject *kind, *error, *traceback;
    PyErr_Fetch(&kind, &error, &traceback);
    PyThreadState *tstate = PyThreadState_Get();
    PyObject *result = NULL;
    if (self->state == FIBER_NEW) { /* as if it had raised at its first line */
        self->state = FIBER_FINISHED;
        Py_CLEAR(self->function);
        Py_CLEAR(self->context);
        PyErr_Restore(kind, error, traceback);
        return NULL;
    }
    fiber_thread *thread = check_resumable(self, tstate, "thrown into");
    if (thread != NULL) {
        self->value = NULL;
        PyErr_Restore(kind, error, traceback);
        return fiber_enter(self, thread, tstate);
    }
    Py_XDECREF(kind);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    return result;
}

PyObject *fiber_close(fiber *self) {
    if (self->state == FIBER_FINISHED) Py_RETURN_NONE;
    PyErr_SetNone(PyExc_GeneratorExit);
    PyObject *result = fiber_throw(self);
    if (result == NULL) {
        if (self->state != FIBER_FINISHED || !PyErr_ExceptionMatches(PyExc_GeneratorExit))
            return NULL;
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    if (self->state == FIBER_FINISHED) return result;
    Py_DECREF(result);
    PyErr_Format(PyExc_RuntimeError, "fiber '%s' ignored GeneratorExit", fiber_name(self));
    return NULL;
}
