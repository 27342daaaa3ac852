/* test_shm_segment.c - segments come and go: made, opened, closed, grown, forked, killed.
 *
 * Method: processes of this test do to each other what programs do; afterwards counts are exact and
 * nothing is left in /dev/shm. */
#include <errno.h>
#include <fcntl.h>
#include <holdfast/owner.h>
#include <holdfast/shm.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "os/os.h"
#include "os/shm.h"
#include "shm/segment_state.h"
#include "shm_help.h"

static void test_last_one_out_removes_the_segment(void) {
    const char *name = harness_name("last");
    hf_shm *one = help_make(name, 1 << 20);
    CHECK(help_is_there(name));
    hf_shm *two = help_join(name);
    CHECK_NE(hfi_shm_self(one), hfi_shm_self(two));
    CHECK(hf_shm_at(one, (hf_shm_span){0, 1}, 0, 1) == NULL);
    CHECK_EQ(help_info(one).participants_live, 2);
    CHECK_EQ(help_info(two).participants_dead, 0);
    OK(hf_shm_close(one));
    CHECK(help_is_there(name));
    CHECK_EQ(help_info(two).participants_live, 1);
    OK(hf_shm_close(two));
    CHECK(!help_is_there(name));
    CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN, NULL, &one), HF_E_NOT_FOUND);
    CHECK(strstr(hf_shm_detail(), name) != NULL);
}

static void test_modes_do_what_they_say(void) {
    const char *name = harness_name("modes");
    hf_shm_options options;
    hf_shm *one = NULL, *two = NULL;
    hf_shm_options_init(&options, 1 << 20);
    OK(hf_shm_open(name, HF_SHM_OPEN_OR_CREATE, &options, &one));
    CHECK_EQ(hf_shm_open(name, HF_SHM_CREATE, &options, &two), HF_E_EXISTS);
    OK(hf_shm_open(name, HF_SHM_OPEN_OR_CREATE, &options, &two));
    OK(hf_shm_close(two));
    options.size = 2 << 20;
    CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN_OR_CREATE, &options, &two), HF_E_MISMATCH);
    CHECK(strstr(hf_shm_detail(), "1048576") != NULL);
    CHECK(strstr(hf_shm_detail(), "2097152") != NULL);
    /* RESET does not take it from those who live in it. */
    options.stale = HF_SHM_RESET;
    CHECK_EQ(hf_shm_open(name, HF_SHM_CREATE, &options, &two), HF_E_EXISTS);
    OK(hf_shm_close(one));
    CHECK_EQ(hf_shm_open(name, HF_SHM_CREATE, NULL, &two), HF_E_INVALID);
}

static void test_names_that_are_none_are_refused(void) {
    char longest[HF_SHM_NAME_MAX + 2], longer[300];
    memset(longest, 'n', sizeof longest);
    longest[HF_SHM_NAME_MAX] = '\0';
    memset(longer, 'n', sizeof longer);
    longer[299] = '\0';
    const char *bad[] = {"",   "/",   "..",         ".",    "a/b", "/a",       "../x", "a b",
                         "\n", "a*b", ".invisible", longer, NULL,  "\xc3\xa4", "a\\b", "~"};
    hf_shm_options options;
    hf_shm_options_init(&options, 1 << 20);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hf_shm *shm = NULL;
        CHECK_EQ(hf_shm_open(bad[i], HF_SHM_OPEN_OR_CREATE, &options, &shm), HF_E_INVALID);
        CHECK(strstr(hf_shm_detail(), "name of a segment") != NULL);
        CHECK_EQ(hf_shm_remove(bad[i]), HF_E_INVALID);
        CHECK_EQ(hf_shm_collect(bad[i], NULL), HF_E_INVALID);
    }
    memcpy(longest, "t-longest-", 10);
    hf_shm *shm = NULL;
    OK(hf_shm_open(longest, HF_SHM_CREATE, &options, &shm));
    OK(hf_shm_close(shm));
    CHECK(!help_is_there(longest));
}

