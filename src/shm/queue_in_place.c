/* queue_in_place.c - slots in hand: written or read where they lie, without a copy.
 *
 *   reserve --> WRITING(me) ... commit --> FULL        peek --> READING(me) ... release --> FREE
 *                           `-- abandon --> SKIP
 *
 * Contract    shm_queue.h. A token names position and state: what was given back is refused.
 * Invariants  a slot in hand has its owner in its state, also with `single`: others can take it back
 *             from the dead.
 * Threads     any; a token is used by one at a time.
 * Talks to    queue_claim.h.   Called through shm_queue.h.
 * Source      loan and send without a copy: iceoryx2's publish-subscribe; the state machine is queue.h's. */
#include "queue_claim.h"

static hf_status reserve_try(hf_shm_queue *queue, void *raw, uint64_t *blocker) {
    struct queue_claim *claim = raw;
    uint32_t self = hfi_shm_self(queue->part.shm);
    hf_status status = queue_write_begin(queue, self, claim);
    if (status != HF_OK) {
        *blocker = claim->state;
        return status;
    }
    if (queue->shape.single) { /* it is in hand for long: others must see whose it is */
        claim->state = queue_mark(claim->state, self, QUEUE_WRITING);
        hfi_shm_store64(&claim->slot->state, claim->state);
        queue->tail = claim->position + 1;
        hfi_shm_store64(&queue->shape.header->tail, queue->tail);
    }
    return HF_OK;
}

hf_status hf_shm_queue_reserve(hf_shm_queue *queue, uint64_t size, uint64_t timeout_ns,
                               hf_shm_slot *slot_out) {
    if (queue == NULL || slot_out == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_queue_reserve: queue and slot_out must be given");
    if (size == 0) size = queue->shape.element_size;
    if (!queue_size_fits(queue, size)) return queue_size_refused(queue, size);
    struct queue_claim claim = {0};
    uint64_t blocker = 0;
    hf_status status = reserve_try(queue, &claim, &blocker);
    if (status == HF_E_FULL)
        status = queue_wait(queue, true, timeout_ns, blocker, reserve_try, &claim);
    if (status == HF_E_CORRUPT) return queue_damaged();
    if (status != HF_OK) return status;
    atomic_fetch_add_explicit(&queue->held, 1, memory_order_relaxed);
    *slot_out =
        (hf_shm_slot){queue_data(&queue->shape, claim.slot), size, claim.position, claim.state};
    return HF_OK;
}

/* The slot that a token names, if it is still in this participant's hand. */
static struct queue_slot *slot_in_hand(hf_shm_queue *queue, const hf_shm_slot *slot,
                                       enum queue_phase phase) {
    if (queue_owner_of(slot->state) != hfi_shm_self(queue->part.shm)) return NULL;
    if (queue_phase_of(slot->state) != phase) return NULL;
    struct queue_slot *found = queue_slot_at(&queue->shape, slot->position);
    return hfi_shm_load64(&found->state) == slot->state ? found : NULL;
}

static hf_status slot_refused(const char *what) {
    return hfi_shm_say(HF_E_STALE,
                       "%s: the slot is not in hand: it was given back before, or belongs to the "
                       "parent of this process",
                       what);
}

hf_status hf_shm_queue_commit(hf_shm_queue *queue, const hf_shm_slot *slot) {
    if (queue == NULL || slot == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_queue_commit: queue and slot must be given");
    if (!queue_size_fits(queue, slot->size)) return queue_size_refused(queue, slot->size);
    struct queue_slot *found = slot_in_hand(queue, slot, QUEUE_WRITING);
    if (found == NULL) return slot_refused("hf_shm_queue_commit");
    if (queue->shape.bytes) hfi_shm_store64(&found->size, slot->size);
    queue_publish(&queue->shape, found, slot->state);
    atomic_fetch_sub_explicit(&queue->held, 1, memory_order_relaxed);
    return HF_OK;
}

hf_status hf_shm_queue_abandon(hf_shm_queue *queue, const hf_shm_slot *slot) {
    if (queue == NULL || slot == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_queue_abandon: queue and slot must be given");
    struct queue_slot *found = slot_in_hand(queue, slot, QUEUE_WRITING);
    if (found == NULL) return slot_refused("hf_shm_queue_abandon");
    const struct queue_shape *shape = &queue->shape;
    hfi_shm_store64(&found->state, (slot->state & QUEUE_LAP_MASK) | QUEUE_SKIP);
    atomic_fetch_sub_explicit(&queue->held, 1, memory_order_relaxed);
    struct queue_claim claim = {.position = hfi_shm_load64(&shape->header->head)};
    (void)queue_claim_read(shape, 0, QUEUE_LOOK, UINT64_MAX, &claim);
    hfi_shm_signal(&shape->header->filled, 1); /* items behind it may be next */
    return HF_OK;
}

static hf_status peek_try(hf_shm_queue *queue, void *raw, uint64_t *blocker) {
    struct queue_claim *claim = raw;
    hf_status status = queue_read_begin(queue, hfi_shm_self(queue->part.shm), UINT64_MAX, claim);
    if (status != HF_OK) *blocker = claim->state;
    return status;
}

hf_status hf_shm_queue_peek(hf_shm_queue *queue, uint64_t timeout_ns, hf_shm_slot *slot_out) {
    if (queue == NULL || slot_out == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_queue_peek: queue and slot_out must be given");
    struct queue_claim claim = {0};
    uint64_t blocker = 0;
    hf_status status = peek_try(queue, &claim, &blocker);
    if (status == HF_E_EMPTY)
        status = queue_wait(queue, false, timeout_ns, blocker, peek_try, &claim);
    if (status == HF_E_CORRUPT) return queue_damaged();
    if (status != HF_OK) return status;
    const struct queue_shape *shape = &queue->shape;
    uint64_t size = shape->bytes ? hfi_shm_load64(&claim.slot->size) : shape->element_size;
    if (size > shape->element_size) {
        queue_give_back(shape, claim.slot, claim.state);
        return queue_damaged();
    }
    atomic_fetch_add_explicit(&queue->held, 1, memory_order_relaxed);
    *slot_out = (hf_shm_slot){queue_data(shape, claim.slot), size, claim.position, claim.state};
    return HF_OK;
}

hf_status hf_shm_queue_release(hf_shm_queue *queue, const hf_shm_slot *slot) {
    if (queue == NULL || slot == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_queue_release: queue and slot must be given");
    struct queue_slot *found = slot_in_hand(queue, slot, QUEUE_READING);
    if (found == NULL) return slot_refused("hf_shm_queue_release");
    queue_give_back(&queue->shape, found, slot->state);
    atomic_fetch_sub_explicit(&queue->held, 1, memory_order_relaxed);
    return HF_OK;
}
