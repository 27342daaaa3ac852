/* stress_fork.c - fork while other threads allocate; children must allocate, and finish.
 *
 *   stress_fork [PROFILE]
 *
 * Method      three threads churn the default heap and a heap of their own while the main thread forks;
 *             each child allocates in every tier, checks what it inherited, starts a thread, walks,
 *             reclaims, and must end by itself. A child that hangs is killed by its alarm. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "stress.h"

enum { THREADS = 3 };

static hf_heap *heap;
static atomic_bool stop;

static void some_work(hf_heap *from, uint64_t seed, unsigned steps) {
    check_random random = {seed};
    void *blocks[50] = {NULL};
    size_t sizes[50] = {0};
    for (unsigned step = 0; step < steps; step++) {
        size_t i = check_random_below(&random, 50);
        if (blocks[i] != NULL) {
            CHECK(content_whole(blocks[i], sizes[i], i));
            hf_heap_free(from, blocks[i]);
            blocks[i] = NULL;
        } else {
            uint64_t kind = check_random_below(&random, 200);
            sizes[i] = check_random_below(&random, kind == 0 ? 2000000 : kind < 5 ? 100000 : 600);
            blocks[i] = hf_heap_malloc(from, sizes[i]);
            CHECK(blocks[i] != NULL);
            content_fill(blocks[i], sizes[i], i);
        }
    }
    for (size_t i = 0; i < 50; i++)
        hf_heap_free(from, blocks[i]);
}

static void *churn(void *argument) {
    uint64_t seed = (uintptr_t)argument;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        some_work(seed % 2 ? heap : hf_heap_default(), seed, 300);
        seed += THREADS;
        if (seed % 16 == 0) (void)hf_reclaim();
    }
    return NULL;
}

static void *child_thread(void *argument) {
    some_work(heap, 5, 500);
    return argument;
}

static void child_run(unsigned number, char *inherited) {
    alarm(CHECK_SANITIZED ? 100 : 30);
    CHECK(content_whole(inherited, 5000, 1));
    some_work(hf_heap_default(), number, 500);
    some_work(heap, number, 500);
    hf_heap_free(heap, inherited);
    if (number % 4 == 0) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, child_thread, NULL), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    if (number % 3 == 0) {
        (void)hf_reclaim();
        account_whole(heap);
        account_check(heap);
        account_check(hf_heap_default());
    }
    if (number % 10 == 0 && fork() == 0) {
        some_work(heap, number, 200);
        _exit(0);
    }
    _exit(0);
}

int main(int argc, char **argv) {
    CHECK_WATCHDOG(200);
    /* glibc's pthread_create in a child of fork is fine; TSan's runtime is not made for it. */
    if (CHECK_TSAN) CHECK_SKIP("thread sanitizer does not follow threads made after fork");
    /* Every new thread asks libc for memory, in the child the one that reclaims, too. */
    if (CHECK_ASAN) CHECK_SKIP("the allocator of the address sanitizer has no fork handlers");
    heap = stress_heap(argc, argv);
    pthread_t ids[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&ids[i], NULL, churn, (void *)(i + 1)), 0);
    unsigned forks = stress_scaled(400);
    for (unsigned i = 0; i < forks; i++) {
        char *inherited = hf_heap_malloc(heap, 5000);
        CHECK(inherited != NULL);
        content_fill(inherited, 5000, 1);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) child_run(i, inherited);
        int status = 0;
        while (waitpid(child, &status, 0) < 0)
            CHECK_EQ(errno, EINTR);
        CHECK_SAY(status == 0, "child %u ended with %#x", i, (unsigned)status);
        CHECK(content_whole(inherited, 5000, 1));
        hf_heap_free(heap, inherited);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    printf("%u forks\n", forks);
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    return 0;
}
