/* weave.c - interleavings: every order of the shared accesses of two to four operations.
 *
 *   actors are fibers; a step hands control to the scheduler, which follows a list of choices:
 *   go on | switch to actor i | kill actor 0        depth first, each schedule from a fresh state
 *
 * Bounds      at most `preemptions` switches away from an actor that could go on (those after an end,
 *             a death or a sleep are free), so the number of schedules is polynomial in the steps.
 * Invariants  the same choices give the same run: what varies is fixed by `setup` (no time, no random).
 * Source      iterative context bounding: Musuvathi and Qadeer, PLDI 2007. */
#include "harness.h"

#include <stdio_ext.h>

#include <holdfast/fiber.h>
#include <holdfast/stack.h>

#include "base/lock.h"
#include "shm/access.h"

#define STEPS_MAX 4096

struct choice {
    uint8_t taken, count;
};

static struct {
    const struct harness_weave *weave;
    void *world;
    hf_stack_pool *stacks;
    hf_fiber *fibers[HARNESS_ACTORS_MAX];
    bool ended[HARNESS_ACTORS_MAX], sleeping[HARNESS_ACTORS_MAX];
    uint32_t locks[HARNESS_ACTORS_MAX][HFI_RANK_COUNT]; /* what each holds while it does not run */
    unsigned now;
    int died;
    struct choice path[STEPS_MAX]; /* the schedule: what was chosen, out of how many */
    unsigned length, fixed;        /* of the path; how much of it is prescribed      */
} run;

static void weave_step(void) {
    hf_fiber *self = hf_fiber_current();
    if (self) CHECK_EQ(hf_fiber_yield(self, NULL, NULL), HF_OK);
}

static bool weave_sleep(void) {
    hf_fiber *self = hf_fiber_current();
    if (!self) return false;
    run.sleeping[run.now] = true;
    CHECK_EQ(hf_fiber_yield(self, NULL, NULL), HF_OK);
    return true;
}

static void *actor_main(hf_fiber *self, void *argument) {
    (void)self;
    unsigned actor = (unsigned)(uintptr_t)argument;
    run.weave->actor[actor](run.world);
    return NULL;
}

/* One of `count` ways, by the path; new ones start with 0. */
static unsigned choose(unsigned count) {
    if (count == 1) return 0;
    CHECK_SAY(run.length < STEPS_MAX, "%s: an actor never ends", run.weave->name);
    if (run.length >= run.fixed) run.path[run.length] = (struct choice){0, (uint8_t)count};
    CHECK_SAY(run.path[run.length].count == count, "%s: the run does not repeat itself",
              run.weave->name);
    return run.path[run.length++].taken;
}

/* The next schedule after this one; false at the end of all. */
static bool path_advance(void) {
    while (run.length > 0) {
        struct choice *last = &run.path[run.length - 1];
        if (last->taken + 1u < last->count) {
            last->taken++;
            run.fixed = run.length;
            return true;
        }
        run.length--;
    }
    return false;
}

static void path_print(void) {
    printf("  %s: died %d, schedule", run.weave->name, run.died);
    for (unsigned i = 0; i < run.length; i++)
        printf(" %u/%u", run.path[i].taken, run.path[i].count);
    printf("\n");
}

/* Actors that could run, the present one first; sleepers only when nobody else can. */
static unsigned candidates(unsigned preemptions_left, unsigned *out) {
    unsigned count = 0, actors = run.weave->actors;
    bool present = !run.ended[run.now] && !run.sleeping[run.now];
    if (present) out[count++] = run.now;
    if (!present || preemptions_left > 0)
        for (unsigned n = 1; n < actors; n++) { /* in turn: two that wait do not keep out a third */
            unsigned i = (run.now + n) % actors;
            if (!run.ended[i] && !run.sleeping[i]) out[count++] = i;
        }
    if (count == 0)
        for (unsigned i = 0; i < actors; i++)
            if (!run.ended[i]) out[count++] = i;
    return count;
}

