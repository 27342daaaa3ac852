/* test_shm_view - what a view shows of each structure, in states that are known by construction.
 *
 * Method: one process brings every kind into each of its states and looks. Another takes something of
 * every kind and is killed: what it left is shown with its process id and as dead, until the sweep. The
 * bytes of the whole segment are compared before and after looking, and a watcher, whose mapping cannot
 * be written to, looks at everything. Garbage is in the hostile tests of each structure. */
#include <signal.h>
#include <sys/wait.h>

#include <holdfast/shm_array.h>
#include <holdfast/shm_barrier.h>
#include <holdfast/shm_cells.h>
#include <holdfast/shm_event.h>
#include <holdfast/shm_map.h>
#include <holdfast/shm_mutex.h>
#include <holdfast/shm_pool.h>
#include <holdfast/shm_queue.h>
#include <holdfast/shm_ring.h>
#include <holdfast/shm_semaphore.h>
#include <holdfast/shm_versioned.h>

#include "shm/barrier_state.h"
#include "shm/map.h"
#include "shm/pool_state.h"
#include "shm/ring.h"
#include "shm_help.h"
#include "view_help.h"

#define SIZE ((uint64_t)1 << 20)

struct parts {
    hf_shm *shm;
    hf_shm_array *array;
    hf_shm_barrier *barrier;
    hf_shm_cells *cells;
    hf_shm_event *event;
    hf_shm_map *map;
    hf_shm_mutex *mutex;
    hf_shm_pool *pool;
    hf_shm_queue *queue, *texts;
    hf_shm_ring *ring;
    hf_shm_semaphore *held, *counted;
    hf_shm_versioned *versioned;
};
static const char *const names[] = {"span", "array", "barrier", "cells",    "event",
                                    "map",  "mutex", "pool",    "queue",    "texts",
                                    "ring", "held",  "counted", "versioned"};
#define NAMES (sizeof names / sizeof *names)

static void parts_open(struct parts *parts, hf_shm *shm) {
    const hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE;
    hf_shm_array_options array;
    hf_shm_barrier_options barrier;
    hf_shm_cells_options cells;
    hf_shm_event_options event;
    hf_shm_map_options map;
    hf_shm_pool_options pool;
    hf_shm_queue_options queue, texts;
    hf_shm_ring_options ring;
    hf_shm_semaphore_options held, counted;
    hf_shm_versioned_options versioned;
    hf_shm_array_options_init(&array, 4, 10);
    hf_shm_barrier_options_init(&barrier, 3);
    hf_shm_cells_options_init(&cells, HF_SHM_CELL_I32, 3);
    hf_shm_event_options_init(&event);
    hf_shm_map_options_init(&map, 8, 16, 200);
    hf_shm_pool_options_init(&pool, 5, 40);
    hf_shm_queue_options_init(&queue, 8, 4);
    queue.redeliver = 1;
    hf_shm_queue_options_init(&texts, 100, 4);
    texts.items = HF_SHM_QUEUE_BYTES;
    texts.single = 1;
    hf_shm_ring_options_init(&ring, 8, 6);
    ring.reliable = 1;
    ring.readers_max = 4;
    hf_shm_semaphore_options_init(&held, 3);
    hf_shm_semaphore_options_init(&counted, 2);
    counted.counted = 1;
    counted.most = 7;
    hf_shm_versioned_options_init(&versioned, 8, 4);
    versioned.buffers = 3;
    parts->shm = shm;
    OK(hf_shm_array_open(shm, "array", mode, &array, &parts->array));
    OK(hf_shm_barrier_open(shm, "barrier", mode, &barrier, &parts->barrier));
    OK(hf_shm_cells_open(shm, "cells", mode, &cells, &parts->cells));
    OK(hf_shm_event_open(shm, "event", mode, &event, &parts->event));
    OK(hf_shm_map_open(shm, "map", mode, &map, &parts->map));
    OK(hf_shm_mutex_open(shm, "mutex", mode, &parts->mutex));
    OK(hf_shm_pool_open(shm, "pool", mode, &pool, &parts->pool));
    OK(hf_shm_queue_open(shm, "queue", mode, &queue, &parts->queue));
    OK(hf_shm_queue_open(shm, "texts", mode, &texts, &parts->texts));
    OK(hf_shm_ring_open(shm, "ring", mode, &ring, &parts->ring));
    OK(hf_shm_semaphore_open(shm, "held", mode, &held, &parts->held));
    OK(hf_shm_semaphore_open(shm, "counted", mode, &counted, &parts->counted));
    OK(hf_shm_versioned_open(shm, "versioned", mode, &versioned, &parts->versioned));
}

