/* slots.c - taking and giving back: one compare-and-swap of the truth, then the hints.
 *
 *   acquire   own (g, 0) -> (g, me)        then clears the hint: it names what is taken, for a moment
 *   release   own (g, me) -> (g + 1, 0)    then sets the hint: it misses what is free, for a moment
 *
 * Contract    slots.h.   Talks to access.h.   The rest of it: slots_recover.c.
 * Invariants  only who has just taken a slot clears its hint, and nobody can give it back before that.
 *             Who empties a word of hints clears its bit one level up and then looks again; who fills
 *             an empty word sets it: at rest, a word with hints has its bit set at every level.
 * Killed      before the hint is cleared: recover gives the slot back anyway. Before it is set: the
 *             slot is free and unseen; recover raises `suspect`, and who finds nothing rebuilds.
 * Threads     lock-free. A stopped process can hide other processes' slots from the levels above, so
 *             who finds nothing there looks at every word of level 0. */
#include "slots.h"

#include "slots_state.h"

#define SLOTS_LINE 128u

static uint64_t slots_round(uint64_t size) {
    return (size + SLOTS_LINE - 1) / SLOTS_LINE * SLOTS_LINE;
}

/* Words of each level; returns the number of levels. A level is worth it from 8 words below. */
static uint32_t slots_shape(uint32_t count, uint32_t *words) {
    uint32_t levels = 1;
    words[0] = (count + 63) / 64;
    words[1] = words[2] = 0;
    while (levels < HFI_SHM_SLOTS_LEVELS && words[levels - 1] > 8) {
        words[levels] = (words[levels - 1] + 63) / 64;
        levels++;
    }
    return levels;
}

uint64_t hfi_shm_slots_size(uint32_t count) {
    uint32_t words[HFI_SHM_SLOTS_LEVELS];
    uint64_t size = slots_round(sizeof(struct hfi_shm_slots_state));
    (void)slots_shape(count, words);
    for (int level = 0; level < HFI_SHM_SLOTS_LEVELS; level++)
        size += slots_round((uint64_t)words[level] * 8);
    return size + slots_round((uint64_t)count * 8);
}

void hfi_shm_slots_view(struct hfi_shm_slots *slots, void *base, uint32_t count) {
    char *place = base;
    slots->count = count;
    slots->levels = slots_shape(count, slots->words);
    slots->state = (struct hfi_shm_slots_state *)(void *)place;
    place += slots_round(sizeof(struct hfi_shm_slots_state));
    for (int level = 0; level < HFI_SHM_SLOTS_LEVELS; level++) {
        slots->hints[level] = (_Atomic uint64_t *)(void *)place;
        place += slots_round((uint64_t)slots->words[level] * 8);
    }
    slots->own = (_Atomic uint64_t *)(void *)place;
    atomic_init(&slots->start, UINT32_MAX);
}

void hfi_shm_slots_init(const struct hfi_shm_slots *slots) {
    for (uint32_t i = 0; i < slots->count; i++)
        hfi_shm_store64(&slots->own[i], SLOT_GENERATION_ONE);
    uint32_t bits = slots->count;
    for (uint32_t level = 0; level < slots->levels; level++) {
        for (uint32_t w = 0; w < slots->words[level]; w++)
            hfi_shm_store64(&slots->hints[level][w], hfi_shm_hint_mask(w, bits));
        bits = slots->words[level];
    }
}

/* --- hints ------------------------------------------------------------------------------------ */

void hfi_shm_hints_set(const struct hfi_shm_slots *slots, uint32_t level, uint32_t word,
                       uint64_t bits) {
    for (;;) {
        uint64_t before = hfi_shm_or64(&slots->hints[level][word], bits);
        if (before != 0 || ++level == slots->levels) return;
        bits = (uint64_t)1 << (word % 64);
        word /= 64;
    }
}

