/* interpreter.h - everything the fibers know about the inside of CPython, version by version.
 *
 *   thread state:  frame, exception, context, data stack, recursion, trashcan, tracing
 *        ^ |
 *        | v  interpreter_enter / interpreter_leave exchange these with a struct interpreter_state
 *   fiber:         the same of its own, resting on a struct interpreter_base
 *
 * Invariants  while a fiber runs its `state` holds what belongs to the resumer, and its own while it
 *             is suspended; base.frame.previous is NULL unless it runs.
 *             The frame of the base is "incomplete", so that the interpreter passes over it: frames
 *             of a running fiber are followed by those of the resumer.
 * Talks to    CPython's cpython/pystate.h, internal/pycore_frame.h.   Called by switch.c,
 *             run_on_stack.c, self_test.c. No other file looks inside the interpreter.
 * Threads     the GIL is held; `thread` is the calling thread's.
 * Source      Python/ceval.c, pystate.c, errors.c of 3.11.7, 3.12.1, 3.13.0: what a new thread state
 *             starts with, and what the evaluation loop keeps there. */
#ifndef HOLDFAST_FIBER_INTERPRETER_H
#define HOLDFAST_FIBER_INTERPRETER_H

#include <Python.h>

#include <limits.h>
#include <stddef.h>
#include <string.h>

#define INTERPRETER_SIZE_PER_LEVEL                                                                 \
    1024 /* of C stack for one level of recursion [bytes]: 600 measured */

#if defined(PYPY_VERSION)
#define INTERPRETER_UNSUPPORTED "PyPy has stacks of its own"
#elif defined(Py_GIL_DISABLED)
#define INTERPRETER_UNSUPPORTED                                                                    \
    "CPython " PY_VERSION " is a free-threaded build, on which fibers are not proven"
#elif PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030E0000
#define INTERPRETER_UNSUPPORTED                                                                    \
    "CPython " PY_VERSION " is not known to this build; 3.11, 3.12 and 3.13 are"
#endif

#ifndef INTERPRETER_UNSUPPORTED

#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE
#endif
#include <internal/pycore_frame.h>

#define INTERPRETER_3_11 (PY_VERSION_HEX < 0x030C0000)
#define INTERPRETER_3_12 (PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030D0000)
#define INTERPRETER_3_13 (PY_VERSION_HEX >= 0x030D0000)

/* What one line of execution has of its own in the thread state. */
struct interpreter_state {
#if INTERPRETER_3_13
    _PyInterpreterFrame *frame; /* running Python frame; may be NULL                        */
#else
    _PyCFrame *cframe; /* knows the running Python frame                           */
#endif
    _PyErr_StackItem *exc_info; /* exceptions being handled, innermost first                */
    PyObject *context;          /* of contextvars; may be NULL                              */
    _PyStackChunk *chunk;       /* newest piece of the data stack, where frames live        */
    PyObject **top, **limit;    /* free space in it                                         */
    int depth;                  /* recursion limit less levels left, so that a new limit fits */
    int native_left;            /* 3.12 on: levels of C recursion left                      */
    int trash_nesting;          /* up to 3.12: nested deallocations of containers           */
    int tracing;                /* inside a trace function                                  */
    int tracing_event;          /* 3.12 on: the event it was called for                     */
};

/* What a fiber's frames and exceptions end in. Lives as long as they do, at a fixed address. */
struct interpreter_base {
#if !INTERPRETER_3_13
    _PyCFrame cframe;
#endif
    _PyInterpreterFrame frame;
    _PyErr_StackItem exc;
};

static inline _PyInterpreterFrame **interpreter_frame_place(PyThreadState *thread) {
#if INTERPRETER_3_13
    return &thread->current_frame;
#else
    return &thread->cframe->current_frame;
#endif
}

static inline int *interpreter_python_left(PyThreadState *thread) {
#if INTERPRETER_3_11
    return &thread->recursion_remaining;
#else
    return &thread->py_recursion_remaining;
#endif
}

static inline int interpreter_python_limit(const PyThreadState *thread) {
#if INTERPRETER_3_11
    return thread->recursion_limit;
#else
    return thread->py_recursion_limit;
#endif
}

/* Levels of recursion that a stack of this size may carry. */
static inline int interpreter_levels(size_t stack_size) {
    const size_t levels = stack_size / INTERPRETER_SIZE_PER_LEVEL;
    return levels > INT_MAX / 4 ? INT_MAX / 4 : (int)levels; /* the compiler multiplies by 3 */
}

