/* test_stack_fault - guards fault, the report names the stack, every other crash is passed on.
 * Method  each case runs in a child with stderr in a pipe; its status and what it printed are compared
 *         with what must be there and what must not. Built with -fstack-clash-protection, as code that
 *         runs on small stacks should be. */
#include <errno.h>
#include <holdfast/fiber.h>
#include <holdfast/holdfast.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "check.h"

static char said[16384];

/* Runs body(context) in a child; fills `said` with its stderr and returns its wait status. */
static int in_child(void (*body)(void *), void *context) {
    int ends[2];
    size_t length = 0;
    fflush(stdout);
    CHECK_EQ(pipe(ends), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(ends[1], 2);
        body(context);
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t got; length < sizeof said - 1; length += (size_t)got)
        if ((got = read(ends[0], said + length, sizeof said - 1 - length)) <= 0) break;
    said[length] = '\0';
    close(ends[0]);
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return status;
}

#define CHECK_DIED_OF(status, signal_number)                                                       \
    CHECK_SAY(WIFSIGNALED(status) && WTERMSIG(status) == (signal_number),                          \
              "status %#x; it said: %s", status, said)
#define CHECK_SAID(text)         CHECK_SAY(strstr(said, text) != NULL, "it said: %s", said)
#define CHECK_SILENT_ABOUT(text) CHECK_SAY(strstr(said, text) == NULL, "it said: %s", said)

/* --- what goes wrong -------------------------------------------------------------------------- */

static __attribute__((noinline)) uint64_t recurse(uint64_t depth) {
    volatile char frame[200];
    frame[depth % 200] = (char)depth;
    return depth == 0 ? 0 : recurse(depth - 1) + (uint64_t)frame[depth % 200];
}
static void *overflowing(hf_fiber *self, void *argument) {
    (void)self;
    return (void *)(uintptr_t)recurse((uintptr_t)argument);
}
/* 70 KB in one frame: without probes it would jump over any guard. */
static __attribute__((noinline)) int large_frame(int index) {
    volatile char frame[70000];
    frame[index] = 1;
    return frame[index];
}
static void *large_frame_fiber(hf_fiber *self, void *argument) {
    (void)self;
    return (void *)(intptr_t)large_frame((int)(intptr_t)argument);
}
static void *underflowing(hf_fiber *self, void *argument) {
    const hf_stack *stack = hf_fiber_stack(self);
    ((volatile char *)stack->stack_ptr)[(intptr_t)argument] = 1;
    return NULL;
}
/* The sanitizer would say so instead of faulting. */
__attribute__((no_sanitize("undefined"))) static void *null_writer(hf_fiber *self, void *argument) {
    (void)self;
    *(volatile char *)argument = 1;
    return NULL;
}

struct sin {
    hf_fiber_function function;
    void *argument;
    int policy; /* -1: no handler */
    const char *name;
    void (*before)(void);
    bool fork_first, trim_first;
};

static void commit_sin(void *context) {
    const struct sin *sin = context;
    hf_fiber *others[3], *fiber;
    hf_stack_pool *pool;
    CHECK_EQ(hf_stack_pool_create(NULL, &pool), HF_OK);
    if (sin->before != NULL) sin->before();
    if (sin->policy >= 0) CHECK_EQ(hf_stack_overflow_install((hf_stack_policy)sin->policy), HF_OK);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(hf_fiber_create(pool, overflowing, NULL, NULL, 0, &others[i]), HF_OK);
    CHECK_EQ(hf_fiber_create(pool, sin->function, sin->argument, sin->name, 0, &fiber), HF_OK);
    if (sin->trim_first) {
        hf_fiber *hole = others[2];
        CHECK_EQ(hf_fiber_destroy(hole), HF_OK);
        CHECK_EQ(hf_fiber_destroy(fiber), HF_OK);
        CHECK_GT(hf_stack_pool_trim(pool), 0);
        CHECK_EQ(hf_fiber_create(pool, sin->function, sin->argument, sin->name, 0, &fiber), HF_OK);
    }
    if (sin->fork_first) {
        pid_t child = fork();
        if (child != 0) { /* the grandchild sins; its end becomes ours */
            int status = -1;
            CHECK_EQ(waitpid(child, &status, 0), child);
            if (WIFSIGNALED(status)) {
                signal(WTERMSIG(status), SIG_DFL);
                raise(WTERMSIG(status));
            }
            _exit(WEXITSTATUS(status));
        }
    }
    hf_fiber_resume(fiber, NULL, NULL);
}

