/* test_shm_copy.c - those who look, those who come for a while, and copies of a whole segment.
 *
 * Method: a watcher and a guest next to members that live, leave and are killed; dumps are loaded
 * again and compared item by item, then damaged at every byte of the head and at drawn ones behind. */
#include <fcntl.h>
#include <holdfast/shm_queue.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shm_help.h"

static hf_shm *join_as(const char *name, hf_shm_presence presence) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 0);
    options.presence = presence;
    OK(hf_shm_open(name, HF_SHM_OPEN, &options, &shm));
    return shm;
}

static hf_shm_queue *queue_in(hf_shm *shm, const char *name, hf_shm_mode mode) {
    hf_shm_queue_options options;
    hf_shm_queue *queue = NULL;
    hf_shm_queue_options_init(&options, 64, 16);
    OK(hf_shm_queue_open(shm, name, mode, &options, &queue));
    return queue;
}

static void put(hf_shm_queue *queue, uint64_t from, uint64_t to) {
    for (uint64_t i = from; i < to; i++) {
        uint64_t item[8] = {i, i * i};
        OK(hf_shm_queue_put(queue, item, sizeof item, 0));
    }
}

static void expect(hf_shm_queue *queue, uint64_t from, uint64_t to) {
    for (uint64_t i = from; i < to; i++) {
        uint64_t item[8], size = 0;
        OK(hf_shm_queue_get(queue, item, sizeof item, 0, &size));
        CHECK_EQ(size, 64);
        CHECK_EQ(item[0], i);
        CHECK_EQ(item[1], i * i);
    }
    uint64_t item[8];
    CHECK_EQ(hf_shm_queue_get(queue, item, sizeof item, 0, NULL), HF_E_EMPTY);
}

/* A process that is, by its birth, a participant of what is open here, until it is killed. */
static pid_t holder(void) {
    int ready[2];
    CHECK_EQ(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        char byte = 1;
        if (write(ready[1], &byte, 1) != 1) _exit(1);
        for (;;)
            pause();
    }
    char byte;
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void end(pid_t child) {
    kill(child, SIGKILL);
    CHECK_EQ(waitpid(child, NULL, 0), child);
}

static int count_entry(const hf_shm_entry *entry, void *context) {
    *(unsigned *)context += entry->kind == HF_SHM_KIND_QUEUE;
    return 0;
}

static void test_watcher_sees_everything_and_changes_nothing(void) {
    const char *name = harness_name("watch");
    hf_shm *member = help_make(name, 1 << 20);
    hf_shm_queue *queue = queue_in(member, "q", HF_SHM_CREATE);
    put(queue, 0, 5);
    hf_shm *watcher = join_as(name, HF_SHM_WATCHER);
    hf_shm_info info = help_info(watcher);
    CHECK_EQ(info.participants_live, 1);
    CHECK_EQ(info.self, UINT32_MAX);
    CHECK_EQ(info.entries, 1);
    unsigned queues = 0;
    OK(hf_shm_list(watcher, count_entry, &queues));
    CHECK_EQ(queues, 1);
    hf_shm_figures figures;
    OK(hf_shm_figures_of(watcher, "q", &figures));
    CHECK_EQ(figures.count, 5);
    put(queue, 5, 7);
    OK(hf_shm_figures_of(watcher, "q", &figures));
    CHECK_EQ(figures.count, 7);
    OK(hf_shm_check(watcher, NULL, NULL, NULL));
    hf_shm_entry entry;
    OK(hf_shm_find(watcher, "q", &entry));
    CHECK_EQ(entry.users, 1);

    hf_shm_queue *none = NULL;
    hf_shm_span span;
    CHECK_EQ(hf_shm_queue_open(watcher, "q", HF_SHM_OPEN, NULL, &none), HF_E_PERMISSION);
    CHECK_EQ(hf_shm_add(watcher, "s", 64, &span), HF_E_PERMISSION);
    CHECK_EQ(hf_shm_erase(watcher, "q"), HF_E_PERMISSION);
    CHECK_EQ(hf_shm_sweep(watcher, NULL), HF_E_PERMISSION);
    CHECK_EQ(hf_shm_repair(watcher, NULL, NULL), HF_E_PERMISSION);
    CHECK_EQ(hf_shm_grow(watcher, 1 << 20), HF_E_PERMISSION);
    CHECK_EQ(hf_shm_dump(watcher, 1, 0, NULL), HF_E_PERMISSION);
    CHECK(strstr(hf_shm_detail(), "watcher") != NULL);

    pid_t child = fork(); /* of a watcher is a watcher */
    if (child == 0) _exit(help_info(watcher).participants_live == 2 ? 0 : 1);
    harness_expect_ok(child, "the watcher's child");

    OK(hf_shm_queue_close(queue));
    OK(hf_shm_close(member));
    CHECK(!help_is_there(name)); /* a watcher keeps nothing alive */
    CHECK_EQ(help_info(watcher).participants_live, 0);
    OK(hf_shm_close(watcher));
    hf_shm_options options;
    hf_shm_options_init(&options, 1 << 20);
    options.presence = HF_SHM_WATCHER;
    CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN_OR_CREATE, &options, &watcher), HF_E_INVALID);
    CHECK_EQ(hf_shm_create_anonymous(&options, &watcher), HF_E_INVALID);
}

