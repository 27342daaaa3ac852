/* test_versioned - what a versioned array promises when nobody dies: whole versions, in order.
 *
 * Method: contents that are a function of the version; small arrays over every number of buffers. */
#include <holdfast/shm_versioned.h>

#include <signal.h>
#include <sys/wait.h>

#include "stream.h"

static hf_shm *shm;
static int serial;

static hf_shm_versioned *versioned_make(uint64_t element_size, uint64_t count, uint32_t buffers) {
    char name[32];
    snprintf(name, sizeof name, "versioned-%d", ++serial);
    hf_shm_versioned_options options;
    hf_shm_versioned_options_init(&options, element_size, count);
    options.buffers = buffers;
    hf_shm_versioned *versioned = NULL;
    hf_status status = hf_shm_versioned_open(shm, name, HF_SHM_CREATE, &options, &versioned);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    return versioned;
}

static void versioned_drop(hf_shm_versioned *versioned) {
    char name[32];
    snprintf(name, sizeof name, "versioned-%d", serial);
    stream_check(shm);
    CHECK_EQ(hf_shm_versioned_close(versioned), HF_OK);
    CHECK_EQ(hf_shm_erase(shm, name), HF_OK);
}

static void content_fill(char *bytes, uint64_t size, uint64_t version) {
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = version == 0 ? 0 : (char)(item_word(version, (unsigned)(i % 97)) >> 8);
}

static bool content_is(const char *bytes, uint64_t size, uint64_t version) {
    static char expected[9000];
    CHECK_LE(size, sizeof expected);
    content_fill(expected, size, version);
    return memcmp(bytes, expected, size) == 0;
}

static void test_read_gets_the_newest_version_whole(void) {
    static const uint64_t sizes[] = {1, 7, 8, 100, 4095, 4096, 9000};
    static char data[9000], out[9000];
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint32_t buffers = 2; buffers <= 5; buffers++) {
            uint64_t size = sizes[s], version = 99;
            hf_shm_versioned *versioned = versioned_make(1, size, buffers);
            CHECK_EQ(hf_shm_versioned_size(versioned), size);
            CHECK_EQ(hf_shm_versioned_buffers(versioned), buffers);
            CHECK_EQ(hf_shm_versioned_read(versioned, out, &version), HF_OK);
            CHECK_EQ(version, 0);
            CHECK(content_is(out, size, 0));
            for (uint64_t v = 1; v < 12; v++) {
                content_fill(data, size, v);
                CHECK_EQ(hf_shm_versioned_write(versioned, data, &version), HF_OK);
                CHECK_EQ(version, v);
                CHECK_EQ(hf_shm_versioned_version(versioned), v);
                CHECK_EQ(hf_shm_versioned_read(versioned, out, &version), HF_OK);
                CHECK_EQ(version, v);
                CHECK(content_is(out, size, v));
                CHECK_EQ(hf_shm_versioned_read_newer(versioned, v, out, &version), HF_E_EMPTY);
                CHECK_EQ(hf_shm_versioned_read_newer(versioned, v - 1, out, &version), HF_OK);
            }
            versioned_drop(versioned);
        }
}

