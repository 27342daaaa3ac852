/* scheduler.c - a run queue of fibers, first in first out, that switch to each other directly.
 *
 *   run --> task --> task --> ... --> (queue empty, or turns used up) --> run
 * Contract    holdfast/fiber.h.
 * Invariants  a live task is in exactly one place: running, in the queue, parked, or waiting for the
 *             task it joins. live counts them; finished tasks wait for join on the list of all.
 * Talks to    fiber_state.h, meta.
 * Threads     one at a time. Nothing thread-local is read after a switch on the side of a task.
 * Fails with  HF_E_INVALID, HF_E_BUSY, HF_E_CLOSED, HF_E_CANCELLED; what hf_stack_take says.
 * Why         a detached task that ends cannot free the stack it stands on: the loop does. */
#include "base/assert.h"
#include "fiber/annotate.h"
#include "fiber/fiber_state.h"
#include "os/context.h"
#include "pages/meta.h"

struct hf_task {
    struct hf_fiber fiber; /* first: the record that the stack knows */
    hf_scheduler *scheduler;
    hf_task *queue_next;
    hf_task *all_next, *all_prev;
    hf_task *joiner; /* waits for our end */
    hf_task_function function;
    void *argument, *result;
    bool parked, token, detached;
};

struct hf_scheduler {
    hf_stack_pool *pool;
    hf_context loop; /* of run, while a task is running */
    hf_task *head, *tail;
    hf_task *running;
    hf_task *ended; /* detached, to be freed by the loop                   */
    hf_task *all;
    uint64_t live, ready;
    uint64_t turns; /* left in this run */
    bool cancelling, through_loop;
};

/* --- queue ---------------------------------------------------------------------------------- */

static void queue_push(hf_scheduler *s, hf_task *task) {
    task->queue_next = NULL;
    if (s->head == NULL)
        s->head = task;
    else
        s->tail->queue_next = task;
    s->tail = task;
    s->ready++;
}

static hf_task *queue_pop(hf_scheduler *s) {
    hf_task *task = s->head;
    if (task == NULL) return NULL;
    s->head = task->queue_next;
    s->ready--;
    return task;
}

static void task_free(hf_task *task) {
    hf_scheduler *s = task->scheduler;
    if (task->all_prev != NULL)
        task->all_prev->all_next = task->all_next;
    else
        s->all = task->all_next;
    if (task->all_next != NULL) task->all_next->all_prev = task->all_prev;
    (void)hfi_fiber_unmake(&task->fiber);
}

/* Of the loop: no task stands on its stack any more. */
static void bury(hf_scheduler *s) {
    if (__builtin_expect(s->ended != NULL, 0)) {
        hf_task *task = s->ended;
        s->ended = NULL;
        task_free(task);
    }
}

/* --- switches ------------------------------------------------------------------------------- */

static inline void mark_running(hf_scheduler *s, hf_task *task) {
    s->running = task;
    task->fiber.state = HF_FIBER_RUNNING;
    hfi_fiber_current = &task->fiber;
}

/* What the yield or park of a task returns when its turn comes. */
static inline void *turn_status(const hf_scheduler *s) {
    return (void *)(intptr_t)(s->cancelling ? HF_E_CANCELLED : HF_OK);
}

/* From the running task to the next one, or to the loop. Returns when it is this task's turn: as the
 * last thing its callers do, so that it is a jump (see fiber.c). */
static inline hf_status leave(hf_scheduler *s, hf_task *self) {
    self->fiber.state = HF_FIBER_SUSPENDED;
    if (__builtin_expect(s->through_loop, 0)) return hfi_fiber_go_out(&self->fiber, false);
    hf_task *next = s->turns > 0 ? queue_pop(s) : NULL;
    if (next == NULL) return hfi_context_go(&self->fiber.context, &s->loop, NULL);
    s->turns--;
    mark_running(s, next);
    if (next == self) return HF_OK; /* alone in the queue: a context never switches to itself */
    return hfi_context_go(&self->fiber.context, &next->fiber.context, turn_status(s));
}

static void task_main(void *argument, void *value) {
    hf_task *self = argument;
    hf_scheduler *s = self->scheduler;
    (void)value;
    hfi_fiber_arrived(&self->fiber);
    self->result = self->function(self->argument);
    s->live--;
    if (self->joiner != NULL) queue_push(s, self->joiner);
    if (self->detached) s->ended = self;
    self->fiber.state = HF_FIBER_FINISHED;
    if (s->through_loop)
        (void)hfi_fiber_go_out(&self->fiber, true);
    else
        (void)hfi_context_switch(&self->fiber.context, &s->loop, NULL);
    __builtin_unreachable();
}

static hf_status run(hf_scheduler *s, uint64_t turns) {
    if (s->running != NULL) return HF_E_INVALID;
    struct hf_fiber *outer = hfi_fiber_current;
    if (outer != NULL) outer->state = HF_FIBER_WAITING;
    s->turns = turns;
    hf_task *next;
    while (s->turns > 0 && (next = queue_pop(s)) != NULL) {
        s->turns--;
        mark_running(s, next);
        if (s->through_loop)
            (void)hfi_fiber_go_in(&next->fiber, s->cancelling ? HF_E_CANCELLED : HF_OK);
        else
            (void)hfi_context_switch(&s->loop, &next->fiber.context, turn_status(s));
        bury(s);
    }
    s->running = NULL;
    hfi_fiber_current = outer;
    if (outer != NULL) outer->state = HF_FIBER_RUNNING;
    return s->live == 0 ? HF_OK : HF_E_BUSY;
}

