/* test_lock.c - the lock: exclusion, sleeping and waking, figures, ranks, fork.
 * Method  a counter without atomics tells whether two threads were inside; what must abort does so
 *         in a child whose fd 2 is a pipe. Tests are compiled with assertions, so ranks are checked
 *         here whatever the library was built with. */
#include "base/lock.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "check.h"

enum { THREADS = 4, ROUNDS = 50000 };

static hfi_lock shared_lock = HFI_LOCK_INIT(HFI_RANK_POOL);
static uint64_t plain_counter; /* guarded by: shared_lock */

static void *count_up(void *argument) {
    bool try_first = argument != NULL;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (!try_first || !hfi_lock_try(&shared_lock)) hfi_lock_acquire(&shared_lock);
        plain_counter++;
        hfi_lock_release(&shared_lock);
    }
    return NULL;
}

static void test_threads_exclude_each_other(void) {
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, count_up, i % 2 ? &shared_lock : NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(plain_counter, (uint64_t)THREADS * ROUNDS);
    CHECK(!hfi_lock_is_held(&shared_lock));
}

static void *take_and_give(void *argument) {
    hfi_lock_acquire(argument);
    hfi_lock_release(argument);
    return NULL;
}

static void test_waiting_is_counted_and_timed(void) {
    hfi_lock lock;
    hfi_lock_init(&lock, HFI_RANK_LARGE);
    hfi_lock_acquire(&lock);
    CHECK_EQ(lock.waits, 0);
    pthread_t threads[2];
    uint64_t start = hfi_os_clock_ns();
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, take_and_give, &lock), 0);
    /* 2 says that somebody sleeps, or is about to. */
    while (atomic_load(&lock.word) != 2) {
        struct timespec nap = {0, 1000000};
        (void)nanosleep(&nap, NULL);
    }
    hfi_lock_release(&lock);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    uint64_t elapsed = hfi_os_clock_ns() - start;
    CHECK(lock.waits == 1 || lock.waits == 2); /* the other may have started after the release */
    CHECK_GT(lock.wait_ns, 0);
    CHECK_LE(lock.wait_ns, lock.waits * elapsed);
    CHECK(!hfi_lock_is_held(&lock));
}

static void test_try_fails_on_a_held_lock_without_counting(void) {
    hfi_lock lock = HFI_LOCK_INIT(HFI_RANK_MIDDLE);
    CHECK(hfi_lock_try(&lock));
    CHECK(!hfi_lock_try(&lock));
    CHECK(hfi_lock_is_held(&lock));
    CHECK_EQ(hfi_locks_held(HFI_RANK_MIDDLE), 1);
    hfi_lock_release(&lock);
    CHECK_EQ(hfi_locks_held(HFI_RANK_MIDDLE), 0);
    CHECK_EQ(lock.waits, 0);
    CHECK_EQ(lock.wait_ns, 0);
}

static void test_increasing_ranks_are_taken(void) {
    hfi_lock locks[HFI_RANK_COUNT];
    for (unsigned rank = 0; rank < HFI_RANK_COUNT; rank++) {
        hfi_lock_init(&locks[rank], (hfi_rank)rank);
        hfi_lock_acquire(&locks[rank]);
    }
    for (unsigned rank = 0; rank < HFI_RANK_COUNT; rank++)
        hfi_lock_release(&locks[rank]);
    hfi_lock peer = HFI_LOCK_INIT(HFI_RANK_POOL);
    hfi_lock_acquire(&locks[HFI_RANK_POOL]);
    hfi_lock_acquire_peer(&peer);
    CHECK_EQ(hfi_locks_held(HFI_RANK_POOL), 2);
    hfi_lock_release(&locks[HFI_RANK_POOL]);
    hfi_lock_release(&peer);
}

/* ---- what must abort ---- */

static hfi_lock low = HFI_LOCK_INIT(HFI_RANK_RECLAIM);
static hfi_lock high = HFI_LOCK_INIT(HFI_RANK_SEGMENT);
static hfi_lock equal_a = HFI_LOCK_INIT(HFI_RANK_POOL), equal_b = HFI_LOCK_INIT(HFI_RANK_POOL);

