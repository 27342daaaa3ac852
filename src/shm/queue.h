/* queue.h - the layout of a queue in shared memory, the words of its slots, and its handle.
 *
 *   header | slot 0 | slot 1 | ... | slot 2^n-1         position p lies in slot p mod 2^n, lap p / 2^n
 *   slot.state   lap:40 | returns:4 | owner:16 | phase:4          the truth; tail and head are hints
 *
 *     FREE --put--> WRITING(me) --> FULL --get--> READING(me) --> FREE of the next lap
 *                      | dead, abandoned              | dead: FREE of the next lap, or FULL again
 *                      `--> SKIP --get, put--> FREE of the next lap
 *
 * Invariants  positions are claimed in order on both sides; tail <= the first position not claimed for
 *             writing, head <= the first not claimed for reading (returned ones aside).
 * Trust       handles keep private copies of every number; a state is compared, never used as an index.
 * Talks to    segment.h.   Called by queue*.c.
 * Source      slot sequence numbers: Vyukov's bounded queue, 1024cores.net; claims in the slot instead
 *             of the index, so that none is nameless; positions found by walking instead of helping. */
#ifndef HFI_SHM_QUEUE_H
#define HFI_SHM_QUEUE_H

#include <holdfast/shm_queue.h>

#include "segment.h"

#define QUEUE_LAYOUT 1u

#define QUEUE_LINE 64 /* items of more than 48 bytes begin on a line of their own */

enum queue_phase { QUEUE_FREE, QUEUE_WRITING, QUEUE_FULL, QUEUE_READING, QUEUE_SKIP };

#define QUEUE_PHASE_MASK   UINT64_C(0xF)
#define QUEUE_OWNER_SHIFT  4
#define QUEUE_OWNER_MASK   (UINT64_C(0xFFFF) << QUEUE_OWNER_SHIFT)
#define QUEUE_RETURN_ONE   (UINT64_C(1) << 20)
#define QUEUE_RETURNS_MASK (UINT64_C(0xF) << 20)
#define QUEUE_LAP_SHIFT    24
#define QUEUE_LAP_ONE      (UINT64_C(1) << QUEUE_LAP_SHIFT)
#define QUEUE_LAP_MASK     (~(QUEUE_LAP_ONE - 1))
_Static_assert(QUEUE_RETURNS_MASK / QUEUE_RETURN_ONE == HF_SHM_QUEUE_RETURNS_MAX, "");
_Static_assert(HFI_SHM_OWNER_MAX <= 0xFFFF, "an owner fits the state");

/* In the segment. Words that different sides write are two lines apart. */
struct queue_header {
    uint32_t items;     /* hf_shm_queue_items; constant from here                   */
    uint32_t single;    /* 1: one producer, one consumer                            */
    uint32_t redeliver; /* 1: what a dead consumer held becomes FULL again          */
    uint32_t spare;
    _Alignas(HFI_SHM_LINE) _Atomic uint64_t tail;        /* hint: next position to write   */
    _Alignas(HFI_SHM_LINE) _Atomic uint64_t head;        /* hint: next position to read    */
    _Alignas(HFI_SHM_LINE) struct hfi_shm_event filled;  /* consumers wait here     */
    _Alignas(HFI_SHM_LINE) struct hfi_shm_event emptied; /* producers wait here     */
    /* returned_asked != returned_done: there may be FULL slots behind head. */
    _Alignas(HFI_SHM_LINE) _Atomic uint64_t returned_asked;
    _Atomic uint64_t returned_done;
    _Atomic uint64_t producer, consumer; /* single: owner | handle << 16, or 0        */
    _Atomic uint32_t wakes;              /* changes with every hf_shm_queue_wake      */
    uint32_t spare_wakes;
    _Atomic uint64_t skipped, lost, recovered, waits; /* figures; counted on cold paths */
};
#define QUEUE_SLOTS_OFFSET ((uint64_t)sizeof(struct queue_header))
_Static_assert(QUEUE_SLOTS_OFFSET % HFI_SHM_LINE == 0, "slots begin on a line");

struct queue_slot {
    _Atomic uint64_t state;
    _Atomic uint64_t size; /* of the item, HF_SHM_QUEUE_BYTES only [bytes] */
};

/* What is fixed when a queue is made, privately. */
struct queue_shape {
    struct queue_header *header;
    char *slots;
    uint64_t mask;         /* slots - 1                                 */
    uint64_t stride;       /* from one slot to the next [bytes]         */
    uint64_t element_size; /* [bytes]                                   */
    uint32_t shift;        /* log2 of the slots                         */
    uint32_t data_offset;  /* of the item in its slot [bytes]           */
    bool bytes, single, redeliver;
};

struct hf_shm_queue {
    struct hfi_shm_part part;
    struct queue_shape shape;
    /* Size of an item that goes by a short path, which small records have; else UINT64_MAX. */
    uint64_t short_size;        /* many users */
    uint64_t short_size_single; /* one each   */
    /* Whether the last one of its kind succeeded at once: a guess about the next. */
    _Atomic bool put_likely, get_likely;
    uint32_t handle;       /* tells handles of one process apart         */
    uint32_t opened_by;    /* owner number of who opened it              */
    _Atomic uint64_t held; /* slots reserved or peeked at, private       */
    /* One who polls and is blocked by one word for long asks who owns it; one thread at a time. */
    _Atomic uint32_t asking; /* its owner number; 0: none */
    struct hfi_shm_patience patience;
    uint64_t looked_at, looks; /* that word, and how often it was seen */
    /* single: where each side is, and as whom (0: not taken). */
    _Alignas(64) uint64_t tail;
    uint32_t producer;
    _Alignas(64) uint64_t head;
    uint32_t consumer;
};

