/* test_shm_crowd.c - 32 processes on every structure of one segment at once, some of them killed.
 *
 * Method: each worker goes round: puts into a queue and takes out of it, counts in a cell, changes the
 * map under a key of its own and one of all, takes and gives back an object and a permit, reads a ring
 * and a versioned array that one of them writes, writes its element of an array, sets and takes an event,
 * comes to a barrier of two, locks a mutex around a pair of numbers. At the end what belongs together
 * agrees, nothing is held by anybody, and check finds nothing. */
#include <stdatomic.h>

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

#define CROWD    32
#define CAPACITY 64

struct crowd {
    const char *name;
    _Atomic uint64_t
        *rounds; /* of each worker, shared; behind them: passed barriers, taken events */
};

struct hands {
    hf_shm *shm;
    hf_shm_queue *queue;
    hf_shm_cells *cells;
    hf_shm_map *map;
    hf_shm_pool *pool;
    hf_shm_semaphore *permits;
    hf_shm_mutex *mutex;
    hf_shm_ring *ring;
    hf_shm_array *array;
    hf_shm_versioned *versioned;
    hf_shm_event *event;
    hf_shm_barrier *barrier;
};

struct item {
    uint64_t worker, number, check;
};

static void hands_open(struct hands *hands, hf_shm *shm, hf_shm_mode mode) {
    hf_shm_queue_options queue;
    hf_shm_cells_options cells;
    hf_shm_map_options map;
    hf_shm_pool_options pool;
    hf_shm_semaphore_options permits;
    hf_shm_ring_options ring;
    hands->shm = shm;
    hf_shm_queue_options_init(&queue, sizeof(struct item), CAPACITY);
    OK(hf_shm_queue_open(shm, "queue", mode, &queue, &hands->queue));
    hf_shm_cells_options_init(&cells, HF_SHM_CELL_U64, 4);
    OK(hf_shm_cells_open(shm, "cells", mode, &cells, &hands->cells));
    hf_shm_map_options_init(&map, 8, 16, 1000);
    OK(hf_shm_map_open(shm, "map", mode, &map, &hands->map));
    hf_shm_pool_options_init(&pool, CROWD + 4, 64);
    OK(hf_shm_pool_open(shm, "pool", mode, &pool, &hands->pool));
    hf_shm_semaphore_options_init(&permits, 5);
    OK(hf_shm_semaphore_open(shm, "permits", mode, &permits, &hands->permits));
    OK(hf_shm_mutex_open(shm, "mutex", mode, &hands->mutex));
    hf_shm_ring_options_init(&ring, 8, 256);
    ring.readers_max = CROWD + 8;
    OK(hf_shm_ring_open(shm, "ring", mode, &ring, &hands->ring));
    hf_shm_array_options array;
    hf_shm_array_options_init(&array, 8, CROWD);
    OK(hf_shm_array_open(shm, "array", mode, &array, &hands->array));
    hf_shm_versioned_options versioned;
    hf_shm_versioned_options_init(&versioned, 8, 4);
    OK(hf_shm_versioned_open(shm, "versioned", mode, &versioned, &hands->versioned));
    hf_shm_event_options event;
    hf_shm_event_options_init(&event);
    event.automatic = 1;
    OK(hf_shm_event_open(shm, "event", mode, &event, &hands->event));
    hf_shm_barrier_options barrier;
    hf_shm_barrier_options_init(&barrier, 2);
    OK(hf_shm_barrier_open(shm, "barrier", mode, &barrier, &hands->barrier));
}

static void hands_close(struct hands *hands) {
    hf_shm_barrier_close(hands->barrier);
    hf_shm_event_close(hands->event);
    OK(hf_shm_versioned_close(hands->versioned));
    hf_shm_array_close(hands->array);
    OK(hf_shm_ring_close(hands->ring));
    hf_shm_mutex_close(hands->mutex);
    hf_shm_semaphore_close(hands->permits);
    hf_shm_pool_close(hands->pool);
    hf_shm_map_close(hands->map);
    hf_shm_cells_close(hands->cells);
    OK(hf_shm_queue_close(hands->queue));
    OK(hf_shm_close(hands->shm));
}

