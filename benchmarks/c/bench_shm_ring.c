/* bench_shm_ring - rings of shared memory: what an element costs, alone and between processes.
 *
 *   bench_shm_ring ROUNDS [SIZE]                 one JSON line per workload and size
 *   bench_shm_ring --count WORKLOAD SIZE TIMES   copy, push, push64 or pair and nothing else (callgrind)
 *
 * Workloads   copy     memcpy in and out of shared memory: the limit
 *             push     one element, overwriting          push64   64 at once, per element
 *             pair     push and pop on one thread        pair64   the same by 64
 *             stream1  one process pushes by 64, another pops by 64; reliable, nothing lost
 *             stream2  the same with two readers, each of which gets all
 *             single1  push and pop of single elements between two processes
 *             resume   from the death of the reader that a full ring waits for until the next push
 * Method      slices of all workloads take turns; partners are on the other processors; who
 *             has to wait spins and then sleeps. Nanoseconds
 *             per element (resume: per death); the least, the tenth and the median slice. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <holdfast/shm_ring.h>

#include "bench_shm.h"

enum { COPY, PUSH, PUSH64, PAIR, PAIR64, STREAM1, STREAM2, SINGLE1, RESUME, WORKLOADS };
static const char *const names[WORKLOADS] = {"copy",    "push",    "push64",  "pair",  "pair64",
                                             "stream1", "stream2", "single1", "resume"};
enum { SIZES = 5 };
static const uint64_t sizes[SIZES] = {8, 64, 1024, 65536, 1048576};
static const uint64_t capacities[SIZES] = {4096, 4096, 1024, 64, 16};
static const uint64_t counts[SIZES] = {400000, 200000, 50000, 1000, 60};

struct bench {
    hf_shm_ring *overwrite, *reliable;
    hf_shm_ring_reader *reader; /* of the overwriting one */
    char *data, *shared;
    int size;
    _Atomic uint32_t *ready;
};

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static uint64_t batch_of(const struct bench *b) {
    return capacities[b->size] / 4 < 64 ? capacities[b->size] / 4 : 64;
}

/* --- one thread ------------------------------------------------------------------------------- */

static void alone(struct bench *b, int workload, uint64_t count) {
    uint64_t size = sizes[b->size], batch = batch_of(b), got;
    switch (workload) {
    case COPY:
        for (uint64_t i = 0; i < count; i++) {
            memcpy(b->shared + i % capacities[b->size] * size, b->data, size);
            __asm__ volatile("" ::: "memory");
            memcpy(b->data, b->shared + i % capacities[b->size] * size, size);
            __asm__ volatile("" ::: "memory");
        }
        break;
    case PUSH:
        for (uint64_t i = 0; i < count; i++)
            (void)hf_shm_ring_push(b->overwrite, b->data, 0);
        break;
    case PUSH64:
        for (uint64_t i = 0; i < count; i += batch)
            (void)hf_shm_ring_push_bulk(b->overwrite, b->data, batch, 0, NULL);
        break;
    case PAIR:
        for (uint64_t i = 0; i < count; i++) {
            (void)hf_shm_ring_push(b->overwrite, b->data, 0);
            (void)hf_shm_ring_pop(b->reader, b->data, 0);
        }
        break;
    default:
        for (uint64_t i = 0; i < count; i += batch) {
            (void)hf_shm_ring_push_bulk(b->overwrite, b->data, batch, 0, NULL);
            (void)hf_shm_ring_pop_bulk(b->reader, b->data, batch, 0, &got, NULL);
        }
    }
}

/* --- between processes ------------------------------------------------------------------------ */

static pid_t partner(struct bench *b, int cpu, uint64_t count, bool by_one, bool dies) {
    fflush(stdout);
    pid_t child = fork();
    need(child >= 0, "fork");
    if (child != 0) return child;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(cpu);
    hf_shm_ring_reader_options options;
    hf_shm_ring_reader *reader = NULL;
    hf_shm_ring_reader_options_init(&options);
    options.from = HF_SHM_RING_NEWEST;
    need(hf_shm_ring_reader_open(b->reliable, &options, &reader) == HF_OK, "reader");
    atomic_fetch_add(b->ready, 1);
    while (dies)
        pause();
    uint64_t batch = by_one ? 1 : batch_of(b);
    for (uint64_t done = 0, got; done < count; done += got) {
        got = 0;
        need(hf_shm_ring_pop_bulk(reader, b->data, batch, HF_FOREVER, &got, NULL) == HF_OK, "pop");
    }
    need(hf_shm_ring_lost(reader) == 0, "a reliable reader lost something");
    hf_shm_ring_reader_close(reader);
    _exit(0);
}

static void push_all(struct bench *b, uint64_t count, uint64_t batch) {
    for (uint64_t done = 0; done < count; done += batch) {
        uint64_t part = count - done < batch ? count - done : batch;
        need(hf_shm_ring_push_bulk(b->reliable, b->data, part, HF_FOREVER, NULL) == HF_OK, "push");
    }
}

