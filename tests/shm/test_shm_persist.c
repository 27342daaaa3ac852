/* test_shm_persist.c - segments on a file: kept, opened again, whole after a kill at any time.
 *
 * Method: a writer is killed while it persists; what it had persisted before is there afterwards. A
 * power cut is imitated by a copy of the file from between two calls of persist: everything that was
 * flushed is in it, and perhaps more. */
#include <errno.h>
#include <fcntl.h>
#include <holdfast/shm.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shm/segment_state.h"
#include "shm_help.h"

static char folder[200], path[256], copy[256];

static void folder_remove(void) {
    (void)unlink(path);
    (void)unlink(copy);
    (void)rmdir(folder);
}

static hf_status try_open(const char *at, hf_shm_mode mode, uint32_t stale, hf_shm **out) {
    hf_shm_options options;
    hf_shm_options_init(&options, mode == HF_SHM_OPEN ? 0 : 256 << 10);
    options.size_max = 512 << 10;
    options.path = at;
    options.stale = stale;
    return hf_shm_open(NULL, mode, &options, out);
}

static hf_shm *open_at(const char *at, hf_shm_mode mode) {
    hf_shm *shm = NULL;
    OK(try_open(at, mode, HF_SHM_RECOVER, &shm));
    return shm;
}

static void test_file_stays_and_is_opened_again(void) {
    hf_shm *shm = open_at(path, HF_SHM_CREATE), *again = NULL;
    hf_shm_span span;
    hf_shm_entry entry;
    CHECK_EQ(help_info(shm).on_file, 1);
    CHECK_EQ(help_info(shm).persist, 1);
    OK(hf_shm_add(shm, "x", 10000, &span));
    memset(hf_shm_at(shm, span, 0, 10000), 3, 10000);
    OK(hf_shm_persist(shm));
    OK(hf_shm_persist_span(shm, span));
    OK(hf_shm_persist_span(shm, (hf_shm_span){span.offset + 5, 0}));
    CHECK_EQ(hf_shm_persist_span(shm, (hf_shm_span){span.offset, 1 << 20}), HF_E_INVALID);
    CHECK_EQ(hf_shm_persist_span(shm, (hf_shm_span){UINT64_MAX, 2}), HF_E_INVALID);
    CHECK_EQ(try_open(path, HF_SHM_CREATE, HF_SHM_RESET, &again), HF_E_EXISTS); /* a file is data */
    again = open_at(path, HF_SHM_OPEN_OR_CREATE);
    CHECK_EQ(help_info(again).participants_live, 2);
    OK(hf_shm_grow(again, 512 << 10));
    OK(hf_shm_close(again));
    OK(hf_shm_close(shm));
    shm = open_at(path, HF_SHM_OPEN);
    CHECK_EQ(help_info(shm).size, 512 << 10);
    OK(hf_shm_find(shm, "x", &entry));
    const char *bytes = hf_shm_at(shm, entry.span, 0, 10000);
    CHECK(bytes[0] == 3 && bytes[9999] == 3);
    /* Bytes that were used before the file was closed are zero when used again. */
    OK(hf_shm_erase(shm, "x"));
    OK(hf_shm_add(shm, "y", 10000, &span));
    bytes = hf_shm_at(shm, span, 0, 10000);
    for (unsigned i = 0; i < 10000; i++)
        CHECK_EQ(bytes[i], 0);
    OK(hf_shm_close(shm));
    CHECK(unlink(path) == 0);
    CHECK_EQ(try_open(path, HF_SHM_OPEN, HF_SHM_RECOVER, &shm), HF_E_NOT_FOUND);
}

static uint64_t boot_of(const char *at) {
    struct hfi_shm_header header;
    int file = open(at, O_RDONLY);
    CHECK(file >= 0 && pread(file, &header, sizeof header, 0) == (ssize_t)sizeof header);
    close(file);
    return header.boot;
}