static void test_ranges_keep_the_rest(void) {
    hf_shm_versioned *versioned = versioned_make(1, 1000, 2);
    char model[1000] = {0}, part[1000], out[1000];
    check_random random = {7};
    for (uint64_t v = 1; v < 200; v++) {
        uint64_t offset = check_random_below(&random, 1000);
        uint64_t size = 1 + check_random_below(&random, 1000 - offset), version;
        if (v % 13 == 0) offset = 0, size = 1000;
        content_fill(part, size, v);
        memcpy(model + offset, part, size);
        CHECK_EQ(hf_shm_versioned_write_range(versioned, offset, part, size, &version), HF_OK);
        CHECK_EQ(version, v);
        CHECK_EQ(hf_shm_versioned_read(versioned, out, NULL), HF_OK);
        CHECK(memcmp(out, model, 1000) == 0);
        offset = check_random_below(&random, 1000);
        size = 1 + check_random_below(&random, 1000 - offset);
        CHECK_EQ(hf_shm_versioned_read_range(versioned, offset, out, size, &version), HF_OK);
        CHECK_EQ(version, v);
        CHECK(memcmp(out, model + offset, size) == 0);
    }
    CHECK_EQ(hf_shm_versioned_write_range(versioned, 1000, part, 1, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_versioned_write_range(versioned, 0, part, 1001, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_versioned_write_range(versioned, 5, part, UINT64_MAX, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_versioned_read_range(versioned, 1, out, 1000, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_versioned_read_range(versioned, 0, out, 0, NULL), HF_E_INVALID);
    versioned_drop(versioned);
}

static void test_begun_versions_are_seen_when_committed(void) {
    hf_shm_versioned *versioned = versioned_make(8, 16, 2);
    uint64_t data[16], out[16], version, *next;
    void *memory;
    for (unsigned i = 0; i < 16; i++)
        data[i] = i;
    CHECK_EQ(hf_shm_versioned_commit(versioned, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_versioned_cancel(versioned), HF_E_INVALID);
    CHECK_EQ(hf_shm_versioned_write(versioned, data, NULL), HF_OK);
    CHECK_EQ(hf_shm_versioned_begin(versioned, 1, &memory), HF_OK);
    CHECK_EQ(hf_shm_versioned_begin(versioned, 1, &memory), HF_E_BUSY);
    CHECK_EQ(hf_shm_versioned_write(versioned, data, NULL), HF_E_BUSY);
    CHECK_EQ(hf_shm_versioned_release(versioned), HF_E_BUSY);
    next = memory;
    for (unsigned i = 0; i < 16; i++)
        CHECK_EQ(next[i], i);
    next[3] = 333;
    CHECK_EQ(hf_shm_versioned_read(versioned, out, &version), HF_OK);
    CHECK_EQ(version, 1);
    CHECK_EQ(out[3], 3);
    CHECK_EQ(hf_shm_versioned_commit(versioned, &version), HF_OK);
    CHECK_EQ(version, 2);
    CHECK_EQ(hf_shm_versioned_read(versioned, out, &version), HF_OK);
    CHECK_EQ(out[3], 333);
    CHECK_EQ(out[4], 4);
    CHECK_EQ(hf_shm_versioned_begin(versioned, 0, &memory), HF_OK);
    memset(memory, 0x5a, sizeof out);
    CHECK_EQ(hf_shm_versioned_cancel(versioned), HF_OK);
    CHECK_EQ(hf_shm_versioned_read(versioned, out, &version), HF_OK);
    CHECK_EQ(version, 2);
    CHECK_EQ(out[3], 333);
    versioned_drop(versioned);
}

static void test_views_last_until_the_writer_comes_round(void) {
    for (uint32_t buffers = 2; buffers <= 4; buffers++) {
        hf_shm_versioned *versioned = versioned_make(8, 4, buffers);
        uint64_t data[4] = {1, 2, 3, 4}, version;
        const void *view;
        CHECK_EQ(hf_shm_versioned_write(versioned, data, NULL), HF_OK);
        CHECK_EQ(hf_shm_versioned_view(versioned, &view, &version), HF_OK);
        CHECK_EQ(version, 1);
        for (uint32_t i = 0; i + 1 < buffers; i++) {
            CHECK(memcmp(view, data, sizeof data) == 0);
            CHECK_EQ(hf_shm_versioned_intact(versioned, version), HF_OK);
            uint64_t other[4] = {9, 9, 9, i};
            CHECK_EQ(hf_shm_versioned_write(versioned, other, NULL), HF_OK);
        }
        CHECK_EQ(hf_shm_versioned_intact(versioned, version), HF_OK);
        void *memory;
        CHECK_EQ(hf_shm_versioned_begin(versioned, 0, &memory), HF_OK);
        CHECK_PTR(memory, view);
        CHECK_EQ(hf_shm_versioned_intact(versioned, version), HF_E_STALE);
        CHECK_EQ(hf_shm_versioned_cancel(versioned), HF_OK);
        versioned_drop(versioned);
    }
}

static void test_one_writes_and_a_child_waits_for_each(void) {
    hf_shm_versioned *versioned = versioned_make(1, 100, 3);
    char data[100];
    uint64_t version = 0;
    CHECK_EQ(hf_shm_versioned_wait(versioned, 0, 0, NULL), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_versioned_wait(versioned, 0, 2000000, NULL), HF_E_TIMEOUT);
    content_fill(data, 100, 1);
    CHECK_EQ(hf_shm_versioned_write(versioned, data, NULL), HF_OK);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        CHECK_EQ(hf_shm_versioned_write(versioned, data, NULL), HF_E_BUSY);
        CHECK(strstr(hf_shm_detail(), "process") != NULL);
        char out[100];
        while (version < 100) {
            uint64_t seen;
            CHECK_EQ(hf_shm_versioned_wait(versioned, version, HF_FOREVER, &seen), HF_OK);
            CHECK_GT(seen, version);
            CHECK_EQ(hf_shm_versioned_read(versioned, out, &version), HF_OK);
            CHECK_GE(version, seen);
            CHECK(content_is(out, 100, version));
        }
        _exit(0);
    }
    for (uint64_t v = 2; v <= 100; v++) {
        content_fill(data, 100, v);
        CHECK_EQ(hf_shm_versioned_write(versioned, data, NULL), HF_OK);
        if (v % 10 == 0) usleep(500);
    }
    harness_expect_ok(child, "reader");
    versioned_drop(versioned);
}

static void test_nobody_waits_for_a_writer_stopped_in_the_middle(void) {
    hf_shm_versioned *versioned = versioned_make(1, 100, 2);
    char data[100], out[100];
    content_fill(data, 100, 1);
    CHECK_EQ(hf_shm_versioned_write(versioned, data, NULL), HF_OK);
    CHECK_EQ(hf_shm_versioned_release(versioned), HF_OK);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        void *next;
        CHECK_EQ(hf_shm_versioned_begin(versioned, 0, &next), HF_OK);
        memset(next, 0x5a, 100);
        raise(SIGSTOP);
        content_fill(next, 100, 2);
        CHECK_EQ(hf_shm_versioned_commit(versioned, NULL), HF_OK);
        _exit(0);
    }
    int status = 0;
    uint64_t version = 0;
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(hf_shm_versioned_read(versioned, out, &version), HF_OK);
        CHECK_EQ(version, 1);
        CHECK(content_is(out, 100, 1));
    }
    CHECK_EQ(hf_shm_versioned_write(versioned, data, NULL), HF_E_BUSY);
    CHECK_EQ(kill(child, SIGCONT), 0);
    harness_expect_ok(child, "stopped writer");
    CHECK_EQ(hf_shm_versioned_read(versioned, out, &version), HF_OK);
    CHECK_EQ(version, 2);
    CHECK(content_is(out, 100, 2));
    versioned_drop(versioned);
}

static void test_openers_that_ask_for_something_else_are_told(void) {
    hf_shm_versioned_options options;
    hf_shm_versioned *versioned = NULL, *none = NULL;
    hf_shm_versioned_options_init(&options, 8, 0);
    options.dimensions = 2;
    options.shape[0] = 3;
    options.shape[1] = 5;
    options.format = "<f8";
    CHECK_EQ(hf_shm_versioned_open(shm, "v", HF_SHM_OPEN, &options, &none), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_versioned_open(shm, "v", HF_SHM_CREATE, &options, &versioned), HF_OK);
    CHECK_EQ(hf_shm_versioned_element_count(versioned), 15);
    CHECK_EQ(hf_shm_versioned_element_size(versioned), 8);
    hf_shm_entry entry;
    CHECK_EQ(hf_shm_find(shm, "v", &entry), HF_OK);
    CHECK_EQ(entry.dimensions, 2);
    CHECK_EQ(entry.shape[1], 5);
    for (int i = 0; i < 5; i++) {
        hf_shm_versioned_options other = options;
        if (i == 0) other.shape[0] = 5, other.shape[1] = 3;
        if (i == 1) other.buffers = 3;
        if (i == 2) other.format = "<i8";
        if (i == 3) other.dimensions = 1, other.shape[0] = 16;
        if (i == 4) other.element_size = 4;
        CHECK_EQ(hf_shm_versioned_open(shm, "v", HF_SHM_OPEN, &other, &none), HF_E_MISMATCH);
    }
    hf_shm_ring *ring = NULL;
    CHECK_EQ(hf_shm_ring_open(shm, "v", HF_SHM_OPEN, NULL, &ring), HF_E_MISMATCH);
    CHECK_EQ(hf_shm_versioned_open(shm, "v", HF_SHM_OPEN, NULL, &none), HF_OK);
    CHECK_EQ(hf_shm_versioned_claim(none), HF_OK);
    CHECK_EQ(hf_shm_versioned_claim(versioned), HF_E_BUSY);
    CHECK_EQ(hf_shm_versioned_release(none), HF_OK);
    CHECK_EQ(hf_shm_versioned_claim(versioned), HF_OK);
    CHECK_EQ(hf_shm_versioned_close(none), HF_OK);
    CHECK_EQ(hf_shm_versioned_close(versioned), HF_OK);
    for (int i = 0; i < 7; i++) {
        hf_shm_versioned_options bad = options;
        if (i == 0) bad.struct_size = 0;
        if (i == 1) bad.shape[1] = 0;
        if (i == 2) bad.dimensions = 9;
        if (i == 3) bad.shape[0] = UINT64_MAX / 2;
        if (i == 4) bad.buffers = 1;
        if (i == 5) bad.buffers = HF_SHM_VERSIONED_BUFFERS_MAX + 1;
        if (i == 6) bad.element_count = 16;
        CHECK_EQ(hf_shm_versioned_open(shm, "w", HF_SHM_CREATE, &bad, &none), HF_E_INVALID);
    }
    CHECK_EQ(hf_shm_versioned_open(shm, "w", HF_SHM_CREATE, NULL, &none), HF_E_INVALID);
    CHECK_EQ(hf_shm_versioned_open(NULL, "w", HF_SHM_CREATE, &options, &none), HF_E_INVALID);
    CHECK_EQ(hf_shm_versioned_write(NULL, &options, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_versioned_read(NULL, &options, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_versioned_close(NULL), HF_OK);
    CHECK_EQ(hf_shm_erase(shm, "v"), HF_OK);
}

int main(void) {
    CHECK_WATCHDOG(60);
    shm = stream_segment("versioned", 4 << 20);
    CHECK_RUN(test_read_gets_the_newest_version_whole);
    CHECK_RUN(test_ranges_keep_the_rest);
    CHECK_RUN(test_begun_versions_are_seen_when_committed);
    CHECK_RUN(test_views_last_until_the_writer_comes_round);
    CHECK_RUN(test_one_writes_and_a_child_waits_for_each);
    CHECK_RUN(test_nobody_waits_for_a_writer_stopped_in_the_middle);
    CHECK_RUN(test_openers_that_ask_for_something_else_are_told);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
    return 0;
}
