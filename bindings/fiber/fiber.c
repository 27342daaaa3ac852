/* fiber.c - the Python type Fiber, and suspend().
 *
 * Invariants  a suspended fiber is closed before its record is freed: by the finalizer, on its thread.
 *             The collector sees what the frames of a suspended fiber own (interpreter_traverse).
 * Talks to    switch.c, stack_pool.c, thread.c.   Called by module.c.
 * Threads     the GIL is held.
 * Fails with  InvalidArgumentError, OutOfMemoryError, UnsupportedError. */
#include "fiber.h"

#include <structmember.h>

#include "docs.h"

PyTypeObject *fiber_type;

static PyObject *fiber_make(PyObject *function, PyObject *stack_size, PyObject *name,
                            PyObject *pool_given, PyObject *context) {
    if (fiber_check_supported() < 0) return NULL;
    if (!PyCallable_Check(function))
        return PyErr_Format(PyExc_TypeError, "function: %R is not callable", function);
    if (name != NULL && name != Py_None && !PyUnicode_Check(name))
        return PyErr_Format(PyExc_TypeError, "name: %R is not a str", name);
    if (context != NULL && context != Py_None && !PyContext_CheckExact(context))
        return PyErr_Format(PyExc_TypeError, "context: %R is not a contextvars.Context", context);
    stack_pool *pool;
    if (pool_given != NULL && pool_given != Py_None) {
        if (!PyObject_TypeCheck(pool_given, stack_pool_type))
            return PyErr_Format(PyExc_TypeError, "pool: %R is not a StackPool", pool_given);
        if (stack_size != NULL && stack_size != Py_None)
            return fiber_raise(HF_E_CONFLICT, "stack_size: the pool has one already");
        pool = (stack_pool *)pool_given;
        if (pool->stack_size < FIBER_STACK_SIZE_MIN)
            return fiber_raise(HF_E_INVALID,
                               "pool: stacks of %zu bytes are too small for Python; "
                               "128 KiB is the least",
                               pool->stack_size);
    } else {
        pool = stack_pool_of_argument(stack_size != Py_None ? stack_size : NULL);
        if (pool == NULL) return NULL;
    }
    fiber *self = PyObject_GC_New(fiber, fiber_type);
    if (self == NULL) return NULL;
    memset(&self->inside, 0, sizeof *self - offsetof(fiber, inside));
    self->function = Py_NewRef(function);
    self->pool = (stack_pool *)Py_NewRef(pool);
    if (name != NULL && name != Py_None) self->name = Py_NewRef(name);
    if (context != NULL && context != Py_None) {
        self->context = Py_NewRef(context);
    } else if (interpreter_has_context(PyThreadState_Get())) {
        self->context = PyContext_CopyCurrent();
        if (self->context == NULL) {
            Py_DECREF(self);
            return NULL;
        }
    }
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* Fiber(function, *, stack_size=None, name=None, pool=None, context=None) */
static PyObject *fiber_vectorcall(PyObject *type, PyObject *const *args, size_t flags,
                                  PyObject *keywords) {
    (void)type;
    static const char *const names[] = {"function", "stack_size", "name", "pool", "context"};
    PyObject *given[5] = {NULL};
    const Py_ssize_t count = PyVectorcall_NARGS(flags);
    if (count > 1)
        return PyErr_Format(PyExc_TypeError,
                            "Fiber() takes 1 positional argument but %zd were given", count);
    if (count == 1) given[0] = args[0];
    const Py_ssize_t keyword_count = keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0;
    for (Py_ssize_t i = 0; i < keyword_count; i++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, i);
        size_t at = 0;
        while (at < 5 && PyUnicode_CompareWithASCIIString(keyword, names[at]) != 0)
            at++;
        if (at == 5)
            return PyErr_Format(PyExc_TypeError, "Fiber() got an unexpected keyword argument %R",
                                keyword);
        if (given[at] != NULL)
            return PyErr_Format(PyExc_TypeError, "Fiber() got multiple values for argument %R",
                                keyword);
        given[at] = args[count + i];
    }
    if (given[0] == NULL)
        return PyErr_Format(PyExc_TypeError, "Fiber() missing the argument 'function'");
    return fiber_make(given[0], given[1], given[2], given[3], given[4]);
}

static void fiber_finalize(PyObject *object) {
    fiber *self = (fiber *)object;
    if (self->state == FIBER_SUSPENDED) fiber_discard(self);
}

