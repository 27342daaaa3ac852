/* stress_idle.c - a thread that sleeps does not hold memory for ever.
 * Method      threads fill their caches and sleep in the kernel; with reclaim=background what they
 *             cached must come back without anybody asking, and when they wake their cache must work.
 * Why         a generous deadline: the machine may be busy, the promise is "comes back". */
#include <errno.h>
#include <os/os.h>
#include <pthread.h>
#include <semaphore.h>

#include "stress.h"

enum { THREADS = 4, BLOCKS = 3000, DEADLINE_S = 30 };

static hf_heap *heap;
static sem_t filled, wake;

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
        CHECK_EQ(sem_post(&filled), 0);
        while (sem_wait(&wake) != 0)
            CHECK_EQ(errno, EINTR);
    }
    fill_cache();
    return argument;
}

int main(void) {
    CHECK_WATCHDOG(120);
    if (!hfi_os_barrier_all_threads()) CHECK_SKIP("the kernel has no membarrier");
    hf_options options;
    hf_options_init(&options);
    options.reclaim = HF_RECLAIM_BACKGROUND;
    CHECK_EQ(hf_heap_create(&options, "idle", -1, &heap), HF_OK);
    CHECK_EQ(sem_init(&filled, 0, 0), 0);
    CHECK_EQ(sem_init(&wake, 0, 0), 0);
    pthread_t ids[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&ids[i], NULL, sleeper, NULL), 0);
    for (int nap = 0; nap < 2; nap++) {
        for (int i = 0; i < THREADS; i++)
            while (sem_wait(&filled) != 0)
                CHECK_EQ(errno, EINTR);
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
        for (int i = 0; i < THREADS; i++)
            CHECK_EQ(sem_post(&wake), 0);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(account_stats(heap).blocks_in_use, 0);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    return 0;
}