/* An empty code object for the frames that fibers rest on. New reference, or NULL. */
static inline PyObject *interpreter_base_code(void) {
    return (PyObject *)PyCode_NewEmpty("<holdfast>", "<fiber>", 1);
}

/* A state at the very start of a line of execution, for `interpreter_enter`. `memory` is for the first
 * chunk of the data stack and belongs to the fiber; `context` is taken over. */
static inline void interpreter_start(PyThreadState *thread, struct interpreter_base *base,
                                     struct interpreter_state *state, PyObject *base_code,
                                     PyObject *context, void *memory, size_t memory_size,
                                     int levels) {
    memset(base, 0, sizeof *base);
    base->frame.owner = FRAME_OWNED_BY_THREAD;
#if INTERPRETER_3_13
    base->frame.f_executable = base_code;
    base->frame.instr_ptr = _PyCode_CODE((PyCodeObject *)base_code) - 1;
    state->frame = &base->frame;
#else
    base->frame.f_code = (PyCodeObject *)base_code;
    base->frame.prev_instr = _PyCode_CODE((PyCodeObject *)base_code) - 1;
    base->cframe.current_frame = &base->frame;
    base->cframe.previous = &thread->root_cframe;
    state->cframe = &base->cframe;
#endif
#if INTERPRETER_3_11
    base->frame.is_entry = true;
#endif
    /* As push_chunk and _PyThreadState_PushFrame make the first one: its first slot stays unused, so
     * that popping never frees it. */
    _PyStackChunk *chunk = memory;
    chunk->previous = NULL;
    chunk->size = memory_size;
    chunk->top = 0;
    state->chunk = chunk;
    state->top = &chunk->data[1];
    state->limit = (PyObject **)((char *)memory + memory_size);
    state->exc_info = &base->exc;
    state->context = context;
    const int limit = interpreter_python_limit(thread);
    state->depth = levels > limit ? limit - levels : 0;
    state->native_left = levels;
    state->trash_nesting = 0;
    state->tracing = 0;
    state->tracing_event = 0;
}

#define INTERPRETER_EXCHANGE(type, place, other)                                                   \
    do {                                                                                           \
        type kept = (place);                                                                       \
        (place) = (other);                                                                         \
        (other) = kept;                                                                            \
    } while (0)

static inline void interpreter_exchange(PyThreadState *thread, struct interpreter_state *state) {
#if INTERPRETER_3_13
    INTERPRETER_EXCHANGE(_PyInterpreterFrame *, thread->current_frame, state->frame);
#else
    INTERPRETER_EXCHANGE(_PyCFrame *, thread->cframe, state->cframe);
#endif
    INTERPRETER_EXCHANGE(_PyErr_StackItem *, thread->exc_info, state->exc_info);
    INTERPRETER_EXCHANGE(PyObject *, thread->context, state->context);
    thread->context_ver++; /* values that variables keep for the last context are stale */
    INTERPRETER_EXCHANGE(_PyStackChunk *, thread->datastack_chunk, state->chunk);
    INTERPRETER_EXCHANGE(PyObject **, thread->datastack_top, state->top);
    INTERPRETER_EXCHANGE(PyObject **, thread->datastack_limit, state->limit);
    int *left = interpreter_python_left(thread);
    const int limit = interpreter_python_limit(thread);
    const int depth = limit - *left;
    *left = limit - state->depth;
    state->depth = depth;
    INTERPRETER_EXCHANGE(int, thread->tracing, state->tracing);
#if INTERPRETER_3_11
    INTERPRETER_EXCHANGE(int, thread->trash_delete_nesting, state->trash_nesting);
    /* Kept per C frame, but meant per thread. */
    thread->cframe->use_tracing =
        !thread->tracing && (thread->c_tracefunc || thread->c_profilefunc) ? 255 : 0;
#else
    INTERPRETER_EXCHANGE(int, thread->c_recursion_remaining, state->native_left);
    INTERPRETER_EXCHANGE(int, thread->what_event, state->tracing_event);
#endif
#if INTERPRETER_3_12
    INTERPRETER_EXCHANGE(int, thread->trash.delete_nesting, state->trash_nesting);
#endif
}

