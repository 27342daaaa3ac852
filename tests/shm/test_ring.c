/* test_ring - what a ring promises when nobody dies: order, loss, room, refusals, places.
 *
 * Method: items that say where they stand, over every small shape of ring; a second process where
 * another participant is needed. */
#include "stream.h"

#include <signal.h>
#include <sys/wait.h>

static hf_shm *shm;
static int serial;

static hf_shm_ring *ring_make(uint64_t element_size, uint64_t capacity, bool reliable,
                              uint32_t readers_max) {
    char name[32];
    snprintf(name, sizeof name, "ring-%d", ++serial);
    hf_shm_ring_options options;
    hf_shm_ring_options_init(&options, element_size, capacity);
    options.reliable = reliable;
    options.readers_max = readers_max;
    hf_shm_ring *ring = NULL;
    hf_status status = hf_shm_ring_open(shm, name, HF_SHM_CREATE, &options, &ring);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    return ring;
}

static void ring_drop(hf_shm_ring *ring) {
    char name[32];
    snprintf(name, sizeof name, "ring-%d", serial);
    stream_check(shm);
    CHECK_EQ(hf_shm_ring_close(ring), HF_OK);
    CHECK_EQ(hf_shm_erase(shm, name), HF_OK);
}

static hf_shm_ring_reader *reader_make(hf_shm_ring *ring, hf_shm_ring_from from, uint64_t position,
                                       bool lossy) {
    hf_shm_ring_reader_options options;
    hf_shm_ring_reader_options_init(&options);
    options.from = from;
    options.position = position;
    options.lossy = lossy;
    hf_shm_ring_reader *reader = NULL;
    hf_status status = hf_shm_ring_reader_open(ring, &options, &reader);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    return reader;
}

/* --- order and content ------------------------------------------------------------------------ */

static void test_bytes_of_every_size_come_out_as_they_went_in(void) {
    static const uint64_t sizes[] = {1, 2, 3, 7, 8, 9, 24, 31, 100, 511, 512, 1000, 5000};
    static const uint64_t capacities[] = {1, 2, 3, 5, 8, 13};
    static char in[13 * 5000], out[13 * 5000];
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
            uint64_t size = sizes[s], capacity = capacities[c], got, lost, pushed;
            hf_shm_ring *ring = ring_make(size, capacity, c % 2, 2);
            hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
            check_random random = {size * 31 + capacity};
            for (int round = 0; round < 12; round++) {
                uint64_t count = 1 + check_random_below(&random, capacity);
                for (uint64_t i = 0; i < count * size; i++)
                    in[i] = (char)check_random_next(&random);
                memset(out, 0, sizeof out);
                CHECK_EQ(hf_shm_ring_push_bulk(ring, in, count, 0, &pushed), HF_OK);
                CHECK_EQ(pushed, count);
                CHECK_EQ(hf_shm_ring_peek(reader, out, count, &got), HF_OK);
                CHECK_EQ(got, count);
                CHECK(memcmp(in, out, count * size) == 0);
                memset(out, 0, sizeof out);
                CHECK_EQ(hf_shm_ring_pop_bulk(reader, out, count, 0, &got, &lost), HF_OK);
                CHECK_EQ(got, count);
                CHECK_EQ(lost, 0);
                CHECK(memcmp(in, out, count * size) == 0);
                CHECK_EQ(hf_shm_ring_lag(reader), 0);
                CHECK_EQ(hf_shm_ring_pop(reader, out, 0), HF_E_EMPTY);
            }
            CHECK_EQ(hf_shm_ring_lost(reader), 0);
            hf_shm_ring_reader_close(reader);
            ring_drop(ring);
        }
}