/* --- scheduler ------------------------------------------------------------------------------ */

hf_status hf_scheduler_create(hf_stack_pool *pool, hf_scheduler **scheduler_out) {
    HF_EXPECT(scheduler_out != NULL);
    if (pool == NULL) pool = hf_stack_pool_default();
    hf_scheduler *s = pool != NULL ? hfi_meta_alloc(sizeof *s) : NULL;
    if (s == NULL) return HF_E_NO_MEMORY;
    s->pool = pool;
    /* Sanitizers follow switches through the stack that resumed. */
    s->through_loop = hfi_asan_is_here() || hfi_tsan_is_here();
    *scheduler_out = s;
    return HF_OK;
}

hf_status hf_scheduler_destroy(hf_scheduler *s) {
    if (s == NULL) return HF_OK;
    if (s->running != NULL) return HF_E_BUSY;
    s->cancelling = true;
    s->head = NULL;
    s->ready = 0;
    for (hf_task *task = s->all, *next; task != NULL; task = next) {
        next = task->all_next;
        if (task->fiber.state == HF_FIBER_NEW) {
            s->live--;
            task->fiber.state = HF_FIBER_FINISHED;
        } else if (task->fiber.state == HF_FIBER_SUSPENDED) {
            task->parked = false;
            task->joiner = NULL;
            queue_push(s, task);
        }
    }
    (void)run(s, UINT64_MAX);
    hf_assert(s->live == 0, s->live);
    while (s->all != NULL)
        task_free(s->all);
    hfi_meta_free(s, sizeof *s);
    return HF_OK;
}

hf_status hf_scheduler_spawn(hf_scheduler *s, hf_task_function function, void *argument,
                             const char *name, hf_task **task_out) {
    HF_EXPECT(s != NULL);
    HF_EXPECT(function != NULL);
    struct hf_fiber *fiber;
    if (s->cancelling) return HF_E_CLOSED;
    hf_status status =
        hfi_fiber_make(s->pool, sizeof(hf_task), task_main, name, HFI_FIBER_TASK, &fiber);
    if (status != HF_OK) return status;
    hf_task *task = (hf_task *)fiber;
    task->scheduler = s;
    task->function = function;
    task->argument = argument;
    task->result = NULL;
    task->joiner = NULL;
    task->parked = task->token = false;
    task->detached = task_out == NULL;
    task->all_prev = NULL;
    task->all_next = s->all;
    if (s->all != NULL) s->all->all_prev = task;
    s->all = task;
    s->live++;
    queue_push(s, task);
    if (task_out != NULL) *task_out = task;
    return HF_OK;
}

hf_status hf_scheduler_run(hf_scheduler *s) {
    HF_EXPECT(s != NULL);
    return run(s, UINT64_MAX);
}

hf_status hf_scheduler_run_some(hf_scheduler *s, uint64_t count) {
    HF_EXPECT(s != NULL);
    return run(s, count);
}

uint64_t hf_scheduler_live(const hf_scheduler *s) {
    HF_EXPECT(s != NULL);
    return s->live;
}

uint64_t hf_scheduler_ready(const hf_scheduler *s) {
    HF_EXPECT(s != NULL);
    return s->ready;
}

/* --- tasks ---------------------------------------------------------------------------------- */

hf_task *hf_task_current(void) {
    struct hf_fiber *fiber = hfi_fiber_current;
    return fiber != NULL && (fiber->flags & HFI_FIBER_TASK) != 0 ? (hf_task *)fiber : NULL;
}

hf_status hf_task_yield(void) {
    hf_task *self = hf_task_current();
    if (self == NULL) return HF_E_INVALID;
    hf_scheduler *s = self->scheduler;
    if (s->cancelling) return HF_E_CANCELLED;
    queue_push(s, self);
    return leave(s, self);
}

hf_status hf_task_park(void) {
    hf_task *self = hf_task_current();
    if (self == NULL) return HF_E_INVALID;
    hf_scheduler *s = self->scheduler;
    if (s->cancelling) return HF_E_CANCELLED;
    if (self->token) {
        self->token = false;
        return HF_OK;
    }
    self->parked = true;
    return leave(s, self);
}

void hf_task_unpark(hf_task *task) {
    HF_EXPECT(task != NULL);
    if (task->parked) {
        task->parked = false;
        queue_push(task->scheduler, task);
    } else {
        task->token = true;
    }
}

hf_status hf_task_join(hf_task *task, void **result_out) {
    HF_EXPECT(task != NULL);
    hf_scheduler *s = task->scheduler;
    hf_task *self = hf_task_current();
    if (task == self || task->detached || task->joiner != NULL) return HF_E_INVALID;
    if (task->fiber.state != HF_FIBER_FINISHED) {
        if (self == NULL || self->scheduler != s) return HF_E_BUSY;
        if (s->cancelling) return HF_E_CANCELLED;
        task->joiner = self;
        hf_status status = leave(s, self);
        if (status != HF_OK) return status; /* the task goes with the scheduler */
        hf_assert(task->fiber.state == HF_FIBER_FINISHED);
    }
    if (result_out != NULL) *result_out = task->result;
    task_free(task);
    return HF_OK;
}

void hf_task_detach(hf_task *task) {
    HF_EXPECT(task != NULL);
    if (task->joiner != NULL) return; /* who frees it when it goes on */
    task->detached = true;
    if (task->fiber.state == HF_FIBER_FINISHED) task_free(task);
}

int hf_task_is_finished(const hf_task *task) {
    HF_EXPECT(task != NULL);
    return task->fiber.state == HF_FIBER_FINISHED;
}