void hfi_shm_hints_clear(const struct hfi_shm_slots *slots, uint32_t level, uint32_t word,
                         uint64_t bits) {
    uint64_t left = hfi_shm_and64(&slots->hints[level][word], ~bits) & ~bits;
    if (left != 0 || level + 1 >= HFI_SHM_SLOTS_LEVELS || level + 1 == slots->levels) return;
    hfi_shm_hints_clear(slots, level + 1, word / 64, (uint64_t)1 << (word % 64));
    if (HFI_SHM_MUTANT(501)) return;
    if (hfi_shm_load64(&slots->hints[level][word]) != 0)
        hfi_shm_hints_set(slots, level + 1, word / 64, (uint64_t)1 << (word % 64));
}

/* First word of `level` at or after `from` that has hints; words[level] if there is none. */
static uint32_t hints_seek(const struct hfi_shm_slots *slots, uint32_t level, uint32_t from) {
    const uint32_t limit = slots->words[level];
    if (level + 1 >= HFI_SHM_SLOTS_LEVELS || level + 1 == slots->levels) {
        while (from < limit && hfi_shm_load64(&slots->hints[level][from]) == 0)
            from++;
        return from;
    }
    while (from < limit) {
        uint32_t above = hints_seek(slots, level + 1, from / 64);
        if (above >= slots->words[level + 1]) return limit;
        uint64_t bits = hfi_shm_load64(&slots->hints[level + 1][above]);
        if (above == from / 64) bits &= ~(uint64_t)0 << (from % 64);
        if (bits == 0) {
            from = (above + 1) * 64;
            continue;
        }
        from = above * 64 + (uint32_t)__builtin_ctzll(bits);
        if (from >= limit) return limit;
        if (hfi_shm_load64(&slots->hints[level][from]) != 0) return from;
        from++;
    }
    return limit;
}

/* --- acquire ---------------------------------------------------------------------------------- */

/* Takes what one word of hints names, each owner beginning at another bit. */
static uint32_t slots_take(const struct hfi_shm_slots *slots, uint32_t owner, uint32_t word,
                           uint64_t *handles, uint32_t wanted) {
    const unsigned turn = owner * 23 & 63;
    uint64_t seen = hfi_shm_load64(&slots->hints[0][word]) & hfi_shm_hint_mask(word, slots->count);
    uint64_t got = 0;
    uint32_t taken = 0;
    while (seen != 0 && taken < wanted) {
        uint64_t turned = turn == 0 ? seen : seen >> turn | seen << (64 - turn);
        unsigned bit = ((unsigned)__builtin_ctzll(turned) + turn) & 63;
        uint32_t index = word * 64 + bit;
        seen &= ~((uint64_t)1 << bit);
        uint64_t own = hfi_shm_load64(&slots->own[index]);
        if (!slot_is_free(own)) continue;
        uint64_t mine = (own < SLOT_GENERATION_ONE ? SLOT_GENERATION_ONE : own) | owner;
        if (HFI_SHM_MUTANT(503)) hfi_shm_store64(&slots->own[index], own = mine);
        /* SYNC(slot.free): what the last owner wrote happened before its release. */
        if (!hfi_shm_swap64(&slots->own[index], &own, mine)) continue;
        handles[taken++] = hfi_shm_slot_handle(mine, index);
        got |= (uint64_t)1 << bit;
    }
    if (got != 0) hfi_shm_hints_clear(slots, 0, word, got);
    return taken;
}

uint32_t hfi_shm_slots_acquire_many(struct hfi_shm_slots *slots, uint32_t owner, uint64_t *handles,
                                    uint32_t wanted) {
    const uint32_t words = slots->words[0];
    /* relaxed: private to this process, and any value is right. */
    uint32_t start = atomic_load_explicit(&slots->start, memory_order_relaxed);
    if (start >= words) start = owner * 7 % words;
    uint32_t taken = 0, word = start;
    for (int round = 0; round < 2 && taken < wanted; round++) {
        const uint32_t end = round == 0 ? words : start;
        for (; taken < wanted; word++) {
            word = hints_seek(slots, 0, word);
            if (word >= end) break;
            taken += slots_take(slots, owner, word, handles + taken, wanted - taken);
            if (taken == wanted) break;
        }
        if (taken < wanted) word = 0;
    }
    if (taken == 0 && slots->levels > 1) {
        for (word = 0; word < words && taken == 0; word++) {
            taken = slots_take(slots, owner, word, handles, wanted);
            if (taken != 0) break;
        }
    }
    if (taken != 0 && word != start && word < words)
        atomic_store_explicit(&slots->start, word, memory_order_relaxed);
    return taken;
}

