/* queue_world.h - a segment with one queue in it, for the tests of queues.
 *
 * Contract    world_open makes both afresh, without a name; world_fill brings the positions to where a
 *             test wants them, with items that follow each other; an item is whole or fails the test.
 * Talks to    shm_queue.h, harness.h.   Called by test_queue*.c, steps_queue*.c. */
#ifndef HF_TESTS_QUEUE_WORLD_H
#define HF_TESTS_QUEUE_WORLD_H

#include <holdfast/shm_queue.h>

#include "harness.h"

/* What stands in an item: torn ones are told from whole ones. */
struct world_item {
    uint64_t value, inverse, spread[6];
};

struct world {
    hf_shm *shm;
    hf_shm_queue *queue;
    hf_shm_queue_options options;
    uint64_t laps, fill; /* items that went through before, items that lie in it */
    uint64_t next_in, next_out;
};

/* [ns] far longer than anything takes that is right; deliberate faults are not given as much. */
static uint64_t world_patience = UINT64_C(5000000000);

static inline struct world_item world_item_of(uint64_t value) {
    struct world_item item = {.value = value, .inverse = ~value};
    for (unsigned i = 0; i < 6; i++)
        item.spread[i] = value * (i + 3);
    return item;
}

/* The value of a whole item; a torn one fails the test. */
static inline uint64_t world_value(const struct world_item *item) {
    struct world_item whole = world_item_of(item->value);
    CHECK_SAY(memcmp(item, &whole, sizeof whole) == 0, "torn item: %" PRIx64 " and %" PRIx64,
              item->value, item->inverse);
    return item->value;
}

static inline struct world world_with(uint64_t capacity, bool bytes, bool single, bool redeliver) {
    struct world world = {0};
    hf_shm_queue_options_init(&world.options, sizeof(struct world_item), capacity);
    world.options.items = bytes ? HF_SHM_QUEUE_BYTES : HF_SHM_QUEUE_RECORDS;
    world.options.single = single;
    world.options.redeliver = redeliver;
    return world;
}

static inline void world_open(struct world *world) {
    hf_shm_options options;
    hf_shm_options_init(&options, 256 << 10);
    options.participants_max = 16;
    options.entries_max = 8;
    CHECK_SAY(hf_shm_create_anonymous(&options, &world->shm) == HF_OK, "%s", hf_shm_detail());
    CHECK_SAY(hf_shm_queue_open(world->shm, "queue", HF_SHM_CREATE, &world->options,
                                &world->queue) == HF_OK,
              "%s", hf_shm_detail());
    world->next_in = world->next_out = 0;
}

static inline void world_close(struct world *world) {
    CHECK_EQ(hf_shm_queue_close(world->queue), HF_OK);
    CHECK_EQ(hf_shm_close(world->shm), HF_OK);
}

static inline hf_status world_put(struct world *world, uint64_t value, uint64_t timeout_ns) {
    struct world_item item = world_item_of(value);
    return hf_shm_queue_put(world->queue, &item, sizeof item, timeout_ns);
}

static inline hf_status world_get(struct world *world, uint64_t *value_out, uint64_t timeout_ns) {
    struct world_item item;
    uint64_t size = 0;
    hf_status status = hf_shm_queue_get(world->queue, &item, sizeof item, timeout_ns, &size);
    if (status != HF_OK) return status;
    CHECK_EQ(size, sizeof item);
    *value_out = world_value(&item);
    return HF_OK;
}

static inline void world_expect_put(struct world *world, uint64_t value) {
    hf_status status = world_put(world, value, world_patience);
    CHECK_SAY(status == HF_OK, "put of %" PRIu64 ": %s", value, hf_status_name(status));
}

static inline void world_expect_get(struct world *world, uint64_t value) {
    uint64_t found = 0;
    hf_status status = world_get(world, &found, world_patience);
    CHECK_SAY(status == HF_OK, "get of %" PRIu64 ": %s", value, hf_status_name(status));
    CHECK_EQ(found, value);
}

static inline void world_fill(struct world *world) {
    for (uint64_t i = 0; i < world->laps; i++) {
        world_expect_put(world, world->next_in++);
        world_expect_get(world, world->next_out++);
    }
    for (uint64_t i = 0; i < world->fill; i++)
        world_expect_put(world, world->next_in++);
}

static inline int world_fault(const char *name, const char *fault, void *context) {
    (void)context;
    CHECK_FAIL("check of \"%s\": %s", name, fault);
    return 1;
}

/* Empty, sound, and its whole capacity can be used, twice round. */
static inline void world_expect_sound(struct world *world) {
    uint64_t value = 0, capacity = hf_shm_queue_capacity(world->queue);
    CHECK_EQ(world_get(world, &value, 0), HF_E_EMPTY);
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < capacity; i++)
            world_expect_put(world, 1000 + i);
        CHECK_EQ(world_put(world, 1, 0), HF_E_FULL);
        CHECK_EQ(hf_shm_queue_length(world->queue), capacity);
        for (uint64_t i = 0; i < capacity; i++)
            world_expect_get(world, 1000 + i);
        CHECK_EQ(world_get(world, &value, 0), HF_E_EMPTY);
        CHECK_EQ(hf_shm_queue_length(world->queue), 0);
    }
    CHECK_EQ(hf_shm_check(world->shm, "queue", world_fault, NULL), HF_OK);
}

#endif
