/* test_shm_files.c - files that somebody planted under a segment's name: none is believed, none is
 * waited for, none is changed.
 *
 * Method: every kind of file, every field of the header, other users where this one may make their
 * files. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <holdfast/shm.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shm/layout.h"
#include "shm_help.h"

enum { STRANGER = 12345 };

static void path_of(const char *name, char path[300]) {
    (void)snprintf(path, 300, "/dev/shm/holdfast-%s", name);
}

static hf_status open_by_name(const char *name, hf_shm_mode mode) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, mode == HF_SHM_OPEN ? 0 : 1 << 20);
    options.lock_wait_ns = UINT64_C(5000000000);
    hf_status status = hf_shm_open(name, mode, &options, &shm);
    if (status == HF_OK) OK(hf_shm_close(shm));
    return status;
}

/* Refused in every mode that opens, with this status and a sentence that holds `word`. */
static void expect_refused(const char *name, hf_status status, const char *word) {
    hf_shm_mode modes[] = {HF_SHM_OPEN, HF_SHM_OPEN_OR_CREATE};
    for (unsigned i = 0; i < 2; i++) {
        hf_status got = open_by_name(name, modes[i]);
        CHECK_SAY(got == status, "%s: %d instead of %d: %s", name, (int)got, (int)status,
                  hf_shm_detail());
        CHECK_SAY(strstr(hf_shm_detail(), word) != NULL, "no \"%s\" in: %s", word, hf_shm_detail());
    }
}

static void plant(const char *path, const void *bytes, size_t size) {
    int file = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
    CHECK(file >= 0);
    CHECK(write(file, bytes, size) == (ssize_t)size);
    close(file);
}

static void test_files_that_are_no_segments_are_refused(void) {
    const char *name = harness_name("planted");
    char path[300], zeros[8192] = {0};
    path_of(name, path);
    for (size_t size = 0; size <= sizeof zeros; size = size == 0 ? 1 : size * 2) {
        plant(path, zeros, size);
        expect_refused(name, HF_E_LAYOUT,
                       size < sizeof(struct hfi_shm_header) ? "short" : "no segment");
        CHECK_EQ(hf_shm_collect(name, NULL), HF_E_LAYOUT);
        struct stat about;
        CHECK(stat(path, &about) == 0 && about.st_size == (off_t)size); /* left as it was */
        CHECK(unlink(path) == 0);
    }
}

static void test_links_folders_and_pipes_are_refused_without_waiting(void) {
    const char *name = harness_name("kinds"), *target = harness_name("target");
    char path[300], target_path[300];
    path_of(name, path);
    path_of(target, target_path);
    /* A link to a perfectly good segment of this user. */
    hf_shm *shm = help_make(target, 1 << 20);
    CHECK(symlink(target_path, path) == 0);
    expect_refused(name, HF_E_PERMISSION, "link");
    CHECK_EQ(open_by_name(name, HF_SHM_CREATE), HF_E_PERMISSION);
    CHECK(unlink(path) == 0);
    /* One to nowhere is not made into something. */
    CHECK(symlink("/dev/shm/holdfast-nowhere", path) == 0);
    expect_refused(name, HF_E_PERMISSION, "link");
    CHECK(access("/dev/shm/holdfast-nowhere", F_OK) != 0);
    CHECK(unlink(path) == 0);
    /* A second name of it. */
    CHECK(link(target_path, path) == 0);
    expect_refused(name, HF_E_LAYOUT, target);
    CHECK(unlink(path) == 0);
    OK(hf_shm_close(shm));
    CHECK(mkdir(path, 0700) == 0);
    CHECK_EQ(open_by_name(name, HF_SHM_OPEN_OR_CREATE), HF_E_LAYOUT);
    CHECK_EQ(open_by_name(name, HF_SHM_OPEN), HF_E_LAYOUT);
    CHECK_EQ(hf_shm_remove(name), HF_E_LAYOUT);
    CHECK(rmdir(path) == 0);
    CHECK(mkfifo(path, 0600) == 0);
    expect_refused(name, HF_E_LAYOUT, "regular");
    CHECK(hf_shm_collect(name, NULL) != HF_OK);
    CHECK(unlink(path) == 0);
    CHECK(mkfifo(path, 0) == 0); /* as root it opens all the same */
    hf_status status = open_by_name(name, HF_SHM_OPEN);
    CHECK(status == HF_E_LAYOUT || status == HF_E_PERMISSION);
    CHECK(unlink(path) == 0);
}

