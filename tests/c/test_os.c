/* test_os.c - the platform keeps the contract of os.h.
 * Method      touch what was promised; what must fault is touched in a child that must die. */
#include <errno.h>
#include <os/os.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "check.h"

enum { SIZE = 1 << 20 };

/* True if reading or writing `address` kills a process. */
static bool faults(volatile char *address, bool write) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        /* The sanitizers' handlers would print; the plain signal is the answer. */
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        if (write)
            *address = 1;
        else
            (void)*address;
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status);
}

static void test_reserve_is_aligned_and_faults_until_committed(void) {
    for (size_t alignment = HFI_PAGE; alignment <= (size_t)64 << 20; alignment *= 4) {
        char *base = hfi_os_reserve(SIZE * 4, alignment);
        CHECK(base != NULL);
        CHECK_EQ((uintptr_t)base % alignment, 0);
        if (alignment == HFI_PAGE) {
            CHECK(faults(base, false));
            CHECK(faults(base + SIZE, true));
            CHECK_EQ(hfi_os_commit(base + SIZE, SIZE), 0);
            CHECK(!faults(base + SIZE, true));
            CHECK(faults(base + 2 * SIZE, true));
        }
        hfi_os_unmap(base, SIZE * 4);
    }
    CHECK(hfi_os_reserve(SIZE_MAX - 4095, 1 << 21) == NULL);
    CHECK_EQ(errno, ENOMEM);
}

static void test_map_is_zero_and_purge_makes_it_zero_again(void) {
    char *base = hfi_os_map(SIZE);
    CHECK(base != NULL);
    for (size_t i = 0; i < SIZE; i++)
        CHECK_EQ(base[i], 0);
    CHECK_EQ(hfi_os_resident(base, SIZE) > 0, 1);
    memset(base, 1, SIZE);
    CHECK_EQ(hfi_os_resident(base, SIZE), SIZE);
    hfi_os_purge(base + HFI_PAGE, SIZE - HFI_PAGE);
    CHECK_EQ(hfi_os_resident(base, SIZE), HFI_PAGE);
    CHECK_EQ(base[0], 1);
    for (size_t i = HFI_PAGE; i < SIZE; i++)
        CHECK_EQ(base[i], 0);
    hfi_os_unmap(base, SIZE);
}

static void test_purge_of_locked_pages_reads_as_zero(void) {
    char *base = hfi_os_map(4 * HFI_PAGE);
    CHECK(base != NULL);
    memset(base, 1, 4 * HFI_PAGE);
    if (mlock(base, 4 * HFI_PAGE) == 0) {
        hfi_os_purge(base, 4 * HFI_PAGE);
        for (size_t i = 0; i < 4 * HFI_PAGE; i++)
            CHECK_EQ(base[i], 0);
        munlock(base, 4 * HFI_PAGE);
    }
    hfi_os_unmap(base, 4 * HFI_PAGE);
}

static void test_guard_faults_and_unguard_serves_again(void) {
    char *base = hfi_os_map(3 * HFI_PAGE);
    CHECK(base != NULL);
    memset(base, 1, 3 * HFI_PAGE);
    CHECK_EQ(hfi_os_guard(base + HFI_PAGE, HFI_PAGE), 0);
    CHECK(faults(base + HFI_PAGE, false));
    CHECK(faults(base + 2 * HFI_PAGE - 1, true));
    CHECK(!faults(base + HFI_PAGE - 1, true));
    CHECK(!faults(base + 2 * HFI_PAGE, true));
    CHECK_EQ(hfi_os_unguard(base + HFI_PAGE, HFI_PAGE), 0);
    CHECK_EQ(base[HFI_PAGE], 0);
    base[HFI_PAGE] = 2;
    CHECK_EQ(base[0], 1);
    hfi_os_unmap(base, 3 * HFI_PAGE);
}

