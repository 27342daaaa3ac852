/* steps_sync - pools, semaphores, mutexes, barriers, events, cells: every crash point, every order.
 *
 * Method: the victim is a child that is killed at its k-th shared access; the parent then takes and gives
 * back everything there is. In the interleavings each actor is a participant of its own (the segment
 * opened again); the first one also dies at each of its steps. */
#include <pthread.h>

#include <holdfast/shm_cells.h>
#include <holdfast/shm_event.h>
#include <holdfast/shm_mutex.h>
#include <holdfast/shm_pool.h>
#include <holdfast/shm_semaphore.h>

#include "shm/barrier_state.h"
#include "shm_help.h"

#define MS     ((uint64_t)1000000)
#define ACTORS 3

static const char *name;

struct world {
    hf_shm *shms[ACTORS];
    hf_shm_pool *pools[ACTORS];
    hf_shm_semaphore *semaphores[ACTORS];
    hf_shm_mutex *mutexes[ACTORS];
    hf_shm_barrier *barriers[ACTORS];
    hf_shm_event *events[ACTORS];
    hf_shm_cells *cells[ACTORS];
    /* What is under test; the rest is not made, so that a recovery has few steps. */
    char what;
    uint32_t parties;
    _Atomic uint64_t *first, *second, *inside; /* shared */
    hf_status results[ACTORS];
    uint32_t places[ACTORS];
};

static void parts_open(struct world *world, int i) {
    hf_shm *shm = world->shms[i] = help_make(name, 256 << 10);
    const hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE;
    if (world->what == 'p') {
        hf_shm_pool_options options;
        hf_shm_pool_options_init(&options, 3, 16);
        options.sanitize = 1;
        OK(hf_shm_pool_open(shm, "pool", mode, &options, &world->pools[i]));
    } else if (world->what == 's') {
        hf_shm_semaphore_options options;
        hf_shm_semaphore_options_init(&options, 3);
        OK(hf_shm_semaphore_open(shm, "semaphore", mode, &options, &world->semaphores[i]));
    } else if (world->what == 'm') {
        OK(hf_shm_mutex_open(shm, "mutex", mode, &world->mutexes[i]));
    } else if (world->what == 'b') {
        hf_shm_barrier_options options;
        hf_shm_barrier_options_init(&options, world->parties);
        OK(hf_shm_barrier_open(shm, "barrier", mode, &options, &world->barriers[i]));
    } else if (world->what == 'e') {
        hf_shm_event_options options;
        hf_shm_event_options_init(&options);
        options.automatic = 1;
        OK(hf_shm_event_open(shm, "event", mode, &options, &world->events[i]));
    } else {
        hf_shm_cells_options options;
        hf_shm_cells_options_init(&options, HF_SHM_CELL_U64, 2);
        OK(hf_shm_cells_open(shm, "cells", mode, &options, &world->cells[i]));
    }
}

static void world_setup(void *raw) {
    struct world *world = raw;
    if (!world->first) world->first = harness_shared(64);
    world->second = world->first + 1;
    world->inside = world->first + 2;
    *world->first = *world->second = *world->inside = 0;
    (void)hf_shm_remove(name); /* of a run that failed, as mutants do */
    for (int i = 0; i < ACTORS; i++) {
        world->results[i] = HF_E_EMPTY;
        world->places[i] = UINT32_MAX;
        parts_open(world, i);
    }
}

static void world_teardown(void *raw) {
    struct world *world = raw;
    for (int i = 0; i < ACTORS; i++) {
        hf_shm_pool_close(world->pools[i]);
        hf_shm_semaphore_close(world->semaphores[i]);
        hf_shm_mutex_close(world->mutexes[i]);
        hf_shm_barrier_close(world->barriers[i]);
        hf_shm_event_close(world->events[i]);
        hf_shm_cells_close(world->cells[i]);
        OK(hf_shm_close(world->shms[i]));
    }
}

static void actor_dies(void *raw, unsigned actor) {
    struct world *world = raw;
    hfi_shm_abandon(world->shms[actor]);
}

/* --- pool ------------------------------------------------------------------------------------- */