static int sin_status(struct sin sin) {
    return in_child(commit_sin, &sin);
}

/* function, argument, policy, name */
#define SIN(f, a, p, n)                                                                            \
    sin_status((struct sin){.function = (f), .argument = (a), .policy = (int)(p), .name = (n)})
/* ... and what is installed before our handler */
#define SIN_AFTER(f, a, p, n, b)                                                                   \
    sin_status((struct sin){                                                                       \
        .function = (f), .argument = (a), .policy = (int)(p), .name = (n), .before = (b)})

/* --- overflow --------------------------------------------------------------------------------- */

static void test_overflow_is_named_and_aborts(void) {
    int status = SIN(overflowing, (void *)100000, HF_STACK_ABORT, "parser-17");
    CHECK_DIED_OF(status, SIGABRT);
    CHECK_SAID("STACK_OVERFLOW: a stack ran into the guard below it");
    CHECK_SAID("fiber 'parser-17' overflowed its 64.0 KiB stack at 0x");
    CHECK_SAID("high water 64.0 KiB");
    CHECK_SAID("pool 'stacks'");
    CHECK_SAID("noticed in SIGSEGV on thread ");
    CHECK_SAID("#stack-overflow");
    CHECK_PTR(strstr(strstr(said, "STACK_OVERFLOW") + 1, "STACK_OVERFLOW"), NULL); /* once */
}

static void test_overflow_without_a_name_says_which_stack(void) {
    int status = SIN(overflowing, (void *)100000, HF_STACK_ABORT, NULL);
    CHECK_DIED_OF(status, SIGABRT);
    CHECK_SAID("fiber 3 overflowed its 64.0 KiB stack");
}

static void test_overflow_chains_to_the_core_dump(void) {
    int status = SIN(overflowing, (void *)100000, HF_STACK_CHAIN, "deep");
    CHECK_DIED_OF(status, SIGSEGV);
    CHECK_SAID("fiber 'deep' overflowed");
}

static void test_overflow_without_the_handler_still_faults(void) {
    int status = SIN(overflowing, (void *)100000, -1, "deep");
    CHECK_DIED_OF(status, SIGSEGV);
    CHECK_SILENT_ABOUT("STACK_OVERFLOW");
}

static void test_no_overflow_no_report(void) {
    int status = SIN(overflowing, (void *)50, HF_STACK_ABORT, "fine");
    CHECK_SAY(status == 0, "status %#x", status);
    CHECK_STR(said, "");
}

static void test_large_frame_is_caught_by_the_guard(void) {
    int status = SIN(large_frame_fiber, (void *)69000, HF_STACK_ABORT, "large");
    CHECK_DIED_OF(status, SIGABRT);
    CHECK_SAID("fiber 'large' overflowed its 64.0 KiB stack");
}

static void test_overflow_after_fork_and_after_trim(void) {
    struct sin sin = {.function = overflowing,
                      .argument = (void *)100000,
                      .policy = HF_STACK_ABORT,
                      .name = "child",
                      .fork_first = true};
    CHECK_DIED_OF(sin_status(sin), SIGABRT);
    CHECK_SAID("fiber 'child' overflowed");
    sin.fork_first = false;
    sin.trim_first = true;
    CHECK_DIED_OF(sin_status(sin), SIGABRT);
    CHECK_SAID("fiber 'child' overflowed");
}

/* --- accesses from elsewhere -------------------------------------------------------------------- */

static void test_underflow_hits_the_guard_above(void) {
    int status = SIN(underflowing, (void *)8, HF_STACK_ABORT, "up");
    CHECK_DIED_OF(status, SIGABRT);
    CHECK_SAID("STACK_GUARD");
    CHECK_SILENT_ABOUT("overflowed");
    status = SIN(underflowing, (void *)8, -1, "up");
    CHECK_DIED_OF(status, SIGSEGV);
}

