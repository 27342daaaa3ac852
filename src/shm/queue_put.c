/* queue_put.c - items go in: one, one in parts, many.
 *
 *   claim (one compare-and-swap) --> hint --> copy --> publish (one store) --> wake, if the flag is up
 *
 * Contract    shm_queue.h. The item is in the queue from the publishing store on and not before.
 * Invariants  one slot in hand at a time, also in bulk: a kill costs at most one item.
 * Threads     any; with `single` one at a time, and the slot needs no claim: nobody else writes.
 * Talks to    queue_claim.h.   Called through shm_queue.h.
 * Source      Vyukov's bounded queue, 1024cores.net: claim, write, publish per slot. */
#include "queue_claim.h"

QUEUE_INLINE hf_status write_one(hf_shm_queue *queue, uint32_t self, const void *data,
                                 uint64_t size, uint64_t *blocker) {
    struct queue_claim claim = {0};
    hf_status status = queue_write_begin(queue, self, &claim);
    if (QUEUE_UNLIKELY(status != HF_OK)) {
        *blocker = claim.state;
        return status;
    }
    if (HFI_SHM_MUTANT(QUEUE_MUTANT_EARLY_PUBLISH)) queue_write_end(queue, &claim, size);
    queue_copy(queue_data(&queue->shape, claim.slot), data, size);
    queue_write_end(queue, &claim, size);
    return HF_OK;
}

struct put_one {
    const void *data;
    uint64_t size;
};

static hf_status put_one_again(hf_shm_queue *queue, void *raw, uint64_t *blocker) {
    struct put_one *put = raw;
    return write_one(queue, hfi_shm_self(queue->part.shm), put->data, put->size, blocker);
}

hf_status queue_size_refused(const hf_shm_queue *queue, uint64_t size) {
    return hfi_shm_say(
        HF_E_INVALID, "an item of %llu bytes was given; the queue holds %s%llu bytes",
        (unsigned long long)size, queue->shape.bytes ? "items of up to " : "records of ",
        (unsigned long long)queue->shape.element_size);
}

static __attribute__((noinline)) hf_status put_any(hf_shm_queue *queue, const void *data,
                                                   uint64_t size, uint64_t timeout_ns) {
    if (QUEUE_UNLIKELY(queue == NULL || (data == NULL && size != 0)))
        return hfi_shm_say(HF_E_INVALID, "hf_shm_queue_put: queue and data must be given");
    if (QUEUE_UNLIKELY(!queue_size_fits(queue, size))) return queue_size_refused(queue, size);
    uint64_t blocker = 0;
    hf_status status = write_one(queue, hfi_shm_self(queue->part.shm), data, size, &blocker);
    if (QUEUE_LIKELY(status == HF_OK)) return HF_OK;
    if (status == HF_E_FULL) {
        struct put_one put = {data, size};
        status = queue_wait(queue, true, timeout_ns, blocker, put_one_again, &put);
    }
    return status == HF_E_CORRUPT ? queue_damaged() : status;
}

#define IS_MUTANT                                                                                  \
    (HFI_SHM_MUTANT(QUEUE_MUTANT_CLAIM_BY_ADD) || HFI_SHM_MUTANT(QUEUE_MUTANT_EARLY_PUBLISH))

static __attribute__((noinline)) hf_status put_single(hf_shm_queue *queue, const void *data,
                                                      uint64_t size, uint64_t timeout_ns) {
    if (queue == NULL || data == NULL || size != queue->short_size_single || IS_MUTANT)
        return put_any(queue, data, size, timeout_ns);
    const struct queue_shape *shape = &queue->shape;
    uint32_t self = hfi_shm_self(queue->part.shm);
    uint64_t position = queue->tail;
    struct queue_slot *slot = queue_slot_at(shape, position);
    uint64_t lap = queue_lap(shape, position);
    if (QUEUE_UNLIKELY(queue->producer != self || self == 0 || hfi_shm_load64(&slot->state) != lap))
        return put_any(queue, data, size, timeout_ns);
    queue_copy_small(queue_data(shape, slot), data, size);
    hfi_shm_store64(&slot->state, lap | QUEUE_FULL); /* SYNC(queue.full) */
    queue->tail = position + 1;
    hfi_shm_store64(&shape->header->tail, position + 1);
    if (QUEUE_UNLIKELY(hfi_shm_load32(&shape->header->filled.waiters) != 0))
        hfi_shm_signal(&shape->header->filled, 1);
    return HF_OK;
}

