/* queue_recover.c - what a dead participant left in a queue is taken back.
 *
 *   WRITING(dead) --> SKIP                      the item was never put; consumers step over it
 *   READING(dead) --> FREE of the next lap      lost, or with redeliver: FULL, one return more
 *   producer, consumer (dead) --> nobody
 *
 * Contract    recover is idempotent: each change is one compare-and-swap from a state that names the
 *             dead one, so any number may run it, and be killed in it. Between two such states of one
 *             slot the lap or the count of returns grows: nobody mistakes a new claim for the old one.
 * Bounds      one pass over the slots, by private numbers.
 * Talks to    queue_claim.h, segment.h.   Called by the segment through hfi_shm_queue_kind.
 * Source      recoverable claims: an owner in each word, as in Friedman et al., PPoPP 2018. */
#include "queue_claim.h"

/* What a slot of a dead owner becomes. */
static uint64_t recovered_state(const struct queue_shape *shape, uint64_t state) {
    if (queue_phase_of(state) == QUEUE_WRITING) {
        if (HFI_SHM_MUTANT(QUEUE_MUTANT_SKIP_TO_FREE)) return state & QUEUE_LAP_MASK;
        if (HFI_SHM_MUTANT(QUEUE_MUTANT_PUBLISH_DEAD)) return (state & QUEUE_LAP_MASK) | QUEUE_FULL;
        return (state & QUEUE_LAP_MASK) | QUEUE_SKIP;
    }
    bool again = shape->redeliver && (state & QUEUE_RETURNS_MASK) != QUEUE_RETURNS_MASK;
    if (again) return queue_mark(state + QUEUE_RETURN_ONE, 0, QUEUE_FULL);
    return queue_next_free(state);
}

/* True if the slot was `owner`'s and is not any more. */
static bool slot_recover(const struct queue_shape *shape, struct queue_slot *slot, uint32_t owner) {
    uint64_t state = hfi_shm_load64(&slot->state);
    if (queue_owner_of(state) != owner || !queue_is_held(state)) return false;
    uint64_t next = recovered_state(shape, state);
    bool lost = queue_phase_of(next) == QUEUE_FREE && queue_phase_of(state) == QUEUE_READING;
    if (!hfi_shm_swap64(&slot->state, &state, next)) return false; /* somebody else did */
    if (lost) hfi_shm_add64(&shape->header->lost, 1);
    hfi_shm_add64(&shape->header->recovered, 1);
    return true;
}

static void role_recover(_Atomic uint64_t *role, uint32_t owner) {
    uint64_t found = hfi_shm_load64(role);
    if ((found & 0xFFFF) == owner) (void)hfi_shm_swap64(role, &found, 0);
}

size_t queue_recover_owner(const struct queue_shape *shape, uint32_t owner) {
    struct queue_header *header = shape->header;
    size_t count = 0;
    if (owner == 0 || HFI_SHM_MUTANT(QUEUE_MUTANT_NO_RECOVERY)) return 0;
    for (uint64_t i = 0; i <= shape->mask; i++)
        count += slot_recover(shape, queue_slot_at(shape, i), owner);
    /* Whether or not it was us: who did it may have died before it came to this. */
    if (shape->redeliver) hfi_shm_add64(&header->returned_asked, 1);
    role_recover(&header->producer, owner);
    role_recover(&header->consumer, owner);
    hfi_shm_signal(&header->filled, UINT32_MAX);
    hfi_shm_signal(&header->emptied, UINT32_MAX);
    return count;
}

static void queue_recover(const struct hfi_shm_part *part, uint32_t owner) {
    struct queue_shape shape;
    if (queue_shape_of(part, &shape)) (void)queue_recover_owner(&shape, owner);
}

/* --- figures ------------------------------------------------------------------------------------- */

static void queue_figures(const struct hfi_shm_part *part, hf_shm_figures *figures_out) {
    struct queue_shape shape;
    if (!queue_shape_of(part, &shape)) return;
    struct queue_header *header = shape.header;
    uint64_t head = hfi_shm_load64(&header->head), tail = hfi_shm_load64(&header->tail);
    uint64_t skipped = hfi_shm_load64(&header->skipped);
    uint64_t count = (int64_t)(tail - head) < 0 ? 0 : tail - head;
    *figures_out = (hf_shm_figures){.capacity = shape.mask + 1,
                                    .count = count > shape.mask ? shape.mask + 1 : count,
                                    .written = tail - (skipped < tail ? skipped : tail),
                                    .read = head - (skipped < head ? skipped : head),
                                    .lost = hfi_shm_load64(&header->lost),
                                    .waits = hfi_shm_load64(&header->waits),
                                    .recovered = hfi_shm_load64(&header->recovered),
                                    .writers = hfi_shm_load64(&header->producer) != 0,
                                    .readers = hfi_shm_load64(&header->consumer) != 0};
}

const struct hfi_shm_kind hfi_shm_queue_kind = {.layout = QUEUE_LAYOUT,
                                                .recover = queue_recover,
                                                .check = queue_check,
                                                .repair = queue_repair,
                                                .figures = queue_figures,
                                                .show = queue_show};