static void test_overwriting_is_told_exactly(void) {
    static const uint64_t capacities[] = {1, 2, 7, 8, 16};
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        uint64_t capacity = capacities[c];
        hf_shm_ring *ring = ring_make(sizeof(item), capacity, false, 4);
        hf_shm_ring_reader *quick = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
        hf_shm_ring_reader *slow = reader_make(ring, HF_SHM_RING_NEWEST, 0, false);
        tally quick_account = tally_of(quick), slow_account = tally_of(slow);
        check_random random = {capacity};
        uint64_t written = 0, expected = 0;
        for (int round = 0; round < 100; round++) {
            uint64_t count = 1 + check_random_below(&random, 40);
            CHECK_EQ(items_push(ring, count, 0, NULL), HF_OK);
            written += count;
            CHECK_EQ(hf_shm_ring_total_written(ring), written);
            expected += count < capacity ? count : capacity;
            tally_drain(&quick_account, quick, 1 + check_random_below(&random, 20));
            if (round % 7 == 0) tally_drain(&slow_account, slow, 5);
        }
        CHECK_EQ(quick_account.received, expected);
        CHECK_EQ(quick_account.received + quick_account.lost, written);
        tally_drain(&slow_account, slow, 64);
        CHECK_EQ(slow_account.received + slow_account.lost, written);
        CHECK_EQ(hf_shm_ring_lost(slow), slow_account.lost);
        hf_shm_ring_reader_close(quick);
        hf_shm_ring_reader_close(slow);
        ring_drop(ring);
    }
}

static void test_bulk_larger_than_the_ring_keeps_the_newest(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 5, false, 1);
    hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    tally account = tally_of(reader);
    uint64_t pushed = 0;
    CHECK_EQ(items_push(ring, 64, 0, &pushed), HF_OK);
    CHECK_EQ(pushed, 64);
    CHECK_EQ(hf_shm_ring_oldest(ring), 59);
    CHECK_EQ(tally_drain(&account, reader, 64), 5);
    CHECK_EQ(account.lost, 59);
    hf_shm_ring_reader_close(reader);
    ring_drop(ring);
}

/* --- in place --------------------------------------------------------------------------------- */

static void test_reserved_elements_are_seen_when_committed(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 5, false, 2);
    hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    tally account = tally_of(reader);
    CHECK_EQ(items_push(ring, 3, 0, NULL), HF_OK);
    void *run;
    uint64_t count;
    CHECK_EQ(hf_shm_ring_reserve(ring, 5, 0, &run, &count), HF_OK);
    CHECK_EQ(count, 2); /* up to the end of the memory */
    item first = item_of(3), unused;
    CHECK_EQ(hf_shm_ring_push(ring, &first, 0), HF_E_BUSY);
    CHECK_EQ(hf_shm_ring_release(ring), HF_E_BUSY);
    memcpy(run, &first, sizeof first);
    CHECK_EQ(hf_shm_ring_total_written(ring), 3);
    CHECK_EQ(hf_shm_ring_commit(ring, 3), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_commit(ring, 1), HF_OK);
    CHECK_EQ(hf_shm_ring_commit(ring, 1), HF_E_INVALID);
    CHECK_EQ(tally_drain(&account, reader, 64), 4);
    /* Given up again: what it would have overwritten is lost, nothing else. */
    CHECK_EQ(items_push(ring, 2, 0, NULL), HF_OK); /* 4, 5; the ring holds 1 to 5 */
    CHECK_EQ(hf_shm_ring_reserve(ring, 2, 0, &run, &count), HF_OK);
    CHECK_EQ(count, 2);
    memset(run, 0x5a, count * sizeof(item));
    CHECK_EQ(hf_shm_ring_commit(ring, 0), HF_OK);
    CHECK_EQ(tally_drain(&account, reader, 64), 2);
    hf_shm_ring_reader *late = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    CHECK_EQ(hf_shm_ring_position(late), 3);
    tally late_account = tally_of(late);
    CHECK_EQ(tally_drain(&late_account, late, 64), 3);
    CHECK_EQ(late_account.lost, 0);
    CHECK_EQ(hf_shm_ring_read_at(ring, 2, &unused, 1, &count), HF_E_STALE);
    hf_shm_ring_reader_close(late);
    hf_shm_ring_reader_close(reader);
    ring_drop(ring);
}