static void parts_close(struct parts *parts) {
    hf_shm_array_close(parts->array);
    hf_shm_barrier_close(parts->barrier);
    hf_shm_cells_close(parts->cells);
    hf_shm_event_close(parts->event);
    hf_shm_map_close(parts->map);
    hf_shm_mutex_close(parts->mutex);
    hf_shm_pool_close(parts->pool);
    OK(hf_shm_queue_close(parts->queue));
    OK(hf_shm_queue_close(parts->texts));
    OK(hf_shm_ring_close(parts->ring));
    hf_shm_semaphore_close(parts->held);
    hf_shm_semaphore_close(parts->counted);
    OK(hf_shm_versioned_close(parts->versioned));
    OK(hf_shm_close(parts->shm));
}

static struct parts parts_make(const char *tag) {
    struct parts parts = {0};
    hf_shm_span span;
    hf_shm *shm = help_make(harness_name(tag), SIZE);
    OK(hf_shm_add(shm, "span", 1000, &span));
    parts_open(&parts, shm);
    return parts;
}

/* An item in this state, which nobody has. */
static void expect_free(const hf_shm_view_item *item, hf_shm_state state) {
    CHECK_SAY(item->state == state, "%s %" PRIu64 " is %s", hf_shm_piece_name(item->piece),
              item->index, hf_shm_state_name(item->state));
    CHECK(item->participant == HF_SHM_NOBODY);
    CHECK_EQ(item->pid, 0);
    CHECK_EQ(item->dead, 0);
}

/* The same, and this process has it, dead or alive. */
static void expect_owned(const hf_shm_view_item *item, hf_shm_state state, pid_t pid, bool dead) {
    CHECK_SAY(item->state == state, "%s %" PRIu64 " is %s", hf_shm_piece_name(item->piece),
              item->index, hf_shm_state_name(item->state));
    CHECK(item->participant != HF_SHM_NOBODY);
    CHECK_EQ(item->pid, pid);
    CHECK_EQ(item->dead, dead);
}

/* --- one kind after the other ------------------------------------------------------------------ */

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

/* --- who was killed --------------------------------------------------------------------------- */

static pid_t child_start(const char *tag, void (*run)(struct parts *), int *ready_out) {
    int pipes[2];
    CHECK_EQ(pipe(pipes), 0);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(60);
        struct parts parts = {0};
        close(pipes[0]);
        parts_open(&parts, help_join(harness_name(tag)));
        run(&parts);
        CHECK_EQ(write(pipes[1], "", 1), 1);
        (void)hf_shm_barrier_wait(parts.barrier, HF_FOREVER, NULL);
        _exit(0);
    }
    close(pipes[1]);
    *ready_out = pipes[0];
    return child;
}

static void child_kill(pid_t child) {
    int status = 0;
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
}

