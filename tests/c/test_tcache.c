/* test_tcache.c - magazines: last in first out, refilled and flushed in batches, returned at the end.
 * Method      the order in which addresses come back, the statistics, and threads that end. */
#include <heap/tcache.h>
#include <pthread.h>

#include "account.h"
#include "content.h"

static hf_heap *make(uint64_t cache_bytes) {
    hf_options options;
    hf_heap *heap;
    hf_options_init(&options);
    options.profile = HF_PROFILE_CHECKED;
    options.cache_bytes = cache_bytes;
    options.reclaim = HF_RECLAIM_OFF;
    CHECK_EQ(hf_heap_create(&options, "tcache", -1, &heap), HF_OK);
    return heap;
}

static void test_free_then_malloc_gives_the_same_block(void) {
    hf_heap *heap = make(1 << 20);
    void *first = hf_heap_malloc(heap, 100), *second = hf_heap_malloc(heap, 100);
    hf_heap_free(heap, first);
    hf_heap_free(heap, second);
    CHECK_PTR(hf_heap_malloc(heap, 100), second);
    CHECK_PTR(hf_heap_malloc(heap, 100), first);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_steady_churn_is_served_by_the_cache(void) {
    hf_heap *heap = make(1 << 20);
    hf_stats before = account_stats(heap);
    for (int i = 0; i < 100000; i++) {
        void *block = hf_heap_malloc(heap, 64);
        CHECK(block != NULL);
        hf_heap_free(heap, block);
    }
    hf_stats after = account_stats(heap);
    CHECK_EQ(after.allocs - before.allocs, 100000);
    CHECK_LE(after.cache_misses - before.cache_misses, 2);
    CHECK_LE(after.cache_flushes - before.cache_flushes, 2);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

#define GIFTS 16
struct gift {
    hf_heap *heap;
    size_t size;
    void *block;
    pthread_barrier_t *all;
};

static void *free_a_gift_then_allocate(void *argument) {
    struct gift *gift = argument;
    hf_heap_free(gift->heap, gift->block);
    pthread_barrier_wait(gift->all);
    gift->block = hf_heap_malloc(gift->heap, gift->size);
    pthread_barrier_wait(gift->all);
    return NULL;
}

/* Passive false sharing: blocks that lie side by side, freed by one thread each. */
static void test_threads_that_free_gifts_write_to_lines_of_their_own(void) {
    for (size_t size = 8; size <= 48; size += 16) {
        hf_heap *heap = make(1 << 20);
        struct gift gifts[GIFTS];
        pthread_t threads[GIFTS];
        pthread_barrier_t all;
        pthread_barrier_init(&all, NULL, GIFTS);
        for (int i = 0; i < GIFTS; i++)
            gifts[i] = (struct gift){heap, size, hf_heap_malloc(heap, size), &all};
        for (int i = 0; i < GIFTS; i++)
            CHECK_EQ(pthread_create(&threads[i], NULL, free_a_gift_then_allocate, &gifts[i]), 0);
        for (int i = 0; i < GIFTS; i++)
            CHECK_EQ(pthread_join(threads[i], NULL), 0);
        for (int i = 0; i < GIFTS; i++) {
            CHECK(gifts[i].block != NULL);
            for (int k = 0; k < i; k++) {
                uintptr_t mine = (uintptr_t)gifts[i].block, other = (uintptr_t)gifts[k].block;
                CHECK(mine / 64 > (other + size - 1) / 64 || (mine + size - 1) / 64 < other / 64);
            }
        }
        for (int i = 0; i < GIFTS; i++)
            hf_heap_free(heap, gifts[i].block);
        account_check(heap);
        CHECK_EQ(hf_heap_destroy(heap), HF_OK);
        pthread_barrier_destroy(&all);
    }
}

static void test_capacity_follows_the_load(void) {
    hf_heap *heap = make(1 << 20);
    void *blocks[200];
    uint64_t misses[6];
    for (int round = 0; round < 6; round++) {
        uint64_t before = account_stats(heap).cache_misses;
        for (int i = 0; i < 200; i++)
            blocks[i] = hf_heap_malloc(heap, 100);
        for (int i = 0; i < 200; i++)
            hf_heap_free(heap, blocks[i]);
        misses[round] = account_stats(heap).cache_misses - before;
    }
    CHECK_LE(misses[5], 2);
    CHECK_LT(misses[5], misses[0]);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_cache_stays_within_its_bytes(void) {
    const uint64_t limits[] = {0, 20000, 200000, 1 << 20};
    for (size_t k = 0; k < sizeof limits / sizeof limits[0]; k++) {
        hf_heap *heap = make(limits[k]);
        static void *blocks[3000];
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 3000; i++)
                blocks[i] = hf_heap_malloc(heap, 16 + (size_t)(i % 50) * 20);
            for (int i = 0; i < 3000; i++)
                hf_heap_free(heap, blocks[i]);
        }
        struct hfi_tcache *tc = hfi_tcache_of(heap);
        CHECK_EQ(tc == NULL, limits[k] == 0);
        uint64_t held = 0;
        for (unsigned c = 1; tc != NULL && c < HFI_CLASS_COUNT; c++) {
            struct hfi_magazine *m = &tc->magazine[c];
            if (tc->cold[c].slots == NULL) continue;
            CHECK_LE((uintptr_t)m->top, (uintptr_t)m->limit);
            CHECK_LT((size_t)(m->limit - tc->cold[c].slots), tc->cold[c].capacity);
            CHECK_PTR(tc->cold[c].slots[0], NULL);
            held += (uint64_t)(m->top - (tc->cold[c].slots + 1)) * m->block_size;
        }
        /* The first few blocks of a class are always allowed. */
        CHECK_LE(held, limits[k] + 51 * 8 * 1100);
        CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    }
}

static void test_flush_returns_everything(void) {
    hf_heap *heap = make(1 << 20);
    void *blocks[500];
    for (int i = 0; i < 500; i++)
        blocks[i] = hf_heap_malloc(heap, (size_t)i * 10);
    for (int i = 0; i < 500; i++)
        hf_heap_free(heap, blocks[i]);
    CHECK_GT(account_stats(heap).bytes_cached, 0);
    hf_thread_flush();
    struct hfi_tcache *tc = hfi_tcache_of(heap);
    for (unsigned c = 1; c < HFI_CLASS_COUNT; c++)
        if (tc->cold[c].slots != NULL) CHECK_PTR(tc->magazine[c].top, tc->cold[c].slots + 1);
    account_whole(heap);
    account_check(heap);
    (void)hf_heap_reclaim(heap);
    CHECK_EQ(account_stats(heap).bytes_cached, 0);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void *use_and_end(void *argument) {
    hf_heap *heap = argument;
    void *blocks[100];
    for (int i = 0; i < 100; i++)
        blocks[i] = hf_heap_malloc(heap, 200);
    for (int i = 0; i < 100; i++)
        hf_heap_free(heap, blocks[i]);
    CHECK_GT(account_stats(heap).bytes_cached, 0);
    return NULL;
}

static void test_thread_end_returns_its_cache_and_keeps_its_counts(void) {
    hf_heap *heap = make(1 << 20);
    for (uint64_t i = 1; i <= 20; i++) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, use_and_end, heap), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        hf_stats stats = account_stats(heap);
        CHECK_EQ(stats.threads, 0);
        CHECK_EQ(stats.allocs, 100 * i);
        CHECK_EQ(stats.frees, 100 * i);
        CHECK_EQ(stats.blocks_in_use, 0);
        account_check(heap);
    }
    (void)hf_heap_reclaim(heap);
    CHECK_EQ(account_stats(heap).bytes_cached, 0);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static pthread_key_t key;

/* Runs when the thread's cache may be gone already. */
static void allocate_late(void *argument) {
    for (int i = 0; i < 100; i++) {
        char *block = hf_heap_malloc(argument, 50);
        CHECK(block != NULL);
        content_fill(block, 50, 1);
        CHECK(content_whole(block, 50, 1));
        hf_heap_free(argument, block);
        hf_free(hf_malloc(70));
    }
}

static void *set_key_and_end(void *argument) {
    CHECK_EQ(pthread_setspecific(key, argument), 0);
    return use_and_end(argument);
}

static void test_allocation_after_the_end_of_the_cache_works(void) {
    hf_heap *heap = make(1 << 20);
    CHECK_EQ(pthread_key_create(&key, allocate_late), 0);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, set_key_and_end, heap), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    hf_stats stats = account_stats(heap);
    CHECK_EQ(stats.blocks_in_use, 0);
    CHECK_EQ(stats.allocs, 20 * 200);
    CHECK_EQ(stats.threads, 0);
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_free_then_malloc_gives_the_same_block);
    CHECK_RUN(test_steady_churn_is_served_by_the_cache);
    CHECK_RUN(test_threads_that_free_gifts_write_to_lines_of_their_own);
    CHECK_RUN(test_capacity_follows_the_load);
    CHECK_RUN(test_cache_stays_within_its_bytes);
    CHECK_RUN(test_flush_returns_everything);
    CHECK_RUN(test_thread_end_returns_its_cache_and_keeps_its_counts);
    CHECK_RUN(test_allocation_after_the_end_of_the_cache_works);
    return 0;
}
