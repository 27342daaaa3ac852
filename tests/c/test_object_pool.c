/* test_object_pool.c - public object pools: geometry, misuse, exhaustion, threads, states, fork.
 * Method      every condition of pool.h by itself; the account and the view are checked after each.
 *             Waiting and races of many threads are in tests/stress/stress_pool.c, random programs in
 *             tests/property/test_pool_programs.c. */
#include <holdfast/owner.h>
#include <os/os.h>
#include <pthread.h>
#include <sys/wait.h>

#include "pool_check.h"

static pool_reported reported;

static void expect_report(hf_report_kind kind, unsigned count) {
    CHECK_EQ(reported.count, count);
    CHECK_EQ(reported.last.kind, kind);
    reported.count = 0;
}

/* --- making --------------------------------------------------------------------------------- */

static void test_blocks_of_any_size_are_aligned_disjoint_and_usable(void) {
    static const size_t sizes[] = {1,    2,    3,    7,     8,      12,     16,      24,     48,
                                   100,  520,  1000, 1040,  4095,   4096,   5000,    40000,  65537,
                                   4097, 8200, 64,   99999, 131072, 262145, 1048575, 1048576};
    static const size_t alignments[] = {0, 1, 2, 8, 16, 64, 512, 4096};
    enum { COUNT = 40 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof alignments / sizeof *alignments; k++) {
            hf_pool_options options;
            hf_pool_options_init(&options, sizes[i]);
            options.alignment = alignments[k];
            hf_pool *pool = pool_make(&options);
            size_t alignment = alignments[k] != 0 ? alignments[k] : sizes[i] >= 16 ? 16 : 1;
            unsigned char *blocks[COUNT];
            for (int b = 0; b < COUNT; b++) {
                blocks[b] = pool_get(pool);
                CHECK_EQ((uintptr_t)blocks[b] % alignment, 0);
                CHECK_EQ(hf_pool_state(pool, blocks[b]), HF_BLOCK_LIVE);
                CHECK(hf_pool_owns(pool, blocks[b]));
                CHECK(hf_pool_owns(pool, blocks[b] + sizes[i] - 1));
                memset(blocks[b], b + 1, sizes[i]);
            }
            for (int b = 0; b < COUNT; b++)
                for (size_t at = 0; at<sizes[i]; at += sizes[i]> 64 ? sizes[i] - 1 : 1)
                    CHECK_EQ(blocks[b][at], b + 1);
            hf_pool_figures f;
            CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
            CHECK_EQ(f.block_size, sizes[i]);
            size_t tight = (sizes[i] + alignment - 1) / alignment * alignment;
            CHECK_LE(f.stride, tight + tight / 16 + 16);
            pool_account(pool, COUNT);
            for (int b = 0; b < COUNT; b++)
                CHECK_EQ(hf_pool_release(pool, blocks[b]), HF_OK);
            pool_account(pool, 0);
            CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
            CHECK_EQ(hf_pool_destroy(pool), HF_OK);
        }
}

static void test_options_out_of_range_are_refused(void) {
    hf_pool *pool = NULL;
    hf_pool_options good, o;
    hf_pool_options_init(&good, 64);
#define REFUSED(field, value, status)                                                              \
    do {                                                                                           \
        o = good;                                                                                  \
        o.field = value;                                                                           \
        CHECK_EQ(hf_pool_create(&o, &pool), status);                                               \
        CHECK_PTR(pool, NULL);                                                                     \
    } while (0)
    REFUSED(struct_size, 3, HF_E_INVALID);
    REFUSED(block_size, 0, HF_E_INVALID);
    REFUSED(block_size, HF_POOL_BLOCK_MAX + 1, HF_E_INVALID);
    REFUSED(alignment, 3, HF_E_INVALID);
    REFUSED(alignment, 8192, HF_E_INVALID);
    REFUSED(on_exhausted, 3, HF_E_INVALID);
    REFUSED(sanitize, 3, HF_E_INVALID);
    REFUSED(capacity, UINT64_MAX, HF_E_INVALID);
    REFUSED(node, -2, HF_E_INVALID);
    REFUSED(node, 4096, HF_E_INVALID);
    REFUSED(on_exhausted, HF_POOL_FAIL, HF_E_CONFLICT);
    REFUSED(on_exhausted, HF_POOL_WAIT, HF_E_CONFLICT);
    CHECK_EQ(hf_pool_create(NULL, &pool), HF_E_INVALID);
    CHECK_EQ(hf_pool_create(&good, NULL), HF_E_INVALID);
}