static void pool_victim(void *raw) {
    struct world *world = raw;
    hf_shm_pool *pool = world->pools[0];
    hf_shm_handle handles[2];
    size_t got = 0;
    OK(hf_shm_pool_acquire_bulk(pool, 0, handles, 2, &got));
    CHECK_EQ(got, 2);
    hfi_shm_copy(hf_shm_pool_at(pool, handles[0]), "0123456789abcde", 16);
    OK(hf_shm_pool_release(pool, handles[0]));
    hfi_shm_copy(hf_shm_pool_at(pool, handles[1]), "0123456789abcde", 16);
    *world->first = handles[1];
    OK(hf_shm_pool_pass(pool, handles[1]));
}

static void pool_rescuer(void *raw) {
    struct world *world = raw;
    hf_shm_handle handles[3];
    for (int i = 0; i < 3; i++)
        (void)hf_shm_pool_acquire(world->pools[0], 0, &handles[i]);
}

static void pool_verify(void *raw, bool finished) {
    struct world *world = raw;
    hf_shm_pool *pool = world->pools[1];
    hf_shm_handle handles[3], mine = 0;
    if (*world->first) {
        hf_status status = hf_shm_pool_adopt(pool, *world->first, &mine);
        CHECK(status == HF_OK || (status == HF_E_STALE && !finished));
        if (status == HF_OK) OK(hf_shm_pool_release(pool, mine));
    }
    for (int i = 0; i < 3; i++) {
        OK(hf_shm_pool_acquire(pool, 2000 * MS, &handles[i]));
        for (int b = 0; b < 16; b++)
            CHECK_EQ(((char *)hf_shm_pool_at(pool, handles[i]))[b], 0);
    }
    CHECK_EQ(hf_shm_pool_acquire(pool, 0, &mine), HF_E_EMPTY);
    OK(hf_shm_check(world->shms[1], NULL, NULL, NULL));
    OK(hf_shm_pool_release_bulk(pool, handles, 3, NULL));
}

static void test_pool_killed_anywhere(void) {
    struct world world = {.what = 'p'};
    const struct harness_steps steps = {.name = "pool",
                                        .setup = world_setup,
                                        .victim = pool_victim,
                                        .rescuer = pool_rescuer,
                                        .verify = pool_verify,
                                        .teardown = world_teardown};
    harness_crash_points(&steps, &world, 5);
}

/* --- semaphore -------------------------------------------------------------------------------- */

static void semaphore_victim(void *raw) {
    hf_shm_semaphore *semaphore = ((struct world *)raw)->semaphores[0];
    OK(hf_shm_semaphore_wait(semaphore, 2, 0));
    OK(hf_shm_semaphore_post(semaphore, 1));
    OK(hf_shm_semaphore_wait(semaphore, 1, 0));
    OK(hf_shm_semaphore_post(semaphore, 2));
}

static void semaphore_rescuer(void *raw) {
    hf_shm_semaphore *semaphore = ((struct world *)raw)->semaphores[0];
    OK(hf_shm_semaphore_wait(semaphore, 3, 2000 * MS));
    OK(hf_shm_semaphore_post(semaphore, 3));
}

static void semaphore_verify(void *raw, bool finished) {
    struct world *world = raw;
    (void)finished;
    hf_shm_semaphore *semaphore = world->semaphores[1];
    OK(hf_shm_semaphore_wait(semaphore, 3, 2000 * MS));
    CHECK_EQ(hf_shm_semaphore_wait(semaphore, 1, 0), HF_E_TIMEOUT);
    OK(hf_shm_semaphore_post(semaphore, 3));
    CHECK_EQ(hf_shm_semaphore_value(semaphore), 3);
}

static void test_semaphore_killed_anywhere(void) {
    struct world world = {.what = 's'};
    const struct harness_steps steps = {.name = "semaphore",
                                        .setup = world_setup,
                                        .victim = semaphore_victim,
                                        .rescuer = semaphore_rescuer,
                                        .verify = semaphore_verify,
                                        .teardown = world_teardown};
    harness_crash_points(&steps, &world, 7);
}

