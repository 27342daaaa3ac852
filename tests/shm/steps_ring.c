/* steps_ring - rings: every crash point of writers and readers, and every order of those that race.
 *
 * Method: after a victim is gone, another writes a whole ring and readers account for every position;
 * items say where they stand. Capacity 4: every operation goes round the end. */
#include "stream.h"

#include "shm/segment.h"

#define CAPACITY 4

struct world {
    bool reliable;
    unsigned kind; /* of victim */
    hf_shm *shm;
    hf_shm_ring *ring;
    hf_shm_ring_reader *reader;
    tally tally;
    /* of the victim, or of each actor */
    hf_shm *shms[HARNESS_ACTORS_MAX];
    hf_shm_ring *rings[HARNESS_ACTORS_MAX];
    hf_shm_ring_reader *readers[HARNESS_ACTORS_MAX];
    uint64_t refused;
};

static hf_shm_ring *ring_open(hf_shm *shm, bool reliable) {
    hf_shm_ring_options options;
    hf_shm_ring_options_init(&options, sizeof(item), CAPACITY);
    options.readers_max = 3;
    options.reliable = reliable;
    hf_shm_ring *ring = NULL;
    hf_status status = hf_shm_ring_open(shm, "ring", HF_SHM_OPEN_OR_CREATE, &options, &ring);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    return ring;
}