static int find_owner(const hf_owner *owner, void *context) {
    hf_owner *found = context;
    if (owner->kind != HF_OWNER_POOL || owner->id != found->id) return 0;
    *found = *owner;
    return 1;
}

static void test_pool_is_among_the_owners(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 100);
    options.name = "particles of a name that is longer than 31 bytes";
    hf_pool *pool = pool_make(&options);
    void *block = pool_get(pool);
    hf_owner owner = {.id = hf_pool_id(pool)};
    CHECK_EQ(hf_owners_visit(find_owner, &owner), HF_OK);
    CHECK_STR(owner.name, "particles of a name that is lon");
    CHECK_STR(hf_pool_name(pool), owner.name);
    CHECK_EQ(owner.stats.blocks_in_use, 1);
    CHECK_EQ(owner.stats.bytes_in_use, 100);
    CHECK_EQ(hf_pool_release(pool, block), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
    hf_owner gone = {.id = owner.id};
    CHECK_EQ(hf_owners_visit(find_owner, &gone), HF_OK);
    CHECK_EQ(gone.stats.struct_size, 0);
}

static void test_destroy_with_blocks_out_is_busy(void) {
    hf_pool *pool = pool_bounded(64, 8, HF_POOL_FAIL);
    void *blocks[3] = {pool_get(pool), pool_get(pool), pool_get(pool)};
    CHECK_EQ(hf_pool_destroy(pool), HF_E_BUSY);
    CHECK_EQ(hf_pool_live(pool), 3);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, 2), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_E_BUSY);
    memset(blocks[2], 7, 64);
    CHECK_EQ(hf_pool_destroy_forced(pool), 1);
}

/* --- misuse --------------------------------------------------------------------------------- */

static void test_release_of_what_is_not_out_is_reported_and_refused(void) {
    hf_pool *pool = pool_bounded(48, 100, HF_POOL_FAIL);
    hf_pool *other = pool_bounded(48, 100, HF_POOL_FAIL);
    char *block = pool_get(pool), *second = pool_get(pool), *stranger = pool_get(other);
    char *heap_block = hf_malloc(48);
    int here = 0;
    hf_report_handler_set(pool_note_report, &reported);
    CHECK_EQ(hf_pool_release(pool, block + 1), HF_E_INVALID);
    expect_report(HF_REPORT_INTERIOR_FREE, 1);
    CHECK_PTR(reported.last.block, block);
    CHECK_EQ(reported.last.block_size, 48);
    CHECK_EQ(reported.last.heap_id, hf_pool_id(pool));
    CHECK_EQ(hf_pool_release(pool, block), HF_OK);
    CHECK_EQ(hf_pool_release(pool, block), HF_E_INVALID);
    expect_report(HF_REPORT_DOUBLE_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, stranger), HF_E_INVALID);
    expect_report(HF_REPORT_FOREIGN_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, heap_block), HF_E_INVALID);
    expect_report(HF_REPORT_FOREIGN_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, &here), HF_E_INVALID);
    expect_report(HF_REPORT_INVALID_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, NULL), HF_E_INVALID);
    expect_report(HF_REPORT_INVALID_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, block + 48 * 90), HF_E_INVALID); /* never handed out */
    expect_report(HF_REPORT_INVALID_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, block - 1), HF_E_INVALID);
    expect_report(HF_REPORT_INVALID_FREE, 1);
    void *mixed[3] = {second, second, stranger};
    CHECK_EQ(hf_pool_release_bulk(pool, mixed, 3), HF_E_INVALID);
    expect_report(HF_REPORT_FOREIGN_FREE, 2);
    hf_report_handler_set(NULL, NULL);
    /* Nothing of it did any harm. */
    hf_stats s;
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_EQ(s.reports, 10);
    pool_account(pool, 0);
    CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
    void *all[100];
    CHECK_EQ(hf_pool_acquire_bulk(pool, all, 100), HF_OK);
    for (int i = 0; i < 100; i++)
        for (int k = 0; k < i; k++)
            CHECK(all[i] != all[k]);
    CHECK_EQ(hf_pool_release_bulk(pool, all, 100), HF_OK);
    CHECK_EQ(hf_pool_release(other, stranger), HF_OK);
    hf_free(heap_block);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
    CHECK_EQ(hf_pool_destroy(other), HF_OK);
}

