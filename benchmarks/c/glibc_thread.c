/* glibc_thread.c - every thread replaces random blocks of its working set, sizes by a power law.
 * Load        one thread a processor, 1024 live blocks each, 4 bytes to 32 KiB, most below 200. */
#include "bench.h"

enum { WORKING_SET = 1024, SIZES = 4096 };

typedef struct {
    uint64_t seed, checksum;
    char pad[48];
} job;

/* Density proportional to size^-1.8 between 4 and 32768, drawn once into a table. */
static uint32_t *power_law(bench_rng *rng) {
    uint32_t *sizes = bench_need(malloc(SIZES * sizeof(*sizes)));
    for (size_t i = 0; i < SIZES; i++) {
        uint32_t size;
        double u;
        do {
            unsigned octave = bench_below(rng, 13);
            size = (4u << octave) + bench_below(rng, 4u << octave);
            u = bench_next(rng) / 4294967296.0;
            for (unsigned o = 0; o < octave; o++)
                u *= 1.74; /* 2^0.8 a doubling */
        } while (u > 1.0);
        sizes[i] = size;
    }
    return sizes;
}

static void *work(void *arg) {
    job *j = arg;
    bench_rng rng = bench_seed(j->seed);
    uint32_t *sizes = power_law(&rng);
    void **live = bench_need(calloc(WORKING_SET, sizeof(void *)));
    size_t rounds = bench_scaled(36000000) / (size_t)bench_threads;
    for (size_t i = 0; i < rounds; i++) {
        uint32_t draw = bench_next(&rng);
        void **place = &live[draw % WORKING_SET];
        uint32_t size = sizes[draw / WORKING_SET % SIZES];
        free(*place);
        *place = bench_need(malloc(size));
        j->checksum += size;
    }
    for (size_t i = 0; i < WORKING_SET; i++)
        free(live[i]);
    free(live);
    free(sizes);
    return NULL;
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 0);
    job jobs[256] = {0};
    uint64_t checksum = 0;
    for (int i = 0; i < bench_threads; i++)
        jobs[i].seed = 100 + (uint64_t)i;
    bench_run(work, jobs, sizeof(job));
    for (int i = 0; i < bench_threads; i++)
        checksum ^= jobs[i].checksum;
    return bench_done("glibc_thread", checksum);
}
