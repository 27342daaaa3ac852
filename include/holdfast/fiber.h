/* fiber.h - functions with a stack of their own that stop in the middle and go on later.
 *
 *   resumer:  hf_fiber_resume(f, 1, &got) ------.            ,-> got == 10
 *   fiber:                function(f, argument) '-- ... hf_fiber_yield(f, 10, &more) -- (suspended)
 *
 * Three levels: hf_context (a saved stack pointer), hf_fiber (resume and yield, nested like calls),
 * hf_scheduler (a run queue of fibers that do not know who runs them).
 *
 *   NEW --resume--> RUNNING --yield--> SUSPENDED --resume--> RUNNING --return--> FINISHED
 *                   RUNNING --resumes another--> WAITING --that one yields or ends--> RUNNING
 * Caveats
 *  - No exception, longjmp or unwinding may leave the function of a fiber (hf::Fiber takes care of
 *    exceptions). Backtraces end at the function.
 *  - FP control words (rounding, masked exceptions) belong to the thread unless
 *    HF_FIBER_FLOAT_CONTROL is given: then each side of a switch finds its own again.
 *  - The fiber's record lies at the top of its stack: a pointer to it is dead after hf_fiber_destroy.
 * Threads   a fiber runs on one thread at a time, and may be resumed by another one than last time
 *           (code that keeps the address of a thread-local across a yield must not be). A scheduler
 *           and its tasks belong to one thread at a time. */
#ifndef HOLDFAST_FIBER_H
#define HOLDFAST_FIBER_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/stack.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- contexts ---- */

/* A place to continue at: everything else is saved on the stack it points to. */
typedef struct hf_context {
    void *stack_pointer;
} hf_context;

/* First function of a context: `value` is that of the first switch to it. Must never return. */
typedef void (*hf_context_entry)(void *argument, void *value);

/* Prepares `context` to call entry(argument, value) on the stack that ends at `stack_ptr` (16-aligned).
 * `float_control`: the frame is for hf_context_switch_float, which every switch to and from this
 * context must then use. */
HF_API void hf_context_make(hf_context *context, void *stack_ptr, hf_context_entry entry,
                            void *argument, int float_control);
/* Saves the callee-saved registers on this stack and the place in *from, continues at *to, and
 * returns the value of whoever switches back. `from` is not `to`: where it goes is read before where it
 * is is written. The variant also saves the FP control words. */
HF_API void *hf_context_switch(hf_context *from, const hf_context *to, void *value);
HF_API void *hf_context_switch_float(hf_context *from, const hf_context *to, void *value);

/* ---- fibers ---- */

typedef struct hf_fiber hf_fiber;

/* What it returns is the value of the last resume. */
typedef void *(*hf_fiber_function)(hf_fiber *self, void *argument);

typedef enum hf_fiber_state {
    HF_FIBER_NEW,       /* never resumed                            */
    HF_FIBER_SUSPENDED, /* in hf_fiber_yield                        */
    HF_FIBER_RUNNING,   /* on a thread                              */
    HF_FIBER_WAITING,   /* resumed another one, which has not yielded yet */
    HF_FIBER_FINISHED   /* its function returned                    */
} hf_fiber_state;

#define HF_FIBER_FLOAT_CONTROL 1u /* each fiber has FP control words of its own */

/* A fiber on a stack of `pool` (NULL: hf_stack_pool_default()). `name` (may be NULL, copied, 31
 * bytes) is for reports. HF_E_INVALID, HF_E_NO_MEMORY, HF_E_LIMIT. */
HF_API hf_status hf_fiber_create(hf_stack_pool *pool, hf_fiber_function function, void *argument,
                                 const char *name, unsigned flags, hf_fiber **fiber_out);
/* Gives the stack back. A suspended fiber is cancelled first. HF_E_BUSY if it is running or waiting;
 * then it is still there. NULL does nothing. */
HF_API hf_status hf_fiber_destroy(hf_fiber *fiber);
/* Gives the stack of a new, suspended or finished fiber back without running any more of it: nothing
 * is unwound. HF_E_BUSY if it is running or waiting. */
HF_API hf_status hf_fiber_abandon(hf_fiber *fiber);