static void test_view_tells_whether_it_stayed_whole(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 8, false, 1);
    hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    const void *run;
    uint64_t count, lost = 99;
    CHECK_EQ(hf_shm_ring_view(reader, 4, &run, &count), HF_E_EMPTY);
    CHECK_EQ(items_push(ring, 6, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_view(reader, 4, &run, &count), HF_OK);
    CHECK_EQ(count, 4);
    for (unsigned i = 0; i < 4; i++)
        CHECK(item_is((const item *)run + i, i));
    CHECK_EQ(hf_shm_ring_advance(reader, 4, &lost), HF_OK);
    CHECK_EQ(lost, 0);
    CHECK_EQ(hf_shm_ring_view(reader, 4, &run, &count), HF_OK); /* 4, 5 */
    CHECK_EQ(count, 2);
    CHECK_EQ(items_push(ring, 7, 0, NULL), HF_OK); /* 6 to 12: 4 is gone */
    CHECK_EQ(hf_shm_ring_advance(reader, 2, &lost), HF_E_STALE);
    CHECK_EQ(lost, 1);
    CHECK(item_is((const item *)run + 1, 5));
    CHECK_EQ(hf_shm_ring_position(reader), 6);
    CHECK_EQ(hf_shm_ring_lost(reader), 1);
    CHECK_EQ(hf_shm_ring_advance(reader, 8, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_view(reader, 8, &run, &count), HF_OK);
    CHECK_EQ(count, 2); /* 6, 7: then the memory ends */
    hf_shm_ring_reader_close(reader);
    ring_drop(ring);
}

/* --- reliable --------------------------------------------------------------------------------- */

static void test_reliable_writer_waits_for_the_slowest(void) {
    static const uint64_t capacities[] = {1, 4, 5, 16};
    for (size_t c = 0; c < sizeof capacities / sizeof *capacities; c++) {
        uint64_t capacity = capacities[c], pushed;
        hf_shm_ring *ring = ring_make(sizeof(item), capacity, true, 4);
        hf_shm_ring_reader *slow = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
        hf_shm_ring_reader *quick = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
        hf_shm_ring_reader *lossy = reader_make(ring, HF_SHM_RING_OLDEST, 0, true);
        tally slow_account = tally_of(slow), quick_account = tally_of(quick),
              lossy_account = tally_of(lossy);
        for (int round = 0; round < 20; round++) {
            CHECK_EQ(items_push(ring, 40, 0, &pushed), HF_E_FULL);
            CHECK_EQ(pushed, round == 0 ? capacity : 1);
            CHECK_EQ(items_push(ring, 1, 1000000, &pushed), HF_E_TIMEOUT);
            CHECK_EQ(pushed, 0);
            tally_drain(&quick_account, quick, 3);
            CHECK_EQ(items_push(ring, 1, 0, NULL), HF_E_FULL);
            item one;
            CHECK_EQ(hf_shm_ring_pop(slow, &one, 0), HF_OK);
            tally_take(&slow_account, &one, 1, 0);
        }
        tally_drain(&slow_account, slow, 64);
        CHECK_EQ(slow_account.lost, 0);
        CHECK_EQ(quick_account.lost, 0);
        tally_drain(&lossy_account, lossy, 64);
        CHECK_EQ(lossy_account.received, capacity);
        CHECK_EQ(lossy_account.lost, 19);
        hf_shm_ring_reader_close(slow);
        CHECK_EQ(items_push(ring, 40, 0, &pushed), HF_E_FULL); /* quick is still there */
        hf_shm_ring_reader_close(quick);
        CHECK_EQ(items_push(ring, 40, 0, &pushed), HF_OK);
        hf_shm_ring_reader_close(lossy);
        ring_drop(ring);
    }
}

static void test_late_reliable_readers_find_most_of_the_ring_and_lose_nothing(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 64, true, 4);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(items_push(ring, 8, 0, NULL), HF_OK);
    hf_shm_ring_reader *late = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    tally account = tally_of(late);
    CHECK_LE(account.start, 80 - 56); /* seven eighths */
    uint64_t pushed = 0;
    CHECK_EQ(items_push(ring, 64, 0, &pushed), HF_E_FULL);
    CHECK_EQ(hf_shm_ring_seek(late, account.start - 1), HF_E_INVALID);
    tally_drain(&account, late, 10);
    CHECK_EQ(account.lost, 0);
    CHECK_EQ(account.next, 80 + pushed);
    hf_shm_ring_reader_close(late);
    ring_drop(ring);
}

