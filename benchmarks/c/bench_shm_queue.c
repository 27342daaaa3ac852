/* bench_shm_queue - the queue of shared memory beside a plain one, between two processes.
 *
 *   bench_shm_queue ROUNDS [SIZE]             one JSON line per workload, size and queue
 *   bench_shm_queue --count QUEUE SIZE PAIRS  puts and gets on one thread and nothing else (callgrind)
 *
 * Queues      plain   plain_queue.h: fast, and stopped for ever by the first kill
 *             queue   ours for many      single   ours for one producer and one consumer
 * Workloads   pair    put and get on one thread        stream  one process puts, the other gets
 *             trip    there and back through two queues, both sides polling
 *             wake    the same, both sides asleep in between (ours, and a bare futex as `plain`)
 * Method      slices of all queues take turns; the partner is on the other processor and sleeps between
 *             its slices. Nanoseconds per item; the least, the tenth and the median slice. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <holdfast/shm_queue.h>

#include "bench_shm.h"
#include "plain_queue.h"

enum { PLAIN, QUEUE, SINGLE, QUEUES };
enum { PAIR, STREAM, TRIP, WAKE, WORKLOADS };
enum { SIZES = 5 };
static const char *const queue_names[] = {"plain", "queue", "single"};
static const char *const workload_names[] = {"pair", "stream", "trip", "wake"};
static const uint64_t sizes[SIZES] = {8, 64, 1024, 65536, 1048576};
static const uint64_t capacities[SIZES] = {1024, 1024, 512, 32, 8};
static const uint64_t counts[WORKLOADS][SIZES] = {{100000, 100000, 50000, 1000, 50},
                                                  {200000, 200000, 100000, 2000, 100},
                                                  {20000, 20000, 20000, 1000, 50},
                                                  {300, 300, 300, 100, 20}};

/* What the partner is to do, in memory of both. */
struct control {
    _Atomic uint32_t turn, ready, done;
    uint32_t workload;
    uint64_t count;
    _Alignas(128) _Atomic uint32_t ping;
    _Alignas(128) _Atomic uint32_t pong;
};

struct bench {
    int queue, size;
    struct plain_queue *plain[2];
    hf_shm_queue *ours[2];
    struct control *control;
    char *data;
    pid_t partner;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
    (void)syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}
