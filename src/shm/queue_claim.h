/* queue_claim.h - the two claims of a queue, inline: the next slot to write, the next one to read.
 *
 *   position = hint;  for ever so few steps:  state of its slot is
 *     write:  (lap, FREE)  claim     at or after this lap  walk on     older  full
 *     read:   (lap, FULL)  claim     READING, or later     walk on     FREE, WRITING, older  empty
 *
 * Contract    HF_OK and the claim; HF_E_FULL or HF_E_EMPTY and the state that is in the way;
 *             HF_E_CORRUPT for a state that no run of this code leaves.
 * Invariants  one compare-and-swap makes a slot this owner's; the hint is moved after it and by a plain
 *             store, so that whoever dies between leaves a hint that lags, and walking makes up for it.
 * Bounds      each walk ends after two laps and some: with garbage in the hints it ends, too.
 * Talks to    queue.h.   Called by queue_put.c, queue_get.c, queue_in_place.c. */
#ifndef HFI_SHM_QUEUE_CLAIM_H
#define HFI_SHM_QUEUE_CLAIM_H

#include "os/prefetch.h"
#include "queue.h"

#define QUEUE_LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define QUEUE_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define QUEUE_INLINE              static inline __attribute__((always_inline))

/* Deliberate faults, for tests that must notice them; constant 0 in the library. */
enum queue_mutant {
    QUEUE_MUTANT_NONE,
    QUEUE_MUTANT_NO_WALK,       /* a slot being written by another is taken for a full queue */
    QUEUE_MUTANT_NO_RECOVERY,   /* what a dead one held stays its                            */
    QUEUE_MUTANT_CLAIM_BY_ADD,  /* the position is taken before the slot has an owner        */
    QUEUE_MUTANT_EARLY_PUBLISH, /* FULL before the item is written                           */
    QUEUE_MUTANT_SKIP_TO_FREE,  /* a dead producer's slot becomes FREE in the middle         */
    QUEUE_MUTANT_PUBLISH_DEAD,  /* a dead producer's slot becomes FULL                       */
    QUEUE_MUTANT_OLD_READER,    /* a reader of the lap before moves head on                  */
    QUEUE_MUTANT_COUNT
};

struct queue_claim {
    struct queue_slot *slot;
    uint64_t position; /* in: where to look first; out: what was claimed, or where it stopped */
    uint64_t state;    /* what the slot is marked with, or what is in the way                 */
};

/* Where the walk goes on from a slot that is `laps` ahead; `used`: its present lap is behind us, too. */
QUEUE_INLINE uint64_t queue_walk(const struct queue_shape *shape, uint64_t position, int64_t laps,
                                 bool used) {
    uint64_t behind = (uint64_t)laps - (used ? 0 : 1);
    return position + (behind << shape->shift) + 1;
}
QUEUE_INLINE uint64_t queue_walk_bound(const struct queue_shape *shape) {
    return 2 * shape->mask + 64;
}

/* SYNC(queue.free): takes the slot, after its last reader; pairs with queue_give_back. `alone`: nobody
 * else may write, and the slot stays FREE until it is FULL. */
QUEUE_INLINE hf_status queue_claim_write(const struct queue_shape *shape, uint32_t self, bool alone,
                                         struct queue_claim *claim) {
    uint64_t position = claim->position, state = 0;
    for (uint64_t steps = queue_walk_bound(shape); steps > 0; steps--) {
        struct queue_slot *slot = queue_slot_at(shape, position);
        uint64_t lap = queue_lap(shape, position); /* and QUEUE_FREE */
        state = hfi_shm_load64(&slot->state);
        if (QUEUE_LIKELY(state == lap)) {
            if (alone) {
                *claim = (struct queue_claim){slot, position, lap};
                return HF_OK;
            }
            uint64_t mark = queue_mark(lap, self, QUEUE_WRITING);
            state = lap;
            if (QUEUE_LIKELY(hfi_shm_swap64(&slot->state, &state, mark))) {
                *claim = (struct queue_claim){slot, position, mark};
                return HF_OK;
            }
        }
        enum queue_phase phase = queue_phase_of(state);
        int64_t laps = queue_laps_ahead(state, lap);
        if (QUEUE_UNLIKELY(phase > QUEUE_SKIP || (laps == 0 && phase == QUEUE_FREE))) break;
        if (laps < 0) {
            if (QUEUE_UNLIKELY(laps < -1 || phase == QUEUE_FREE)) break;
            claim->position = position;
            claim->state = state;
            return HF_E_FULL;
        }
        if (HFI_SHM_MUTANT(QUEUE_MUTANT_NO_WALK) && phase == QUEUE_WRITING) {
            claim->state = state;
            return HF_E_FULL;
        }
        position = queue_walk(shape, position, laps, phase != QUEUE_FREE);
    }
    claim->position = position;
    claim->state = state;
    return HF_E_CORRUPT;
}

