/* test_queue.c - a queue does what shm_queue.h says, with nobody being killed.
 *
 * Method: each sentence of the header in a process by itself, with threads where somebody waits, and
 * with forked children where owners matter. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "queue_world.h"

static struct world world_of(uint64_t capacity, bool bytes, bool single, bool redeliver) {
    struct world world = world_with(capacity, bytes, single, redeliver);
    world_open(&world);
    return world;
}

static void test_items_come_out_in_order_in_every_kind(void) {
    for (unsigned kind = 0; kind < 8; kind++) {
        for (uint64_t capacity = 1; capacity <= 8; capacity *= 2) {
            struct world world = world_of(capacity, kind & 1, kind & 2, kind & 4);
            CHECK_EQ(hf_shm_queue_capacity(world.queue), capacity);
            world.laps = 3 * capacity + 1;
            world.fill = capacity;
            world_fill(&world);
            CHECK_EQ(world_put(&world, 0, 0), HF_E_FULL);
            CHECK_EQ(world_put(&world, 0, 1000000), HF_E_TIMEOUT);
            while (world.next_out < world.next_in)
                world_expect_get(&world, world.next_out++);
            uint64_t value;
            CHECK_EQ(world_get(&world, &value, 1000000), HF_E_TIMEOUT);
            world_expect_sound(&world);
            world_close(&world);
        }
    }
}

static void test_records_of_every_size_stay_whole(void) {
    static const uint64_t sizes[] = {1,  3,  7,  8,  9,  12, 15, 16, 17, 24,  31,
                                     32, 33, 47, 48, 49, 56, 63, 64, 65, 100, 4096};
    struct world world = {0};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (unsigned single = 0; single < 2; single++) {
            unsigned char in[4096 + 8], out[4096 + 8];
            hf_shm_queue_options_init(&world.options, sizes[i], 4);
            world.options.single = single;
            world_open(&world);
            for (unsigned round = 0; round < 9; round++) {
                for (unsigned k = 0; k < sizeof in; k++)
                    in[k] = (unsigned char)(k * 7 + round);
                memset(out, 0xEE, sizeof out);
                CHECK_EQ(hf_shm_queue_put(world.queue, in, sizes[i], 0), HF_OK);
                CHECK_EQ(hf_shm_queue_get(world.queue, out, sizeof out, 0, NULL), HF_OK);
                CHECK(memcmp(in, out, sizes[i]) == 0);
                CHECK_EQ(out[sizes[i]], 0xEE);
            }
            world_close(&world);
        }
    }
}

static void test_capacity_is_rounded_up_to_a_power_of_two(void) {
    struct world world = world_of(5, false, false, false);
    CHECK_EQ(hf_shm_queue_capacity(world.queue), 8);
    CHECK_EQ(hf_shm_queue_element_size(world.queue), sizeof(struct world_item));
    world_close(&world);
}

static void test_options_out_of_range_are_refused_with_a_sentence(void) {
    struct world world = world_of(2, false, false, false);
    hf_shm_queue *queue = NULL;
    hf_shm_queue_options options;
    const struct {
        uint64_t element_size, capacity;
        uint32_t items, single, struct_size;
    } wrong[] = {{0, 4, 0, 0, 0},
                 {8, 0, 0, 0, 0},
                 {8, HF_SHM_QUEUE_CAPACITY_MAX + 1, 0, 0, 0},
                 {UINT64_MAX, 4, 0, 0, 0},
                 {HF_SHM_SIZE_MAX, 1024, 0, 0, 0},
                 {8, 4, 2, 0, 0},
                 {8, 4, 0, 2, 0},
                 {8, 4, 0, 0, 1}};
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        hf_shm_queue_options_init(&options, wrong[i].element_size, wrong[i].capacity);
        options.items = wrong[i].items;
        options.single = wrong[i].single;
        if (wrong[i].struct_size) options.struct_size = wrong[i].struct_size;
        hf_status status = hf_shm_queue_open(world.shm, "other", HF_SHM_CREATE, &options, &queue);
        CHECK_SAY(status == HF_E_INVALID, "case %u: %s", i, hf_status_name(status));
        CHECK(strlen(hf_shm_detail()) > 0 && queue == NULL);
    }
    CHECK_EQ(hf_shm_queue_open(world.shm, NULL, HF_SHM_CREATE, &world.options, &queue),
             HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_open(NULL, "other", HF_SHM_CREATE, &world.options, &queue), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_open(world.shm, "absent", HF_SHM_OPEN, NULL, &queue), HF_E_NOT_FOUND);
    world_close(&world);
}

static void test_arguments_that_make_no_sense_are_refused(void) {
    struct world world = world_of(2, false, false, false);
    struct world_item item = {0};
    hf_shm_slot slot = {0};
    uint64_t done = 7;
    CHECK_EQ(hf_shm_queue_put(NULL, &item, sizeof item, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_put(world.queue, NULL, sizeof item, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_put(world.queue, &item, 8, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_put(world.queue, &item, sizeof item + 1, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_put(world.queue, &item, UINT64_MAX, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_get(NULL, &item, sizeof item, 0, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_get(world.queue, NULL, sizeof item, 0, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_get(world.queue, &item, 8, 0, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_put_bulk(world.queue, NULL, NULL, 1, 0, &done), HF_E_INVALID);
    CHECK_EQ(done, 0);
    CHECK_EQ(hf_shm_queue_get_bulk(world.queue, &item, NULL, 0, 0, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_put_segmented(world.queue, NULL, 1, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_reserve(world.queue, 9, 0, &slot), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_reserve(world.queue, 0, 0, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_peek(NULL, 0, &slot), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_commit(world.queue, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_queue_close(NULL), HF_E_INVALID);
    slot.size = sizeof item;
    CHECK_EQ(hf_shm_queue_commit(world.queue, &slot), HF_E_STALE);
    CHECK_EQ(hf_shm_queue_abandon(world.queue, &slot), HF_E_STALE);
    CHECK_EQ(hf_shm_queue_release(world.queue, &slot), HF_E_STALE);
    CHECK_EQ(hf_shm_queue_length(NULL), 0);
    world_expect_sound(&world);
    world_close(&world);
}

static void test_another_kind_size_or_format_is_a_mismatch_that_names_both(void) {
    struct world world = world_of(4, false, false, false);
    hf_shm_queue *queue = NULL;
    for (unsigned what = 0; what < 6; what++) {
        hf_shm_queue_options options = world.options;
        switch (what) {
        case 0: options.element_size = 32; break;
        case 1: options.capacity = 8; break;
        case 2: options.items = HF_SHM_QUEUE_BYTES; break;
        case 3: options.single = 1; break;
        case 4: options.redeliver = 1; break;
        default: options.format = "<f8"; break;
        }
        hf_status status =
            hf_shm_queue_open(world.shm, "queue", HF_SHM_OPEN_OR_CREATE, &options, &queue);
        CHECK_SAY(status == HF_E_MISMATCH, "case %u: %s: %s", what, hf_status_name(status),
                  hf_shm_detail());
        CHECK(strlen(hf_shm_detail()) > 0);
    }
    CHECK_EQ(hf_shm_queue_open(world.shm, "queue", HF_SHM_OPEN, NULL, &queue), HF_OK);
    hf_shm_queue_options found;
    hf_shm_queue_options_of(queue, &found);
    CHECK_EQ(found.element_size, sizeof(struct world_item));
    CHECK_EQ(found.capacity, 4);
    CHECK_EQ(found.items, HF_SHM_QUEUE_RECORDS);
    CHECK_EQ(hf_shm_queue_close(queue), HF_OK);
    CHECK_EQ(hf_shm_queue_open(world.shm, "queue", HF_SHM_OPEN_OR_CREATE, &world.options, &queue),
             HF_OK);
    world_expect_put(&world, 5);
    CHECK_EQ(hf_shm_queue_length(queue), 1);
    CHECK_EQ(hf_shm_queue_close(queue), HF_OK);
    world_expect_get(&world, 5);
    world_close(&world);
}

static void test_bytes_keep_their_length(void) {
    struct world world = world_of(4, true, false, false);
    char in[sizeof(struct world_item)], out[sizeof in];
    for (unsigned i = 0; i < sizeof in; i++)
        in[i] = (char)i;
    for (uint64_t size = 0; size <= sizeof in; size++) {
        uint64_t found = 99;
        CHECK_EQ(hf_shm_queue_put(world.queue, in, size, 0), HF_OK);
        if (size > 0) {
            CHECK_EQ(hf_shm_queue_get(world.queue, out, size - 1, 0, &found), HF_E_INVALID);
            CHECK_EQ(found, size); /* and it stays */
            CHECK_EQ(hf_shm_queue_length(world.queue), 1);
        }
        memset(out, 0x55, sizeof out);
        CHECK_EQ(hf_shm_queue_get(world.queue, size ? out : NULL, size, 0, &found), HF_OK);
        CHECK_EQ(found, size);
        CHECK(memcmp(in, out, size) == 0);
    }
    CHECK_EQ(hf_shm_queue_put(world.queue, in, sizeof in + 1, 0), HF_E_INVALID);
    world_close(&world);
}

