/* test_shm_view - what a view shows of each structure, in states that are known by construction.
 *
 * Method: one process brings every kind into each of its states and looks. What others have is in
 * test_shm_view_others.c, views that end early in test_shm_view_ends.c. Garbage is in the hostile tests
 * of each structure. */
#include "shm/barrier_state.h"
#include "shm/map.h"
#include "shm/pool_state.h"
#include "shm/ring.h"
#include "view_world.h"

static void test_queue_slots_in_every_state(void) {
    struct parts parts = parts_make("view-queue");
    hf_shm_slot writing, reading, dropped;
    uint64_t value = 1;
    for (int i = 0; i < 5; i++) { /* positions 0 to 4 are over */
        OK(hf_shm_queue_put(parts.queue, &value, 8, 0));
        OK(hf_shm_queue_get(parts.queue, &value, 8, 0, NULL));
    }
    OK(hf_shm_queue_put(parts.queue, &value, 8, 0));       /* 5 */
    OK(hf_shm_queue_put(parts.queue, &value, 8, 0));       /* 6 */
    OK(hf_shm_queue_reserve(parts.queue, 8, 0, &dropped)); /* 7 */
    OK(hf_shm_queue_peek(parts.queue, 0, &reading));       /* 5 */
    OK(hf_shm_queue_abandon(parts.queue, &dropped));
    OK(hf_shm_queue_reserve(parts.queue, 8, 0, &writing)); /* 8 */
    const struct help_items *seen = help_view(parts.shm, "queue");
    CHECK_EQ(seen->count, 4);
    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQ(seen->items[i].number, 5 + i); /* the oldest first, also one in hand */
    const hf_shm_view_item *slot = help_find(seen, HF_SHM_PIECE_SLOT, 5 % 4);
    expect_owned(slot, HF_SHM_STATE_READING, getpid(), false);
    CHECK_EQ(slot->number, 5);
    CHECK_EQ(slot->span.size, 8);
    CHECK(hf_shm_at(parts.shm, slot->span, 0, 8) == reading.data);
    slot = help_find(seen, HF_SHM_PIECE_SLOT, 6 % 4);
    expect_free(slot, HF_SHM_STATE_FULL);
    CHECK_EQ(slot->number, 6);
    slot = help_find(seen, HF_SHM_PIECE_SLOT, 7 % 4);
    expect_free(slot, HF_SHM_STATE_SKIPPED);
    CHECK_EQ(slot->number, 7);
    slot = help_find(seen, HF_SHM_PIECE_SLOT, 8 % 4);
    expect_owned(slot, HF_SHM_STATE_WRITING, getpid(), false);
    CHECK_EQ(slot->number, 8);
    CHECK(hf_shm_at(parts.shm, slot->span, 0, 8) == writing.data);
    OK(hf_shm_queue_commit(parts.queue, &writing));
    OK(hf_shm_queue_release(parts.queue, &reading));
    seen = help_view(parts.shm, "queue");
    CHECK_EQ(seen->items[0].number, 6);
    slot = help_find(seen, HF_SHM_PIECE_SLOT, 5 % 4);
    expect_free(slot, HF_SHM_STATE_FREE);
    CHECK_EQ(slot->number, 9); /* that it takes next */
    parts_close(&parts);
}

static void test_queue_with_one_of_each_shows_who_they_are(void) {
    struct parts parts = parts_make("view-texts");
    char text[100];
    uint64_t size = 0;
    CHECK_EQ(help_view(parts.shm, "texts")->count, 4);
    OK(hf_shm_queue_put(parts.texts, "seven..", 7, 0));
    OK(hf_shm_queue_put(parts.texts, "", 0, 0));
    const struct help_items *seen = help_view(parts.shm, "texts");
    CHECK_EQ(seen->count, 5);
    const hf_shm_view_item *producer = help_find(seen, HF_SHM_PIECE_PRODUCER, 0);
    expect_owned(producer, HF_SHM_STATE_HELD, getpid(), false);
    CHECK_EQ(producer->number, 2);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_SLOT, 0)->span.size, 7);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_SLOT, 1)->span.size, 0);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_SLOT, 2)->span.size, 100);
    OK(hf_shm_queue_get(parts.texts, text, sizeof text, 0, &size));
    expect_owned(help_find(help_view(parts.shm, "texts"), HF_SHM_PIECE_CONSUMER, 0),
                 HF_SHM_STATE_HELD, getpid(), false);
    parts_close(&parts);
}

