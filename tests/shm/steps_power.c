/* steps_power.c - segments on a file when the power fails: every structure, at every shared access.
 *
 * Method: msync is replaced by one that notes which bytes reached the medium. While a script changes
 * every structure, at each step images of the medium are made: each page (or sector, or line) is
 * either what was flushed last or what is in memory now, as drawn. An image is opened as after a
 * restart of the machine: it must be repaired by that, pass the check, be whole where it was
 * persisted and not changed since, and be usable to the last element everywhere. */
#include <fcntl.h>
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
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shm/layout.h"
#include "shm/segment_state.h"
#include "shm_help.h"

enum { SIZE = 384 << 10, COUNT = 64, WORDS = 700, KEYS = 64 };

static char folder[200], path[256], image_path[256];
static char *medium, *image; /* [SIZE] */
static char *memory;         /* where the segment under test is mapped; NULL: not yet */
static bool learns;          /* the first flush of an opener is that of the header */
static check_random draw;

/* --- the medium ------------------------------------------------------------------------------- */

/* Instead of the C library's: nothing is written, but what would be on the medium is noted. */
int msync(void *address, size_t size, int flags) {
    (void)flags;
    if (learns) memory = address;
    learns = false;
    uintptr_t at = (uintptr_t)address, base = (uintptr_t)memory;
    if (memory == NULL || at < base || at - base >= SIZE) return 0;
    if (size > SIZE - (at - base)) size = SIZE - (at - base);
    memcpy(medium + (at - base), address, size);
    return 0;
}

int fsync(int file) {
    (void)file;
    return 0;
}

enum mix { MIX_OLD, MIX_NEW, MIX_ONE_OLD, MIX_ONE_NEW, MIX_DRAWN, MIXES };

static void image_make(enum mix mix, size_t grain) {
    size_t one = check_random_below(&draw, SIZE / grain) * grain;
    for (size_t at = 0; at < SIZE; at += grain) {
        bool new = mix == MIX_NEW || (mix == MIX_ONE_NEW && at == one) ||
                   (mix == MIX_ONE_OLD && at != one) ||
                   (mix == MIX_DRAWN && check_random_below(&draw, 2) == 0);
        memcpy(image + at, (new ? memory : medium) + at, grain);
    }
    /* The machine has started again. */
    struct hfi_shm_header *header = (struct hfi_shm_header *)image;
    if (header->boot != 0) header->boot ^= 2;
}

static void image_write(void) {
    int file = open(image_path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    CHECK(file >= 0 && write(file, image, SIZE) == SIZE);
    close(file);
}

static hf_shm *open_at(const char *at, hf_shm_mode mode) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, mode == HF_SHM_OPEN ? 0 : SIZE);
    options.path = at;
    options.participants_max = 40; /* rows do not end where pages do */
    OK(hf_shm_open(NULL, mode, &options, &shm));
    return shm;
}

/* --- every structure -------------------------------------------------------------------------- */

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

static void payload(uint64_t *words, unsigned count, uint64_t number) {
    for (unsigned i = 0; i < count; i++)
        words[i] = number * UINT64_C(0x9e3779b97f4a7c15) + i;
}

static bool is_payload(const uint64_t *words, unsigned count, uint64_t number) {
    for (unsigned i = 0; i < count; i++)
        if (words[i] != number * UINT64_C(0x9e3779b97f4a7c15) + i) return false;
    return true;
}