static void test_parts_become_one_item(void) {
    struct world world = world_of(4, true, false, false);
    const hf_shm_bytes parts[] = {{"one", 3}, {NULL, 0}, {"two", 3}, {"three", 5}};
    char out[64];
    uint64_t size = 0;
    CHECK_EQ(hf_shm_queue_put_segmented(world.queue, parts, 4, 0), HF_OK);
    CHECK_EQ(hf_shm_queue_get(world.queue, out, sizeof out, 0, &size), HF_OK);
    CHECK_EQ(size, 11);
    CHECK(memcmp(out, "onetwothree", 11) == 0);
    const hf_shm_bytes wrong[] = {{NULL, 4}};
    CHECK_EQ(hf_shm_queue_put_segmented(world.queue, wrong, 1, 0), HF_E_INVALID);
    const hf_shm_bytes huge[] = {{"x", UINT64_MAX}, {"y", 2}};
    CHECK_EQ(hf_shm_queue_put_segmented(world.queue, huge, 2, 0), HF_E_INVALID);
    world_expect_sound(&world);
    world_close(&world);
}

static void test_bulk_moves_what_there_is_room_for(void) {
    for (unsigned kind = 0; kind < 4; kind++) {
        struct world world = world_of(8, kind & 1, kind & 2, false);
        struct world_item in[12], out[12];
        uint64_t sizes[12], done = 0;
        for (uint64_t i = 0; i < 12; i++)
            in[i] = world_item_of(i);
        CHECK_EQ(hf_shm_queue_put_bulk(world.queue, in, NULL, 12, 0, &done), HF_E_FULL);
        CHECK_EQ(done, 8);
        CHECK_EQ(hf_shm_queue_get_bulk(world.queue, out, sizes, 5, 0, &done), HF_OK);
        CHECK_EQ(done, 5);
        CHECK_EQ(hf_shm_queue_put_bulk(world.queue, in + 8, NULL, 4, 0, &done), HF_OK);
        CHECK_EQ(done, 4);
        CHECK_EQ(hf_shm_queue_get_bulk(world.queue, out + 5, NULL, 7, 0, &done), HF_OK);
        CHECK_EQ(done, 7);
        for (uint64_t i = 0; i < 12; i++)
            CHECK_EQ(world_value(&out[i]), i);
        CHECK_EQ(sizes[4], sizeof *in);
        CHECK_EQ(hf_shm_queue_get_bulk(world.queue, out, NULL, 12, 0, &done), HF_E_EMPTY);
        CHECK_EQ(hf_shm_queue_put_bulk(world.queue, in, NULL, 12, 2000000, &done), HF_E_TIMEOUT);
        CHECK_EQ(done, 8);
        CHECK_EQ(hf_shm_queue_get_bulk(world.queue, out, NULL, 12, 0, &done), HF_OK);
        CHECK_EQ(done, 8);
        world_expect_sound(&world);
        world_close(&world);
    }
}