/* The fiber's state into the thread, the thread's into `state`. */
static inline void interpreter_enter(PyThreadState *thread, struct interpreter_base *base,
                                     struct interpreter_state *state) {
    _PyInterpreterFrame *resumer = *interpreter_frame_place(thread);
    base->frame.previous = resumer;
#if INTERPRETER_3_11
    /* C functions ask the running frame for these without looking if it is complete. */
    base->frame.f_globals = resumer != NULL ? resumer->f_globals : NULL;
    base->frame.f_builtins = resumer != NULL ? resumer->f_builtins : NULL;
#endif
    interpreter_exchange(thread, state);
}

/* The way back. */
static inline void interpreter_leave(PyThreadState *thread, struct interpreter_base *base,
                                     struct interpreter_state *state) {
    interpreter_exchange(thread, state);
    base->frame.previous = NULL;
}

/* True if everything that was pushed on the fiber's data stack was popped again. */
static inline int interpreter_is_at_start(const struct interpreter_base *base,
                                          const struct interpreter_state *state) {
#if INTERPRETER_3_13
    const int frames = state->frame != &base->frame;
#else
    const int frames = state->cframe != &base->cframe;
#endif
    return !frames && state->chunk->previous == NULL && state->top == &state->chunk->data[1] &&
           state->exc_info == &base->exc;
}

/* What is left at the end of a line of execution: two references, taken out for the caller to drop. */
static inline void interpreter_finish(struct interpreter_base *base,
                                      struct interpreter_state *state, PyObject **context_out,
                                      PyObject **handled_out) {
    *context_out = state->context;
    state->context = NULL;
    *handled_out = base->exc.exc_value; /* None after the first exception was handled */
    base->exc.exc_value = NULL;
}

/* The Python frame a suspended fiber stands in, or NULL. New reference. */
static inline PyObject *interpreter_suspended_frame(PyThreadState *thread,
                                                    const struct interpreter_state *state) {
#if INTERPRETER_3_13
    _PyInterpreterFrame *frame = state->frame;
#else
    _PyInterpreterFrame *frame = state->cframe->current_frame;
#endif
    _PyInterpreterFrame **place = interpreter_frame_place(thread);
    _PyInterpreterFrame *kept = *place;
    *place = frame;
    PyObject *object = (PyObject *)PyThreadState_GetFrame(thread);
    *place = kept;
    return object;
}

/* Visits what the frames of a suspended fiber are known to own: functions, code and local variables.
 * What they have on their evaluation stacks only the evaluation loop knows; it counts as held from
 * outside. */
static inline int interpreter_traverse(const struct interpreter_base *base,
                                       const struct interpreter_state *state, visitproc visit,
                                       void *arg) {
    Py_VISIT(state->context);
    Py_VISIT(base->exc.exc_value);
#if INTERPRETER_3_13
    const _PyInterpreterFrame *frame = state->frame;
#else
    const _PyInterpreterFrame *frame = state->cframe->current_frame;
#endif
    for (; frame != NULL && frame != &base->frame; frame = frame->previous) {
        if (frame->owner != FRAME_OWNED_BY_THREAD) continue; /* a generator, or an entry */
#if INTERPRETER_3_13
        PyCodeObject *code = (PyCodeObject *)frame->f_executable;
        Py_VISIT(frame->f_funcobj);
#elif INTERPRETER_3_12
        PyCodeObject *code = frame->f_code;
        Py_VISIT(frame->f_funcobj);
#else
        PyCodeObject *code = frame->f_code;
        Py_VISIT(frame->f_func);
#endif
        Py_VISIT(frame->f_locals);
        Py_VISIT(frame->frame_obj);
        for (int i = 0; i < code->co_nlocalsplus; i++)
            Py_VISIT(frame->localsplus[i]);
    }
    return 0;
}

/* For a call on another stack, which stays on the same line of execution. */
struct interpreter_recursion {
    int depth;
    int native_left;
};

static inline void interpreter_recursion_raise(PyThreadState *thread, int levels,
                                               struct interpreter_recursion *kept) {
    int *left = interpreter_python_left(thread);
    kept->depth = interpreter_python_limit(thread) - *left;
    if (*left < levels) *left = levels;
#if !INTERPRETER_3_11
    kept->native_left = thread->c_recursion_remaining;
    thread->c_recursion_remaining = levels;
#endif
}

static inline void interpreter_recursion_restore(PyThreadState *thread,
                                                 const struct interpreter_recursion *kept) {
    *interpreter_python_left(thread) = interpreter_python_limit(thread) - kept->depth;
#if !INTERPRETER_3_11
    thread->c_recursion_remaining = kept->native_left;
#endif
}

