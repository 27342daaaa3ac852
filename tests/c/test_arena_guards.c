/* test_arena_guards.c - where an arena's memory ends, the program does: guards, and the watchers.
 * Method      a child process sins with a SIGSEGV handler that tells where it was; the address is compared. The same
 *             after fork and after the pages were given back. Use after reset is committed under ASan in this
 *             program (sanitized builds) and under Valgrind in a copy of it; both must find it. */
#include <holdfast/heap.h>
#include <os/os.h>
#include <signal.h>
#include <sys/wait.h>

#include "arena_account.h"
#include "content.h"

static int fault_pipe;

static void on_fault(int signal_number, siginfo_t *info, void *context) {
    (void)signal_number;
    (void)context;
    if (write(fault_pipe, &info->si_addr, sizeof info->si_addr) < 0) _exit(2);
    _exit(0);
}

/* The address at which a child faults that writes one byte there; NULL if it does not fault. */
static void *fault_of(volatile char *address) {
    int ends[2];
    void *where = NULL;
    CHECK_EQ(pipe(ends), 0);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
        fault_pipe = ends[1];
        (void)alarm(20);
        sigaction(SIGSEGV, &action, NULL);
        sigaction(SIGBUS, &action, NULL);
        *address = 1;
        _exit(3);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], &where, sizeof where);
    close(ends[0]);
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    if (got != sizeof where) {
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        return NULL;
    }
    return where;
}

static void expect_ends_guarded(hf_arena *arena, char *first, size_t guard) {
    hf_arena_figures f = arena_figures(arena);
    /* The header lies below the first block; the guard below the header. */
    char *low = first - 64;
    char *high = low + (f.bytes_usable + 128);
    CHECK_EQ((uintptr_t)low % 4096, 0);
    for (size_t offset = 1; offset <= guard; offset = offset * 3 + 1)
        CHECK_PTR(fault_of(low - offset), low - offset);
    CHECK_PTR(fault_of(high), high);
    CHECK_PTR(fault_of(high + 100), high + 100);
    /* And the last byte of the address space's guard. */
    char *top = low + f.bytes_reserved;
    CHECK_PTR(fault_of(top - 1), top - 1);
    CHECK_PTR(fault_of(top + guard - 1), top + guard - 1);
    CHECK(fault_of(first) == NULL);
}

static void test_both_ends_fault_where_they_are_touched(void) {
    if (CHECK_SANITIZED) return; /* their handlers are first */
    for (int policy = 0; policy < 3; policy += 2) {
        hf_arena_options options;
        hf_arena_options_init(&options, (hf_arena_policy)policy);
        options.statistics = 1;
        hf_arena *arena = arena_open(&options);
        expect_ends_guarded(arena, must(hf_arena_alloc(arena, 100)), options.guard);
        CHECK_EQ(hf_arena_destroy(arena), HF_OK);
    }
}

static void test_guards_stand_after_growth_purge_and_fork(void) {
    if (CHECK_SANITIZED) return;
    hf_arena *arena = arena_open(NULL);
    char *first = must(hf_arena_alloc(arena, 100));
    memset(must(hf_arena_alloc(arena, 20 << 20)), 1, 20 << 20);
    expect_ends_guarded(arena, first, 4096);
    CHECK_EQ(hf_arena_release(arena), HF_OK);
    CHECK_PTR(must(hf_arena_alloc(arena, 100)), first);
    char *low = first - 64;
    CHECK_PTR(fault_of(low - 1), low - 1);
    char *top = low + arena_figures(arena).bytes_reserved;
    CHECK_PTR(fault_of(top), top);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        /* The arena works on in the child, and its guards are there. */
        content_fill(must(hf_arena_alloc(arena, 3 << 20)), 3 << 20, 1);
        CHECK_EQ(hf_arena_reset(arena), HF_OK);
        CHECK_PTR(must(hf_arena_alloc(arena, 100)), first);
        CHECK_PTR(fault_of(low - 1), low - 1);
        CHECK_PTR(fault_of(top), top);
        arena_close(arena);
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    arena_close(arena);
}