static double between(struct bench *b, int readers, bool by_one, uint64_t count) {
    pid_t children[2];
    *b->ready = 0;
    for (int i = 0; i < readers; i++)
        children[i] = partner(b, 1 + i, count, by_one, false);
    while (*b->ready != (uint32_t)readers)
        relax();
    uint64_t start = now_ns();
    push_all(b, count, by_one ? 1 : batch_of(b));
    for (int i = 0; i < readers; i++) {
        int status = 0;
        need(waitpid(children[i], &status, 0) == children[i] && status == 0, "a reader failed");
    }
    return (double)(now_ns() - start) / (double)count;
}

/* A killed reader is not seen before the kernel has let its locks go; that is in the time. */
static double resume(struct bench *b) {
    *b->ready = 0;
    pid_t child = partner(b, 1, 0, false, true);
    while (*b->ready == 0)
        relax();
    uint64_t pushed = 0;
    while (hf_shm_ring_push_bulk(b->reliable, b->data, batch_of(b), 0, &pushed) == HF_OK)
        ;
    kill(child, SIGKILL);
    uint64_t start = now_ns();
    need(hf_shm_ring_push(b->reliable, b->data, HF_FOREVER) == HF_OK, "push");
    double took = (double)(now_ns() - start);
    (void)waitpid(child, NULL, 0);
    return took;
}

static double slice(struct bench *b, int workload) {
    uint64_t count = counts[b->size];
    if (workload == STREAM1 || workload == STREAM2)
        return between(b, workload == STREAM1 ? 1 : 2, false, count);
    if (workload == SINGLE1) return between(b, 1, true, count);
    if (workload == RESUME) return resume(b);
    uint64_t start = now_ns();
    alone(b, workload, count);
    return (double)(now_ns() - start) / (double)count;
}

/* --- all of it -------------------------------------------------------------------------------- */

static hf_shm_ring *ring_open(hf_shm *shm, int size, bool reliable) {
    hf_shm_ring_options options;
    hf_shm_ring *ring = NULL;
    hf_shm_ring_options_init(&options, sizes[size], capacities[size]);
    options.reliable = reliable;
    need(hf_shm_ring_open(shm, reliable ? "reliable" : "overwrite", HF_SHM_CREATE, &options,
                          &ring) == HF_OK,
         "ring");
    return ring;
}

static void bench_open(struct bench *b, hf_shm *shm, int size) {
    *b = (struct bench){.size = size};
    b->overwrite = ring_open(shm, size, false);
    b->reliable = ring_open(shm, size, true);
    need(hf_shm_ring_reader_open(b->overwrite, NULL, &b->reader) == HF_OK, "reader");
    b->data = calloc(64, sizes[size]);
    b->shared = mmap(NULL, capacities[size] * sizes[size] + 64, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    b->ready = mmap(NULL, 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    need(b->data != NULL && b->shared != MAP_FAILED && b->ready != MAP_FAILED, "memory");
}

static void bench_close(struct bench *b, hf_shm *shm) {
    hf_shm_ring_reader_close(b->reader);
    need(hf_shm_ring_close(b->overwrite) == HF_OK && hf_shm_ring_close(b->reliable) == HF_OK,
         "close");
    need(hf_shm_erase(shm, "overwrite") == HF_OK && hf_shm_erase(shm, "reliable") == HF_OK,
         "erase");
    (void)munmap(b->shared, capacities[b->size] * sizes[b->size] + 64);
    free(b->data);
}

static void run(struct bench *b, unsigned rounds) {
    double *ns = calloc((size_t)rounds * WORKLOADS, sizeof *ns);
    for (unsigned round = 0; round < rounds; round++)
        for (int workload = 0; workload < WORKLOADS; workload++)
            ns[(unsigned)workload * rounds + round] = slice(b, workload);
    for (int workload = 0; workload < WORKLOADS; workload++) {
        double *mine = ns + (unsigned)workload * rounds;
        slices_print(names[workload], sizes[b->size], "ring", mine, rounds);
    }
    fflush(stdout);
    free(ns);
}

static int count_main(hf_shm *shm, char **arguments) {
    int workload = 0, size = 0;
    while (workload < WORKLOADS && strcmp(names[workload], arguments[0]) != 0)
        workload++;
    while (size < SIZES && sizes[size] != strtoull(arguments[1], NULL, 10))
        size++;
    need(workload < STREAM1 && size < SIZES, "no such workload or size");
    struct bench bench;
    bench_open(&bench, shm, size);
    alone(&bench, workload, strtoull(arguments[2], NULL, 10));
    bench_close(&bench, shm);
    return 0;
}

int main(int argc, char **argv) {
    hf_shm *shm = NULL;
    hf_shm_options options;
    hf_shm_options_init(&options, 128 << 20);
    options.prefault = 1;
    need(hf_shm_create_anonymous(&options, &shm) == HF_OK, "segment");
    if (argc == 5 && strcmp(argv[1], "--count") == 0) return count_main(shm, argv + 2);
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 20;
    uint64_t only = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    if (rounds == 0) return 2;
    pin(0);
    for (int size = 0; size < SIZES; size++) {
        if (only != 0 && sizes[size] != only) continue;
        struct bench bench;
        bench_open(&bench, shm, size);
        run(&bench, rounds);
        bench_close(&bench, shm);
    }
    return hf_shm_close(shm) == HF_OK ? 0 : 1;
}
