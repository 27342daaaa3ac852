/* cache_scratch.c - passive false sharing: the main thread's tiny blocks end up with several
 * threads.
 * Method      main allocates one 8-byte block a thread, side by side; each thread frees its
 *             block, then allocates one of the same size and writes it many times. An allocator
 *             that hands the neighbouring pieces of one cache line to two threads makes them
 *             fight for the line.
 * Checks      the value written last. */
#include "bench.h"

enum { SIZE = 8, WRITES = 1000000 };

typedef struct {
    volatile unsigned char *gift;
    uint64_t checksum;
    char pad[48];
} job;

static void *work(void *arg) {
    job *j = arg;
    free((void *)j->gift);
    size_t rounds = bench_scaled(400);
    for (size_t round = 0; round < rounds; round++) {
        volatile unsigned char *block = bench_need(malloc(SIZE));
        for (int i = 0; i < SIZE; i++)
            block[i] = 0;
        for (size_t w = 0; w < WRITES; w++)
            block[w % SIZE] += (unsigned char)w;
        for (int i = 0; i < SIZE; i++)
            j->checksum += block[i];
        free((void *)block);
    }
    return NULL;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 1);
    job jobs[256] = {0};
    uint64_t checksum = 0;
    for (int i = 0; i < bench_threads; i++)
        jobs[i].gift = bench_need(malloc(SIZE));
    bench_run(work, jobs, sizeof(job));
    for (int i = 0; i < bench_threads; i++)
        checksum += jobs[i].checksum;
    return bench_done("cache_scratch", checksum);
}