static void test_watcher_needs_no_right_to_write(void) {
    const char *name = harness_name("read");
    hf_shm *member = help_make(name, 1 << 20);
    CHECK_EQ(fchmod(hf_shm_file(member), 0400), 0);
    hf_shm *watcher = join_as(name, HF_SHM_WATCHER);
    CHECK_EQ(help_info(watcher).participants_live, 1);
    CHECK_EQ(fcntl(hf_shm_file(watcher), F_GETFL) & O_ACCMODE, O_RDONLY);
    OK(hf_shm_close(watcher));
    OK(hf_shm_close(member));
}

static void test_watcher_sees_the_dead_and_leaves_them(void) {
    const char *name = harness_name("dead");
    hf_shm *member = help_make(name, 1 << 20);
    end(holder());
    hf_shm *watcher = join_as(name, HF_SHM_WATCHER);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(help_info(watcher).participants_live, 1);
        CHECK_EQ(help_info(watcher).participants_dead, 1);
        CHECK_EQ(help_info(watcher).recoveries, 0);
    }
    OK(hf_shm_close(watcher));
    OK(hf_shm_close(member));
}

static void test_guest_leaves_what_nobody_lives_in(void) {
    const char *name = harness_name("guest");
    OK(hf_shm_close(help_make(name, 1 << 20)));
    hf_shm *member = help_make(name, 1 << 20);
    pid_t child = holder();
    /* The last member leaves while a guest is there: the guest removes it. */
    hf_shm *guest = join_as(name, HF_SHM_GUEST);
    end(child);
    OK(hf_shm_close(member));
    CHECK(help_is_there(name));
    OK(hf_shm_close(guest));
    CHECK(!help_is_there(name));
    /* Only killed ones were there: it stays, also with two guests at once. */
    pid_t maker = fork();
    if (maker == 0) {
        hf_shm_queue *queue = queue_in(help_make(name, 1 << 20), "q", HF_SHM_CREATE);
        put(queue, 0, 3);
        kill(getpid(), SIGKILL);
    }
    CHECK_EQ(waitpid(maker, NULL, 0), maker);
    guest = join_as(name, HF_SHM_GUEST);
    hf_shm *second = join_as(name, HF_SHM_GUEST);
    OK(hf_shm_close(guest));
    OK(hf_shm_close(second));
    CHECK(help_is_there(name));
    int removed = 0;
    member = help_join(name);
    hf_shm_queue *queue = queue_in(member, "q", HF_SHM_OPEN);
    expect(queue, 0, 3);
    OK(hf_shm_queue_close(queue));
    OK(hf_shm_collect(name, &removed));
    CHECK_EQ(removed, 0);
    OK(hf_shm_close(member));
    CHECK(!help_is_there(name));
}

/* --- copies ----------------------------------------------------------------------------------- */

static int scratch(void) {
    int file = memfd_create("dump", MFD_CLOEXEC);
    CHECK(file >= 0);
    return file;
}

static int dump_of(hf_shm *shm, int while_live, hf_shm_dump_info *info) {
    int file = scratch();
    OK(hf_shm_dump(shm, file, while_live, info));
    CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    return file;
}