/* Threads release the same block at the same moment: one of them does. */
enum { RACERS = 4, RACES = CHECK_SANITIZED ? 300 : 3000 };
static _Atomic unsigned race_round;
static void *_Atomic race_block;
static _Atomic unsigned race_won, race_done;
static hf_pool *race_pool;

static void *racer(void *unused) {
    (void)unused;
    for (unsigned round = 1; round <= RACES; round++) {
        while (atomic_load(&race_round) < round)
            sched_yield();
        if (hf_pool_release(race_pool, atomic_load(&race_block)) == HF_OK)
            atomic_fetch_add(&race_won, 1);
        atomic_fetch_add(&race_done, 1);
    }
    return NULL;
}

static void test_racing_double_release_succeeds_once(void) {
    race_pool = pool_bounded(32, 64, HF_POOL_FAIL);
    pthread_t threads[RACERS];
    for (int i = 0; i < RACERS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, racer, NULL), 0);
    for (unsigned round = 1; round <= RACES; round++) {
        atomic_store(&race_won, 0);
        atomic_store(&race_done, 0);
        atomic_store(&race_block, pool_get(race_pool));
        atomic_store(&race_round, round);
        while (atomic_load(&race_done) < RACERS)
            sched_yield();
        CHECK_EQ(atomic_load(&race_won), 1);
    }
    for (int i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    pool_account(race_pool, 0);
    CHECK_EQ(hf_pool_destroy(race_pool), HF_OK);
}

/* --- exhaustion ----------------------------------------------------------------------------- */

static void test_capacity_is_exact_and_a_release_makes_room(void) {
    static const size_t capacities[] = {1, 2, 7, 64, 1000, 5000};
    for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++) {
        size_t capacity = capacities[i];
        hf_pool *pool = pool_bounded(24, capacity, HF_POOL_FAIL);
        void **blocks = calloc(capacity, sizeof *blocks), *more = &blocks;
        CHECK(blocks != NULL);
        for (size_t k = 0; k < capacity; k++)
            blocks[k] = pool_get(pool);
        CHECK_EQ(hf_pool_acquire(pool, &more), HF_E_LIMIT);
        CHECK_PTR(more, &blocks);
        CHECK_EQ(hf_pool_release(pool, blocks[capacity / 2]), HF_OK);
        blocks[capacity / 2] = pool_get(pool);
        CHECK_EQ(hf_pool_acquire(pool, &more), HF_E_LIMIT);
        pool_account(pool, capacity);
        CHECK_EQ(hf_pool_release_bulk(pool, blocks, capacity), HF_OK);
        CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, capacity + 1), HF_E_LIMIT);
        pool_account(pool, 0);
        CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, capacity), HF_OK);
        CHECK_EQ(hf_pool_acquire_bulk(pool, &more, 1), HF_E_LIMIT);
        pool_account(pool, capacity);
        CHECK_EQ(hf_pool_release_bulk(pool, blocks, capacity), HF_OK);
        CHECK_EQ(hf_pool_destroy(pool), HF_OK);
        free(blocks);
    }
}