/* Has something of every kind in hand. */
static void take_everything(struct parts *parts) {
    hf_shm_handle handle;
    hf_shm_slot reading, writing;
    uint64_t values[4] = {1, 2, 3, 4}, count = 0;
    void *run = NULL;
    OK(hf_shm_queue_put(parts->queue, values, 8, 0));
    OK(hf_shm_queue_peek(parts->queue, 0, &reading));
    OK(hf_shm_queue_reserve(parts->queue, 8, 0, &writing));
    OK(hf_shm_queue_put(parts->texts, "text", 4, 0));
    OK(hf_shm_pool_acquire(parts->pool, 0, &handle));
    OK(hf_shm_ring_push_bulk(parts->ring, values, 2, 0, &count));
    OK(hf_shm_ring_reserve(parts->ring, 2, 0, &run, &count));
    hf_shm_ring_reader *reader = NULL;
    OK(hf_shm_ring_reader_open(parts->ring, NULL, &reader));
    OK(hf_shm_versioned_write(parts->versioned, values, NULL));
    OK(hf_shm_versioned_begin(parts->versioned, 0, &run));
    OK(hf_shm_semaphore_wait(parts->held, 2, 0));
    OK(hf_shm_mutex_lock(parts->mutex, 0));
    OK(hfi_map_lock(parts->map, 0, 0));
}

/* Everything it has is shown as its own. */
static void expect_everything(hf_shm *shm, pid_t pid, bool dead) {
    const struct help_items *seen = help_view(shm, "queue");
    expect_owned(help_find(seen, HF_SHM_PIECE_SLOT, 0), HF_SHM_STATE_READING, pid, dead);
    expect_owned(help_find(seen, HF_SHM_PIECE_SLOT, 1), HF_SHM_STATE_WRITING, pid, dead);
    seen = help_view(shm, "texts");
    expect_owned(help_find(seen, HF_SHM_PIECE_PRODUCER, 0), HF_SHM_STATE_HELD, pid, dead);
    expect_free(help_find(seen, HF_SHM_PIECE_SLOT, 0), HF_SHM_STATE_FULL);
    seen = help_view(shm, "pool");
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_OBJECT, HF_SHM_STATE_TAKEN), 1);
    for (size_t i = 0; i < seen->count; i++)
        if (seen->items[i].state == HF_SHM_STATE_TAKEN)
            expect_owned(&seen->items[i], HF_SHM_STATE_TAKEN, pid, dead);
    seen = help_view(shm, "ring");
    expect_owned(help_find(seen, HF_SHM_PIECE_WRITER, 0), HF_SHM_STATE_HELD, pid, dead);
    expect_owned(help_find(seen, HF_SHM_PIECE_READER, 0), HF_SHM_STATE_RELIABLE, pid, dead);
    expect_free(help_find(seen, HF_SHM_PIECE_ELEMENT, 1), HF_SHM_STATE_FULL);
    expect_owned(help_find(seen, HF_SHM_PIECE_ELEMENT, 2), HF_SHM_STATE_WRITING, pid, dead);
    seen = help_view(shm, "versioned");
    expect_owned(help_find(seen, HF_SHM_PIECE_WRITER, 0), HF_SHM_STATE_HELD, pid, dead);
    expect_free(help_find(seen, HF_SHM_PIECE_COPY, 1), HF_SHM_STATE_CURRENT);
    expect_owned(help_find(seen, HF_SHM_PIECE_COPY, 2), HF_SHM_STATE_WRITING, pid, dead);
    seen = help_view(shm, "held");
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_PERMIT, HF_SHM_STATE_HELD), 2);
    seen = help_view(shm, "mutex");
    expect_owned(help_find(seen, HF_SHM_PIECE_LOCK, 0), HF_SHM_STATE_HELD, pid, dead);
    seen = help_view(shm, "map");
    expect_owned(help_find(seen, HF_SHM_PIECE_SHARD, 0), HF_SHM_STATE_HELD, pid, dead);
    seen = help_view(shm, "barrier");
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_SEAT, HF_SHM_STATE_WAITING), 1);
    for (size_t i = 0; i < seen->count; i++)
        if (seen->items[i].state == HF_SHM_STATE_WAITING)
            expect_owned(&seen->items[i], HF_SHM_STATE_WAITING, pid, dead);
}

