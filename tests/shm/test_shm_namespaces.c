/* test_shm_namespaces.c - a shared memory that is really full, and processes that cannot see each
 * other's ids.
 *
 * Method: namespaces of mounts and of process ids of our own, where the machine allows them; else
 * skipped (exit 77). */
#include <errno.h>
#include <fcntl.h>
#include <holdfast/shm.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "os/shm.h"
#include "shm_help.h"

enum { SKIPPED = 77 };

/* A child with a /dev/shm of its own, 1 MiB large. */
static void in_small_memory(void (*test)(void)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m") != 0)
            _exit(SKIPPED);
        test();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
        printf("skipped: no mount namespaces here\n");
        exit(SKIPPED);
    }
    CHECK_SAY(status == 0, "status %x", status);
}

static void full(void) {
    hf_shm_options options;
    hf_shm *shm = NULL, *small = NULL;
    hf_shm_span span;
    hf_shm_options_init(&options, 2 << 20);
    options.entries_max = 16;
    CHECK_EQ(hf_shm_open("full", HF_SHM_CREATE, &options, &shm), HF_E_NO_SPACE);
    CHECK(strstr(hf_shm_detail(), "/dev/shm is full") != NULL);
    CHECK(!help_is_there("full"));
    options.size = 256 << 10;
    options.size_max = 8 << 20;
    OK(hf_shm_open("first", HF_SHM_CREATE, &options, &small));
    options.size = 896 << 10;
    CHECK_EQ(hf_shm_open("full", HF_SHM_OPEN_OR_CREATE, &options, &shm), HF_E_NO_SPACE);
    CHECK_EQ(hf_shm_grow(small, 2 << 20), HF_E_NO_SPACE);
    CHECK_EQ(help_info(small).size, 256 << 10);
    /* To the last page, and all of it is there. */
    uint64_t size = 256 << 10;
    while (hf_shm_grow(small, size + 4096) == HF_OK)
        size += 4096;
    CHECK_GT(size, 900 << 10);
    hf_shm_info info = help_info(small);
    CHECK_EQ(info.size, size);
    OK(hf_shm_add(small, "all", info.largest_free, &span));
    memset(hf_shm_at(small, span, 0, span.size), 1, span.size);
    /* What goes makes room. */
    OK(hf_shm_close(small));
    OK(hf_shm_open("full", HF_SHM_OPEN_OR_CREATE, &options, &shm));
    OK(hf_shm_close(shm));
}

static void test_full_shared_memory_is_a_status_and_no_signal(void) {
    in_small_memory(full);
}

/* What one who was killed while growing had allocated is more than would be left. */
static void grown_half(void) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 256 << 10);
    options.entries_max = 16;
    options.size_max = 900 << 10;
    OK(hf_shm_open("half", HF_SHM_CREATE, &options, &shm));
    CHECK(hfi_os_shm_extend(hf_shm_file(shm), 256 << 10, 800 << 10) == 0);
    OK(hf_shm_grow(shm, 900 << 10));
    CHECK_EQ(help_info(shm).size, 900 << 10);
    OK(hf_shm_close(shm));
}

