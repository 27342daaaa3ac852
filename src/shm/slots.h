/* slots.h - who has which of n slots: take a free one, give it back, take over what a dead one had.
 *
 *   state | hints level 0: bit i = slot i may be free | level 1: bit w = word w of level 0 | level 2
 *         | own[n]: generation:32 | flags:16 | owner:16                      <- the only truth
 *
 *   free --CAS--> (generation, owner) --CAS--> (generation + 1, free)      owner 0 is nobody
 *   handle = generation:32 | index:32; generations are never 0, so no handle is 0
 *
 * Invariants  a slot changes hands by one compare-and-swap of its own word, and every giving back and
 *             taking over makes the handle stale. A hint that is set too much costs one look; one that
 *             is missing costs a rebuild, which a death asks for (state.suspect).
 * Talks to    access.h.   Called by shm/pool*.c, shm/semaphore.c: the bytes are theirs.
 * Threads     everything is lock-free and may be called by any thread of any process.
 * Fails with  HF_E_STALE: the handle is of a former use. HF_E_INVALID: it never was one of these
 *             slots, or another owner has it (hfi_shm_slots_word tells which).
 * Trust       own, hints and state may be garbage: every index is below the private count.
 * Source      owner cells found by scanning: iceoryx2's RobustUniqueIndexSet. Hint levels: ours. */
#ifndef HFI_SHM_SLOTS_H
#define HFI_SHM_SLOTS_H

#include <holdfast/status.h>

#include "access.h"

#define HFI_SHM_SLOTS_MAX    ((uint32_t)1 << 28)
#define HFI_SHM_SLOTS_LEVELS 3

/* Flags of an own word. RETIRED: stale for everybody, being cleaned by its owner, not free yet. */
#define HFI_SHM_SLOT_RETIRED   ((uint64_t)1 << 16)
#define HFI_SHM_SLOT_OWNER_MAX 1023u
/* An owner that never dies: on its way from one participant to another. */
#define HFI_SHM_SLOT_PASSED    0xffffu

/* In shared memory. A death may have cost hints as long as the two differ. */
struct hfi_shm_slots_state {
    _Atomic uint64_t suspect; /* deaths and what else may have cost hints */
    _Atomic uint64_t rebuilt; /* value of `suspect` the hints are good for */
};

/* Private to a process: where the words lie and how many there are. */
struct hfi_shm_slots {
    struct hfi_shm_slots_state *state;
    _Atomic uint64_t *own;
    _Atomic uint64_t *hints[HFI_SHM_SLOTS_LEVELS];
    uint32_t words[HFI_SHM_SLOTS_LEVELS]; /* of each level                             */
    uint32_t levels;                      /* that are used                             */
    uint32_t count;                       /* slots                                     */
    _Atomic uint32_t start;               /* word of level 0 to look at first: a habit */
};

static inline uint32_t hfi_shm_slot_owner(uint64_t word) {
    return (uint32_t)(word & 0xffff);
}
static inline uint64_t hfi_shm_slot_handle(uint64_t word, uint32_t index) {
    return (word & ~(uint64_t)UINT32_MAX) | index;
}

/* Bytes of the words of `count` slots, a multiple of 128; 0 < count <= HFI_SHM_SLOTS_MAX. */
uint64_t hfi_shm_slots_size(uint32_t count);
/* Fills the private view of words at `base`, which is a multiple of 8 (128 for speed). */
void hfi_shm_slots_view(struct hfi_shm_slots *slots, void *base, uint32_t count);
/* Makes every slot free, once, before anybody else can see the zeroed words. */
void hfi_shm_slots_init(const struct hfi_shm_slots *slots);

/* A handle, or 0: every slot was taken when it was looked at (or hints are missing: see rebuild). */
uint64_t hfi_shm_slots_acquire(struct hfi_shm_slots *slots, uint32_t owner);
/* As many as can be had at once, at most `wanted`; returns how many. */
uint32_t hfi_shm_slots_acquire_many(struct hfi_shm_slots *slots, uint32_t owner, uint64_t *handles,
                                    uint32_t wanted);
