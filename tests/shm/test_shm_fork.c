/* test_shm_fork.c - children of a fork are participants from their first instruction, or are told that
 * they are not.
 *
 * Method: parent and child end, close and are killed in every order; the segment goes with the last. */
#include <holdfast/shm.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "shm_help.h"

static struct hfi_shm_request request_of(const char *name) {
    return (struct hfi_shm_request){
        .name = name, .kind = HF_SHM_KIND_SPAN, .layout = 1, .size = 500};
}

static uint32_t users_of(hf_shm *shm, const char *name) {
    hf_shm_entry entry;
    OK(hf_shm_find(shm, name, &entry));
    return entry.users;
}

static void say(int file) {
    CHECK(write(file, "x", 1) == 1);
}
static void hear(int file) {
    char byte;
    CHECK(read(file, &byte, 1) == 1);
}

static void test_child_is_a_participant_of_its_own(void) {
    const char *name = harness_name("own");
    hf_shm *shm = help_make(name, 1 << 20);
    struct hfi_shm_request request = request_of("held");
    struct hfi_shm_part part;
    OK(hfi_shm_attach(shm, HF_SHM_CREATE, &request, &part));
    uint32_t parent = hfi_shm_self(shm);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        CHECK_NE(hfi_shm_self(shm), parent);
        CHECK(!hfi_shm_dead(shm, parent));
        hf_shm_info info = help_info(shm);
        CHECK_EQ(info.participants_live, 2);
        CHECK_EQ(info.self, hfi_shm_self(shm) - 1);
        CHECK_EQ(users_of(shm, "held"), 2);
        /* What it has open is its own: it closes it, and the parent's stays. */
        part.base[0] = 'c';
        hfi_shm_detach(&part);
        CHECK_EQ(users_of(shm, "held"), 1);
        OK(hf_shm_close(shm));
        CHECK(help_is_there(name));
        _exit(0);
    }
    harness_expect_ok(child, "child");
    CHECK_EQ(part.base[0], 'c');
    CHECK_EQ(users_of(shm, "held"), 1);
    CHECK_EQ(help_info(shm).participants_live, 1);
    CHECK_EQ(help_info(shm).participants_dead, 0);
    hfi_shm_detach(&part);
    OK(hf_shm_close(shm));
    CHECK(!help_is_there(name));
}

/* The child outlives its parent, which closes, exits or is killed. */
enum ending { CLOSES, EXITS, KILLED, ENDINGS };

static void finish(hf_shm *shm, enum ending how) {
    if (how == CLOSES) OK(hf_shm_close(shm));
    if (how == KILLED) kill(getpid(), SIGKILL);
    if (how == EXITS) exit(0);
    _exit(0);
}

static void end_in_order(enum ending first, enum ending second, bool child_first) {
    const char *name = harness_name("order");
    int first_is_over[2], all_are_over[2];
    CHECK(pipe(first_is_over) == 0 && pipe(all_are_over) == 0);
    fflush(stdout);
    pid_t parent = fork();
    if (parent == 0) {
        close(all_are_over[0]);
        hf_shm *shm = help_make(name, 1 << 20);
        pid_t child = fork();
        bool goes_first = child_first == (child == 0);
        char byte;
        /* The second one hears of the end of the first by the pipe that the first has open. */
        close(first_is_over[goes_first ? 0 : 1]);
        if (!goes_first) {
            if (child != 0) CHECK(waitpid(child, NULL, 0) == child);
            CHECK(read(first_is_over[0], &byte, 1) == 0);
            CHECK(help_is_there(name));
            /* The kernel closes the files of a dying process one by one, pipes before ours. */
            while (help_info(shm).participants_live != 1)
                usleep(100);
            CHECK_EQ(help_info(shm).participants_dead, first == KILLED);
        }
        finish(shm, goes_first ? first : second);
    }
    close(first_is_over[0]), close(first_is_over[1]), close(all_are_over[1]);
    char byte;
    CHECK(read(all_are_over[0], &byte, 1) == 0);
    int status = 0;
    CHECK(waitpid(parent, &status, 0) == parent);
    CHECK_SAY(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0,
              "status %x, %d then %d, child first %d", status, first, second, child_first);
    close(all_are_over[0]);
    if (second == KILLED) {
        for (int removed = 0; removed == 0; usleep(100)) /* likewise */
            OK(hf_shm_collect(name, &removed));
    }
    CHECK_SAY(!help_is_there(name), "%d then %d, child first %d", first, second, child_first);
}

static void test_the_last_of_parent_and_child_takes_the_segment_along(void) {
    for (unsigned first = 0; first < ENDINGS; first++)
        for (unsigned second = 0; second < ENDINGS; second++)
            for (unsigned order = 0; order < 2; order++)
                end_in_order((enum ending)first, (enum ending)second, order);
}

static void test_child_that_finds_no_place_is_told_so(void) {
    const char *name = harness_name("narrow");
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 1 << 20);
    options.participants_max = 1;
    OK(hf_shm_open(name, HF_SHM_CREATE, &options, &shm));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        hf_shm_info info;
        hf_shm_span span;
        hf_stats stats;
        CHECK_EQ(hf_shm_info_of(shm, &info), HF_E_CLOSED);
        CHECK(strstr(hf_shm_detail(), "child") != NULL);
        CHECK_EQ(hf_shm_add(shm, "x", 10, &span), HF_E_CLOSED);
        CHECK(hf_shm_at(shm, (hf_shm_span){1 << 19, 8}, 0, 8) == NULL);
        CHECK_EQ(hf_shm_stats(shm, &stats), HF_E_CLOSED);
        CHECK_EQ(hf_shm_sweep(shm, NULL), HF_E_CLOSED);
        OK(hf_shm_close(shm));
        CHECK(help_is_there(name));
        _exit(0);
    }
    harness_expect_ok(child, "child");
    /* The child's end did not touch the parent's place. */
    CHECK_EQ(help_info(shm).participants_live, 1);
    CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN, NULL, &(hf_shm *){NULL}), HF_E_LIMIT);
    OK(hf_shm_close(shm));
    CHECK(!help_is_there(name));
}