static int fiber_traverse(PyObject *object, visitproc visit, void *arg) {
    fiber *self = (fiber *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->function);
    Py_VISIT(self->context);
    Py_VISIT(self->value);
    if (self->state != FIBER_SUSPENDED) return 0;
    for (Py_ssize_t i = 0; i < self->held_count; i++)
        Py_VISIT(self->args[i]);
    return interpreter_traverse(&self->base, &self->interpreter, visit, arg);
}

static int fiber_clear(PyObject *object) {
    fiber *self = (fiber *)object;
    if (self->state == FIBER_NEW || self->state == FIBER_FINISHED) {
        Py_CLEAR(self->function);
        Py_CLEAR(self->context);
        if (self->state == FIBER_NEW) self->state = FIBER_FINISHED;
    }
    return 0;
}

static void fiber_dealloc(PyObject *object) {
    fiber *self = (fiber *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->state == FIBER_SUSPENDED && PyObject_CallFinalizerFromDealloc(object) < 0) return;
    PyObject_GC_UnTrack(object);
    if (self->weak != NULL) PyObject_ClearWeakRefs(object);
    fiber_clear(object);
    Py_XDECREF(self->name);
    Py_XDECREF(self->pool);
    PyObject_GC_Del(object);
    Py_DECREF(type);
}

static PyObject *method_resume(PyObject *object, PyObject *const *args, Py_ssize_t count,
                               PyObject *keywords) {
    fiber *self = (fiber *)object;
    if (self->state == FIBER_NEW) return fiber_start(self, args, count, keywords);
    if (count > 1 || keywords != NULL)
        return PyErr_Format(PyExc_TypeError,
                            "resume() takes at most one value once the fiber has started");
    return fiber_resume(self, count ? args[0] : Py_None);
}

/* The exception that throw() was given, raised but for its traceback. */
static int set_exception(PyObject *error) {
    if (PyExceptionInstance_Check(error)) {
        PyErr_Restore(Py_NewRef(Py_TYPE(error)), Py_NewRef(error), PyException_GetTraceback(error));
        return 0;
    }
    if (!PyExceptionClass_Check(error)) {
        PyErr_Format(PyExc_TypeError, "throw: %R is neither an exception nor a class of them",
                     error);
        return -1;
    }
    PyObject *instance = PyObject_CallNoArgs(error);
    if (instance == NULL) return -1;
    if (!PyExceptionInstance_Check(instance)) {
        PyErr_Format(PyExc_TypeError, "throw: %R made %R, which is no exception", error, instance);
        Py_DECREF(instance);
        return -1;
    }
    PyErr_Restore(Py_NewRef(Py_TYPE(instance)), instance, NULL);
    return 0;
}

static PyObject *method_throw(PyObject *object, PyObject *error) {
    return set_exception(error) < 0 ? NULL : fiber_throw((fiber *)object);
}

static PyObject *method_close(PyObject *object, PyObject *unused) {
    (void)unused;
    fiber *self = (fiber *)object;
    if (self->state == FIBER_NEW) {
        fiber_clear(object);
        Py_RETURN_NONE;
    }
    return fiber_close(self);
}

static PyObject *fiber_next(PyObject *object) {
    fiber *self = (fiber *)object;
    if (self->state == FIBER_FINISHED) return NULL;
    PyObject *value = method_resume(object, NULL, 0, NULL);
    if (value == NULL || self->state != FIBER_FINISHED) return value;
    if (value != Py_None) {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
        if (stop != NULL) PyErr_SetObject(PyExc_StopIteration, stop);
        Py_XDECREF(stop);
    }
    Py_DECREF(value);
    return NULL;
}

static PyObject *function_suspend(PyObject *unused, PyObject *const *args, Py_ssize_t count) {
    (void)unused;
    if (count > 1)
        return PyErr_Format(PyExc_TypeError, "suspend() takes at most one value, %zd were given",
                            count);
    return fiber_suspend(count ? args[0] : Py_None);
}

static PyObject *function_current(PyObject *unused, PyObject *also_unused) {
    (void)unused, (void)also_unused;
    fiber_thread *thread = fiber_thread_here;
    if (thread == NULL || thread->tstate != PyThreadState_Get() || thread->current == NULL)
        Py_RETURN_NONE;
    return Py_NewRef(thread->current);
}

const char *const fiber_state_names[] = {"new",     "suspended", "running",
                                         "waiting", "finished",  "lost"};

