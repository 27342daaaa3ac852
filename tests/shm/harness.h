/* harness.h - what every test of shared memory needs: crash points, interleavings, kills, hostile bytes.
 *
 *   steps   a child is killed at its k-th shared access, for every k; then the others look
 *   weave   operations of several participants, in every order of their shared accesses (bounded)
 *   storm   worker processes under load, killed (or stopped) at random, with exact accounts
 *   hostile garbage written into the segment; whoever uses it gets an error or goes on
 *
 * steps and weave need the build with steps (steps_*.c); storm and hostile run on either.
 * Contract    a failure prints what it was (step, schedule, seed) and ends the process with 1.
 * Worlds      a world is the test's own structure; what survives a fork in it is in harness_shared.
 * Source      stateless model checking with preemption bounds: Musuvathi and Qadeer, PLDI 2007. */
#ifndef HF_TESTS_HARNESS_H
#define HF_TESTS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "c/check.h"

/* Zeroed memory that this process and its children share. */
void *harness_shared(size_t size);
/* A name for a segment of this test: "t-<tag>-<pid>". Removed at exit of this process; those that
 * killed runs left behind are removed by the next. Static storage, one per tag. */
const char *harness_name(const char *tag);
/* HOLDFAST_TEST_KILLS, or `usual`; a tenth of it under sanitizers. */
unsigned harness_kills(unsigned usual);
/* HOLDFAST_TEST_SEED, or drawn; printed once. */
uint64_t harness_seed(void);
/* CHECK_WATCHDOG, for an hour where HOLDFAST_TEST_KILLS asks for more than usual. */
void harness_watchdog(unsigned seconds);
/* Waits for a child; fails the test unless it ended by itself with 0. */
void harness_expect_ok(pid_t child, const char *who);

/* --- steps ------------------------------------------------------------------------------------ */

struct harness_steps {
    const char *name;
    void (*setup)(void *world);   /* a fresh state, in the test's process                        */
    void (*prepare)(void *world); /* in the victim: opens what it needs; not a step; may be NULL  */
    void (*victim)(void *world);  /* in the victim: the operation whose steps are counted         */
    /* A second victim after the first: repairs, and is killed at each of its steps in turn. NULL: none. */
    void (*rescuer)(void *world);
    /* In the test's process, after the victim is gone. `finished`: it was not killed. Everything the
     * structure promises must hold, and its whole capacity must be usable. */
    void (*verify)(void *world, bool finished);
    void (*teardown)(void *world); /* may be NULL */
};
/* Kills at every step of the victim (and, with a rescuer, at every `stride`-th of its steps after
 * every one of the victim's); returns the victim's steps. At least one, or the test fails. */
unsigned harness_crash_points(const struct harness_steps *steps, void *world, unsigned stride);
/* The same must FAIL with this mutant (in a child, quietly): what a test that can fail shows. */
void harness_mutant_is_caught(const struct harness_steps *steps, void *world, unsigned mutant);

/* --- weave ------------------------------------------------------------------------------------ */

#define HARNESS_ACTORS_MAX 4

struct harness_weave {
    const char *name;
    unsigned actors;
    void (*setup)(
        void *world); /* a fresh state; cheap: it runs once per schedule                 */
    void (*actor[HARNESS_ACTORS_MAX])(
        void *world); /* each on a participant of its own            */
    /* Makes the participant of this actor dead: hfi_shm_abandon(its segment); NULL: none
     * is killed. With it, every schedule is also run with actor 0 dying at each of its steps. */
    void (*die)(void *world, unsigned actor);
    void (*verify)(void *world,
                   int died);      /* -1: nobody                                           */
    void (*teardown)(void *world); /* may be NULL                                          */
    unsigned preemptions;          /* bound; 2 or 3                                        */
    uint64_t schedules_max;        /* stops there and says so; 0: none                     */
};
/* Returns the number of schedules that were run. */
uint64_t harness_weave(const struct harness_weave *weave, void *world);
void harness_weave_mutant_is_caught(const struct harness_weave *weave, void *world,
                                    unsigned mutant);

/* --- storm ------------------------------------------------------------------------------------ */

struct harness_storm {
    const char *name;
    unsigned workers;
    unsigned kills;      /* in all; 0: `stops` only                                   */
    unsigned stops;      /* SIGSTOP for some ms, then SIGCONT                         */
    unsigned stop_ms;    /* length of a stop, 20                                      */
    uint32_t spare_mask; /* workers that are never killed                             */
    unsigned pace_us;    /* mean time between kills, 2000                             */
    /* In the worker process, until *stop; incarnation counts its lives from 0. Returns 0 if well. */
    int (*work)(void *world, unsigned worker, unsigned incarnation, const volatile int *stop);
    /* In the test's process, after the worker is dead and before it starts again; may be NULL. */
    void (*killed)(void *world, unsigned worker, unsigned incarnation);
};
/* Runs workers until all kills are done, then stops and reaps them all: each must return 0. */
void harness_storm(const struct harness_storm *storm, void *world);

/* --- hostile ---------------------------------------------------------------------------------- */

struct harness_hostile {
    const char *name;
    void (*setup)(void *world);
    /* The bytes to damage, mapped in the test's process. */
    void (*target)(void *world, char **bytes_out, size_t *size_out);
    /* In a child, after the damage: uses everything. A signal or 20 s without an end fail the test. */
    void (*use)(void *world);
    void (*teardown)(void *world);
    unsigned rounds;
    unsigned flips_max; /* places damaged per round, 1 to this; 0: 8                              */
    /* The damage goes on while the child runs. */
    bool meanwhile;
};
void harness_hostile(const struct harness_hostile *hostile, void *world);

#endif
