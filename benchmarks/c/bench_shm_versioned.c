/* bench_shm_versioned - versioned arrays of shared memory: what a version and a snapshot cost.
 *
 *   bench_shm_versioned ROUNDS       one JSON line per workload and size
 *
 * Workloads   copy     memcpy into shared memory and out again: the limit, both ways
 *             write    a whole version                read     a whole snapshot, nobody writes
 *             in_place begin, one byte, commit        view     view and intact, no copy
 *             beside   a snapshot while another process writes versions without a pause
 *             delay    from a write to the end of the read that another process waited for, asleep
 * Method      slices of all workloads take turns. Nanoseconds per operation; the least, the tenth and the
 *             median slice; retries are inside. */
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

#include <holdfast/shm_versioned.h>

#include "bench_shm.h"

enum { COPY, WRITE, READ, IN_PLACE, VIEW, BESIDE, DELAY, WORKLOADS };
static const char *const names[WORKLOADS] = {"copy", "write",  "read", "in_place",
                                             "view", "beside", "delay"};
static const uint64_t sizes[] = {64, 4096, 65536, 1048576, 16777216};
static const uint64_t counts[] = {100000, 20000, 2000, 100, 5};
enum { SIZES = sizeof sizes / sizeof *sizes };

struct bench {
    hf_shm_versioned *array;
    char *data, *shared;
    int size;
    struct {
        _Atomic uint32_t ready, stop;
        _Atomic uint64_t written_ns;
    } * control;
};

static void operation(struct bench *b, int workload) {
    uint64_t version = 0;
    void *next = NULL;
    const void *view = NULL;
    switch (workload) {
    case COPY:
        memcpy(b->shared, b->data, sizes[b->size]);
        __asm__ volatile("" ::: "memory");
        memcpy(b->data, b->shared, sizes[b->size]);
        __asm__ volatile("" ::: "memory");
        break;
    case WRITE: need(hf_shm_versioned_write(b->array, b->data, NULL) == HF_OK, "write"); break;
    case IN_PLACE:
        need(hf_shm_versioned_begin(b->array, 0, &next) == HF_OK, "begin");
        *(volatile char *)next = 1;
        need(hf_shm_versioned_commit(b->array, NULL) == HF_OK, "commit");
        break;
    case VIEW:
        need(hf_shm_versioned_view(b->array, &view, &version) == HF_OK, "view");
        need(hf_shm_versioned_intact(b->array, version) == HF_OK, "intact");
        break;
    default: need(hf_shm_versioned_read(b->array, b->data, &version) == HF_OK, "read");
    }
}

/* Writes without a pause (BESIDE), or once a millisecond, and says when (DELAY). */
static pid_t partner(struct bench *b, bool beside) {
    need(hf_shm_versioned_release(b->array) == HF_OK, "release");
    b->control->ready = b->control->stop = 0;
    fflush(stdout);
    pid_t child = fork();
    need(child >= 0, "fork");
    if (child != 0) return child;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(1);
    need(hf_shm_versioned_claim(b->array) == HF_OK, "claim");
    b->control->ready = 1;
    while (!b->control->stop) {
        if (!beside) usleep(1000);
        b->control->written_ns = now_ns();
        need(hf_shm_versioned_write(b->array, b->data, NULL) == HF_OK, "write");
    }
    need(hf_shm_versioned_release(b->array) == HF_OK, "release");
    _exit(0);
}

static double slice(struct bench *b, int workload) {
    uint64_t count = workload == DELAY ? 20 : counts[b->size], version = 0, took = 0;
    pid_t child = workload >= BESIDE ? partner(b, workload == BESIDE) : 0;
    while (workload >= BESIDE && b->control->ready == 0)
        (void)sched_yield();
    uint64_t start = now_ns();
    for (uint64_t i = 0; i < count && workload != DELAY; i++)
        operation(b, workload);
    took = now_ns() - start;
    for (uint64_t i = 0; i < count && workload == DELAY; i++) {
        version = hf_shm_versioned_version(b->array);
        need(hf_shm_versioned_wait(b->array, version, HF_FOREVER, NULL) == HF_OK, "wait");
        operation(b, READ);
        if (i == 0) took = 0;
        took += now_ns() - b->control->written_ns;
    }
    if (child != 0) {
        int status = 0;
        b->control->stop = 1;
        need(waitpid(child, &status, 0) == child && status == 0, "the partner failed");
    }
    return (double)took / (double)count;
}

static void run(struct bench *b, unsigned rounds) {
    double *ns = calloc((size_t)rounds * WORKLOADS, sizeof *ns);
    for (unsigned round = 0; round < rounds; round++)
        for (int workload = 0; workload < WORKLOADS; workload++)
            ns[(unsigned)workload * rounds + round] = slice(b, workload);
    for (int workload = 0; workload < WORKLOADS; workload++) {
        double *mine = ns + (unsigned)workload * rounds;
        slices_print(names[workload], sizes[b->size], "versioned", mine, rounds);
    }
    fflush(stdout);
    free(ns);
}

int main(int argc, char **argv) {
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 20;
    if (rounds == 0) return 2;
    hf_shm *shm = NULL;
    hf_shm_options options;
    hf_shm_options_init(&options, 128 << 20);
    options.prefault = 1;
    need(hf_shm_create_anonymous(&options, &shm) == HF_OK, "segment");
    pin(0);
    for (int size = 0; size < SIZES; size++) {
        struct bench b = {.size = size};
        hf_shm_versioned_options array;
        hf_shm_versioned_options_init(&array, 1, sizes[size]);
        array.buffers = 3; /* a reader as fast as the writer is not lapped */
        need(hf_shm_versioned_open(shm, "array", HF_SHM_CREATE, &array, &b.array) == HF_OK, "open");
        b.data = calloc(1, sizes[size]);
        b.shared = mmap(NULL, sizes[size], PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        b.control = mmap(NULL, sizeof *b.control, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        run(&b, rounds);
        (void)munmap(b.shared, sizes[size]);
        free(b.data);
        need(hf_shm_versioned_close(b.array) == HF_OK && hf_shm_erase(shm, "array") == HF_OK,
             "close");
    }
    return hf_shm_close(shm) == HF_OK ? 0 : 1;
}
