/* test_shm_sync_kill - mutexes, semaphores, cells, events and barriers while their users are killed.
 *
 * Method: workers do a bit of everything and are killed (and stopped) at random. The account is kept
 * beside the structures: process ids in places that only the holder of a lock or permit may write, so
 * that a second living holder is seen at once; a pair of numbers that differs only if a holder died in
 * the middle, which OWNER_DIED must have announced; and a cell against the sum of its additions.
 * Then the same structures with garbage in their bytes. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>

#include <holdfast/shm_barrier.h>
#include <holdfast/shm_cells.h>
#include <holdfast/shm_event.h>
#include <holdfast/shm_mutex.h>
#include <holdfast/shm_semaphore.h>

#include "shm_help.h"
#include "view_help.h"

#define MS      ((uint64_t)1000000)
#define WORKERS 4
#define PERMITS 3

static const char *name;

struct parts {
    hf_shm *shm;
    hf_shm_event *event;
    hf_shm_semaphore *held, *counted;
    hf_shm_mutex *mutex;
    hf_shm_barrier *barrier;
    hf_shm_cells *cells;
};

static void parts_open(struct parts *parts, hf_shm *shm) {
    const hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE;
    hf_shm_event_options event;
    hf_shm_semaphore_options held, counted;
    hf_shm_barrier_options barrier;
    hf_shm_cells_options cells;
    hf_shm_event_options_init(&event);
    event.automatic = 1;
    hf_shm_semaphore_options_init(&held, PERMITS);
    hf_shm_semaphore_options_init(&counted, 0);
    counted.counted = 1;
    hf_shm_barrier_options_init(&barrier, WORKERS);
    hf_shm_cells_options_init(&cells, HF_SHM_CELL_U64, 4);
    parts->shm = shm;
    OK(hf_shm_event_open(shm, "event", mode, &event, &parts->event));
    OK(hf_shm_semaphore_open(shm, "held", mode, &held, &parts->held));
    OK(hf_shm_semaphore_open(shm, "counted", mode, &counted, &parts->counted));
    OK(hf_shm_mutex_open(shm, "mutex", mode, &parts->mutex));
    OK(hf_shm_barrier_open(shm, "barrier", mode, &barrier, &parts->barrier));
    OK(hf_shm_cells_open(shm, "cells", mode, &cells, &parts->cells));
}

static void parts_close(struct parts *parts) {
    hf_shm_event_close(parts->event);
    hf_shm_semaphore_close(parts->held);
    hf_shm_semaphore_close(parts->counted);
    hf_shm_mutex_close(parts->mutex);
    hf_shm_barrier_close(parts->barrier);
    hf_shm_cells_close(parts->cells);
    OK(hf_shm_close(parts->shm));
}

/* --- storm ------------------------------------------------------------------------------------ */

struct storm {
    volatile uint64_t first, second; /* written by the holder of the mutex       */
    _Atomic int holder;              /* of the mutex                             */
    _Atomic int licences[PERMITS];   /* one for each permit that is held          */
    _Atomic uint64_t added[WORKERS]; /* additions to the cell that were completed */
    _Atomic uint64_t locks, deaths, permits, rounds, broken;
};

static bool lives(int process) {
    return process != 0 && kill(process, 0) == 0;
}

/* Puts this process there; whoever was there must be dead (it is reaped soon). */
static bool place_take(_Atomic int *place) {
    int before = 0;
    if (atomic_compare_exchange_strong(place, &before, getpid())) return true;
    if (lives(before)) return false;
    return atomic_compare_exchange_strong(place, &before, getpid());
}

static void work_mutex(struct storm *storm, struct parts *parts) {
    hf_status status = hf_shm_mutex_lock(parts->mutex, 200 * MS);
    if (status == HF_E_TIMEOUT) return; /* its holder was stopped */
    if (status == HF_E_OWNER_DIED) {
        storm->second = storm->first;
        OK(hf_shm_mutex_consistent(parts->mutex));
        atomic_fetch_add(&storm->deaths, 1);
    } else {
        OK(status);
    }
    for (int ms = 0; !place_take(&storm->holder); ms++) {
        CHECK_SAY(ms < 10000, "two living holders: %d and %d", storm->holder, getpid());
        usleep(1000);
    }
    CHECK_EQ(storm->first, storm->second);
    storm->first++;
    if (storm->first % 32 == 0) usleep(300); /* long enough to be killed in */
    storm->second++;
    CHECK_EQ(storm->first, storm->second);
    atomic_store(&storm->holder, 0);
    OK(hf_shm_mutex_unlock(parts->mutex));
    atomic_fetch_add(&storm->locks, 1);
}