static void test_pool_objects_in_every_state(void) {
    struct parts parts = parts_make("view-pool");
    hf_shm_handle handles[3];
    size_t got = 0;
    OK(hf_shm_pool_acquire_bulk(parts.pool, 0, handles, 3, &got));
    CHECK_EQ(got, 3);
    OK(hf_shm_pool_pass(parts.pool, handles[1]));
    OK(hfi_shm_slots_retire(&parts.pool->view.slots, hfi_shm_self(parts.shm), handles[2]));
    const struct help_items *seen = help_view(parts.shm, "pool");
    CHECK_EQ(seen->count, 5);
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_OBJECT, HF_SHM_STATE_FREE), 2);
    const hf_shm_view_item *object = help_find(seen, HF_SHM_PIECE_OBJECT, (uint32_t)handles[0]);
    expect_owned(object, HF_SHM_STATE_TAKEN, getpid(), false);
    CHECK_EQ(object->number, handles[0] >> 32);
    CHECK_EQ(object->span.size, 40);
    CHECK(hf_shm_at(parts.shm, object->span, 0, 40) == hf_shm_pool_at(parts.pool, handles[0]));
    expect_free(help_find(seen, HF_SHM_PIECE_OBJECT, (uint32_t)handles[1]), HF_SHM_STATE_PASSED);
    expect_owned(help_find(seen, HF_SHM_PIECE_OBJECT, (uint32_t)handles[2]), HF_SHM_STATE_RETIRED,
                 getpid(), false);
    hfi_shm_store64(&parts.pool->view.slots.own[(uint32_t)handles[0]], 77);
    expect_free(help_find(help_view(parts.shm, "pool"), HF_SHM_PIECE_OBJECT, (uint32_t)handles[0]),
                HF_SHM_STATE_DAMAGED);
    parts_close(&parts);
}

