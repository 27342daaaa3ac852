/* view_world.h - a segment with a structure of every kind in it, for the tests of views.
 *
 * Contract    parts_make makes them under the names of their fields; parts_open also opens what is there.
 *             expect_free and expect_owned: state and owner of an item are these, or the test fails.
 * Talks to    view_help.h, shm_help.h.   Called by test_shm_view*.c. */
#ifndef HF_TESTS_SHM_VIEW_WORLD_H
#define HF_TESTS_SHM_VIEW_WORLD_H

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

#include "shm_help.h"
#include "view_help.h"

#define VIEW_SIZE ((uint64_t)1 << 20)

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

static inline void parts_open(struct parts *parts, hf_shm *shm) {
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

static inline void parts_close(struct parts *parts) {
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

static inline struct parts parts_make(const char *tag) {
    struct parts parts = {0};
    hf_shm_span span;
    hf_shm *shm = help_make(harness_name(tag), VIEW_SIZE);
    OK(hf_shm_add(shm, "span", 1000, &span));
    parts_open(&parts, shm);
    return parts;
}

/* An item in this state, which nobody has. */
static inline void expect_free(const hf_shm_view_item *item, hf_shm_state state) {
    CHECK_SAY(item->state == state, "%s %" PRIu64 " is %s", hf_shm_piece_name(item->piece),
              item->index, hf_shm_state_name(item->state));
    CHECK(item->participant == HF_SHM_NOBODY);
    CHECK_EQ(item->pid, 0);
    CHECK_EQ(item->dead, 0);
}

/* The same, and this process has it, dead or alive. */
static inline void expect_owned(const hf_shm_view_item *item, hf_shm_state state, pid_t pid,
                                bool dead) {
    CHECK_SAY(item->state == state, "%s %" PRIu64 " is %s", hf_shm_piece_name(item->piece),
              item->index, hf_shm_state_name(item->state));
    CHECK(item->participant != HF_SHM_NOBODY);
    CHECK_EQ(item->pid, pid);
    CHECK_EQ(item->dead, dead);
}

/* Looks on: its mapping cannot be written to. */
static inline hf_shm *watcher_open(const char *tag) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 0);
    options.presence = HF_SHM_WATCHER;
    OK(hf_shm_open(harness_name(tag), HF_SHM_OPEN, &options, &shm));
    return shm;
}

#endif