static void work_semaphore(struct storm *storm, struct parts *parts, uint32_t count) {
    hf_status status = hf_shm_semaphore_wait(parts->held, count, 200 * MS);
    if (status == HF_E_TIMEOUT) return;
    OK(status);
    uint32_t mine[PERMITS], taken = 0;
    for (int ms = 0; taken < count; ms++) {
        for (uint32_t i = 0; i < PERMITS && taken < count; i++)
            if (storm->licences[i] != getpid() && place_take(&storm->licences[i]))
                mine[taken++] = i;
        CHECK_SAY(ms < 10000, "more than %d permits are held by the living", PERMITS);
        if (taken < count) usleep(1000);
    }
    for (uint32_t i = 0; i < count; i++)
        atomic_store(&storm->licences[mine[i]], 0);
    OK(hf_shm_semaphore_post(parts->held, count));
    atomic_fetch_add(&storm->permits, count);
}

static int storm_work(void *raw, unsigned worker, unsigned incarnation, const volatile int *stop) {
    struct storm *storm = raw;
    struct parts parts;
    check_random random = {(uint64_t)worker << 32 | incarnation};
    parts_open(&parts, help_join(name));
    while (!*stop) {
        switch (check_random_below(&random, 8)) {
        case 0: work_semaphore(storm, &parts, 2); break;
        case 1: work_semaphore(storm, &parts, 1); break;
        case 2: OK(hf_shm_event_set(parts.event)); break;
        case 3: (void)hf_shm_event_wait(parts.event, MS / 10); break;
        case 4:
            OK(hf_shm_cells_add(parts.cells, 1, (hf_shm_cell){.u64 = 1}, NULL));
            atomic_fetch_add(&storm->added[worker], 1);
            break;
        case 5: OK(hf_shm_cells_notify(parts.cells, 1, 1)); break;
        default: work_mutex(storm, &parts); break;
        }
    }
    parts_close(&parts);
    return 0;
}

static void test_kills_under_load(void) {
    struct storm *world = harness_shared(sizeof *world);
    struct parts parts;
    parts_open(&parts, help_make(name, 1 << 20));
    const struct harness_storm storm = {.name = "sync",
                                        .workers = WORKERS,
                                        .kills = harness_kills(300),
                                        .stops = 5,
                                        .pace_us = 3000,
                                        .work = storm_work};
    harness_storm(&storm, world);
    hf_status status = hf_shm_mutex_lock(parts.mutex, 2000 * MS);
    CHECK(status == HF_OK || status == HF_E_OWNER_DIED);
    if (status == HF_OK) CHECK_EQ(world->first, world->second);
    OK(hf_shm_mutex_unlock(parts.mutex));
    OK(hf_shm_semaphore_wait(parts.held, PERMITS, 2000 * MS));
    OK(hf_shm_semaphore_post(parts.held, PERMITS));
    hf_shm_cell sum;
    uint64_t added = 0;
    OK(hf_shm_cells_load(parts.cells, 1, &sum));
    for (int i = 0; i < WORKERS; i++)
        added += world->added[i];
    CHECK_GE(sum.u64, added); /* a killed one may have added and not said so */
    CHECK_LE(sum.u64, added + storm.kills);
    OK(hf_shm_check(parts.shm, NULL, NULL, NULL));
    printf("  %" PRIu64 " locks, %" PRIu64 " owners died, %" PRIu64 " permits, %" PRIu64 " sums\n",
           world->locks, world->deaths, world->permits, sum.u64);
    CHECK_GT(world->locks, 0);
    CHECK_GT(world->permits, 0);
    parts_close(&parts);
}

static int storm_barrier(void *raw, unsigned worker, unsigned incarnation,
                         const volatile int *stop) {
    struct storm *storm = raw;
    struct parts parts;
    (void)worker, (void)incarnation;
    parts_open(&parts, help_join(name));
    while (!*stop) {
        uint32_t place = 99;
        hf_status status = hf_shm_barrier_wait(parts.barrier, 20 * MS, &place);
        CHECK_SAY(status == HF_OK || status == HF_E_TIMEOUT || status == HF_E_OWNER_DIED, "%s",
                  hf_shm_detail());
        if (status == HF_OK) CHECK_LT(place, WORKERS);
        atomic_fetch_add(status == HF_OK ? &storm->rounds : &storm->broken, 1);
    }
    parts_close(&parts);
    return 0;
}

static void test_barriers_break_and_go_on(void) {
    struct storm *world = harness_shared(sizeof *world);
    struct parts parts;
    parts_open(&parts, help_make(name, 1 << 20));
    struct harness_storm storm = {.name = "barrier",
                                  .workers = WORKERS,
                                  .kills = harness_kills(100),
                                  .pace_us = 10000,
                                  .work = storm_barrier};
    harness_storm(&storm, world);
    printf("  %" PRIu64 " passed, %" PRIu64 " broken or given up\n", world->rounds, world->broken);
    CHECK_GT(world->rounds, 0);
    /* Afterwards it is whole: without kills nothing is broken any more but what was missed. */
    const uint64_t before = world->rounds;
    storm.kills = 0;
    storm.pace_us = 100000;
    harness_storm(&storm, world);
    CHECK_GT(world->rounds, before);
    OK(hf_shm_check(parts.shm, NULL, NULL, NULL));
    parts_close(&parts);
}