/* Nobody has anything; what was half written says so. */
static void expect_given_back(hf_shm *shm) {
    for (size_t i = 0; i < NAMES; i++) {
        const struct help_items *seen = help_view(shm, names[i]);
        for (size_t k = 0; k < seen->count; k++)
            CHECK_SAY(seen->items[k].participant == HF_SHM_NOBODY, "%s: %s %" PRIu64, names[i],
                      hf_shm_piece_name(seen->items[k].piece), seen->items[k].index);
    }
    const struct help_items *seen = help_view(shm, "queue");
    const hf_shm_view_item *returned = help_find(seen, HF_SHM_PIECE_SLOT, 0);
    expect_free(returned, HF_SHM_STATE_FULL);
    CHECK_EQ(returned->value, 1); /* times it was returned */
    expect_free(help_find(seen, HF_SHM_PIECE_SLOT, 1), HF_SHM_STATE_SKIPPED);
    seen = help_view(shm, "mutex");
    expect_free(help_find(seen, HF_SHM_PIECE_LOCK, 0), HF_SHM_STATE_IN_DOUBT);
    seen = help_view(shm, "ring");
    expect_free(help_find(seen, HF_SHM_PIECE_ELEMENT, 2), HF_SHM_STATE_WRITING);
    seen = help_view(shm, "versioned");
    expect_free(help_find(seen, HF_SHM_PIECE_COPY, 2), HF_SHM_STATE_WRITING);
    CHECK_EQ(help_count(help_view(shm, "pool"), HF_SHM_PIECE_OBJECT, HF_SHM_STATE_FREE), 5);
    CHECK_EQ(help_count(help_view(shm, "held"), HF_SHM_PIECE_PERMIT, HF_SHM_STATE_FREE), 3);
    CHECK_EQ(help_count(help_view(shm, "barrier"), HF_SHM_PIECE_SEAT, HF_SHM_STATE_FREE), 3);
}

static char *segment_copy(hf_shm *shm) {
    uint64_t size = help_info(shm).size;
    char *copy = malloc(size);
    CHECK(copy != NULL);
    CHECK_EQ(pread(hf_shm_file(shm), copy, size, 0), size);
    return copy;
}

static hf_shm *watcher_open(const char *tag) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 0);
    options.presence = HF_SHM_WATCHER;
    OK(hf_shm_open(harness_name(tag), HF_SHM_OPEN, &options, &shm));
    return shm;
}

static void test_what_a_killed_process_left_is_shown_until_it_is_given_back(void) {
    static const char tag[] = "view-killed";
    struct parts parts = parts_make(tag);
    hf_shm *watcher = watcher_open(tag);
    int ready = -1;
    char byte;
    pid_t child = child_start(tag, take_everything, &ready);
    CHECK_EQ(read(ready, &byte, 1), 1);
    while (hf_shm_barrier_waiting(parts.barrier) == 0)
        usleep(1000);
    expect_everything(parts.shm, child, false);
    child_kill(child);
    size_t size = help_info(parts.shm).size, recovered = 0;
    char *before = segment_copy(parts.shm);
    expect_everything(parts.shm, child, true); /* looking recovers nobody */
    expect_everything(watcher, child, true);
    for (size_t i = 0; i < NAMES; i++)
        (void)help_view(parts.shm, names[i]);
    char *after = segment_copy(parts.shm);
    CHECK(memcmp(before, after, size) == 0); /* and changes no byte of the segment */
    free(before);
    free(after);
    OK(hf_shm_sweep(parts.shm, &recovered));
    CHECK_EQ(recovered, 2); /* what it inherited by the fork, and what it opened */
    expect_given_back(parts.shm);
    expect_given_back(watcher);
    close(ready);
    OK(hf_shm_close(watcher));
    parts_close(&parts);
}

/* --- while others work ------------------------------------------------------------------------ */