static void test_loaded_segment_is_what_was_dumped(void) {
    const char *name = harness_name("dump"), *other = harness_name("load");
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_queue *queue = queue_in(shm, "q", HF_SHM_CREATE);
    put(queue, 0, 20 - 8);
    uint64_t item[8];
    for (unsigned i = 0; i < 8; i++)
        OK(hf_shm_queue_get(queue, item, sizeof item, 0, NULL));
    put(queue, 12, 20);
    hf_shm_span span;
    OK(hf_shm_add(shm, "bytes", 300000, &span));
    memset(hf_shm_at(shm, span, 1000, 100000), 0x5a, 100000);
    hf_shm_dump_info said, loaded;
    int file = dump_of(shm, 0, &said);
    hf_shm_dump_info seen;
    OK(hf_shm_dump_look(file, &seen));
    seen.bytes_stored = said.bytes_stored;
    CHECK(memcmp(&said, &seen, sizeof said) == 0);
    CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    CHECK_EQ(said.live, 0);
    CHECK_EQ(said.entries, 2);
    CHECK(said.bytes_stored < said.size);
    CHECK(strcmp(said.name, name) == 0);
    hf_shm_info before = help_info(shm);

    hf_shm *copy = NULL;
    OK(hf_shm_load(other, file, NULL, &loaded, &copy));
    CHECK(memcmp(&said, &loaded, sizeof said) == 0);
    hf_shm_info after = help_info(copy);
    CHECK(strcmp(before.id, after.id) != 0);
    CHECK_EQ(after.size, before.size);
    CHECK_EQ(after.bytes_used, before.bytes_used);
    CHECK_EQ(after.participants_live, 1);
    CHECK_EQ(after.participants_dead, 0);
    CHECK_EQ(after.recoveries, 0);
    OK(hf_shm_check(copy, NULL, NULL, NULL));
    hf_shm_queue *again = queue_in(copy, "q", HF_SHM_OPEN);
    expect(again, 8, 20);
    put(again, 0, 16);
    expect(again, 0, 16);
    hf_shm_entry entry;
    OK(hf_shm_find(copy, "bytes", &entry));
    const char *bytes = hf_shm_at(copy, entry.span, 0, 300000);
    for (unsigned i = 0; i < 300000; i++)
        CHECK_EQ(bytes[i], i >= 1000 && i < 101000 ? 0x5a : 0);
    expect(queue, 8, 20); /* the dumped one goes on */
    CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    hf_shm *third = NULL;
    CHECK_EQ(hf_shm_load(other, file, NULL, NULL, &third), HF_E_EXISTS);
    OK(hf_shm_queue_close(again));
    OK(hf_shm_close(copy));
    CHECK(!help_is_there(other));
    OK(hf_shm_queue_close(queue));
    OK(hf_shm_close(shm));
    /* Without another name it has its own again. */
    CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    OK(hf_shm_load(NULL, file, NULL, NULL, &copy));
    CHECK(help_is_there(name));
    OK(hf_shm_close(copy));
    close(file);
}

static void test_dump_while_others_live_is_asked_for(void) {
    const char *name = harness_name("live"), *other = harness_name("livecopy");
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_queue *queue = queue_in(shm, "q", HF_SHM_CREATE);
    put(queue, 0, 9);
    hf_shm_slot slot;
    OK(hf_shm_queue_reserve(queue, 64, 0,
                            &slot)); /* in the hand of one who lives here, not there */
    pid_t child = holder();
    int file = scratch();
    CHECK_EQ(hf_shm_dump(shm, file, 0, NULL), HF_E_BUSY);
    CHECK_EQ(lseek(file, 0, SEEK_END), 0);
    close(file);
    hf_shm_dump_info info;
    file = dump_of(shm, 1, &info);
    CHECK_EQ(info.live, 1);
    hf_shm *copy = NULL;
    OK(hf_shm_load(other, file, NULL, NULL, &copy));
    CHECK_EQ(help_info(copy).participants_live, 1);
    CHECK_EQ(help_info(copy).participants_dead, 0);
    OK(hf_shm_check(copy, NULL, NULL, NULL));
    hf_shm_queue *again = queue_in(copy, "q", HF_SHM_OPEN);
    expect(again, 0, 9);
    put(again, 0, 16);
    expect(again, 0, 16);
    OK(hf_shm_queue_close(again));
    OK(hf_shm_close(copy));
    end(child);
    /* The dead do not count. */
    OK(hf_shm_queue_abandon(queue, &slot));
    close(file);
    file = dump_of(shm, 0, &info);
    close(file);
    OK(hf_shm_queue_close(queue));
    OK(hf_shm_close(shm));
}