static void world_setup(void *raw) {
    struct world *world = raw;
    world->shm = stream_segment("steps-ring", 64 << 10);
    world->ring = ring_open(world->shm, world->reliable);
    /* Six in a ring of four; then a reader at the oldest. */
    CHECK_EQ(items_push(world->ring, 6, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_release(world->ring), HF_OK);
    CHECK_EQ(hf_shm_ring_reader_open(world->ring, NULL, &world->reader), HF_OK);
    world->tally = tally_of(world->reader);
    CHECK_LE(world->tally.start, 3);
    if (world->reliable) tally_drain(&world->tally, world->reader, 64);
}

static void world_teardown(void *raw) {
    struct world *world = raw;
    hf_shm_ring_reader_close(world->reader);
    CHECK_EQ(hf_shm_ring_close(world->ring), HF_OK);
    CHECK_EQ(hf_shm_close(world->shm), HF_OK);
}

/* --- crash points ----------------------------------------------------------------------------- */

static void victim_prepare(void *raw) {
    struct world *world = raw;
    world->shms[0] = stream_segment("steps-ring", 0);
    world->rings[0] = ring_open(world->shms[0], world->reliable);
}

static void victim_writes(void *raw) {
    struct world *world = raw;
    CHECK_EQ(items_push(world->rings[0], 3, 0, NULL), HF_OK);
    if (world->reliable) {
        CHECK_EQ(hf_shm_ring_release(world->rings[0]), HF_OK);
        return;
    }
    void *run;
    uint64_t count;
    CHECK_EQ(hf_shm_ring_reserve(world->rings[0], 2, 0, &run, &count), HF_OK);
    item it = item_of(hf_shm_ring_total_written(world->rings[0]));
    hfi_shm_copy(run, &it, sizeof it);
    CHECK_EQ(hf_shm_ring_commit(world->rings[0], 1), HF_OK);
    CHECK_EQ(hf_shm_ring_release(world->rings[0]), HF_OK);
}

static void victim_reads(void *raw) {
    struct world *world = raw;
    hf_shm_ring_reader *reader = NULL;
    CHECK_EQ(hf_shm_ring_reader_open(world->rings[0], NULL, &reader), HF_OK);
    tally account = tally_of(reader);
    item two[2];
    uint64_t got, lost;
    CHECK_EQ(hf_shm_ring_pop_bulk(reader, two, 2, 0, &got, &lost), HF_OK);
    tally_take(&account, two, got, lost);
    CHECK_EQ(hf_shm_ring_peek(reader, two, 1, &got), HF_OK);
    CHECK(item_is(two, account.next));
    hf_shm_ring_reader_close(reader);
}

static void rescuer_writes(void *raw) {
    struct world *world = raw;
    victim_prepare(raw);
    /* There is room for one more, whether the victim's three are there or not. */
    if (world->reliable)
        CHECK_EQ(items_push(world->rings[0], 1, 0, NULL), HF_OK);
    else
        victim_writes(raw);
}

static void crash_verify(void *raw, bool finished) {
    struct world *world = raw;
    uint64_t written = hf_shm_ring_total_written(world->ring);
    if (finished && world->kind == 0) CHECK_EQ(written, world->reliable ? 9 : 10);
    /* Of a bulk all or nothing. */
    if (world->kind == 0) CHECK(written == 6 || written >= 9 || (world->reliable && written == 7));
    if (world->kind == 1) CHECK_EQ(written, 6);
    /* The next writer adds one: what the victim had begun to overwrite stays lost. */
    if (!world->reliable) CHECK_EQ(items_push(world->ring, 1, 0, NULL), HF_OK);
    tally_drain(&world->tally, world->reader, 3);
    CHECK_EQ(world->tally.next, written + !world->reliable);
    if (world->reliable) CHECK_EQ(world->tally.lost, 0);
    /* Whoever comes next writes a whole ring at once: nobody is waited for. */
    uint64_t pushed = 0;
    hf_status status = items_push(world->ring, CAPACITY, 0, &pushed);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    CHECK_EQ(pushed, CAPACITY);
    CHECK_EQ(tally_drain(&world->tally, world->reader, 2), CAPACITY);
    /* All places for readers can be had. */
    hf_shm_ring_reader *more[2];
    for (int i = 0; i < 2; i++)
        CHECK_EQ(hf_shm_ring_reader_open(world->ring, NULL, &more[i]), HF_OK);
    for (int i = 0; i < 2; i++)
        hf_shm_ring_reader_close(more[i]);
    stream_check(world->shm);
    CHECK_EQ(hf_shm_sweep(world->shm, NULL), HF_OK);
    stream_check(world->shm);
    hf_shm_figures figures;
    CHECK_EQ(hf_shm_figures_of(world->shm, "ring", &figures), HF_OK);
    CHECK_EQ(figures.readers, 1);
}

static const struct harness_steps writes = {.name = "writer",
                                            .setup = world_setup,
                                            .prepare = victim_prepare,
                                            .victim = victim_writes,
                                            .rescuer = rescuer_writes,
                                            .verify = crash_verify,
                                            .teardown = world_teardown};

static void test_writer_is_killed_anywhere(void) {
    for (int reliable = 0; reliable < 2; reliable++) {
        struct world world = {.reliable = reliable};
        harness_crash_points(&writes, &world, 7);
    }
}

static struct harness_steps reads(void) {
    struct harness_steps steps = writes;
    steps.name = "reader";
    steps.victim = victim_reads;
    steps.rescuer = NULL;
    return steps;
}

static void test_reader_is_killed_anywhere(void) {
    for (int reliable = 0; reliable < 2; reliable++) {
        struct world world = {.reliable = reliable, .kind = 1};
        struct harness_steps steps = reads();
        harness_crash_points(&steps, &world, 1);
    }
}

static void test_faults_of_crashes_are_caught(void) {
    struct world overwrite = {.kind = 0}, reliable = {.reliable = true, .kind = 1};
    struct harness_steps alone = writes, reader = reads();
    alone.rescuer = NULL;
    harness_mutant_is_caught(&alone, &overwrite, 602); /* a new writer forgets what was announced */
    harness_mutant_is_caught(&reader, &reliable, 604); /* dead readers are waited for             */
}

/* --- interleavings ---------------------------------------------------------------------------- */

static void weave_setup(void *raw) {
    struct world *world = raw;
    world->refused = 0;
    world->shm = stream_segment("steps-ring", 64 << 10);
    world->ring = ring_open(world->shm, world->reliable);
    CHECK_EQ(items_push(world->ring, 6, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_release(world->ring), HF_OK);
    for (unsigned i = 0; i < 2; i++) {
        world->shms[i] = stream_segment("steps-ring", 0);
        world->rings[i] = ring_open(world->shms[i], world->reliable);
        world->readers[i] = NULL;
    }
}

static void weave_teardown(void *raw) {
    struct world *world = raw;
    for (unsigned i = 0; i < 2; i++) {
        if (world->readers[i]) hf_shm_ring_reader_close(world->readers[i]);
        /* Refused for one who died while it opened a reader. */
        (void)hf_shm_ring_close(world->rings[i]);
        (void)hf_shm_close(world->shms[i]);
    }
    CHECK_EQ(hf_shm_ring_close(world->ring), HF_OK);
    CHECK_EQ(hf_shm_close(world->shm), HF_OK);
}

static void weave_die(void *raw, unsigned actor) {
    struct world *world = raw;
    hfi_shm_abandon(world->shms[actor]);
}

/* The writer goes round while the reader reads. */
static void actor_pushes(void *raw) {
    struct world *world = raw;
    CHECK_EQ(items_push(world->rings[0], 3, 0, NULL), HF_OK);
    CHECK_EQ(items_push(world->rings[0], 2, 0, NULL), HF_OK);
}

static void actor_drains(void *raw) {
    struct world *world = raw;
    CHECK_EQ(hf_shm_ring_reader_open(world->rings[1], NULL, &world->readers[1]), HF_OK);
    tally account = tally_of(world->readers[1]);
    item items[3];
    uint64_t got, position;
    got = hf_shm_ring_pop(world->readers[1], items, 0) == HF_OK;
    position = hf_shm_ring_position(world->readers[1]);
    tally_take(&account, items, got, position - got - account.next);
    tally_drain(&account, world->readers[1], 3);
    if (hf_shm_ring_latest(world->rings[1], items, 3, &got, &position) == HF_OK)
        for (uint64_t i = 0; i < got; i++)
            CHECK(item_is(&items[i], position + i));
    world->tally = account;
}

static void drain_verify(void *raw, int died) {
    struct world *world = raw;
    uint64_t written = hf_shm_ring_total_written(world->ring);
    if (died < 0) CHECK_EQ(written, 11);
    tally_drain(&world->tally, world->readers[1], 3);
    CHECK_EQ(world->tally.next, written);
    /* Somebody writes on; what the dead had announced is gone, and nothing else. */
    if (died >= 0) CHECK_EQ(items_push(world->ring, 1, 0, NULL), HF_OK);
    tally_drain(&world->tally, world->readers[1], 3);
    stream_check(world->shm);
}

static const struct harness_weave overwriting = {.name = "overwriting",
                                                 .actors = 2,
                                                 .setup = weave_setup,
                                                 .actor = {actor_pushes, actor_drains},
                                                 .die = weave_die,
                                                 .verify = drain_verify,
                                                 .teardown = weave_teardown,
                                                 .preemptions = 2,
                                                 .schedules_max = 5000};

/* A reader joins a reliable ring while the writer is about to go round; then one of them dies. */
static void actor_joins(void *raw) {
    struct world *world = raw;
    hf_shm_ring_reader *reader = NULL;
    CHECK_EQ(hf_shm_ring_reader_open(world->rings[0], NULL, &reader), HF_OK);
    world->readers[0] = reader;
    tally account = tally_of(reader);
    while (account.next < 9) {
        item items[4];
        uint64_t got, lost;
        CHECK_EQ(hf_shm_ring_pop_bulk(reader, items, 4, HF_FOREVER, &got, &lost), HF_OK);
        tally_take(&account, items, got, lost);
    }
    CHECK_EQ(account.lost, 0);
}

static void actor_fills(void *raw) {
    struct world *world = raw;
    uint64_t pushed = 0;
    CHECK_EQ(items_push(world->rings[1], 3, HF_FOREVER, &pushed), HF_OK);
    CHECK_EQ(pushed, 3);
}

static void join_verify(void *raw, int died) {
    struct world *world = raw;
    CHECK_EQ(hf_shm_ring_total_written(world->ring), 9);
    (void)died;
    stream_check(world->shm);
}

static const struct harness_weave joining = {.name = "joining",
                                             .actors = 2,
                                             .setup = weave_setup,
                                             .actor = {actor_joins, actor_fills},
                                             .die = weave_die,
                                             .verify = join_verify,
                                             .teardown = weave_teardown,
                                             .preemptions = 2,
                                             .schedules_max = 4000};

/* Two want to write. */
static void claims(struct world *world, unsigned actor) {
    hf_status status = items_push(world->rings[actor], 2, 0, NULL);
    if (status == HF_E_BUSY) {
        world->refused++;
        return;
    }
    CHECK_EQ(status, HF_OK);
    CHECK_EQ(items_push(world->rings[actor], 1, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_release(world->rings[actor]), HF_OK);
}

static void actor_claims(void *raw) {
    claims(raw, 0);
}

static void actor_claims_too(void *raw) {
    claims(raw, 1);
}

static void claim_verify(void *raw, int died) {
    struct world *world = raw;
    uint64_t written = hf_shm_ring_total_written(world->ring);
    if (died < 0) CHECK_EQ(written, 12 - 3 * world->refused);
    CHECK(written == 6 || written == 8 || written == 9 || written == 11 || written == 12);
    uint64_t oldest = hf_shm_ring_oldest(world->ring), got;
    item items[CAPACITY];
    if (oldest < written)
        CHECK_EQ(hf_shm_ring_read_at(world->ring, oldest, items, CAPACITY, &got), HF_OK);
    for (uint64_t i = 0; oldest < written && i < got; i++)
        CHECK(item_is(&items[i], oldest + i));
    CHECK_EQ(items_push(world->ring, CAPACITY, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_latest(world->ring, items, CAPACITY, &got, &oldest), HF_OK);
    CHECK_EQ(got, CAPACITY);
    for (uint64_t i = 0; i < got; i++)
        CHECK(item_is(&items[i], written + i));
    stream_check(world->shm);
}

static const struct harness_weave claiming = {.name = "claiming",
                                              .actors = 2,
                                              .setup = weave_setup,
                                              .actor = {actor_claims, actor_claims_too},
                                              .die = weave_die,
                                              .verify = claim_verify,
                                              .teardown = weave_teardown,
                                              .preemptions = 2,
                                              .schedules_max = 5000};

static void test_every_order_of_a_writer_that_overwrites_a_reader(void) {
    struct world world = {.reliable = false};
    harness_weave(&overwriting, &world);
}

static void test_every_order_of_joining_a_reliable_ring(void) {
    struct world world = {.reliable = true};
    harness_weave(&joining, &world);
}

static void test_every_order_of_two_writers(void) {
    struct world world = {.reliable = false};
    harness_weave(&claiming, &world);
}

static void test_faults_of_order_are_caught(void) {
    struct world overwrite = {.reliable = false}, reliable = {.reliable = true};
    harness_weave_mutant_is_caught(&overwriting, &overwrite, 601); /* announces nothing         */
    harness_weave_mutant_is_caught(&overwriting, &overwrite, 603); /* reader does not look      */
    harness_weave_mutant_is_caught(&overwriting, &overwrite, 609); /* nor does one who pops one */
    harness_weave_mutant_is_caught(&overwriting, &overwrite, 607); /* skips and does not count  */
    harness_weave_mutant_is_caught(&joining, &reliable, 605);      /* joins where it first stood */
    harness_weave_mutant_is_caught(&joining, &reliable, 606);      /* does not say how far       */
    harness_weave_mutant_is_caught(&claiming, &overwrite, 608);    /* takes a living one's lease */
}

/* --- a writer that goes round during every copy ------------------------------------------------ */

static struct world *lapping;
static void lap(void) {
    hfi_shm_step_hook = NULL;
    CHECK_EQ(items_push(lapping->ring, CAPACITY, 0, NULL), HF_OK);
    hfi_shm_step_hook = lap;
}

static void test_reader_that_is_lapped_every_time_is_told(void) {
    struct world world = {.reliable = false};
    world_setup(&world);
    lapping = &world;
    item items[CAPACITY];
    uint64_t got = 0, lost = 0, position;
    hfi_shm_step_hook = lap;
    hf_status status = hf_shm_ring_pop_bulk(world.reader, items, CAPACITY, 0, &got, &lost);
    CHECK_EQ(hf_shm_ring_latest(world.ring, items, 2, &got, &position), HF_E_BUSY);
    hfi_shm_step_hook = NULL;
    CHECK_EQ(status, HF_E_BUSY);
    tally_take(&world.tally, items, 0, lost);
    CHECK_EQ(hf_shm_ring_position(world.reader), world.tally.next);
    CHECK_GT(world.tally.lost, CAPACITY);
    CHECK_EQ(tally_drain(&world.tally, world.reader, 3), CAPACITY);
    CHECK_EQ(world.tally.next, hf_shm_ring_total_written(world.ring));
    stream_check(world.shm);
    world_teardown(&world);
}

int main(void) {
    CHECK_WATCHDOG(200);
    CHECK_RUN(test_writer_is_killed_anywhere);
    CHECK_RUN(test_reader_is_killed_anywhere);
    CHECK_RUN(test_faults_of_crashes_are_caught);
    CHECK_RUN(test_reader_that_is_lapped_every_time_is_told);
    CHECK_RUN(test_every_order_of_a_writer_that_overwrites_a_reader);
    CHECK_RUN(test_every_order_of_joining_a_reliable_ring);
    CHECK_RUN(test_every_order_of_two_writers);
    CHECK_RUN(test_faults_of_order_are_caught);
    return 0;
}