/* Goes on until it is killed. */
static void work_without_end(struct parts *parts) {
    uint64_t values[4] = {0}, count = 0;
    hf_shm_handle handle;
    for (uint64_t turn = 0;; turn++) {
        uint64_t key = turn % 300;
        (void)hf_shm_queue_put(parts->queue, &turn, 8, 0);
        if (turn % 3 != 0) (void)hf_shm_queue_get(parts->queue, values, 8, 0, NULL);
        if (hf_shm_pool_acquire(parts->pool, 0, &handle) == HF_OK)
            (void)hf_shm_pool_release(parts->pool, handle);
        (void)hf_shm_map_put(parts->map, &key, 8, &turn, 8, NULL);
        if (turn % 2 != 0) (void)hf_shm_map_erase(parts->map, &key, 8);
        (void)hf_shm_ring_push_bulk(parts->ring, values, 1 + turn % 3, 0, &count);
        (void)hf_shm_versioned_write(parts->versioned, values, NULL);
        (void)hf_shm_semaphore_wait(parts->held, 1, 0);
        (void)hf_shm_semaphore_post(parts->held, 1);
        if (hf_shm_mutex_lock(parts->mutex, 0) == HF_OK) (void)hf_shm_mutex_unlock(parts->mutex);
    }
}

/* Every slot once, each in a state that it can have, and what has an owner is the worker's. */
static void expect_plausible(const struct help_items *seen, uint64_t count, pid_t worker) {
    uint64_t slots = 0;
    for (size_t i = 0; i < seen->count; i++) {
        const hf_shm_view_item *item = &seen->items[i];
        slots += item->piece != HF_SHM_PIECE_WRITER;
        CHECK_NE(item->state, HF_SHM_STATE_DAMAGED);
        if (item->participant == HF_SHM_NOBODY) continue;
        CHECK_EQ(item->pid, worker);
        CHECK_EQ(item->dead, 0);
    }
    CHECK_EQ(slots, count);
}

static void test_view_while_others_work(void) {
    static const char tag[] = "view-work";
    struct parts parts = parts_make(tag);
    int ready = -1;
    pid_t worker = child_start(tag, work_without_end, &ready);
    while (hf_shm_versioned_version(parts.versioned) == 0)
        usleep(1000);
    for (unsigned round = 0; round < (CHECK_SANITIZED ? 200 : 5000); round++) {
        expect_plausible(help_view(parts.shm, "queue"), 4, worker);
        expect_plausible(help_view(parts.shm, "pool"), 5, worker);
        expect_plausible(help_view(parts.shm, "held"), 3, worker);
        expect_plausible(help_view(parts.shm, "mutex"), 1, worker);
        expect_plausible(help_view(parts.shm, "map"), parts.map->g.shards + parts.map->g.records,
                         worker);
        const struct help_items *seen = help_view(parts.shm, "ring");
        expect_plausible(seen, 6, worker);
        for (size_t i = 1; i < seen->count; i++) /* positions grow, whatever the writer does */
            if (seen->items[i - 1].piece == HF_SHM_PIECE_ELEMENT)
                CHECK_GT(seen->items[i].number, seen->items[i - 1].number);
        seen = help_view(parts.shm, "versioned");
        expect_plausible(seen, 3, worker);
        for (size_t i = 0; i < seen->count; i++)
            if (seen->items[i].piece == HF_SHM_PIECE_COPY && seen->items[i].number != 0)
                CHECK_EQ(seen->items[i].number % 3, seen->items[i].index);
    }
    child_kill(worker);
    close(ready);
    parts_close(&parts);
}

/* --- stopping, and what cannot be looked at ---------------------------------------------------- */

static int stop_at_three(const hf_shm_view_item *item, void *context) {
    (void)item;
    return ++*(int *)context == 3;
}

