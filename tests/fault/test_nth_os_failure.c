/* test_nth_os_failure.c - the system refuses memory once, at every place where it is asked.
 *
 *   test_nth_os_failure PROFILE          every N          test_nth_os_failure PROFILE N   one of them
 *
 * Method      a workload of all tiers, threads, heaps and reclaim runs in a process of its own with
 *             the option fail_os_call = N, for N = 1, 2, ... until no call is left to fail. A call
 *             may answer NULL with ENOMEM or HF_E_NO_MEMORY; afterwards the heap must work, add up
 *             and be whole. A crash, a hang, another errno or a damaged block is a failure.
 * Why         exec and not fork: the refusal must be able to hit the start of the library. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "../c/account.h"
#include "../c/content.h"

enum { NOT_REACHED = 3, LIMIT = 5000, BLOCKS = 64 };

/* An answer of the malloc kind: a block, or NULL because there is no memory. */
static void *maybe(void *block, size_t size, uint64_t tag) {
    if (block == NULL) {
        CHECK_EQ(errno, ENOMEM);
        return NULL;
    }
    content_fill(block, size, tag);
    return block;
}

static size_t size_of_step(unsigned step) {
    static const size_t sizes[] = {24,    100,    1000,    5000,    30000,
                                   40000, 200000, 1000000, 1500000, 5000000};
    return sizes[step % (sizeof sizes / sizeof sizes[0])] + step % 3;
}

static void churn(hf_heap *heap, unsigned rounds) {
    void *blocks[BLOCKS] = {NULL};
    size_t sizes[BLOCKS] = {0};
    for (unsigned step = 0; step < rounds; step++) {
        unsigned i = (step * 7) % BLOCKS;
        size_t size = size_of_step(step);
        errno = 0;
        if (blocks[i] == NULL) {
            switch (step % 4) {
            case 0: blocks[i] = hf_heap_calloc(heap, 1, size); break;
            case 1: blocks[i] = hf_heap_aligned_alloc(heap, (size_t)64 << step % 9, size); break;
            default: blocks[i] = hf_heap_malloc(heap, size);
            }
            sizes[i] = size;
            blocks[i] = maybe(blocks[i], size, i);
            continue;
        }
        CHECK(content_whole(blocks[i], sizes[i], i));
        if (step % 3 == 0) {
            void *moved = hf_heap_realloc(heap, blocks[i], size);
            if (moved == NULL) {
                CHECK_EQ(errno, ENOMEM);
                CHECK(content_whole(blocks[i], sizes[i], i));
                continue;
            }
            CHECK(content_whole_to(moved, sizes[i], sizes[i] < size ? sizes[i] : size, i));
            blocks[i] = maybe(moved, size, i);
            sizes[i] = size;
        } else {
            hf_heap_free(heap, blocks[i]);
            blocks[i] = NULL;
        }
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (blocks[i] != NULL) CHECK(content_whole(blocks[i], sizes[i], i));
        hf_heap_free(heap, blocks[i]);
    }
}

static void *churn_thread(void *heap) {
    churn(heap, 150);
    return NULL;
}

static void workload(hf_profile profile) {
    hf_options options;
    hf_heap *heap = NULL;
    pthread_t threads[2];
    void *first = hf_malloc(100);
    if (first == NULL) CHECK_EQ(errno, ENOMEM);
    hf_free(first);
    churn(hf_heap_default(), 300);
    hf_options_init(&options);
    options.profile = profile;
    hf_status made = hf_heap_create(&options, "second", -1, &heap);
    if (made == HF_OK)
        churn(heap, 300);
    else
        CHECK_EQ(made, HF_E_NO_MEMORY);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, churn_thread,
                                heap != NULL ? heap : hf_heap_default()),
                 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    (void)hf_reclaim();
    churn(hf_heap_default(), 300);
    if (heap != NULL) {
        account_whole(heap);
        account_check(heap);
        CHECK_EQ(account_stats(heap).blocks_in_use, 0);
        CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    }
    /* The refusal is over: everything works. */
    for (unsigned step = 0; step < 20; step++) {
        void *block = hf_malloc(size_of_step(step));
        CHECK(block != NULL);
        content_fill(block, size_of_step(step), step);
        CHECK(content_whole(block, size_of_step(step), step));
        hf_free(block);
    }
    account_whole(hf_heap_default());
    account_check(hf_heap_default());
    CHECK_EQ(hf_report_count(), 0);
}

static int child_main(hf_profile profile) {
    CHECK_WATCHDOG(60);
    workload(profile);
    return account_stats(hf_heap_default()).os_failures == 0 ? NOT_REACHED : 0;
}

/* Runs the workload with the Nth call refused; its exit status, or minus the signal. */
static int run_child(char *program, char *profile_name, unsigned nth) {
    char number[16];
    snprintf(number, sizeof number, "%u", nth);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        setenv("HOLDFAST_FAIL_OS_CALL", number, 1);
        setenv("HOLDFAST_PROFILE", profile_name, 1);
        setenv("HOLDFAST_RECLAIM", "serial", 1);
        setenv("HOLDFAST_DECAY_MS", "0", 1);
        execl(program, program, profile_name, "child", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"fast", "checked", "hardened", "debug"};
    hf_profile profile = HF_PROFILE_CHECKED;
    if (argc < 2) CHECK_FAIL("usage: %s PROFILE [N]", argv[0]);
    for (unsigned i = 0; i < 4; i++)
        if (strcmp(argv[1], names[i]) == 0) profile = (hf_profile)i;
    if (argc > 2 && strcmp(argv[2], "child") == 0) return child_main(profile);
    if (argc > 2) return run_child(argv[0], argv[1], (unsigned)atoi(argv[2]));
    unsigned failures = 0, nth = 1;
    for (; nth < LIMIT; nth += CHECK_SANITIZED ? 7 : 1) {
        int outcome = run_child(argv[0], argv[1], nth);
        if (outcome == NOT_REACHED) break;
        if (outcome == 0) continue;
        printf("%s %s %u: outcome %d\n", argv[0], argv[1], nth, outcome);
        if (++failures > 10) break;
    }
    printf("%u calls refused, one at a time; %u failures\n", nth - 1, failures);
    CHECK_LT(nth, LIMIT);
    CHECK_GT(nth, 10);
    return failures != 0;
}