static void test_grow_goes_past_the_capacity(void) {
    hf_pool *pool = pool_bounded(24, 10, HF_POOL_GROW);
    void *blocks[1000];
    CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, 1000), HF_OK);
    pool_account(pool, 1000);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, 1000), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void test_wait_without_a_release_times_out(void) {
    hf_pool *pool = pool_bounded(24, 2, HF_POOL_WAIT);
    void *a = pool_get(pool), *b = pool_get(pool), *c = NULL;
    CHECK_EQ(hf_pool_acquire_within(pool, 0, &c), HF_E_TIMEOUT);
    uint64_t start = hfi_os_clock_ns();
    CHECK_EQ(hf_pool_acquire_within(pool, 20000000, &c), HF_E_TIMEOUT);
    CHECK_GE(hfi_os_clock_ns() - start, 20000000);
    CHECK_PTR(c, NULL);
    CHECK_EQ(hf_pool_release(pool, a), HF_OK);
    CHECK_EQ(hf_pool_acquire_within(pool, 0, &a), HF_OK);
    hf_pool_figures f;
    CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
    CHECK_EQ(f.waits, 1);
    CHECK_EQ(f.timeouts, 1);
    CHECK_EQ(f.refusals, 2);
    CHECK_GE(f.wait_ns, 20000000);
    pool_account(pool, 2);
    CHECK_EQ(hf_pool_release(pool, a), HF_OK);
    CHECK_EQ(hf_pool_release(pool, b), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

typedef struct taker {
    hf_pool *pool;
    size_t count;
    void *blocks[8];
    hf_status status;
    _Atomic int done;
} taker;

static void *taker_run(void *argument) {
    taker *t = argument;
    t->status = hf_pool_acquire_bulk(t->pool, t->blocks, t->count);
    atomic_store(&t->done, 1);
    return NULL;
}

static void wait_for_waits(hf_pool *pool, uint64_t waits) {
    hf_pool_figures f;
    do {
        sched_yield();
        CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
    } while (f.waits < waits);
}

static void test_who_waits_first_is_served_first_and_bulk_holds_the_queue(void) {
    hf_pool *pool = pool_bounded(24, 4, HF_POOL_WAIT);
    void *blocks[4];
    taker first = {.pool = pool, .count = 3}, second = {.pool = pool, .count = 1};
    pthread_t threads[2];
    CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, 4), HF_OK);
    CHECK_EQ(pthread_create(&threads[0], NULL, taker_run, &first), 0);
    wait_for_waits(pool, 1);
    CHECK_EQ(pthread_create(&threads[1], NULL, taker_run, &second), 0);
    wait_for_waits(pool, 2);
    CHECK_EQ(hf_pool_release(pool, blocks[0]), HF_OK);
    CHECK_EQ(hf_pool_release(pool, blocks[1]), HF_OK);
    CHECK_EQ(atomic_load(&first.done) + atomic_load(&second.done), 0);
    void *barging = NULL;
    CHECK_EQ(hf_pool_acquire_within(pool, 0, &barging), HF_E_TIMEOUT);
    CHECK_EQ(hf_pool_release(pool, blocks[2]), HF_OK);
    CHECK_EQ(pthread_join(threads[0], NULL), 0);
    CHECK_EQ(first.status, HF_OK);
    CHECK_EQ(atomic_load(&second.done), 0);
    CHECK_EQ(hf_pool_release(pool, blocks[3]), HF_OK);
    CHECK_EQ(pthread_join(threads[1], NULL), 0);
    CHECK_EQ(second.status, HF_OK);
    pool_account(pool, 4);
    CHECK_EQ(hf_pool_release_bulk(pool, first.blocks, 3), HF_OK);
    CHECK_EQ(hf_pool_release(pool, second.blocks[0]), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

/* --- threads -------------------------------------------------------------------------------- */

typedef struct hoarder {
    hf_pool *pool;
    size_t count;
    _Atomic int phase; /* 1: has released all; 2: may end */
} hoarder;

static void *hoarder_run(void *argument) {
    hoarder *h = argument;
    void *blocks[64];
    for (int round = 0; round < 4; round++) { /* its magazine grows to hold them all */
        CHECK_EQ(hf_pool_acquire_bulk(h->pool, blocks, h->count), HF_OK);
        CHECK_EQ(hf_pool_release_bulk(h->pool, blocks, h->count), HF_OK);
    }
    atomic_store(&h->phase, 1);
    while (atomic_load(&h->phase) != 2)
        sched_yield();
    /* Its hints are stale: it must not get what others hold. */
    void *block = NULL;
    CHECK_EQ(hf_pool_acquire(h->pool, &block), HF_E_LIMIT);
    return NULL;
}

static void test_blocks_in_a_magazine_of_another_thread_are_taken_back(void) {
    hf_pool *pool = pool_bounded(40, 64, HF_POOL_FAIL);
    hoarder h = {.pool = pool, .count = 64};
    pthread_t thread;
    void *blocks[64];
    CHECK_EQ(pthread_create(&thread, NULL, hoarder_run, &h), 0);
    while (atomic_load(&h.phase) != 1)
        sched_yield();
    hf_pool_figures f;
    CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
    CHECK_GT(f.blocks_cached, 8);
    for (int i = 0; i < 64; i++)
        blocks[i] = pool_get(pool);
    CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
    CHECK_GT(f.taken_back, 8);
    pool_account(pool, 64);
    atomic_store(&h.phase, 2);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, 64), HF_OK);
    pool_account(pool, 0);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void *passer_run(void *argument) {
    hf_pool *pool = argument;
    void *blocks[100];
    CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, 100), HF_OK);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, 99), HF_OK);
    return blocks[99];
}

