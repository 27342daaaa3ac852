/* test_stack - stack pools: handles, reuse, misuse, names, threads, fork.
 * Method  every test makes a pool of its own, compares the account with what it holds, and lets the pool
 *         check itself. Memory and limits are test_stack_memory.c's, faults in guards
 *         test_stack_fault.c's. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>

#include "stack_check.h"

static void test_take_gives_a_writable_stack_between_guards(void) {
    const size_t sizes[] = {4096, 5000, 65536, 100000, 1 << 20, 64 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        hf_stack_pool *pool = make_pool(sizes[i], NULL);
        hf_stack_pool_info info = info_of(pool);
        hf_stack stack = take(pool);
        CHECK_GE(stack.size, sizes[i]);
        CHECK_EQ(stack.size % 4096, 0);
        CHECK_EQ(stack.size, info.stack_size);
        CHECK_EQ((uintptr_t)stack.stack_ptr % 16, 0);
        CHECK_PTR(stack.guard_high, stack.stack_ptr);
        CHECK_PTR(stack.guard_low, (char *)stack.stack_ptr - stack.size - info.guard_size);
        memset((char *)stack.stack_ptr - stack.size, 0x5A,
               stack.size < 1 << 20 ? stack.size : 4096);
        touch(&stack, stack.size);
        CHECK_EQ(account(pool).bytes_in_use, stack.size);
        CHECK_EQ(hf_stack_pool_destroy(pool), HF_E_BUSY);
        CHECK_EQ(hf_stack_give(pool, &stack), HF_OK);
        CHECK_EQ(account(pool).bytes_in_use, 0);
        CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
    }
}

static void test_options_outside_their_range_are_refused(void) {
    hf_stack_pool_options options;
    hf_stack_pool *pool = NULL;
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        hf_stack_pool_options_init(&options);                                                      \
        options.field = value;                                                                     \
        CHECK_EQ(hf_stack_pool_create(&options, &pool), HF_E_INVALID);                             \
        CHECK_PTR(pool, NULL);                                                                     \
    } while (0)
    REFUSED(struct_size, 3);
    REFUSED(stack_size, 0);
    REFUSED(stack_size, 4095);
    REFUSED(stack_size, ((size_t)1 << 40) + 1);
    REFUSED(stack_size, SIZE_MAX);
    REFUSED(guard_size, 0);
    REFUSED(guard_size, SIZE_MAX);
    REFUSED(count_max, 0);
    REFUSED(count_max, UINT32_MAX);
    CHECK_EQ(hf_stack_pool_destroy(NULL), HF_OK);
}

static void test_reuse_is_last_in_first_out_with_a_new_generation(void) {
    hf_stack_pool *pool = make_pool(65536, NULL);
    hf_stack first = take(pool), second = take(pool);
    CHECK(first.index != second.index);
    CHECK_EQ(hf_stack_give(pool, &first), HF_OK);
    CHECK_EQ(hf_stack_give(pool, &second), HF_OK);
    hf_stack again = take(pool);
    CHECK_EQ(again.generation != second.generation, CHECK_ASAN || again.index == second.index);
    if (again.index == second.index) CHECK_PTR(again.stack_ptr, second.stack_ptr);
    CHECK_EQ(hf_stack_give(pool, &again), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
}

/* Stacks never overlap, whatever the order of taking and giving. */
static void test_many_stacks_are_disjoint(void) {
    enum { COUNT = 5000 };
    static hf_stack stacks[COUNT];
    static bool out[COUNT];
    check_random random = {.state = 7};
    hf_stack_pool *pool = make_pool(8192, NULL);
    size_t live = 0;
    for (int step = 0; step < 60000; step++) {
        size_t i = check_random_below(&random, COUNT);
        if (out[i]) {
            uint64_t *low = (uint64_t *)((char *)stacks[i].stack_ptr - stacks[i].size);
            uint64_t *high = (uint64_t *)stacks[i].stack_ptr - 1;
            CHECK_EQ(*low, i);
            CHECK_EQ(*high, ~(uint64_t)i);
            CHECK_EQ(hf_stack_give(pool, &stacks[i]), HF_OK);
            live--;
        } else {
            stacks[i] = take(pool);
            *(uint64_t *)((char *)stacks[i].stack_ptr - stacks[i].size) = i;
            *((uint64_t *)stacks[i].stack_ptr - 1) = ~(uint64_t)i;
            live++;
        }
        out[i] = !out[i];
    }
    CHECK_EQ(account(pool).blocks_in_use, live);
    CHECK_EQ(info_of(pool).count_taken, live);
    for (size_t i = 0; i < COUNT; i++)
        if (out[i]) CHECK_EQ(hf_stack_give(pool, &stacks[i]), HF_OK);
    memset(out, 0, sizeof out);
    CHECK_EQ(account(pool).blocks_in_use, 0);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
}