static void test_seal_refuses_writes_only(void) {
    char *base = hfi_os_map(HFI_PAGE);
    CHECK(base != NULL);
    base[0] = 5;
    CHECK_EQ(hfi_os_seal(base, HFI_PAGE, false), 0);
    CHECK_EQ(base[0], 5);
    CHECK(faults(base, true));
    CHECK_EQ(hfi_os_seal(base, HFI_PAGE, true), 0);
    base[0] = 6;
    hfi_os_unmap(base, HFI_PAGE);
}

static void test_move_takes_the_pages_along(void) {
    char *from = hfi_os_map(SIZE), *to = hfi_os_map(SIZE);
    CHECK(from != NULL && to != NULL);
    memset(from, 3, SIZE);
    memset(to, 4, SIZE);
    if (hfi_os_move(from, SIZE, to) == 0) {
        for (size_t i = 0; i < SIZE; i++)
            CHECK(to[i] == 3 && from[i] == 0);
        from[0] = 1;
    } else {
        for (size_t i = 0; i < SIZE; i++)
            CHECK(to[i] == 4 && from[i] == 3);
    }
    hfi_os_unmap(from, SIZE);
    hfi_os_unmap(to, SIZE);
}

static void test_fail_after_fails_exactly_once(void) {
    for (uint64_t nth = 1; nth <= 5; nth++) {
        uint64_t failures = hfi_os_map_failures(), calls = hfi_os_map_calls();
        hfi_os_fail_after(nth);
        for (uint64_t call = 1; call <= 8; call++) {
            errno = 0;
            void *base = hfi_os_map(HFI_PAGE);
            CHECK_EQ(base == NULL, call == nth);
            if (base == NULL)
                CHECK_EQ(errno, ENOMEM);
            else
                hfi_os_unmap(base, HFI_PAGE);
        }
        CHECK_EQ(hfi_os_map_failures() - failures, 1);
        CHECK_EQ(hfi_os_map_calls() - calls, 8);
        hfi_os_fail_after(0);
    }
}

static _Atomic uint32_t word;

static void *wake_later(void *argument) {
    usleep(20000);
    /* SYNC(test.word): pairs with the acquire of the waiter. */
    atomic_store_explicit(&word, 1, memory_order_release);
    hfi_os_futex_wake(&word, 1);
    return argument;
}

static void test_futex_waits_wakes_and_times_out(void) {
    atomic_store(&word, 0);
    errno = 77;
    CHECK_EQ(hfi_os_futex_wait(&word, 5, 0), 0);
    uint64_t before = hfi_os_clock_ns();
    CHECK_EQ(hfi_os_futex_wait(&word, 0, 30000000), -1);
    CHECK_GE(hfi_os_clock_ns() - before, 29000000);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, wake_later, NULL), 0);
    while (atomic_load_explicit(&word, memory_order_acquire) == 0)
        (void)hfi_os_futex_wait(&word, 0, 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(errno, 77);
}

static _Atomic uint32_t sleeper_id;
static _Atomic int sleeper_mode; /* 0 sleeps on `word`, 1 runs, 2 ends */

static void *sleeper_run(void *argument) {
    atomic_store(&sleeper_id, hfi_os_thread_id());
    while (atomic_load(&sleeper_mode) != 2)
        if (atomic_load(&sleeper_mode) == 0) (void)hfi_os_futex_wait(&word, 0, 0);
    return argument;
}