static void test_the_end_of_a_thread_gives_its_blocks_back(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 64);
    hf_pool *pool = pool_make(&options);
    void *kept = NULL;
    pthread_t thread;
    hf_pool_figures f;
    hf_stats s;
    CHECK_EQ(pthread_create(&thread, NULL, passer_run, pool), 0);
    CHECK_EQ(pthread_join(thread, &kept), 0);
    CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
    CHECK_EQ(f.blocks_cached, 0);
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_EQ(s.threads, 0);
    CHECK_EQ(s.allocs, 100);
    CHECK_EQ(s.frees, 99);
    pool_account(pool, 1);
    CHECK_EQ(hf_pool_release(pool, kept), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

/* More pools than have magazines, made and destroyed in turns: slots are reused, none is confused. */
static void test_many_pools_at_once_and_one_after_the_other(void) {
    enum { POOLS = 600, TURNS = 2 };
    static hf_pool *pools[POOLS];
    static void *blocks[POOLS][3];
    for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < POOLS; i++) {
            pools[i] = pool_bounded(16 + (size_t)i, 3, HF_POOL_FAIL);
            for (int k = 0; k < 3; k++)
                blocks[i][k] = pool_get(pools[i]);
            void *more = NULL;
            CHECK_EQ(hf_pool_acquire(pools[i], &more), HF_E_LIMIT);
        }
        for (int i = 0; i < POOLS; i++) {
            CHECK_EQ(hf_pool_release_bulk(pools[i], blocks[i], 3), HF_OK);
            pool_account(pools[i], 0);
        }
        for (int i = 0; i < POOLS; i++)
            CHECK_EQ(hf_pool_destroy(pools[(i * 7) % POOLS]), HF_OK);
    }
}

/* --- content -------------------------------------------------------------------------------- */

