/* cache_thrash.c - active false sharing: threads allocate tiny blocks at the same time.
 * Method      each thread allocates an 8-byte block, writes it many times, frees it, and again.
 *             An allocator that serves two threads from one cache line makes them fight for the
 *             line.
 * Checks      the sum of what was written. */
#include "bench.h"

enum { SIZE = 8, WRITES = 20000 };

typedef struct {
    uint64_t checksum;
    char pad[56];
} job;

static void *work(void *arg) {
    job *j = arg;
    size_t rounds = bench_scaled(20000);
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
    bench_run(work, jobs, sizeof(job));
    for (int i = 0; i < bench_threads; i++)
        checksum += jobs[i].checksum;
    return bench_done("cache_thrash", checksum);
}