static void test_reliable_writer_is_woken_by_its_reader(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 4, true, 2);
    hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    tally account = tally_of(reader);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        for (int i = 0; i < 200; i++)
            CHECK_EQ(items_push(ring, 10, HF_FOREVER, NULL), HF_OK);
        _exit(0);
    }
    item items[3];
    while (account.next < 2000) {
        uint64_t got, lost;
        CHECK_EQ(hf_shm_ring_pop_bulk(reader, items, 3, HF_FOREVER, &got, &lost), HF_OK);
        tally_take(&account, items, got, lost);
    }
    CHECK_EQ(account.lost, 0);
    harness_expect_ok(child, "writer");
    hf_shm_ring_reader_close(reader);
    ring_drop(ring);
}

/* --- places and positions --------------------------------------------------------------------- */

static void test_readers_begin_where_they_are_told(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 8, false, 4);
    CHECK_EQ(items_push(ring, 20, 0, NULL), HF_OK);
    hf_shm_ring_reader *oldest = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    hf_shm_ring_reader *newest = reader_make(ring, HF_SHM_RING_NEWEST, 0, false);
    hf_shm_ring_reader *there = reader_make(ring, HF_SHM_RING_POSITION, 15, false);
    hf_shm_ring_reader *gone = reader_make(ring, HF_SHM_RING_POSITION, 5, false);
    CHECK_EQ(hf_shm_ring_position(oldest), 12);
    CHECK_EQ(hf_shm_ring_position(newest), 20);
    CHECK_EQ(hf_shm_ring_position(there), 15);
    CHECK_EQ(hf_shm_ring_position(gone), 12);
    CHECK_EQ(hf_shm_ring_lost(gone), 7);
    CHECK_EQ(hf_shm_ring_lost(oldest), 0);
    CHECK_EQ(hf_shm_ring_seek(there, 21), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_seek(there, 20), HF_OK);
    CHECK_EQ(hf_shm_ring_lag(there), 0);
    CHECK_EQ(hf_shm_ring_seek(there, 13), HF_OK);
    tally account = tally_of(there);
    CHECK_EQ(tally_drain(&account, there, 64), 7);
    hf_shm_ring_reader_options options;
    hf_shm_ring_reader_options_init(&options);
    options.from = HF_SHM_RING_POSITION;
    options.position = 21;
    hf_shm_ring_reader *none = NULL;
    CHECK_EQ(hf_shm_ring_reader_open(ring, &options, &none), HF_E_INVALID);
    options.from = 9;
    CHECK_EQ(hf_shm_ring_reader_open(ring, &options, &none), HF_E_INVALID);
    options.struct_size = 4;
    CHECK_EQ(hf_shm_ring_reader_open(ring, &options, &none), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_reader_open(ring, NULL, &none), HF_E_LIMIT);
    CHECK(none == NULL);
    CHECK_EQ(hf_shm_ring_close(ring), HF_E_BUSY);
    hf_shm_ring_reader_close(gone);
    CHECK_EQ(hf_shm_ring_reader_open(ring, NULL, &gone), HF_OK);
    hf_shm_ring_reader_close(gone);
    hf_shm_ring_reader_close(there);
    hf_shm_ring_reader_close(newest);
    hf_shm_ring_reader_close(oldest);
    ring_drop(ring);
}

