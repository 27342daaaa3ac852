/* stress_threads.c - threads come and go, each leaves some blocks to those that follow.
 *
 *   stress_threads [PROFILE]
 *
 * Method      thousands of short threads on one heap, a few at a time; each takes what an earlier one
 *             left, checks and frees it, and leaves something new. What a thread cached must come back
 *             when it ends: the memory must not grow with the number of threads. */
#include <pthread.h>
#include <stdatomic.h>

#include "stress.h"

enum { SLOTS = 128, AT_ONCE = 4 };

typedef struct left {
    size_t size;
    uint64_t tag;
    unsigned char bytes[];
} left;

static hf_heap *heap;
static _Atomic(left *) slots[SLOTS];

static left *make(check_random *random) {
    size_t size = check_random_below(random, check_random_below(random, 60) == 0 ? 100000 : 700);
    left *block = hf_heap_malloc(heap, sizeof *block + size);
    CHECK(block != NULL);
    block->size = size;
    block->tag = check_random_next(random);
    content_fill(block->bytes, size, block->tag);
    return block;
}

static void take(left *block) {
    if (block == NULL) return;
    CHECK(content_whole(block->bytes, block->size, block->tag));
    hf_heap_free(heap, block);
}

static void *thread_run(void *argument) {
    check_random random = {(uintptr_t)argument};
    left *own[30];
    for (int i = 0; i < 30; i++)
        own[i] = make(&random);
    for (int i = 0; i < 30; i++) {
        /* acq_rel: a block's bytes travel with its pointer. */
        left *other = atomic_exchange_explicit(&slots[check_random_below(&random, SLOTS)],
                                               i % 3 == 0 ? own[i] : NULL, memory_order_acq_rel);
        if (i % 3 != 0) take(own[i]);
        take(other);
    }
    return NULL;
}

int main(int argc, char **argv) {
    CHECK_WATCHDOG(120);
    heap = stress_heap(argc, argv);
    unsigned threads = stress_scaled(6000);
    uint64_t after_warm_up = 0;
    pthread_t ids[AT_ONCE];
    for (unsigned i = 0; i < threads; i++) {
        if (i >= AT_ONCE) CHECK_EQ(pthread_join(ids[i % AT_ONCE], NULL), 0);
        if (i == threads / 4) after_warm_up = account_stats(heap).bytes_mapped;
        CHECK_EQ(pthread_create(&ids[i % AT_ONCE], NULL, thread_run, (void *)(uintptr_t)(i + 1)),
                 0);
    }
    for (int i = 0; i < AT_ONCE; i++)
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    uint64_t mapped = account_stats(heap).bytes_mapped;
    printf("%u threads: %" PRIu64 " KiB after a quarter, %" PRIu64 " KiB at the end\n", threads,
           after_warm_up / 1024, mapped / 1024);
    CHECK_LE(mapped, after_warm_up * 2 + ((uint64_t)16 << 20));
    for (int i = 0; i < SLOTS; i++)
        take(atomic_exchange(&slots[i], NULL));
    account_whole(heap);
    account_check(heap);
    hf_stats stats = account_stats(heap);
    CHECK_EQ(stats.blocks_in_use, 0);
    CHECK_LE(stats.threads, 1);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    return 0;
}
