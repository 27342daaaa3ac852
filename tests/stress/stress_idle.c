/* stress_idle.c - a thread that sleeps does not hold memory for ever.
 * Method      threads fill their caches and sleep in the kernel; with reclaim=background what they
 *             cached must come back without anybody asking, and when they wake their cache must work.
 * Why         a generous deadline: the machine may be busy, the promise is "comes back". */
#include <os/os.h>
#include <pthread.h>
#include <stdatomic.h>

#include "stress.h"

enum { THREADS = 4, BLOCKS = 3000, DEADLINE_S = 30 };

static hf_heap *heap;
static pthread_barrier_t filled, wake;

static void fill_cache(void) {
    void **blocks = calloc(BLOCKS, sizeof *blocks);
    CHECK(blocks != NULL);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            size_t size = 16 + (size_t)(i % 60) * 16;
            blocks[i] = hf_heap_malloc(heap, size);
            CHECK(blocks[i] != NULL);
            content_fill(blocks[i], size, (uint64_t)i);
        }
        for (int i = 0; i < BLOCKS; i++) {
            CHECK(content_whole(blocks[i], 16 + (size_t)(i % 60) * 16, (uint64_t)i));
            hf_heap_free(heap, blocks[i]);
        }
    }
    free(blocks);
}

static void *sleeper(void *argument) {
    for (int nap = 0; nap < 2; nap++) {
        fill_cache();
        pthread_barrier_wait(&filled);
        pthread_barrier_wait(&wake); /* asleep in the kernel until all are here */
    }
    fill_cache();
    return argument;
}

static atomic_bool stop;

/* Sleeps for a moment again and again, and uses its cache in between. */
static void *napper(void *argument) {
    check_random random = {(uintptr_t)argument};
    char *blocks[64] = {NULL};
    size_t sizes[64] = {0};
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        for (int step = 0; step < 200; step++) {
            size_t i = check_random_below(&random, 64);
            if (blocks[i] != NULL) {
                CHECK(content_whole(blocks[i], sizes[i], i + (uintptr_t)argument));
                hf_free(blocks[i]);
                blocks[i] = NULL;
            } else {
                sizes[i] = check_random_below(&random, 300);
                blocks[i] = heap == hf_heap_default() ? hf_malloc(sizes[i])
                                                      : hf_heap_malloc(heap, sizes[i]);
                CHECK(blocks[i] != NULL);
                content_fill(blocks[i], sizes[i], i + (uintptr_t)argument);
            }
        }
        usleep((useconds_t)check_random_below(&random, 400));
    }
    for (int i = 0; i < 64; i++)
        hf_free(blocks[i]);
    return NULL;
}

/* Sweeps that meet threads at the moment they wake: nothing may be handed out twice. */
static void test_sweep_of_threads_that_wake_loses_nothing(hf_heap *of) {
    pthread_t ids[THREADS];
    atomic_store(&stop, false);
    heap = of;
    uint64_t live = account_stats(heap).blocks_in_use;
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&ids[i], NULL, napper, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < stress_scaled(4000); i++) {
        (void)hf_heap_reclaim(heap);
        if (i % 16 == 0) usleep(100);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(account_stats(heap).blocks_in_use, live);
    if (heap != hf_heap_default()) CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

int main(void) {
    CHECK_WATCHDOG(120);
    if (!hfi_os_barrier_all_threads()) CHECK_SKIP("the kernel has no membarrier");
    /* The default heap has hot paths of its own, by profile: HOLDFAST_PROFILE. */
    test_sweep_of_threads_that_wake_loses_nothing(hf_heap_default());
    test_sweep_of_threads_that_wake_loses_nothing(account_heap(HF_PROFILE_CHECKED));
    hf_options options;
    hf_options_init(&options);
    options.reclaim = HF_RECLAIM_BACKGROUND;
    CHECK_EQ(hf_heap_create(&options, "idle", -1, &heap), HF_OK);
    CHECK_EQ(pthread_barrier_init(&filled, NULL, THREADS + 1), 0);
    CHECK_EQ(pthread_barrier_init(&wake, NULL, THREADS + 1), 0);
    pthread_t ids[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&ids[i], NULL, sleeper, NULL), 0);
    for (int nap = 0; nap < 2; nap++) {
        pthread_barrier_wait(&filled);
        uint64_t cached = account_stats(heap).bytes_cached;
        CHECK_GT(cached, 50000);
        STRESS_WAIT_UNTIL(account_stats(heap).bytes_cached < cached / 10, DEADLINE_S);
        uint64_t left = account_stats(heap).bytes_cached;
        printf("cached by %d sleeping threads: %" PRIu64 " bytes, then %" PRIu64 "\n", THREADS,
               cached, left);
        uint64_t switches;
        if (left >= cached / 10 && !hfi_os_thread_asleep((uint32_t)gettid(), &switches))
            CHECK_SKIP("the kernel does not tell which threads sleep");
        CHECK_LT(left, cached / 10);
        account_whole(heap);
        account_check(heap);
        pthread_barrier_wait(&wake);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(account_stats(heap).blocks_in_use, 0);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    return 0;
}
