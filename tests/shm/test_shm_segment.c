/* test_shm_segment - segments are made, opened, reached and counted as was asked.
 *
 * Method: every option in and out of range, every mode and name, the last of each limit; afterwards
 * counts are exact, every descriptor is given back and nothing is left in /dev/shm. How segments end is
 * in test_shm_segment_left.c, the memory under them in test_shm_segment_memory.c. */
#include <errno.h>
#include <holdfast/owner.h>

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
    CHECK_RUN(test_anonymous_segment_is_reached_by_its_descriptor);
    CHECK_RUN(test_anonymous_segment_cannot_be_cut_short);
    CHECK_RUN(test_descriptors_are_given_back);
    CHECK_RUN(test_the_account_of_a_segment_adds_up);
    CHECK_RUN(test_segments_are_listed_by_name);
    return 0;
}
