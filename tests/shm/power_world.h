/* power_world.h - every structure in one segment, and a model of what must be in it after a power cut.
 *
 * Contract    change makes one change of one structure and of `now`; `kept` is what was persisted.
 *             expect_exact: untouched since, so exactly that. expect_some: old and new, nothing else.
 *             expect_usable: whatever it was, every structure serves to its last element.
 * Talks to    power_medium.h.   Called by steps_power.c, steps_power_persist.c. */
#ifndef HF_TESTS_SHM_POWER_WORLD_H
#define HF_TESTS_SHM_POWER_WORLD_H

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

#include "power_medium.h"

enum { COUNT = 64, WORDS = 700, KEYS = 64 };

static hf_shm_queue *queue;
static hf_shm_ring *ring;
static hf_shm_map *map;
static hf_shm_pool *pool;
static hf_shm_cells *cells;
static hf_shm_versioned *versioned;
static hf_shm_array *array;
static hf_shm_mutex *mutex;
static hf_shm_semaphore *semaphore;
static hf_shm_event *event;
static hf_shm_barrier *barrier;

/* What the script has put where; a copy is what was persisted. */
static struct model {
    uint64_t turn;
    uint64_t front, back;   /* of the queue */
    uint64_t written;       /* to the ring */
    uint64_t version[KEYS]; /* of each key's value; 0: not there */
    uint64_t owned;         /* objects of the pool */
    uint64_t cell[COUNT];
    uint64_t snapshot; /* version of the versioned array */
    uint64_t word[WORDS];
    uint64_t signalled;
} now, kept;

static inline void payload(uint64_t *words, unsigned count, uint64_t number) {
    for (unsigned i = 0; i < count; i++)
        words[i] = number * UINT64_C(0x9e3779b97f4a7c15) + i;
}

static inline bool is_payload(const uint64_t *words, unsigned count, uint64_t number) {
    for (unsigned i = 0; i < count; i++)
        if (words[i] != number * UINT64_C(0x9e3779b97f4a7c15) + i) return false;
    return true;
}

static inline void open_all(hf_shm *shm, hf_shm_mode mode) {
    hf_shm_queue_options q;
    hf_shm_queue_options_init(&q, 200, COUNT);
    OK(hf_shm_queue_open(shm, "queue", mode, &q, &queue));
    hf_shm_ring_options r;
    hf_shm_ring_options_init(&r, 200, COUNT);
    OK(hf_shm_ring_open(shm, "ring", mode, &r, &ring));
    hf_shm_map_options m;
    hf_shm_map_options_init(&m, 8, 80, KEYS);
    OK(hf_shm_map_open(shm, "map", mode, &m, &map));
    hf_shm_pool_options p;
    hf_shm_pool_options_init(&p, COUNT, 200);
    OK(hf_shm_pool_open(shm, "pool", mode, &p, &pool));
    hf_shm_cells_options c;
    hf_shm_cells_options_init(&c, HF_SHM_CELL_U64, COUNT);
    OK(hf_shm_cells_open(shm, "cells", mode, &c, &cells));
    hf_shm_versioned_options v;
    hf_shm_versioned_options_init(&v, 8, WORDS);
    OK(hf_shm_versioned_open(shm, "versioned", mode, &v, &versioned));
    hf_shm_array_options a;
    hf_shm_array_options_init(&a, 8, WORDS);
    OK(hf_shm_array_open(shm, "array", mode, &a, &array));
    OK(hf_shm_mutex_open(shm, "mutex", mode, &mutex));
    hf_shm_semaphore_options s;
    hf_shm_semaphore_options_init(&s, 3);
    OK(hf_shm_semaphore_open(shm, "semaphore", mode, &s, &semaphore));
    hf_shm_event_options e;
    hf_shm_event_options_init(&e);
    OK(hf_shm_event_open(shm, "event", mode, &e, &event));
    hf_shm_barrier_options b;
    hf_shm_barrier_options_init(&b, 1);
    OK(hf_shm_barrier_open(shm, "barrier", mode, &b, &barrier));
}

static inline void close_all(void) {
    OK(hf_shm_queue_close(queue));
    OK(hf_shm_ring_close(ring));
    hf_shm_map_close(map);
    hf_shm_pool_close(pool);
    hf_shm_cells_close(cells);
    OK(hf_shm_versioned_close(versioned));
    hf_shm_array_close(array);
    hf_shm_mutex_close(mutex);
    hf_shm_semaphore_close(semaphore);
    hf_shm_event_close(event);
    hf_shm_barrier_close(barrier);
}