static void test_latest_and_read_at_take_nothing_away(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 8, false, 1);
    item items[20];
    uint64_t got, position;
    CHECK_EQ(hf_shm_ring_latest(ring, items, 4, &got, NULL), HF_E_EMPTY);
    CHECK_EQ(hf_shm_ring_read_at(ring, 0, items, 1, &got), HF_E_EMPTY);
    CHECK_EQ(items_push(ring, 3, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_latest(ring, items, 20, &got, &position), HF_OK);
    CHECK_EQ(got, 3);
    CHECK_EQ(position, 0);
    CHECK_EQ(items_push(ring, 30, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_latest(ring, items, 20, &got, &position), HF_OK);
    CHECK_EQ(got, 8);
    CHECK_EQ(position, 25);
    for (unsigned i = 0; i < 8; i++)
        CHECK(item_is(&items[i], 25 + i));
    CHECK_EQ(hf_shm_ring_latest(ring, items, 3, &got, &position), HF_OK);
    CHECK_EQ(got, 3);
    CHECK(item_is(&items[2], 32));
    CHECK_EQ(hf_shm_ring_read_at(ring, 24, items, 1, &got), HF_E_STALE);
    CHECK_EQ(hf_shm_ring_read_at(ring, 26, items, 20, &got), HF_OK);
    CHECK_EQ(got, 7);
    CHECK(item_is(&items[6], 32));
    CHECK_EQ(hf_shm_ring_read_at(ring, 33, items, 1, &got), HF_E_EMPTY);
    CHECK_EQ(hf_shm_ring_read_at(ring, UINT64_MAX, items, 1, &got), HF_E_EMPTY);
    ring_drop(ring);
}

static void test_wait_ends_with_the_element_or_in_time(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 8, false, 1);
    hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    item it;
    CHECK_EQ(hf_shm_ring_wait(reader, 1, 0), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_ring_wait(reader, 9, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_pop(reader, &it, 2000000), HF_E_TIMEOUT);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        for (int i = 0; i < 5; i++) {
            usleep(2000);
            CHECK_EQ(items_push(ring, 1, 0, NULL), HF_OK);
        }
        _exit(0);
    }
    CHECK_EQ(hf_shm_ring_pop(reader, &it, HF_FOREVER), HF_OK);
    CHECK(item_is(&it, 0));
    CHECK_EQ(hf_shm_ring_wait(reader, 4, HF_FOREVER), HF_OK);
    CHECK_EQ(hf_shm_ring_lag(reader), 4);
    harness_expect_ok(child, "writer");
    hf_shm_ring_reader_close(reader);
    ring_drop(ring);
}

/* --- who writes ------------------------------------------------------------------------------- */

