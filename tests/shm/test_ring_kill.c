/* test_ring_kill - rings under load, with writers and readers killed and stopped at random.
 *
 * Method: items say where they stand, so every reader checks each element it gets; received + lost is
 * the way it went. In the reliable ring one reader is spared: it must get every element there is. */
#include "stream.h"

#define WRITERS 2
#define READERS 3

struct world {
    const char *segment;
    bool reliable, stopped_only;
    uint64_t capacity;
    hf_shm *shm; /* of the test's process */
    hf_shm_ring *ring;
    struct counters {
        _Atomic uint64_t received, lost, pushed, refused, laps;
    } * counters;
};

static hf_shm_ring *ring_open(const struct world *world, hf_shm *shm, hf_shm_mode mode) {
    hf_shm_ring_options options;
    hf_shm_ring_options_init(&options, sizeof(item), world->capacity);
    options.readers_max = READERS + 3;
    options.reliable = world->reliable;
    hf_shm_ring *ring = NULL;
    hf_status status = hf_shm_ring_open(shm, "ring", mode, &options, &ring);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    return ring;
}

static void ring_look(const struct world *world, hf_shm_ring *ring) {
    item items[8];
    uint64_t got, position;
    hf_status status = hf_shm_ring_latest(ring, items, 8, &got, &position);
    if (status == HF_OK)
        for (uint64_t i = 0; i < got; i++)
            CHECK(item_is(&items[i], position + i));
    else
        CHECK(status == HF_E_EMPTY || (status == HF_E_BUSY && world->capacity < 8));
}

static int writer(struct world *world, hf_shm_ring *ring, check_random *random,
                  const volatile int *stop) {
    while (!*stop) {
        uint64_t count = 1 + check_random_below(random, 40), pushed = 0;
        hf_status status;
        if (check_random_below(random, 4) == 0 && hf_shm_ring_claim(ring) == HF_OK) {
            void *run;
            uint64_t room;
            status = hf_shm_ring_reserve(ring, count, 1000000, &run, &room);
            if (status == HF_OK) {
                uint64_t position = hf_shm_ring_total_written(ring);
                for (uint64_t i = 0; i < room; i++)
                    ((item *)run)[i] = item_of(position + i);
                pushed = check_random_below(random, room + 1);
                CHECK_EQ(hf_shm_ring_commit(ring, pushed), HF_OK);
            }
        } else {
            status = items_push(ring, count, 1000000, &pushed);
        }
        world->counters->pushed += pushed;
        if (status == HF_E_BUSY) { /* the other one writes */
            world->counters->refused++;
            ring_look(world, ring);
            usleep(200);
        } else {
            CHECK_SAY(status == HF_OK || status == HF_E_TIMEOUT, "%d, %s", status, hf_shm_detail());
            if (check_random_below(random, 50) == 0) CHECK_EQ(hf_shm_ring_release(ring), HF_OK);
        }
    }
    return 0;
}

static int reader(struct world *world, hf_shm_ring *ring, check_random *random,
                  const volatile int *stop) {
    hf_shm_ring_reader *reader = NULL;
    hf_status status = hf_shm_ring_reader_open(ring, NULL, &reader);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    tally account = tally_of(reader);
    while (!*stop) {
        item items[64];
        uint64_t got = 0, lost = 0;
        status = hf_shm_ring_pop_bulk(reader, items, 1 + check_random_below(random, 64), 1000000,
                                      &got, &lost);
        if (status != HF_OK) got = 0;
        tally_take(&account, items, got, lost);
        CHECK_EQ(account.next, hf_shm_ring_position(reader));
        CHECK_EQ(account.received + account.lost, account.next - account.start);
        CHECK_EQ(account.lost, hf_shm_ring_lost(reader));
        if (status == HF_E_BUSY) world->counters->laps++;
        CHECK_SAY(status == HF_OK || status == HF_E_TIMEOUT || status == HF_E_BUSY, "%d, %s",
                  status, hf_shm_detail());
        if (check_random_below(random, 30) == 0) ring_look(world, ring);
        if (check_random_below(random, 200) == 0) usleep(300);
    }
    if (world->reliable) CHECK_EQ(account.lost, 0);
    world->counters->received += account.received;
    world->counters->lost += account.lost;
    hf_shm_ring_reader_close(reader);
    return 0;
}

