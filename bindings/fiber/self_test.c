/* self_test.c - before anything relies on it: does the inside of this interpreter look as expected?
 *
 * Method      a fiber that is a C function suspends once and goes on, another raises; after each the
 *             thread state must be what it was, and inside it what a new line of execution has. Uses
 *             a pool of its own, which is gone afterwards.
 * Talks to    switch.c, interpreter.h.   Called once, by module.c.
 * Threads     the importing one.
 * Fails with  a sentence, static; NULL if all is well. */
#include "fiber.h"

#ifndef INTERPRETER_UNSUPPORTED

static int levels_inside[2];

/* probe(value): suspends with it and returns what comes back. */
static PyObject *probe(PyObject *unused, PyObject *value) {
    (void)unused;
    interpreter_recursion_left(PyThreadState_Get(), &levels_inside[0], &levels_inside[1]);
    return fiber_suspend(value);
}

static PyObject *probe_raise(PyObject *unused, PyObject *value) {
    (void)unused;
    PyErr_SetObject(PyExc_LookupError, value);
    return NULL;
}

static PyMethodDef probe_def = {"probe", probe, METH_O, NULL};
static PyMethodDef probe_raise_def = {"probe_raise", probe_raise, METH_O, NULL};

static int is_unchanged(PyThreadState *tstate, const struct interpreter_state *before) {
    struct interpreter_state after;
    interpreter_snapshot(tstate, &after);
    return memcmp(before, &after, sizeof after) == 0;
}

static fiber *new_fiber(stack_pool *pool, PyMethodDef *definition) {
    PyObject *function = PyCFunction_New(definition, NULL);
    PyObject *args[] = {NULL, function, (PyObject *)pool};
    PyObject *names = Py_BuildValue("(s)", "pool");
    PyObject *made = function != NULL && names != NULL
                         ? fiber_type->tp_vectorcall((PyObject *)fiber_type, args + 1, 1, names)
                         : NULL;
    Py_XDECREF(names);
    Py_XDECREF(function);
    return (fiber *)made;
}

static const char *switch_and_back(stack_pool *pool) {
    PyThreadState *tstate = PyThreadState_Get();
    struct interpreter_state before;
    interpreter_snapshot(tstate, &before);
    fiber *self = new_fiber(pool, &probe_def);
    if (self == NULL) return "no fiber could be made";
    const char *wrong = NULL;
    PyObject *args[] = {Py_None};
    PyObject *got = fiber_start(self, args, 1, NULL);
    const int limit = interpreter_python_limit(tstate);
    if (got != Py_None)
        wrong = "a value did not come out of a fiber";
    else if (!is_unchanged(tstate, &before))
        wrong = "suspending a fiber left traces";
    else if (levels_inside[0] > (limit > pool->levels ? limit : pool->levels) ||
             levels_inside[0] < pool->levels / 2 || levels_inside[1] < pool->levels / 2)
        wrong = "the levels of recursion in a fiber are not those of its stack";
    Py_XDECREF(got);
    if (wrong == NULL) {
        PyObject *in = PyLong_FromLong(1 << 20), *out = fiber_resume(self, in);
        if (out != in || self->state != FIBER_FINISHED)
            wrong = "a value did not come into a fiber";
        else if (!is_unchanged(tstate, &before))
            wrong = "the end of a fiber left traces";
        Py_XDECREF(out);
        Py_XDECREF(in);
    }
    Py_DECREF(self);
    return wrong;
}

static const char *raise_through(stack_pool *pool) {
    PyThreadState *tstate = PyThreadState_Get();
    struct interpreter_state before;
    interpreter_snapshot(tstate, &before);
    fiber *self = new_fiber(pool, &probe_raise_def);
    if (self == NULL) return "no fiber could be made";
    PyObject *args[] = {Py_None};
    PyObject *got = fiber_start(self, args, 1, NULL);
    const char *wrong = NULL;
    if (got != NULL || !PyErr_ExceptionMatches(PyExc_LookupError))
        wrong = "an exception did not come out of a fiber";
    PyErr_Clear();
    if (wrong == NULL && !is_unchanged(tstate, &before)) wrong = "an exception left traces";
    Py_XDECREF(got);
    Py_DECREF(self);
    return wrong;
}

static const char *recursion(void) {
    PyThreadState *tstate = PyThreadState_Get();
    struct interpreter_recursion kept;
    int python[3], native[3];
    interpreter_recursion_left(tstate, &python[0], &native[0]);
    /* More than there are, whatever sys.setrecursionlimit was given. */
    const int levels = python[0] < 1 << 20 ? 1 << 20 : python[0] + (python[0] < INT_MAX);
    interpreter_recursion_raise(tstate, levels, &kept);
    interpreter_recursion_left(tstate, &python[1], &native[1]);
    interpreter_recursion_restore(tstate, &kept);
    interpreter_recursion_left(tstate, &python[2], &native[2]);
    const int limit = interpreter_python_limit(tstate);
    if (limit != Py_GetRecursionLimit()) return "the recursion limit is not where it was";
    if (python[0] != python[2] || native[0] != native[2]) return "levels of recursion got lost";
    if (python[0] > limit || python[0] <= 0 || native[0] <= 0) return "levels make no sense";
    return python[1] == levels && native[1] == levels ? NULL : "levels could not be raised";
}

const char *fiber_self_test(void) {
    const char *wrong = recursion();
    if (wrong != NULL) return wrong;
    PyObject *pool = PyObject_CallFunction((PyObject *)stack_pool_type, "nnIKnis",
                                           (Py_ssize_t)FIBER_STACK_SIZE_MIN, (Py_ssize_t)4096, 4u,
                                           0ull, (Py_ssize_t)0, 0, "self-test");
    if (pool == NULL) {
        PyErr_Clear();
        return "the system refused a pool of stacks";
    }
    wrong = switch_and_back((stack_pool *)pool);
    if (wrong == NULL) wrong = raise_through((stack_pool *)pool);
    Py_DECREF(pool);
    if (wrong != NULL) PyErr_Clear();
    return wrong;
}

#else

const char *fiber_self_test(void) {
    return INTERPRETER_UNSUPPORTED;
}

#endif