static void schedule_run(bool with_death) {
    unsigned preemptions_left = run.weave->preemptions;
    unsigned turns = 0;
    run.length = 0;
    run.now = 0;
    run.died = -1;
    memset(run.locks, 0, sizeof run.locks);
    for (unsigned i = 0; i < run.weave->actors; i++) {
        run.ended[i] = run.sleeping[i] = false;
        CHECK_EQ(
            hf_fiber_create(run.stacks, actor_main, (void *)(uintptr_t)i, NULL, 0, &run.fibers[i]),
            HF_OK);
    }
    for (;;) {
        unsigned able[HARNESS_ACTORS_MAX], count = candidates(preemptions_left, able);
        if (count == 0) break;
        CHECK_SAY(turns++ < 100000, "%s: actors run for ever", run.weave->name);
        bool killable = with_death && run.died < 0 && !run.ended[0];
        unsigned taken = choose(count + (killable ? 1 : 0));
        if (taken == count) { /* actor 0 dies here, in the middle of what it did */
            run.died = 0;
            run.ended[0] = true;
            hfi_locks_exchange(run.locks[0]); /* what it held dies with it */
            run.weave->die(run.world, 0);
            hfi_locks_exchange(run.locks[0]);
            continue;
        }
        unsigned next = able[taken];
        if (next != run.now && !run.ended[run.now] && !run.sleeping[run.now]) preemptions_left--;
        run.now = next;
        for (unsigned i = 0; i < run.weave->actors; i++)
            if (i != next) run.sleeping[i] = false; /* something will have changed: look again */
        run.sleeping[next] = false;
        hfi_locks_exchange(run.locks[next]);
        CHECK_EQ(hf_fiber_resume(run.fibers[next], NULL, NULL), HF_OK);
        hfi_locks_exchange(run.locks[next]);
        if (hf_fiber_state_get(run.fibers[next]) == HF_FIBER_FINISHED) run.ended[next] = true;
    }
    for (unsigned i = 0; i < run.weave->actors; i++) {
        if ((int)i == run.died)
            CHECK_EQ(hf_fiber_abandon(run.fibers[i]), HF_OK);
        else
            CHECK_EQ(hf_fiber_destroy(run.fibers[i]), HF_OK);
    }
}

static uint64_t schedules_run(bool with_death) {
    uint64_t count = 0;
    run.fixed = 0;
    do {
        run.weave->setup(run.world);
        hfi_shm_step_hook = weave_step;
        hfi_shm_sleep_hook = weave_sleep;
        schedule_run(with_death);
        hfi_shm_step_hook = NULL;
        hfi_shm_sleep_hook = NULL;
        fflush(stdout);
        path_print(); /* a failing check flushes it; otherwise it is never seen */
        run.weave->verify(run.world, run.died);
        if (run.weave->teardown) run.weave->teardown(run.world);
        __fpurge(stdout);
        count++;
        if (run.weave->schedules_max && count >= run.weave->schedules_max) {
            printf("  %s: stopped after %" PRIu64 " schedules\n", run.weave->name, count);
            break;
        }
    } while (path_advance());
    return count;
}

uint64_t harness_weave(const struct harness_weave *weave, void *world) {
    CHECK(weave->actors >= 2 && weave->actors <= HARNESS_ACTORS_MAX);
    memset(&run, 0, sizeof run);
    run.weave = weave;
    run.world = world;
    hf_stack_pool_options options;
    hf_stack_pool_options_init(&options);
    CHECK_EQ(hf_stack_pool_create(&options, &run.stacks), HF_OK);
    uint64_t count = schedules_run(false), deadly = 0;
    if (weave->die) deadly = schedules_run(true);
    CHECK_EQ(hf_stack_pool_destroy(run.stacks), HF_OK);
    printf("  %s: %" PRIu64 " schedules, %" PRIu64 " with a death\n", weave->name, count, deadly);
    fflush(stdout);
    return count + deadly;
}
