/* test_ring_threads - rings and versioned arrays between threads, for the thread sanitizer.
 *
 * Method: a writer and readers with handles of their own in one process; every element and version is
 * checked. The sanitizer sees each access that is not atomic or ordered. */
#include <holdfast/shm_versioned.h>
#include <pthread.h>

#include "stream.h"

#define READERS 3
#define ITEMS   20000
#define WORDS   700 /* more than a page */

static hf_shm *shm;
static _Atomic int started, finished;

static hf_shm_ring *ring_open(bool reliable, uint64_t capacity) {
    hf_shm_ring_options options;
    hf_shm_ring_options_init(&options, sizeof(item), capacity);
    options.reliable = reliable;
    hf_shm_ring *ring = NULL;
    CHECK_EQ(hf_shm_ring_open(shm, reliable ? "reliable" : "overwrite", HF_SHM_OPEN_OR_CREATE,
                              &options, &ring),
             HF_OK);
    return ring;
}

static void *ring_write(void *reliable) {
    hf_shm_ring *ring = ring_open(reliable != NULL, 64);
    while (started < READERS)
        usleep(100);
    check_random random = {1};
    for (uint64_t written = 0; written < ITEMS;) {
        uint64_t count = 1 + check_random_below(&random, 20), pushed = 0;
        CHECK_EQ(items_push(ring, count, HF_FOREVER, &pushed), HF_OK);
        written += pushed;
    }
    finished = 1;
    CHECK_EQ(hf_shm_ring_close(ring), HF_OK);
    return NULL;
}

static void *ring_read(void *reliable) {
    hf_shm_ring *ring = ring_open(reliable != NULL, 64);
    hf_shm_ring_reader *reader = NULL;
    CHECK_EQ(hf_shm_ring_reader_open(ring, NULL, &reader), HF_OK);
    tally account = tally_of(reader);
    started++;
    for (bool last = false; !last;) {
        last = finished != 0; /* then what is there now is all there will be */
        item items[16], latest[4];
        uint64_t got = 0, lost = 0, position;
        hf_status status = hf_shm_ring_pop_bulk(reader, items, 16, 1000000, &got, &lost);
        if (status != HF_OK) got = 0;
        tally_take(&account, items, got, lost);
        if (hf_shm_ring_latest(ring, latest, 4, &got, &position) == HF_OK)
            for (uint64_t i = 0; i < got; i++)
                CHECK(item_is(&latest[i], position + i));
    }
    tally_drain(&account, reader, 16);
    CHECK_EQ(account.next, hf_shm_ring_total_written(ring));
    if (reliable != NULL) CHECK_EQ(account.lost, 0);
    hf_shm_ring_reader_close(reader);
    CHECK_EQ(hf_shm_ring_close(ring), HF_OK);
    return NULL;
}

static hf_shm_versioned *array_open(void) {
    hf_shm_versioned_options options;
    hf_shm_versioned_options_init(&options, 8, WORDS);
    options.buffers = 3;
    hf_shm_versioned *array = NULL;
    CHECK_EQ(hf_shm_versioned_open(shm, "array", HF_SHM_OPEN_OR_CREATE, &options, &array), HF_OK);
    return array;
}

static void *array_write(void *unused) {
    (void)unused;
    static uint64_t words[WORDS];
    hf_shm_versioned *array = array_open();
    while (started < READERS)
        usleep(100);
    for (uint64_t version = 1; version <= ITEMS / 20; version++) {
        for (unsigned i = 0; i < WORDS; i++)
            words[i] = item_word(version, i % 8);
        CHECK_EQ(hf_shm_versioned_write(array, words, NULL), HF_OK);
    }
    finished = 1;
    CHECK_EQ(hf_shm_versioned_close(array), HF_OK);
    return NULL;
}

static void *array_read(void *unused) {
    (void)unused;
    uint64_t words[WORDS], version = 0;
    hf_shm_versioned *array = array_open();
    started++;
    for (bool last = false; !last;) {
        last = finished != 0;
        uint64_t seen = version;
        hf_status status = hf_shm_versioned_wait(array, version, 1000000, NULL);
        CHECK(status == HF_OK || status == HF_E_TIMEOUT);
        status = hf_shm_versioned_read(array, words, &version);
        if (status == HF_E_BUSY) continue;
        CHECK_EQ(status, HF_OK);
        CHECK_GE(version, seen);
        for (unsigned i = 0; i < WORDS; i++)
            CHECK_EQ(words[i], version == 0 ? 0 : item_word(version, i % 8));
    }
    CHECK_EQ(hf_shm_versioned_close(array), HF_OK);
    return NULL;
}

static void threads_run(void *(*write)(void *), void *(*read)(void *), void *argument) {
    pthread_t threads[READERS + 1];
    started = finished = 0;
    for (int i = 0; i <= READERS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, i == 0 ? write : read, argument), 0);
    for (int i = 0; i <= READERS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    stream_check(shm);
}

static void test_overwriting_ring_between_threads(void) {
    threads_run(ring_write, ring_read, NULL);
}

static void test_reliable_ring_between_threads(void) {
    threads_run(ring_write, ring_read, &shm);
}

static void test_versioned_array_between_threads(void) {
    threads_run(array_write, array_read, NULL);
}

int main(void) {
    CHECK_WATCHDOG(60);
    shm = stream_segment("ring-threads", 1 << 20);
    CHECK_RUN(test_overwriting_ring_between_threads);
    CHECK_RUN(test_reliable_ring_between_threads);
    CHECK_RUN(test_versioned_array_between_threads);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
    return 0;
}
