/* mleak.c - thread churn: thousands of short threads that allocate little, free most, and end.
 * Load        a thread lives for 1000 blocks of 8-1024 bytes and one of 64 KiB; an eighth of its
 *             blocks is freed by the main thread after its end. Thread start, exit and the hand-
 *             back are the load.
 * Checks      both ends of every block. */
#include "bench.h"

enum { BLOCKS = 1000, LEFT = BLOCKS / 8 };

typedef struct {
    uint64_t seed, checksum;
    unsigned char *left[LEFT];
    size_t size[LEFT];
} job;

static void *work(void *arg) {
    job *j = arg;
    bench_rng rng = bench_seed(j->seed);
    unsigned char *block[BLOCKS];
    size_t size[BLOCKS];
    unsigned char *buffer = bench_take(65536, 1);
    for (size_t i = 0; i < BLOCKS; i++) {
        size[i] = bench_size(&rng, 1024);
        block[i] = bench_take(size[i], (unsigned char)size[i]);
        j->checksum = j->checksum * 31 + size[i];
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        if (i % 8 == 0) {
            j->left[i / 8] = block[i];
            j->size[i / 8] = size[i];
            continue;
        }
        bench_check(block[i], size[i], (unsigned char)size[i]);
        free(block[i]);
    }
    bench_check(buffer, 65536, 1);
    free(buffer);
    return NULL;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 0);
    job *jobs = bench_need(calloc((size_t)bench_threads, sizeof(job)));
    size_t waves = bench_scaled(3000);
    uint64_t checksum = 0;
    for (size_t wave = 0; wave < waves; wave++) {
        for (int i = 0; i < bench_threads; i++)
            jobs[i].seed = wave * 256 + (uint64_t)i;
        bench_run(work, jobs, sizeof(job));
        for (int i = 0; i < bench_threads; i++) {
            for (size_t k = 0; k < LEFT; k++) {
                bench_check(jobs[i].left[k], jobs[i].size[k], (unsigned char)jobs[i].size[k]);
                free(jobs[i].left[k]);
            }
        }
    }
    for (int i = 0; i < bench_threads; i++)
        checksum ^= jobs[i].checksum;
    free(jobs);
    return bench_done("mleak", checksum);
}