static void test_second_writer_is_refused_by_name(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 8, false, 1), *second = NULL;
    char name[32], pid[32];
    snprintf(name, sizeof name, "ring-%d", serial);
    CHECK_EQ(hf_shm_ring_open(shm, name, HF_SHM_OPEN, NULL, &second), HF_OK);
    uint32_t participant = 99;
    CHECK_EQ(hf_shm_ring_writer(ring, &participant), 0);
    CHECK_EQ(items_push(ring, 1, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_writer(second, &participant), 1);
    CHECK_EQ(items_push(second, 1, 0, NULL), HF_E_BUSY);
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        CHECK_EQ(items_push(ring, 1, 0, NULL), HF_E_BUSY); /* the parent's handle, inherited */
        CHECK_SAY(strstr(hf_shm_detail(), pid) != NULL, "%s", hf_shm_detail());
        CHECK_EQ(hf_shm_ring_commit(ring, 0), HF_E_STALE);
        _exit(0);
    }
    harness_expect_ok(child, "second writer");
    CHECK_EQ(items_push(ring, 1, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_release(ring), HF_OK);
    CHECK_EQ(items_push(second, 2, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_total_written(ring), 4);
    CHECK_EQ(hf_shm_ring_close(second), HF_OK); /* which releases */
    CHECK_EQ(items_push(ring, 1, 0, NULL), HF_OK);
    ring_drop(ring);
}

static void test_writer_that_was_killed_is_followed(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 4, false, 1);
    hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    tally account = tally_of(reader);
    for (int round = 0; round < 5; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK_WATCHDOG(30);
            CHECK_EQ(items_push(ring, 3, 0, NULL), HF_OK);
            void *run;
            uint64_t count;
            CHECK_EQ(hf_shm_ring_reserve(ring, 1, 0, &run, &count), HF_OK);
            memset(run, 0x5a, sizeof(item));
            kill(getpid(), SIGKILL);
        }
        CHECK(waitpid(child, NULL, 0) == child);
        CHECK_EQ(tally_drain(&account, reader, 64), 3);
    }
    CHECK_EQ(account.lost, 0);
    CHECK_EQ(items_push(ring, 2, 0, NULL), HF_OK);
    CHECK_EQ(tally_drain(&account, reader, 64), 2);
    hf_shm_ring_reader_close(reader);
    ring_drop(ring);
}

/* A stopped writer is in the middle of something for as long as anybody likes. */
static void test_nobody_waits_for_a_stopped_writer(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 8, false, 2);
    hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    tally account = tally_of(reader);
    CHECK_EQ(items_push(ring, 6, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_release(ring), HF_OK);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        void *run;
        uint64_t count, position = hf_shm_ring_total_written(ring);
        CHECK_EQ(hf_shm_ring_reserve(ring, 2, 0, &run, &count), HF_OK);
        memset(run, 0x5a, 2 * sizeof(item));
        raise(SIGSTOP);
        ((item *)run)[0] = item_of(position);
        ((item *)run)[1] = item_of(position + 1);
        CHECK_EQ(hf_shm_ring_commit(ring, 2), HF_OK);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    CHECK_EQ(tally_drain(&account, reader, 4), 6); /* 0 and 1 are not yet overwritten: 6 + 2 = 8 */
    CHECK_EQ(items_push(ring, 1, 0, NULL), HF_E_BUSY);
    CHECK(strstr(hf_shm_detail(), "process") != NULL);
    item items[8];
    uint64_t got, position;
    CHECK_EQ(hf_shm_ring_latest(ring, items, 8, &got, &position), HF_OK);
    CHECK_EQ(got, 6);
    CHECK_EQ(hf_shm_sweep(shm, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_writer(ring, NULL), 1); /* it is not dead */
    CHECK_EQ(kill(child, SIGCONT), 0);
    harness_expect_ok(child, "stopped writer");
    CHECK_EQ(tally_drain(&account, reader, 4), 2);
    CHECK_EQ(account.lost, 0);
    hf_shm_ring_reader_close(reader);
    ring_drop(ring);
}

static void test_child_of_a_fork_reads_on_by_itself(void) {
    for (int reliable = 0; reliable < 2; reliable++) {
        hf_shm_ring *ring = ring_make(sizeof(item), 8, reliable, 2);
        hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
        CHECK_EQ(items_push(ring, 6, 0, NULL), HF_OK);
        tally account = tally_of(reader);
        item two[2];
        uint64_t got;
        CHECK_EQ(hf_shm_ring_pop_bulk(reader, two, 2, 0, &got, NULL), HF_OK);
        tally_take(&account, two, got, 0);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK_WATCHDOG(30);
            CHECK_EQ(tally_drain(&account, reader, 3), 4);
            CHECK_EQ(account.lost, 0);
            hf_shm_ring_reader_close(reader);
            _exit(0);
        }
        harness_expect_ok(child, "child");
        CHECK_EQ(tally_drain(&account, reader, 3), 4);
        CHECK_EQ(account.lost, 0);
        hf_shm_ring_reader_close(reader);
        ring_drop(ring);
    }
}