/* --- hostile bytes ---------------------------------------------------------------------------- */

static const char *const hostile_names[] = {"event", "held",    "counted",
                                            "mutex", "barrier", "cells"};
static const char *hostile_name;
static struct parts hostile;

static void hostile_setup(void *world) {
    (void)world;
    parts_open(&hostile, help_make(name, 1 << 20));
}

static void hostile_target(void *world, char **bytes_out, size_t *size_out) {
    (void)world;
    hf_shm_entry entry;
    OK(hf_shm_find(hostile.shm, hostile_name, &entry));
    *bytes_out = hf_shm_at(hostile.shm, entry.span, 0, entry.span.size);
    *size_out = entry.span.size;
}

static void hostile_use_parts(struct parts *parts) {
    hf_shm_cell cell = {.u64 = 5}, before;
    uint32_t participant, thread, place;
    int done;
    for (int i = 0; i < 3; i++) {
        (void)hf_shm_event_set(parts->event);
        (void)hf_shm_event_wait(parts->event, MS);
        (void)hf_shm_semaphore_wait(parts->held, 1 + (uint32_t)i, 2 * MS);
        (void)hf_shm_semaphore_post(parts->held, 1 + (uint32_t)i);
        (void)hf_shm_semaphore_value(parts->held);
        (void)hf_shm_semaphore_post(parts->counted, 2);
        (void)hf_shm_semaphore_wait(parts->counted, 1, MS);
        (void)hf_shm_mutex_lock(parts->mutex, 2 * MS);
        (void)hf_shm_mutex_owner(parts->mutex, &participant, &thread);
        (void)hf_shm_mutex_consistent(parts->mutex);
        (void)hf_shm_mutex_unlock(parts->mutex);
        (void)hf_shm_barrier_wait(parts->barrier, 2 * MS, &place);
        (void)hf_shm_barrier_waiting(parts->barrier);
        (void)hf_shm_cells_add(parts->cells, 3, cell, &before);
        (void)hf_shm_cells_max(parts->cells, 4, cell, &before);
        (void)hf_shm_cells_compare_exchange(parts->cells, 0, &before, cell, &done);
        (void)hf_shm_cells_wait(parts->cells, 0, cell, MS);
        (void)hf_shm_cells_notify(parts->cells, 0, 1);
    }
}

static void hostile_use(void *world) {
    (void)world;
    struct parts again = {0};
    hf_shm_figures figures;
    size_t repaired;
    help_view_garbage(hostile.shm, hostile_name);
    hostile_use_parts(&hostile);
    (void)hf_shm_event_open(hostile.shm, "event", HF_SHM_OPEN, NULL, &again.event);
    (void)hf_shm_semaphore_open(hostile.shm, "held", HF_SHM_OPEN, NULL, &again.held);
    (void)hf_shm_semaphore_open(hostile.shm, "counted", HF_SHM_OPEN, NULL, &again.counted);
    (void)hf_shm_mutex_open(hostile.shm, "mutex", HF_SHM_OPEN, &again.mutex);
    (void)hf_shm_barrier_open(hostile.shm, "barrier", HF_SHM_OPEN, NULL, &again.barrier);
    (void)hf_shm_cells_open(hostile.shm, "cells", HF_SHM_OPEN, NULL, &again.cells);
    hostile_use_parts(&again); /* NULL where it was refused */
    for (size_t i = 0; i < sizeof hostile_names / sizeof *hostile_names; i++) {
        (void)hf_shm_figures_of(hostile.shm, hostile_names[i], &figures);
        (void)hf_shm_check(hostile.shm, hostile_names[i], NULL, NULL);
        (void)hf_shm_repair(hostile.shm, hostile_names[i], &repaired);
    }
    hostile_use_parts(&hostile);
}

static void hostile_teardown(void *world) {
    (void)world;
    parts_close(&hostile);
}

static void test_garbage_is_an_error_or_harmless(void) {
    for (size_t i = 0; i < sizeof hostile_names / sizeof *hostile_names; i++) {
        hostile_name = hostile_names[i];
        struct harness_hostile test = {.name = hostile_name,
                                       .setup = hostile_setup,
                                       .target = hostile_target,
                                       .use = hostile_use,
                                       .teardown = hostile_teardown,
                                       .rounds = 15,
                                       .flips_max = 30};
        harness_hostile(&test, NULL);
        test.meanwhile = true;
        test.rounds = 3;
        harness_hostile(&test, NULL);
    }
}

int main(void) {
    harness_watchdog(180);
    name = harness_name("synckill");
    CHECK_RUN(test_kills_under_load);
    CHECK_RUN(test_barriers_break_and_go_on);
    CHECK_RUN(test_garbage_is_an_error_or_harmless);
    return 0;
}