static void test_generations_of_children_leave_nothing(void) {
    const char *name = harness_name("line");
    hf_shm *shm = help_make(name, 1 << 20);
    fflush(stdout);
    for (unsigned i = 0; i < 30; i++) { /* one in three is killed, one ends, one closes */
        pid_t child = fork();
        if (child == 0) {
            pid_t grandchild = fork();
            if (grandchild != 0) CHECK(waitpid(grandchild, NULL, 0) == grandchild);
            CHECK_EQ(help_info(shm).participants_live, grandchild == 0 ? 3 : 2);
            finish(shm, (enum ending)((i + (grandchild == 0)) % ENDINGS));
        }
        CHECK(waitpid(child, NULL, 0) == child);
        CHECK_EQ(help_info(shm).participants_live, 1);
    }
    OK(hf_shm_sweep(shm, NULL));
    CHECK_EQ(help_info(shm).participants_dead, 0);
    CHECK_EQ(help_info(shm).recoveries, 20); /* those that were killed */
    OK(hf_shm_close(shm));
    CHECK(!help_is_there(name));
}

/* --- while others are busy -------------------------------------------------------------------- */

static void *churn(void *raw) {
    hf_shm *shm = raw;
    for (unsigned i = 0; i < 400; i++) {
        struct hfi_shm_request request = request_of("churn");
        struct hfi_shm_part part;
        hf_shm_span span;
        char name[32];
        OK(hfi_shm_attach(shm, HF_SHM_OPEN_OR_CREATE, &request, &part));
        (void)snprintf(name, sizeof name, "s%u", i % 7);
        if (hf_shm_add(shm, name, 300, &span) == HF_OK) (void)hf_shm_erase(shm, name);
        hfi_shm_detach(&part);
    }
    return NULL;
}

static void test_forks_in_the_middle_of_other_threads_work(void) {
    const char *name = harness_name("threads");
    hf_shm *shm = help_make(name, 1 << 20);
    pthread_t threads[2];
    fflush(stdout);
    for (unsigned i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, churn, shm) == 0);
    for (unsigned i = 0; i < 40; i++) {
        pid_t child = fork();
        if (child == 0) {
            CHECK_WATCHDOG(20);
            hf_shm_span span;
            char own[32];
            (void)snprintf(own, sizeof own, "child-%u", i);
            /* A lock that the parent's thread holds is released by it, not by us. */
            OK(hf_shm_add(shm, own, 300, &span));
            OK(hf_shm_erase(shm, own));
            syscall(SYS_exit_group, 0); /* TSan's _exit misses the parent's threads */
        }
        harness_expect_ok(child, "child");
    }
    for (unsigned i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    OK(hf_shm_sweep(shm, NULL));
    OK(hf_shm_check(shm, NULL, NULL, NULL));
    (void)hf_shm_erase(shm, "churn");
    CHECK_EQ(help_info(shm).bytes_used, 0);
    CHECK_EQ(help_info(shm).participants_live, 1);
    OK(hf_shm_close(shm));
    CHECK(!help_is_there(name));
}

static void test_inherited_descriptor_reaches_an_anonymous_segment_after_exec(void) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_span span;
    hf_shm_options_init(&options, 1 << 20);
    OK(hf_shm_create_anonymous(&options, &shm));
    OK(hf_shm_add(shm, "x", 64, &span));
    int ready[2], go[2];
    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    int given = dup(hf_shm_file(shm)); /* not close-on-exec */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        OK(hf_shm_close(shm)); /* as an exec would */
        hf_shm *own = NULL;
        hf_shm_entry entry;
        OK(hf_shm_open_file(given, NULL, &own));
        OK(hf_shm_find(own, "x", &entry));
        memcpy(hf_shm_at(own, entry.span, 0, 5), "hello", 5);
        say(ready[1]);
        hear(go[0]);
        _exit(0); /* as if killed */
    }
    hear(ready[0]);
    CHECK(memcmp(hf_shm_at(shm, span, 0, 5), "hello", 5) == 0);
    CHECK_EQ(help_info(shm).participants_live, 2);
    say(go[1]);
    harness_expect_ok(child, "child");
    CHECK_EQ(help_info(shm).participants_dead, 1);
    OK(hf_shm_sweep(shm, NULL));
    CHECK_EQ(help_info(shm).participants_dead, 0);
    OK(hf_shm_close(shm));
    hf_shm *gone = NULL;
    CHECK_EQ(hf_shm_open_file(given, NULL, &gone), HF_OK); /* an open descriptor keeps the memory */
    OK(hf_shm_close(gone));
    close(given);
}

int main(void) {
    CHECK_WATCHDOG(120);
    CHECK_RUN(test_child_is_a_participant_of_its_own);
    CHECK_RUN(test_the_last_of_parent_and_child_takes_the_segment_along);
    CHECK_RUN(test_child_that_finds_no_place_is_told_so);
    CHECK_RUN(test_generations_of_children_leave_nothing);
    CHECK_RUN(test_forks_in_the_middle_of_other_threads_work);
    CHECK_RUN(test_inherited_descriptor_reaches_an_anonymous_segment_after_exec);
    return 0;
}