static void test_slots_are_used_in_place_and_refused_when_given_back(void) {
    for (unsigned single = 0; single < 2; single++) {
        struct world world = world_of(4, true, single, false);
        hf_shm_slot first, second, out;
        CHECK_EQ(hf_shm_queue_reserve(world.queue, 0, 0, &first), HF_OK);
        CHECK_EQ(hf_shm_queue_reserve(world.queue, 8, 0, &second), HF_OK);
        CHECK(first.size == sizeof(struct world_item) && second.size == 8);
        CHECK_EQ((uintptr_t)first.data % 64, 0);
        CHECK_EQ(hf_shm_queue_close(world.queue), HF_E_BUSY);
        CHECK_EQ(hf_shm_queue_peek(world.queue, 0, &out), HF_E_EMPTY);
        memcpy(second.data, "second", 7);
        CHECK_EQ(hf_shm_queue_commit(world.queue, &second), HF_OK);
        CHECK_EQ(hf_shm_queue_peek(world.queue, 0, &out), HF_E_EMPTY); /* the first holds it up */
        memcpy(first.data, "first", 6);
        first.size = 6;
        CHECK_EQ(hf_shm_queue_commit(world.queue, &first), HF_OK);
        CHECK_EQ(hf_shm_queue_commit(world.queue, &first), HF_E_STALE);
        CHECK_EQ(hf_shm_queue_abandon(world.queue, &first), HF_E_STALE);
        CHECK_EQ(hf_shm_queue_peek(world.queue, 0, &out), HF_OK);
        CHECK_EQ(out.size, 6);
        CHECK_STR((const char *)out.data, "first");
        CHECK_EQ(hf_shm_queue_commit(world.queue, &out), HF_E_STALE);
        CHECK_EQ(hf_shm_queue_release(world.queue, &out), HF_OK);
        CHECK_EQ(hf_shm_queue_release(world.queue, &out), HF_E_STALE);
        CHECK_EQ(hf_shm_queue_peek(world.queue, 0, &out), HF_OK);
        CHECK_STR((const char *)out.data, "second");
        CHECK_EQ(hf_shm_queue_close(world.queue), HF_E_BUSY);
        CHECK_EQ(hf_shm_queue_release(world.queue, &out), HF_OK);
        first.size = sizeof(struct world_item) + 1;
        CHECK_EQ(hf_shm_queue_commit(world.queue, &first), HF_E_INVALID);
        world_expect_sound(&world);
        world_close(&world);
    }
}

