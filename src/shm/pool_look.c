/* pool_look.c - several objects at once, waiting for them, and looking at who has what.
 *
 * Contract    holdfast/shm_pool.h.   Talks to slots.h, segment.h, pool_state.h.
 * Invariants  who waits looks for dead owners before each sleep; slots_search.c bounds what it costs.
 * Threads     every function from any thread of any process.
 * Fails with  HF_E_EMPTY, HF_E_TIMEOUT, HF_E_STALE, HF_E_INVALID, each with a sentence. */
#include "pool_state.h"

/* What can be had now, dead owners' objects included. */
static uint32_t pool_take(hf_shm_pool *pool, uint32_t self, hf_shm_handle *handles,
                          uint32_t wanted) {
    struct hfi_shm_slots *slots = &pool->view.slots;
    uint32_t taken = hfi_shm_slots_acquire_many(slots, self, handles, wanted);
    if (taken == 0 && hfi_shm_slots_search(pool->part.shm, slots, &pool->look_next))
        taken = hfi_shm_slots_acquire_many(slots, self, handles, wanted);
    return taken;
}

hf_status hf_shm_pool_acquire_bulk(hf_shm_pool *pool, uint64_t timeout_ns,
                                   hf_shm_handle *handles_out, size_t count, size_t *acquired_out) {
    if (!pool || !handles_out || !acquired_out || count == 0)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_pool_acquire_bulk: pool, handles_out or "
                                         "acquired_out is NULL, or count is 0");
    const uint32_t capacity = pool->view.slots.count, self = hfi_shm_self(pool->part.shm);
    const uint32_t wanted = count < capacity ? (uint32_t)count : capacity;
    if (self == 0) return hfi_shm_closed(pool->part.shm);
    uint32_t taken = pool_take(pool, self, handles_out, wanted);
    if (taken == 0 && timeout_ns == 0)
        return hfi_shm_say(HF_E_EMPTY, "all %" PRIu32 " objects of the pool are out", capacity);
    const uint64_t deadline = hfi_shm_deadline(timeout_ns);
    struct hfi_shm_spin spin = {0};
    while (taken == 0 && hfi_shm_spin(&spin))
        taken = hfi_shm_slots_acquire_many(&pool->view.slots, self, handles_out, wanted);
    while (taken == 0) {
        const uint32_t turn = hfi_shm_event_turn(pool->view.released);
        taken = pool_take(pool, self, handles_out, wanted);
        if (taken == 0 && hfi_shm_wait(pool->view.released, turn, deadline) == HF_E_TIMEOUT)
            return hfi_shm_say(HF_E_TIMEOUT,
                               "all %" PRIu32 " objects of the pool were out for %" PRIu64 " ms",
                               capacity, timeout_ns / 1000000);
    }
    *acquired_out = taken;
    return HF_OK;
}

hf_status hf_shm_pool_release_bulk(hf_shm_pool *pool, const hf_shm_handle *handles, size_t count,
                                   size_t *released_out) {
    if (!pool || (!handles && count != 0))
        return hfi_shm_say(HF_E_INVALID, "hf_shm_pool_release_bulk: pool or handles is NULL");
    hf_status first = HF_OK;
    size_t released = 0;
    for (size_t i = 0; i < count; i++) {
        hf_status status = hf_shm_pool_release(pool, handles[i]);
        released += status == HF_OK;
        if (first == HF_OK) first = status;
    }
    if (released_out) *released_out = released;
    return first;
}

/* --- who has what ----------------------------------------------------------------------------- */

hf_status hfi_shm_pool_refuse(hf_shm_pool *pool, const char *what, hf_shm_handle handle,
                              hf_status status) {
    const struct hfi_shm_slots *slots = &pool->view.slots;
    const uint32_t index = (uint32_t)handle;
    if (index >= slots->count)
        return hfi_shm_say(status, "%s: 0x%" PRIx64 " is no handle of this pool of %" PRIu32, what,
                           handle, slots->count);
    const uint64_t own = hfi_shm_slots_word(slots, index);
    const uint32_t owner = hfi_shm_slot_owner(own), self = hfi_shm_self(pool->part.shm);
    char who[64];
    if (owner == 0)
        snprintf(who, sizeof who, "is free");
    else if (owner == HFI_SHM_SLOT_PASSED)
        snprintf(who, sizeof who, "is on its way to who adopts it");
    else if (owner == self)
        snprintf(who, sizeof who, "belongs to this participant");
    else
        snprintf(who, sizeof who, "belongs to participant %" PRIu32, owner - 1);
    if (status == HF_E_STALE)
        return hfi_shm_say(status,
                           "%s: the handle is of use %" PRIu32 " of object %" PRIu32
                           ", which is over; it %s (use %" PRIu32 ")",
                           what, (uint32_t)(handle >> 32), index, who, (uint32_t)(own >> 32));
    return hfi_shm_say(status, "%s: object %" PRIu32 " %s", what, index, who);
}

hf_status hf_shm_pool_owner(hf_shm_pool *pool, hf_shm_handle handle, uint32_t *participant_out) {
    if (!pool || !participant_out)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_pool_owner: pool or participant_out is NULL");
    const struct hfi_shm_slots *slots = &pool->view.slots;
    if ((uint32_t)handle >= slots->count || handle >> 32 == 0)
        return hfi_shm_pool_refuse(pool, "owner", handle, HF_E_INVALID);
    const uint64_t own = hfi_shm_slots_word(slots, (uint32_t)handle);
    const uint32_t owner = hfi_shm_slot_owner(own);
    if (own >> 32 != handle >> 32 || owner == 0 || (own & HFI_SHM_SLOT_RETIRED))
        return hfi_shm_pool_refuse(pool, "owner", handle, HF_E_STALE);
    *participant_out = owner == HFI_SHM_SLOT_PASSED ? HF_SHM_POOL_PASSED : owner - 1;
    return HF_OK;
}

hf_status hf_shm_pool_visit(hf_shm_pool *pool, hf_shm_pool_visitor visitor, void *context) {
    if (!pool || !visitor)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_pool_visit: pool or visitor is NULL");
    const struct pool_view *view = &pool->view;
    for (uint32_t i = 0; i < view->slots.count; i++) {
        const uint64_t own = hfi_shm_slots_word(&view->slots, i);
        const uint32_t owner = hfi_shm_slot_owner(own);
        if (owner == 0 || (own & HFI_SHM_SLOT_RETIRED)) continue;
        const hf_shm_pool_object object = {
            .handle = hfi_shm_slot_handle(own, i),
            .participant = owner == HFI_SHM_SLOT_PASSED ? HF_SHM_POOL_PASSED : owner - 1,
            .address = view->objects + (uint64_t)i * view->stride};
        if (visitor(&object, context)) break;
    }
    return HF_OK;
}

uint64_t hf_shm_pool_live(hf_shm_pool *pool) {
    return pool ? hfi_shm_slots_taken(&pool->view.slots) : 0;
}
