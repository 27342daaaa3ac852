/* stress_pipeline.c - blocks are made on one thread and freed on another, all the time.
 *
 *   stress_pipeline [PROFILE]
 *
 * Method      producers and consumers over a ring; consumers never allocate. Memory must stay near
 *             what the ring holds: blocks have to find their way back to the producers. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "stress.h"

enum { PAIRS = 2, RING = 1024 };

typedef struct lane {
    _Alignas(64) _Atomic uint32_t head;
    _Alignas(64) _Atomic uint32_t tail;
    struct {
        unsigned char *block;
        size_t size;
    } slot[RING];
} lane;

static hf_heap *heap;
static lane lanes[PAIRS];
static unsigned count;

static size_t draw_size(check_random *random) {
    uint64_t kind = check_random_below(random, 1000);
    if (kind == 0) return 1 + check_random_below(random, 200000);
    return 1 + check_random_below(random, kind < 100 ? 5000 : 300);
}

static void *produce(void *argument) {
    lane *l = argument;
    check_random random = {(uint64_t)(l - lanes) + 11};
    for (uint32_t i = 0; i < count; i++) {
        size_t size = draw_size(&random);
        unsigned char *block = hf_heap_malloc(heap, size);
        CHECK(block != NULL);
        block[0] = block[size / 2] = block[size - 1] = (unsigned char)i;
        /* SYNC(lane.tail): the slot was read; pairs with the release in consume. */
        while (i - atomic_load_explicit(&l->tail, memory_order_acquire) >= RING)
            sched_yield();
        l->slot[i % RING].block = block;
        l->slot[i % RING].size = size;
        /* SYNC(lane.head): publishes slot and block; pairs with the acquire in consume. */
        atomic_store_explicit(&l->head, i + 1, memory_order_release);
    }
    return NULL;
}

static void *consume(void *argument) {
    lane *l = argument;
    for (uint32_t i = 0; i < count; i++) {
        while (atomic_load_explicit(&l->head, memory_order_acquire) == i)
            sched_yield();
        unsigned char *block = l->slot[i % RING].block;
        size_t size = l->slot[i % RING].size;
        unsigned char tag = (unsigned char)i;
        CHECK(block[0] == tag && block[size / 2] == tag && block[size - 1] == tag);
        hf_heap_free(heap, block);
        atomic_store_explicit(&l->tail, i + 1, memory_order_release);
    }
    return NULL;
}

int main(int argc, char **argv) {
    CHECK_WATCHDOG(120);
    heap = stress_heap(argc, argv);
    count = stress_scaled(400000);
    pthread_t ids[2 * PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        CHECK_EQ(pthread_create(&ids[2 * i], NULL, produce, &lanes[i]), 0);
        CHECK_EQ(pthread_create(&ids[2 * i + 1], NULL, consume, &lanes[i]), 0);
    }
    for (int i = 0; i < 2 * PAIRS; i++)
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    hf_stats stats = account_stats(heap);
    printf("peak %" PRIu64 " KiB mapped for %d KiB in the rings\n", stats.bytes_mapped_peak / 1024,
           PAIRS * RING * 500 / 1024);
    CHECK_LE(stats.bytes_mapped_peak, (uint64_t)128 << 20);
    CHECK_EQ(stats.blocks_in_use, 0);
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    return 0;
}