static void semaphore_use(struct world *world, int i, uint32_t count) {
    hf_shm_semaphore *semaphore = world->semaphores[i];
    OK(hf_shm_semaphore_wait(semaphore, count, HF_FOREVER));
    *world->inside += count;
    CHECK_LE(*world->inside, 3);
    hfi_shm_step();
    *world->inside -= count;
    OK(hf_shm_semaphore_post(semaphore, count));
}
static void semaphore_0(void *raw) {
    semaphore_use(raw, 0, 2);
}
static void semaphore_1(void *raw) {
    semaphore_use(raw, 1, 2);
}
static void semaphore_2(void *raw) {
    semaphore_use(raw, 2, 3);
}
/* A dead one does not write down that it is out. */
static void semaphore_dies(void *raw, unsigned actor) {
    actor_dies(raw, actor);
    *((struct world *)raw)->inside = 0;
}

static void semaphore_weave_verify(void *raw, int died) {
    struct world *world = raw;
    (void)died;
    OK(hf_shm_semaphore_wait(world->semaphores[1], 3, 2000 * MS));
    CHECK_EQ(hf_shm_semaphore_value(world->semaphores[1]), 0);
    OK(hf_shm_semaphore_post(world->semaphores[1], 3));
}

static void test_semaphore_in_every_order(void) {
    struct world world = {.what = 's'};
    const struct harness_weave weave = {.name = "semaphore",
                                        .actors = 3,
                                        .setup = world_setup,
                                        .actor = {semaphore_0, semaphore_1, semaphore_2},
                                        .die = semaphore_dies,
                                        .verify = semaphore_weave_verify,
                                        .teardown = world_teardown,
                                        .preemptions = 1,
                                        .schedules_max = 500};
    harness_weave(&weave, &world);
}

/* --- mutex ------------------------------------------------------------------------------------ */

static void mutex_section(struct world *world, int i, uint64_t timeout) {
    hf_shm_mutex *mutex = world->mutexes[i];
    hf_status status = hf_shm_mutex_lock(mutex, timeout);
    world->results[i] = status;
    if (status == HF_E_OWNER_DIED) {
        *world->second = *world->first;
        OK(hf_shm_mutex_consistent(mutex));
    } else {
        OK(status);
    }
    CHECK_EQ(*world->first, *world->second);
    hfi_shm_store64(world->first, *world->first + 1);
    hfi_shm_store64(world->second, *world->second + 1);
    OK(hf_shm_mutex_unlock(mutex));
}

static void mutex_victim(void *raw) {
    mutex_section(raw, 0, 2000 * MS);
}

static void mutex_verify(void *raw, bool finished) {
    struct world *world = raw;
    size_t swept = 0;
    hf_status died = HF_OK;
    if (HFI_SHM_MUTANT(532)) OK(hf_shm_sweep(world->shms[1], &swept));
    mutex_section(world, 1, 2000 * MS);
    died = world->results[1];
    if (finished) CHECK_EQ(died, HF_OK);
    mutex_section(world, 2, 0);
    CHECK_EQ(world->results[2], HF_OK); /* said once, as somebody has answered for it */
    CHECK_EQ(*world->first, *world->second);
}

static const struct harness_steps mutex_steps = {.name = "mutex",
                                                 .setup = world_setup,
                                                 .victim = mutex_victim,
                                                 .rescuer = mutex_victim,
                                                 .verify = mutex_verify,
                                                 .teardown = world_teardown};

static void test_mutex_killed_anywhere(void) {
    struct world world = {.what = 'm'};
    struct harness_steps alone = mutex_steps;
    alone.rescuer = NULL;
    harness_crash_points(&mutex_steps, &world, 3);
    world_setup(&world);
    world_teardown(&world);
    harness_mutant_is_caught(&alone, &world, 532); /* recovery says nothing of the death */
}

static void mutex_0(void *raw) {
    mutex_section(raw, 0, HF_FOREVER);
}
static void mutex_1(void *raw) {
    mutex_section(raw, 1, HF_FOREVER);
}
static void mutex_2(void *raw) {
    mutex_section(raw, 2, HF_FOREVER);
}

static void mutex_weave_verify(void *raw, int died) {
    struct world *world = raw;
    mutex_section(world, 1, 2000 * MS);
    if (died < 0) CHECK_EQ(world->results[1], HF_OK);
    if (died < 0) CHECK_EQ(*world->first, 4);
}