/* Who has the descriptor alone takes the same care, and as the last one closes the file. */
static void test_file_opened_by_its_descriptor_is_on_a_medium_too(void) {
    hf_shm *shm = open_at(path, HF_SHM_CREATE), *again = NULL;
    hf_shm_span span;
    OK(hf_shm_add(shm, "x", 100, &span));
    OK(hf_shm_open_file(hf_shm_file(shm), NULL, &again));
    CHECK_EQ(help_info(again).on_file, 1);
    OK(hf_shm_persist(again));
    OK(hf_shm_persist_span(again, span));
    OK(hf_shm_close(shm));
    CHECK_NE(boot_of(path), 0);
    OK(hf_shm_close(again));
    CHECK_EQ(boot_of(path), 0);
    CHECK(unlink(path) == 0);
}

/* As where the file system maps synchronously; whether lines reach a medium, only such memory shows. */
static void test_lines_are_flushed_to_the_last_byte_and_not_beyond(void) {
    hf_shm *shm = open_at(path, HF_SHM_CREATE);
    hf_shm_span span;
    OK(hf_shm_add(shm, "all", help_info(shm).largest_free, &span));
    unsigned char *bytes = hf_shm_at(shm, span, 0, span.size);
    for (uint64_t i = 0; i < span.size; i++)
        bytes[i] = (unsigned char)(i * 7);
    shm->sync = 1;
    OK(hf_shm_persist(shm)); /* what follows the mapping would fault */
    OK(hf_shm_persist_span(shm, (hf_shm_span){span.offset + 63, 2}));
    OK(hf_shm_persist_span(shm, (hf_shm_span){span.offset + span.size - 1, 1}));
    for (uint64_t i = 0; i < span.size; i++)
        CHECK_EQ(bytes[i], (unsigned char)(i * 7));
    OK(hf_shm_close(shm));
    CHECK(unlink(path) == 0);
}

static void test_paths_that_cannot_be_are_refused(void) {
    hf_shm *shm = NULL;
    char beyond[300];
    CHECK_EQ(try_open("", HF_SHM_CREATE, HF_SHM_RECOVER, &shm), HF_E_INVALID);
    (void)snprintf(beyond, sizeof beyond, "%s/none/file", folder);
    CHECK_EQ(try_open(beyond, HF_SHM_CREATE, HF_SHM_RECOVER, &shm), HF_E_NOT_FOUND);
    CHECK(try_open(folder, HF_SHM_OPEN_OR_CREATE, HF_SHM_RECOVER, &shm) != HF_OK);
    hf_shm_options options;
    hf_shm_options_init(&options, 256 << 10);
    options.path = path;
    CHECK_EQ(hf_shm_create_anonymous(&options, &shm), HF_E_CONFLICT);
    hf_shm *memory = help_make(harness_name("memory"), 256 << 10);
    CHECK_EQ(hf_shm_persist(memory), HF_E_UNSUPPORTED);
    CHECK_EQ(hf_shm_persist_span(memory, (hf_shm_span){8192, 100}), HF_E_UNSUPPORTED);
    OK(hf_shm_close(memory));
}

/* --- killed while persisting ------------------------------------------------------------------ */

enum { NUMBERS = 2000 };

static uint64_t *numbers_of(hf_shm *shm) {
    hf_shm_entry entry;
    OK(hf_shm_find(shm, "numbers", &entry));
    uint64_t *numbers = hf_shm_at(shm, entry.span, 0, 8 * NUMBERS);
    CHECK(numbers != NULL);
    return numbers;
}

/* numbers[0] is set and persisted after the others were: it never says more than they do. */
static void write_on(hf_shm *shm) {
    uint64_t *numbers = numbers_of(shm);
    hf_shm_entry entry;
    OK(hf_shm_find(shm, "numbers", &entry));
    for (uint64_t round = numbers[0] + 1;; round++) {
        for (unsigned i = 1; i < NUMBERS; i++)
            numbers[i] = round;
        OK(hf_shm_persist_span(shm, entry.span));
        numbers[0] = round;
        OK(hf_shm_persist_span(shm, (hf_shm_span){entry.span.offset, 8}));
    }
}