static void test_options_out_of_range_are_refused(void) {
    const char *name = harness_name("options");
    struct {
        size_t field, size;
        uint64_t value;
    } bad[] = {{offsetof(hf_shm_options, struct_size), 4, 3},
               {offsetof(hf_shm_options, size), 8, 4096},
               {offsetof(hf_shm_options, size), 8, UINT64_MAX},
               {offsetof(hf_shm_options, size), 8, HF_SHM_SIZE_MAX + 1},
               {offsetof(hf_shm_options, size_max), 8, 4096},
               {offsetof(hf_shm_options, size_max), 8, UINT64_MAX},
               {offsetof(hf_shm_options, participants_max), 4, 0},
               {offsetof(hf_shm_options, participants_max), 4, HF_SHM_PARTICIPANTS_MAX + 1},
               {offsetof(hf_shm_options, entries_max), 4, 0},
               {offsetof(hf_shm_options, entries_max), 4, UINT32_MAX},
               {offsetof(hf_shm_options, name_size), 4, 1},
               {offsetof(hf_shm_options, name_size), 4, UINT32_MAX},
               {offsetof(hf_shm_options, format_size), 4, UINT32_MAX},
               {offsetof(hf_shm_options, stale), 4, 3},
               {offsetof(hf_shm_options, access), 4, 0400},
               {offsetof(hf_shm_options, access), 4, 04600},
               {offsetof(hf_shm_options, group), 8, (uint64_t)-2},
               {offsetof(hf_shm_options, group), 8, UINT64_C(1) << 32},
               {offsetof(hf_shm_options, owner), 8, (uint64_t)-3},
               {offsetof(hf_shm_options, owner), 8, UINT64_C(1) << 32},
               {offsetof(hf_shm_options, node), 4, 1000}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hf_shm_options options;
        hf_shm_options_init(&options, 1 << 20);
        memcpy((char *)&options + bad[i].field, &bad[i].value, bad[i].size);
        hf_shm *shm = NULL;
        hf_status status = hf_shm_open(name, HF_SHM_CREATE, &options, &shm);
        CHECK_SAY(status == HF_E_INVALID, "option %zu: %d", i, (int)status);
        CHECK(shm == NULL && hf_shm_detail()[0] != '\0');
    }
    CHECK(!help_is_there(name));
    CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN, NULL, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_info_of(NULL, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_close(NULL), HF_OK);
    CHECK_EQ(hf_shm_file(NULL), -1);
}

static void test_small_and_large_tables_lay_themselves_out(void) {
    const char *name = harness_name("tables");
    struct {
        uint32_t participants, entries, name_size, format_size;
    } shapes[] = {{1, 1, 2, 1}, {1023, 16, 64, 192}, {65, 4096, 1024, 16}, {64, 256, 63, 191}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        hf_shm_options options;
        hf_shm_options_init(&options, 16 << 20);
        options.participants_max = shapes[i].participants;
        options.entries_max = shapes[i].entries;
        options.name_size = shapes[i].name_size;
        options.format_size = shapes[i].format_size;
        hf_shm *shm = NULL;
        OK(hf_shm_open(name, HF_SHM_CREATE, &options, &shm));
        uint64_t free_before = help_info(shm).bytes_free;
        hf_shm_span span;
        OK(hf_shm_add(shm, "x", free_before, &span));
        CHECK_EQ(help_info(shm).bytes_free, 0);
        memset(hf_shm_at(shm, span, 0, span.size), 0xff, span.size);
        OK(hf_shm_check(shm, NULL, NULL, NULL));
        OK(hf_shm_erase(shm, "x"));
        CHECK_EQ(help_info(shm).bytes_free, free_before);
        if (shapes[i].participants == 1) {
            hf_shm *second = NULL;
            CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN, NULL, &second), HF_E_LIMIT);
        }
        OK(hf_shm_close(shm));
    }
}

static void test_participants_are_counted_to_the_limit(void) {
    const char *name = harness_name("many");
    hf_shm_options options;
    hf_shm_options_init(&options, 1 << 20);
    options.participants_max = 33;
    options.role = "test";
    hf_shm *shm[33], *more = NULL;
    for (unsigned i = 0; i < 33; i++)
        OK(hf_shm_open(name, HF_SHM_OPEN_OR_CREATE, &options, &shm[i]));
    CHECK_EQ(help_info(shm[7]).participants_live, 33);
    CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN, NULL, &more), HF_E_LIMIT);
    CHECK(strstr(hf_shm_detail(), "33") != NULL);
    OK(hf_shm_close(shm[5]));
    OK(hf_shm_open(name, HF_SHM_OPEN, NULL, &shm[5]));
    CHECK_EQ(help_info(shm[0]).participants_live, 33);
    for (unsigned i = 0; i < 33; i++) {
        CHECK(help_is_there(name));
        OK(hf_shm_close(shm[i]));
    }
    CHECK(!help_is_there(name));
}

