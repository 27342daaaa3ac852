/* test_shm_segment_memory - the memory under a segment: made, grown, placed, and refused.
 *
 * Method: the operating system is made to fail, interrupted and limited; what could not be had is a
 * status and leaves nothing, what could is seen by every participant and moves nothing. */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "os/os.h"
#include "os/shm.h"
#include "shm_help.h"

static void on_alarm(int signal) {
    (void)signal;
}

/* Each signal undoes the allocation that it meets. */
static void test_signals_do_not_keep_a_segment_from_being_made(void) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, old;
    struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 32 << 20);
    CHECK(sigaction(SIGALRM, &action, &old) == 0);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    hf_status status = hf_shm_create_anonymous(&options, &shm);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(sigaction(SIGALRM, &old, NULL) == 0);
    OK(status);
    OK(hf_shm_close(shm));
}

static void test_growth_is_seen_by_others_and_moves_nothing(void) {
    const char *name = harness_name("grow");
    hf_shm_options options;
    hf_shm *one = NULL;
    hf_shm_options_init(&options, 1 << 20);
    options.size_max = 8 << 20;
    OK(hf_shm_open(name, HF_SHM_CREATE, &options, &one));
    hf_shm *two = help_join(name);
    hf_shm_span small, large;
    OK(hf_shm_add(one, "small", 64, &small));
    char *address = hf_shm_at(two, small, 0, 64);
    CHECK_EQ(hf_shm_add(one, "large", 4 << 20, &large), HF_E_NO_SPACE);
    OK(hf_shm_grow(one, 6 << 20));
    OK(hf_shm_add(one, "large", 4 << 20, &large));
    memset(hf_shm_at(one, large, 0, large.size), 7, large.size);
    char *seen = hf_shm_at(two, large, 0, large.size);
    CHECK(seen != NULL && seen[large.size - 1] == 7);
    CHECK(hf_shm_at(two, small, 0, 64) == address);
    CHECK_EQ(help_info(two).size, 6 << 20);
    CHECK_EQ(hf_shm_grow(two, (8 << 20) + 1), HF_E_LIMIT);
    OK(hf_shm_grow(two, 100)); /* never shrinks */
    OK(hf_shm_grow(two, 8 << 20));
    CHECK_EQ(help_info(one).size, 8 << 20);
    OK(hf_shm_check(one, NULL, NULL, NULL));
    OK(hf_shm_close(one));
    OK(hf_shm_close(two));
}

static void test_full_memory_is_a_status_and_leaves_nothing(void) {
    const char *name = harness_name("full");
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 1 << 20);
    options.size_max = 2 << 20;
    hfi_os_shm_fail_after(1);
    CHECK_EQ(hf_shm_open(name, HF_SHM_CREATE, &options, &shm), HF_E_NO_SPACE);
    CHECK(strstr(hf_shm_detail(), "/dev/shm") != NULL);
    CHECK(!help_is_there(name));
    OK(hf_shm_open(name, HF_SHM_CREATE, &options, &shm));
    hfi_os_shm_fail_after(1);
    CHECK_EQ(hf_shm_grow(shm, 2 << 20), HF_E_NO_SPACE);
    CHECK_EQ(help_info(shm).size, 1 << 20);
    OK(hf_shm_grow(shm, 2 << 20));
    OK(hf_shm_close(shm));
    /* Every call for memory fails once: nothing is left, nothing is leaked. */
    for (unsigned nth = 1; nth <= 3; nth++) {
        hfi_os_fail_after(nth);
        hf_status status = hf_shm_open(name, HF_SHM_CREATE, &options, &shm);
        hfi_os_fail_after(0);
        if (status == HF_OK) break;
        CHECK_EQ(status, HF_E_NO_MEMORY);
        CHECK(!help_is_there(name));
        shm = NULL;
    }
    if (shm != NULL) OK(hf_shm_close(shm));
}

/* Refused by a look at what is free, not by taking it all: the limit is there for a fault in that. */
static void test_a_size_that_is_not_there_is_refused_at_once(void) {
    const char *name = harness_name("huge");
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {16 << 20, 16 << 20};
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        signal(SIGXFSZ, SIG_IGN);
        hf_shm_options options;
        hf_shm_options_init(&options, 1 << 20);
        hf_shm *shm = NULL, *anonymous = NULL;
        OK(hf_shm_open(name, HF_SHM_CREATE, &options, &shm));
        OK(hf_shm_create_anonymous(&options, &anonymous));
        hf_shm *both[] = {shm, anonymous};
        for (unsigned i = 0; i < 2; i++) {
            errno = 0;
            CHECK_EQ(hfi_os_shm_extend(hf_shm_file(both[i]), 1 << 20, HF_SHM_SIZE_MAX), -1);
            CHECK_EQ(errno, ENOSPC); /* EFBIG: it tried */
            OK(hf_shm_close(both[i]));
        }
        options.size = HF_SHM_SIZE_MAX;
        options.entries_max = 16;
        hf_status status = hf_shm_open(name, HF_SHM_CREATE, &options, &shm);
        CHECK(status == HF_E_NO_SPACE || status == HF_E_NO_MEMORY);
        _exit(0);
    }
    harness_expect_ok(child, "the one who asks for too much");
    CHECK(!help_is_there(name));
}

static void test_memory_is_placed_as_asked_or_as_the_machine_can(void) {
    struct {
        uint32_t huge_pages, prefault;
        int32_t node;
    } ways[] = {{1, 0, -1}, {0, 1, -1}, {0, 0, -2}, {0, 0, 0}, {1, 1, 0}};
    for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
        hf_shm_options options;
        hf_shm *shm = NULL;
        hf_shm_span span;
        hf_shm_options_init(&options, 8 << 20);
        options.size_max = 16 << 20;
        options.huge_pages = ways[i].huge_pages;
        options.prefault = ways[i].prefault;
        options.node = ways[i].node;
        OK(hf_shm_open(harness_name("placed"), HF_SHM_CREATE, &options, &shm));
        OK(hf_shm_add(shm, "large", 4 << 20, &span));
        char *bytes = hf_shm_at(shm, span, 0, span.size);
        if (ways[i].huge_pages) {
            CHECK_EQ(span.offset % (2 << 20), 0);
            CHECK_EQ((uintptr_t)bytes % (2 << 20), 0);
        }
        if (ways[i].prefault) CHECK_EQ(hfi_os_resident(bytes, span.size), span.size);
        OK(hf_shm_grow(shm, 16 << 20));
        bytes[span.size - 1] = 1;
        OK(hf_shm_check(shm, NULL, NULL, NULL));
        OK(hf_shm_close(shm));
    }
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_signals_do_not_keep_a_segment_from_being_made);
    CHECK_RUN(test_growth_is_seen_by_others_and_moves_nothing);
    CHECK_RUN(test_full_memory_is_a_status_and_leaves_nothing);
    CHECK_RUN(test_a_size_that_is_not_there_is_refused_at_once);
    CHECK_RUN(test_memory_is_placed_as_asked_or_as_the_machine_can);
    return 0;
}