static void take_decreasing(void) {
    hfi_lock_acquire(&high);
    hfi_lock_acquire(&low);
}

static void take_equal(void) {
    hfi_lock_acquire(&equal_a);
    hfi_lock_acquire(&equal_b);
}

static void take_peer_below_a_higher(void) {
    hfi_lock_acquire(&high);
    hfi_lock_acquire_peer(&equal_a);
}

static void take_twice(void) {
    hfi_lock_acquire(&low);
    hfi_lock_acquire(&low);
}

static void release_free(void) {
    hfi_lock_release(&low);
}

/* The line a child wrote to fd 2 before it aborted. */
static const char *aborts(void (*sin)(void)) {
    static char text[1024];
    int ends[2], status;
    CHECK_EQ(pipe(ends), 0);
    pid_t child = fork();
    CHECK_NE(child, -1);
    if (child == 0) {
        (void)dup2(ends[1], 2);
        sin();
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t got;
    while ((got = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    close(ends[0]);
    text[length] = '\0';
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_SAY(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %#x: %s",
              (unsigned)status, text);
    return text;
}

/* The ranks move when a lock is added; the message must name those of the two locks. */
static void check_aborts_with_ranks(void (*sin)(void), hfi_rank taken, hfi_rank held) {
    char expected[64];
    snprintf(expected, sizeof expected, "with rank, rank_held = %u, %u\n", (unsigned)taken,
             (unsigned)held);
    const char *text = aborts(sin);
    CHECK_SAY(strstr(text, expected) != NULL, "%s in %s", expected, text);
}

static void test_wrong_order_aborts_and_names_both_ranks(void) {
    check_aborts_with_ranks(take_decreasing, HFI_RANK_RECLAIM, HFI_RANK_SEGMENT);
    check_aborts_with_ranks(take_equal, HFI_RANK_POOL, HFI_RANK_POOL);
    check_aborts_with_ranks(take_peer_below_a_higher, HFI_RANK_POOL, HFI_RANK_SEGMENT);
    check_aborts_with_ranks(take_twice, HFI_RANK_RECLAIM, HFI_RANK_RECLAIM);
    CHECK(strstr(aborts(release_free), ": expected hfi_lock_is_held(lock) with ") != NULL);
}

/* ---- fork ---- */

static hfi_lock fork_lock = HFI_LOCK_INIT(HFI_RANK_REGISTRY);
static _Atomic int fork_lock_is_held;

static void *hold_until_told(void *argument) {
    int end = *(int *)argument;
    char byte;
    hfi_lock_acquire(&fork_lock);
    atomic_store(&fork_lock_is_held, 1);
    CHECK_EQ(read(end, &byte, 1), 1);
    hfi_lock_release(&fork_lock);
    return NULL;
}

static void test_child_of_fork_gets_free_locks(void) {
    int ends[2], status;
    pthread_t holder;
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(pthread_create(&holder, NULL, hold_until_told, &ends[0]), 0);
    while (!atomic_load(&fork_lock_is_held))
        usleep(100);
    hfi_lock_acquire(&low); /* this thread's own, as prepare would */
    pid_t child = fork();
    CHECK_NE(child, -1);
    if (child == 0) {
        alarm(20);
        CHECK(hfi_lock_is_held(&fork_lock)); /* by a thread that does not exist here */
        hfi_lock_reinit(&fork_lock);
        hfi_lock_reinit(&low);
        hfi_locks_forget();
        hfi_lock_acquire(&low);
        hfi_lock_acquire(&fork_lock);
        hfi_lock_release(&fork_lock);
        hfi_lock_release(&low);
        _exit(0);
    }
    hfi_lock_release(&low);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_EQ(pthread_join(holder, NULL), 0);
    CHECK(!hfi_lock_is_held(&fork_lock));
    close(ends[0]);
    close(ends[1]);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_threads_exclude_each_other);
    CHECK_RUN(test_waiting_is_counted_and_timed);
    CHECK_RUN(test_try_fails_on_a_held_lock_without_counting);
    CHECK_RUN(test_increasing_ranks_are_taken);
    CHECK_RUN(test_wrong_order_aborts_and_names_both_ranks);
    CHECK_RUN(test_child_of_fork_gets_free_locks);
    return 0;
}