static void poke_guard(void *context) {
    hf_stack_pool *pool;
    hf_stack stack;
    CHECK_EQ(hf_stack_pool_create(NULL, &pool), HF_OK);
    CHECK_EQ(hf_stack_take(pool, &stack), HF_OK);
    CHECK_EQ(hf_stack_name(pool, &stack, "poked"), HF_OK);
    CHECK_EQ(hf_stack_overflow_install(HF_STACK_ABORT), HF_OK);
    ((volatile char *)stack.guard_low)[(intptr_t)context]++;
}

static void test_a_stray_pointer_is_no_overflow(void) {
    CHECK_DIED_OF(in_child(poke_guard, (void *)0), SIGABRT);
    CHECK_SAID("STACK_GUARD");
    CHECK_SAID("the guard below fiber 'poked' was accessed at 0x");
    CHECK_DIED_OF(in_child(poke_guard, (void *)16383), SIGABRT);
    CHECK_SAID("STACK_GUARD");
}

static void poke_all(void *context) {
    hf_stack_pool *pool;
    hf_stack stacks[100];
    bool high = context != NULL;
    CHECK_EQ(hf_stack_pool_create(NULL, &pool), HF_OK);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(hf_stack_take(pool, &stacks[i]), HF_OK);
    for (int i = 0; i < 100; i++) {
        int ends[2];
        char *address =
            high ? stacks[i].guard_high : (char *)stacks[i].stack_ptr - stacks[i].size - 1;
        CHECK_EQ(pipe(ends), 0);
        /* The kernel faults as we would, and says so. */
        CHECK_EQ(write(ends[1], address, 1), -1);
        CHECK_EQ(errno, EFAULT);
        CHECK_EQ(write(ends[1], (char *)stacks[i].stack_ptr - 1, 1), 1);
        CHECK_EQ(write(ends[1], (char *)stacks[i].stack_ptr - stacks[i].size, 1), 1);
        close(ends[0]);
        close(ends[1]);
    }
}

static void test_both_guards_of_every_stack_fault(void) {
    CHECK_EQ(in_child(poke_all, NULL), 0);
    CHECK_EQ(in_child(poke_all, (void *)1), 0);
}

/* --- other crashes ------------------------------------------------------------------------------ */

static char *unmapped(void) {
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    return page + 100;
}

static void test_null_write_is_not_ours(void) {
    for (int policy = HF_STACK_ABORT; policy <= HF_STACK_CHAIN; policy++) {
        CHECK_DIED_OF(SIN(null_writer, NULL, policy, "null"), SIGSEGV);
        CHECK_STR(said, "");
        CHECK_DIED_OF(SIN(null_writer, unmapped(), policy, "null"), SIGSEGV);
        CHECK_STR(said, "");
    }
}

static void print(const char *text) {
    CHECK_EQ(write(2, text, strlen(text)), (ssize_t)strlen(text));
}
static void simple_handler(int number) {
    print(number == SIGSEGV ? "simple handler" : "wrong signal");
    _exit(42);
}
static void *expected_address;
static void info_handler(int number, siginfo_t *info, void *context) {
    print(number == SIGSEGV && context != NULL ? "info handler" : "wrong signal");
    if (expected_address != NULL) print(info->si_addr == expected_address ? " right" : " wrong");
    _exit(43);
}
static void use_simple(void) {
    signal(SIGSEGV, simple_handler);
}
static void use_info(void) {
    struct sigaction action = {.sa_sigaction = info_handler, .sa_flags = SA_SIGINFO};
    CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
}
static void use_ignore(void) {
    signal(SIGSEGV, SIG_IGN);
}
/* As CPython's faulthandler: prints, puts the old disposition back, raises again. */
static void raising_handler(int number) {
    print("traceback");
    signal(number, SIG_DFL);
    raise(number);
}
static void use_raising(void) {
    struct sigaction action = {.sa_handler = raising_handler, .sa_flags = SA_NODEFER | SA_ONSTACK};
    CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
}

