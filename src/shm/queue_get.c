/* queue_get.c - items come out: one, or as many as there are.
 *
 *   claim (one compare-and-swap) --> hint --> copy --> give the slot back (one store) --> wake
 *
 * Contract    shm_queue.h. From the claim on nobody else gets the item; a consumer that is killed with
 *             it in hand loses it (default) or leaves it to the next (redeliver).
 * Invariants  one slot in hand at a time, also in bulk.
 * Trust       the length that stands in a slot is compared with the private bound before it is used.
 * Talks to    queue_claim.h.   Called through shm_queue.h.
 * Source      Vyukov's bounded queue, 1024cores.net: claim, read, give back per slot. */
#include "queue_claim.h"

hf_status queue_claim_returned(hf_shm_queue *queue, uint32_t self, uint64_t room,
                               struct queue_claim *claim) {
    const struct queue_shape *shape = &queue->shape;
    uint64_t asked = hfi_shm_load64(&shape->header->returned_asked);
    for (uint64_t i = 0; i <= shape->mask; i++) {
        struct queue_slot *slot = queue_slot_at(shape, i);
        uint64_t state = hfi_shm_load64(&slot->state);
        if (queue_phase_of(state) != QUEUE_FULL || (state & QUEUE_RETURNS_MASK) == 0) continue;
        if (shape->bytes && room < shape->element_size) {
            uint64_t size = hfi_shm_load64(&slot->size);
            if (size > room && size <= shape->element_size) {
                *claim = (struct queue_claim){slot, i, size};
                return HF_E_INVALID;
            }
        }
        uint64_t mark = queue_mark(state, self, QUEUE_READING);
        if (!hfi_shm_swap64(&slot->state, &state, mark)) continue;
        *claim = (struct queue_claim){slot, i, mark};
        return HF_OK;
    }
    /* Whoever returns one after this adds to `asked` again. */
    uint64_t done = hfi_shm_load64(&shape->header->returned_done);
    (void)hfi_shm_swap64(&shape->header->returned_done, &done, asked);
    return HF_E_EMPTY;
}

QUEUE_INLINE hf_status read_one(hf_shm_queue *queue, uint32_t self, void *data, uint64_t room,
                                uint64_t *size_out, uint64_t *blocker) {
    const struct queue_shape *shape = &queue->shape;
    struct queue_claim claim = {0};
    hf_status status = queue_read_begin(queue, self, room, &claim);
    if (QUEUE_UNLIKELY(status != HF_OK)) {
        *blocker = claim.state;
        if (status == HF_E_INVALID) *size_out = claim.state;
        return status;
    }
    uint64_t size = shape->element_size;
    if (shape->bytes) {
        size = hfi_shm_load64(&claim.slot->size);
        if (QUEUE_UNLIKELY(size > shape->element_size || size > room)) {
            queue_give_back(shape, claim.slot, claim.state);
            return HF_E_CORRUPT;
        }
    }
    queue_copy(data, queue_data(shape, claim.slot), size);
    queue_give_back(shape, claim.slot, claim.state);
    *size_out = size;
    return HF_OK;
}

struct get_one {
    void *data;
    uint64_t room, size;
};

static hf_status get_one_again(hf_shm_queue *queue, void *raw, uint64_t *blocker) {
    struct get_one *get = raw;
    return read_one(queue, hfi_shm_self(queue->part.shm), get->data, get->room, &get->size,
                    blocker);
}

/* The item at hand does not fit, and stays. */
static hf_status room_refused(const hf_shm_queue *queue, uint64_t room, uint64_t size) {
    return hfi_shm_say(HF_E_INVALID,
                       "there is room for %llu bytes; the item has %llu, others up to %llu",
                       (unsigned long long)room, (unsigned long long)size,
                       (unsigned long long)queue->shape.element_size);
}

static __attribute__((noinline)) hf_status get_any(hf_shm_queue *queue, void *data, uint64_t size,
                                                   uint64_t timeout_ns, uint64_t *size_out) {
    if (QUEUE_UNLIKELY(queue == NULL || (data == NULL && size != 0)))
        return hfi_shm_say(HF_E_INVALID, "hf_shm_queue_get: queue and data must be given");
    if (QUEUE_UNLIKELY(!queue->shape.bytes && size < queue->shape.element_size))
        return room_refused(queue, size, queue->shape.element_size);
    struct get_one get = {data, size, 0};
    uint64_t blocker = 0;
    hf_status status =
        read_one(queue, hfi_shm_self(queue->part.shm), data, size, &get.size, &blocker);
    if (status == HF_E_EMPTY)
        status = queue_wait(queue, false, timeout_ns, blocker, get_one_again, &get);
    if (QUEUE_UNLIKELY(status == HF_E_CORRUPT)) return queue_damaged();
    if (size_out && (status == HF_OK || status == HF_E_INVALID)) *size_out = get.size;
    return status == HF_E_INVALID ? room_refused(queue, size, get.size) : status;
}

