/* steps_harness.c - the methods themselves: they find a planted fault, and pass what is right.
 *
 * Method: a counter that is added to in one access (right), in two (a lost update), and a pair of
 * counters of which a killed writer leaves one behind. */
#include "harness.h"

#include <signal.h>

#include "shm/access.h"

struct world {
    _Atomic uint64_t *counter, *other;
};

static void world_setup(void *raw) {
    struct world *world = raw;
    *world->counter = *world->other = 0;
}

static void add(void *raw) {
    struct world *world = raw;
    if (HFI_SHM_MUTANT(1))
        hfi_shm_store64(world->counter, hfi_shm_load64(world->counter) + 1);
    else
        hfi_shm_add64(world->counter, 1);
}

static void add_die(void *raw, unsigned actor) {
    (void)raw, (void)actor;
}

static void add_verify(void *raw, int died) {
    struct world *world = raw;
    if (died < 0)
        CHECK_EQ(*world->counter, 3);
    else
        CHECK(*world->counter == 2 || *world->counter == 3);
}

static const struct harness_weave adds = {.name = "add",
                                          .actors = 3,
                                          .setup = world_setup,
                                          .actor = {add, add, add},
                                          .die = add_die,
                                          .verify = add_verify,
                                          .preemptions = 2};

static void test_weave_of_atomic_adds_runs_every_order(void) {
    struct world world = {harness_shared(8), harness_shared(8)};
    CHECK_GE(harness_weave(&adds, &world), 6); /* 3! */
}

static void test_weave_finds_the_lost_update(void) {
    struct world world = {harness_shared(8), harness_shared(8)};
    harness_weave_mutant_is_caught(&adds, &world, 1);
}

static void pair_write(void *raw) {
    struct world *world = raw;
    hfi_shm_add64(world->counter, 1);
    hfi_shm_add64(world->other, 1);
}

static void pair_mend(void *raw) {
    struct world *world = raw;
    if (HFI_SHM_MUTANT(1)) return;
    hfi_shm_store64(world->other, hfi_shm_load64(world->counter));
}

static void pair_verify(void *raw, bool finished) {
    struct world *world = raw;
    pair_mend(world);
    CHECK_EQ(*world->counter, *world->other);
    if (finished) CHECK_EQ(*world->counter, 1);
}

static const struct harness_steps pair = {.name = "pair",
                                          .setup = world_setup,
                                          .victim = pair_write,
                                          .rescuer = pair_mend,
                                          .verify = pair_verify};

static void test_steps_kill_at_each_access(void) {
    struct world world = {harness_shared(8), harness_shared(8)};
    CHECK_EQ(harness_crash_points(&pair, &world, 1), 2);
}

static void test_steps_find_what_is_not_mended(void) {
    struct world world = {harness_shared(8), harness_shared(8)};
    harness_mutant_is_caught(&pair, &world, 1);
}

struct tally {
    _Atomic uint32_t begun[3], killed;
};

static int tally_work(void *raw, unsigned worker, unsigned incarnation, const volatile int *stop) {
    struct tally *tally = raw;
    (void)incarnation;
    tally->begun[worker]++;
    while (!*stop)
        usleep(200);
    return 0;
}

static void tally_killed(void *raw, unsigned worker, unsigned incarnation) {
    struct tally *tally = raw;
    CHECK_LT(worker, 2); /* the third is spared */
    (void)incarnation;
    tally->killed++;
}

static void test_storm_kills_as_often_as_asked(void) {
    struct tally *tally = harness_shared(sizeof *tally);
    struct harness_storm storm = {.name = "tally",
                                  .workers = 3,
                                  .kills = 20,
                                  .stops = 3,
                                  .stop_ms = 1,
                                  .spare_mask = 1u << 2,
                                  .work = tally_work,
                                  .killed = tally_killed};
    harness_storm(&storm, tally);
    CHECK_EQ(tally->killed, 20);
    CHECK_LE(tally->begun[0] + tally->begun[1], 22);
}

int main(void) {
    CHECK_WATCHDOG(100);
    CHECK_RUN(test_weave_of_atomic_adds_runs_every_order);
    CHECK_RUN(test_weave_finds_the_lost_update);
    CHECK_RUN(test_steps_kill_at_each_access);
    CHECK_RUN(test_steps_find_what_is_not_mended);
    CHECK_RUN(test_storm_kills_as_often_as_asked);
    return 0;
}