static void test_visitor_that_has_enough_stops(void) {
    struct parts parts = parts_make("view-stop");
    static const char *const many[] = {"cells", "map",  "pool",    "queue",
                                       "ring",  "held", "barrier", "versioned"};
    for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
        int calls = 0;
        OK(hf_shm_view(parts.shm, many[i], stop_at_three, &calls));
        CHECK_SAY(calls == 3, "%s: %d calls", many[i], calls);
    }
    parts_close(&parts);
}

struct erasing {
    hf_shm *shm;
    int calls;
};

static int erase_it(const hf_shm_view_item *item, void *context) {
    struct erasing *erasing = context;
    (void)item;
    if (++erasing->calls == 2) OK(hf_shm_erase(erasing->shm, "cells"));
    return 0;
}

static void test_structure_that_is_erased_while_it_is_looked_at(void) {
    hf_shm_cells_options options;
    hf_shm_cells *cells = NULL;
    hf_shm *shm = help_make(harness_name("view-erased"), SIZE);
    hf_shm *watcher = watcher_open("view-erased");
    hf_shm_cells_options_init(&options, HF_SHM_CELL_U64, 4);
    for (int watches = 0; watches < 2; watches++) {
        OK(hf_shm_cells_open(shm, "cells", HF_SHM_CREATE, &options, &cells));
        hf_shm_cells_close(cells);
        struct erasing erasing = {.shm = shm};
        hf_status status = hf_shm_view(watches ? watcher : shm, "cells", erase_it, &erasing);
        /* A participant holds it to the end; a watcher cannot. */
        CHECK_EQ(status, watches ? HF_E_NOT_FOUND : HF_OK);
        CHECK_EQ(erasing.calls, watches ? 2 : 4);
        CHECK_EQ(hf_shm_view(shm, "cells", erase_it, &erasing), HF_E_NOT_FOUND);
    }
    OK(hf_shm_close(watcher));
    OK(hf_shm_close(shm));
}

static void test_what_cannot_be_looked_at_is_an_error(void) {
    struct parts parts = parts_make("view-errors");
    int calls = 0;
    CHECK_EQ(hf_shm_view(parts.shm, "nothing", stop_at_three, &calls), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_view(parts.shm, "", stop_at_three, &calls), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_view(parts.shm, NULL, stop_at_three, &calls), HF_E_INVALID);
    CHECK_EQ(hf_shm_view(parts.shm, "queue", NULL, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_view(NULL, "queue", stop_at_three, &calls), HF_E_INVALID);
    static const char *const headed[] = {"barrier", "cells", "map",     "pool",
                                         "queue",   "ring",  "counted", "versioned"};
    for (size_t i = 0; i < sizeof headed / sizeof *headed; i++) {
        hf_shm_entry entry;
        OK(hf_shm_find(parts.shm, headed[i], &entry));
        memset(hf_shm_at(parts.shm, entry.span, 0, 64), 0xA5, 64);
        CHECK_EQ(hf_shm_view(parts.shm, headed[i], stop_at_three, &calls), HF_E_CORRUPT);
        CHECK(hf_shm_detail()[0] != '\0');
    }
    CHECK_EQ(calls, 0);
    CHECK(strcmp(hf_shm_state_name(HF_SHM_STATE_IN_DOUBT), "in doubt") == 0);
    CHECK(strcmp(hf_shm_piece_name(HF_SHM_PIECE_SEAT), "seat") == 0);
    CHECK(hf_shm_state_name(HF_SHM_STATE_COUNT)[0] == '\0');
    CHECK(hf_shm_piece_name(UINT32_MAX)[0] == '\0');
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
    CHECK_RUN(test_what_a_killed_process_left_is_shown_until_it_is_given_back);
    CHECK_RUN(test_view_while_others_work);
    CHECK_RUN(test_visitor_that_has_enough_stops);
    CHECK_RUN(test_structure_that_is_erased_while_it_is_looked_at);
    CHECK_RUN(test_what_cannot_be_looked_at_is_an_error);
    return 0;
}
