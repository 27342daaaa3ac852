/* ring_reader.h - a reader's place in its ring.
 *
 * Talks to    ring.h.   Called by ring_read.c, ring_reader.c. */
#ifndef HFI_SHM_RING_READER_H
#define HFI_SHM_RING_READER_H

#include "ring.h"

/* Takes a place again, in the child of a fork. */
hf_status hfi_reader_rejoin(hf_shm_ring_reader *reader);

static inline hf_status hfi_reader_ready(hf_shm_ring_reader *reader) {
    if (hfi_lease_owner(reader->word) == hfi_shm_self(reader->ring->part.shm)) return HF_OK;
    return hfi_reader_rejoin(reader);
}

/* Shows where this reader is, which makes room in a reliable ring. */
static inline void hfi_reader_publish(hf_shm_ring_reader *reader) {
    struct hfi_ring_reader *place = reader->place;
    hfi_shm_store64(&place->lost, reader->lost);
    /* SYNC(ring.freed): what was copied before may be overwritten now; pairs with scan_readers. */
    hfi_shm_store64(&place->cursor, reader->cursor);
    if (reader->ring->reliable && !reader->lossy) hfi_shm_signal(&reader->ring->shared->freed, 1);
}

#endif