/* --- numbers of the header -------------------------------------------------------------------- */

static void header_put(const char *path, const struct hfi_shm_header *header) {
    int file = open(path, O_RDWR);
    CHECK(file >= 0 && pwrite(file, header, sizeof *header, 0) == (ssize_t)sizeof *header);
    close(file);
}

static void test_every_number_of_the_header_is_checked(void) {
    const char *name = harness_name("header");
    char path[300];
    path_of(name, path);
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 1 << 20);
    options.persist = 1;
    OK(hf_shm_open(name, HF_SHM_CREATE, &options, &shm));
    OK(hf_shm_close(shm));
    struct hfi_shm_header good, bad;
    int file = open(path, O_RDONLY);
    CHECK(file >= 0 && read(file, &good, sizeof good) == (ssize_t)sizeof good);
    close(file);

    bad = good;
    bad.magic++;
    header_put(path, &bad);
    expect_refused(name, HF_E_LAYOUT, "no segment");
    bad = good;
    bad.layout = 77;
    header_put(path, &bad);
    expect_refused(name, HF_E_LAYOUT, "version 77, this library knows 1");
    bad = good;
    bad.machine ^= 0x101;
    header_put(path, &bad);
    expect_refused(name, HF_E_LAYOUT, "byte order");
    bad = good;
    bad.constants.entries_max++;
    header_put(path, &bad);
    expect_refused(name, HF_E_CORRUPT, "overwritten");

    /* With a checksum that agrees, as one who means harm would write it. */
    static const uint64_t strange[] = {0,
                                       1,
                                       4095,
                                       4097,
                                       1 << 30,
                                       UINT32_MAX,
                                       INT64_MAX & ~UINT64_C(4095),
                                       UINT64_MAX,
                                       UINT64_MAX - 4095,
                                       HF_SHM_SIZE_MAX + 4096};
    struct {
        size_t at, size;
        const char *what;
    } fields[] = {
        {offsetof(struct hfi_shm_header, constants.size_max), 8, "size_max"},
        {offsetof(struct hfi_shm_header, constants.size_created), 8, "size_created"},
        {offsetof(struct hfi_shm_header, constants.data_at), 8, "data_at"},
        {offsetof(struct hfi_shm_header, constants.participants_max), 4, "participants_max"},
        {offsetof(struct hfi_shm_header, constants.entries_max), 4, "entries_max"},
        {offsetof(struct hfi_shm_header, constants.name_size), 4, "name_size"},
        {offsetof(struct hfi_shm_header, constants.format_size), 4, "format_size"},
        {offsetof(struct hfi_shm_header, size), 8, "size"}};
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++)
        for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
            bad = good;
            memcpy((char *)&bad + fields[f].at, &strange[i], fields[f].size);
            bad.checksum = hfi_shm_checksum(&bad.constants);
            header_put(path, &bad);
            hf_status status = open_by_name(name, HF_SHM_OPEN);
            /* What it was made with, and how far it may grow, is believed if it can be. */
            bool harmless = (f == 1 && strange[i] <= 1 << 20) || (f == 0 && strange[i] == 1 << 30);
            CHECK_SAY(status == HF_E_CORRUPT || (harmless && status == HF_OK), "%s = %llu: %d: %s",
                      fields[f].what, (unsigned long long)strange[i], (int)status, hf_shm_detail());
        }
    bad = good;
    memset(bad.constants.name, 'n', sizeof bad.constants.name);
    bad.checksum = hfi_shm_checksum(&bad.constants);
    header_put(path, &bad);
    expect_refused(name, HF_E_CORRUPT, "overwritten");
    /* A name in the header cannot make us remove something else. */
    bad = good;
    (void)snprintf(bad.constants.name, sizeof bad.constants.name, "../../tmp/x");
    bad.checksum = hfi_shm_checksum(&bad.constants);
    header_put(path, &bad);
    expect_refused(name, HF_E_LAYOUT, "is another, \"\"");
    file = open(path, O_RDWR);
    OK(hf_shm_open_file(file, NULL, &shm));
    OK(hf_shm_close(shm));
    close(file);

    header_put(path, &good);
    CHECK(truncate(path, 1 << 19) == 0);
    expect_refused(name, HF_E_CORRUPT, "cut short");
    OK(hf_shm_remove(name));
}