static int participant_note(const hf_shm_participant *participant, void *context) {
    hf_shm_participant *seen = context;
    if (participant->life == HF_SHM_DEAD || seen->pid == 0) *seen = *participant;
    return participant->life == HF_SHM_DEAD;
}

static void test_killed_participant_is_seen_and_recovered(void) {
    const char *name = harness_name("killed");
    hf_shm *shm = help_make(name, 1 << 20);
    int ready[2];
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        hf_shm_options options;
        hf_shm_options_init(&options, 0);
        options.role = "the one to be killed...";
        hf_shm *own = NULL;
        OK(hf_shm_open(name, HF_SHM_OPEN, &options, &own));
        CHECK(write(ready[1], "x", 1) == 1);
        pause();
        _exit(0);
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK_EQ(help_info(shm).participants_live,
             3); /* this, the child of the fork, its own opening */
    kill(child, SIGSTOP);
    CHECK_EQ(help_info(shm).participants_live, 3); /* a stopped process is not a dead one */
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK_EQ(help_info(shm).participants_live, 1);
    CHECK_EQ(help_info(shm).participants_dead, 2);
    hf_shm_participant dead = {.pid = 0};
    OK(hf_shm_participants(shm, participant_note, &dead));
    CHECK_EQ(dead.life, HF_SHM_DEAD);
    CHECK_EQ(dead.pid, child);
    size_t recovered = 0;
    OK(hf_shm_sweep(shm, &recovered));
    CHECK_EQ(recovered, 2);
    CHECK_EQ(help_info(shm).participants_dead, 0);
    CHECK_EQ(help_info(shm).recoveries, 2);
    OK(hf_shm_close(shm));
    CHECK(!help_is_there(name));
}

/* Another description of the segment's file. */
static int open_other(const char *name) {
    char path[HFI_OS_PATH_MAX];
    CHECK(hfi_os_shm_path(name, path, sizeof path));
    int file = hfi_os_shm_open(path, true);
    CHECK(file >= 0);
    return file;
}

/* A child that opens the segment and is killed with it open. */
static void leave_behind(const char *name, bool persist) {
    pid_t child = fork();
    if (child == 0) {
        hf_shm_options options;
        hf_shm_options_init(&options, 1 << 20);
        options.persist = persist;
        hf_shm *shm = NULL;
        hf_shm_span span;
        OK(hf_shm_open(name, HF_SHM_CREATE, &options, &shm));
        OK(hf_shm_add(shm, "kept", 100, &span));
        memcpy(hf_shm_at(shm, span, 0, 5), "bytes", 5);
        kill(getpid(), SIGKILL);
    }
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(help_is_there(name));
}

static void test_segment_of_the_dead_is_kept_reset_or_refused(void) {
    const char *name = harness_name("stale");
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_entry entry;
    hf_shm_options_init(&options, 0);
    leave_behind(name, false);
    options.stale = HF_SHM_REFUSE;
    CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN, &options, &shm), HF_E_OWNER_DIED);
    options.stale = HF_SHM_RECOVER;
    OK(hf_shm_open(name, HF_SHM_OPEN, &options, &shm));
    OK(hf_shm_find(shm, "kept", &entry));
    CHECK(memcmp(hf_shm_at(shm, entry.span, 0, 5), "bytes", 5) == 0);
    CHECK_EQ(help_info(shm).recoveries, 1);
    OK(hf_shm_close(shm));
    CHECK(!help_is_there(name));

    leave_behind(name, false);
    options.stale = HF_SHM_RESET;
    CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN, &options, &shm), HF_E_NOT_FOUND);
    CHECK(!help_is_there(name));

    leave_behind(name, false);
    options.size = 1 << 20;
    OK(hf_shm_open(name, HF_SHM_CREATE, &options, &shm));
    CHECK_EQ(hf_shm_find(shm, "kept", &entry), HF_E_NOT_FOUND);
    OK(hf_shm_close(shm));

    leave_behind(name, false);
    int removed = 0, other = open_other(name);
    CHECK(hfi_os_shm_lock(other, HFI_SHM_NAME_BYTE, 1));
    errno = 0;
    CHECK_EQ(hf_shm_collect(name, &removed), HF_E_TIMEOUT);
    hfi_os_shm_close(other);
    OK(hf_shm_collect(name, &removed));
    CHECK_EQ(removed, 1);
    CHECK(!help_is_there(name));
    CHECK_EQ(hf_shm_collect(name, &removed), HF_E_NOT_FOUND);
}