static void test_zero_gives_zeroes_always(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 100);
    options.sanitize = HF_POOL_ZERO;
    hf_pool *pool = pool_make(&options);
    unsigned char *blocks[300];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 300; i++) {
            blocks[i] = pool_get(pool);
            for (int at = 0; at < 100; at++)
                CHECK_EQ(blocks[i][at], 0);
            memset(blocks[i], 0xAB, 100);
        }
        CHECK_EQ(hf_pool_release_bulk(pool, (void **)blocks, 300), HF_OK);
        if (round == 1) CHECK_GT(hf_pool_trim(pool), 0);
    }
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void test_pattern_finds_a_write_after_release(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 90);
    options.alignment = 2;
    options.sanitize = HF_POOL_PATTERN;
    options.name = "watched";
    hf_pool *pool = pool_make(&options);
    char *blocks[20], *fresh[20];
    hf_report_handler_set(pool_note_report, &reported);
    reported.count = 0;
    for (int i = 0; i < 20; i++) {
        blocks[i] = pool_get(pool);
        memset(blocks[i], 'x', 90);
    }
    for (int i = 1; i < 20; i++)
        CHECK_EQ(hf_pool_release(pool, blocks[i]), HF_OK);
    CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
    blocks[19] = pool_get(pool);
    CHECK_EQ(hf_pool_release(pool, blocks[19]), HF_OK); /* on top of the magazine */
    memcpy(blocks[19] + 83, "stale", 5);
    CHECK_EQ(reported.count, 0);
    for (int i = 0; i < 20; i++) {
        fresh[i] = pool_get(pool);
        CHECK(fresh[i] != blocks[19]);
    }
    expect_report(HF_REPORT_USE_AFTER_FREE, 1);
    CHECK_PTR(reported.last.block, blocks[19]);
    CHECK_EQ(reported.last.damage_offset, 83);
    CHECK_EQ(reported.last.damage_length, 5);
    CHECK_EQ(memcmp(reported.last.bytes, "stale", 5), 0);
    CHECK_STR(reported.last.owner, "watched");
    /* Its slab is out of service: what is out of it comes back and stays. */
    hf_stats s;
    hf_pool_figures f;
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_EQ(s.slabs_quarantined, 1);
    pool_account(pool, 21);
    CHECK_EQ(hf_pool_release(pool, blocks[0]), HF_OK);
    CHECK_EQ(hf_pool_state(pool, blocks[0]), HF_BLOCK_QUARANTINED);
    CHECK_EQ(hf_pool_release(pool, blocks[0]), HF_E_INVALID);
    expect_report(HF_REPORT_DOUBLE_FREE, 1);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(hf_pool_release(pool, fresh[i]), HF_OK);
    pool_account(pool, 0);
    CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
    CHECK_GT(f.blocks_quarantined, 0);
    hf_report_handler_set(NULL, NULL);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void test_check_finds_writes_after_release(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 64);
    options.sanitize = HF_POOL_PATTERN;
    options.capacity = 40;
    options.on_exhausted = HF_POOL_FAIL;
    hf_pool *pool = pool_make(&options);
    char *blocks[40];
    size_t found = 0;
    CHECK_EQ(hf_pool_acquire_bulk(pool, (void **)blocks, 40), HF_OK);
    CHECK_EQ(hf_pool_release_bulk(pool, (void **)blocks, 40), HF_OK);
    blocks[3][0] = 1;
    blocks[30][63] = 1;
    hf_report_handler_set(pool_note_report, &reported);
    CHECK_EQ(hf_pool_check(pool, &found), HF_E_CORRUPT);
    CHECK_EQ(found, 2);
    expect_report(HF_REPORT_USE_AFTER_FREE, 2);
    hf_report_handler_set(NULL, NULL);
    pool_account(pool, 0);
    /* A bounded pool replaces the slab: it does not get smaller. */
    CHECK_EQ(hf_pool_acquire_bulk(pool, (void **)blocks, 40), HF_OK);
    pool_account(pool, 40);
    CHECK_EQ(hf_pool_release_bulk(pool, (void **)blocks, 40), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

/* --- memory --------------------------------------------------------------------------------- */

static void test_slabs_change_their_state_and_trim_gives_memory_back(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 256);
    hf_pool *pool = pool_make(&options);
    enum { COUNT = 4096 };
    static void *blocks[COUNT];
    hf_stats s;
    CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, COUNT), HF_OK);
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    uint64_t slabs = s.slabs_full;
    CHECK_GE(slabs, 8);
    CHECK_EQ(s.slabs_empty, 0);
    uint64_t full = s.bytes_mapped;
    memset(blocks[0], 1, 256);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks + 1, COUNT - 1), HF_OK);
    size_t given = hf_pool_trim(pool);
    CHECK_GE(given, (slabs - 1) * 65536);
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_EQ(s.slabs_full, 0);
    CHECK_EQ(s.slabs_partial, 1);
    CHECK_EQ(s.slabs_empty, slabs - 1);
    CHECK_EQ(s.bytes_mapped, full - given);
    CHECK_EQ(s.bytes_returned, given);
    pool_account(pool, 1);
    CHECK_EQ(hf_pool_acquire_bulk(pool, blocks + 1, COUNT - 1), HF_OK);
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_EQ(s.bytes_mapped, full);
    pool_account(pool, COUNT);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, COUNT), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void test_memory_decays_by_itself(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 1024);
    hf_pool *pool = pool_make(&options);
    static void *blocks[1000];
    hf_stats s;
    CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, 1000), HF_OK);
    for (int i = 0; i < 1000; i++)
        memset(blocks[i], 1, 1024);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, 1000), HF_OK);
    /* The driver may be serial (then a heap's frees drive it) or off: a pass is asked for. */
    uint64_t before = hfi_os_clock_ns();
    do {
        CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
        if (hfi_os_clock_ns() - before > UINT64_C(10000000000)) (void)hf_reclaim();
        usleep(10000);
    } while (s.bytes_returned < 1000 * 1024);
    CHECK_EQ(s.bytes_cached, 0);
    CHECK_EQ(s.bytes_free, 0);
    pool_account(pool, 0);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void test_the_limit_of_the_process_is_kept(void) {
    hf_heap *heap = hf_heap_default();
    hf_stats s;
    CHECK_EQ(hf_heap_stats(heap, &s), HF_OK);
    CHECK_EQ(hf_heap_limit(heap, s.bytes_mapped + (16 << 20), 0, NULL, NULL), HF_OK);
    hf_pool_options options;
    hf_pool_options_init(&options, 65536);
    hf_pool *pool = pool_make(&options);
    void *blocks[512];
    int count = 0;
    hf_status status = HF_OK;
    while (count < 512 && (status = hf_pool_acquire(pool, &blocks[count])) == HF_OK)
        count++;
    CHECK_EQ(status, HF_E_LIMIT);
    CHECK_LE(count, 320); /* the heap's bookkeeping is in its figure, not under its limit */
    CHECK_GT(count, 100);
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_GE(s.limit_hits, 1);
    pool_account(pool, (uint64_t)count);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, (size_t)count), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
    CHECK_EQ(hf_heap_limit(heap, 0, 0, NULL, NULL), HF_OK);
}

