/* stress_limit.c - several threads push against a limit; it holds, and memory comes back.
 * Method      a hard limit is never exceeded at any moment that can be observed; failures are NULL and
 *             ENOMEM; a failure of one thread does not starve the others for ever; the soft limit calls
 *             back without locks held (the callback allocates). */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "stress.h"

enum { THREADS = 3, LIMIT = 48 << 20, SOFT = 24 << 20 };

static hf_heap *heap;
static _Atomic uint64_t refusals, successes, crossings;

static void on_soft(hf_heap *which, uint64_t mapped, void *context) {
    CHECK_PTR(which, heap);
    CHECK_PTR(context, &crossings);
    CHECK_GT(mapped, SOFT);
    void *block = hf_malloc(1000);
    CHECK(block != NULL);
    hf_free(block);
    atomic_fetch_add(&crossings, 1);
}

/* What limits count: memory for blocks, without the bookkeeping. */
static uint64_t blocks_mapped(void) {
    hf_stats stats = account_stats(heap);
    return stats.bytes_mapped - stats.bytes_meta;
}

static void *push(void *argument) {
    check_random random = {(uintptr_t)argument};
    enum { SLOTS = 4000 };
    void **blocks = calloc(SLOTS, sizeof *blocks);
    size_t *sizes = calloc(SLOTS, sizeof *sizes);
    CHECK(blocks != NULL && sizes != NULL);
    for (unsigned step = 0; step < stress_scaled(60000); step++) {
        size_t i = check_random_below(&random, SLOTS);
        if (blocks[i] != NULL && check_random_below(&random, 100) < 45) {
            CHECK(content_whole(blocks[i], sizes[i], i));
            hf_heap_free(heap, blocks[i]);
            blocks[i] = NULL;
            continue;
        }
        if (blocks[i] != NULL) continue;
        uint64_t kind = check_random_below(&random, 50);
        sizes[i] = check_random_below(&random, kind == 0 ? 2000000 : kind < 4 ? 100000 : 9000);
        errno = 0;
        blocks[i] = hf_heap_malloc(heap, sizes[i]);
        if (blocks[i] == NULL) {
            CHECK_EQ(errno, ENOMEM);
            atomic_fetch_add(&refusals, 1);
            /* What a sane program does: let go of half. */
            for (int j = 0; j < SLOTS; j += 2) {
                hf_heap_free(heap, blocks[j]);
                blocks[j] = NULL;
            }
            continue;
        }
        content_fill(blocks[i], sizes[i], i);
        atomic_fetch_add(&successes, 1);
        /* Pools are summed one after the other: a slab that goes here and comes there meanwhile is
         * counted twice. The peak below is exact. */
        if (step % 64 == 0) CHECK_LE(blocks_mapped(), LIMIT + LIMIT / 16);
    }
    for (int i = 0; i < SLOTS; i++) {
        if (blocks[i] != NULL) CHECK(content_whole(blocks[i], sizes[i], (uint64_t)i));
        hf_heap_free(heap, blocks[i]);
    }
    free(blocks);
    free(sizes);
    return NULL;
}

int main(void) {
    CHECK_WATCHDOG(120);
    hf_options options;
    hf_options_init(&options);
    options.limit = LIMIT;
    CHECK_EQ(hf_heap_create(&options, "limited", -1, &heap), HF_OK);
    CHECK_EQ(hf_heap_limit(heap, LIMIT, SOFT, on_soft, &crossings), HF_OK);
    pthread_t ids[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&ids[i], NULL, push, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    hf_stats stats = account_stats(heap);
    printf("%" PRIu64 " served, %" PRIu64 " refused, %" PRIu64
           " crossings of the soft limit, peak %" PRIu64 " KiB\n",
           atomic_load(&successes), atomic_load(&refusals), atomic_load(&crossings),
           stats.bytes_mapped_peak / 1024);
    CHECK_LE(stats.bytes_mapped_peak - stats.bytes_meta, LIMIT);
    CHECK_GT(atomic_load(&refusals), 0);
    CHECK_GT(atomic_load(&crossings), 0);
    CHECK_GT(atomic_load(&successes), atomic_load(&refusals));
    CHECK_EQ(stats.failures, atomic_load(&refusals));
    CHECK_EQ(stats.blocks_in_use, 0);
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    return 0;
}