/* Runs the fiber until it yields or ends; *value_out (may be NULL) is the value it yielded or
 * returned. `value` is what its yield gets, unless this is the first resume, whose value is dropped.
 * HF_E_CLOSED if it is finished, HF_E_INVALID if it is running or waiting. */
HF_API hf_status hf_fiber_resume(hf_fiber *fiber, void *value, void **value_out);
/* Hands `value` to the resumer and waits for the next resume, whose value goes to *value_out (may be
 * NULL). Called by the fiber itself. HF_E_CANCELLED: it is to clean up and return; every further
 * yield says so at once. HF_E_INVALID if `self` is not the running fiber of this thread. */
HF_API hf_status hf_fiber_yield(hf_fiber *self, void *value, void **value_out);
/* Resumes a suspended fiber with HF_E_CANCELLED and waits until it ends; a new one ends without having run.
 * HF_E_BUSY if it is running or waiting. HF_OK for one that is finished. */
HF_API hf_status hf_fiber_cancel(hf_fiber *fiber);

HF_API hf_fiber_state hf_fiber_state_get(const hf_fiber *fiber);
/* The fiber this thread is in; NULL outside of all. That of a task belongs to its scheduler: what
 * changes a fiber refuses it. */
HF_API hf_fiber *hf_fiber_current(void);
/* The stack it runs on, for hf_stack_high_water and the like. */
HF_API const hf_stack *hf_fiber_stack(const hf_fiber *fiber);
HF_API hf_stack_pool *hf_fiber_pool(const hf_fiber *fiber);

/* ---- scheduler ---- */

typedef struct hf_scheduler hf_scheduler;
typedef struct hf_task hf_task;

typedef void *(*hf_task_function)(void *argument);

/* A run queue, first in first out. `pool` as for fibers. */
HF_API hf_status hf_scheduler_create(hf_stack_pool *pool, hf_scheduler **scheduler_out);
/* Cancels what is left (parked, yielding and joining tasks see HF_E_CANCELLED), then frees everything. HF_E_BUSY
 * from inside one of its tasks. NULL does nothing. */
HF_API hf_status hf_scheduler_destroy(hf_scheduler *scheduler);
/* Adds a task to the end of the queue; it starts when its turn comes. With `task_out` it must be joined
 * or detached; NULL detaches it from the start. From anywhere on the scheduler's thread. */
HF_API hf_status hf_scheduler_spawn(hf_scheduler *scheduler, hf_task_function function,
                                    void *argument, const char *name, hf_task **task_out);
/* Runs tasks until the queue is empty. HF_OK: all have ended; HF_E_BUSY: some are parked or wait for
 * such, and go on after hf_scheduler_unpark and another run. HF_E_INVALID from inside a task of it. */
HF_API hf_status hf_scheduler_run(hf_scheduler *scheduler);
/* Runs at most `count` turns; otherwise the same, and HF_E_BUSY also if the queue is not empty. */
HF_API hf_status hf_scheduler_run_some(hf_scheduler *scheduler, uint64_t count);
/* Tasks that have not ended, and those of them in the queue. */
HF_API uint64_t hf_scheduler_live(const hf_scheduler *scheduler);
HF_API uint64_t hf_scheduler_ready(const hf_scheduler *scheduler);

/* From inside a task (HF_E_INVALID elsewhere); HF_E_CANCELLED when the scheduler is being destroyed. */
/* Lets the others run, then goes on. */
HF_API hf_status hf_task_yield(void);
/* Leaves the queue until hf_task_unpark; one that came before is not lost. */
HF_API hf_status hf_task_park(void);
/* Waits for the end of a task and frees it; *result_out (may be NULL) is what it returned. Once per task.
 * Outside of tasks the task must have ended: HF_E_BUSY if not. HF_E_INVALID: joining oneself. */
HF_API hf_status hf_task_join(hf_task *task, void **result_out);

/* From anywhere on the scheduler's thread. */
HF_API void hf_task_unpark(hf_task *task);
/* Nobody will join it: it is freed when it ends. Of a task that is being joined: nothing. */
HF_API void hf_task_detach(hf_task *task);
HF_API int hf_task_is_finished(const hf_task *task);
/* The running task of this thread; NULL outside of all. */
HF_API hf_task *hf_task_current(void);

#ifdef __cplusplus
}
#endif
#endif