/* Two cells that are equal whenever the mutex is free and nobody died in between. */
static void step_mutex(struct hands *hands) {
    hf_shm_cell first, second;
    hf_status status = hf_shm_mutex_lock(hands->mutex, HF_FOREVER);
    CHECK_SAY(status == HF_OK || status == HF_E_OWNER_DIED, "lock: %d", (int)status);
    OK(hf_shm_cells_load(hands->cells, 2, &first));
    OK(hf_shm_cells_load(hands->cells, 3, &second));
    if (status == HF_OK)
        CHECK_EQ(first.u64, second.u64);
    else
        OK(hf_shm_mutex_consistent(hands->mutex));
    first.u64++;
    OK(hf_shm_cells_store(hands->cells, 2, first));
    OK(hf_shm_cells_store(hands->cells, 3, first));
    OK(hf_shm_mutex_unlock(hands->mutex));
}

static void step_queue(struct hands *hands, uint64_t worker, uint64_t number) {
    struct item item = {worker, number, worker * 1000003 + number};
    hf_status status = hf_shm_queue_put(hands->queue, &item, sizeof item, 0);
    if (status == HF_E_FULL || number % 2) {
        status = hf_shm_queue_get(hands->queue, &item, sizeof item, 0, NULL);
        if (status == HF_OK) CHECK_EQ(item.check, item.worker * 1000003 + item.number);
    }
    CHECK_SAY(status == HF_OK || status == HF_E_EMPTY, "queue: %d: %s", (int)status,
              hf_shm_detail());
}

static void step_arrays(struct hands *hands, uint64_t worker, uint64_t number) {
    uint64_t state[4] = {number, number + 1, number + 2, number + 3}, version;
    ((uint64_t *)hf_shm_array_data(hands->array))[worker] = number;
    if (worker == 0) OK(hf_shm_versioned_write(hands->versioned, state, NULL));
    hf_status status = hf_shm_versioned_read(hands->versioned, state, &version);
    CHECK_SAY(status == HF_OK || status == HF_E_BUSY, "versioned: %d", (int)status);
    if (status == HF_OK && version != 0) CHECK_EQ(state[3], state[0] + 3);
    CHECK_EQ(((uint64_t *)hf_shm_array_data(hands->array))[worker], number);
}

/* Whoever is there: nobody is waited for long. */
static void step_meet(struct crowd *crowd, struct hands *hands) {
    OK(hf_shm_event_set(hands->event));
    hf_status status = hf_shm_event_wait(hands->event, 0);
    CHECK_SAY(status == HF_OK || status == HF_E_TIMEOUT, "event: %d", (int)status);
    if (status == HF_OK) atomic_fetch_add(&crowd->rounds[CROWD + 1], 1);
    uint32_t place = 2;
    status = hf_shm_barrier_wait(hands->barrier, 1000000, &place);
    CHECK_SAY(status == HF_OK || status == HF_E_TIMEOUT || status == HF_E_OWNER_DIED,
              "barrier: %d: %s", (int)status, hf_shm_detail());
    if (status != HF_OK) return;
    CHECK_LT(place, 2);
    atomic_fetch_add(&crowd->rounds[CROWD], 1);
}

static void step_map(struct hands *hands, uint64_t worker, uint64_t number) {
    uint64_t own = worker, all = 1u << 20, value[2] = {number, ~number};
    OK(hf_shm_map_put(hands->map, &own, 8, value, 16, NULL));
    OK(hf_shm_map_put(hands->map, &all, 8, value, 16, NULL));
    OK(hf_shm_map_get(hands->map, &all, 8, value, 16, NULL, NULL));
    CHECK(value[0] == ~value[1]);
    OK(hf_shm_map_get(hands->map, &own, 8, value, 16, NULL, NULL));
    CHECK_EQ(value[0], number);
}