static __attribute__((noinline)) hf_status get_single(hf_shm_queue *queue, void *data,
                                                      uint64_t size, uint64_t timeout_ns,
                                                      uint64_t *size_out) {
    if (queue == NULL || data == NULL || size < queue->short_size_single)
        return get_any(queue, data, size, timeout_ns, size_out);
    const struct queue_shape *shape = &queue->shape;
    uint64_t self = hfi_shm_self(queue->part.shm);
    uint64_t position = queue->head;
    struct queue_slot *slot = queue_slot_at(shape, position);
    uint64_t lap = queue_lap(shape, position);
    if (QUEUE_UNLIKELY(queue->consumer != self || self == 0 ||
                       hfi_shm_load64(&slot->state) != (lap | QUEUE_FULL)))
        return get_any(queue, data, size, timeout_ns, size_out);
    /* Whose it is must stand there before it is read: a killed one's item is not read again. */
    hfi_shm_store64(&slot->state, lap | self << QUEUE_OWNER_SHIFT | QUEUE_READING);
    queue_copy_small(data, queue_data(shape, slot), queue->short_size_single);
    hfi_shm_store64(&slot->state, lap + QUEUE_LAP_ONE); /* SYNC(queue.free) */
    queue->head = position + 1;
    hfi_shm_store64(&shape->header->head, position + 1);
    if (QUEUE_UNLIKELY(hfi_shm_load32(&shape->header->emptied.waiters) != 0))
        hfi_shm_signal(&shape->header->emptied, 1);
    if (size_out != NULL) *size_out = queue->short_size_single;
    return HF_OK;
}

/* The shortest path first, without a loop or a call: a small record that lies ready. */
hf_status hf_shm_queue_get(hf_shm_queue *queue, void *data, uint64_t size, uint64_t timeout_ns,
                           uint64_t *size_out) {
    if (QUEUE_UNLIKELY(queue == NULL || data == NULL || size < queue->short_size))
        return get_single(queue, data, size, timeout_ns, size_out);
    const struct queue_shape *shape = &queue->shape;
    uint64_t self = hfi_shm_self(queue->part.shm);
    uint64_t position = hfi_shm_load64(&shape->header->head);
    struct queue_slot *slot = queue_slot_at(shape, position);
    uint64_t lap = queue_lap(shape, position), state = lap | QUEUE_FULL;
    if (QUEUE_UNLIKELY(self == 0)) return get_any(queue, data, size, timeout_ns, size_out);
    if (!atomic_load_explicit(&queue->get_likely, memory_order_relaxed))
        state = hfi_shm_load64(&slot->state);
    if (QUEUE_UNLIKELY(state != (lap | QUEUE_FULL) ||
                       !hfi_shm_swap64(&slot->state, &state,
                                       lap | self << QUEUE_OWNER_SHIFT | QUEUE_READING))) {
        bool empty = state == lap; /* a place that nobody took yet */
        atomic_store_explicit(&queue->get_likely, false, memory_order_relaxed);
        return empty && timeout_ns == 0 ? HF_E_EMPTY
                                        : get_any(queue, data, size, timeout_ns, size_out);
    }
    atomic_store_explicit(&queue->get_likely, true, memory_order_relaxed);
    queue_hint(&shape->header->head, position + 1);
    queue_copy_small(data, queue_data(shape, slot), queue->short_size);
    hfi_shm_store64(&slot->state, lap + QUEUE_LAP_ONE); /* SYNC(queue.free) */
    if (QUEUE_UNLIKELY(hfi_shm_load32(&shape->header->emptied.waiters) != 0))
        hfi_shm_signal(&shape->header->emptied, 1);
    if (size_out != NULL) *size_out = queue->short_size;
    return HF_OK;
}

/* --- many ---------------------------------------------------------------------------------------- */

struct get_bulk {
    char *data;
    uint64_t *sizes;
    uint64_t count, done;
};

static hf_status get_bulk_try(hf_shm_queue *queue, void *raw, uint64_t *blocker) {
    struct get_bulk *get = raw;
    uint32_t self = hfi_shm_self(queue->part.shm);
    uint64_t element_size = queue->shape.element_size;
    while (get->done < get->count) {
        uint64_t size = 0;
        hf_status status = read_one(queue, self, get->data + get->done * element_size, element_size,
                                    &size, blocker);
        if (status == HF_E_EMPTY && get->done > 0) return HF_OK;
        if (status != HF_OK) return status;
        if (get->sizes) get->sizes[get->done] = size;
        get->done++;
    }
    return HF_OK;
}

hf_status hf_shm_queue_get_bulk(hf_shm_queue *queue, void *data, uint64_t *sizes_out,
                                uint64_t count, uint64_t timeout_ns, uint64_t *done_out) {
    if (done_out) *done_out = 0;
    if (queue == NULL || data == NULL || count == 0)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_queue_get_bulk: queue, data and a count above 0 must be given");
    struct get_bulk get = {data, sizes_out, count, 0};
    uint64_t blocker = 0;
    hf_status status = get_bulk_try(queue, &get, &blocker);
    if (status == HF_E_EMPTY)
        status = queue_wait(queue, false, timeout_ns, blocker, get_bulk_try, &get);
    if (done_out) *done_out = get.done;
    return status == HF_E_CORRUPT ? queue_damaged() : status;
}
