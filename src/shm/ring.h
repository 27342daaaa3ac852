/* ring.h - the bytes of a ring, and what its handles know.
 *
 *   | geometry | lease | intent, commit | limit | events | reader 0 | ... | elements |
 *   position p lies in element p % capacity
 *
 *   oldest = intent - capacity <= ... <= commit <= intent <= commit + capacity
 *   [oldest, commit) can be read;  [commit, intent) is being written, over [.., oldest)
 *
 * Invariants  only the holder of the lease moves intent, commit and limit. Commit and intent never go
 *             back: a new holder keeps the intent of a dead one until commit has passed it. A reader's
 *             cursor and lost are its own. Reliable: intent <= what a scan of the readers allowed <=
 *             cursor + capacity for every reader that counts; limit is never less than that.
 * Trust       geometry is taken once (hfi_ring_take); positions only ever become an index by % capacity.
 * Talks to    segment.h, lease.h, racy_copy.h.   Called by ring*.c.
 * Source      Lamport, "Concurrent reading and writing", CACM 1977: intent before, commit after. */
#ifndef HFI_SHM_RING_H
#define HFI_SHM_RING_H

#include <holdfast/shm_ring.h>

#include "lease.h"
#include "racy_copy.h"
#include "segment.h"

#define HFI_RING_LAYOUT 1
#define HFI_RING_TRIES  64 /* attempts to copy without being overwritten */

/* The word of a reader: generation:44 | state:4 | owner:16. Owner 0: the place is free. */
#define HFI_READER_STATE(word) ((uint32_t)((word) >> 16) & 15)
enum {
    HFI_READER_FREE,
    HFI_READER_JOINING,  /* its cursor is not yet true: nobody waits for it */
    HFI_READER_RELIABLE, /* the writer of a reliable ring waits for it      */
    HFI_READER_LOSSY
};

struct hfi_ring_reader {
    _Alignas(HFI_SHM_LINE) _Atomic uint64_t word;
    _Atomic uint64_t cursor; /* next position                     */
    _Atomic uint64_t lost;   /* elements it never got             */
};

struct hfi_ring {
    _Atomic uint64_t element_size, capacity, readers_max, reliable;
    _Alignas(HFI_SHM_LINE) _Atomic uint64_t lease;
    _Atomic uint64_t recovered; /* readers and writers that were dropped, dead */
    _Alignas(HFI_SHM_LINE) _Atomic uint64_t intent;
    _Atomic uint64_t commit;
    _Alignas(
        HFI_SHM_LINE) _Atomic uint64_t limit; /* reliable: the writer may have gone up to here */
    _Alignas(HFI_SHM_LINE) struct hfi_shm_event filled; /* something was committed    */
    _Alignas(HFI_SHM_LINE) struct hfi_shm_event freed;  /* a reliable reader went on   */
    struct hfi_ring_reader readers[];
};

struct hf_shm_ring {
    struct hfi_shm_part part;
    struct hfi_ring *shared;
    char *elements;
    uint64_t element_size, capacity;
    uint64_t mask; /* capacity - 1 if that is a power of two, else 0 */
    uint32_t readers_max;
    bool reliable;
    _Atomic uint32_t readers_open; /* handles of this process */
    /* As the writer. */
    uint64_t lease;    /* 0: none                                       */
    uint64_t next;     /* what commit is                                */
    uint64_t intent;   /* what the shared one is                        */
    uint64_t limit;    /* reliable: intent may go up to here            */
    uint64_t reserved; /* elements handed out and not committed         */
    uint64_t asked_ns; /* when it last asked whether the slowest is dead */
};

struct hf_shm_ring_reader {
    hf_shm_ring *ring;
    struct hfi_ring_reader *place;
    uint64_t word;   /* of its place, while it has it          */
    uint64_t cursor; /* the truth; the shared ones are copies  */
    uint64_t lost;
    bool lossy;
};

static inline uint64_t hfi_ring_slot(const hf_shm_ring *ring, uint64_t position) {
    return ring->mask ? position & ring->mask : position % ring->capacity;
}

static inline char *hfi_ring_at(const hf_shm_ring *ring, uint64_t position) {
    return ring->elements + hfi_ring_slot(ring, position) * ring->element_size;
}

static inline uint64_t hfi_ring_min(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Oldest position that an intent leaves alone. */
static inline uint64_t hfi_ring_oldest(const hf_shm_ring *ring, uint64_t intent) {
    return intent > ring->capacity ? intent - ring->capacity : 0;
}

/* Copies `count` <= capacity elements out and says how many of the first ones are no good, because
 * the writer had begun to overwrite them. */
uint64_t hfi_ring_copy(const hf_shm_ring *ring, uint64_t first, uint64_t count, void *out);
/* Takes and verifies the geometry of a part. HF_E_CORRUPT. */
hf_status hfi_ring_take(const struct hfi_shm_part *part, hf_shm_ring *ring_out);
/* Bytes in front of the elements. */
uint64_t hfi_ring_header_size(uint64_t readers_max, uint64_t data_size);
/* Frees the place if its word is still this one. True if it was. */
bool hfi_ring_reader_free(const hf_shm_ring *ring, struct hfi_ring_reader *place, uint64_t word);

#endif
