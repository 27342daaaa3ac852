/* lock.c - a lock whose word names its holder, so that who outlives the holder can take it over.
 *
 *   word: waiters:1 | owner:16        0 free
 * Invariants  a word changes from one owner to another only while the first is pinned dead: a number
 *             that came back to life is not robbed.
 * Threads     between participants and between the threads of one; not recursive.
 * Fails with  HF_E_TIMEOUT: a living process holds it past the deadline.
 * Talks to    participants (who is dead), os (shared futex).   Called on cold paths only.
 * Source      Drepper, "Futexes Are Tricky", 2011, mutex 2; robust futexes of the kernel for the idea
 *             that the word names its holder. */
#include "os/os.h"
#include "os/shm.h"
#include "segment.h"

#define WAITERS  0x10000u
#define OWNER(w) ((w)&0xffffu)
#define SLICE_NS UINT64_C(50000000)

static bool take_over(hf_shm *shm, struct hfi_shm_lock *lock, uint32_t owner) {
    uint32_t self = hfi_shm_self(shm), word = hfi_shm_load32(&lock->word);
    while (OWNER(word) == owner)
        if (hfi_shm_swap32(&lock->word, &word, self | WAITERS)) return true;
    return false;
}

hf_status hfi_shm_lock_acquire(hf_shm *shm, struct hfi_shm_lock *lock, uint64_t deadline,
                               uint32_t *died_out) {
    struct hfi_shm_spin spin = {0};
    struct hfi_shm_patience patience = {0};
    uint32_t self = hfi_shm_self(shm), waited = 0;
    *died_out = 0;
    for (;;) {
        uint32_t word = hfi_shm_load32(&lock->word), owner = OWNER(word);
        if (owner == 0) {
            if (hfi_shm_swap32(&lock->word, &word, self | waited | (word & WAITERS))) return HF_OK;
            continue;
        }
        if (hfi_shm_spin(&spin)) continue;
        uint64_t now = deadline == HF_FOREVER ? 0 : hfi_os_clock_ns();
        const bool late = deadline <= now; /* who waits little finds a dead holder all the same */
        if ((hfi_shm_patience(&patience, owner) || late) && owner != self &&
            hfi_shm_dead(shm, owner) && hfi_shm_pin_dead(shm, owner)) {
            bool taken = take_over(shm, lock, owner);
            hfi_shm_unpin_dead(shm, owner);
            if (taken) {
                *died_out = owner;
                return HF_OK;
            }
            continue;
        }
        if (late) return HF_E_TIMEOUT;
        if ((word & WAITERS) == 0 && !hfi_shm_swap32(&lock->word, &word, word | WAITERS)) continue;
        /* The first sleep is short: only then may a dead holder be suspected. */
        uint64_t left = deadline - now, slice = waited == 0 ? SLICE_NS / 100 : SLICE_NS;
        waited = WAITERS;
        hfi_shm_step();
        if (hfi_shm_sleep_step()) continue;
        (void)hfi_os_shared_wait(&lock->word, owner | WAITERS, left < slice ? left : slice);
    }
}

void hfi_shm_lock_release(hf_shm *shm, struct hfi_shm_lock *lock) {
    (void)shm;
    uint32_t word = hfi_shm_and32(&lock->word, 0);
    hfi_shm_step();
    if ((word & WAITERS) != 0) (void)hfi_os_shared_wake(&lock->word, 1);
}

bool hfi_shm_lock_seize(hf_shm *shm, struct hfi_shm_lock *lock, uint32_t owner) {
    return owner != 0 && take_over(shm, lock, owner);
}
