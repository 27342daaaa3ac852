/* thread.c - which fibers live on which thread, and what becomes of them when it ends.
 *
 *   thread state's dict -> fiber_thread_end --dies with the thread--> its fibers are closed there
 *
 * Invariants  fiber_thread_here is the record of the thread state that last asked on this thread.
 *             A record is freed by its last user: the end object, or a fiber.
 * Talks to    switch.c (close), holdfast/stack.h (signal stack, overflow).   Called by switch.c,
 *             fiber.c (finalizer).
 * Threads     the GIL is held. A fiber that turns out to be garbage on another thread is handed to
 *             its own, which closes it at its next switch, or, if it is the main thread, soon. */
#include "fiber.h"

_Thread_local fiber_thread *fiber_thread_here;

typedef struct thread_end {
    PyObject_HEAD fiber_thread *thread;
} thread_end;

static PyTypeObject *thread_end_type;
static PyObject *thread_end_key;

void fiber_link(fiber **list, fiber *self) {
    self->next = *list;
    self->link = list;
    if (self->next != NULL) self->next->link = &self->next;
    *list = self;
}

void fiber_unlink(fiber *self) {
    if (self->link == NULL) return;
    *self->link = self->next;
    if (self->next != NULL) self->next->link = self->link;
    self->next = NULL;
    self->link = NULL;
}

void fiber_thread_release(fiber_thread *thread) {
    if (--thread->users == 0) PyMem_Free(thread);
}

fiber_thread *fiber_thread_make(PyThreadState *tstate) {
    PyObject *dict = PyThreadState_GetDict();
    if (dict == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the thread is ending: no fiber can run on it");
        return NULL;
    }
    PyObject *known = PyDict_GetItemWithError(dict, thread_end_key);
    if (known != NULL) return fiber_thread_here = ((thread_end *)known)->thread;
    if (PyErr_Occurred()) return NULL;

    /* Once: a handler installed in front of it later, such as faulthandler's, stays there. */
    static int installed;
    hf_status status = installed ? HF_OK : hf_stack_overflow_install(HF_STACK_CHAIN);
    installed = status == HF_OK;
    if (status == HF_OK) status = hf_stack_thread_prepare();
    if (status != HF_OK) {
        fiber_raise(status, "no signal stack for this thread: %s", hf_status_text(status));
        return NULL;
    }
    fiber_thread *thread = PyMem_Calloc(1, sizeof *thread);
    thread_end *end = thread != NULL ? PyObject_New(thread_end, thread_end_type) : NULL;
    if (end == NULL) {
        PyMem_Free(thread);
        PyErr_NoMemory();
        return NULL;
    }
    end->thread = thread;
    thread->tstate = tstate;
    thread->ident = PyThread_get_thread_ident();
    thread->users = 1;
    const int failed = PyDict_SetItem(dict, thread_end_key, (PyObject *)end);
    Py_DECREF(end); /* on failure this frees the record */
    if (failed) return NULL;
    return fiber_thread_here = thread;
}

/* Frames of a fiber that never goes on lead to its base for ever: its record is never freed. */
static void lose(fiber *self) {
    fiber_unlink(self);
    Py_INCREF(self);
    self->state = FIBER_LOST;
}

/* Closes one fiber of this thread for good; what goes wrong is told and changes nothing. */
static void close_for_good(fiber *self) {
    Py_INCREF(self);
    PyObject *result = fiber_close(self);
    if (result == NULL) PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(result);
    if (self->state == FIBER_SUSPENDED) lose(self);
    Py_DECREF(self);
}

static int drain_here(void *unused) {
    (void)unused;
    if (fiber_thread_here != NULL && fiber_thread_here->doomed != NULL)
        fiber_thread_drain(fiber_thread_here);
    return 0;
}

void fiber_discard(fiber *self) {
    PyObject *kind, *error, *traceback;
    PyErr_Fetch(&kind, &error, &traceback);
    fiber_thread *thread = self->thread;
    if (thread->tstate == PyThreadState_Get()) {
        close_for_good(self);
    } else {
        fiber_unlink(self);
        fiber_link(&thread->doomed, self);
        Py_INCREF(self);
        (void)Py_AddPendingCall(drain_here,
                                NULL); /* full: it is closed at its thread's next switch */
    }
    PyErr_Restore(kind, error, traceback);
}

void fiber_thread_drain(fiber_thread *thread) {
    PyObject *kind, *error, *traceback;
    PyErr_Fetch(&kind, &error, &traceback);
    while (thread->doomed != NULL) {
        fiber *self = thread->doomed;
        fiber_unlink(self);
        fiber_link(&thread->live, self);
        if (self->state == FIBER_SUSPENDED) close_for_good(self);
        Py_DECREF(self);
    }
    PyErr_Restore(kind, error, traceback);
}

/* The thread state is being cleared: by its own thread as it ends, or by another one in the child of a
 * fork or at the end of the interpreter. */
static void thread_end_dealloc(PyObject *object) {
    fiber_thread *thread = ((thread_end *)object)->thread;
    PyTypeObject *type = Py_TYPE(object);
    if (thread != NULL) {
        const int is_here = thread->ident == PyThread_get_thread_ident() &&
                            PyThreadState_Get() == thread->tstate && !interpreter_is_ending();
        if (is_here) {
            fiber_thread_here = thread;
            fiber_thread_drain(thread);
            PyObject *kind, *error, *traceback;
            PyErr_Fetch(&kind, &error, &traceback);
            while (thread->live != NULL && thread->current == NULL)
                close_for_good(thread->live);
            PyErr_Restore(kind, error, traceback);
        }
        /* Also when another state of this thread clears it: the record may be gone below. */
        if (fiber_thread_here == thread) fiber_thread_here = NULL;
        while (thread->doomed != NULL)
            lose(thread->doomed);
        while (thread->live != NULL)
            lose(thread->live);
        thread->tstate = NULL;
        thread->current = NULL;
        fiber_thread_release(thread);
    }
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyType_Slot thread_end_slots[] = {{Py_tp_dealloc, thread_end_dealloc}, {0, NULL}};

static PyType_Spec thread_end_spec = {
    .name = "holdfast._fiber._ThreadEnd",
    .basicsize = sizeof(thread_end),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = thread_end_slots,
};

int fiber_thread_setup(void) {
    thread_end_key = PyUnicode_InternFromString("holdfast._fiber.thread");
    thread_end_type = (PyTypeObject *)PyType_FromSpec(&thread_end_spec);
    return thread_end_key != NULL && thread_end_type != NULL ? 0 : -1;
}
