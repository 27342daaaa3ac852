/* fiber.h - the parts of holdfast._fiber: stacks, threads, fibers, calls on another stack.
 *
 *   resumer's stack:  resume(f) --switch--.                 ,--> value of suspend, or the result
 *   fiber's stack:                        '--> fn(...) ... suspend(value)
 *
 *   one stack   low | guard | C frames <-- start || data stack's first chunk | high
 *
 * Invariants  state is SUSPENDED <=> `inside` is where it goes on; RUNNING <=> thread->current;
 *             NEW and FINISHED fibers have no stack; a fiber runs on the thread that started it.
 *             From its start to its end a fiber is in its thread's list `live`.
 * Talks to    interpreter.h, holdfast/stack.h, holdfast/fiber.h (the contexts alone).
 * Threads     the GIL is held throughout.
 * Fails with  what holdfast.errors makes of a status; see status.def. */
#ifndef HOLDFAST_FIBER_FIBER_H
#define HOLDFAST_FIBER_FIBER_H

#include "interpreter.h"

#include <holdfast/fiber.h>
#include <holdfast/stack.h>
#include <holdfast/status.h>

#define FIBER_STACK_SIZE     ((size_t)256 << 10) /* default [bytes] */
#define FIBER_STACK_SIZE_MIN ((size_t)128 << 10) /* below, 3.13 defers every deallocation */
#define FIBER_GUARD_SIZE     ((size_t)64 << 10)

enum fiber_state {
    FIBER_NEW,
    FIBER_SUSPENDED,
    FIBER_RUNNING,
    FIBER_WAITING, /* resumed another one, which has not suspended yet                  */
    FIBER_FINISHED,
    FIBER_LOST /* suspended for ever: its thread is gone, or it refused to be closed */
};

typedef struct fiber fiber;

/* Of one thread state. Lives until the thread has ended and no fiber knows it. */
typedef struct fiber_thread {
    PyThreadState *tstate; /* NULL once the thread has ended                               */
    unsigned long ident;   /* of the operating system's thread                             */
    fiber *current;        /* that runs; NULL on the thread's own stack                     */
    fiber *live;           /* started and not finished; borrowed                            */
    fiber *doomed;         /* to be closed here, found unreachable elsewhere; owned         */
    int nesting;           /* fibers and calls on stacks below the running code             */
    Py_ssize_t users;
} fiber_thread;

typedef struct stack_pool {
    PyObject_HEAD hf_stack_pool *pool; /* NULL: closed */
    size_t stack_size;
    int levels; /* of recursion that a stack carries */
    PyObject *weak;
} stack_pool;

struct fiber {
    PyObject_HEAD hf_context inside; /* where it goes on                                          */
    hf_context outside;              /* where its resumer goes on                                 */
    fiber_thread *thread;
    fiber *resumer;  /* running when it was resumed; NULL: the thread's own stack */
    PyObject *value; /* on its way in or out; NULL with an exception instead      */
    uint8_t state;
    int nesting; /* calls on stacks that it stands in, while it is suspended           */
    struct interpreter_state interpreter;
    struct interpreter_base base;
    PyObject *function;
    PyObject *const *args; /* of the first resume; later the copies on the fiber's stack   */
    Py_ssize_t arg_count;  /* positional                                                   */
    Py_ssize_t held_count; /* copies that the fiber owns                                   */
    PyObject *keywords;    /* their names, or NULL                                         */
    PyObject *name;        /* str or NULL                                               */
    PyObject *context;     /* until it starts                                           */
    stack_pool *pool;
    hf_stack stack;
    fiber *next, **link; /* in thread->live or thread->doomed                         */
    PyObject *weak;
};

extern PyTypeObject *fiber_type;
extern PyTypeObject *stack_pool_type;
extern PyObject *fiber_base_code;
extern const char *const fiber_state_names[]; /* by fiber_state */
extern const char *fiber_unsupported;         /* why nothing works here; NULL: it does */

/* module.c: each sets a Python exception and returns NULL or -1. */
PyObject *fiber_raise(hf_status status, const char *format, ...);
int fiber_check_supported(void);

/* stack_pool.c. Borrowed; NULL with an exception. */
stack_pool *stack_pool_of_size(size_t stack_size);
stack_pool *stack_pool_of_argument(PyObject *stack_size); /* int or "64 MiB" */
/* Named for reports: `kind`, at most 16 characters, then `name`, or what the function is called. */
int stack_pool_take(stack_pool *pool, hf_stack *stack_out, const char *kind, PyObject *name,
                    PyObject *function);
int stack_pool_setup(void);

/* thread.c. The record of the calling thread, borrowed; NULL with an exception. */
extern _Thread_local fiber_thread *fiber_thread_here;
fiber_thread *fiber_thread_make(PyThreadState *tstate);
void fiber_thread_release(fiber_thread *thread);
void fiber_thread_drain(fiber_thread *thread);
void fiber_link(fiber **list, fiber *self);
void fiber_unlink(fiber *self);
/* A suspended fiber that nobody can reach: closed now, or soon by its own thread. */
void fiber_discard(fiber *self);
int fiber_thread_setup(void);

static inline fiber_thread *fiber_thread_get(PyThreadState *tstate) {
    fiber_thread *thread = fiber_thread_here;
    if (thread != NULL && thread->tstate == tstate) return thread;
    return fiber_thread_make(tstate);
}

/* switch.c. New references; NULL with an exception. */
PyObject *fiber_start(fiber *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords);
PyObject *fiber_resume(fiber *self, PyObject *value);
PyObject *fiber_suspend(PyObject *value);
/* The exception that is set is raised in the fiber. */
PyObject *fiber_throw(fiber *self);
/* GeneratorExit in the fiber: what it returns, or None. */
PyObject *fiber_close(fiber *self);
const char *fiber_name(fiber *self);

/* run_on_stack.c, self_test.c, fiber.c */
PyObject *fiber_run_on_stack(PyObject *module, PyObject *const *args, Py_ssize_t count,
                             PyObject *keywords);
const char *fiber_self_test(void);
extern PyMethodDef fiber_functions[];
int fiber_setup(void);

#endif