/* A SKIP at the first position not yet read is stepped over. False: somebody else did. */
QUEUE_INLINE bool queue_pass(const struct queue_shape *shape, struct queue_slot *slot,
                             uint64_t *state, uint64_t position) {
    if (!hfi_shm_swap64(&slot->state, state, queue_next_free(*state))) return false;
    hfi_shm_add64(&shape->header->skipped, 1);
    queue_hint(&shape->header->head, position + 1);
    if (hfi_shm_load32(&shape->header->emptied.waiters)) hfi_shm_signal(&shape->header->emptied, 1);
    return true;
}

enum queue_take { QUEUE_LOOK, QUEUE_TAKE, QUEUE_TAKE_ALONE };

/* SYNC(queue.full): takes the item, after its bytes; pairs with queue_publish. QUEUE_LOOK only steps over
 * what is to be skipped, and tells what comes then (HF_OK: an item). HF_E_INVALID and its size in
 * claim->state: the item is longer than `room`. */
QUEUE_INLINE hf_status queue_claim_read(const struct queue_shape *shape, uint32_t self,
                                        enum queue_take take, uint64_t room,
                                        struct queue_claim *claim) {
    uint64_t position = claim->position, state = 0;
    for (uint64_t steps = queue_walk_bound(shape); steps > 0; steps--) {
        struct queue_slot *slot = queue_slot_at(shape, position);
        uint64_t lap = queue_lap(shape, position);
        state = hfi_shm_load64(&slot->state);
        if (QUEUE_LIKELY((state & ~QUEUE_RETURNS_MASK) == (lap | QUEUE_FULL))) {
            if (take == QUEUE_LOOK) {
                *claim = (struct queue_claim){slot, position, state};
                return HF_OK;
            }
            if (shape->bytes && room < shape->element_size) {
                uint64_t size = hfi_shm_load64(&slot->size);
                if (size > room && size <= shape->element_size) {
                    *claim = (struct queue_claim){slot, position, size};
                    return HF_E_INVALID;
                }
            }
            uint64_t mark = queue_mark(state, self, QUEUE_READING);
            if (take == QUEUE_TAKE_ALONE) {
                hfi_shm_store64(&slot->state, mark);
                *claim = (struct queue_claim){slot, position, mark};
                return HF_OK;
            }
            if (QUEUE_LIKELY(hfi_shm_swap64(&slot->state, &state, mark))) {
                *claim = (struct queue_claim){slot, position, mark};
                return HF_OK;
            }
        }
        enum queue_phase phase = queue_phase_of(state);
        int64_t laps = queue_laps_ahead(state, lap);
        if (QUEUE_UNLIKELY(phase > QUEUE_SKIP || laps < -1)) break;
        if (laps == 0 && phase == QUEUE_FULL) continue; /* returned meanwhile: look again */
        if (laps == 0 && phase == QUEUE_SKIP) {
            if (!queue_pass(shape, slot, &state, position)) continue;
            position++;
            continue;
        }
        if (HFI_SHM_MUTANT(QUEUE_MUTANT_OLD_READER) && laps < 0 && phase == QUEUE_READING) {
            position++;
            queue_hint(&shape->header->head, position);
            continue;
        }
        if (laps < 0 && phase != QUEUE_READING && phase != QUEUE_FULL) break;
        if (laps < 0 || (laps == 0 && phase != QUEUE_READING)) {
            claim->position = position;
            claim->state = state;
            return HF_E_EMPTY;
        }
        position = queue_walk(shape, position, laps, phase == QUEUE_READING);
    }
    claim->position = position;
    claim->state = state;
    return HF_E_CORRUPT;
}

#define QUEUE_COPY_SMALL 64

/* 8 to 64 bytes in a few moves that may overlap each other. */
QUEUE_INLINE void queue_copy_small(void *to, const void *from, uint64_t size) {
#if HFI_SHM_STEPS
    hfi_shm_copy(to, from, size);
#else
    struct block {
        uint64_t words[2];
    } first, last;
    if (size < sizeof first) {
        uint64_t low, high;
        memcpy(&low, from, 8);
        memcpy(&high, (const char *)from + size - 8, 8);
        memcpy(to, &low, 8);
        memcpy((char *)to + size - 8, &high, 8);
        return;
    }
    memcpy(&first, from, sizeof first);
    memcpy(&last, (const char *)from + size - sizeof last, sizeof last);
    memcpy(to, &first, sizeof first);
    memcpy((char *)to + size - sizeof last, &last, sizeof last);
    if (size > 2 * sizeof first) {
        memcpy(&first, (const char *)from + sizeof first, sizeof first);
        memcpy(&last, (const char *)from + size - 2 * sizeof last, sizeof last);
        memcpy((char *)to + sizeof first, &first, sizeof first);
        memcpy((char *)to + size - 2 * sizeof last, &last, sizeof last);
    }
#endif
}

QUEUE_INLINE void queue_copy(void *to, const void *from, uint64_t size) {
    if (size - 8 <= QUEUE_COPY_SMALL - 8)
        queue_copy_small(to, from, size);
    else if (size != 0) /* an item without bytes may come without an address */
        hfi_shm_copy(to, from, size);
}