static void test_persistent_segment_outlives_its_participants(void) {
    const char *name = harness_name("persist");
    leave_behind(name, true);
    int removed = 1;
    OK(hf_shm_collect(name, &removed));
    CHECK_EQ(removed, 0);
    for (unsigned round = 0; round < 2; round++) {
        hf_shm_options options;
        hf_shm_options_init(&options, 0);
        /* Closed properly the second time: nothing died, nothing is stale. */
        options.stale = round == 0 ? HF_SHM_RECOVER : HF_SHM_RESET;
        hf_shm *shm = NULL;
        hf_shm_entry entry;
        OK(hf_shm_open(name, HF_SHM_OPEN, &options, &shm));
        OK(hf_shm_find(shm, "kept", &entry));
        CHECK_EQ(help_info(shm).persist, 1);
        OK(hf_shm_close(shm));
        CHECK(help_is_there(name));
    }
    OK(hf_shm_remove(name));
    CHECK(!help_is_there(name));
    CHECK_EQ(hf_shm_remove(name), HF_E_NOT_FOUND);
}

static void test_removed_segment_goes_on_for_those_who_have_it(void) {
    const char *name = harness_name("removed");
    hf_shm *old = help_make(name, 1 << 20);
    OK(hf_shm_remove(name));
    CHECK(!help_is_there(name));
    hf_shm_span span;
    OK(hf_shm_add(old, "x", 10, &span));
    hf_shm *young = help_make(name, 1 << 20);
    hf_shm_entry entry;
    CHECK_EQ(hf_shm_find(young, "x", &entry), HF_E_NOT_FOUND);
    OK(hf_shm_close(old)); /* takes nobody else's name with it */
    CHECK(help_is_there(name));
    OK(hf_shm_close(young));
    CHECK(!help_is_there(name));
}

static void test_process_that_ends_without_closing_leaves_nothing(void) {
    const char *name = harness_name("exit");
    pid_t child = fork();
    if (child == 0) {
        (void)help_make(name, 1 << 20);
        exit(0);
    }
    harness_expect_ok(child, "child");
    CHECK(!help_is_there(name));
}

static void test_anonymous_segment_is_reached_by_its_descriptor(void) {
    hf_shm_options options;
    hf_shm *shm = NULL, *again = NULL;
    hf_shm_span span;
    hf_shm_options_init(&options, 1 << 20);
    options.size_max = 4 << 20;
    OK(hf_shm_create_anonymous(&options, &shm));
    CHECK_STR(help_info(shm).name, "");
    OK(hf_shm_add(shm, "word", 8, &span));
    OK(hf_shm_open_file(hf_shm_file(shm), NULL, &again));
    CHECK_EQ(help_info(shm).participants_live, 2);
    void *here = hf_shm_at(shm, span, 0, 8), *there = hf_shm_at(again, span, 0, 8);
    CHECK(here != there); /* two mappings of one memory */
    strcpy(here, "hello");
    CHECK_STR((char *)there, "hello");
    /* An unrelated program gets the descriptor alone. */
    int file = dup(hf_shm_file(shm));
    pid_t child = fork();
    if (child == 0) {
        hf_shm *third = NULL;
        hf_shm_entry entry;
        OK(hf_shm_open_file(file, NULL, &third));
        OK(hf_shm_find(third, "word", &entry));
        CHECK_STR((char *)hf_shm_at(third, entry.span, 0, 8), "hello");
        OK(hf_shm_grow(third, 4 << 20));
        _exit(0);
    }
    harness_expect_ok(child, "child");
    CHECK_EQ(help_info(shm).size, 4 << 20);
    OK(hf_shm_close(shm));
    OK(hf_shm_close(again));
    /* Nobody lives in it, the descriptor keeps it. */
    OK(hf_shm_open_file(file, NULL, &shm));
    OK(hf_shm_close(shm));
    close(file);
    CHECK_EQ(hf_shm_open_file(file, NULL, &shm), HF_E_NOT_FOUND);
}

static void test_anonymous_segment_cannot_be_cut_short(void) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 1 << 20);
    OK(hf_shm_create_anonymous(&options, &shm));
    CHECK(ftruncate(hf_shm_file(shm), 4096) == -1 && errno == EPERM);
    CHECK_EQ(help_info(shm).access, 0600);
    OK(hf_shm_close(shm));
    options.access = 0660;
    OK(hf_shm_create_anonymous(&options, &shm));
    CHECK_EQ(help_info(shm).access, 0660);
    OK(hf_shm_close(shm));
}

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