static void test_mutex_in_every_order(void) {
    struct world world = {.what = 'm'};
    struct harness_weave weave = {.name = "mutex",
                                  .actors = 3,
                                  .setup = world_setup,
                                  .actor = {mutex_0, mutex_1, mutex_2},
                                  .die = actor_dies,
                                  .verify = mutex_weave_verify,
                                  .teardown = world_teardown,
                                  .preemptions = 1,
                                  .schedules_max = 800};
    harness_weave(&weave, &world);
}

/* Actor 0 has died in the middle, with the lock. */
static void mutex_setup_dead(void *raw) {
    struct world *world = raw;
    world_setup(raw);
    OK(hf_shm_mutex_lock(world->mutexes[0], 0));
    *world->first = 1;
    actor_dies(raw, 0);
}

static void mutex_dead_verify(void *raw, int died) {
    struct world *world = raw;
    (void)died;
    CHECK_EQ((world->results[1] == HF_E_OWNER_DIED) + (world->results[2] == HF_E_OWNER_DIED), 1);
    CHECK_EQ(*world->first, 3);
    CHECK_EQ(*world->second, 3);
}

static void test_of_two_who_take_over_one_has_it(void) {
    struct world world = {.what = 'm'};
    const struct harness_weave weave = {.name = "mutex of a dead one",
                                        .actors = 2,
                                        .setup = mutex_setup_dead,
                                        .actor = {mutex_1, mutex_2},
                                        .verify = mutex_dead_verify,
                                        .teardown = world_teardown,
                                        .preemptions = 2,
                                        .schedules_max = 2000};
    harness_weave(&weave, &world);
    harness_weave_mutant_is_caught(&weave, &world, 531); /* takes over what is not the dead one's */
}

/* --- barrier ---------------------------------------------------------------------------------- */

static void barrier_victim(void *raw) {
    struct world *world = raw;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(hf_shm_barrier_wait(world->barriers[0], 0, NULL), HF_E_TIMEOUT);
}

static void barrier_rescuer(void *raw) {
    size_t swept = 0;
    OK(hf_shm_sweep(((struct world *)raw)->shms[0], &swept));
}

static void *barrier_thread(void *raw) {
    return (void *)(uintptr_t)(-hf_shm_barrier_wait(raw, 3000 * MS, NULL));
}

/* Two living parties get through it, after being told of a death at most once each. */
static void barrier_verify(void *raw, bool finished) {
    struct world *world = raw;
    barrier_rescuer(raw);
    CHECK_LE(hf_shm_barrier_round(world->barriers[0]), 1); /* one death, one round */
    for (int told = 0;; told++) {
        pthread_t thread;
        void *other = NULL;
        CHECK_EQ(pthread_create(&thread, NULL, barrier_thread, world->barriers[1]), 0);
        hf_status mine = hf_shm_barrier_wait(world->barriers[0], 3000 * MS, NULL);
        CHECK_EQ(pthread_join(thread, &other), 0);
        if (mine == HF_OK && other == NULL) return;
        CHECK(!finished || told == 0); /* the child that ended without closing has died, too */
        CHECK_LE(told, 3);
    }
}

static void test_barrier_killed_anywhere(void) {
    struct world world = {.what = 'b', .parties = 2};
    const struct harness_steps steps = {.name = "barrier",
                                        .setup = world_setup,
                                        .victim = barrier_victim,
                                        .rescuer = barrier_rescuer,
                                        .verify = barrier_verify,
                                        .teardown = world_teardown};
    harness_crash_points(&steps, &world, 5);
    harness_mutant_is_caught(&steps, &world, 542); /* one death breaks as many rounds as rescues */
}

static void barrier_come(struct world *world, int i, uint64_t timeout) {
    world->results[i] = hf_shm_barrier_wait(world->barriers[i], timeout, &world->places[i]);
}
static void barrier_0(void *raw) {
    barrier_come(raw, 0, HF_FOREVER);
}
static void barrier_1(void *raw) {
    barrier_come(raw, 1, HF_FOREVER);
}
static void barrier_2(void *raw) {
    barrier_come(raw, 2, HF_FOREVER);
}
static void barrier_0_looks(void *raw) {
    barrier_come(raw, 0, 0);
}
static void barrier_1_looks(void *raw) {
    barrier_come(raw, 1, 0);
}