static void test_thread_asleep_tells_running_from_sleeping(void) {
    uint64_t first = 0, second = 0;
    atomic_store(&word, 0);
    atomic_store(&sleeper_mode, 1);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, sleeper_run, NULL), 0);
    while (atomic_load(&sleeper_id) == 0)
        usleep(1000);
    uint32_t id = atomic_load(&sleeper_id);
    if (!CHECK_SANITIZED) CHECK_EQ(hfi_os_thread_count(), 2);
    CHECK(hfi_os_thread_exists(hfi_os_process_id(), id));
    for (int i = 0; i < 100; i++)
        CHECK(!hfi_os_thread_asleep(id, &first)); /* it spins */
    atomic_store(&sleeper_mode, 0);
    bool asleep = false;
    for (int i = 0; i < 200 && !asleep; i++) {
        usleep(5000);
        asleep = hfi_os_thread_asleep(id, &first);
    }
    if (!asleep) {
        printf("this kernel does not show /proc/self/task/*/syscall: nothing to compare\n");
    } else {
        usleep(5000);
        CHECK(hfi_os_thread_asleep(id, &second));
        CHECK_EQ(first, second);
    }
    atomic_store(&sleeper_mode, 2);
    atomic_store(&word, 1);
    hfi_os_futex_wake(&word, 10);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(!hfi_os_thread_exists(hfi_os_process_id(), 0x7ffffff0));
}

static void test_nodes_are_numbered_from_zero_and_can_be_pretended(void) {
    hfi_os_numa_start(0);
    CHECK_GE(hfi_os_node_count(), 1);
    CHECK_LT(hfi_os_node_current(), hfi_os_node_count());
    char *base = hfi_os_map(SIZE);
    CHECK_EQ(hfi_os_node_bind(base, SIZE, 0), 0);
    CHECK_EQ(hfi_os_node_bind(base, SIZE, hfi_os_node_count()), -1);
    hfi_os_unmap(base, SIZE);
    hfi_os_numa_start(4);
    CHECK_EQ(hfi_os_node_count(), 4);
    CHECK_LT(hfi_os_node_current(), 4);
    hfi_os_numa_start(1000);
    CHECK_EQ(hfi_os_node_count(), 64);
}

static void test_a_bound_process_knows_the_other_processors(void) {
    unsigned online = hfi_os_cpu_online();
    cpu_set_t before, one;
    CHECK_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    CHECK_EQ(hfi_os_cpu_count(), 1);
    CHECK_EQ(hfi_os_cpu_online(), online);
    CHECK_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

static void test_machine_figures_are_plausible(void) {
    CHECK_GE(hfi_os_cpu_count(), 1);
    CHECK_GE(hfi_os_cpu_online(), hfi_os_cpu_count());
    CHECK_GE(hfi_os_memory_size(), (size_t)64 << 20);
    uint64_t a = hfi_os_clock_ns(), b = hfi_os_clock_ns();
    CHECK_LE(a, b);
    CHECK_GT(hfi_os_realtime_ns(), UINT64_C(1600000000000000000));
    unsigned char first[32] = {0}, second[32] = {0};
    hfi_os_random(first, sizeof first);
    hfi_os_random(second, sizeof second);
    CHECK(memcmp(first, second, sizeof first) != 0);
    CHECK_EQ(hfi_os_process_id(), getpid());
    (void)hfi_os_barrier_all_threads();
    CHECK_EQ(hfi_os_barrier_all_threads(), hfi_os_barrier_all_threads());
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_reserve_is_aligned_and_faults_until_committed);
    CHECK_RUN(test_map_is_zero_and_purge_makes_it_zero_again);
    CHECK_RUN(test_purge_of_locked_pages_reads_as_zero);
    CHECK_RUN(test_guard_faults_and_unguard_serves_again);
    CHECK_RUN(test_seal_refuses_writes_only);
    CHECK_RUN(test_move_takes_the_pages_along);
    CHECK_RUN(test_fail_after_fails_exactly_once);
    CHECK_RUN(test_futex_waits_wakes_and_times_out);
    CHECK_RUN(test_thread_asleep_tells_running_from_sleeping);
    CHECK_RUN(test_nodes_are_numbered_from_zero_and_can_be_pretended);
    CHECK_RUN(test_a_bound_process_knows_the_other_processors);
    CHECK_RUN(test_machine_figures_are_plausible);
    return 0;
}