/* What a switch must leave as it was; for comparisons byte by byte. */
static inline void interpreter_snapshot(PyThreadState *thread, struct interpreter_state *out) {
    memset(out, 0, sizeof *out);
#if INTERPRETER_3_13
    out->frame = thread->current_frame;
#else
    out->cframe = thread->cframe;
#endif
    out->exc_info = thread->exc_info;
    out->context = thread->context;
    out->chunk = thread->datastack_chunk;
    out->top = thread->datastack_top;
    out->limit = thread->datastack_limit;
    out->depth = interpreter_python_limit(thread) - *interpreter_python_left(thread);
    out->tracing = thread->tracing;
#if INTERPRETER_3_11
    out->trash_nesting = thread->trash_delete_nesting;
#else
    out->native_left = thread->c_recursion_remaining;
    out->tracing_event = thread->what_event;
#endif
#if INTERPRETER_3_12
    out->trash_nesting = thread->trash.delete_nesting;
#endif
}

/* Variables of contextvars were set on this thread. */
static inline int interpreter_has_context(const PyThreadState *thread) {
    return thread->context != NULL;
}

/* Nothing written in Python can be run any more without surprises. */
static inline int interpreter_is_ending(void) {
#if INTERPRETER_3_13
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

/* Python levels left, and C levels left where they are counted apart (else the same). */
static inline void interpreter_recursion_left(PyThreadState *thread, int *python, int *native) {
    *python = *interpreter_python_left(thread);
#if INTERPRETER_3_11
    *native = *python;
#else
    *native = thread->c_recursion_remaining;
#endif
}

#else /* INTERPRETER_UNSUPPORTED: everything compiles, nothing is ever called */

struct interpreter_state {
    PyObject *context;
};
struct interpreter_base {
    int unused;
};
struct interpreter_recursion {
    int unused;
};
static inline int interpreter_levels(size_t stack_size) {
    (void)stack_size;
    return 0;
}
static inline PyObject *interpreter_base_code(void) {
    Py_RETURN_NONE;
}
static inline void interpreter_start(PyThreadState *thread, struct interpreter_base *base,
                                     struct interpreter_state *state, PyObject *base_code,
                                     PyObject *context, void *memory, size_t memory_size,
                                     int levels) {
    (void)thread, (void)base, (void)base_code, (void)memory, (void)memory_size, (void)levels;
    state->context = context;
}
static inline void interpreter_enter(PyThreadState *thread, struct interpreter_base *base,
                                     struct interpreter_state *state) {
    (void)thread, (void)base, (void)state;
}
static inline void interpreter_leave(PyThreadState *thread, struct interpreter_base *base,
                                     struct interpreter_state *state) {
    (void)thread, (void)base, (void)state;
}
static inline int interpreter_is_at_start(const struct interpreter_base *base,
                                          const struct interpreter_state *state) {
    (void)base, (void)state;
    return 1;
}
static inline void interpreter_finish(struct interpreter_base *base,
                                      struct interpreter_state *state, PyObject **context_out,
                                      PyObject **handled_out) {
    (void)base;
    *context_out = state->context;
    state->context = *handled_out = NULL;
}
static inline PyObject *interpreter_suspended_frame(PyThreadState *thread,
                                                    const struct interpreter_state *state) {
    (void)thread, (void)state;
    return NULL;
}
static inline int interpreter_traverse(const struct interpreter_base *base,
                                       const struct interpreter_state *state, visitproc visit,
                                       void *arg) {
    (void)base, (void)state, (void)visit, (void)arg;
    return 0;
}
static inline void interpreter_recursion_raise(PyThreadState *thread, int levels,
                                               struct interpreter_recursion *kept) {
    (void)thread, (void)levels, (void)kept;
}
static inline void interpreter_recursion_restore(PyThreadState *thread,
                                                 const struct interpreter_recursion *kept) {
    (void)thread, (void)kept;
}
static inline int interpreter_has_context(const PyThreadState *thread) {
    (void)thread;
    return 0;
}
static inline int interpreter_is_ending(void) {
    return 1;
}
static inline void interpreter_recursion_left(PyThreadState *thread, int *python, int *native) {
    (void)thread;
    *python = *native = 0;
}

#endif /* INTERPRETER_UNSUPPORTED */

#endif
