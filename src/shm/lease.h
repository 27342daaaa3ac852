/* lease.h - who writes: one word that names a participant, and lasts until it releases it or dies.
 *
 *   generation:48 | owner:16      owner 0: nobody
 *   (g, nobody) --claim--> (g+1, me) --release--> (g+1, nobody)
 *   (g, dead)   --claim--> (g+1, me)              (g, dead) --recover--> (g, nobody)
 *
 * Invariants  a lease changes hands only by its holder or after the kernel said that its holder is
 *             dead; the generation makes every holding a different value, so that a late
 *             compare-and-swap never takes a lease from somebody else.
 * Talks to    segment.h.   Called by ring, versioned.
 * Threads     any: each step is one compare-and-swap. A second handle of the same process is refused
 *             like a second process.
 * Fails with  HF_E_BUSY, which names the process that holds it. */
#ifndef HFI_SHM_LEASE_H
#define HFI_SHM_LEASE_H

#include "segment.h"

#define HFI_LEASE_OWNER 0xFFFFu

static inline uint32_t hfi_lease_owner(uint64_t lease) {
    return (uint32_t)(lease & HFI_LEASE_OWNER);
}

/* Whether the lease this handle took is still its own: the child of a fork has another number. */
static inline bool hfi_lease_mine(const hf_shm *shm, uint64_t lease) {
    return lease != 0 && hfi_lease_owner(lease) == hfi_shm_self(shm);
}

/* `what` is for the sentence: "ring". *lease_out is what the word is now. */
hf_status hfi_lease_claim(hf_shm *shm, _Atomic uint64_t *word, const char *what,
                          uint64_t *lease_out);
void hfi_lease_release(_Atomic uint64_t *word, uint64_t lease);
/* Frees it if this dead owner holds it. True if it did. */
bool hfi_lease_recover(_Atomic uint64_t *word, uint32_t owner);

/* "process 123 (renderer)" of an owner number, or "a participant that is gone". */
void hfi_owner_text(hf_shm *shm, uint32_t owner, char *text, size_t size);

#endif