static void test_while_it_is_dumped_nobody_comes_in_and_then_everybody(void) {
    const char *name = harness_name("comer");
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_dump_info info;
    for (unsigned i = 0; i < 3; i++) {
        int file = dump_of(shm, 0, &info);
        close(file);
        hf_shm *second = help_join(name); /* all places were given back, and its own kept */
        CHECK_EQ(help_info(second).participants_live, 2);
        CHECK_EQ(hf_shm_dump(shm, 1, 0, NULL), HF_E_BUSY);
        OK(hf_shm_close(shm));
        shm = second;
    }
    OK(hf_shm_close(shm));
}

static void test_damaged_dump_is_refused(void) {
    const char *name = harness_name("damage"), *other = harness_name("damaged");
    hf_shm *shm = help_make(name, 512 << 10);
    hf_shm_queue *queue = queue_in(shm, "q", HF_SHM_CREATE);
    put(queue, 0, 16);
    OK(hf_shm_queue_close(queue));
    int file = dump_of(shm, 0, NULL);
    OK(hf_shm_close(shm));
    size_t size = (size_t)lseek(file, 0, SEEK_END);
    unsigned char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(bytes != MAP_FAILED);
    for (size_t at = 0; at < size; at += at < 600 || at + 40 > size ? 1 : 997) {
        bytes[at] ^= 0x10;
        CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
        hf_status status = hf_shm_load(other, file, NULL, NULL, &shm);
        CHECK_SAY(status == HF_E_CORRUPT || status == HF_E_LAYOUT, "byte %zu: %d", at, (int)status);
        CHECK(!help_is_there(other));
        bytes[at] ^= 0x10;
    }
    for (size_t length = 0; length < size; length += length < 600 ? 37 : size / 23) {
        int cut = scratch();
        CHECK_EQ(write(cut, bytes, length), (ssize_t)length);
        CHECK_EQ(lseek(cut, 0, SEEK_SET), 0);
        hf_status status = hf_shm_load(other, cut, NULL, NULL, &shm);
        CHECK_SAY(status == HF_E_CORRUPT || status == HF_E_LAYOUT, "%zu bytes: %d", length,
                  (int)status);
        CHECK(!help_is_there(other));
        close(cut);
    }
    CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    OK(hf_shm_load(other, file, NULL, NULL, &shm));
    OK(hf_shm_close(shm));
    close(file);
}

static void test_dump_into_a_full_device_is_a_status(void) {
    const char *name = harness_name("full");
    hf_shm *shm = help_make(name, 1 << 20);
    int file = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (file < 0) CHECK_SKIP("there is no /dev/full");
    CHECK_EQ(hf_shm_dump(shm, file, 0, NULL), HF_E_NO_SPACE);
    close(file);
    CHECK_EQ(hf_shm_dump(shm, -1, 0, NULL), HF_E_SYSTEM);
    CHECK_EQ(hf_shm_load(name, -1, NULL, NULL, &shm), HF_E_SYSTEM);
    hf_shm *second = help_join(name); /* nobody is kept out afterwards */
    OK(hf_shm_close(second));
    OK(hf_shm_close(shm));
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_watcher_sees_everything_and_changes_nothing);
    CHECK_RUN(test_watcher_needs_no_right_to_write);
    CHECK_RUN(test_watcher_sees_the_dead_and_leaves_them);
    CHECK_RUN(test_guest_leaves_what_nobody_lives_in);
    CHECK_RUN(test_loaded_segment_is_what_was_dumped);
    CHECK_RUN(test_dump_while_others_live_is_asked_for);
    CHECK_RUN(test_while_it_is_dumped_nobody_comes_in_and_then_everybody);
    CHECK_RUN(test_damaged_dump_is_refused);
    CHECK_RUN(test_dump_into_a_full_device_is_a_status);
    return 0;
}