/* --- other users ------------------------------------------------------------------------------ */

static void test_new_segments_have_the_mode_that_was_asked_for(void) {
    const char *name = harness_name("mode");
    char path[300];
    path_of(name, path);
    mode_t old = umask(0777); /* the mode is what was asked for, whatever the mask */
    uint32_t modes[] = {0600, 0660, 0640, 0666};
    for (unsigned i = 0; i < 4; i++) {
        hf_shm_options options;
        hf_shm *shm = NULL;
        struct stat about;
        hf_shm_options_init(&options, 1 << 20);
        options.access = modes[i];
        options.group = geteuid() == 0 ? STRANGER + (int64_t)i : (int64_t)getegid();
        OK(hf_shm_open(name, HF_SHM_CREATE, &options, &shm));
        CHECK(stat(path, &about) == 0);
        CHECK_EQ(about.st_mode & 07777, modes[i]);
        CHECK_EQ(about.st_gid, options.group);
        CHECK_EQ(help_info(shm).access, modes[i]);
        OK(hf_shm_close(shm));
    }
    umask(old);
}

static void test_segments_of_others_are_refused_unless_trusted(void) {
    if (geteuid() != 0) {
        printf("  skipped: only root can make files of another user\n");
        return;
    }
    const char *name = harness_name("others");
    char path[300];
    path_of(name, path);
    hf_shm_options options;
    hf_shm *shm = NULL, *again = NULL;
    hf_shm_options_init(&options, 1 << 20);
    options.access = 0666;
    OK(hf_shm_open(name, HF_SHM_CREATE, &options, &shm));
    CHECK(chown(path, STRANGER, STRANGER) == 0);
    options.size = 0;
    CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN, &options, &again), HF_E_PERMISSION);
    CHECK(strstr(hf_shm_detail(), "user 12345 (mode 0666)") != NULL);
    options.owner = STRANGER + 1;
    CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN, &options, &again), HF_E_PERMISSION);
    options.owner = STRANGER;
    OK(hf_shm_open(name, HF_SHM_OPEN, &options, &again));
    OK(hf_shm_close(again));
    options.owner = -2;
    OK(hf_shm_open(name, HF_SHM_OPEN, &options, &again));
    OK(hf_shm_close(again));
    OK(hf_shm_close(shm));
    CHECK(!help_is_there(name));
}

