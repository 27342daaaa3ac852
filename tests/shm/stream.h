/* stream.h - elements that say where they stand: for tests of rings and versioned arrays.
 *
 * Contract    an item of position p has one content; item_is tells whether it is whole and the right
 *             one, so a torn, doubled or misplaced element is always seen. */
#ifndef HF_TESTS_SHM_STREAM_H
#define HF_TESTS_SHM_STREAM_H

#include <holdfast/shm_ring.h>

#include "harness.h"

typedef struct item {
    uint64_t position, words[4];
} item;

static inline uint64_t item_word(uint64_t position, unsigned index) {
    uint64_t z = (position * 8 + index + 1) * UINT64_C(0x9E3779B97F4A7C15);
    return z ^ (z >> 29);
}

static inline item item_of(uint64_t position) {
    item it = {.position = position};
    for (unsigned i = 0; i < 4; i++)
        it.words[i] = item_word(position, i);
    return it;
}

static inline bool item_is(const item *it, uint64_t position) {
    item expected = item_of(position);
    return memcmp(it, &expected, sizeof expected) == 0;
}

/* The next `count` items of the stream that this ring holds. */
static inline hf_status items_push(hf_shm_ring *ring, uint64_t count, uint64_t timeout_ns,
                                   uint64_t *pushed_out) {
    item items[64];
    CHECK_LE(count, 64);
    hf_status status = hf_shm_ring_claim(ring); /* nobody else moves the end from here on */
    if (status != HF_OK) return status;
    uint64_t position = hf_shm_ring_total_written(ring);
    for (uint64_t i = 0; i < count; i++)
        items[i] = item_of(position + i);
    return hf_shm_ring_push_bulk(ring, items, count, timeout_ns, pushed_out);
}

/* What a reader got so far, checked as it comes. */
typedef struct tally {
    uint64_t start, next, received, lost;
} tally;

static inline tally tally_of(const hf_shm_ring_reader *reader) {
    uint64_t position = hf_shm_ring_position(reader);
    return (tally){.start = position, .next = position, .lost = 0};
}

/* `got` items came, after `lost` that did not. */
static inline void tally_take(tally *account, const item *items, uint64_t got, uint64_t lost) {
    account->next += lost;
    account->lost += lost;
    for (uint64_t i = 0; i < got; i++)
        CHECK_SAY(item_is(&items[i], account->next + i),
                  "position %" PRIu64 " (of %" PRIu64 " at once) is torn or another: %" PRIu64,
                  account->next + i, got, items[i].position);
    account->next += got;
    account->received += got;
}

/* Pops what is there, up to `at_once` at a time; returns how many came. */
static inline uint64_t tally_drain(tally *account, hf_shm_ring_reader *reader, uint64_t at_once) {
    item items[64];
    CHECK_LE(at_once, 64);
    uint64_t before = account->received, got, lost;
    for (;;) {
        lost = 0;
        hf_status status = hf_shm_ring_pop_bulk(reader, items, at_once, 0, &got, &lost);
        if (status != HF_OK) got = 0;
        tally_take(account, items, got, lost);
        CHECK_EQ(hf_shm_ring_position(reader), account->next);
        if (status == HF_E_EMPTY) break;
        CHECK_SAY(status == HF_OK || status == HF_E_BUSY, "pop: %d, %s", status, hf_shm_detail());
    }
    CHECK_EQ(account->received + account->lost, account->next - account->start);
    return account->received - before;
}

static inline int fault_count(const char *name, const char *fault, void *context) {
    printf("  %s: %s\n", name, fault);
    ++*(int *)context;
    return 0;
}

static inline void stream_check(hf_shm *shm) {
    int faults = 0;
    hf_status status = hf_shm_check(shm, NULL, fault_count, &faults);
    fflush(stdout);
    CHECK_EQ(faults, 0);
    CHECK_SAY(status == HF_OK, "check: %d, %s", status, hf_shm_detail());
}

/* A fresh segment, or with size 0 the one that is there. */
static inline hf_shm *stream_segment(const char *tag, uint64_t size) {
    hf_shm_options options;
    hf_shm_options_init(&options, size);
    if (size < 1 << 20) options.entries_max = 4, options.participants_max = 8;
    hf_shm *shm = NULL;
    if (size != 0) (void)hf_shm_remove(harness_name(tag)); /* of a child that failed on purpose */
    hf_shm_mode mode = size != 0 ? HF_SHM_CREATE : HF_SHM_OPEN;
    hf_status status = hf_shm_open(harness_name(tag), mode, &options, &shm);
    CHECK_SAY(status == HF_OK, "open: %d, %s", status, hf_shm_detail());
    return shm;
}

#endif