/* HOLDFAST_TEST_STACKS=1000000 in the nightly run: 4 GB, a few seconds. */
static void test_many_guarded_stacks_at_once_each_touched(void) {
    const char *asked = getenv("HOLDFAST_TEST_STACKS");
    size_t count = asked != NULL ? strtoull(asked, NULL, 10) : CHECK_SANITIZED ? 2000 : 20000;
    size_t maps_before = mappings();
    hf_stack *stacks = calloc(count, sizeof *stacks);
    int ends[2];
    CHECK(stacks != NULL);
    CHECK_EQ(pipe(ends), 0);
    hf_stack_pool *pool = make_pool(65536, NULL);
    for (size_t i = 0; i < count; i++) {
        stacks[i] = take(pool);
        ((volatile uint64_t *)stacks[i].stack_ptr)[-1] = i;
    }
    /* Light guards cost no mapping: there are not two per stack, but a handful per region. */
    if (info_of(pool).light_guards) CHECK_LE(mappings() - maps_before, 50);
    check_random random = {.state = count};
    for (size_t k = 0; k < 5000; k++) {
        size_t i = check_random_below(&random, count);
        char *top = stacks[i].stack_ptr;
        CHECK_EQ(((uint64_t *)(void *)top)[-1], i);
        CHECK_EQ(write(ends[1], top - 65536 - 1, 1), -1); /* the kernel faults as we would */
        CHECK_EQ(errno, EFAULT);
        CHECK_EQ(write(ends[1], top, 1), -1);
        CHECK_EQ(write(ends[1], top - 1, 1), 1);
    }
    CHECK_EQ(account(pool).blocks_in_use, count);
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(hf_stack_give(pool, &stacks[i]), HF_OK);
    CHECK_EQ(hf_stack_pool_trim(pool), count * 65536);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
    close(ends[0]);
    close(ends[1]);
    free(stacks);
}