/* --- fork ----------------------------------------------------------------------------------- */

static void *fork_holder(void *argument) {
    hoarder *h = argument;
    void *blocks[32];
    CHECK_EQ(hf_pool_acquire_bulk(h->pool, blocks, 32), HF_OK);
    CHECK_EQ(hf_pool_release_bulk(h->pool, blocks, 30), HF_OK); /* two stay out */
    atomic_store(&h->phase, 1);
    while (atomic_load(&h->phase) != 2)
        sched_yield();
    CHECK_EQ(hf_pool_release_bulk(h->pool, blocks + 30, 2), HF_OK);
    return NULL;
}

static void test_child_of_a_fork_has_all_but_what_other_threads_hold(void) {
    hf_pool *pool = pool_bounded(64, 50, HF_POOL_FAIL);
    hoarder h = {.pool = pool};
    pthread_t thread;
    void *mine = pool_get(pool), *blocks[50];
    CHECK_EQ(pthread_create(&thread, NULL, fork_holder, &h), 0);
    while (atomic_load(&h.phase) != 1)
        sched_yield();
    pid_t child = fork();
    CHECK_GE(child, 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        pool_account(pool, 3);
        CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, 47), HF_OK);
        CHECK_EQ(hf_pool_acquire(pool, &blocks[47]), HF_E_LIMIT);
        CHECK_EQ(hf_pool_release(pool, mine), HF_OK);
        CHECK_EQ(hf_pool_release_bulk(pool, blocks, 47), HF_OK);
        pool_account(pool, 2);
        CHECK_EQ(hf_pool_destroy(pool), HF_E_BUSY);
        CHECK_EQ(hf_pool_destroy_forced(pool), 2);
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    atomic_store(&h.phase, 2);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(hf_pool_release(pool, mine), HF_OK);
    pool_account(pool, 0);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