static void test_previous_handlers_get_what_is_theirs(void) {
    int status = SIN_AFTER(null_writer, NULL, HF_STACK_ABORT, "n", use_simple);
    CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == 42, "%#x %s", status, said);
    CHECK_STR(said, "simple handler");
    expected_address = unmapped();
    status = SIN_AFTER(null_writer, expected_address, HF_STACK_ABORT, "n", use_info);
    CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == 43, "%#x %s", status, said);
    CHECK_STR(said, "info handler right");
    expected_address = NULL;
    status = SIN_AFTER(null_writer, NULL, HF_STACK_ABORT, "n", use_ignore);
    CHECK_DIED_OF(status, SIGSEGV);
    CHECK_STR(said, "");
    status = SIN_AFTER(null_writer, NULL, HF_STACK_ABORT, "n", use_raising);
    CHECK_DIED_OF(status, SIGSEGV);
    CHECK_STR(said, "traceback");
}

static void test_chained_overflow_reports_first_then_the_previous_handler(void) {
    int status = SIN_AFTER(overflowing, (void *)100000, HF_STACK_CHAIN, "c", use_info);
    CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == 43, "%#x %s", status, said);
    const char *report = strstr(said, "fiber 'c' overflowed"),
               *handler = strstr(said, "info handler");
    CHECK_SAY(report != NULL && handler > report, "it said: %s", said);
    status = SIN_AFTER(overflowing, (void *)100000, HF_STACK_CHAIN, "c", use_raising);
    CHECK_DIED_OF(status, SIGSEGV);
    CHECK_SAID("fiber 'c' overflowed");
    CHECK_SAID("traceback");
    status = SIN_AFTER(overflowing, (void *)100000, HF_STACK_CHAIN, "c", use_ignore);
    CHECK_DIED_OF(status, SIGSEGV);
    CHECK_SAID("fiber 'c' overflowed");
}

static sigjmp_buf recovery;
static void jumping_handler(int number) {
    (void)number;
    siglongjmp(recovery, 1);
}
static void recover_many(void *context) {
    struct sigaction action = {.sa_handler = jumping_handler, .sa_flags = SA_ONSTACK};
    (void)context;
    CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
    CHECK_EQ(hf_stack_overflow_install(HF_STACK_ABORT), HF_OK);
    for (volatile int i = 0; i < 5; i++)
        if (sigsetjmp(recovery, 1) == 0) {
            null_writer(NULL, NULL);
            _exit(1);
        }
    _exit(7);
}
static void sent_signal(void *context) {
    if (context != NULL) use_ignore();
    CHECK_EQ(hf_stack_overflow_install(HF_STACK_ABORT), HF_OK);
    raise(SIGSEGV);
    _exit(9);
}
static void late_handler(void *context) {
    (void)context;
    CHECK_EQ(hf_stack_overflow_install(HF_STACK_ABORT), HF_OK);
    use_simple();
    CHECK_EQ(hf_stack_overflow_remove(), HF_E_BUSY);
    CHECK_EQ(hf_stack_overflow_install(HF_STACK_CHAIN), HF_OK); /* in front again */
    CHECK_EQ(hf_stack_overflow_remove(), HF_OK);
    CHECK_EQ(hf_stack_overflow_remove(), HF_OK);
    struct sigaction now;
    CHECK_EQ(sigaction(SIGSEGV, NULL, &now), 0);
    CHECK(now.sa_handler == simple_handler);
    CHECK_EQ(hf_stack_overflow_install((hf_stack_policy)7), HF_E_INVALID);
    _exit(5);
}

static void test_signals_are_passed_on_as_if_we_were_not_there(void) {
    int status = in_child(recover_many, NULL);
    CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == 7, "%#x %s", status, said);
    CHECK_DIED_OF(in_child(sent_signal, NULL), SIGSEGV);
    status = in_child(sent_signal, (void *)1);
    CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == 9, "%#x %s", status, said);
    status = in_child(late_handler, NULL);
    CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == 5, "%#x %s", status, said);
}

/* --- threads, the report handler ------------------------------------------------------------------ */