static void barrier_looks_verify(void *raw, int died) {
    struct world *world = raw;
    (void)died;
    CHECK_EQ(world->results[0], world->results[1]); /* both passed, or both gave up */
    CHECK(world->results[0] == HF_OK || world->results[0] == HF_E_TIMEOUT);
    if (world->results[0] == HF_OK) CHECK_NE(world->places[0], world->places[1]);
    CHECK_EQ(hf_shm_barrier_waiting(world->barriers[0]), 0);
}

static void test_barrier_who_gives_up_has_not_come(void) {
    struct world world = {.what = 'b', .parties = 2};
    const struct harness_weave weave = {.name = "barrier, giving up",
                                        .actors = 2,
                                        .setup = world_setup,
                                        .actor = {barrier_0_looks, barrier_1_looks},
                                        .verify = barrier_looks_verify,
                                        .teardown = world_teardown,
                                        .preemptions = 3,
                                        .schedules_max = 2000};
    harness_weave(&weave, &world);
    harness_weave_mutant_is_caught(&weave, &world, 541); /* gives up without saying so */
}

/* All three have been through a round: a death at any step is one of a party. */
static void barrier_setup(void *raw) {
    struct world *world = raw;
    world_setup(raw);
    struct barrier_view *view = &world->barriers[0]->view;
    const uint64_t phase = *view->phase;
    for (uint32_t i = 0; i < world->parties; i++)
        view->seats[i] = seat_make(phase_round(phase), hfi_shm_self(world->shms[i]));
    *view->phase = phase_next(phase, false, 0);
    for (int i = 0; i < ACTORS; i++)
        world->barriers[i]->seen = phase_round(*view->phase);
}

static void barrier_weave_verify(void *raw, int died) {
    struct world *world = raw;
    CHECK_EQ(world->results[1], world->results[2]);
    CHECK(world->results[1] == HF_OK || (died == 0 && world->results[1] == HF_E_OWNER_DIED));
    CHECK_NE(world->places[1], world->places[2]);
    /* One death breaks one round, however many recover it; or it came after the end of this one. */
    size_t swept = 0;
    OK(hf_shm_sweep(world->shms[1], &swept));
    const uint32_t rounds = hf_shm_barrier_round(world->barriers[1]);
    CHECK_EQ(rounds, died == 0 && world->results[1] == HF_OK ? 3 : 2);
}

static void test_barrier_in_every_order(void) {
    struct world world = {.what = 'b', .parties = 3};
    struct harness_weave weave = {.name = "barrier",
                                  .actors = 3,
                                  .setup = barrier_setup,
                                  .actor = {barrier_0, barrier_1, barrier_2},
                                  .die = actor_dies,
                                  .verify = barrier_weave_verify,
                                  .teardown = world_teardown,
                                  .preemptions = 1,
                                  .schedules_max = 500};
    harness_weave(&weave, &world);
    harness_weave_mutant_is_caught(&weave, &world, 543); /* a death breaks nothing */
}

/* --- event, cells ----------------------------------------------------------------------------- */

static void event_victim(void *raw) {
    struct world *world = raw;
    OK(hf_shm_event_set(world->events[0]));
    OK(hf_shm_event_wait(world->events[0], 0));
    OK(hf_shm_event_set(world->events[0]));
}
static void event_verify(void *raw, bool finished) {
    struct world *world = raw;
    if (finished) CHECK_EQ(hf_shm_event_is_set(world->events[1]), 1);
    OK(hf_shm_event_set(world->events[1]));
    OK(hf_shm_event_wait(world->events[2], 0));
    CHECK_EQ(hf_shm_event_wait(world->events[2], 0), HF_E_TIMEOUT);
}

static void cells_victim(void *raw) {
    struct world *world = raw;
    OK(hf_shm_cells_add(world->cells[0], 0, (hf_shm_cell){.u64 = 5}, NULL));
    OK(hf_shm_cells_max(world->cells[0], 1, (hf_shm_cell){.u64 = 9}, NULL));
}
static void cells_verify(void *raw, bool finished) {
    struct world *world = raw;
    hf_shm_cell sum, most;
    OK(hf_shm_cells_load(world->cells[1], 0, &sum));
    OK(hf_shm_cells_load(world->cells[1], 1, &most));
    CHECK(sum.u64 == 5 || (!finished && sum.u64 == 0));
    CHECK(most.u64 == 9 || (!finished && most.u64 == 0));
}

