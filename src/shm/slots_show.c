/* slots_show.c - slots one by one, for who looks from outside: the objects of a pool, permits.
 *
 * Contract    one item per slot, whatever stands in its own word; nothing is written.
 * Bounds      one pass by the private count; a few looks at a slot that changes.
 * Talks to    slots.h, segment.h.   Called by pool_kind.c, semaphore.c.
 * Threads     any, while others use the slots. */
#include "segment.h"
#include "slots.h"

static uint32_t slot_state(uint64_t own, uint32_t taken) {
    if (hfi_shm_slots_wrong(own)) return HF_SHM_STATE_DAMAGED;
    if (hfi_shm_slot_owner(own) == 0) return HF_SHM_STATE_FREE;
    if (hfi_shm_slot_owner(own) == HFI_SHM_SLOT_PASSED) return HF_SHM_STATE_PASSED;
    return (own & HFI_SHM_SLOT_RETIRED) != 0 ? HF_SHM_STATE_RETIRED : taken;
}

void hfi_shm_slots_show(const struct hfi_shm_slots *slots, hf_shm *shm,
                        const struct hfi_shm_slots_shown *as, struct hfi_shm_showing *showing) {
    for (uint32_t i = 0; i < slots->count; i++) {
        hf_shm_view_item item = {.piece = as->piece, .index = i};
        for (unsigned looks = 0; looks < HFI_SHM_LOOKS; looks++) {
            const uint64_t own = hfi_shm_slots_word(slots, i);
            item.state = slot_state(own, as->taken);
            item.number = own >> 32;
            bool has = item.state == as->taken || item.state == HF_SHM_STATE_RETIRED;
            hfi_shm_show_owner(shm, &item, has ? hfi_shm_slot_owner(own) : 0);
            if (hfi_shm_slots_word(slots, i) == own) break;
        }
        const void *bytes = &slots->own[i];
        if (as->base != NULL) bytes = as->base + i * as->stride;
        if (!hfi_shm_show(showing, &item, bytes, as->base != NULL ? as->size : sizeof *slots->own))
            return;
    }
}