static void test_ring_elements_and_readers(void) {
    struct parts parts = parts_make("view-ring");
    hf_shm_ring_reader_options options;
    hf_shm_ring_reader *first = NULL, *second = NULL;
    uint64_t values[6] = {0}, count = 0;
    void *run = NULL;
    const struct help_items *seen = help_view(parts.shm, "ring");
    CHECK_EQ(seen->count, 6); /* nobody writes or reads */
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_ELEMENT, HF_SHM_STATE_FREE), 6);
    OK(hf_shm_ring_reader_open(parts.ring, NULL, &first));
    hf_shm_ring_reader_options_init(&options);
    options.lossy = 1;
    OK(hf_shm_ring_reader_open(parts.ring, &options, &second));
    OK(hf_shm_ring_push_bulk(parts.ring, values, 4, 0, &count));
    OK(hf_shm_ring_pop_bulk(first, values, 3, 0, &count, NULL));
    CHECK_EQ(count, 3);
    OK(hf_shm_ring_reserve(parts.ring, 1, 0, &run, &count));
    seen = help_view(parts.shm, "ring");
    CHECK_EQ(seen->count, 9);
    expect_owned(help_find(seen, HF_SHM_PIECE_WRITER, 0), HF_SHM_STATE_HELD, getpid(), false);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_WRITER, 0)->number, 4);
    expect_owned(help_find(seen, HF_SHM_PIECE_READER, 0), HF_SHM_STATE_RELIABLE, getpid(), false);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_READER, 0)->number, 3);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_READER, 0)->value, 1); /* lag */
    expect_owned(help_find(seen, HF_SHM_PIECE_READER, 1), HF_SHM_STATE_LOSSY, getpid(), false);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_READER, 1)->value, 4);
    for (uint64_t i = 0; i < 4; i++)
        expect_free(help_find(seen, HF_SHM_PIECE_ELEMENT, i), HF_SHM_STATE_FULL);
    const hf_shm_view_item *written = help_find(seen, HF_SHM_PIECE_ELEMENT, 4);
    expect_owned(written, HF_SHM_STATE_WRITING, getpid(), false);
    CHECK_EQ(written->number, 4);
    CHECK(hf_shm_at(parts.shm, written->span, 0, 8) == run);
    expect_free(help_find(seen, HF_SHM_PIECE_ELEMENT, 5), HF_SHM_STATE_FREE);
    OK(hf_shm_ring_commit(parts.ring, count));
    OK(hf_shm_ring_push_bulk(parts.ring, values, 3, 0, &count)); /* over position 0 and 1 */
    seen = help_view(parts.shm, "ring");
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_ELEMENT, HF_SHM_STATE_FULL), 6);
    for (uint64_t i = 0; i < 6; i++)
        CHECK_EQ(seen->items[3 + i].number, 2 + i); /* the oldest first */
    _Atomic uint64_t *word = &parts.ring->shared->readers[1].word;
    uint64_t joined = hfi_shm_load64(word);
    hfi_shm_store64(word, (joined & ~((uint64_t)15 << 16)) | (uint64_t)HFI_READER_JOINING << 16);
    expect_owned(help_find(help_view(parts.shm, "ring"), HF_SHM_PIECE_READER, 1),
                 HF_SHM_STATE_JOINING, getpid(), false);
    hfi_shm_store64(word, joined | (uint64_t)15 << 16);
    CHECK_EQ(help_find(help_view(parts.shm, "ring"), HF_SHM_PIECE_READER, 1)->state,
             HF_SHM_STATE_DAMAGED);
    hfi_shm_store64(word, joined);
    hf_shm_ring_reader_close(first);
    hf_shm_ring_reader_close(second);
    parts_close(&parts);
}

static void test_versioned_copies(void) {
    struct parts parts = parts_make("view-versioned");
    uint64_t values[4] = {0};
    void *data = NULL;
    const struct help_items *seen = help_view(parts.shm, "versioned");
    CHECK_EQ(seen->count, 3);
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_COPY, HF_SHM_STATE_FREE), 3);
    OK(hf_shm_versioned_write(parts.versioned, values, NULL)); /* 1 in buffer 1 */
    seen = help_view(parts.shm, "versioned");
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_COPY, HF_SHM_STATE_FREE), 2);
    expect_free(help_find(seen, HF_SHM_PIECE_COPY, 1), HF_SHM_STATE_CURRENT);
    OK(hf_shm_versioned_write(parts.versioned, values, NULL)); /* 2 in buffer 2 */
    OK(hf_shm_versioned_write(parts.versioned, values, NULL)); /* 3 in buffer 0 */
    OK(hf_shm_versioned_begin(parts.versioned, 0, &data));     /* 4 in buffer 1 */
    seen = help_view(parts.shm, "versioned");
    CHECK_EQ(seen->count, 4);
    expect_owned(help_find(seen, HF_SHM_PIECE_WRITER, 0), HF_SHM_STATE_HELD, getpid(), false);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_WRITER, 0)->number, 4);
    expect_free(help_find(seen, HF_SHM_PIECE_COPY, 0), HF_SHM_STATE_CURRENT);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_COPY, 0)->number, 3);
    const hf_shm_view_item *written = help_find(seen, HF_SHM_PIECE_COPY, 1);
    expect_owned(written, HF_SHM_STATE_WRITING, getpid(), false);
    CHECK_EQ(written->number, 4);
    CHECK_EQ(written->span.size, 32);
    CHECK(hf_shm_at(parts.shm, written->span, 0, 32) == data);
    expect_free(help_find(seen, HF_SHM_PIECE_COPY, 2), HF_SHM_STATE_FULL);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_COPY, 2)->number, 2);
    OK(hf_shm_versioned_cancel(parts.versioned));
    parts_close(&parts);
}

