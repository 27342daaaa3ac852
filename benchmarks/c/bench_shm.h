/* bench_shm.h - what the benchmarks of shared memory share: a clock, a processor, a table of slices.
 *
 * Contract    one JSON line per workload: nanoseconds per item, the least, the tenth and the median
 *             slice. A call that fails ends the program with the sentence of hf_shm_detail. */
#ifndef BENCH_SHM_H
#define BENCH_SHM_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <holdfast/shm.h>

static inline void need(bool condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "%s: %s\n", what, hf_shm_detail());
    exit(1);
}

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

static inline int slice_compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Sorts the slices. */
static inline void slices_print(const char *workload, uint64_t size, const char *name, double *ns,
                                unsigned count) {
    qsort(ns, count, sizeof *ns, slice_compare);
    printf("{\"workload\": \"%s\", \"size\": %llu, \"name\": \"%s\", \"ns\": %.2f, "
           "\"p10\": %.2f, \"median\": %.2f}\n",
           workload, (unsigned long long)size, name, ns[0], ns[count / 10], ns[count / 2]);
}

#endif