static PyObject *get_state(PyObject *object, void *unused) {
    (void)unused;
    return PyUnicode_InternFromString(fiber_state_names[((fiber *)object)->state]);
}

static PyObject *get_name(PyObject *object, void *unused) {
    (void)unused;
    fiber *self = (fiber *)object;
    return self->name != NULL ? Py_NewRef(self->name) : PyUnicode_FromString("");
}

static PyObject *get_stack_size(PyObject *object, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(((fiber *)object)->pool->stack_size);
}

static PyObject *get_frame(PyObject *object, void *unused) {
    (void)unused;
    fiber *self = (fiber *)object;
    PyObject *frame = NULL;
    if (self->state == FIBER_SUSPENDED)
        frame = interpreter_suspended_frame(PyThreadState_Get(), &self->interpreter);
    return frame != NULL ? frame : Py_NewRef(Py_None);
}

static PyObject *get_high_water(PyObject *object, void *unused) {
    (void)unused;
    fiber *self = (fiber *)object;
    size_t bytes = 0;
    if (self->state != FIBER_NEW && self->state != FIBER_FINISHED) {
        const hf_status status = hf_stack_high_water(self->pool->pool, &self->stack, &bytes);
        if (status != HF_OK) return fiber_raise(status, "high water: %s", hf_status_text(status));
    }
    return PyLong_FromSize_t(bytes);
}

static PyObject *fiber_repr(PyObject *object) {
    fiber *self = (fiber *)object;
    if (self->name != NULL)
        return PyUnicode_FromFormat("<holdfast.Fiber %R %s>", self->name,
                                    fiber_state_names[self->state]);
    return PyUnicode_FromFormat("<holdfast.Fiber %s at %p>", fiber_state_names[self->state],
                                object);
}

static PyMethodDef fiber_methods[] = {
    {"resume", (PyCFunction)(void (*)(void))method_resume, METH_FASTCALL | METH_KEYWORDS,
     DOC_RESUME},
    {"throw", method_throw, METH_O, DOC_THROW},
    {"close", method_close, METH_NOARGS, DOC_CLOSE},
    {"suspend", (PyCFunction)(void (*)(void))function_suspend, METH_FASTCALL | METH_STATIC,
     DOC_SUSPEND},
    {"current", function_current, METH_NOARGS | METH_STATIC, DOC_CURRENT},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef fiber_properties[] = {
    {"state", get_state, NULL, DOC_STATE, NULL},
    {"name", get_name, NULL, DOC_NAME, NULL},
    {"stack_size", get_stack_size, NULL, DOC_STACK_SIZE, NULL},
    {"frame", get_frame, NULL, DOC_FRAME, NULL},
    {"high_water", get_high_water, NULL, DOC_HIGH_WATER, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef fiber_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(fiber, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot fiber_slots[] = {
    {Py_tp_doc, DOC_FIBER},           {Py_tp_dealloc, fiber_dealloc},
    {Py_tp_finalize, fiber_finalize}, {Py_tp_traverse, fiber_traverse},
    {Py_tp_clear, fiber_clear},       {Py_tp_repr, fiber_repr},
    {Py_tp_iter, PyObject_SelfIter},  {Py_tp_iternext, fiber_next},
    {Py_tp_methods, fiber_methods},   {Py_tp_getset, fiber_properties},
    {Py_tp_members, fiber_members},   {0, NULL},
};

static PyType_Spec fiber_spec = {
    .name = "holdfast.Fiber",
    .basicsize = sizeof(fiber),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = fiber_slots,
};

PyMethodDef fiber_functions[] = {
    {"suspend", (PyCFunction)(void (*)(void))function_suspend, METH_FASTCALL, DOC_SUSPEND},
    {"current", function_current, METH_NOARGS, DOC_CURRENT},
    {"run_on_stack", (PyCFunction)(void (*)(void))fiber_run_on_stack, METH_FASTCALL | METH_KEYWORDS,
     DOC_RUN_ON_STACK},
    {NULL, NULL, 0, NULL},
};

int fiber_setup(void) {
    fiber_base_code = interpreter_base_code();
    fiber_type = (PyTypeObject *)PyType_FromSpec(&fiber_spec);
    if (fiber_base_code == NULL || fiber_type == NULL) return -1;
    fiber_type->tp_vectorcall = fiber_vectorcall;
    return 0;
}
