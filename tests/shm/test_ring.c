/* test_ring - what a ring promises when nobody dies: order, loss, room, refusals.
 *
 * Method: items that say where they stand, over every small shape of ring; a second process where
 * another participant is needed. Where readers stand is in test_ring_places.c, who writes in
 * test_ring_writer.c. */
#include "ring_help.h"

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
    CHECK_RUN(test_openers_that_ask_for_something_else_are_told);
    CHECK_RUN(test_arguments_that_cannot_be_are_refused);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
    return 0;
}