static void file_copy(void) {
    char bytes[65536];
    int from = open(path, O_RDONLY), to = open(copy, O_CREAT | O_TRUNC | O_RDWR, 0600);
    CHECK(from >= 0 && to >= 0);
    for (ssize_t got; (got = read(from, bytes, sizeof bytes)) > 0;)
        CHECK(write(to, bytes, (size_t)got) == got);
    close(from), close(to);
}

static void expect_numbers(const char *at, uint64_t *last) {
    hf_shm *shm = open_at(at, HF_SHM_OPEN);
    OK(hf_shm_repair(shm, NULL, NULL));
    OK(hf_shm_check(shm, NULL, NULL, NULL));
    uint64_t *numbers = numbers_of(shm);
    CHECK_GE(numbers[0], *last);
    *last = numbers[0];
    for (unsigned i = 1; i < NUMBERS; i++)
        CHECK(numbers[i] == *last || numbers[i] == *last + 1);
    OK(hf_shm_close(shm));
}

static void test_what_was_persisted_outlives_the_writer(void) {
    hf_shm *shm = open_at(path, HF_SHM_CREATE);
    hf_shm_span span;
    OK(hf_shm_add(shm, "numbers", 8 * NUMBERS, &span));
    OK(hf_shm_persist(shm));
    OK(hf_shm_close(shm));
    check_random random = {harness_seed()};
    uint64_t last = 0;
    for (unsigned round = 0; round < harness_kills(40); round++) {
        int ready[2];
        CHECK(pipe(ready) == 0);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            CHECK_WATCHDOG(30);
            hf_shm *own = open_at(path, HF_SHM_OPEN);
            CHECK(write(ready[1], "x", 1) == 1);
            write_on(own);
        }
        char byte;
        CHECK(read(ready[0], &byte, 1) == 1);
        close(ready[0]), close(ready[1]);
        usleep((useconds_t)check_random_below(&random, 10000));
        kill(child, SIGKILL);
        CHECK(waitpid(child, NULL, 0) == child);
        file_copy(); /* before anybody cleans up */
        uint64_t in_copy = last;
        expect_numbers(copy, &in_copy);
        expect_numbers(path, &last);
        CHECK_EQ(in_copy, last);
    }
    CHECK_GT(last, 0);
    printf("  %" PRIu64 " rounds were written\n", last);
    CHECK(unlink(path) == 0);
}

static void test_stale_files_are_kept_or_refused(void) {
    hf_shm *shm = NULL;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        shm = open_at(path, HF_SHM_CREATE);
        OK(hf_shm_add(shm, "x", 100, NULL));
        kill(getpid(), SIGKILL);
    }
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK_EQ(try_open(path, HF_SHM_OPEN, HF_SHM_REFUSE, &shm), HF_E_OWNER_DIED);
    shm = open_at(path, HF_SHM_OPEN);
    CHECK_EQ(help_info(shm).entries, 1);
    CHECK_EQ(help_info(shm).recoveries, 1);
    OK(hf_shm_close(shm));
    OK(try_open(path, HF_SHM_OPEN, HF_SHM_REFUSE, &shm)); /* nobody died this time */
    OK(hf_shm_close(shm));
    CHECK(unlink(path) == 0);
}

int main(void) {
    harness_watchdog(120);
    const char *place = getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/holdfast-t-XXXXXX", place && *place ? place : "/tmp");
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/segment", folder);
    (void)snprintf(copy, sizeof copy, "%s/copy", folder);
    atexit(folder_remove);
    CHECK_RUN(test_file_stays_and_is_opened_again);
    CHECK_RUN(test_file_opened_by_its_descriptor_is_on_a_medium_too);
    CHECK_RUN(test_lines_are_flushed_to_the_last_byte_and_not_beyond);
    CHECK_RUN(test_paths_that_cannot_be_are_refused);
    CHECK_RUN(test_what_was_persisted_outlives_the_writer);
    CHECK_RUN(test_stale_files_are_kept_or_refused);
    return 0;
}