static void test_map_shards_and_records(void) {
    struct parts parts = parts_make("view-map");
    const struct map_geometry *g = &parts.map->g;
    uint64_t version = 0;
    for (uint64_t key = 0; key < 150; key++)
        OK(hf_shm_map_put(parts.map, &key, 8, &key, 8, &version));
    for (uint64_t key = 100; key < 110; key++)
        OK(hf_shm_map_erase(parts.map, &key, 8));
    const struct help_items *seen = help_view(parts.shm, "map");
    CHECK_EQ(seen->count, g->shards + g->records);
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_SHARD, HF_SHM_STATE_FREE), g->shards);
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_RECORD, HF_SHM_STATE_LIVE), 140);
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_RECORD, HF_SHM_STATE_SPARE), g->shards);
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_RECORD, HF_SHM_STATE_FREE),
             g->records - 140 - g->shards);
    uint64_t keys = 0, found[150] = {0};
    for (size_t i = 0; i < seen->count; i++) {
        const hf_shm_view_item *item = &seen->items[i];
        if (item->piece == HF_SHM_PIECE_SHARD) keys += item->value;
        if (item->state != HF_SHM_STATE_LIVE) continue;
        uint64_t key = 0;
        const char *record = hf_shm_at(parts.shm, item->span, 0, item->span.size);
        memcpy(&key, record + sizeof(struct map_record), 8);
        CHECK_LT(key, 150);
        found[key]++;
        CHECK(memcmp(record + item->span.size - 8, &key, 8) == 0); /* its value */
        CHECK_LT(item->value, g->levels);
        CHECK_GT(item->number, 0);
    }
    CHECK_EQ(keys, 140);
    for (uint64_t key = 0; key < 150; key++)
        CHECK_EQ(found[key], key < 100 || key >= 110);
    OK(hfi_map_lock(parts.map, 0, 0));
    expect_owned(help_find(help_view(parts.shm, "map"), HF_SHM_PIECE_SHARD, 0), HF_SHM_STATE_HELD,
                 getpid(), false);
    uint64_t index = 0;
    CHECK(hfi_map_record_take(parts.map, 0, &index));
    expect_owned(help_find(help_view(parts.shm, "map"), HF_SHM_PIECE_RECORD, index),
                 HF_SHM_STATE_TAKEN, getpid(), false);
    hfi_map_record_free(parts.map, index);
    hfi_shm_store64(&parts.map->shards[0].intent, 0);
    hfi_map_unlock(parts.map, 0);
    parts_close(&parts);
}

static void test_small_structures(void) {
    struct parts parts = parts_make("view-small");
    hf_shm_cell cell = {.i32 = -5};
    OK(hf_shm_cells_store(parts.cells, 1, cell));
    const struct help_items *seen = help_view(parts.shm, "cells");
    CHECK_EQ(seen->count, 3);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_CELL, 1)->value, (uint32_t)-5);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_CELL, 2)->value, 0);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_CELL, 1)->span.size, 4);
    seen = help_view(parts.shm, "array");
    CHECK_EQ(seen->count, 1);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_ELEMENTS, 0)->value, 10);
    CHECK_EQ(seen->items[0].span.size, 40);
    seen = help_view(parts.shm, "span");
    CHECK_EQ(seen->count, 1);
    CHECK_EQ(help_find(seen, HF_SHM_PIECE_BYTES, 0)->span.size, 1000);
    expect_free(help_find(help_view(parts.shm, "event"), HF_SHM_PIECE_BIT, 0), HF_SHM_STATE_CLEAR);
    OK(hf_shm_event_set(parts.event));
    expect_free(help_find(help_view(parts.shm, "event"), HF_SHM_PIECE_BIT, 0), HF_SHM_STATE_SET);
    seen = help_view(parts.shm, "counted");
    expect_free(help_find(seen, HF_SHM_PIECE_PERMITS, 0), HF_SHM_STATE_FREE);
    CHECK_EQ(seen->items[0].value, 2);
    CHECK_EQ(seen->items[0].number, 7);
    OK(hf_shm_semaphore_wait(parts.counted, 2, 0));
    expect_free(help_find(help_view(parts.shm, "counted"), HF_SHM_PIECE_PERMITS, 0),
                HF_SHM_STATE_TAKEN);
    OK(hf_shm_semaphore_wait(parts.held, 2, 0));
    seen = help_view(parts.shm, "held");
    CHECK_EQ(seen->count, 3);
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_PERMIT, HF_SHM_STATE_HELD), 2);
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_PERMIT, HF_SHM_STATE_FREE), 1);
    expect_free(help_find(help_view(parts.shm, "mutex"), HF_SHM_PIECE_LOCK, 0), HF_SHM_STATE_FREE);
    OK(hf_shm_mutex_lock(parts.mutex, 0));
    const hf_shm_view_item *lock = help_find(help_view(parts.shm, "mutex"), HF_SHM_PIECE_LOCK, 0);
    expect_owned(lock, HF_SHM_STATE_HELD, getpid(), false);
    CHECK_NE(lock->value, 0);
    OK(hf_shm_mutex_unlock(parts.mutex));
    seen = help_view(parts.shm, "barrier");
    CHECK_EQ(seen->count, 3);
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_SEAT, HF_SHM_STATE_FREE), 3);
    parts_close(&parts);
}