uint64_t hfi_shm_slots_acquire(struct hfi_shm_slots *slots, uint32_t owner) {
    uint64_t handle = 0;
    /* relaxed: as above. */
    uint32_t word = atomic_load_explicit(&slots->start, memory_order_relaxed);
    if (word < slots->words[0] && slots_take(slots, owner, word, &handle, 1) != 0) return handle;
    return hfi_shm_slots_acquire_many(slots, owner, &handle, 1) != 0 ? handle : 0;
}

/* --- give back, pass on ----------------------------------------------------------------------- */

/* Why a handle was refused, by what its own word is. */
static hf_status slots_refusal(uint64_t own, uint64_t handle) {
    if (own >> 32 != handle >> 32 || (own & HFI_SHM_SLOT_RETIRED) != 0) return HF_E_STALE;
    return HF_E_INVALID;
}

/* own: from -> to, and the hint if it is free then. */
static hf_status slots_change(const struct hfi_shm_slots *slots, uint64_t from, uint64_t to,
                              uint64_t handle) {
    const uint32_t index = (uint32_t)handle;
    if (index >= slots->count) return HF_E_INVALID;
    /* SYNC(slot.free): publishes what the owner did to the slot. */
    if (!hfi_shm_swap64(&slots->own[index], &from, to)) return slots_refusal(from, handle);
    if (slot_is_free(to)) hfi_shm_hints_set(slots, 0, index / 64, (uint64_t)1 << (index % 64));
    return HF_OK;
}

hf_status hfi_shm_slots_release(const struct hfi_shm_slots *slots, uint32_t owner,
                                uint64_t handle) {
    uint64_t own = handle & SLOT_GENERATION;
    return slots_change(slots, own | owner, slot_next(own), handle);
}

hf_status hfi_shm_slots_retire(const struct hfi_shm_slots *slots, uint32_t owner, uint64_t handle) {
    uint64_t own = (handle & SLOT_GENERATION) | owner;
    return slots_change(slots, own, own | HFI_SHM_SLOT_RETIRED, handle);
}

hf_status hfi_shm_slots_free_retired(const struct hfi_shm_slots *slots, uint32_t owner,
                                     uint64_t handle) {
    uint64_t own = handle & SLOT_GENERATION;
    return slots_change(slots, own | HFI_SHM_SLOT_RETIRED | owner, slot_next(own), handle);
}

hf_status hfi_shm_slots_adopt(const struct hfi_shm_slots *slots, uint32_t owner, uint64_t handle,
                              uint64_t *handle_out) {
    const uint32_t index = (uint32_t)handle;
    if (index >= slots->count) return HF_E_INVALID;
    uint64_t own = hfi_shm_load64(&slots->own[index]);
    const uint64_t mine = slot_next(handle & SLOT_GENERATION) | owner;
    /* Each failed try saw another step of a slot that comes back to this generation never. */
    for (int tries = 0; tries < 8; tries++) {
        if (own >> 32 != handle >> 32 || (own & HFI_SHM_SLOT_RETIRED) != 0) return HF_E_STALE;
        if (hfi_shm_slots_wrong(own) || hfi_shm_slot_owner(own) == 0) return HF_E_INVALID;
        if (hfi_shm_swap64(&slots->own[index], &own, mine)) {
            *handle_out = hfi_shm_slot_handle(mine, index);
            return HF_OK;
        }
    }
    return HF_E_STALE;
}

hf_status hfi_shm_slots_pass(const struct hfi_shm_slots *slots, uint32_t owner, uint64_t handle) {
    uint64_t own = handle & SLOT_GENERATION;
    hf_status status = slots_change(slots, own | owner, own | HFI_SHM_SLOT_PASSED, handle);
    return status == HF_E_STALE ? HF_OK : status;
}

uint64_t hfi_shm_slots_word(const struct hfi_shm_slots *slots, uint32_t index) {
    return index < slots->count ? hfi_shm_load64(&slots->own[index]) : 0;
}