static void test_abandoned_slots_are_stepped_over(void) {
    for (unsigned single = 0; single < 2; single++) {
        struct world world = world_of(4, false, single, false);
        hf_shm_slot slots[4];
        for (unsigned i = 0; i < 4; i++)
            CHECK_EQ(hf_shm_queue_reserve(world.queue, 0, 0, &slots[i]), HF_OK);
        CHECK_EQ(world_put(&world, 1, 0), HF_E_FULL);
        struct world_item item = world_item_of(77);
        memcpy(slots[2].data, &item, sizeof item);
        CHECK_EQ(hf_shm_queue_abandon(world.queue, &slots[3]), HF_OK);
        CHECK_EQ(hf_shm_queue_commit(world.queue, &slots[2]), HF_OK);
        CHECK_EQ(hf_shm_queue_abandon(world.queue, &slots[1]), HF_OK);
        CHECK_EQ(hf_shm_queue_abandon(world.queue, &slots[0]), HF_OK);
        world_expect_put(&world, 78); /* what was abandoned before all items is room at once */
        world_expect_put(&world, 79);
        world_expect_get(&world, 77);
        world_expect_get(&world, 78);
        world_expect_get(&world, 79);
        world_expect_sound(&world);
        world_close(&world);
    }
}

struct waiter {
    struct world *world;
    hf_status status;
    uint64_t value;
};

static void *wait_get(void *raw) {
    struct waiter *waiter = raw;
    waiter->status = world_get(waiter->world, &waiter->value, HF_FOREVER);
    return NULL;
}

static void *wait_put(void *raw) {
    struct waiter *waiter = raw;
    waiter->status = world_put(waiter->world, waiter->value, HF_FOREVER);
    return NULL;
}

static void until_it_waits(struct world *world, uint64_t waits) {
    hf_shm_figures figures;
    do
        CHECK_EQ(hf_shm_figures_of(world->shm, "queue", &figures), HF_OK);
    while (figures.waits < waits);
}

static void test_those_who_wait_are_woken(void) {
    struct world world = world_of(1, false, false, false);
    pthread_t threads[2];
    struct waiter waiters[2] = {{&world, HF_E_SYSTEM, 0}, {&world, HF_E_SYSTEM, 0}};
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, wait_get, &waiters[i]), 0);
    until_it_waits(&world, 2);
    world_expect_put(&world, 41);
    world_expect_put(&world, 42);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK_EQ(waiters[i].status, HF_OK);
    }
    CHECK_EQ(waiters[0].value + waiters[1].value, 83);
    world_expect_put(&world, 1);
    waiters[0].value = 2;
    hf_shm_figures figures;
    CHECK_EQ(hf_shm_figures_of(world.shm, "queue", &figures), HF_OK);
    CHECK_EQ(pthread_create(&threads[0], NULL, wait_put, &waiters[0]), 0);
    until_it_waits(&world, figures.waits + 1);
    world_expect_get(&world, 1);
    CHECK_EQ(pthread_join(threads[0], NULL), 0);
    world_expect_get(&world, 2);
    world_expect_sound(&world);
    world_close(&world);
}

