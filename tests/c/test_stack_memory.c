/* test_stack_memory - the memory of stack pools: limits, trim, decay, high water, paint, refusals.
 * Method  as test_stack.c; what is resident, and which call is refused, is asked of the system. */
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "os/os.h"
#include "stack_check.h"

static void eight(hf_stack_pool_options *options) {
    options->count_max = 8;
}

static void test_count_max_refuses_and_recovers(void) {
    hf_stack stacks[8], more = {.index = 77};
    hf_stack_pool *pool = make_pool(65536, eight);
    for (int i = 0; i < 8; i++)
        stacks[i] = take(pool);
    CHECK_EQ(hf_stack_take(pool, &more), HF_E_LIMIT);
    CHECK_EQ(more.index, 77);
    CHECK_EQ(account(pool).limit_hits, 1);
    CHECK_EQ(hf_stack_give(pool, &stacks[3]), HF_OK);
    stacks[3] = take(pool);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(hf_stack_give(pool, &stacks[i]), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
}

static void test_limit_of_the_process_counts_stacks(void) {
    hf_stack_pool *pool = make_pool(1 << 20, NULL);
    hf_heap *heap = hf_heap_default();
    hf_stats now = {.struct_size = sizeof now};
    CHECK_EQ(hf_heap_stats(heap, &now), HF_OK);
    CHECK_EQ(hf_heap_limit(heap, now.bytes_mapped + (64 << 20), 0, NULL, NULL), HF_OK);
    hf_stack stacks[200];
    int count = 0;
    hf_status status = HF_OK;
    while (count < 200 && (status = hf_stack_take(pool, &stacks[count])) == HF_OK)
        count++;
    CHECK_EQ(status, HF_E_LIMIT);
    CHECK_GT(count, 16);
    CHECK_LE(count, 64);
    for (int i = 0; i < count; i++)
        CHECK_EQ(hf_stack_give(pool, &stacks[i]), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
    /* What the pool was charged for is given back with it. */
    pool = make_pool(1 << 20, NULL);
    for (int i = 0; i < count; i++)
        stacks[i] = take(pool);
    for (int i = 0; i < count; i++)
        CHECK_EQ(hf_stack_give(pool, &stacks[i]), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
    CHECK_EQ(hf_heap_limit(heap, 0, 0, NULL, NULL), HF_OK);
}

static void test_trim_gives_memory_back_and_stacks_read_as_zero(void) {
    enum { COUNT = 200 };
    static hf_stack stacks[COUNT];
    hf_stack_pool *pool = make_pool(65536, NULL);
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = take(pool);
        touch(&stacks[i], 65536);
    }
    hf_stack kept = stacks[COUNT - 1];
    for (int i = 0; i + 1 < COUNT; i++)
        CHECK_EQ(hf_stack_give(pool, &stacks[i]), HF_OK);
    CHECK_EQ(hf_stack_pool_trim(pool), (COUNT - 1) * 65536);
    hf_stats s = account(pool);
    CHECK_EQ(s.bytes_free + s.bytes_cached, 0);
    CHECK_EQ(s.bytes_returned, (COUNT - 1) * 65536);
    for (int i = 0; i + 1 < COUNT; i++)
        CHECK_EQ(hfi_os_resident((char *)stacks[i].stack_ptr - 65536, 65536), 0);
    CHECK_EQ(hfi_os_resident((char *)kept.stack_ptr - 65536, 65536), 65536);
    hf_stack again = take(pool);
    for (int i = 1; i <= 65536; i++)
        CHECK_EQ(((char *)again.stack_ptr)[-i], 0);
    CHECK_EQ(hf_stack_give(pool, &again), HF_OK);
    CHECK_EQ(hf_stack_give(pool, &kept), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
}

static void quick_decay(hf_stack_pool_options *options) {
    options->decay_ns = 20 * 1000 * 1000;
    options->retain = 4;
}
static void no_decay(hf_stack_pool_options *options) {
    options->decay_ns = 0;
}

static void test_idle_stacks_decay_down_to_retain(void) {
    enum { COUNT = 40 };
    static hf_stack stacks[COUNT];
    hf_stack_pool *pool = make_pool(65536, quick_decay);
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = take(pool);
        touch(&stacks[i], 65536);
    }
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(hf_stack_give(pool, &stacks[i]), HF_OK);
    hf_stats s;
    for (int i = 0; i < 4000; i++) { /* the watchdog is the limit that counts */
        s = account(pool);
        if (s.bytes_free + s.bytes_cached <= 4 * 65536) break;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    CHECK_EQ(s.bytes_free + s.bytes_cached, 4 * 65536);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);

    pool = make_pool(65536, no_decay);
    hf_stack stack = take(pool);
    touch(&stack, 65536);
    CHECK_EQ(hf_stack_give(pool, &stack), HF_OK);
    CHECK_EQ(account(pool).bytes_free, 0);
    CHECK_EQ(hfi_os_resident((char *)stack.stack_ptr - 65536, 65536), 0);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
}

static void test_high_water_is_what_was_touched(void) {
    hf_stack_pool *pool = make_pool(65536, NULL);
    hf_stack stack = take(pool);
    size_t bytes = 99;
    CHECK_EQ(hf_stack_high_water(pool, &stack, &bytes), HF_OK);
    CHECK_EQ(bytes, 0);
    touch(&stack, 20000);
    CHECK_EQ(hf_stack_high_water(pool, &stack, &bytes), HF_OK);
    CHECK_EQ(bytes, 20480);
    CHECK_EQ(info_of(pool).high_water_max, 20480);
    CHECK_EQ(hf_stack_give(pool, &stack), HF_OK);
    CHECK_EQ(hf_stack_high_water(pool, &stack, &bytes), HF_E_INVALID);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
}

static void painted(hf_stack_pool_options *options) {
    options->paint = 1;
}

static void test_paint_tells_high_water_to_the_word_and_writes_after_give(void) {
    hf_report_handler before = hf_report_handler_set(keep_report, NULL);
    hf_stack_pool *pool = make_pool(65536, painted);
    hf_stack stack = take(pool);
    size_t bytes = 99;
    CHECK_EQ(hf_stack_high_water(pool, &stack, &bytes), HF_OK);
    CHECK_EQ(bytes, 0);
    memset((char *)stack.stack_ptr - 1000, 7, 1000);
    CHECK_EQ(hf_stack_high_water(pool, &stack, &bytes), HF_OK);
    CHECK_EQ(bytes, 1000);
    CHECK_EQ(hf_stack_give(pool, &stack), HF_OK);
    CHECK_EQ(info_of(pool).high_water_max, 1000);
    reports = 0;
    hf_stack again = take(pool);
    CHECK_EQ(again.index, stack.index);
    CHECK_EQ(reports, 0);
    CHECK_EQ(hf_stack_high_water(pool, &again, &bytes), HF_OK);
    CHECK_EQ(bytes, 0);
    CHECK_EQ(hf_stack_give(pool, &again), HF_OK);
    ((char *)stack.stack_ptr)[-5000] = 'Z'; /* after it was given */
    again = take(pool);
    CHECK_EQ(reports, 1);
    CHECK_EQ(last_report.kind, HF_REPORT_USE_AFTER_FREE);
    CHECK_EQ(last_report.damage_offset, 65536 - 5000);
    CHECK_EQ(last_report.bytes[0], 'Z');
    CHECK_EQ(last_report.damage_length, 1);
    CHECK_EQ(hf_stack_give(pool, &again), HF_OK);
    again = take(pool);
    CHECK_EQ(reports, 1);
    CHECK_EQ(hf_stack_give(pool, &again), HF_OK);
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
    hf_report_handler_set(before, NULL);
}

enum { PAINTED = 1000 };
static hf_stack painted_stacks[PAINTED];
static _Atomic int trimming;
static void *trim_once(void *pool) {
    trimming = 1;
    (void)hf_stack_pool_trim(pool);
    return NULL;
}

/* Stacks that another thread is purging are free in the child, whatever is left of their paint. */
static void test_fork_during_a_trim_reports_nothing_in_the_child(void) {
    hf_report_handler before = hf_report_handler_set(keep_report, NULL);
    hf_stack_pool *pool = make_pool(65536, painted);
    for (int round = 0; round < 10; round++) {
        pthread_t thread;
        for (int i = 0; i < PAINTED; i++)
            painted_stacks[i] = take(pool);
        for (int i = 0; i < PAINTED; i++)
            CHECK_EQ(hf_stack_give(pool, &painted_stacks[i]), HF_OK);
        trimming = 0;
        CHECK_EQ(pthread_create(&thread, NULL, trim_once, pool), 0);
        while (!trimming)
            ;
        nanosleep(&(struct timespec){.tv_nsec = 500000 * (long)round}, NULL);
        pid_t child = fork();
        if (child == 0) {
            CHECK_WATCHDOG(60);
            reports = 0;
            for (int i = 0; i < PAINTED; i++)
                painted_stacks[i] = take(pool);
            _exit(reports == 0 ? 0 : 1);
        }
        int status = -1;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
    hf_report_handler_set(before, NULL);
}

static void mprotected(hf_stack_pool_options *options) {
    options->own_mapping = 1;
}

static void test_mprotect_guards_stop_at_the_limit_of_mappings_with_a_status(void) {
    uint64_t most = hfi_os_mappings_max();
    if (most == 0 || most > 200000) {
        printf("  not tried: vm.max_map_count is %" PRIu64 "\n", most);
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        CHECK_WATCHDOG(120);
        int quiet[2];
        char line[512];
        CHECK_EQ(pipe(quiet), 0);
        CHECK(dup2(quiet[1], 2) == 2);
        hf_stack_pool *pool = make_pool(4096, mprotected);
        hf_stack stack;
        uint64_t count = 0;
        hf_status status;
        while ((status = hf_stack_take(pool, &stack)) == HF_OK)
            count++;
        ssize_t length = read(quiet[0], line, sizeof line - 1);
        bool right = status == HF_E_LIMIT && count > most / 4 && count < most && length > 0;
        line[length > 0 ? length : 0] = '\0';
        right = right && strstr(line, "vm.max_map_count is") != NULL &&
                strchr(line, '\n') != NULL && strchr(line, '\n')[1] == '\0' &&
                info_of(pool).light_guards == 0;
        _exit(right ? 0 : 1);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

static void test_locked_memory_falls_back_to_mprotect(void) {
    if (CHECK_SANITIZED) return; /* sanitizers make mlockall do nothing */
    pid_t child = fork();
    if (child == 0) {
        if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) _exit(CHECK_SKIPPED);
        hf_stack_pool_options options;
        hf_stack_pool *pool;
        hf_stack_pool_options_init(&options);
        hf_status status = hf_stack_pool_create(&options, &pool);
        if (status != HF_OK) _exit(status == HF_E_NO_MEMORY ? CHECK_SKIPPED : 1);
        hf_stack stacks[40];
        for (int i = 0; i < 40; i++) {
            status = hf_stack_take(pool, &stacks[i]);
            if (status == HF_E_NO_MEMORY) _exit(CHECK_SKIPPED); /* RLIMIT_MEMLOCK */
            CHECK_EQ(status, HF_OK);
            touch(&stacks[i], 65536);
        }
        CHECK_EQ(info_of(pool).light_guards, 0);
        for (int i = 0; i < 40; i++)
            CHECK_EQ(hf_stack_give(pool, &stacks[i]), HF_OK);
        CHECK_EQ(hf_stack_pool_trim(pool), 40 * 65536);
        hf_stack again = take(pool);
        for (int i = 1; i <= 65536; i++)
            CHECK_EQ(((char *)again.stack_ptr)[-i], 0);
        _exit(0);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHECK_SKIPPED) {
        printf("  not tried: this process may not lock memory\n");
        return;
    }
    CHECK_EQ(status, 0);
}

/* --- the Nth call to the system fails --------------------------------------------------------- */

static void test_every_failing_system_call_leaves_the_account_whole(void) {
    enum { COUNT = 100 };
    static hf_stack stacks[COUNT];
    for (uint64_t n = 1; n <= 40; n++) {
        hf_stack_pool_options options;
        hf_stack_pool *pool = NULL;
        int count = 0, refused = 0;
        hf_stack_pool_options_init(&options);
        hfi_os_fail_after(n);
        hf_status status = hf_stack_pool_create(&options, &pool);
        if (status != HF_OK) {
            CHECK_EQ(status, HF_E_NO_MEMORY);
            hfi_os_fail_after(0);
            continue;
        }
        for (int i = 0; i < COUNT; i++) {
            status = hf_stack_take(pool, &stacks[count]);
            if (status == HF_OK)
                count++;
            else
                refused++;
            if (status != HF_OK) CHECK_EQ(status, HF_E_NO_MEMORY);
        }
        if (count > 0) (void)hf_stack_name(pool, &stacks[0], "named");
        hfi_os_fail_after(0);
        CHECK_LE(refused, 1);
        CHECK_EQ(account(pool).failures, refused);
        for (int i = 0; i < count; i++) {
            touch(&stacks[i], 65536);
            CHECK_EQ(hf_stack_give(pool, &stacks[i]), HF_OK);
        }
        CHECK_EQ(account(pool).blocks_in_use, 0);
        CHECK_EQ(hf_stack_pool_destroy(pool), HF_OK);
    }
}

int main(void) {
    CHECK_WATCHDOG(120);
    CHECK_RUN(test_count_max_refuses_and_recovers);
    CHECK_RUN(test_limit_of_the_process_counts_stacks);
    CHECK_RUN(test_trim_gives_memory_back_and_stacks_read_as_zero);
    CHECK_RUN(test_idle_stacks_decay_down_to_retain);
    CHECK_RUN(test_high_water_is_what_was_touched);
    CHECK_RUN(test_paint_tells_high_water_to_the_word_and_writes_after_give);
    /* The thread sanitizer ends a child of a threaded fork that makes a thread: the decay does. */
    if (!CHECK_TSAN) CHECK_RUN(test_fork_during_a_trim_reports_nothing_in_the_child);
    CHECK_RUN(test_mprotect_guards_stop_at_the_limit_of_mappings_with_a_status);
    CHECK_RUN(test_locked_memory_falls_back_to_mprotect);
    CHECK_RUN(test_every_failing_system_call_leaves_the_account_whole);
    return 0;
}
