/* test_reclaim.c - freed memory goes back: on demand, by the frees themselves, by a thread.
 *
 *   test_reclaim [serial|background|off]      without an argument it runs itself in every mode
 *
 * Method      the mode belongs to the process (the default heap's options), so each mode is a process.
 *             Deadlines are watchdogs: what is tested is that memory returns, not when. */
#include <base/hooks.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#include "account.h"
#include "content.h"

enum { COUNT = 4000, SIZE = 4000, DEADLINE_MS = 30000 };

static char *blocks[COUNT];

static void fill(hf_heap *heap) {
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = hf_heap_malloc(heap, SIZE);
        CHECK(blocks[i] != NULL);
        memset(blocks[i], 1, SIZE);
    }
}

static void drop(hf_heap *heap) {
    for (int i = 0; i < COUNT; i++)
        hf_heap_free(heap, blocks[i]);
}

static void test_reclaim_on_demand_returns_what_is_free(void) {
    hf_heap *heap = account_heap(HF_PROFILE_CHECKED);
    fill(heap);
    uint64_t mapped = account_stats(heap).bytes_mapped;
    drop(heap);
    (void)hf_heap_reclaim(heap);
    hf_stats stats = account_stats(heap);
    CHECK_LT(stats.bytes_mapped, mapped / 4);
    CHECK_EQ(stats.bytes_cached, 0);
    CHECK_GT(stats.reclaims, 0);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    heap = account_heap(HF_PROFILE_CHECKED);
    fill(heap);
    hf_heap_free(heap, blocks[0]);
    (void)hf_reclaim();
    for (int i = 1; i < COUNT; i++)
        CHECK(blocks[i][SIZE / 2] == 1);
    for (int i = 1; i < COUNT; i++)
        hf_heap_free(heap, blocks[i]);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_spike_falls_by_itself(const char *mode) {
    hf_heap *heap = hf_heap_default();
    fill(heap);
    uint64_t mapped = account_stats(heap).bytes_mapped;
    drop(heap);
    for (int waited = 0; waited < DEADLINE_MS; waited += 20) {
        if (account_stats(heap).bytes_mapped < mapped / 2) break;
        if (strcmp(mode, "serial") == 0) /* needs frees to work with */
            for (int i = 0; i < 2000; i++)
                hf_free(hf_malloc((size_t)i));
        usleep(20000);
    }
    hf_stats stats = account_stats(heap);
    if (strcmp(mode, "off") == 0) return;
    CHECK_LT(stats.bytes_mapped, mapped / 2);
    CHECK_GT(stats.reclaims, 0);
}

static unsigned thread_count(void) {
    unsigned count = 0;
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        (void)sscanf(line, "Threads: %u", &count);
    if (status != NULL) fclose(status);
    return count;
}

static void test_background_thread_ends_when_there_is_nothing_to_do(void) {
    for (int waited = 0; waited < DEADLINE_MS && thread_count() > 1; waited += 50)
        usleep(50000);
    CHECK_EQ(thread_count(), 1);
    fill(hf_heap_default()); /* and starts again when there is */
    drop(hf_heap_default());
    CHECK_EQ(thread_count(), 2);
}

static void test_fork_stops_the_thread_and_both_sides_go_on(void) {
    for (int i = 0; i < 30; i++) {
        fill(hf_heap_default());
        drop(hf_heap_default());
        fflush(NULL);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(30);
            fill(hf_heap_default());
            drop(hf_heap_default());
            (void)hf_reclaim();
            _exit(0);
        }
        int status = 0;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
    }
}

static _Atomic unsigned hook_calls, hook_forced;
static uint64_t hook(uint64_t now_ns, int force) {
    CHECK_GT(now_ns, 0);
    atomic_fetch_add(&hook_calls, 1);
    if (force) atomic_fetch_add(&hook_forced, 1);
    return 0;
}

static void test_hooks_join_the_pass(void) {
    hfi_reclaim_hook_add(hook);
    (void)hf_reclaim();
    CHECK_GE(atomic_load(&hook_calls), 1);
    CHECK_GE(atomic_load(&hook_forced), 1);
}

/* Reports found by a pass are delivered without locks: the handler may do anything. */
static unsigned handled;
static void on_report(const hf_report *report, void *context) {
    (void)context;
    CHECK_EQ(report->kind, HF_REPORT_USE_AFTER_FREE);
    handled++;
    hf_free(hf_malloc(5000));
    (void)hf_reclaim();
    (void)account_stats(hf_heap_default());
}

static void *free_and_sleep(void *argument) {
    pthread_barrier_t *barrier = argument;
    char *block = hf_malloc(300);
    hf_free(block);
    *(char *volatile *)&blocks[0] = block;
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}

static void test_report_of_a_thread_end_lets_the_handler_reclaim(void) {
    pthread_barrier_t barrier;
    pthread_t thread;
    hf_report_handler_set(on_report, NULL);
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, 2), 0);
    CHECK_EQ(pthread_create(&thread, NULL, free_and_sleep, &barrier), 0);
    pthread_barrier_wait(&barrier);
    blocks[0][0] = 'A';            /* a write after free, into the other thread's cache */
    for (int i = 0; i < 10; i++) { /* a sweep of the sleeping thread may find it */
        (void)hf_reclaim();
        usleep(1000);
    }
    pthread_barrier_wait(&barrier);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    (void)hf_heap_check(hf_heap_default(), NULL);
    CHECK_EQ(handled, 1);
    hf_report_handler_set(NULL, NULL);
}

static void run_mode(const char *mode) {
    CHECK_WATCHDOG(100);
    CHECK_RUN(test_reclaim_on_demand_returns_what_is_free);
    test_spike_falls_by_itself(mode);
    if (strcmp(mode, "background") == 0) {
        /* The sanitizers' runtimes have threads of their own. */
        if (!CHECK_SANITIZED) CHECK_RUN(test_background_thread_ends_when_there_is_nothing_to_do);
        if (!CHECK_TSAN) CHECK_RUN(test_fork_stops_the_thread_and_both_sides_go_on);
    }
    CHECK_RUN(test_hooks_join_the_pass);
    /* A write after free is a data race, by its nature. */
    if (!CHECK_TSAN) CHECK_RUN(test_report_of_a_thread_end_lets_the_handler_reclaim);
    account_check(hf_heap_default());
}

int main(int argc, char **argv) {
    static const char *const modes[] = {"serial", "background", "off"};
    if (argc > 1) {
        run_mode(argv[1]);
        return 0;
    }
    int failed = 0;
    for (int i = 0; i < 3; i++) {
        printf("mode %s\n", modes[i]);
        fflush(NULL);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            setenv("HOLDFAST_RECLAIM", modes[i], 1);
            setenv("HOLDFAST_DECAY_MS", "100", 1);
            execl("/proc/self/exe", argv[0], modes[i], (char *)NULL);
            _exit(127);
        }
        int status = 0;
        while (waitpid(child, &status, 0) < 0)
            CHECK_EQ(errno, EINTR);
        if (status != 0) printf("mode %s ended with %#x\n", modes[i], (unsigned)status);
        failed |= status != 0;
    }
    return failed;
}