hf_status hfi_shm_slots_release(const struct hfi_shm_slots *slots, uint32_t owner, uint64_t handle);
/* The same in two steps, for those who clean the slot in between: the first makes the handle stale. */
hf_status hfi_shm_slots_retire(const struct hfi_shm_slots *slots, uint32_t owner, uint64_t handle);
hf_status hfi_shm_slots_free_retired(const struct hfi_shm_slots *slots, uint32_t owner,
                                     uint64_t handle);

/* Takes a slot from whoever has it, by the handle that was passed on; *handle_out is the new one. Of
 * several that try one succeeds. */
hf_status hfi_shm_slots_adopt(const struct hfi_shm_slots *slots, uint32_t owner, uint64_t handle,
                              uint64_t *handle_out);
/* From now on the death of `owner` does not free it. HF_OK also if it was adopted already. */
hf_status hfi_shm_slots_pass(const struct hfi_shm_slots *slots, uint32_t owner, uint64_t handle);

/* The own word of a slot; 0 for an index that is none. */
uint64_t hfi_shm_slots_word(const struct hfi_shm_slots *slots, uint32_t index);
/* True if the handle names a slot that is taken now. */
static inline bool hfi_shm_slots_live(const struct hfi_shm_slots *slots, uint64_t handle) {
    if ((uint32_t)handle >= slots->count) return false;
    uint64_t word = hfi_shm_load64(&slots->own[(uint32_t)handle]);
    return word >> 32 == handle >> 32 && hfi_shm_slot_owner(word) != 0 &&
           (word & HFI_SHM_SLOT_RETIRED) == 0;
}

/* Frees what a dead owner had. Runs `clean` (may be NULL) on each slot first, which belongs to `self`
 * while it does. Idempotent, by several at once; returns how many this call freed. */
typedef void (*hfi_shm_slots_clean)(void *context, uint32_t index);
size_t hfi_shm_slots_recover(const struct hfi_shm_slots *slots, uint32_t dead, uint32_t self,
                             hfi_shm_slots_clean clean, void *context);
/* Sets the hints that are missing; returns how many were. */
size_t hfi_shm_slots_rebuild(const struct hfi_shm_slots *slots);
/* True if a death may have cost hints since the last rebuild. */
bool hfi_shm_slots_suspect(const struct hfi_shm_slots *slots);
/* Sets bit o of set[o / 64] for every owner o of a slot; `set` has 16 words. Others are left out. */
void hfi_shm_slots_owners(const struct hfi_shm_slots *slots, uint64_t *set);
/* Nothing was found: looks for dead owners and missing hints, at most so often that it takes a small
 * part of the time; `next` is private and begins as 0. True if it is worth looking for a slot again. */
struct hf_shm;
bool hfi_shm_slots_search(struct hf_shm *shm, const struct hfi_shm_slots *slots,
                          _Atomic uint64_t *next);
/* True if no legal sequence of operations leaves this own word. */
bool hfi_shm_slots_wrong(uint64_t word);
/* Frees slots whose own word is wrong and makes the hints exact where nobody is at work. */
size_t hfi_shm_slots_repair(const struct hfi_shm_slots *slots);
/* How a view shows them: what they are, what a taken one is called, where they lie. */
struct hfi_shm_slots_shown {
    uint32_t piece, taken; /* hf_shm_piece, hf_shm_state                  */
    const char *base;      /* of the first; NULL: they are their own words */
    uint64_t stride, size; /* from one to the next, of one [bytes]        */
};
struct hfi_shm_showing;
void hfi_shm_slots_show(const struct hfi_shm_slots *slots, struct hf_shm *shm,
                        const struct hfi_shm_slots_shown *as, struct hfi_shm_showing *showing);
/* Slots that are not free. */
uint32_t hfi_shm_slots_taken(const struct hfi_shm_slots *slots);

#endif
