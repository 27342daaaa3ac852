/* run_on_stack.c - one call on a stack of its own, on the same line of execution.
 *
 *   caller's stack:  run_on_stack(fn, ...) --switch--.        ,--> result or exception
 *   borrowed stack:                                  '-> fn(...)
 *
 * Invariants  nothing but the C stack and the levels of recursion differs inside: frames, exceptions,
 *             context and data stack are the caller's, so that even the fiber the caller runs in may
 *             suspend inside.
 * Talks to    interpreter.h, stack_pool.c, holdfast/fiber.h.   Called from Python.
 * Threads     the GIL is held at both ends; whatever fn does with it in between is balanced.
 * Fails with  OutOfMemoryError; RecursionError where calls nest too deep. */
#include "fiber.h"

struct call {
    hf_context inside, outside;
    PyObject *function;
    PyObject *const *args;
    size_t count;
    PyObject *keywords;
    PyObject *result;
};

static void call_main(void *argument, void *value) {
    (void)value;
    struct call *call = argument;
    call->result = PyObject_Vectorcall(call->function, call->args, call->count, call->keywords);
    hf_context_switch_float(&call->inside, &call->outside, NULL);
    Py_FatalError("holdfast: a finished call on a stack was resumed");
}

static PyObject *call_on_stack(stack_pool *pool, struct call *call) {
    PyThreadState *tstate = PyThreadState_Get();
    fiber_thread *thread = fiber_thread_get(tstate);
    if (thread == NULL) return NULL;
    if (thread->nesting >= Py_GetRecursionLimit()) {
        PyErr_SetString(PyExc_RecursionError,
                        "maximum recursion depth exceeded: run_on_stack inside run_on_stack");
        return NULL;
    }
    hf_stack stack;
    if (stack_pool_take(pool, &stack, "run_on_stack ", NULL, call->function) < 0) return NULL;
    Py_INCREF(pool);
    struct interpreter_recursion kept;
    hf_context_make(&call->inside, stack.stack_ptr, call_main, call, 1);
    interpreter_recursion_raise(tstate, pool->levels, &kept);
    thread->nesting++;
    hf_context_switch_float(&call->outside, &call->inside, NULL);
    thread->nesting--;
    interpreter_recursion_restore(tstate, &kept);
    if (hf_stack_give(pool->pool, &stack) != HF_OK)
        Py_FatalError("holdfast: the stack of a call is not its pool's");
    Py_DECREF(pool);
    return call->result;
}

/* run_on_stack(stack_size or pool, function, *args, **keywords) */
PyObject *fiber_run_on_stack(PyObject *module, PyObject *const *args, Py_ssize_t count,
                             PyObject *keywords) {
    (void)module;
    if (fiber_check_supported() < 0) return NULL;
    if (count < 2)
        return PyErr_Format(PyExc_TypeError, "run_on_stack() needs a stack size and a function");
    stack_pool *pool = PyObject_TypeCheck(args[0], stack_pool_type)
                           ? (stack_pool *)args[0]
                           : stack_pool_of_argument(args[0]);
    if (pool == NULL) return NULL;
    struct call call = {
        .function = args[1],
        .args = args + 2,
        .count = (size_t)(count - 2),
        .keywords = keywords,
    };
    return call_on_stack(pool, &call);
}
