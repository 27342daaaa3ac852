/* shm_speaker.c - writes or reads one of everything in a segment that somebody else may have made.
 *
 *   shm_speaker SEGMENT write|read       what it writes and expects is what test_shm_interop.py says */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <holdfast/shm.h>
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

struct tick {
    double price;
    int32_t count;
} __attribute__((packed));

#define TICK "[('price','<f8'),('count','<i4')]"

static void check(hf_status status, const char *what) {
    if (status == HF_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, hf_status_name(status), hf_shm_detail());
    exit(1);
}

static void expect(int condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "not so: %s\n", what);
    exit(1);
}

/* What processes wait for each other with. */
static void meet(hf_shm *shm, hf_shm_mode mode, int writes) {
    hf_shm_event_options event_options;
    hf_shm_event *event;
    hf_shm_event_options_init(&event_options);
    event_options.automatic = 1;
    check(hf_shm_event_open(shm, "ready", mode, &event_options, &event), "event");
    hf_shm_semaphore_options counted;
    hf_shm_semaphore *tokens, *permits;
    hf_shm_semaphore_options_init(&counted, 0);
    counted.counted = 1, counted.most = 9;
    check(hf_shm_semaphore_open(shm, "tokens", mode, &counted, &tokens), "tokens");
    hf_shm_semaphore_options held;
    hf_shm_semaphore_options_init(&held, 5);
    check(hf_shm_semaphore_open(shm, "permits", mode, &held, &permits), "permits");
    hf_shm_mutex *mutex;
    check(hf_shm_mutex_open(shm, "guard", mode, &mutex), "mutex");
    hf_shm_barrier_options barrier_options;
    hf_shm_barrier *barrier;
    hf_shm_barrier_options_init(&barrier_options, 1);
    barrier_options.on_death = HF_SHM_BARRIER_GO_ON;
    check(hf_shm_barrier_open(shm, "step", mode, &barrier_options, &barrier), "barrier");
    check(hf_shm_mutex_lock(mutex, 0), "lock");
    if (writes) {
        check(hf_shm_event_set(event), "set");
        check(hf_shm_semaphore_post(tokens, 3), "post");
        for (int i = 0; i < 2; i++)
            check(hf_shm_barrier_wait(barrier, HF_FOREVER, NULL), "come");
    } else {
        check(hf_shm_event_wait(event, 0), "wait");
        expect(!hf_shm_event_is_set(event), "automatic");
        check(hf_shm_semaphore_wait(tokens, 3, 0), "take");
        expect(hf_shm_semaphore_value(tokens) == 0, "tokens");
        expect(hf_shm_barrier_round(barrier) == 2, "rounds");
    }
    check(hf_shm_semaphore_wait(permits, 5, 0), "permits");
    check(hf_shm_semaphore_post(permits, 5), "permits");
    check(hf_shm_mutex_unlock(mutex), "unlock");
    hf_shm_barrier_close(barrier);
    hf_shm_mutex_close(mutex);
    hf_shm_semaphore_close(permits);
    hf_shm_semaphore_close(tokens);
    hf_shm_event_close(event);
}

static void speak_bytes(hf_shm *shm, hf_shm_mode mode, int writes) {
    hf_shm_queue_options options;
    hf_shm_queue *notes;
    hf_shm_queue_options_init(&options, 64, 8);
    options.items = HF_SHM_QUEUE_BYTES;
    check(hf_shm_queue_open(shm, "notes", mode, &options, &notes), "notes");
    char note[64];
    uint64_t size = 0;
    if (writes)
        check(hf_shm_queue_put(notes, "hello", 5, 0), "note");
    else {
        check(hf_shm_queue_get(notes, note, sizeof note, 0, &size), "note");
        expect(size == 5 && memcmp(note, "hello", 5) == 0, "note");
    }
    check(hf_shm_queue_close(notes), "close");
}