static void test_modes_keep_other_users_out_and_roots_segments_are_trusted(void) {
    if (geteuid() != 0) {
        printf("  skipped: only root can become another user\n");
        return;
    }
    const char *closed = harness_name("closed"), *open_one = harness_name("open");
    const char *group = harness_name("group"), *others = harness_name("no-group");
    hf_shm_options options;
    hf_shm *one = NULL, *two = NULL, *three = NULL, *four = NULL;
    hf_shm_options_init(&options, 1 << 20);
    OK(hf_shm_open(closed, HF_SHM_CREATE, &options, &one));
    options.access = 0666;
    OK(hf_shm_open(open_one, HF_SHM_CREATE, &options, &two));
    options.access = 0660;
    options.group = STRANGER;
    OK(hf_shm_open(group, HF_SHM_CREATE, &options, &three));
    options.group = STRANGER + 1;
    OK(hf_shm_open(others, HF_SHM_CREATE, &options, &four));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        CHECK(setgroups(0, NULL) == 0);
        CHECK(setresgid(STRANGER, STRANGER, STRANGER) == 0);
        CHECK(setresuid(STRANGER, STRANGER, STRANGER) == 0);
        expect_refused(closed, HF_E_PERMISSION, "belongs to user 0 and has mode 0600");
        CHECK_EQ(hf_shm_remove(closed), HF_E_PERMISSION);
        CHECK_EQ(hf_shm_collect(closed, NULL), HF_E_PERMISSION);
        hf_shm *shm = NULL;
        OK(hf_shm_open(open_one, HF_SHM_OPEN, NULL, &shm));
        CHECK_EQ(help_info(shm).participants_live, 3);
        CHECK_EQ(hf_shm_remove(open_one), HF_E_PERMISSION); /* the folder is sticky */
        OK(hf_shm_close(shm));
        OK(hf_shm_open(group, HF_SHM_OPEN, NULL, &shm)); /* of the group */
        OK(hf_shm_close(shm));
        expect_refused(others, HF_E_PERMISSION, "mode 0660");
        options.group = 0; /* who is not in a group gives nothing to it */
        CHECK_EQ(hf_shm_open(harness_name("given"), HF_SHM_CREATE, &options, &shm),
                 HF_E_PERMISSION);
        CHECK(!help_is_there(harness_name("given")));
        _exit(0);
    }
    harness_expect_ok(child, "the other user");
    OK(hf_shm_close(one));
    OK(hf_shm_close(two));
    OK(hf_shm_close(three));
    OK(hf_shm_close(four));
    CHECK(!help_is_there(closed) && !help_is_there(open_one) && !help_is_there(group));
}

static const char *const suffixes[] = {"-file", "-folder", " odd name"};

/* A bit for each of our three files that is listed. */
static int note_name(const char *name, uint64_t size, void *context) {
    const char *own = harness_name("listed");
    (void)size;
    for (unsigned i = 0; i < 3; i++)
        if (strncmp(name, own, strlen(own)) == 0 && strcmp(name + strlen(own), suffixes[i]) == 0)
            *(unsigned *)context |= 1u << i;
    return 0;
}

static void test_strange_names_in_the_folder_are_not_listed(void) {
    char paths[3][300];
    unsigned listed = 0;
    for (unsigned i = 0; i < 3; i++)
        (void)snprintf(paths[i], sizeof paths[i], "/dev/shm/holdfast-%s%s", harness_name("listed"),
                       suffixes[i]);
    plant(paths[0], "", 0);
    CHECK(mkdir(paths[1], 0700) == 0);
    plant(paths[2], "", 0);
    OK(hf_shm_names(note_name, &listed));
    CHECK_EQ(listed, 1); /* the file that could be a segment */
    CHECK(unlink(paths[0]) == 0 && rmdir(paths[1]) == 0 && unlink(paths[2]) == 0);
    CHECK_EQ(hf_shm_names(NULL, NULL), HF_E_INVALID);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_files_that_are_no_segments_are_refused);
    CHECK_RUN(test_links_folders_and_pipes_are_refused_without_waiting);
    CHECK_RUN(test_every_number_of_the_header_is_checked);
    CHECK_RUN(test_new_segments_have_the_mode_that_was_asked_for);
    CHECK_RUN(test_segments_of_others_are_refused_unless_trusted);
    CHECK_RUN(test_modes_keep_other_users_out_and_roots_segments_are_trusted);
    CHECK_RUN(test_strange_names_in_the_folder_are_not_listed);
    return 0;
}
