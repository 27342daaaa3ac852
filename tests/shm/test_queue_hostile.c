/* test_queue_hostile.c - garbage in a queue: an error or no harm; and repair makes it usable again.
 *
 * Method: random damage by harness_hostile before and while a child uses every function; then damage to
 * the words of slots and positions alone, after which repair must lead to a queue that check calls
 * sound and whose whole capacity can be used. Some damages are named ones that a peer could do. */
#include "queue_world.h"
#include "view_help.h"

#include <pthread.h>

#include "shm/queue.h"

static void world_setup(void *raw) {
    struct world *world = raw;
    world_open(world);
    world->laps = 3;
    world->fill = 2;
    world_fill(world);
    CHECK_EQ(hf_shm_queue_close(world->queue), HF_OK); /* of `single` the child takes both roles */
    CHECK_EQ(hf_shm_queue_open(world->shm, "queue", HF_SHM_OPEN, NULL, &world->queue), HF_OK);
}

static void world_target(void *raw, char **bytes_out, size_t *size_out) {
    struct world *world = raw;
    struct queue_shape *shape = &world->queue->shape;
    *bytes_out = world->queue->part.base;
    *size_out = QUEUE_SLOTS_OFFSET + (shape->mask + 1) * shape->stride;
}

static void world_teardown(void *raw) {
    struct world *world = raw;
    (void)hf_shm_queue_close(world->queue);
    (void)hf_shm_close(world->shm);
}

static void use_once(struct world *world, uint64_t timeout_ns) {
    struct world_item items[4] = {{0}};
    uint64_t sizes[4], done = 0;
    hf_shm_slot slot;
    hf_shm_figures figures;
    const hf_shm_bytes parts[] = {{items, sizeof *items}};
    (void)hf_shm_queue_put(world->queue, items, sizeof *items, timeout_ns);
    (void)hf_shm_queue_get(world->queue, items, sizeof *items, timeout_ns, &done);
    (void)hf_shm_queue_put_bulk(world->queue, items, NULL, 4, timeout_ns, &done);
    CHECK_LE(done, 4);
    (void)hf_shm_queue_get_bulk(world->queue, items, sizes, 4, timeout_ns, &done);
    CHECK_LE(done, 4);
    (void)hf_shm_queue_put_segmented(world->queue, parts, 1, timeout_ns);
    if (hf_shm_queue_reserve(world->queue, 0, timeout_ns, &slot) == HF_OK) {
        memset(slot.data, 1, slot.size);
        (void)hf_shm_queue_commit(world->queue, &slot);
    }
    if (hf_shm_queue_reserve(world->queue, 0, timeout_ns, &slot) == HF_OK)
        (void)hf_shm_queue_abandon(world->queue, &slot);
    if (hf_shm_queue_peek(world->queue, timeout_ns, &slot) == HF_OK) {
        CHECK_LE(slot.size, sizeof *items);
        memset(slot.data, 2, slot.size);
        (void)hf_shm_queue_release(world->queue, &slot);
    }
    CHECK_LE(hf_shm_queue_length(world->queue), hf_shm_queue_capacity(world->queue));
    (void)hf_shm_figures_of(world->shm, "queue", &figures);
    hf_shm_queue_wake(world->queue);
}

static void world_use(void *raw) {
    struct world *world = raw;
    size_t repaired = 0;
    for (unsigned i = 0; i < 3; i++)
        use_once(world, i == 2 ? 2000000 : 0);
    help_view_garbage(world->shm, "queue");
    (void)hf_shm_check(world->shm, "queue", NULL, NULL);
    (void)hf_shm_sweep(world->shm, &repaired);
    (void)hf_shm_repair(world->shm, "queue", &repaired);
    hf_shm_queue *again = NULL;
    if (hf_shm_queue_open(world->shm, "queue", HF_SHM_OPEN, NULL, &again) == HF_OK)
        (void)hf_shm_queue_close(again);
    for (unsigned i = 0; i < 3; i++)
        use_once(world, 0);
}

static void hostile(bool bytes, bool single, bool redeliver, bool meanwhile, unsigned rounds) {
    struct world world = world_with(4, bytes, single, redeliver);
    struct harness_hostile hostile = {.name = "queue",
                                      .setup = world_setup,
                                      .target = world_target,
                                      .use = world_use,
                                      .teardown = world_teardown,
                                      .rounds = rounds,
                                      .meanwhile = meanwhile};
    harness_hostile(&hostile, &world);
}

