/* test_shm_segment_left - who leaves a segment without closing it, and what becomes of the segment.
 *
 * Method: processes of this test are killed, end, or have the name taken away under them; those that are
 * left, or come after, find what the options say: kept, reset, refused or removed. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "os/shm.h"
#include "shm/segment_state.h"
#include "shm_help.h"

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

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_killed_participant_is_seen_and_recovered);
    CHECK_RUN(test_segment_of_the_dead_is_kept_reset_or_refused);
    CHECK_RUN(test_persistent_segment_outlives_its_participants);
    CHECK_RUN(test_removed_segment_goes_on_for_those_who_have_it);
    CHECK_RUN(test_process_that_ends_without_closing_leaves_nothing);
    CHECK_RUN(test_dead_holder_is_no_timeout_however_short_the_wait);
    return 0;
}
