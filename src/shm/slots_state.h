/* slots_state.h - the bits of an own word and of hints, for the two files of slots.
 * Contract    slots.h.   Called by slots.c, slots_recover.c.
 * Invariants  a free own word is a generation and nothing else; generation 0 is skipped, so that no
 *             handle is 0. Generations wrap after 2^32 - 1 uses of one slot.
 * Threads     pure, but for the two that change hints: lock-free.
 * Talks to    slots.h. */
#ifndef HFI_SHM_SLOTS_STATE_H
#define HFI_SHM_SLOTS_STATE_H

#include "slots.h"

#define SLOT_GENERATION     (~(uint64_t)UINT32_MAX)
#define SLOT_GENERATION_ONE ((uint64_t)1 << 32)

static inline bool slot_is_free(uint64_t own) {
    return (uint32_t)own == 0;
}
/* The free word after a use of this generation. */
static inline uint64_t slot_next(uint64_t own) {
    uint64_t next = (own & SLOT_GENERATION) + SLOT_GENERATION_ONE;
    if (HFI_SHM_MUTANT(502)) return own & SLOT_GENERATION;
    return next != 0 ? next : SLOT_GENERATION_ONE;
}
/* The bits of word `word` that name something, of `count` in all. */
static inline uint64_t hfi_shm_hint_mask(uint32_t word, uint32_t count) {
    uint32_t left = count - word * 64;
    return left >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1;
}

void hfi_shm_hints_set(const struct hfi_shm_slots *slots, uint32_t level, uint32_t word,
                       uint64_t bits);
void hfi_shm_hints_clear(const struct hfi_shm_slots *slots, uint32_t level, uint32_t word,
                         uint64_t bits);

#endif