static void test_barrier_seats_in_every_state(void) {
    struct parts parts = parts_make("view-barrier");
    hf_shm_barrier_options options;
    hf_shm_barrier *alone = NULL;
    hf_shm_barrier_options_init(&options, 1);
    OK(hf_shm_barrier_open(parts.shm, "alone", HF_SHM_CREATE, &options, &alone));
    expect_free(help_find(help_view(parts.shm, "alone"), HF_SHM_PIECE_SEAT, 0), HF_SHM_STATE_FREE);
    for (unsigned round = 0; round < 3; round++) { /* over as soon as it comes */
        OK(hf_shm_barrier_wait(alone, 0, NULL));
        const hf_shm_view_item *seat =
            help_find(help_view(parts.shm, "alone"), HF_SHM_PIECE_SEAT, 0);
        expect_owned(seat, HF_SHM_STATE_EXPECTED, getpid(), false);
        CHECK_EQ(seat->number, round);
    }
    _Atomic uint64_t *word = &alone->view.seats[0];
    uint64_t now = seat_make(phase_round(hfi_shm_load64(alone->view.phase)), 1);
    hfi_shm_store64(word, now);
    expect_owned(help_find(help_view(parts.shm, "alone"), HF_SHM_PIECE_SEAT, 0),
                 HF_SHM_STATE_WAITING, getpid(), false);
    hfi_shm_store64(word, now | SEAT_LEAVING);
    expect_owned(help_find(help_view(parts.shm, "alone"), HF_SHM_PIECE_SEAT, 0),
                 HF_SHM_STATE_LEAVING, getpid(), false);
    hfi_shm_store64(word, (now & ~(uint64_t)0xffff) | SEAT_GONE);
    expect_free(help_find(help_view(parts.shm, "alone"), HF_SHM_PIECE_SEAT, 0), HF_SHM_STATE_GONE);
    hfi_shm_store64(word, now | SEAT_GONE);
    expect_free(help_find(help_view(parts.shm, "alone"), HF_SHM_PIECE_SEAT, 0),
                HF_SHM_STATE_DAMAGED);
    hf_shm_barrier_close(alone);
    parts_close(&parts);
}

int main(void) {
    CHECK_WATCHDOG(120);
    CHECK_RUN(test_queue_slots_in_every_state);
    CHECK_RUN(test_queue_with_one_of_each_shows_who_they_are);
    CHECK_RUN(test_pool_objects_in_every_state);
    CHECK_RUN(test_ring_elements_and_readers);
    CHECK_RUN(test_versioned_copies);
    CHECK_RUN(test_map_shards_and_records);
    CHECK_RUN(test_small_structures);
    CHECK_RUN(test_barrier_seats_in_every_state);
    return 0;
}
