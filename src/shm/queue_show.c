/* queue_show.c - the slots of a queue, one by one, for who looks from outside.
 *
 *   who has the roles, then from the oldest slot in use:  position, state, owner, length
 *
 * Contract    one item per slot, whatever stands in its state; nothing is written.
 * Bounds      two passes over the slots, by private numbers; a few looks at a slot that changes.
 * Talks to    queue.h, segment.h.   Called by the segment through hfi_shm_queue_kind.
 * Threads     any, while others use the queue. */
#include "queue.h"

static const enum hf_shm_state phase_states[] = {
    [QUEUE_FREE] = HF_SHM_STATE_FREE,    [QUEUE_WRITING] = HF_SHM_STATE_WRITING,
    [QUEUE_FULL] = HF_SHM_STATE_FULL,    [QUEUE_READING] = HF_SHM_STATE_READING,
    [QUEUE_SKIP] = HF_SHM_STATE_SKIPPED,
};

/* One look. False: the state changed meanwhile. */
static bool slot_look(const struct hfi_shm_part *part, const struct queue_shape *shape,
                      uint64_t index, hf_shm_view_item *item, uint64_t *size_out) {
    struct queue_slot *slot = queue_slot_at(shape, index);
    uint64_t tail = hfi_shm_load64(&shape->header->tail);
    uint64_t state = hfi_shm_load64(&slot->state), size = shape->element_size;
    enum queue_phase phase = queue_phase_of(state);
    bool odd = queue_is_odd(state);
    if (shape->bytes && (phase == QUEUE_FULL || phase == QUEUE_READING)) {
        uint64_t said = hfi_shm_load64(&slot->size);
        if (said < size) size = said;
    }
    *item = (hf_shm_view_item){.piece = HF_SHM_PIECE_SLOT,
                               .index = index,
                               .number =
                                   queue_position_near(shape, state & QUEUE_LAP_MASK, index, tail),
                               .value = odd ? 0 : (state & QUEUE_RETURNS_MASK) / QUEUE_RETURN_ONE,
                               .state = odd ? HF_SHM_STATE_DAMAGED : phase_states[phase]};
    hfi_shm_show_owner(part->shm, item, odd ? 0 : queue_owner_of(state));
    *size_out = size;
    return hfi_shm_load64(&slot->state) == state;
}

/* The oldest position that is not over: of an item in hand, or to be read. */
static uint64_t first_in_use(const struct queue_shape *shape) {
    const uint64_t tail = hfi_shm_load64(&shape->header->tail);
    uint64_t first = tail;
    for (uint64_t i = 0; i <= shape->mask; i++) {
        uint64_t state = hfi_shm_load64(&queue_slot_at(shape, i)->state);
        uint64_t position = queue_position_near(shape, state & QUEUE_LAP_MASK, i, tail);
        if (queue_phase_of(state) != QUEUE_FREE && (int64_t)(position - first) < 0)
            first = position;
    }
    return first;
}

hf_status queue_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    struct queue_shape shape;
    if (!queue_shape_of(part, &shape))
        return hfi_shm_say(HF_E_CORRUPT, "the header of the queue does not fit its %llu bytes",
                           (unsigned long long)part->size);
    struct queue_header *header = shape.header;
    if (!hfi_shm_show_holder(showing, HF_SHM_PIECE_PRODUCER, &header->producer,
                             hfi_shm_load64(&header->tail)) ||
        !hfi_shm_show_holder(showing, HF_SHM_PIECE_CONSUMER, &header->consumer,
                             hfi_shm_load64(&header->head)))
        return HF_OK;
    uint64_t first = first_in_use(&shape);
    for (uint64_t i = 0; i <= shape.mask; i++) {
        uint64_t index = (first + i) & shape.mask, size = 0;
        hf_shm_view_item item;
        for (unsigned looks = 0; looks < HFI_SHM_LOOKS; looks++)
            if (slot_look(part, &shape, index, &item, &size)) break;
        if (!hfi_shm_show(showing, &item, queue_data(&shape, queue_slot_at(&shape, index)), size))
            break;
    }
    return HF_OK;
}
