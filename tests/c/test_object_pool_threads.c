/* test_object_pool_threads.c - public object pools: exhaustion, waiting, magazines, threads, fork.
 * Method      every condition of pool.h by itself; the account and the view are checked after each. */
#include <os/os.h>
#include <pthread.h>
#include <sys/wait.h>

#include "pool_check.h"

/* --- races ---------------------------------------------------------------------------------- */

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

static void test_wait_for_memory_that_a_limit_refuses_is_none(void) {
    hf_heap *heap = hf_heap_default();
    hf_stats s = {.struct_size = sizeof s};
    CHECK_EQ(hf_heap_stats(heap, &s), HF_OK);
    hf_pool *pool = pool_bounded(HF_POOL_BLOCK_MAX, 1000, HF_POOL_WAIT);
    void *blocks[1000], *none = NULL;
    size_t count = 0;
    CHECK_EQ(hf_heap_limit(heap, s.bytes_mapped + (16 << 20), 0, NULL, NULL), HF_OK);
    hf_status status;
    while ((status = hf_pool_acquire(pool, &blocks[count])) == HF_OK)
        count++;
    CHECK_EQ(status, HF_E_LIMIT);
    CHECK_LT(count, 100);
    CHECK_EQ(hf_pool_acquire_within(pool, 0, &none), HF_E_LIMIT);
    CHECK_PTR(none, NULL);
    pool_account(pool, count);
    CHECK_EQ(hf_heap_limit(heap, 0, 0, NULL, NULL), HF_OK);
    CHECK_EQ(hf_pool_acquire(pool, &blocks[count]), HF_OK);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, count + 1), HF_OK);
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

int main(void) {
    CHECK_WATCHDOG(90);
    CHECK_RUN(test_racing_double_release_succeeds_once);
    CHECK_RUN(test_capacity_is_exact_and_a_release_makes_room);
    CHECK_RUN(test_grow_goes_past_the_capacity);
    CHECK_RUN(test_wait_without_a_release_times_out);
    CHECK_RUN(test_wait_for_memory_that_a_limit_refuses_is_none);
    CHECK_RUN(test_who_waits_first_is_served_first_and_bulk_holds_the_queue);
    CHECK_RUN(test_blocks_in_a_magazine_of_another_thread_are_taken_back);
    CHECK_RUN(test_the_end_of_a_thread_gives_its_blocks_back);
    CHECK_RUN(test_many_pools_at_once_and_one_after_the_other);
    /* The thread sanitizer allows no thread (ours of the decay) in the child of a threaded process. */
    if (!CHECK_TSAN) CHECK_RUN(test_child_of_a_fork_has_all_but_what_other_threads_hold);
    return 0;
}
