/* slots_recover.c - what dead owners had comes back, and hints become right again.
 *
 *   recover   own (g, dead) -> (g + 1, 0)                               nothing to clean
 *             own (g, dead) -> (g, RETIRED, self) -> clean -> (g + 1, 0)  self may die there, too
 *   rebuild   reads every own word, sets the hint of the free ones
 *
 * Contract    slots.h.   Talks to access.h.
 * Invariants  content is touched by none but the owner in the own word: two that recover at once never
 *             both clean a slot, and none cleans it after it was given out again.
 * Killed      anywhere: the next call does the rest. `suspect` rises after the last slot was freed, so
 *             that a rebuild which saw its new value sees them all. */
#include "slots.h"

#include "slots_state.h"

bool hfi_shm_slots_wrong(uint64_t word) {
    const uint64_t owner = word & 0xffff, flags = (uint32_t)word & ~(uint32_t)0xffff;
    if (word < SLOT_GENERATION_ONE) return true;
    if (owner > HFI_SHM_SLOT_OWNER_MAX && owner != HFI_SHM_SLOT_PASSED) return true;
    if (flags == 0) return false;
    return flags != HFI_SHM_SLOT_RETIRED || owner == 0 || owner == HFI_SHM_SLOT_PASSED;
}

/* Frees a slot that has the value `own`; false if it has another by now. */
static bool slot_take_back(const struct hfi_shm_slots *slots, uint32_t index, uint64_t own,
                           uint32_t self, hfi_shm_slots_clean clean, void *context) {
    const uint64_t handle = hfi_shm_slot_handle(own, index);
    if (clean) {
        uint64_t mine = (own & SLOT_GENERATION) | HFI_SHM_SLOT_RETIRED | self;
        if (HFI_SHM_MUTANT(505)) clean(context, index);
        if (!hfi_shm_swap64(&slots->own[index], &own, mine)) return false;
        clean(context, index);
        return hfi_shm_slots_free_retired(slots, self, handle) == HF_OK;
    }
    if (!hfi_shm_swap64(&slots->own[index], &own, slot_next(own))) return false;
    hfi_shm_hints_set(slots, 0, index / 64, (uint64_t)1 << (index % 64));
    return true;
}

size_t hfi_shm_slots_recover(const struct hfi_shm_slots *slots, uint32_t dead, uint32_t self,
                             hfi_shm_slots_clean clean, void *context) {
    size_t freed = 0;
    if (dead == 0 || dead == HFI_SHM_SLOT_PASSED) return 0;
    for (uint32_t i = 0; i < slots->count; i++) {
        uint64_t own = hfi_shm_load64(&slots->own[i]);
        if (hfi_shm_slot_owner(own) != dead) continue;
        freed += slot_take_back(slots, i, own, self, clean, context);
    }
    if (!HFI_SHM_MUTANT(504)) (void)hfi_shm_add64(&slots->state->suspect, 1);
    return freed;
}

bool hfi_shm_slots_suspect(const struct hfi_shm_slots *slots) {
    return hfi_shm_load64(&slots->state->suspect) != hfi_shm_load64(&slots->state->rebuilt);
}

/* The bits of a level's word that should be set and are not. */
static size_t hints_add(const struct hfi_shm_slots *slots, uint32_t level, uint32_t word,
                        uint64_t wanted) {
    uint64_t missing = wanted & ~hfi_shm_load64(&slots->hints[level][word]);
    if (missing == 0) return 0;
    hfi_shm_hints_set(slots, level, word, missing);
    return (size_t)__builtin_popcountll(missing);
}

size_t hfi_shm_slots_rebuild(const struct hfi_shm_slots *slots) {
    const uint64_t suspect = hfi_shm_load64(&slots->state->suspect);
    size_t added = 0;
    for (uint32_t w = 0; w < slots->words[0]; w++) {
        uint64_t wanted = 0;
        for (uint32_t i = w * 64; i < slots->count && i < w * 64 + 64; i++)
            if (slot_is_free(hfi_shm_load64(&slots->own[i]))) wanted |= (uint64_t)1 << (i % 64);
        added += hints_add(slots, 0, w, wanted);
    }
    /* The levels above, also where the one below was right: its setter may have been killed. */
    for (uint32_t level = 1; level < slots->levels; level++) {
        for (uint32_t w = 0; w < slots->words[level]; w++) {
            uint64_t wanted = 0;
            for (uint32_t i = w * 64; i < slots->words[level - 1] && i < w * 64 + 64; i++)
                if (hfi_shm_load64(&slots->hints[level - 1][i]) != 0)
                    wanted |= (uint64_t)1 << (i % 64);
            added += hints_add(slots, level, w, wanted);
        }
    }
    hfi_shm_store64(&slots->state->rebuilt, suspect);
    return added;
}

void hfi_shm_slots_owners(const struct hfi_shm_slots *slots, uint64_t *set) {
    for (uint32_t i = 0; i < slots->count; i++) {
        uint32_t owner = hfi_shm_slot_owner(hfi_shm_load64(&slots->own[i]));
        if (owner != 0 && owner < 1024) set[owner / 64] |= (uint64_t)1 << (owner % 64);
    }
}

size_t hfi_shm_slots_repair(const struct hfi_shm_slots *slots) {
    size_t repaired = 0;
    for (uint32_t i = 0; i < slots->count; i++) {
        uint64_t own = hfi_shm_load64(&slots->own[i]);
        if (hfi_shm_slots_wrong(own)) {
            repaired += slot_take_back(slots, i, own, 0, NULL, NULL);
            continue;
        }
        const uint64_t bit = (uint64_t)1 << (i % 64);
        if (slot_is_free(own) || !(hfi_shm_load64(&slots->hints[0][i / 64]) & bit)) continue;
        /* A hint for what is taken; whoever gives it back meanwhile sets the hint before or after. */
        hfi_shm_hints_clear(slots, 0, i / 64, bit);
        if (slot_is_free(hfi_shm_load64(&slots->own[i]))) hfi_shm_hints_set(slots, 0, i / 64, bit);
    }
    return repaired + hfi_shm_slots_rebuild(slots);
}

uint32_t hfi_shm_slots_taken(const struct hfi_shm_slots *slots) {
    uint32_t taken = 0;
    for (uint32_t i = 0; i < slots->count; i++)
        taken += !slot_is_free(hfi_shm_load64(&slots->own[i]));
    return taken;
}
