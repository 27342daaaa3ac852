/* slots_search.c - nothing was found: are hints missing, are owners dead?
 *
 * Contract    hfi_shm_slots_search (slots.h).   Talks to segment.h (who is dead), os (clock).
 * Invariants  a search costs one pass over the own words and a system call per owner, so the next one
 *             comes after 16 times as long as it took, and 1 ms: who polls what is empty stays cheap.
 *             A death that was recovered (suspect) is looked after at once.
 * Threads     by any; two at once do the same twice.
 * Fails with  nothing: what cannot be recovered now is tried again. */
#include "os/os.h"

#include "segment.h"
#include "slots.h"

#define SEARCH_PAUSE_NS ((uint64_t)1000000)

bool hfi_shm_slots_search(struct hf_shm *shm, const struct hfi_shm_slots *slots,
                          _Atomic uint64_t *next) {
    bool found = hfi_shm_slots_suspect(slots);
    const uint64_t now = hfi_os_clock_ns();
    /* relaxed: private to this process, and a hint. */
    if (!found && !hfi_shm_is_woven() && now < atomic_load_explicit(next, memory_order_relaxed))
        return false;
    const uint32_t self = hfi_shm_self(shm);
    uint64_t owners[HFI_SHM_SLOT_OWNER_MAX / 64 + 1] = {0};
    hfi_shm_slots_owners(slots, owners);
    for (uint32_t owner = 1; owner <= HFI_SHM_SLOT_OWNER_MAX; owner++) {
        if (!(owners[owner / 64] >> (owner % 64) & 1) || owner == self) continue;
        if (!hfi_shm_dead(shm, owner)) continue;
        hfi_shm_recover(shm, owner);
        found = true;
    }
    found |= hfi_shm_slots_rebuild(slots) != 0;
    const uint64_t end = hfi_os_clock_ns(), pause = 16 * (end - now);
    atomic_store_explicit(next, end + (pause > SEARCH_PAUSE_NS ? pause : SEARCH_PAUSE_NS),
                          memory_order_relaxed);
    return found;
}