/* A participant that never was holds the table's lock. */
static void test_dead_holder_is_no_timeout_however_short_the_wait(void) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_span span;
    hf_shm_options_init(&options, 1 << 20);
    options.lock_wait_ns = 0;
    OK(hf_shm_open(harness_name("nowait"), HF_SHM_CREATE, &options, &shm));
    hfi_shm_store32(&hfi_shm_header_of(shm)->lock.word, 7);
    OK(hf_shm_add(shm, "x", 100, &span));
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

static void test_descriptors_are_given_back(void) {
    const char *name = harness_name("files");
    OK(hf_shm_close(help_make(name, 1 << 20)));
    int before = dup(0);
    close(before);
    for (unsigned i = 0; i < 100; i++) {
        hf_shm *one = help_make(name, 1 << 20), *two = help_join(name), *no = NULL;
        CHECK_EQ(hf_shm_open("t-not-there", HF_SHM_OPEN, NULL, &no), HF_E_NOT_FOUND);
        OK(hf_shm_close(two));
        OK(hf_shm_close(one));
    }
    int after = dup(0);
    close(after);
    CHECK_EQ(before, after);
}

static int owner_find(const hf_owner *owner, void *context) {
    hf_owner *found = context;
    if (owner->kind == HF_OWNER_SHM) *found = *owner;
    return 0;
}

static void test_the_account_of_a_segment_adds_up(void) {
    const char *name = harness_name("account");
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_span span;
    OK(hf_shm_add(shm, "odd", 1001, &span));
    hf_stats s;
    OK(hf_shm_stats(shm, &s));
    CHECK_EQ(s.bytes_mapped, s.bytes_in_use + s.bytes_slack + s.bytes_free + s.bytes_meta);
    CHECK_EQ(s.bytes_in_use, 1001);
    CHECK_EQ(s.bytes_slack, 1024 - 1001);
    hf_owner found = {.id = 0};
    OK(hf_owners_visit(owner_find, &found));
    CHECK_STR(hf_owner_kind_name(found.kind), "shm");
    CHECK_STR(found.name, name);
    CHECK_EQ(found.stats.bytes_mapped, s.bytes_mapped);
    OK(hf_shm_close(shm));
}

static int name_note(const char *name, uint64_t size, void *context) {
    struct {
        const char *name;
        uint64_t size;
    } *wanted = context;
    if (strcmp(name, wanted->name) == 0) wanted->size = size;
    return 0;
}

static void test_segments_are_listed_by_name(void) {
    struct {
        const char *name;
        uint64_t size;
    } wanted = {harness_name("listed"), 0};
    hf_shm *shm = help_make(wanted.name, 1 << 20);
    OK(hf_shm_names(name_note, &wanted));
    CHECK_EQ(wanted.size, 1 << 20);
    OK(hf_shm_close(shm));
    wanted.size = 0;
    OK(hf_shm_names(name_note, &wanted));
    CHECK_EQ(wanted.size, 0);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_last_one_out_removes_the_segment);
    CHECK_RUN(test_modes_do_what_they_say);
    CHECK_RUN(test_names_that_are_none_are_refused);
    CHECK_RUN(test_options_out_of_range_are_refused);
    CHECK_RUN(test_small_and_large_tables_lay_themselves_out);
    CHECK_RUN(test_participants_are_counted_to_the_limit);
    CHECK_RUN(test_killed_participant_is_seen_and_recovered);
    CHECK_RUN(test_segment_of_the_dead_is_kept_reset_or_refused);
    CHECK_RUN(test_persistent_segment_outlives_its_participants);
    CHECK_RUN(test_removed_segment_goes_on_for_those_who_have_it);
    CHECK_RUN(test_process_that_ends_without_closing_leaves_nothing);
    CHECK_RUN(test_anonymous_segment_is_reached_by_its_descriptor);
    CHECK_RUN(test_anonymous_segment_cannot_be_cut_short);
    CHECK_RUN(test_signals_do_not_keep_a_segment_from_being_made);
    CHECK_RUN(test_dead_holder_is_no_timeout_however_short_the_wait);
    CHECK_RUN(test_growth_is_seen_by_others_and_moves_nothing);
    CHECK_RUN(test_full_memory_is_a_status_and_leaves_nothing);
    CHECK_RUN(test_a_size_that_is_not_there_is_refused_at_once);
    CHECK_RUN(test_memory_is_placed_as_asked_or_as_the_machine_can);
    CHECK_RUN(test_descriptors_are_given_back);
    CHECK_RUN(test_the_account_of_a_segment_adds_up);
    CHECK_RUN(test_segments_are_listed_by_name);
    return 0;
}