int main(int argc, char **argv) {
    expect(argc == 3, "two arguments");
    const int writes = strcmp(argv[2], "write") == 0;
    const hf_shm_mode mode = writes ? HF_SHM_OPEN_OR_CREATE : HF_SHM_OPEN;
    hf_shm *shm;
    check(hf_shm_open(argv[1], HF_SHM_OPEN, NULL, &shm), "segment");
    speak_bytes(shm, mode, writes);

    hf_shm_queue_options queue_options;
    hf_shm_queue *queue;
    hf_shm_queue_options_init(&queue_options, sizeof(struct tick), 16);
    queue_options.format = TICK;
    check(hf_shm_queue_open(shm, "ticks", mode, &queue_options, &queue), "queue");
    hf_shm_array_options array_options;
    hf_shm_array *array;
    hf_shm_array_options_init(&array_options, 4, 6);
    array_options.dimensions = 2;
    array_options.shape[0] = 2, array_options.shape[1] = 3;
    array_options.format = "<f4";
    check(hf_shm_array_open(shm, "field", mode, &array_options, &array), "array");
    hf_shm_versioned_options versioned_options;
    hf_shm_versioned *versioned;
    hf_shm_versioned_options_init(&versioned_options, 8, 5);
    versioned_options.format = "<i8";
    check(hf_shm_versioned_open(shm, "state", mode, &versioned_options, &versioned), "versioned");
    hf_shm_ring_options ring_options;
    hf_shm_ring *ring;
    hf_shm_ring_options_init(&ring_options, 8, 64);
    ring_options.format = "<f8";
    check(hf_shm_ring_open(shm, "stream", mode, &ring_options, &ring), "ring");
    hf_shm_cells_options cells_options;
    hf_shm_cells *cells;
    hf_shm_cells_options_init(&cells_options, HF_SHM_CELL_I64, 2);
    check(hf_shm_cells_open(shm, "counts", mode, &cells_options, &cells), "cells");
    hf_shm_map_options map_options;
    hf_shm_map *map;
    hf_shm_map_options_init(&map_options, 8, 8, 100);
    map_options.key_format = "<i8";
    map_options.value_format = "<f8";
    check(hf_shm_map_open(shm, "values", mode, &map_options, &map), "map");
    hf_shm_pool_options pool_options;
    hf_shm_pool *pool;
    hf_shm_pool_options_init(&pool_options, 4, 8);
    pool_options.format = "<f8";
    check(hf_shm_pool_open(shm, "objects", mode, &pool_options, &pool), "pool");

    meet(shm, mode, writes);
    float *field = hf_shm_array_data(array);
    if (writes) {
        for (int32_t i = 0; i < 3; i++) {
            const struct tick tick = {1.5 * i, i};
            check(hf_shm_queue_put(queue, &tick, sizeof tick, 0), "put");
        }
        for (int i = 0; i < 6; i++)
            field[i] = (float)(i * i);
        const int64_t state[5] = {1, 2, 3, 4, -5};
        check(hf_shm_versioned_write(versioned, state, NULL), "write");
        const double stream[4] = {0.5, 1.5, 2.5, 3.5};
        check(hf_shm_ring_push_bulk(ring, stream, 4, 0, NULL), "push");
        check(hf_shm_cells_add(cells, 1, (hf_shm_cell){.i64 = 42}, NULL), "add");
        for (int64_t key = -2; key <= 2; key++) {
            const double value = (double)key / 4;
            check(hf_shm_map_put(map, &key, 8, &value, 8, NULL), "map put");
        }
        hf_shm_handle handle;
        check(hf_shm_pool_acquire(pool, 0, &handle), "acquire");
        *(double *)hf_shm_pool_at(pool, handle) = 6.25;
        check(hf_shm_cells_store(cells, 0, (hf_shm_cell){.i64 = (int64_t)handle}), "store");
        check(hf_shm_pool_pass(pool, handle), "pass");
    } else {
        for (int32_t i = 0; i < 3; i++) {
            struct tick tick;
            check(hf_shm_queue_get(queue, &tick, sizeof tick, 0, NULL), "get");
            expect(tick.price == 1.5 * i && tick.count == i, "tick");
        }
        for (int i = 0; i < 6; i++)
            expect(field[i] == (float)(i * i), "field");
        int64_t state[5];
        uint64_t version;
        check(hf_shm_versioned_read(versioned, state, &version), "read");
        expect(version == 1 && state[0] == 1 && state[4] == -5, "state");
        double stream[8];
        uint64_t got;
        check(hf_shm_ring_latest(ring, stream, 8, &got, NULL), "latest");
        expect(got == 4 && stream[0] == 0.5 && stream[3] == 3.5, "stream");
        hf_shm_cell cell;
        check(hf_shm_cells_load(cells, 1, &cell), "load");
        expect(cell.i64 == 42, "count");
        for (int64_t key = -2; key <= 2; key++) {
            double value;
            check(hf_shm_map_get(map, &key, 8, &value, 8, NULL, NULL), "map get");
            expect(value == (double)key / 4, "value");
        }
        hf_shm_handle handle;
        check(hf_shm_cells_load(cells, 0, &cell), "load");
        check(hf_shm_pool_adopt(pool, (hf_shm_handle)cell.i64, &handle), "adopt");
        expect(*(double *)hf_shm_pool_at(pool, handle) == 6.25, "object");
        check(hf_shm_pool_release(pool, handle), "release");
    }
    hf_shm_pool_close(pool);
    hf_shm_map_close(map);
    hf_shm_cells_close(cells);
    check(hf_shm_ring_close(ring), "close");
    check(hf_shm_versioned_close(versioned), "close");
    hf_shm_array_close(array);
    check(hf_shm_queue_close(queue), "close");
    check(hf_shm_close(shm), "close");
    return 0;
}