static void futex_wake(_Atomic uint32_t *word) {
    (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static inline bool put(struct bench *b, int way) {
    if (b->queue == PLAIN) return plain_put(b->plain[way], b->data);
    return hf_shm_queue_put(b->ours[way], b->data, sizes[b->size], 0) == HF_OK;
}
static inline bool get(struct bench *b, int way) {
    if (b->queue == PLAIN) return plain_get(b->plain[way], b->data);
    return hf_shm_queue_get(b->ours[way], b->data, sizes[b->size], 0, NULL) == HF_OK;
}
static inline void put_polling(struct bench *b, int way) {
    while (!put(b, way))
        relax();
}
static inline void get_polling(struct bench *b, int way) {
    while (!get(b, way))
        relax();
}
static void put_sleeping(struct bench *b, int way, _Atomic uint32_t *bell) {
    if (b->queue == PLAIN) {
        (void)atomic_fetch_add(bell, 1);
        futex_wake(bell);
    } else {
        need(hf_shm_queue_put(b->ours[way], b->data, sizes[b->size], HF_FOREVER) == HF_OK, "put");
    }
}
static void get_sleeping(struct bench *b, int way, _Atomic uint32_t *bell, uint32_t seen) {
    if (b->queue == PLAIN) {
        while (*bell == seen)
            futex_wait(bell, seen);
    } else {
        need(hf_shm_queue_get(b->ours[way], b->data, sizes[b->size], HF_FOREVER, NULL) == HF_OK,
             "get");
    }
}

static void partner_work(struct bench *b, uint32_t ping) {
    struct control *control = b->control;
    for (uint64_t i = 0; i < control->count; i++) {
        if (control->workload == STREAM) {
            get_polling(b, 0);
        } else if (control->workload == TRIP) {
            get_polling(b, 0);
            put_polling(b, 1);
        } else {
            get_sleeping(b, 0, &control->ping, ping++);
            put_sleeping(b, 1, &control->pong);
        }
    }
}

static void partner_main(struct bench *b) {
    pin(1);
    struct control *control = b->control;
    for (uint32_t turn = 0;; turn++) {
        while (control->turn == turn)
            futex_wait(&control->turn, turn);
        uint32_t ping = control->ping; /* before it can be rung */
        control->ready = turn + 1;
        partner_work(b, ping);
        control->done = turn + 1;
        futex_wake(&control->done);
    }
}

static double slice(struct bench *b, uint32_t workload, uint64_t count) {
    struct control *control = b->control;
    uint64_t start = now_ns();
    if (workload == PAIR) {
        for (uint64_t i = 0; i < count; i++) {
            put_polling(b, 0);
            get_polling(b, 0);
        }
        return (double)(now_ns() - start) / (double)count;
    }
    control->workload = workload;
    control->count = count;
    uint32_t turn = ++control->turn, pong = control->pong;
    futex_wake(&control->turn);
    while (control->ready != turn)
        relax();
    start = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        if (workload == WAKE) {
            put_sleeping(b, 0, &control->ping);
            get_sleeping(b, 1, &control->pong, pong++);
            continue;
        }
        put_polling(b, 0);
        if (workload == TRIP) get_polling(b, 1);
    }
    while (workload == STREAM && control->done != turn) /* the last item is out, too */
        relax();
    double took = (double)(now_ns() - start) / (double)count;
    for (uint32_t done; (done = control->done) != turn;)
        futex_wait(&control->done, done);
    return took;
}

static void bench_open(struct bench *b, hf_shm *shm, int queue, int size) {
    *b = (struct bench){.queue = queue, .size = size};
    b->data = calloc(1, sizes[size]);
    b->control =
        mmap(NULL, sizeof *b->control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int way = 0; way < 2; way++) {
        if (queue == PLAIN) {
            uint64_t bytes = plain_bytes(sizes[size], capacities[size]);
            b->plain[way] = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
            plain_init(b->plain[way], sizes[size], capacities[size]);
            continue;
        }
        hf_shm_queue_options options;
        char name[64];
        hf_shm_queue_options_init(&options, sizes[size], capacities[size]);
        options.single = queue == SINGLE;
        snprintf(name, sizeof name, "%s-%llu-%d", queue_names[queue],
                 (unsigned long long)sizes[size], way);
        need(hf_shm_queue_open(shm, name, HF_SHM_CREATE, &options, &b->ours[way]) == HF_OK, name);
    }
    fflush(stdout);
    b->partner = fork();
    need(b->partner >= 0, "fork");
    if (b->partner == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a bench that is stopped leaves nobody behind */
        partner_main(b);
    }
}

static void run(struct bench *bench, uint32_t workload, int size, unsigned rounds) {
    double *ns = calloc((size_t)rounds * QUEUES, sizeof *ns);
    for (unsigned round = 0; round < rounds; round++)
        for (int queue = 0; queue < QUEUES; queue++)
            ns[(unsigned)queue * rounds + round] =
                slice(&bench[queue], workload, counts[workload][size]);
    for (int queue = 0; queue < QUEUES; queue++) {
        double *mine = ns + (unsigned)queue * rounds;
        slices_print(workload_names[workload], sizes[size], queue_names[queue], mine, rounds);
    }
    fflush(stdout);
    free(ns);
}

static int count_main(hf_shm *shm, char **arguments) {
    struct bench bench;
    int queue = 0, size = 0;
    while (queue < QUEUES && strcmp(queue_names[queue], arguments[0]) != 0)
        queue++;
    while (size < SIZES && sizes[size] != strtoull(arguments[1], NULL, 10))
        size++;
    need(queue < QUEUES && size < SIZES, "no such queue or size");
    bench_open(&bench, shm, queue, size);
    (void)kill(bench.partner, 9);
    (void)slice(&bench, PAIR, strtoull(arguments[2], NULL, 10));
    return 0;
}

int main(int argc, char **argv) {
    hf_shm *shm = NULL;
    hf_shm_options options;
    hf_shm_options_init(&options, 64 << 20);
    options.prefault = 1;
    need(hf_shm_create_anonymous(&options, &shm) == HF_OK, "segment");
    if (argc == 5 && strcmp(argv[1], "--count") == 0) return count_main(shm, argv + 2);
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 20;
    if (rounds == 0) return 2;
    pin(0);
    uint64_t only = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    for (int size = 0; size < SIZES; size++) {
        if (only != 0 && sizes[size] != only) continue;
        struct bench bench[QUEUES];
        for (int queue = 0; queue < QUEUES; queue++)
            bench_open(&bench[queue], shm, queue, size);
        for (uint32_t workload = STREAM; workload < WORKLOADS; workload++)
            run(bench, workload, size, rounds);
        for (int queue = 0; queue < QUEUES; queue++) {
            (void)kill(bench[queue].partner, 9);
            (void)waitpid(bench[queue].partner, NULL, 0);
        }
        run(bench, PAIR, size, rounds); /* the partners are dead: their roles are free */
        for (int queue = 0; queue < QUEUES; queue++) {
            for (int way = 0; way < 2 && queue != PLAIN; way++) {
                char name[64];
                need(hf_shm_queue_close(bench[queue].ours[way]) == HF_OK, "close");
                snprintf(name, sizeof name, "%s-%llu-%d", queue_names[queue],
                         (unsigned long long)sizes[size], way);
                need(hf_shm_erase(shm, name) == HF_OK, "erase");
            }
        }
    }
    return hf_shm_close(shm) == HF_OK ? 0 : 1;
}