static void test_garbage_does_no_harm(void) {
    unsigned rounds = harness_kills(300) > 300 ? 5000 : 60;
    for (unsigned kind = 0; kind < 4; kind++)
        hostile(kind == 1, kind == 2, kind == 3, false, rounds);
}

static void test_garbage_while_it_runs_does_no_harm(void) {
    unsigned rounds = harness_kills(300) > 300 ? 1000 : 20;
    for (unsigned kind = 0; kind < 4; kind++)
        hostile(kind == 1, kind == 2, kind == 3, true, rounds);
}

/* --- repair ------------------------------------------------------------------------------------------ */

static void expect_usable_after_repair(struct world *world, const char *what, uint64_t seed) {
    size_t repaired = 0;
    for (unsigned tries = 0; tries < 8; tries++) {
        hf_status status = hf_shm_repair(world->shm, "queue", &repaired);
        CHECK_SAY(status == HF_OK, "%s: %s", what, hf_shm_detail());
        if (repaired == 0) break;
    }
    hf_status status = hf_shm_check(world->shm, "queue", NULL, NULL);
    CHECK_SAY(status == HF_OK, "%s, seed %" PRIu64 ": after repair: %s", what, seed,
              hf_shm_detail());
    struct world_item item;
    unsigned count = 0;
    while ((status = hf_shm_queue_get(world->queue, &item, sizeof item, 0, NULL)) == HF_OK)
        CHECK_LE(++count, 4);
    CHECK_SAY(status == HF_E_EMPTY, "%s, seed %" PRIu64 ": %s", what, seed, hf_status_name(status));
    world_expect_sound(world);
}

static void test_repair_brings_back_a_queue_with_random_slots(void) {
    check_random random = {harness_seed()};
    for (unsigned round = 0; round < 300; round++) {
        uint64_t seed = random.state;
        struct world world = world_with(4, false, false, round % 3 == 1);
        world_setup(&world);
        struct queue_shape *shape = &world.queue->shape;
        unsigned damages = 1 + (unsigned)check_random_below(&random, 2);
        for (unsigned i = 0; i < damages; i++) {
            struct queue_slot *slot =
                queue_slot_at(shape, check_random_below(&random, shape->mask + 1));
            switch (check_random_below(&random, 5)) {
            case 0: slot->state = check_random_next(&random); break;
            case 1: slot->state ^= UINT64_C(1) << check_random_below(&random, 64); break;
            case 2: slot->state += QUEUE_LAP_ONE; break;
            case 3: shape->header->tail = check_random_next(&random); break;
            default: shape->header->head = check_random_next(&random); break;
            }
        }
        expect_usable_after_repair(&world, "random damage", seed);
        world_teardown(&world);
    }
}

static void test_check_names_damage_and_repair_ends_it(void) {
    for (unsigned what = 0; what < 6; what++) {
        struct world world = world_with(4, false, false, false);
        world_setup(&world);
        struct queue_shape *shape = &world.queue->shape;
        struct queue_slot *slot = queue_slot_at(shape, 4); /* an item lies there */
        switch (what) {
        case 0: slot->state |= 0xF; break;                    /* no phase */
        case 1: slot->state += 5 * QUEUE_LAP_ONE; break;      /* far ahead */
        case 2: slot->state -= QUEUE_LAP_ONE; break;          /* behind */
        case 3: slot->state |= 7 << QUEUE_OWNER_SHIFT; break; /* FULL has no owner */
        case 4: shape->header->tail += 1000; break;
        default: shape->header->head += 1000; break;
        }
        CHECK_SAY(hf_shm_check(world.shm, "queue", NULL, NULL) == HF_E_CORRUPT, "case %u", what);
        struct world_item item = {0};
        hf_status put = hf_shm_queue_put(world.queue, &item, sizeof item, 0);
        hf_status get = hf_shm_queue_get(world.queue, &item, sizeof item, 0, NULL);
        CHECK_SAY(put == HF_OK || put == HF_E_CORRUPT || put == HF_E_FULL, "case %u", what);
        CHECK_SAY(get == HF_OK || get == HF_E_CORRUPT || get == HF_E_EMPTY, "case %u", what);
        expect_usable_after_repair(&world, "named damage", what);
        world_teardown(&world);
    }
}