/* A copy without the pages that are zero, on a file system that has no room for them. */
static void copied(void) {
    const char *path = "/dev/shm/state", *copy = "/dev/shm/copy";
    char page[4096], zero[4096] = {0};
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_span span;
    hf_shm_options_init(&options, 400 << 10);
    options.entries_max = 16;
    options.path = path;
    OK(hf_shm_open(NULL, HF_SHM_CREATE, &options, &shm));
    OK(hf_shm_close(shm));
    int from = open(path, O_RDONLY), to = open(copy, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(from >= 0 && to >= 0 && ftruncate(to, 400 << 10) == 0);
    for (off_t at = 0; pread(from, page, sizeof page, at) == sizeof page; at += (off_t)sizeof page)
        if (memcmp(page, zero, sizeof page) != 0)
            CHECK(pwrite(to, page, sizeof page, at) == sizeof page);
    int full = open("/dev/shm/full", O_RDWR | O_CREAT | O_EXCL, 0600);
    while (write(full, page, sizeof page) == sizeof page) {
    }
    CHECK_EQ(errno, ENOSPC);
    options.path = copy;
    CHECK_EQ(hf_shm_open(NULL, HF_SHM_OPEN, &options, &shm), HF_E_NO_SPACE);
    CHECK(strstr(hf_shm_detail(), copy) != NULL);
    CHECK(ftruncate(full, 0) == 0);
    OK(hf_shm_open(NULL, HF_SHM_OPEN, &options, &shm));
    while (write(full, page, sizeof page) == sizeof page) {
    }
    OK(hf_shm_add(shm, "all", help_info(shm).largest_free, &span));
    memset(hf_shm_at(shm, span, 0, span.size), 1, span.size); /* SIGBUS if it were not there */
    OK(hf_shm_close(shm));
}

static void test_copy_of_a_file_has_its_blocks_or_is_refused(void) {
    in_small_memory(copied);
}

static void test_memory_of_a_killed_grower_is_used(void) {
    in_small_memory(grown_half);
}

/* Makers that together want more than there is: each gets a whole segment or HF_E_NO_SPACE. */
static void crowd(void) {
    pid_t children[4];
    for (unsigned who = 0; who < 4; who++) {
        children[who] = fork();
        if (children[who] != 0) continue;
        CHECK_WATCHDOG(60);
        char name[16];
        unsigned made = 0;
        (void)snprintf(name, sizeof name, "crowd-%u", who);
        for (unsigned round = 0; round < 300 || made == 0; round++) {
            hf_shm_options options;
            hf_shm *shm = NULL;
            hf_shm_options_init(&options, 400 << 10);
            options.entries_max = 16;
            hf_status status = hf_shm_open(name, HF_SHM_CREATE, &options, &shm);
            CHECK_SAY(status == HF_OK || status == HF_E_NO_SPACE, "%s", hf_shm_detail());
            if (status != HF_OK) continue;
            hf_shm_span span;
            OK(hf_shm_add(shm, "all", help_info(shm).largest_free, &span));
            memset(hf_shm_at(shm, span, 0, span.size), 1,
                   span.size); /* SIGBUS if it were not there */
            OK(hf_shm_close(shm));
            made++;
        }
        _exit(0);
    }
    for (unsigned who = 0; who < 4; who++)
        harness_expect_ok(children[who], "one of the crowd");
}

static void test_makers_in_a_crowd_get_all_or_nothing(void) {
    in_small_memory(crowd);
}

static void test_life_is_seen_across_process_namespaces(void) {
    const char *name = harness_name("spaces");
    hf_shm *shm = help_make(name, 1 << 20);
    int ready[2];
    CHECK(pipe(ready) == 0);
    fflush(stdout);
    pid_t outer = fork();
    if (outer == 0) {
        if (unshare(CLONE_NEWPID) != 0) _exit(SKIPPED);
        pid_t inner = fork(); /* process 1 of its namespace */
        if (inner == 0) {
            hf_shm *own = help_join(name);
            CHECK_EQ(getpid(), 1);
            /* Our parents and the maker live, though we could not signal them. */
            CHECK_EQ(help_info(own).participants_dead, 0);
            CHECK_EQ(help_info(own).participants_live, 4);
            CHECK(write(ready[1], "x", 1) == 1);
            pause();
            _exit(0);
        }
        char byte;
        CHECK(read(ready[0], &byte, 1) == 1);
        CHECK_EQ(help_info(shm).participants_live, 4);
        kill(inner, SIGSTOP);
        CHECK_EQ(help_info(shm).participants_dead, 0);
        kill(inner, SIGKILL);
        CHECK(waitpid(inner, NULL, 0) == inner);
        CHECK_EQ(help_info(shm).participants_dead, 2);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(outer, &status, 0) == outer);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
        printf("  skipped: no process namespaces here\n");
    } else {
        CHECK_SAY(status == 0, "status %x", status);
        size_t recovered = 0;
        OK(hf_shm_sweep(shm, &recovered));
        CHECK_EQ(recovered, 3);
    }
    OK(hf_shm_close(shm));
    CHECK(!help_is_there(name));
}

int main(void) {
    CHECK_WATCHDOG(120);
    CHECK_RUN(test_life_is_seen_across_process_namespaces);
    CHECK_RUN(test_full_shared_memory_is_a_status_and_no_signal);
    CHECK_RUN(test_memory_of_a_killed_grower_is_used);
    CHECK_RUN(test_copy_of_a_file_has_its_blocks_or_is_refused);
    CHECK_RUN(test_makers_in_a_crowd_get_all_or_nothing);
    return 0;
}