static void test_event_and_cells_killed_anywhere(void) {
    struct world events = {.what = 'e'}, cells = {.what = 'c'};
    struct harness_steps steps = {.name = "event",
                                  .setup = world_setup,
                                  .victim = event_victim,
                                  .verify = event_verify,
                                  .teardown = world_teardown};
    harness_crash_points(&steps, &events, 1);
    steps.name = "cells";
    steps.victim = cells_victim;
    steps.verify = cells_verify;
    harness_crash_points(&steps, &cells, 1);
}

static void event_sets(void *raw) {
    OK(hf_shm_event_set(((struct world *)raw)->events[0]));
}
static void event_waits_1(void *raw) {
    OK(hf_shm_event_wait(((struct world *)raw)->events[1], HF_FOREVER));
    *((struct world *)raw)->inside += 1;
}
static void event_looks_2(void *raw) {
    *((struct world *)raw)->inside +=
        hf_shm_event_wait(((struct world *)raw)->events[2], 0) == HF_OK;
    /* Whoever was let pass, the other one is let pass as well now. */
    OK(hf_shm_event_set(((struct world *)raw)->events[2]));
}
static void event_weave_verify(void *raw, int died) {
    struct world *world = raw;
    (void)died;
    /* Two sets let at most two pass, and what is left of them is still there. */
    const uint64_t passed = *world->inside + (uint64_t)hf_shm_event_is_set(world->events[0]);
    CHECK(passed >= 1 && passed <= 2);
}

static void cells_add_0(void *raw) {
    OK(hf_shm_cells_add(((struct world *)raw)->cells[0], 0, (hf_shm_cell){.u64 = 1}, NULL));
}
static void cells_add_1(void *raw) {
    OK(hf_shm_cells_add(((struct world *)raw)->cells[1], 0, (hf_shm_cell){.u64 = 1}, NULL));
}
static void cells_weave_verify(void *raw, int died) {
    hf_shm_cell sum;
    (void)died;
    OK(hf_shm_cells_load(((struct world *)raw)->cells[2], 0, &sum));
    CHECK_EQ(sum.u64, 2);
}

static void test_event_and_cells_in_every_order(void) {
    struct world events = {.what = 'e'}, cells = {.what = 'c'};
    const struct harness_weave weave = {.name = "event",
                                        .actors = 3,
                                        .setup = world_setup,
                                        .actor = {event_sets, event_waits_1, event_looks_2},
                                        .verify = event_weave_verify,
                                        .teardown = world_teardown,
                                        .preemptions = 2,
                                        .schedules_max = 3000};
    const struct harness_weave adds = {.name = "cells",
                                       .actors = 2,
                                       .setup = world_setup,
                                       .actor = {cells_add_0, cells_add_1},
                                       .verify = cells_weave_verify,
                                       .teardown = world_teardown,
                                       .preemptions = 2};
    harness_weave(&weave, &events);
    harness_weave_mutant_is_caught(&weave, &events, 522); /* looks, then clears: two pass */
    harness_weave(&adds, &cells);
    harness_weave_mutant_is_caught(&adds, &cells, 551); /* adds in two steps */
}

int main(void) {
    CHECK_WATCHDOG(300);
    name = harness_name("steps-sync");
    CHECK_RUN(test_event_and_cells_killed_anywhere);
    CHECK_RUN(test_event_and_cells_in_every_order);
    CHECK_RUN(test_pool_killed_anywhere);
    CHECK_RUN(test_semaphore_killed_anywhere);
    CHECK_RUN(test_semaphore_in_every_order);
    CHECK_RUN(test_mutex_killed_anywhere);
    CHECK_RUN(test_mutex_in_every_order);
    CHECK_RUN(test_of_two_who_take_over_one_has_it);
    CHECK_RUN(test_barrier_killed_anywhere);
    CHECK_RUN(test_barrier_who_gives_up_has_not_come);
    CHECK_RUN(test_barrier_in_every_order);
    return 0;
}
