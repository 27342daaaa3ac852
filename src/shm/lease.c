/* lease.c - claiming, releasing and recovering a lease.
 *
 * Invariants  lease.h. Nothing is stored here: a claim is the compare-and-swap itself.
 * Talks to    segment.h.   Called by ring, versioned.
 * Threads     any.
 * Fails with  HF_E_BUSY. */
#include "lease.h"

#include <stdio.h>

#define CLAIM_TRIES 64 /* each failure means that somebody else claimed or released meanwhile */

struct owner_search {
    uint32_t owner;
    char *text;
    size_t size;
};

static int owner_found(const hf_shm_participant *participant, void *context) {
    struct owner_search *search = context;
    if (participant->index + 1 != search->owner) return 0;
    if (participant->role[0] != 0)
        snprintf(search->text, search->size, "process %u (%s)", participant->pid,
                 participant->role);
    else
        snprintf(search->text, search->size, "process %u", participant->pid);
    return 1;
}

void hfi_owner_text(hf_shm *shm, uint32_t owner, char *text, size_t size) {
    struct owner_search search = {.owner = owner, .text = text, .size = size};
    snprintf(text, size, "a participant that is gone");
    (void)hf_shm_participants(shm, owner_found, &search);
}

hf_status hfi_lease_claim(hf_shm *shm, _Atomic uint64_t *word, const char *what,
                          uint64_t *lease_out) {
    uint32_t self = hfi_shm_self(shm);
    if (self == 0) return hfi_shm_closed(shm);
    uint64_t seen = hfi_shm_load64(word);
    for (int i = 0; i < CLAIM_TRIES; i++) {
        uint32_t owner = hfi_lease_owner(seen);
        if (owner == self)
            return hfi_shm_say(HF_E_BUSY,
                               "another handle of this process writes this %s; use that one, or "
                               "release it first",
                               what);
        if (owner != 0 && !HFI_SHM_MUTANT(608) && !hfi_shm_dead(shm, owner)) {
            char text[80];
            hfi_owner_text(shm, owner, text, sizeof text);
            return hfi_shm_say(HF_E_BUSY,
                               "%s writes this %s and lives; a %s has one writer at a time: let it "
                               "release or end",
                               text, what, what);
        }
        uint64_t lease = ((seen >> 16) + 1) << 16 | self;
        if (hfi_shm_swap64(word, &seen, lease)) {
            *lease_out = lease;
            return HF_OK;
        }
    }
    return hfi_shm_say(HF_E_BUSY, "others keep claiming this %s; try again", what);
}

void hfi_lease_release(_Atomic uint64_t *word, uint64_t lease) {
    uint64_t seen = lease;
    (void)hfi_shm_swap64(word, &seen, lease & ~(uint64_t)HFI_LEASE_OWNER);
}

bool hfi_lease_recover(_Atomic uint64_t *word, uint32_t owner) {
    uint64_t seen = hfi_shm_load64(word);
    if (hfi_lease_owner(seen) != owner || owner == 0) return false;
    return hfi_shm_swap64(word, &seen, seen & ~(uint64_t)HFI_LEASE_OWNER);
}
