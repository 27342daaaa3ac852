/* ring_help.h - a segment in which rings are made and dropped, one after the other.
 *
 * Contract    the test opens and closes `shm`. ring_make makes a ring of a new name, which ring_name says;
 *             ring_drop checks the whole segment before it closes and erases the last one made.
 * Talks to    stream.h, harness.h.   Called by test_ring.c, test_ring_places.c, test_ring_writer.c. */
#ifndef HF_TESTS_SHM_RING_HELP_H
#define HF_TESTS_SHM_RING_HELP_H

#include "stream.h"

static hf_shm *shm;
static int serial;

/* Of the last one made; static storage. */
static inline const char *ring_name(void) {
    static char name[32];
    snprintf(name, sizeof name, "ring-%d", serial);
    return name;
}

static inline hf_shm_ring *ring_make(uint64_t element_size, uint64_t capacity, bool reliable,
                                     uint32_t readers_max) {
    serial++;
    hf_shm_ring_options options;
    hf_shm_ring_options_init(&options, element_size, capacity);
    options.reliable = reliable;
    options.readers_max = readers_max;
    hf_shm_ring *ring = NULL;
    hf_status status = hf_shm_ring_open(shm, ring_name(), HF_SHM_CREATE, &options, &ring);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    return ring;
}

static inline void ring_drop(hf_shm_ring *ring) {
    stream_check(shm);
    CHECK_EQ(hf_shm_ring_close(ring), HF_OK);
    CHECK_EQ(hf_shm_erase(shm, ring_name()), HF_OK);
}

static inline hf_shm_ring_reader *reader_make(hf_shm_ring *ring, hf_shm_ring_from from,
                                              uint64_t position, bool lossy) {
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

#endif