static int work(void *raw, unsigned worker, unsigned incarnation, const volatile int *stop) {
    struct world *world = raw;
    check_random random = {harness_seed() + worker * 1000 + incarnation};
    hf_shm *shm = stream_segment(world->segment, 0);
    hf_shm_ring *ring = ring_open(world, shm, HF_SHM_OPEN);
    int result =
        worker < WRITERS ? writer(world, ring, &random, stop) : reader(world, ring, &random, stop);
    CHECK_EQ(hf_shm_ring_close(ring), HF_OK);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
    return result;
}

/* A whole ring can be written at once, and is read whole. */
static void verify(struct world *world) {
    stream_check(world->shm);
    uint64_t pushed = 0, written = hf_shm_ring_total_written(world->ring), got, position;
    CHECK_GE(written, world->counters->pushed);
    hf_status status = hf_shm_ring_claim(world->ring);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    item *items = malloc(world->capacity * sizeof(item));
    for (uint64_t i = 0; i < world->capacity; i++)
        items[i] = item_of(written + i);
    CHECK_EQ(hf_shm_ring_push_bulk(world->ring, items, world->capacity, 0, &pushed), HF_OK);
    CHECK_EQ(pushed, world->capacity);
    CHECK_EQ(hf_shm_ring_latest(world->ring, items, world->capacity, &got, &position), HF_OK);
    CHECK_EQ(got, world->capacity);
    for (uint64_t i = 0; i < got; i++)
        CHECK(item_is(&items[i], position + i));
    free(items);
    CHECK_EQ(hf_shm_sweep(world->shm, NULL), HF_OK);
    hf_shm_figures figures;
    CHECK_EQ(hf_shm_figures_of(world->shm, "ring", &figures), HF_OK);
    CHECK_EQ(figures.readers, 0);
    CHECK_EQ(figures.writers, 1);
    if (world->stopped_only) CHECK_EQ(figures.recovered, 0);
    printf("  %" PRIu64 " written, %" PRIu64 " received and %" PRIu64 " lost by readers that "
           "ended well, %" PRIu64 " refused writers, %" PRIu64 " laps, %" PRIu64 " recovered\n",
           written, (uint64_t)world->counters->received, (uint64_t)world->counters->lost,
           (uint64_t)world->counters->refused, (uint64_t)world->counters->laps, figures.recovered);
}

static void storm_run(const char *name, struct world world, unsigned kills, unsigned stops) {
    world.counters = harness_shared(sizeof *world.counters);
    world.segment = "ring-kill";
    world.shm = stream_segment(world.segment, 4 << 20);
    world.ring = ring_open(&world, world.shm, HF_SHM_CREATE);
    world.stopped_only = kills == 0;
    struct harness_storm storm = {.name = name,
                                  .workers = WRITERS + READERS,
                                  .kills = kills,
                                  .stops = stops,
                                  .stop_ms = 5,
                                  .spare_mask = world.reliable && kills > 0 ? 1u << WRITERS : 0,
                                  .work = work,
                                  .pace_us = 1500};
    harness_storm(&storm, &world);
    verify(&world);
    CHECK_EQ(hf_shm_ring_close(world.ring), HF_OK);
    CHECK_EQ(hf_shm_close(world.shm), HF_OK);
}

static void test_overwriting_ring_survives_kills(void) {
    storm_run("overwrite", (struct world){.capacity = 100}, harness_kills(400), 10);
    storm_run("overwrite, small", (struct world){.capacity = 3}, harness_kills(200), 5);
}

static void test_reliable_ring_survives_kills_and_loses_nothing(void) {
    storm_run("reliable", (struct world){.reliable = true, .capacity = 128}, harness_kills(400),
              10);
    storm_run("reliable, small", (struct world){.reliable = true, .capacity = 5},
              harness_kills(200), 5);
}

static void test_stopped_processes_are_not_dead(void) {
    storm_run("stops", (struct world){.reliable = true, .capacity = 64}, 0, 40);
}

int main(void) {
    harness_watchdog(280);
    CHECK_RUN(test_overwriting_ring_survives_kills);
    CHECK_RUN(test_reliable_ring_survives_kills_and_loses_nothing);
    CHECK_RUN(test_stopped_processes_are_not_dead);
    return 0;
}