/* The next item's first line, so that the next put has its slot in hand for a shorter time: consumers
 * poll the state meanwhile. Not the line of the state itself, for the same reason. */
QUEUE_INLINE void queue_prefetch_next(const struct queue_shape *shape, uint64_t position) {
    if (shape->data_offset == QUEUE_LINE)
        hfi_os_prefetch_write(queue_data(shape, queue_slot_at(shape, position + 1)));
}

/* SYNC(queue.full): the item, then the state that says so. */
QUEUE_INLINE void queue_publish(const struct queue_shape *shape, struct queue_slot *slot,
                                uint64_t state) {
    hfi_shm_store64(&slot->state, (state & QUEUE_LAP_MASK) | QUEUE_FULL);
    if (QUEUE_UNLIKELY(hfi_shm_load32(&shape->header->filled.waiters) != 0))
        hfi_shm_signal(&shape->header->filled, 1);
}

/* SYNC(queue.free): what was read, then the state that lets it be overwritten. */
QUEUE_INLINE void queue_give_back(const struct queue_shape *shape, struct queue_slot *slot,
                                  uint64_t state) {
    hfi_shm_store64(&slot->state, queue_next_free(state));
    if (QUEUE_UNLIKELY(hfi_shm_load32(&shape->header->emptied.waiters) != 0))
        hfi_shm_signal(&shape->header->emptied, 1);
}

QUEUE_INLINE hf_status queue_write_begin(hf_shm_queue *queue, uint32_t self,
                                         struct queue_claim *claim) {
    const struct queue_shape *shape = &queue->shape;
    if (QUEUE_UNLIKELY(self == 0)) return hfi_shm_closed(queue->part.shm);
    if (shape->single) {
        if (QUEUE_UNLIKELY(queue->producer != self)) {
            hf_status status = queue_become_producer(queue, self);
            if (status != HF_OK) return status;
        }
        claim->position = queue->tail;
        return queue_claim_write(shape, self, true, claim);
    }
    if (HFI_SHM_MUTANT(QUEUE_MUTANT_CLAIM_BY_ADD)) {
        claim->position = hfi_shm_load64(&shape->header->tail);
        claim->slot = queue_slot_at(shape, claim->position);
        claim->state = hfi_shm_load64(&claim->slot->state);
        if (claim->state != queue_lap(shape, claim->position)) return HF_E_FULL;
        (void)hfi_shm_add64(&shape->header->tail, 1);
        return HF_OK;
    }
    claim->position = hfi_shm_load64(&shape->header->tail);
    hf_status status = queue_claim_write(shape, self, false, claim);
    if (QUEUE_LIKELY(status == HF_OK)) queue_hint(&shape->header->tail, claim->position + 1);
    return status;
}

QUEUE_INLINE void queue_write_end(hf_shm_queue *queue, const struct queue_claim *claim,
                                  uint64_t size) {
    const struct queue_shape *shape = &queue->shape;
    if (shape->bytes) hfi_shm_store64(&claim->slot->size, size);
    queue_publish(shape, claim->slot, claim->state);
    if (shape->single) {
        queue->tail = claim->position + 1;
        hfi_shm_store64(&shape->header->tail, claim->position + 1);
    }
}

/* An item that a dead consumer had in hand and recover made FULL again, wherever it lies. */
hf_status queue_claim_returned(hf_shm_queue *queue, uint32_t self, uint64_t room,
                               struct queue_claim *claim);

QUEUE_INLINE hf_status queue_read_begin(hf_shm_queue *queue, uint32_t self, uint64_t room,
                                        struct queue_claim *claim) {
    const struct queue_shape *shape = &queue->shape;
    struct queue_header *header = shape->header;
    if (QUEUE_UNLIKELY(self == 0)) return hfi_shm_closed(queue->part.shm);
    if (shape->single && QUEUE_UNLIKELY(queue->consumer != self)) {
        hf_status status = queue_become_consumer(queue, self);
        if (status != HF_OK) return status;
    }
    if (QUEUE_UNLIKELY(shape->redeliver)) {
        if (hfi_shm_load64(&header->returned_asked) != hfi_shm_load64(&header->returned_done)) {
            hf_status status = queue_claim_returned(queue, self, room, claim);
            if (status != HF_E_EMPTY) return status;
        }
    }
    hf_status status;
    if (shape->single) {
        claim->position = queue->head;
        status = queue_claim_read(shape, self, QUEUE_TAKE_ALONE, room, claim);
        if (status != HF_OK) return status;
        queue->head = claim->position + 1;
        hfi_shm_store64(&header->head, claim->position + 1);
    } else {
        claim->position = hfi_shm_load64(&header->head);
        status = queue_claim_read(shape, self, QUEUE_TAKE, room, claim);
        if (QUEUE_LIKELY(status == HF_OK)) queue_hint(&header->head, claim->position + 1);
    }
    return status;
}

#endif