static void test_wake_ends_every_wait(void) {
    struct world world = world_of(1, false, false, false);
    pthread_t thread;
    struct waiter waiter = {&world, HF_OK, 0};
    CHECK_EQ(pthread_create(&thread, NULL, wait_get, &waiter), 0);
    until_it_waits(&world, 1);
    uint32_t wakes = hf_shm_queue_wakes(world.queue);
    hf_shm_queue_wake(world.queue);
    CHECK_NE(hf_shm_queue_wakes(world.queue), wakes);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(waiter.status, HF_E_CANCELLED);
    hf_shm_queue_wake(NULL);
    world_expect_sound(&world); /* the next wait is not ended by it */
    world_close(&world);
}

struct crowd {
    struct world *world;
    uint64_t number;            /* of the thread */
    _Atomic uint64_t *left;     /* items still to be got by all */
    uint64_t sum, per_producer; /* of what was got; to be put by each */
};

static void *crowd_put(void *raw) {
    struct crowd *crowd = raw;
    for (uint64_t i = 0; i < crowd->per_producer; i++)
        world_expect_put(crowd->world, crowd->number << 32 | i);
    return NULL;
}

static void *crowd_get(void *raw) {
    struct crowd *crowd = raw;
    uint64_t next[2] = {0, 0}, value;
    while (*crowd->left > 0) {
        hf_status status = world_get(crowd->world, &value, 1000000);
        if (status == HF_E_TIMEOUT) continue;
        CHECK_EQ(status, HF_OK);
        uint64_t producer = value >> 32;
        CHECK(producer < 2 && (value & UINT32_MAX) >= next[producer]);
        next[producer] = (value & UINT32_MAX) + 1;
        crowd->sum += (value & UINT32_MAX) + 1;
        (*crowd->left)--;
    }
    return NULL;
}

static void test_threads_share_a_handle(void) {
    struct world world = world_of(8, false, false, false);
    enum { ITEMS = 10000 };
    _Atomic uint64_t left = 2 * ITEMS;
    struct crowd crowds[4];
    pthread_t threads[4];
    for (uint64_t i = 0; i < 4; i++) {
        crowds[i] = (struct crowd){&world, i, &left, 0, ITEMS};
        CHECK_EQ(pthread_create(&threads[i], NULL, i < 2 ? crowd_put : crowd_get, &crowds[i]), 0);
    }
    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(crowds[2].sum + crowds[3].sum, UINT64_C(2) * ITEMS * (ITEMS + 1) / 2);
    world_expect_sound(&world);
    world_close(&world);
}

static void in_child(struct world *world, void (*act)(struct world *)) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        act(world);
        _exit(0);
    }
    harness_expect_ok(child, "child");
}

static void child_is_refused_both_roles(struct world *world) {
    uint64_t value;
    CHECK_EQ(world_put(world, 1, 0), HF_E_BUSY);
    char pid[32];
    snprintf(pid, sizeof pid, "process %d ", (int)getppid());
    CHECK_SAY(strstr(hf_shm_detail(), pid) != NULL, "%s", hf_shm_detail());
    CHECK_EQ(world_get(world, &value, 0), HF_E_BUSY);
}

static void child_takes_both_roles(struct world *world) {
    world_expect_put(world, 7);
    world_expect_get(world, 7);
    CHECK_EQ(hf_shm_queue_close(world->queue), HF_OK);
}

