/* test_ring_places - where readers of a ring stand: where they begin, what they see and wait for.
 *
 * Method: rings that have gone round, so that places are gone, there, or not yet written; positions,
 * loss and lag are compared with what was pushed. */
#include "ring_help.h"

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

static int reader_seen(const hf_shm_ring_reader_info *info, void *context) {
    hf_shm_ring_reader_info *seen = context;
    seen[info->index] = *info;
    return 0;
}

static void test_figures_and_readers_say_what_went_through(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 8, false, 4);
    hf_shm_ring_reader *first = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    hf_shm_ring_reader *second = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    tally account = tally_of(first);
    CHECK_EQ(items_push(ring, 11, 0, NULL), HF_OK);
    tally_drain(&account, first, 64);
    hf_shm_figures figures;
    CHECK_EQ(hf_shm_figures_of(shm, ring_name(), &figures), HF_OK);
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
    shm = stream_segment("ring-places", 4 << 20);
    CHECK_RUN(test_readers_begin_where_they_are_told);
    CHECK_RUN(test_latest_and_read_at_take_nothing_away);
    CHECK_RUN(test_wait_ends_with_the_element_or_in_time);
    CHECK_RUN(test_figures_and_readers_say_what_went_through);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
    return 0;
}
