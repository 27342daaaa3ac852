/* bench_shm_limits.c - what two processes can do at best, and what it takes to wake one: a line of JSON.
 *
 *   bench_shm_limits [SLICES]                medians of slices, contenders by turns
 *
 *   line_ns       a cache line to the other process and back
 *   copy_*_gbs    memcpy from private into shared memory, 64 KiB and 1 MiB, eight places in turn
 *   wake_*_us     from the waker's change until the sleeper runs, both directions added; by a bare futex
 *                 and by our queue. The waker lets 80 us pass first: the queue spins for 20 and sleeps.
 *   sleepy_*_ms   the longest of those where the message comes about when the receiver goes to sleep */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "bench.h"
#include "bench_shm.h"
#include <holdfast/shm_queue.h>

enum { LINE = 128, SLICES_MAX = 1000 };
enum { AWAKE_NS = 80000 }; /* well above the 20 us for which holdfast spins before it sleeps */

static int slices = 15;

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

static void pass_time(uint64_t ns) {
    uint64_t end = now_ns() + ns;
    while (now_ns() < end)
        relax();
}

static cpu_set_t all; /* processors at the start */

/* Process `number` of two to a processor of its own, if there are two. */
static void settle(int number) {
    cpu_set_t one;
    int seen = 0;
    if (CPU_COUNT(&all) < 2) return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all) || seen++ != number) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        (void)sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

static void *shared(size_t size) {
    void *made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) bench_fail("mmap");
    memset(made, 0, size);
    return made;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

static void show(const char *name, double value) {
    static bool more;
    printf("%s\"%s\": %.4f", more ? ", " : "{", name, value);
    more = true;
}

/* --- the limits ---------------------------------------------------------------------------------- */

static void line_to_and_fro(void) {
    enum { TRIPS = 20000 };
    _Atomic uint64_t *word = shared(LINE);
    uint64_t last = 2u * TRIPS * (unsigned)slices;
    pid_t child = fork();
    settle(child == 0);
    if (child == 0) {
        for (uint64_t turn = 1; turn < last; turn += 2) {
            while (atomic_load_explicit(word, memory_order_acquire) != turn) {
            }
            atomic_store_explicit(word, turn + 1, memory_order_release);
        }
        _exit(0);
    }
    double times[SLICES_MAX];
    uint64_t turn = 0;
    for (int i = 0; i < slices; i++) {
        uint64_t begun = now_ns();
        for (int trip = 0; trip < TRIPS; trip++, turn += 2) {
            atomic_store_explicit(word, turn + 1, memory_order_release);
            while (atomic_load_explicit(word, memory_order_acquire) != turn + 2) {
            }
        }
        times[i] = (double)(now_ns() - begun) / TRIPS;
    }
    (void)waitpid(child, NULL, 0);
    show("line_ns", median(times, slices));
}

/* Into eight places in turn, as a queue of eight would be filled. */
static void copy_speed(const char *name, size_t size) {
    enum { PLACES = 8 };
    char *from = bench_need(malloc(size)), *to = shared(size * PLACES);
    memset(from, 1, size);
    int copies = (int)((128u << 20) / size);
    double speeds[SLICES_MAX];
    for (int i = 0; i < slices; i++) {
        uint64_t begun = now_ns();
        for (int k = 0; k < copies; k++) {
            memcpy(to + (size_t)(k % PLACES) * size, from, size);
            __asm__ volatile("" ::: "memory");
        }
        speeds[i] = (double)size * copies / (double)(now_ns() - begun);
    }
    show(name, median(speeds, slices));
    free(from);
    (void)munmap(to, size * PLACES);
}

/* --- waking -------------------------------------------------------------------------------------- */

struct wake_world {
    _Alignas(LINE) _Atomic uint32_t word[2]; /* one per direction */
    _Alignas(LINE) _Atomic uint64_t sent;
    _Alignas(LINE) _Atomic uint64_t took; /* by the child's last wake-up [ns] */
};

struct wake {
    struct wake_world *world;
    hf_shm_queue *queue[2]; /* both null: the bare futex */
};