static void open_all(hf_shm *shm, hf_shm_mode mode) {
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

static void close_all(void) {
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
static void change(enum part part) {
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
static void expect_exact(enum part part) {
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
static void expect_some(enum part part) {
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
static void expect_usable(void) {
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

static int fault_print(const char *name, const char *fault, void *context) {
    (void)context;
    fprintf(stderr, "%s: %s\n", name, fault);
    return 0;
}

static uint64_t images;
static uint32_t changed; /* a bit per part: since it was persisted */

static void image_verify(void) {
    /* The script's own handles stay as they are. */
    void *saved[] = {queue, ring,  map,       pool,  cells,  versioned,
                     array, mutex, semaphore, event, barrier};
    hf_shm *shm = open_at(image_path, HF_SHM_OPEN);
    CHECK_EQ(help_info(shm).power_cuts, 1);
    CHECK_EQ(help_info(shm).participants_dead, 0);
    CHECK_SAY(hf_shm_check(shm, NULL, fault_print, NULL) == HF_OK, "image %" PRIu64, images);
    open_all(shm, HF_SHM_OPEN);
    for (enum part part = 0; part < PARTS; part++)
        if ((changed >> part & 1) == 0)
            expect_exact(part);
        else
            expect_some(part);
    expect_usable();
    CHECK_SAY(hf_shm_check(shm, NULL, fault_print, NULL) == HF_OK, "image %" PRIu64 " in use",
              images);
    close_all();
    OK(hf_shm_close(shm));
    images++;
    queue = saved[0], ring = saved[1], map = saved[2], pool = saved[3], cells = saved[4];
    versioned = saved[5], array = saved[6], mutex = saved[7], semaphore = saved[8];
    event = saved[9], barrier = saved[10];
}

static void (*verify)(void) = image_verify;
static unsigned stride, steps, step_phase, effort = 1;

static void *run_verify(void *nothing) {
    verify();
    return nothing;
}

static void power_fails(void) {
    static const size_t grains[] = {4096, 4096, 512, 64};
    if (++steps % stride != step_phase) return;
    void (*hook)(void) = hfi_shm_step_hook;
    hfi_shm_step_hook = NULL;
    image_make((enum mix)check_random_below(&draw, MIXES),
               grains[check_random_below(&draw, sizeof grains / sizeof *grains)]);
    image_write();
    /* On a thread of its own: the script's may hold locks that rank above those of opening. */
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, run_verify, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    hfi_shm_step_hook = hook;
}

/* --- tests ------------------------------------------------------------------------------------ */

static hf_shm *begin(void) {
    memory = NULL;
    memset(medium, 0, SIZE);
    memset(&now, 0, sizeof now);
    hf_shm *shm = open_at(path, HF_SHM_CREATE);
    memory = shm->base;
    memcpy(medium, memory, SIZE); /* making a file ends with all of it on the medium */
    return shm;
}

static void keep(void) {
    kept = now;
    changed = 0;
}

static void test_every_structure_after_a_power_cut_at_every_step(void) {
    unsigned moments = harness_kills(600);
    hf_shm *shm = begin();
    open_all(shm, HF_SHM_CREATE);
    images = 0;
    verify = image_verify;
    for (unsigned round = 0; images < moments; round++) {
        OK(hf_shm_persist(shm));
        keep();
        /* One half of them is left alone until the next persist. */
        uint32_t active = (uint32_t)check_random_below(&draw, 1u << PARTS);
        stride = 23;
        step_phase = (unsigned)check_random_below(&draw, stride);
        for (unsigned i = 0; i < 60; i++) {
            enum part part = (enum part)check_random_below(&draw, PARTS);
            if ((active >> part & 1) == 0) continue;
            changed |= 1u << part;
            hfi_shm_step_hook = power_fails;
            change(part);
            hfi_shm_step_hook = NULL;
        }
        if (round % 3 == 0) /* something comes and goes in the table, too */
            OK(hf_shm_add(shm, "guest", 5000, NULL)), OK(hf_shm_erase(shm, "guest"));
    }
    printf("  %" PRIu64 " images\n", images);
    close_all();
    OK(hf_shm_close(shm));
    CHECK(unlink(path) == 0);
}

/* --- the table -------------------------------------------------------------------------------- */

/* Spans that come and go, each filled with a byte of its own, and queues. */
static int span_check(const hf_shm_entry *entry, void *context) {
    if (entry->kind == HF_SHM_KIND_QUEUE) {
        char item[200] = "";
        hf_shm_queue *one = NULL;
        OK(hf_shm_queue_open(context, entry->name, HF_SHM_OPEN, NULL, &one));
        while (hf_shm_queue_get(one, item, sizeof item, 0, NULL) == HF_OK) {
        }
        OK(hf_shm_queue_put(one, item, entry->element_size, 0));
        OK(hf_shm_queue_get(one, item, sizeof item, 0, NULL));
        OK(hf_shm_queue_close(one));
        return 0;
    }
    const unsigned char *bytes = hf_shm_at(context, entry->span, 0, entry->span.size);
    unsigned own = (unsigned)strtoul(entry->name + 1, NULL, 10) % 250 + 1;
    CHECK(bytes != NULL);
    for (uint64_t i = 0; i < entry->span.size; i++)
        CHECK_SAY(bytes[i] == 0 || bytes[i] == own, "%s: byte %" PRIu64 " is %u's, not %u's",
                  entry->name, i, bytes[i], own);
    return 0;
}

static void table_verify(void) {
    hf_shm *shm = open_at(image_path, HF_SHM_OPEN);
    CHECK_SAY(hf_shm_check(shm, NULL, fault_print, NULL) == HF_OK, "image %" PRIu64, images);
    OK(hf_shm_list(shm, span_check, shm));
    hf_shm_span span;
    OK(hf_shm_add(shm, "new", 777, &span));
    for (unsigned i = 0; i < 777; i++)
        CHECK_EQ(*(unsigned char *)hf_shm_at(shm, span, i, 1), 0);
    OK(hf_shm_erase(shm, "new"));
    OK(hf_shm_close(shm));
    images++;
}

static void test_the_table_after_a_power_cut_at_every_step(void) {
    enum { LIVE = 9 };
    unsigned moments = harness_kills(1500) * effort, number = 0, live[LIVE] = {0};
    hf_shm *shm = begin();
    images = 0;
    verify = table_verify;
    stride = 3;
    while (images < moments) {
        char name[20];
        unsigned at = (unsigned)check_random_below(&draw, LIVE);
        step_phase = (unsigned)check_random_below(&draw, stride);
        hfi_shm_step_hook = power_fails;
        if (live[at] != 0) {
            (void)snprintf(name, sizeof name, "a%u", live[at]);
            OK(hf_shm_erase(shm, name));
        }
        live[at] = ++number;
        (void)snprintf(name, sizeof name, "a%u", number);
        if (number % 2 == 0) {
            hf_shm_queue_options q;
            hf_shm_queue *one = NULL;
            hf_shm_queue_options_init(&q, 8 + check_random_below(&draw, 190),
                                      1 + check_random_below(&draw, 60));
            OK(hf_shm_queue_open(shm, name, HF_SHM_CREATE, &q, &one));
            OK(hf_shm_queue_close(one));
            hfi_shm_step_hook = NULL;
            continue;
        }
        hf_shm_span span;
        uint64_t size = 100 + check_random_below(&draw, 9000);
        OK(hf_shm_add(shm, name, size, &span));
        memset(hf_shm_at(shm, span, 0, size), (int)(number % 250 + 1), size);
        if (number % 3 == 0) OK(hf_shm_persist_span(shm, span));
        hfi_shm_step_hook = NULL;
    }
    printf("  %" PRIu64 " images\n", images);
    OK(hf_shm_close(shm));
    CHECK(unlink(path) == 0);
}

/* --- killed at every step of persisting ------------------------------------------------------- */

/* The way to write so that it can be relied on: the data, persist; what says so, persist. */
static void write_round(hf_shm *shm, uint64_t round) {
    hf_shm_entry entry;
    hf_shm_array_options a;
    hf_shm_array_options_init(&a, 8, WORDS);
    OK(hf_shm_array_open(shm, "array", HF_SHM_OPEN_OR_CREATE, &a, &array));
    hf_shm_cells_options c;
    hf_shm_cells_options_init(&c, HF_SHM_CELL_U64, 1);
    OK(hf_shm_cells_open(shm, "done", HF_SHM_OPEN_OR_CREATE, &c, &cells));
    for (unsigned i = 0; i < WORDS; i++) {
        if (i % 100 == 0) hfi_shm_step();
        ((_Atomic uint64_t *)hf_shm_array_data(array))[i] = round;
    }
    OK(hf_shm_persist_span(shm, hf_shm_array_span(array)));
    OK(hf_shm_cells_store(cells, 0, (hf_shm_cell){.u64 = round}));
    OK(hf_shm_find(shm, "done", &entry));
    OK(hf_shm_persist_span(shm, entry.span));
    hf_shm_array_close(array);
    hf_shm_cells_close(cells);
}

static void round_expect(const char *at, bool finished, bool cut) {
    hf_shm *shm = open_at(at, HF_SHM_OPEN);
    CHECK_SAY(hf_shm_check(shm, NULL, fault_print, NULL) == HF_OK, "%s", cut ? "image" : "file");
    /* Whose header says that it was closed has nobody of before in it. */
    hf_shm_info info = help_info(shm);
    CHECK(!cut || info.power_cuts == 1 || info.recoveries == 0);
    hf_shm_array_options a;
    hf_shm_array_options_init(&a, 0, 0);
    OK(hf_shm_array_open(shm, "array", HF_SHM_OPEN, &a, &array));
    OK(hf_shm_cells_open(shm, "done", HF_SHM_OPEN, NULL, &cells));
    hf_shm_cell done;
    OK(hf_shm_cells_load(cells, 0, &done));
    CHECK(done.u64 == 1 || done.u64 == 2);
    CHECK(!finished || done.u64 == 2);
    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t word = ((uint64_t *)hf_shm_array_data(array))[i];
        CHECK(word >= done.u64 && word <= 2);
    }
    hf_shm_array_close(array);
    hf_shm_cells_close(cells);
    OK(hf_shm_close(shm));
}

static hf_shm *victims;

static void kill_setup(void *world) {
    (void)world;
    hf_shm *shm = begin();
    write_round(shm, 1);
    OK(hf_shm_close(shm));
}

static void kill_victim(void *world) {
    (void)world;
    memory = NULL;
    learns = true;
    victims = open_at(path, HF_SHM_OPEN);
    CHECK(memory == victims->base);
    write_round(victims, 2);
    OK(hf_shm_close(victims));
}

static void kill_verify(void *world, bool finished) {
    (void)world;
    int file = open(path, O_RDONLY);
    char *view = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, file, 0);
    CHECK(file >= 0 && view != MAP_FAILED);
    memory = view;
    for (enum mix mix = MIX_OLD; mix < MIXES; mix++) {
        image_make(mix, mix == MIX_DRAWN ? 64 : 4096);
        image_write();
        round_expect(image_path, finished, true);
    }
    memory = NULL;
    munmap(view, SIZE);
    close(file);
    round_expect(path, finished, false);
}

static void kill_teardown(void *world) {
    (void)world;
    CHECK(unlink(path) == 0);
}

static void test_persisted_data_outlives_a_kill_and_a_power_cut_at_every_step(void) {
    const struct harness_steps plan = {.name = "persist",
                                       .setup = kill_setup,
                                       .victim = kill_victim,
                                       .verify = kill_verify,
                                       .teardown = kill_teardown};
    CHECK_GT(harness_crash_points(&plan, NULL, 1), 50);
}

/* --- clean ends, and tests that can fail ------------------------------------------------------ */

static void test_closed_files_are_not_taken_for_cut_ones(void) {
    hf_shm *shm = begin(), *second = open_at(path, HF_SHM_OPEN);
    open_all(shm, HF_SHM_CREATE);
    OK(hf_shm_mutex_lock(mutex, 0));
    hf_shm_mutex_close(mutex);
    OK(hf_shm_mutex_open(shm, "mutex", HF_SHM_OPEN, &mutex));
    close_all();
    memory = shm->base;
    OK(hf_shm_close(second));
    CHECK_NE(hfi_shm_header_of(shm)->boot, 0); /* one is left */
    /* Everything is on the medium when the last one has left, and the mark behind it. */
    char *view = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, hf_shm_file(shm), 0);
    CHECK(view != MAP_FAILED);
    OK(hf_shm_close(shm));
    CHECK(memcmp(medium, view, SIZE) == 0);
    munmap(view, SIZE);
    memory = medium;
    image_make(MIX_OLD, 4096);
    CHECK_EQ(((struct hfi_shm_header *)image)->boot, 0);
    image_write();
    memory = NULL;
    hf_shm_options options;
    hf_shm_options_init(&options, 0);
    options.path = image_path;
    options.stale = HF_SHM_REFUSE;
    OK(hf_shm_open(NULL, HF_SHM_OPEN, &options, &shm));
    CHECK_EQ(help_info(shm).power_cuts, 0);
    CHECK_NE(hfi_shm_header_of(shm)->boot, 0);
    /* Cut now, it is refused by who wants to know, and else repaired. */
    memcpy(image, shm->base, SIZE);
    ((struct hfi_shm_header *)image)->boot ^= 2;
    OK(hf_shm_close(shm));
    image_write();
    CHECK_EQ(hf_shm_open(NULL, HF_SHM_OPEN, &options, &shm), HF_E_OWNER_DIED);
    CHECK(strstr(hf_shm_detail(), "went down") != NULL);
    shm = open_at(image_path, HF_SHM_OPEN);
    CHECK_EQ(help_info(shm).power_cuts, 1);
    OK(hf_shm_close(shm));
    OK(hf_shm_open(NULL, HF_SHM_OPEN, &options, &shm));
    OK(hf_shm_close(shm));
    CHECK(unlink(path) == 0);
}

static void expect_caught(unsigned mutant, void (*test)(void)) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int nowhere = open("/dev/null", O_WRONLY);
        (void)dup2(nowhere, 1), (void)dup2(nowhere, 2);
        (void)unlink(path);
        CHECK_WATCHDOG(60); /* a hang is caught as well */
        hfi_shm_mutant = mutant;
        effort = 30; /* it ends when it is caught */
        test();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    (void)unlink(path);
    CHECK_SAY(!WIFEXITED(status) || WEXITSTATUS(status) != 0, "mutant %u is not caught", mutant);
}

static void test_mutants_are_caught(void) {
    expect_caught(POWER_MUTANT_NO_RECOVERY, test_every_structure_after_a_power_cut_at_every_step);
    expect_caught(POWER_MUTANT_ROW_FIRST, test_the_table_after_a_power_cut_at_every_step);
    expect_caught(POWER_MUTANT_REUSE, test_the_table_after_a_power_cut_at_every_step);
}

int main(void) {
    CHECK_WATCHDOG(600);
    const char *place = getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/holdfast-t-XXXXXX", place && *place ? place : "/tmp");
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/segment", folder);
    (void)snprintf(image_path, sizeof image_path, "%s/image", folder);
    medium = harness_shared(SIZE);
    image = harness_shared(SIZE);
    draw = (check_random){harness_seed()};
    CHECK_RUN(test_every_structure_after_a_power_cut_at_every_step);
    CHECK_RUN(test_the_table_after_a_power_cut_at_every_step);
    CHECK_RUN(test_persisted_data_outlives_a_kill_and_a_power_cut_at_every_step);
    CHECK_RUN(test_closed_files_are_not_taken_for_cut_ones);
    CHECK_RUN(test_mutants_are_caught);
    (void)unlink(image_path);
    (void)rmdir(folder);
    return 0;
}