enum part { QUEUE, RING, MAP, POOL, CELLS, VERSIONED, ARRAY, LOCKS, PARTS };

/* One change of one structure. */
static inline void change(enum part part) {
    uint64_t words[WORDS], turn = ++now.turn;
    uint64_t key = check_random_below(&draw, KEYS);
    hf_shm_handle handle;
    switch (part) {
    case QUEUE:
        if (now.back - now.front < COUNT && check_random_below(&draw, 5) < 3) {
            payload(words, 25, now.back++);
            OK(hf_shm_queue_put(queue, words, 200, 0));
        } else if (now.front < now.back) {
            OK(hf_shm_queue_get(queue, words, 200, 0, NULL));
            CHECK(is_payload(words, 25, now.front++));
        }
        break;
    case RING:
        payload(words, 25, now.written++);
        OK(hf_shm_ring_push(ring, words, 0));
        break;
    case MAP:
        if (now.version[key] != 0 && check_random_below(&draw, 4) == 0) {
            now.version[key] = 0;
            OK(hf_shm_map_erase(map, &key, 8));
        } else {
            payload(words, 10, key << 32 | turn);
            words[9] = now.version[key] = turn;
            OK(hf_shm_map_put(map, &key, 8, words, 80, NULL));
        }
        break;
    case POOL:
        if (now.owned == COUNT) break;
        OK(hf_shm_pool_acquire(pool, 0, &handle));
        memset(hf_shm_pool_at(pool, handle), (int)turn, 200);
        if (check_random_below(&draw, 3) == 0)
            now.owned++;
        else
            OK(hf_shm_pool_release(pool, handle));
        break;
    case CELLS:
        OK(hf_shm_cells_store(cells, key, (hf_shm_cell){.u64 = now.cell[key] = turn}));
        break;
    case VERSIONED:
        payload(words, WORDS, now.snapshot + 1);
        OK(hf_shm_versioned_write(versioned, words, &now.snapshot));
        break;
    case ARRAY:
        for (unsigned i = 0; i < WORDS; i++)
            ((_Atomic uint64_t *)hf_shm_array_data(array))[i] = now.word[i] = turn;
        break;
    default:
        OK(hf_shm_mutex_lock(mutex, HF_FOREVER));
        OK(hf_shm_semaphore_wait(semaphore, 1, 0));
        OK(turn % 2 ? hf_shm_event_set(event) : hf_shm_event_clear(event));
        OK(hf_shm_barrier_wait(barrier, 0, NULL));
        OK(hf_shm_semaphore_post(semaphore, 1));
        OK(hf_shm_mutex_unlock(mutex));
        now.signalled = turn % 2;
    }
}

/* --- what an image must be --------------------------------------------------------------------- */

/* Untouched since it was persisted: exactly that. */
static inline void expect_exact(enum part part) {
    uint64_t words[WORDS];
    uint64_t got = 0, count = 0;
    switch (part) {
    case QUEUE:
        CHECK_EQ(hf_shm_queue_length(queue), kept.back - kept.front);
        for (uint64_t i = kept.front; i < kept.back; i++) {
            OK(hf_shm_queue_get(queue, words, 200, 0, NULL));
            CHECK(is_payload(words, 25, i));
        }
        break;
    case RING:
        CHECK_EQ(hf_shm_ring_total_written(ring), kept.written);
        for (uint64_t i = kept.written > COUNT ? kept.written - COUNT : 0; i < kept.written; i++) {
            OK(hf_shm_ring_read_at(ring, i, words, 1, &got));
            CHECK(got == 1 && is_payload(words, 25, i));
        }
        break;
    case MAP:
        for (uint64_t key = 0; key < KEYS; key++) {
            hf_status status = hf_shm_map_get(map, &key, 8, words, 80, NULL, NULL);
            CHECK_EQ(status, kept.version[key] == 0 ? HF_E_NOT_FOUND : HF_OK);
            if (status == HF_OK)
                CHECK(words[9] == kept.version[key] && is_payload(words, 9, key << 32 | words[9]));
            count += status == HF_OK;
        }
        CHECK_EQ(hf_shm_map_count(map), count);
        break;
    case POOL: /* owners of before are gone with the machine */
        CHECK_EQ(hf_shm_pool_live(pool), 0);
        break;
    case CELLS:
        for (uint64_t i = 0; i < COUNT; i++) {
            hf_shm_cell cell;
            OK(hf_shm_cells_load(cells, i, &cell));
            CHECK_EQ(cell.u64, kept.cell[i]);
        }
        break;
    case VERSIONED:
        OK(hf_shm_versioned_read(versioned, words, &got));
        CHECK_EQ(got, kept.snapshot);
        CHECK(got == 0 || is_payload(words, WORDS, got));
        break;
    case ARRAY: CHECK(memcmp(hf_shm_array_data(array), kept.word, sizeof kept.word) == 0); break;
    default: CHECK_EQ(hf_shm_event_is_set(event), kept.signalled);
    }
}