/* --- refusals --------------------------------------------------------------------------------- */

static void test_openers_that_ask_for_something_else_are_told(void) {
    hf_shm_ring_options options;
    hf_shm_ring *ring = NULL, *none = NULL;
    hf_shm_ring_options_init(&options, 8, 100);
    options.format = "<f8";
    CHECK_EQ(hf_shm_ring_open(shm, "one", HF_SHM_OPEN, &options, &none), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_ring_open(shm, "one", HF_SHM_OPEN_OR_CREATE, &options, &ring), HF_OK);
    CHECK_EQ(hf_shm_ring_open(shm, "one", HF_SHM_CREATE, &options, &none), HF_E_EXISTS);
    hf_shm_ring_options other = options;
    other.element_size = 4;
    CHECK_EQ(hf_shm_ring_open(shm, "one", HF_SHM_OPEN, &other, &none), HF_E_MISMATCH);
    other = options;
    other.capacity = 99;
    CHECK_EQ(hf_shm_ring_open(shm, "one", HF_SHM_OPEN_OR_CREATE, &other, &none), HF_E_MISMATCH);
    other = options;
    other.format = "<i8";
    CHECK_EQ(hf_shm_ring_open(shm, "one", HF_SHM_OPEN, &other, &none), HF_E_MISMATCH);
    CHECK_SAY(strstr(hf_shm_detail(), "<i8") && strstr(hf_shm_detail(), "<f8"), "%s",
              hf_shm_detail());
    other = options;
    other.reliable = 1;
    CHECK_EQ(hf_shm_ring_open(shm, "one", HF_SHM_OPEN, &other, &none), HF_E_MISMATCH);
    other.reliable = 2;
    CHECK_EQ(hf_shm_ring_open(shm, "one", HF_SHM_OPEN, &other, &none), HF_OK);
    CHECK_EQ(hf_shm_ring_capacity(none), 100);
    CHECK_EQ(hf_shm_ring_element_size(none), 8);
    CHECK_EQ(hf_shm_ring_readers_max(none), 16);
    CHECK_EQ(hf_shm_ring_reliable(none), 0);
    CHECK_EQ(hf_shm_ring_close(none), HF_OK);
    CHECK_EQ(hf_shm_ring_close(ring), HF_OK);
    CHECK_EQ(hf_shm_erase(shm, "one"), HF_OK);
}