static void test_check_and_repair_leave_a_busy_queue_alone(void) {
    struct world world = world_with(2, false, false, false);
    world_open(&world);
    fflush(stdout);
    pid_t children[2];
    int *stop = harness_shared(sizeof *stop);
    for (unsigned side = 0; side < 2; side++) {
        children[side] = fork();
        CHECK(children[side] >= 0);
        if (children[side] != 0) continue;
        CHECK_WATCHDOG(60);
        uint64_t value = 0, next = 0;
        while (!*(volatile int *)stop) {
            hf_status status =
                side == 0 ? world_put(&world, next, 1000000) : world_get(&world, &value, 1000000);
            if (status == HF_E_TIMEOUT) continue;
            CHECK_EQ(status, HF_OK);
            if (side == 1) CHECK_EQ(value, next);
            next++;
        }
        _exit(0);
    }
    hf_shm_figures figures = {0};
    while (figures.written < 50000) {
        size_t repaired = 0;
        CHECK_EQ(hf_shm_figures_of(world.shm, "queue", &figures), HF_OK);
        CHECK_SAY(hf_shm_check(world.shm, "queue", world_fault, NULL) == HF_OK, "%s",
                  hf_shm_detail());
        CHECK_EQ(hf_shm_repair(world.shm, "queue", &repaired), HF_OK);
    }
    *(volatile int *)stop = 1;
    for (unsigned side = 0; side < 2; side++)
        harness_expect_ok(children[side], "child");
    struct world_item item;
    while (hf_shm_queue_get(world.queue, &item, sizeof item, 0, NULL) == HF_OK)
        (void)world_value(&item);
    world_expect_sound(&world);
    world_close(&world);
}

struct rush {
    hf_shm_queue *queue;
    bool puts;
    _Atomic bool over;
};

static void *rush_run(void *raw) {
    struct rush *rush = raw;
    uint64_t value = 0;
    while (!rush->over) {
        hf_status status = rush->puts
                               ? hf_shm_queue_put(rush->queue, &value, sizeof value, 0)
                               : hf_shm_queue_get(rush->queue, &value, sizeof value, 0, NULL);
        CHECK(status == HF_OK || status == HF_E_FULL || status == HF_E_EMPTY);
    }
    return NULL;
}

/* Slots that are claimed while the check passes over them must not cost it a pass each: the watchdog. */
static void test_check_of_a_large_busy_queue_ends(void) {
    hf_shm_options options;
    hf_shm_options_init(&options, 24 << 20);
    hf_shm *shm = NULL;
    CHECK_EQ(hf_shm_create_anonymous(&options, &shm), HF_OK);
    hf_shm_queue_options shape;
    hf_shm_queue_options_init(&shape, sizeof(uint64_t), 1 << 20);
    struct rush rushes[2] = {{.puts = true}, {.puts = false}};
    pthread_t threads[2];
    hf_shm_queue *queue = NULL;
    CHECK_EQ(hf_shm_queue_open(shm, "queue", HF_SHM_CREATE, &shape, &queue), HF_OK);
    for (int i = 0; i < 2; i++) {
        rushes[i].queue = queue;
        CHECK_EQ(pthread_create(&threads[i], NULL, rush_run, &rushes[i]), 0);
    }
    for (int round = 0; round < 3; round++)
        CHECK_SAY(hf_shm_check(shm, "queue", world_fault, NULL) == HF_OK, "%s", hf_shm_detail());
    for (int i = 0; i < 2; i++) {
        rushes[i].over = true;
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(hf_shm_queue_close(queue), HF_OK);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
}

int main(void) {
    harness_watchdog(200);
    CHECK_RUN(test_garbage_does_no_harm);
    CHECK_RUN(test_garbage_while_it_runs_does_no_harm);
    CHECK_RUN(test_repair_brings_back_a_queue_with_random_slots);
    CHECK_RUN(test_check_names_damage_and_repair_ends_it);
    CHECK_RUN(test_check_and_repair_leave_a_busy_queue_alone);
    CHECK_RUN(test_check_of_a_large_busy_queue_ends);
    return 0;
}