/* Bytes of a whole queue; 0 if the numbers are out of range. */
uint64_t queue_size(uint64_t element_size, uint64_t capacity, bool bytes);
/* The private copy. False if the header makes no sense or does not fit the part. */
bool queue_shape_of(const struct hfi_shm_part *part, struct queue_shape *shape_out);

/* Roles of `single`: HF_OK, or HF_E_BUSY naming who has it. Sets the handle's position, too. */
hf_status queue_become_producer(hf_shm_queue *queue, uint32_t self);
hf_status queue_become_consumer(hf_shm_queue *queue, uint32_t self);

/* Takes back what a dead owner holds; returns how many slots. */
size_t queue_recover_owner(const struct queue_shape *shape, uint32_t owner);
void queue_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding);
size_t queue_repair(const struct hfi_shm_part *part);
hf_status queue_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing);

/* One try of an operation: HF_E_FULL or HF_E_EMPTY and the state in the way, or the end of it. */
typedef hf_status (*queue_attempt)(hf_shm_queue *queue, void *context, uint64_t *blocker);
/* Goes on after a first try that found the queue full (`writing`) or empty: spins, sleeps, and asks whether
 * who is in the way is dead. HF_E_FULL and HF_E_EMPTY only with a timeout of 0. */
hf_status queue_wait(hf_shm_queue *queue, bool writing, uint64_t timeout_ns, uint64_t blocker,
                     queue_attempt attempt, void *context);
/* The sentence to HF_E_CORRUPT, and to an item that does not fit. */
hf_status queue_damaged(void);
hf_status queue_size_refused(const hf_shm_queue *queue, uint64_t size);

static inline struct queue_slot *queue_slot_at(const struct queue_shape *shape, uint64_t position) {
    return (struct queue_slot *)(shape->slots + (position & shape->mask) * shape->stride);
}
static inline void *queue_data(const struct queue_shape *shape, struct queue_slot *slot) {
    return (char *)slot + shape->data_offset;
}
/* The lap of a position, as it stands in a state. Laps wrap; they are compared by difference. */
static inline uint64_t queue_lap(const struct queue_shape *shape, uint64_t position) {
    return position >> shape->shift << QUEUE_LAP_SHIFT;
}
static inline bool queue_size_fits(const hf_shm_queue *queue, uint64_t size) {
    return size == queue->shape.element_size ||
           (queue->shape.bytes && size < queue->shape.element_size);
}
static inline enum queue_phase queue_phase_of(uint64_t state) {
    return (enum queue_phase)(state & QUEUE_PHASE_MASK);
}
static inline uint32_t queue_owner_of(uint64_t state) {
    return (uint32_t)((state & QUEUE_OWNER_MASK) >> QUEUE_OWNER_SHIFT);
}
/* Laps by which a state is ahead of one. */
static inline int64_t queue_laps_ahead(uint64_t state, uint64_t lap) {
    return (int64_t)((state & QUEUE_LAP_MASK) - lap) >> QUEUE_LAP_SHIFT;
}
/* Lap (as in a state) in which a slot is next claimed for writing, or for reading. */
static inline uint64_t queue_next_lap(uint64_t state, bool writing) {
    enum queue_phase phase = queue_phase_of(state);
    bool claimed = writing ? phase != QUEUE_FREE : phase == QUEUE_READING;
    return (state & QUEUE_LAP_MASK) + (claimed ? QUEUE_LAP_ONE : 0);
}
static inline bool queue_is_held(uint64_t state) {
    return queue_phase_of(state) == QUEUE_WRITING || queue_phase_of(state) == QUEUE_READING;
}
/* No state of the machine, whatever the lap. */
static inline bool queue_is_odd(uint64_t state) {
    enum queue_phase phase = queue_phase_of(state);
    bool returned = (state & QUEUE_RETURNS_MASK) != 0;
    return phase > QUEUE_SKIP || queue_is_held(state) != (queue_owner_of(state) != 0) ||
           (returned && phase != QUEUE_FULL && phase != QUEUE_READING);
}
/* A position of this lap and index, as near to `hint` as laps can tell. */
static inline uint64_t queue_position_near(const struct queue_shape *shape, uint64_t lap,
                                           uint64_t index, uint64_t hint) {
    int64_t laps = (int64_t)(lap - queue_lap(shape, hint)) >> QUEUE_LAP_SHIFT;
    return (hint & ~shape->mask) + ((uint64_t)laps << shape->shift) + index;
}
/* What a claim is marked with: same lap and returns, this owner. */
static inline uint64_t queue_mark(uint64_t state, uint32_t owner, enum queue_phase phase) {
    return (state & (QUEUE_LAP_MASK | QUEUE_RETURNS_MASK)) | (uint64_t)owner << QUEUE_OWNER_SHIFT |
           (uint64_t)phase;
}
static inline uint64_t queue_next_free(uint64_t state) {
    return (state & QUEUE_LAP_MASK) + QUEUE_LAP_ONE; /* QUEUE_FREE is 0 */
}
/* Moves a hint forward, never back as far as one can see: a stale store is legal, only slow. */
static inline void queue_hint(_Atomic uint64_t *hint, uint64_t position) {
    if ((int64_t)(position - hfi_shm_load64(hint)) > 0) hfi_shm_store64(hint, position);
}

#endif