static void *overflow_in_thread(void *argument) {
    hf_fiber *fiber;
    CHECK_EQ(hf_fiber_create(argument, overflowing, (void *)100000, "threaded", 0, &fiber), HF_OK);
    hf_fiber_resume(fiber, NULL, NULL);
    return NULL;
}
static void thread_sin(void *context) {
    pthread_t thread;
    CHECK_EQ(hf_stack_overflow_install(HF_STACK_ABORT), HF_OK);
    CHECK_EQ(pthread_create(&thread, NULL, overflow_in_thread, context), 0);
    pthread_join(thread, NULL);
}
static void *resume_in_thread(void *fiber) {
    hf_fiber_resume(fiber, NULL, NULL);
    return NULL;
}
/* The thread has never taken a stack. */
static void moved_sin(void *context) {
    pthread_t thread;
    hf_fiber *fiber;
    CHECK_EQ(hf_stack_overflow_install(HF_STACK_ABORT), HF_OK);
    CHECK_EQ(hf_fiber_create(context, overflowing, (void *)100000, "moved", 0, &fiber), HF_OK);
    CHECK_EQ(pthread_create(&thread, NULL, resume_in_thread, fiber), 0);
    pthread_join(thread, NULL);
}
static void tell(const hf_report *report, void *context) {
    (void)context;
    print(report->kind == HF_REPORT_STACK_OVERFLOW ? "handler told: " : "handler wrong: ");
    print(report->name);
    _exit(report->block_size == 65536 ? 21 : 22);
}
static void handler_sin(void *context) {
    hf_report_handler_set(tell, NULL);
    thread_sin(context);
}
/* A raw stack and a raw switch: no fiber is known to run on it. */
static hf_context here, there;
static void raw_entry(void *argument, void *value) {
    (void)value;
    (void)recurse((uintptr_t)argument);
    hf_context_switch(&there, &here, NULL);
}
static void raw_sin(void *context) {
    hf_stack stack;
    hf_stack_pool *pool = hf_stack_pool_default();
    (void)context;
    CHECK_EQ(hf_stack_overflow_install(HF_STACK_ABORT), HF_OK);
    CHECK_EQ(hf_stack_take(pool, &stack), HF_OK);
    hf_context_make(&there, stack.stack_ptr, raw_entry, (void *)100000, 0);
    hf_context_switch(&here, &there, NULL);
}

static void test_overflow_on_another_thread_and_on_a_raw_stack(void) {
    CHECK_DIED_OF(in_child(thread_sin, NULL), SIGABRT);
    CHECK_SAID("fiber 'threaded' overflowed its 64.0 KiB stack");
    CHECK_DIED_OF(in_child(moved_sin, NULL), SIGABRT);
    CHECK_SAID("fiber 'moved' overflowed its 64.0 KiB stack");
    int status = in_child(handler_sin, NULL);
    CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == 21, "%#x %s", status, said);
    CHECK_SAID("handler told: fiber 'threaded'");
    CHECK_DIED_OF(in_child(raw_sin, NULL), SIGABRT);
    CHECK_SAID("stack 0 overflowed its 64.0 KiB stack");
}

int main(void) {
    CHECK_WATCHDOG(120);
    if (CHECK_SANITIZED) CHECK_SKIP("sanitizers handle SIGSEGV themselves");
    CHECK_RUN(test_overflow_is_named_and_aborts);
    CHECK_RUN(test_overflow_without_a_name_says_which_stack);
    CHECK_RUN(test_overflow_chains_to_the_core_dump);
    CHECK_RUN(test_overflow_without_the_handler_still_faults);
    CHECK_RUN(test_no_overflow_no_report);
    CHECK_RUN(test_large_frame_is_caught_by_the_guard);
    CHECK_RUN(test_overflow_after_fork_and_after_trim);
    CHECK_RUN(test_underflow_hits_the_guard_above);
    CHECK_RUN(test_a_stray_pointer_is_no_overflow);
    CHECK_RUN(test_both_guards_of_every_stack_fault);
    CHECK_RUN(test_null_write_is_not_ours);
    CHECK_RUN(test_previous_handlers_get_what_is_theirs);
    CHECK_RUN(test_chained_overflow_reports_first_then_the_previous_handler);
    CHECK_RUN(test_signals_are_passed_on_as_if_we_were_not_there);
    CHECK_RUN(test_overflow_on_another_thread_and_on_a_raw_stack);
    return 0;
}