static void wake_send(struct wake *wake, int way, uint32_t turn) {
    atomic_store_explicit(&wake->world->sent, now_ns(), memory_order_release);
    if (wake->queue[way] != NULL) {
        uint64_t item = turn;
        if (hf_shm_queue_put(wake->queue[way], &item, sizeof item, 0) != HF_OK)
            bench_fail(hf_shm_detail());
        return;
    }
    atomic_store(&wake->world->word[way], turn);
    (void)syscall(SYS_futex, &wake->world->word[way], FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Nanoseconds from the send until here. */
static uint64_t wake_receive(struct wake *wake, int way, uint32_t turn) {
    uint64_t item = 0;
    if (wake->queue[way] != NULL) {
        if (hf_shm_queue_get(wake->queue[way], &item, sizeof item, HF_FOREVER, NULL) != HF_OK)
            bench_fail(hf_shm_detail());
    } else {
        _Atomic uint32_t *word = &wake->world->word[way];
        while (atomic_load_explicit(word, memory_order_acquire) != turn)
            (void)syscall(SYS_futex, word, FUTEX_WAIT, turn - 1, NULL, NULL, 0);
    }
    return now_ns() - atomic_load_explicit(&wake->world->sent, memory_order_acquire);
}

/* Before the k-th send: until the other one sleeps for certain, or about when it goes to sleep. */
static uint64_t pause_before(uint32_t k, bool sleepy) {
    return sleepy ? 15000 + k % 97 * 150 : AWAKE_NS;
}

static void wake_trips(struct wake *wake, uint32_t first, uint32_t trips, bool sleepy, double *us) {
    pid_t child = fork();
    settle(child == 0);
    if (child == 0) {
        for (uint32_t k = first; k < first + trips; k++) {
            uint64_t took = wake_receive(wake, 0, k);
            pass_time(pause_before(k * 31, sleepy));
            atomic_store(&wake->world->took, took);
            wake_send(wake, 1, k);
        }
        _exit(0);
    }
    for (uint32_t k = first; k < first + trips; k++) {
        pass_time(pause_before(k, sleepy));
        wake_send(wake, 0, k);
        uint64_t took = wake_receive(wake, 1, k);
        us[k - first] = (double)(took + atomic_load(&wake->world->took)) / 1e3;
    }
    (void)waitpid(child, NULL, 0);
}

/* The child of a fork is a participant with the same handles. */
static hf_shm *segment_make(void) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 16u << 20);
    options.prefault = 1;
    if (hf_shm_create_anonymous(&options, &shm) != HF_OK) bench_fail(hf_shm_detail());
    return shm;
}

static hf_shm_queue *queue_make(hf_shm *shm, const char *name) {
    hf_shm_queue_options options;
    hf_shm_queue *queue = NULL;
    hf_shm_queue_options_init(&options, sizeof(uint64_t), 64);
    if (hf_shm_queue_open(shm, name, HF_SHM_OPEN_OR_CREATE, &options, &queue) != HF_OK)
        bench_fail(hf_shm_detail());
    return queue;
}

static void waking(hf_shm *shm) {
    enum { TRIPS = 60, SLEEPY_TRIPS = 300 };
    struct wake wakes[2] = {{shared(sizeof(struct wake_world)), {NULL, NULL}},
                            {shared(sizeof(struct wake_world)), {NULL, NULL}}};
    wakes[1].queue[0] = queue_make(shm, "wake to");
    wakes[1].queue[1] = queue_make(shm, "wake fro");
    static const char *const names[2] = {"wake_futex_us", "wake_queue_us"};
    static const char *const sleepy_names[2] = {"sleepy_futex_ms", "sleepy_queue_ms"};
    double *us[2], longest[2] = {0, 0};
    us[0] = bench_need(malloc(2 * sizeof(double) * TRIPS * SLICES_MAX));
    us[1] = us[0] + TRIPS * SLICES_MAX;
    uint32_t turn[2] = {1, 1};
    for (int i = 0; i < 2 * slices; i++) {
        int who = i % 2;
        double sleepy[SLEEPY_TRIPS];
        wake_trips(&wakes[who], turn[who], TRIPS, false, us[who] + i / 2 * TRIPS);
        turn[who] += TRIPS;
        wake_trips(&wakes[who], turn[who], SLEEPY_TRIPS, true, sleepy);
        turn[who] += SLEEPY_TRIPS;
        for (int k = 0; k < SLEEPY_TRIPS; k++)
            if (sleepy[k] / 1e3 > longest[who]) longest[who] = sleepy[k] / 1e3;
    }
    for (int who = 0; who < 2; who++)
        show(names[who], median(us[who], slices * TRIPS));
    for (int who = 0; who < 2; who++)
        show(sleepy_names[who], longest[who]);
    free(us[0]);
}

int main(int argc, char **argv) {
    if (argc > 1) slices = atoi(argv[1]);
    if (slices < 1 || slices > SLICES_MAX) bench_fail("usage: bench_shm_limits [SLICES]");
    if (sched_getaffinity(0, sizeof all, &all) != 0) CPU_ZERO(&all);
    (void)setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    hf_shm *shm = segment_make();
    show("processors", CPU_COUNT(&all));
    line_to_and_fro();
    copy_speed("copy_64k_gbs", 65536);
    copy_speed("copy_1m_gbs", 1u << 20);
    waking(shm);
    puts("}");
    (void)hf_shm_close(shm);
    return fflush(stdout) == 0 ? 0 : 1;
}