static int crowd_work(void *raw, unsigned worker, unsigned incarnation, const volatile int *stop) {
    struct crowd *crowd = raw;
    struct hands hands;
    hf_shm_ring_reader *reader = NULL;
    hands_open(&hands, help_join(crowd->name), HF_SHM_OPEN);
    (void)incarnation;
    OK(hf_shm_ring_reader_open(hands.ring, NULL, &reader));
    for (uint64_t number = 0; !*stop; number++) {
        hf_shm_handle handle;
        uint64_t element;
        step_queue(&hands, worker, number);
        OK(hf_shm_cells_add(hands.cells, 0, (hf_shm_cell){.u64 = 1}, NULL));
        step_map(&hands, worker, number);
        OK(hf_shm_pool_acquire(hands.pool, HF_FOREVER, &handle));
        memset(hf_shm_pool_at(hands.pool, handle), (int)worker, 64);
        OK(hf_shm_pool_release(hands.pool, handle));
        OK(hf_shm_semaphore_wait(hands.permits, 1, HF_FOREVER));
        CHECK_EQ(hf_shm_semaphore_held(hands.permits), 1);
        OK(hf_shm_semaphore_post(hands.permits, 1));
        step_mutex(&hands);
        step_arrays(&hands, worker, number);
        step_meet(crowd, &hands);
        hf_status status = hf_shm_ring_pop(reader, &element, 0);
        CHECK_SAY(status == HF_OK || status == HF_E_EMPTY || status == HF_E_BUSY, "ring: %d",
                  (int)status);
        if (worker == 0) OK(hf_shm_ring_push(hands.ring, &number, 0));
        atomic_fetch_add(&crowd->rounds[worker], 1);
    }
    hf_shm_ring_reader_close(reader);
    hands_close(&hands);
    return 0;
}

static void test_32_processes_on_everything(void) {
    struct crowd crowd = {harness_name("crowd"), harness_shared((CROWD + 2) * sizeof(uint64_t))};
    struct hands keeper;
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 4 << 20);
    options.participants_max = 4 * CROWD; /* a worker is one by the fork, too */
    OK(hf_shm_open(crowd.name, HF_SHM_CREATE, &options, &shm));
    hands_open(&keeper, shm, HF_SHM_CREATE);
    const struct harness_storm storm = {.name = "crowd",
                                        .workers = CROWD,
                                        .kills = harness_kills(100),
                                        .spare_mask = 1, /* who writes the ring */
                                        .pace_us = 8000,
                                        .work = crowd_work};
    harness_storm(&storm, &crowd);
    size_t recovered = 0;
    OK(hf_shm_sweep(keeper.shm, &recovered));
    uint64_t rounds = 0;
    for (unsigned i = 0; i < CROWD; i++) {
        CHECK_SAY(crowd.rounds[i] > 0, "worker %u never came round", i);
        rounds += crowd.rounds[i];
    }
    CHECK_GT(crowd.rounds[CROWD], 0);
    CHECK_GT(crowd.rounds[CROWD + 1], 0);
    CHECK_EQ(hf_shm_barrier_waiting(keeper.barrier), 0);
    hf_shm_cell counted;
    OK(hf_shm_cells_load(keeper.cells, 0, &counted));
    CHECK_GE(counted.u64, rounds); /* who was killed in a round may have counted */
    CHECK_LE(counted.u64, rounds + storm.kills);
    CHECK_EQ(hf_shm_pool_live(keeper.pool), 0);
    CHECK_EQ(hf_shm_semaphore_value(keeper.permits), 5);
    CHECK_EQ(hf_shm_map_count(keeper.map), CROWD + 1);
    for (uint64_t i = hf_shm_queue_length(keeper.queue); i > 0; i--) {
        struct item item;
        hf_status status = hf_shm_queue_get(keeper.queue, &item, sizeof item, 0, NULL);
        if (status == HF_E_EMPTY) break;
        OK(status);
        CHECK_EQ(item.check, item.worker * 1000003 + item.number);
    }
    for (uint64_t i = 0; i < CAPACITY; i++) { /* the whole capacity is there */
        const struct item item = {0};
        OK(hf_shm_queue_put(keeper.queue, &item, sizeof item, 0));
    }
    OK(hf_shm_check(keeper.shm, NULL, NULL, NULL));
    CHECK_EQ(help_info(keeper.shm).participants_live, 1);
    printf("  %" PRIu64 " rounds\n", rounds);
    hands_close(&keeper);
    CHECK(!help_is_there(crowd.name));
}

int main(void) {
    harness_watchdog(120);
    CHECK_RUN(test_32_processes_on_everything);
    return 0;
}