/* The shortest path first, without a loop or a call: a small record and a free slot. */
hf_status hf_shm_queue_put(hf_shm_queue *queue, const void *data, uint64_t size,
                           uint64_t timeout_ns) {
    if (QUEUE_UNLIKELY(queue == NULL || data == NULL || size != queue->short_size || IS_MUTANT))
        return put_single(queue, data, size, timeout_ns);
    const struct queue_shape *shape = &queue->shape;
    uint64_t self = hfi_shm_self(queue->part.shm);
    uint64_t position = hfi_shm_load64(&shape->header->tail);
    struct queue_slot *slot = queue_slot_at(shape, position);
    uint64_t lap = queue_lap(shape, position), state = lap;
    if (QUEUE_UNLIKELY(self == 0)) return put_any(queue, data, size, timeout_ns);
    /* After a success the next is likely: without a look before it the line comes over once, not twice.
     * relaxed: a guess. */
    if (!atomic_load_explicit(&queue->put_likely, memory_order_relaxed))
        state = hfi_shm_load64(&slot->state);
    if (QUEUE_UNLIKELY(state != lap ||
                       !hfi_shm_swap64(&slot->state, &state,
                                       lap | self << QUEUE_OWNER_SHIFT | QUEUE_WRITING))) {
        bool full = state == lap - QUEUE_LAP_ONE + QUEUE_FULL; /* an item that nobody took yet */
        atomic_store_explicit(&queue->put_likely, false, memory_order_relaxed);
        return full && timeout_ns == 0 ? HF_E_FULL : put_any(queue, data, size, timeout_ns);
    }
    atomic_store_explicit(&queue->put_likely, true, memory_order_relaxed);
    queue_hint(&shape->header->tail, position + 1);
    queue_copy_small(queue_data(shape, slot), data, size);
    hfi_shm_store64(&slot->state, lap | QUEUE_FULL); /* SYNC(queue.full) */
    queue_prefetch_next(shape, position);
    if (QUEUE_UNLIKELY(hfi_shm_load32(&shape->header->filled.waiters) != 0))
        hfi_shm_signal(&shape->header->filled, 1);
    return HF_OK;
}

/* --- in parts ------------------------------------------------------------------------------------ */

struct put_parts {
    const hf_shm_bytes *parts;
    size_t count;
    uint64_t size;
};

static hf_status put_parts_try(hf_shm_queue *queue, void *raw, uint64_t *blocker) {
    struct put_parts *put = raw;
    struct queue_claim claim = {0};
    hf_status status = queue_write_begin(queue, hfi_shm_self(queue->part.shm), &claim);
    if (status != HF_OK) {
        *blocker = claim.state;
        return status;
    }
    char *to = queue_data(&queue->shape, claim.slot);
    for (size_t i = 0; i < put->count; i++) {
        if (put->parts[i].size == 0) continue;
        hfi_shm_copy(to, put->parts[i].data, put->parts[i].size);
        to += put->parts[i].size;
    }
    queue_write_end(queue, &claim, put->size);
    return HF_OK;
}

hf_status hf_shm_queue_put_segmented(hf_shm_queue *queue, const hf_shm_bytes *parts, size_t count,
                                     uint64_t timeout_ns) {
    if (queue == NULL || (parts == NULL && count != 0))
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_queue_put_segmented: queue and parts must be given");
    struct put_parts put = {parts, count, 0};
    for (size_t i = 0; i < count; i++) {
        if (parts[i].data == NULL && parts[i].size != 0)
            return hfi_shm_say(HF_E_INVALID, "part %zu has %llu bytes and no address", i,
                               (unsigned long long)parts[i].size);
        if (__builtin_add_overflow(put.size, parts[i].size, &put.size)) put.size = UINT64_MAX;
        if (put.size == UINT64_MAX) break;
    }
    if (!queue_size_fits(queue, put.size)) return queue_size_refused(queue, put.size);
    uint64_t blocker = 0;
    hf_status status = put_parts_try(queue, &put, &blocker);
    if (status == HF_E_FULL)
        status = queue_wait(queue, true, timeout_ns, blocker, put_parts_try, &put);
    return status == HF_E_CORRUPT ? queue_damaged() : status;
}

/* --- many ---------------------------------------------------------------------------------------- */

struct put_bulk {
    const char *data;
    const uint64_t *sizes;
    uint64_t count, done;
};

static hf_status put_bulk_try(hf_shm_queue *queue, void *raw, uint64_t *blocker) {
    struct put_bulk *put = raw;
    uint32_t self = hfi_shm_self(queue->part.shm);
    uint64_t element_size = queue->shape.element_size;
    while (put->done < put->count) {
        uint64_t size = put->sizes ? put->sizes[put->done] : element_size;
        hf_status status =
            write_one(queue, self, put->data + put->done * element_size, size, blocker);
        if (status != HF_OK) return status;
        put->done++;
    }
    return HF_OK;
}

hf_status hf_shm_queue_put_bulk(hf_shm_queue *queue, const void *data, const uint64_t *sizes,
                                uint64_t count, uint64_t timeout_ns, uint64_t *done_out) {
    if (done_out) *done_out = 0;
    if (queue == NULL || (data == NULL && count != 0))
        return hfi_shm_say(HF_E_INVALID, "hf_shm_queue_put_bulk: queue and data must be given");
    for (uint64_t i = 0; sizes != NULL && i < count; i++)
        if (!queue_size_fits(queue, sizes[i])) return queue_size_refused(queue, sizes[i]);
    struct put_bulk put = {data, sizes, count, 0};
    uint64_t blocker = 0;
    hf_status status = put_bulk_try(queue, &put, &blocker);
    if (status == HF_E_FULL)
        status = queue_wait(queue, true, timeout_ns, blocker, put_bulk_try, &put);
    if (done_out) *done_out = put.done;
    return status == HF_E_CORRUPT ? queue_damaged() : status;
}