/* --- the watchers ------------------------------------------------------------------------------ */

enum { SIN_RESET, SIN_REWIND, SIN_OVERFLOW, SIN_DESTROY_BUFFER, SIN_NONE, SIN_COUNT };

static volatile char sink;
static char buffer[4096];

/* What a watcher must find, but for SIN_NONE. */
static void sin(int which) {
    hf_arena *arena = arena_open(NULL);
    hf_mark mark;
    CHECK_EQ(hf_arena_mark(arena, &mark), HF_OK);
    volatile char *block = must(hf_arena_alloc(arena, 100));
    block[0] = block[99] = 1;
    if (which == SIN_RESET) CHECK_EQ(hf_arena_reset(arena), HF_OK);
    if (which == SIN_REWIND) CHECK_EQ(hf_arena_rewind(arena, &mark), HF_OK);
    if (which == SIN_OVERFLOW) sink = block[100];
    if (which == SIN_DESTROY_BUFFER) {
        hf_arena *other = NULL;
        CHECK_EQ(hf_arena_create_on(buffer, sizeof buffer, NULL, &other), HF_OK);
        volatile size_t place = 1000;
        sink = buffer[place]; /* nobody's yet */
        CHECK_EQ(hf_arena_destroy(other), HF_OK);
    }
    if (which == SIN_NONE) {
        hf_arena *other = NULL;
        CHECK_EQ(hf_arena_create_on(buffer, sizeof buffer, NULL, &other), HF_OK);
        CHECK_EQ(hf_arena_destroy(other), HF_OK);
        memset(buffer, 1, sizeof buffer); /* the caller's again */
        CHECK_EQ(hf_arena_reset(arena), HF_OK);
        block = must(hf_arena_allocate_zeroed(arena, 100, 0));
    }
    sink = block[50];
    if (which == SIN_NONE) CHECK_EQ(sink, 0);
    CHECK_EQ(hf_arena_destroy(arena), HF_OK);
}

/* Runs a command; its exit status. */
static int run(char *const command[]) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(99);
        execvp(command[0], command);
        _exit(98);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void test_asan_finds_use_after_reset(const char *self) {
    if (!CHECK_ASAN) return;
    for (int which = 0; which < SIN_COUNT; which++) {
        char number[4];
        snprintf(number, sizeof number, "%d", which);
        char *const command[] = {(char *)self, number, NULL};
        int status = run(command);
        CHECK_SAY((status == 0) == (which == SIN_NONE), "sin %d ended with %d", which, status);
    }
}

static bool valgrind_works(void) {
    char *const command[] = {"valgrind", "--tool=none", "-q", "true", NULL};
    return run(command) == 0;
}

static void test_valgrind_finds_use_after_reset(const char *self) {
    if (CHECK_SANITIZED) return;
#if !__has_include(<valgrind/memcheck.h>)
    printf("skipped: built without valgrind/memcheck.h\n");
    return;
#endif
    if (!valgrind_works()) {
        printf("skipped: valgrind is not installed\n");
        return;
    }
    for (int which = 0; which < SIN_COUNT; which++) {
        char number[4];
        snprintf(number, sizeof number, "%d", which);
        char *const command[] = {"valgrind",   "-q",   "--error-exitcode=9",
                                 (char *)self, number, NULL};
        int status = run(command);
        CHECK_SAY(status == (which == SIN_NONE ? 0 : 9), "sin %d ended with %d", which, status);
    }
}

int main(int argc, char **argv) {
    CHECK_WATCHDOG(120);
    if (argc == 2) {
        sin(atoi(argv[1]));
        return 0;
    }
    CHECK_RUN(test_both_ends_fault_where_they_are_touched);
    CHECK_RUN(test_guards_stand_after_growth_purge_and_fork);
    printf("test_asan_finds_use_after_reset\n");
    test_asan_finds_use_after_reset(argv[0]);
    printf("test_valgrind_finds_use_after_reset\n");
    test_valgrind_finds_use_after_reset(argv[0]);
    return 0;
}
