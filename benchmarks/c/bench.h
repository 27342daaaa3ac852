/* bench.h - what every benchmark program shares: arguments, random numbers, checked memory,
 * threads.
 * Contract    prog [percent] [threads]: fixed work (percent of the normal amount), seeded, so
 *             that the one line printed, "name checksum=...", is the same under every allocator.
 * Invariants  a block handed out is written at both ends before it is freed; a wrong byte
 *             aborts.
 * Talks to    libc only. Nothing here allocates. */
#ifndef BENCH_H
#define BENCH_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    uint64_t state; /* xorshift64*, never 0 */
} bench_rng;

static int bench_percent = 100; /* share of the normal work, argument 1 */
static int bench_threads = 1;   /* argument 2, or the processors of the machine */

static inline bench_rng bench_seed(uint64_t seed) {
    uint64_t z = (seed + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    bench_rng rng = {(z ^ (z >> 27)) | 1};
    return rng;
}

static inline uint32_t bench_next(bench_rng *rng) {
    uint64_t x = rng->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    rng->state = x;
    return (uint32_t)((x * 0x2545F4914F6CDD1Du) >> 32);
}

/* Uniform in [0, bound) without a division. */
static inline uint32_t bench_below(bench_rng *rng, uint32_t bound) {
    return (uint32_t)(((uint64_t)bench_next(rng) * bound) >> 32);
}

__attribute__((noreturn)) static inline void bench_fail(const char *what) {
    fprintf(stderr, "benchmark failed: %s\n", what);
    abort();
}

static inline void *bench_need(void *block) {
    if (block == NULL) bench_fail("out of memory");
    return block;
}

/* A block of size >= 1 whose first and last byte carry tag. */
static inline unsigned char *bench_take(size_t size, unsigned char tag) {
    unsigned char *block = (unsigned char *)bench_need(malloc(size));
    block[0] = tag;
    block[size - 1] = tag;
    return block;
}

static inline void bench_check(const unsigned char *block, size_t size, unsigned char tag) {
    if (block[0] != tag || block[size - 1] != tag) bench_fail("a block changed while it was live");
}

/* Sizes as programs ask for them: mostly small, a falling tail up to max. */
static inline size_t bench_size(bench_rng *rng, size_t max) {
    unsigned shift = bench_below(rng, 8);
    size_t size = 8 + (bench_below(rng, (uint32_t)max) >> shift);
    return size > max ? max : size;
}

static inline size_t bench_scaled(size_t count) {
    size_t scaled = (size_t)((double)count * bench_percent / 100.0);
    return scaled == 0 ? 1 : scaled;
}

static inline void bench_start(int argc, char **argv, int threads_default) {
    if (argc > 1) bench_percent = atoi(argv[1]);
    bench_threads = argc > 2 ? atoi(argv[2]) : threads_default;
    if (bench_threads == 0) bench_threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (bench_percent < 1 || bench_threads < 1 || bench_threads > 256) {
        fprintf(stderr, "usage: %s [percent] [threads]\n", argv[0]);
        exit(2);
    }
}

/* Runs body(&jobs[i * job_size]) on `bench_threads` threads and waits for all of them. */
static inline void bench_run(void *(*body)(void *), void *jobs, size_t job_size) {
    pthread_t thread[256];
    for (int i = 0; i < bench_threads; i++) {
        if (pthread_create(&thread[i], NULL, body, (char *)jobs + (size_t)i * job_size) != 0)
            bench_fail("pthread_create");
    }
    for (int i = 0; i < bench_threads; i++)
        pthread_join(thread[i], NULL);
}

static inline int bench_done(const char *name, uint64_t checksum) {
    printf("%s checksum=%016llx\n", name, (unsigned long long)checksum);
    return fflush(stdout) == 0 ? 0 : 1;
}

#endif