static void test_arguments_that_cannot_be_are_refused(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 4, true, 2), *none = NULL;
    hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    hf_shm_ring_options options;
    item it = item_of(0);
    uint64_t count;
    void *run;
    const void *view;
    hf_shm_ring_options_init(&options, 8, 100);
    CHECK_EQ(hf_shm_ring_open(NULL, "x", HF_SHM_CREATE, &options, &none), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_open(shm, NULL, HF_SHM_CREATE, &options, &none), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_open(shm, "x", HF_SHM_CREATE, &options, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_open(shm, "x", HF_SHM_CREATE, NULL, &none), HF_E_INVALID);
    for (int i = 0; i < 7; i++) {
        hf_shm_ring_options bad = options;
        if (i == 0) bad.struct_size--;
        if (i == 1) bad.element_size = 0;
        if (i == 2) bad.capacity = 0;
        if (i == 3) bad.readers_max = 0;
        if (i == 4) bad.readers_max = HF_SHM_RING_READERS_MAX + 1;
        if (i == 5) bad.capacity = UINT64_MAX / 8;
        if (i == 6) bad.reliable = 3;
        CHECK_EQ(hf_shm_ring_open(shm, "x", HF_SHM_CREATE, &bad, &none), HF_E_INVALID);
    }
    CHECK_EQ(hf_shm_ring_push(NULL, &it, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_push(ring, NULL, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_push_bulk(ring, &it, 0, 0, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_push_bulk(ring, NULL, 1, 0, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_reserve(ring, 0, 0, &run, &count), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_reserve(ring, 1, 0, NULL, &count), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_pop(reader, NULL, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_pop(NULL, &it, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_pop_bulk(reader, &it, 0, 0, &count, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_peek(reader, &it, 1, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_view(reader, 0, &view, &count), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_latest(ring, NULL, 1, &count, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_read_at(ring, 0, &it, 0, &count), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_readers(ring, NULL, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_claim(NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_release(NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_close(NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_reader_open(NULL, NULL, &reader), HF_E_INVALID);
    CHECK_EQ(hf_shm_ring_reader_open(ring, NULL, NULL), HF_E_INVALID);
    CHECK_GT(strlen(hf_shm_detail()), 10);
    hf_shm_ring_reader_close(NULL);
    hf_shm_ring_reader_close(reader);
    ring_drop(ring);
}

static int reader_seen(const hf_shm_ring_reader_info *info, void *context) {
    hf_shm_ring_reader_info *seen = context;
    seen[info->index] = *info;
    return 0;
}

static void test_figures_and_readers_say_what_went_through(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 8, false, 4);
    char name[32];
    snprintf(name, sizeof name, "ring-%d", serial);
    hf_shm_ring_reader *first = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    hf_shm_ring_reader *second = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    tally account = tally_of(first);
    CHECK_EQ(items_push(ring, 11, 0, NULL), HF_OK);
    tally_drain(&account, first, 64);
    hf_shm_figures figures;
    CHECK_EQ(hf_shm_figures_of(shm, name, &figures), HF_OK);
    CHECK_EQ(figures.capacity, 8);
    CHECK_EQ(figures.count, 8);
    CHECK_EQ(figures.written, 11);
    CHECK_EQ(figures.read, 11);
    CHECK_EQ(figures.lost, 3);
    CHECK_EQ(figures.readers, 2);
    CHECK_EQ(figures.writers, 1);
    hf_shm_ring_reader_info seen[4] = {0};
    CHECK_EQ(hf_shm_ring_readers(ring, reader_seen, seen), HF_OK);
    CHECK_EQ(seen[0].position, 11);
    CHECK_EQ(seen[0].lost, 3);
    CHECK_EQ(seen[1].lag, 11);
    CHECK_EQ(seen[1].alive, 1);
    hf_shm_ring_reader_close(second);
    hf_shm_ring_reader_close(first);
    ring_drop(ring);
}

int main(void) {
    CHECK_WATCHDOG(100);
    shm = stream_segment("ring", 4 << 20);
    CHECK_RUN(test_bytes_of_every_size_come_out_as_they_went_in);
    CHECK_RUN(test_overwriting_is_told_exactly);
    CHECK_RUN(test_bulk_larger_than_the_ring_keeps_the_newest);
    CHECK_RUN(test_reserved_elements_are_seen_when_committed);
    CHECK_RUN(test_view_tells_whether_it_stayed_whole);
    CHECK_RUN(test_reliable_writer_waits_for_the_slowest);
    CHECK_RUN(test_late_reliable_readers_find_most_of_the_ring_and_lose_nothing);
    CHECK_RUN(test_reliable_writer_is_woken_by_its_reader);
    CHECK_RUN(test_readers_begin_where_they_are_told);
    CHECK_RUN(test_latest_and_read_at_take_nothing_away);
    CHECK_RUN(test_wait_ends_with_the_element_or_in_time);
    CHECK_RUN(test_second_writer_is_refused_by_name);
    CHECK_RUN(test_writer_that_was_killed_is_followed);
    CHECK_RUN(test_nobody_waits_for_a_stopped_writer);
    CHECK_RUN(test_child_of_a_fork_reads_on_by_itself);
    CHECK_RUN(test_openers_that_ask_for_something_else_are_told);
    CHECK_RUN(test_arguments_that_cannot_be_are_refused);
    CHECK_RUN(test_figures_and_readers_say_what_went_through);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
    return 0;
}