static void test_single_refuses_a_second_and_takes_a_successor(void) {
    struct world world = world_of(4, false, true, false);
    world_expect_put(&world, 1);
    world_expect_get(&world, 1);
    in_child(&world, child_is_refused_both_roles);
    hf_shm_queue *second = NULL;
    struct world_item item = world_item_of(1);
    CHECK_EQ(hf_shm_queue_open(world.shm, "queue", HF_SHM_OPEN, NULL, &second), HF_OK);
    CHECK_EQ(hf_shm_queue_put(second, &item, sizeof item, 0), HF_E_BUSY);
    CHECK_EQ(hf_shm_queue_close(world.queue), HF_OK);
    world.queue = second;
    world_expect_put(&world, 3);
    world_expect_get(&world, 3);
    CHECK_EQ(hf_shm_queue_close(world.queue), HF_OK);
    CHECK_EQ(hf_shm_queue_open(world.shm, "queue", HF_SHM_OPEN, NULL, &world.queue), HF_OK);
    world_expect_sound(&world);
    world_close(&world);
}

static void test_single_passes_to_a_child_and_back(void) {
    struct world world = world_of(4, false, true, false);
    in_child(&world, child_takes_both_roles);
    world_expect_sound(&world);
    world_close(&world);
}

static hf_shm_slot parents;

static void child_uses_its_parents_slot(struct world *world) {
    CHECK_EQ(hf_shm_queue_commit(world->queue, &parents), HF_E_STALE);
    CHECK_EQ(hf_shm_queue_abandon(world->queue, &parents), HF_E_STALE);
    world_expect_put(world, 9);
    CHECK_EQ(hf_shm_queue_close(world->queue), HF_OK); /* what the parent holds is not its */
}

static void test_a_child_of_a_fork_is_another_owner(void) {
    struct world world = world_of(4, false, false, false);
    CHECK_EQ(hf_shm_queue_reserve(world.queue, 0, 0, &parents), HF_OK);
    in_child(&world, child_uses_its_parents_slot);
    struct world_item item = world_item_of(8);
    memcpy(parents.data, &item, sizeof item);
    CHECK_EQ(hf_shm_queue_commit(world.queue, &parents), HF_OK);
    world_expect_get(&world, 8);
    world_expect_get(&world, 9);
    world_expect_sound(&world);
    world_close(&world);
}

static void test_figures_count_items(void) {
    struct world world = world_of(4, false, false, false);
    world.laps = 6;
    world.fill = 3;
    world_fill(&world);
    hf_shm_slot slot;
    CHECK_EQ(hf_shm_queue_reserve(world.queue, 0, 0, &slot), HF_OK);
    CHECK_EQ(hf_shm_queue_abandon(world.queue, &slot), HF_OK);
    hf_shm_figures figures;
    CHECK_EQ(hf_shm_figures_of(world.shm, "queue", &figures), HF_OK);
    CHECK_EQ(figures.capacity, 4);
    CHECK_EQ(figures.count, 4);
    while (world.next_out < world.next_in)
        world_expect_get(&world, world.next_out++);
    uint64_t value;
    CHECK_EQ(world_get(&world, &value, 0), HF_E_EMPTY);
    CHECK_EQ(hf_shm_figures_of(world.shm, "queue", &figures), HF_OK);
    CHECK_EQ(figures.count, 0);
    CHECK_EQ(figures.written, 9);
    CHECK_EQ(figures.read, 9);
    CHECK_EQ(figures.lost, 0);
    world_close(&world);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_items_come_out_in_order_in_every_kind);
    CHECK_RUN(test_records_of_every_size_stay_whole);
    CHECK_RUN(test_capacity_is_rounded_up_to_a_power_of_two);
    CHECK_RUN(test_options_out_of_range_are_refused_with_a_sentence);
    CHECK_RUN(test_arguments_that_make_no_sense_are_refused);
    CHECK_RUN(test_another_kind_size_or_format_is_a_mismatch_that_names_both);
    CHECK_RUN(test_bytes_keep_their_length);
    CHECK_RUN(test_parts_become_one_item);
    CHECK_RUN(test_bulk_moves_what_there_is_room_for);
    CHECK_RUN(test_slots_are_used_in_place_and_refused_when_given_back);
    CHECK_RUN(test_abandoned_slots_are_stepped_over);
    CHECK_RUN(test_those_who_wait_are_woken);
    CHECK_RUN(test_wake_ends_every_wait);
    CHECK_RUN(test_threads_share_a_handle);
    CHECK_RUN(test_single_refuses_a_second_and_takes_a_successor);
    CHECK_RUN(test_single_passes_to_a_child_and_back);
    CHECK_RUN(test_a_child_of_a_fork_is_another_owner);
    CHECK_RUN(test_figures_count_items);
    return 0;
}