/* --- refusals of the system ----------------------------------------------------------------- */

static void test_every_refusal_of_the_system_leaves_the_pool_whole(void) {
    enum { COUNT = 3000 };
    static void *blocks[COUNT];
    unsigned failures = 0;
    for (uint64_t nth = 1; nth < 40; nth++) {
        hf_pool_options options;
        hf_pool *pool = NULL;
        hf_pool_options_init(&options, 700);
        hfi_os_fail_after(nth);
        hf_status status = hf_pool_create(&options, &pool);
        if (status != HF_OK) {
            CHECK_EQ(status, HF_E_NO_MEMORY);
            failures++;
            hfi_os_fail_after(0);
            continue;
        }
        size_t count = 0;
        while (count < COUNT) {
            status = hf_pool_acquire(pool, &blocks[count]);
            if (status == HF_OK) {
                memset(blocks[count++], 1, 700);
                continue;
            }
            CHECK_EQ(status, HF_E_NO_MEMORY);
            failures++;
            pool_account(pool, count);
        }
        hfi_os_fail_after(0);
        pool_account(pool, COUNT);
        CHECK_EQ(hf_pool_release_bulk(pool, blocks, COUNT), HF_OK);
        CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
        CHECK_EQ(hf_pool_destroy(pool), HF_OK);
    }
    CHECK_GT(failures, 1);
}

int main(void) {
    CHECK_WATCHDOG(90);
    CHECK_RUN(test_blocks_of_any_size_are_aligned_disjoint_and_usable);
    CHECK_RUN(test_options_out_of_range_are_refused);
    CHECK_RUN(test_pool_is_among_the_owners);
    CHECK_RUN(test_destroy_with_blocks_out_is_busy);
    CHECK_RUN(test_release_of_what_is_not_out_is_reported_and_refused);
    CHECK_RUN(test_racing_double_release_succeeds_once);
    CHECK_RUN(test_capacity_is_exact_and_a_release_makes_room);
    CHECK_RUN(test_grow_goes_past_the_capacity);
    CHECK_RUN(test_wait_without_a_release_times_out);
    CHECK_RUN(test_who_waits_first_is_served_first_and_bulk_holds_the_queue);
    CHECK_RUN(test_blocks_in_a_magazine_of_another_thread_are_taken_back);
    CHECK_RUN(test_the_end_of_a_thread_gives_its_blocks_back);
    CHECK_RUN(test_many_pools_at_once_and_one_after_the_other);
    CHECK_RUN(test_zero_gives_zeroes_always);
    CHECK_RUN(test_pattern_finds_a_write_after_release);
    CHECK_RUN(test_check_finds_writes_after_release);
    CHECK_RUN(test_slabs_change_their_state_and_trim_gives_memory_back);
    CHECK_RUN(test_memory_decays_by_itself);
    CHECK_RUN(test_the_limit_of_the_process_is_kept);
    /* The thread sanitizer allows no thread (ours of the decay) in the child of a threaded process. */
    if (!CHECK_TSAN) CHECK_RUN(test_child_of_a_fork_has_all_but_what_other_threads_hold);
    CHECK_RUN(test_every_refusal_of_the_system_leaves_the_pool_whole);
    return 0;
}