static void test_give_twice_reports_double_free_and_is_refused(void) {
    hf_report_handler before = hf_report_handler_set(keep_report, NULL);
    hf_stack_pool *pool = make_pool(65536, NULL);
    hf_stack stack = take(pool), other = take(pool);
    CHECK_EQ(hf_stack_give(pool, &stack), HF_OK);
    reports = 0;
    CHECK_EQ(hf_stack_give(pool, &stack), HF_E_INVALID);
    CHECK_EQ(reports, 1);
    CHECK_EQ(last_report.kind, HF_REPORT_DOUBLE_FREE);
    CHECK_PTR(last_report.block, (char *)stack.stack_ptr - stack.size);
    CHECK_STR(last_report.owner, "test");
    /* A stale handle after the stack was taken again. */
    hf_stack again = take(pool);
    CHECK_EQ(again.index, stack.index);
    CHECK_EQ(hf_stack_give(pool, &stack), HF_E_INVALID);
    CHECK_EQ(reports, 2);
    CHECK_EQ(account(pool).reports, 2);
    CHECK_EQ(hf_stack_give(pool, &again), HF_OK);
    CHECK_EQ(hf_stack_give(pool, &other), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
    hf_report_handler_set(before, NULL);
}

static void test_give_to_another_pool_reports_foreign_free(void) {
    hf_report_handler before = hf_report_handler_set(keep_report, NULL);
    hf_stack_pool *pool = make_pool(65536, NULL), *other = make_pool(65536, NULL);
    hf_stack stack = take(pool), theirs = take(other);
    hf_stack forged = stack, interior = stack;
    reports = 0;
    CHECK_EQ(hf_stack_give(other, &stack), HF_E_INVALID);
    CHECK_EQ(reports, 1);
    CHECK_EQ(last_report.kind, HF_REPORT_FOREIGN_FREE);
    CHECK_PTR(last_report.address, stack.stack_ptr);
    forged.index = 4000000;
    CHECK_EQ(hf_stack_give(pool, &forged), HF_E_INVALID);
    interior.stack_ptr = (char *)stack.stack_ptr - 64;
    CHECK_EQ(hf_stack_give(pool, &interior), HF_E_INVALID);
    CHECK_EQ(reports, 3);
    CHECK_EQ(last_report.kind, HF_REPORT_FOREIGN_FREE);
    CHECK_EQ(hf_stack_give(pool, &stack), HF_OK);
    CHECK_EQ(hf_stack_give(other, &theirs), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(other), HF_OK);
    hf_report_handler_set(before, NULL);
}

static void test_names_go_with_give(void) {
    hf_stack_pool *pool = make_pool(65536, NULL);
    hf_stack stack = take(pool), found;
    CHECK_EQ(hf_stack_name(pool, &stack, "parser-17"), HF_OK);
    CHECK_EQ(hf_stack_name(pool, &stack, "a name that is much longer than thirty-one bytes"),
             HF_OK);
    CHECK_EQ(hf_stack_name(pool, &stack, NULL), HF_OK);
    CHECK_EQ(hf_stack_name(pool, &stack, "again"), HF_OK);
    CHECK_EQ(hf_stack_find(pool, (char *)stack.stack_ptr - 100, &found), HF_OK);
    CHECK_EQ(found.index, stack.index);
    CHECK_EQ(found.generation, stack.generation);
    CHECK_EQ(hf_stack_find(pool, stack.guard_low, &found), HF_OK);
    CHECK_EQ(found.index, stack.index);
    CHECK_EQ(hf_stack_find(pool, &stack, &found), HF_E_INVALID);
    CHECK_EQ(hf_stack_give(pool, &stack), HF_OK);
    CHECK_EQ(hf_stack_name(pool, &stack, "late"), HF_E_INVALID);
    CHECK_STR(hf_stack_pool_name(pool), "test");
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
}

struct seen {
    const char *name;
    int count;
    hf_owner owner;
};
static int see(const hf_owner *owner, void *context) {
    struct seen *seen = context;
    if (owner->kind != HF_OWNER_STACKS || strcmp(owner->name, seen->name) != 0) return 0;
    seen->count++;
    seen->owner = *owner;
    return 0;
}

static void test_pool_is_listed_among_the_owners(void) {
    struct seen seen = {.name = "test"};
    hf_stack_pool *pool = make_pool(65536, NULL);
    hf_stack stack = take(pool);
    CHECK_EQ(hf_owners_visit(see, &seen), HF_OK);
    CHECK_EQ(seen.count, 1);
    CHECK_EQ(seen.owner.stats.bytes_in_use, 65536);
    CHECK_EQ(hf_stack_give(pool, &stack), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
    seen.count = 0;
    CHECK_EQ(hf_owners_visit(see, &seen), HF_OK);
    CHECK_EQ(seen.count, 0);
}

/* --- threads and fork ----------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 4000 };
static hf_stack_pool *shared;
static hf_stack hands[THREADS][32];
static _Atomic int handed[THREADS]; /* stacks in hands[i] that the next thread is to give */

static void *work(void *argument) {
    int me = (int)(intptr_t)argument, next = (me + 1) % THREADS;
    check_random random = {.state = (uint64_t)me + 1};
    hf_stack mine[64];
    int count = 0;
    for (int round = 0; round < ROUNDS; round++) {
        if (count < 64 && check_random_below(&random, 2) == 0) {
            CHECK_EQ(hf_stack_take(shared, &mine[count]), HF_OK);
            ((uint64_t *)mine[count].stack_ptr)[-1] = (uint64_t)me << 32 | (uint64_t)count;
            count++;
        } else if (count > 0) {
            count--;
            CHECK_EQ(((uint64_t *)mine[count].stack_ptr)[-1], (uint64_t)me << 32 | (uint64_t)count);
            CHECK_EQ(hf_stack_give(shared, &mine[count]), HF_OK);
        }
        /* Some are given by another thread than took them. */
        if (count >= 32 && handed[next] == 0) {
            memcpy(hands[next], &mine[count - 32], sizeof hands[next]);
            count -= 32;
            handed[next] = 32;
        }
        if (handed[me] != 0) {
            for (int i = 0; i < 32; i++)
                CHECK_EQ(hf_stack_give(shared, &hands[me][i]), HF_OK);
            handed[me] = 0;
        }
    }
    while (count > 0)
        CHECK_EQ(hf_stack_give(shared, &mine[--count]), HF_OK);
    return NULL;
}

static void *trim_now_and_then(void *argument) {
    for (int i = 0; i < 60; i++) {
        (void)hf_stack_pool_trim(shared);
        nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
    }
    return argument;
}

static void quick_decay(hf_stack_pool_options *options) {
    options->decay_ns = 20 * 1000 * 1000;
    options->retain = 4;
}

static void test_threads_take_give_and_trim(void) {
    pthread_t threads[THREADS + 1];
    shared = make_pool(16384, quick_decay);
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    CHECK_EQ(pthread_create(&threads[THREADS], NULL, trim_now_and_then, NULL), 0);
    for (int i = 0; i <= THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS; i++)
        for (int k = 0; k < handed[i]; k++)
            CHECK_EQ(hf_stack_give(shared, &hands[i][k]), HF_OK);
    memset(handed, 0, sizeof handed);
    hf_stats s = account(shared);
    CHECK_EQ(s.blocks_in_use, 0);
    CHECK_LE(s.threads, 1); /* those that ended took their magazines along */
    CHECK_EQ(hf_stack_pool_destroy(shared), HF_OK);
}

static _Atomic int stop;
static void *keep_taking(void *argument) {
    hf_stack stacks[20];
    while (!stop) {
        for (int i = 0; i < 20; i++)
            CHECK_EQ(hf_stack_take(shared, &stacks[i]), HF_OK);
        for (int i = 0; i < 20; i++)
            CHECK_EQ(hf_stack_give(shared, &stacks[i]), HF_OK);
    }
    return argument;
}

static void test_fork_with_busy_threads_leaves_a_usable_pool(void) {
    pthread_t threads[2];
    shared = make_pool(16384, NULL);
    stop = 0;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, keep_taking, NULL), 0);
    for (int round = 0; round < (CHECK_SANITIZED ? 5 : 30); round++) {
        hf_stack mine = take(shared);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            hf_stack more[200];
            CHECK_WATCHDOG(60);
            for (int i = 0; i < 200; i++) {
                CHECK_EQ(hf_stack_take(shared, &more[i]), HF_OK);
                CHECK(more[i].stack_ptr != mine.stack_ptr);
                touch(&more[i], 16384);
            }
            for (int i = 0; i < 200; i++)
                CHECK_EQ(hf_stack_give(shared, &more[i]), HF_OK);
            CHECK_EQ(hf_stack_give(shared, &mine), HF_OK);
            (void)hf_stack_pool_trim(shared);
            _exit(0);
        }
        int status = -1;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
        CHECK_EQ(hf_stack_give(shared, &mine), HF_OK);
    }
    stop = 1;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(account(shared).blocks_in_use, 0);
    CHECK_EQ(hf_stack_pool_destroy(shared), HF_OK);
}