/* Changed since: some of it is old, some new; nothing else. */
static inline void expect_some(enum part part) {
    uint64_t words[WORDS];
    if (part == CELLS)
        for (uint64_t i = 0; i < COUNT; i++) {
            hf_shm_cell cell;
            OK(hf_shm_cells_load(cells, i, &cell));
            CHECK(cell.u64 >= kept.cell[i] && cell.u64 <= now.turn);
        }
    if (part == ARRAY)
        for (unsigned i = 0; i < WORDS; i++) {
            uint64_t word = ((const uint64_t *)hf_shm_array_data(array))[i];
            CHECK(word >= kept.word[i] && word <= now.turn);
        }
    if (part == QUEUE) /* what comes out has the length of an item, and there is an end */
        for (unsigned i = 0;; i++) {
            hf_status status = hf_shm_queue_get(queue, words, 200, 0, NULL);
            if (status == HF_E_EMPTY) break;
            OK(status);
            CHECK(i < COUNT);
        }
}

/* To the last element. */
static inline void expect_usable(void) {
    uint64_t words[WORDS], key, version = 0, before = hf_shm_ring_total_written(ring);
    hf_shm_handle handles[COUNT];
    while (hf_shm_queue_get(queue, words, 200, 0, NULL) == HF_OK) {
    }
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < COUNT; i++) {
            payload(words, 25, i);
            OK(hf_shm_queue_put(queue, words, 200, 0));
        }
        CHECK_EQ(hf_shm_queue_put(queue, words, 200, 0), HF_E_FULL);
        for (uint64_t i = 0; i < COUNT; i++) {
            OK(hf_shm_queue_get(queue, words, 200, 0, NULL));
            CHECK(is_payload(words, 25, i));
        }
        CHECK_EQ(hf_shm_queue_get(queue, words, 200, 0, NULL), HF_E_EMPTY);
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t got = 0;
        payload(words, 25, before + i);
        OK(hf_shm_ring_push(ring, words, 0));
        OK(hf_shm_ring_latest(ring, words, 1, &got, NULL));
        CHECK(got == 1 && is_payload(words, 25, before + i));
    }
    CHECK_EQ(hf_shm_ring_total_written(ring), before + COUNT);
    for (key = 0; key < KEYS; key++) {
        payload(words, 10, key);
        OK(hf_shm_map_put(map, &key, 8, words, 80, NULL));
    }
    for (key = 0; key < KEYS; key++) {
        OK(hf_shm_map_get(map, &key, 8, words, 80, NULL, NULL));
        CHECK(is_payload(words, 10, key));
    }
    OK(hf_shm_map_clear(map));
    CHECK_EQ(hf_shm_map_count(map), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        OK(hf_shm_pool_acquire(pool, 0, &handles[i]));
        memset(hf_shm_pool_at(pool, handles[i]), (int)i, 200);
    }
    CHECK_EQ(hf_shm_pool_acquire(pool, 0, &handles[0]), HF_E_EMPTY);
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQ(((unsigned char *)hf_shm_pool_at(pool, handles[i]))[199], i);
        OK(hf_shm_pool_release(pool, handles[i]));
    }
    payload(words, WORDS, 7);
    OK(hf_shm_versioned_write(versioned, words, &version));
    memset(words, 0, sizeof words);
    OK(hf_shm_versioned_read(versioned, words, &version));
    CHECK(is_payload(words, WORDS, 7));
    hf_status status = hf_shm_mutex_lock(mutex, HF_FOREVER);
    if (status == HF_E_OWNER_DIED) OK(hf_shm_mutex_consistent(mutex));
    OK(hf_shm_mutex_unlock(mutex));
    OK(hf_shm_semaphore_wait(semaphore, 3, HF_FOREVER));
    OK(hf_shm_semaphore_post(semaphore, 3));
    OK(hf_shm_event_set(event));
    OK(hf_shm_event_wait(event, 0));
    OK(hf_shm_barrier_wait(barrier, 0, NULL));
}

#endif