static void test_pools_beyond_the_cached_ones_work(void) {
    enum { POOLS = 24 };
    hf_stack_pool *pools[POOLS];
    hf_stack stacks[POOLS];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < POOLS; i++) {
            pools[i] = make_pool(8192, NULL);
            stacks[i] = take(pools[i]);
        }
        for (int i = 0; i < POOLS; i++) {
            CHECK_EQ(hf_stack_give(pools[i], &stacks[i]), HF_OK);
            stacks[i] = take(pools[i]);
            CHECK_EQ(hf_stack_give(pools[i], &stacks[i]), HF_OK);
            CHECK_EQ(account(pools[i]).allocs, 2);
            CHECK_EQ(hf_stack_pool_destroy(pools[i]), HF_OK);
        }
    }
    hf_stack_pool *standard = hf_stack_pool_default();
    CHECK(standard != NULL);
    CHECK_PTR(hf_stack_pool_default(), standard);
    CHECK_EQ(info_of(standard).stack_size, 65536);
}

int main(void) {
    CHECK_WATCHDOG(120);
    CHECK_RUN(test_take_gives_a_writable_stack_between_guards);
    CHECK_RUN(test_options_outside_their_range_are_refused);
    CHECK_RUN(test_reuse_is_last_in_first_out_with_a_new_generation);
    CHECK_RUN(test_many_stacks_are_disjoint);
    CHECK_RUN(test_many_guarded_stacks_at_once_each_touched);
    CHECK_RUN(test_give_twice_reports_double_free_and_is_refused);
    CHECK_RUN(test_give_to_another_pool_reports_foreign_free);
    CHECK_RUN(test_names_go_with_give);
    CHECK_RUN(test_pool_is_listed_among_the_owners);
    CHECK_RUN(test_threads_take_give_and_trim);
    /* The thread sanitizer ends a child of a threaded fork that makes a thread: the decay does. */
    if (!CHECK_TSAN) CHECK_RUN(test_fork_with_busy_threads_leaves_a_usable_pool);
    CHECK_RUN(test_pools_beyond_the_cached_ones_work);
    return 0;
}
