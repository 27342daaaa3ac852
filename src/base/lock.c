/* lock.c - waiting for a lock, and the order locks are taken in. lock.h is the contract.
 * Threads  the held counts are per thread; the figures of a lock are written by its holder.
 * Source   Drepper, "Futexes Are Tricky", 2011, mutex 2; bounded spin before sleeping after
 *          Karlin et al. 1991, doi:10.1145/121132.286599. */
#include "lock.h"

#include "relax.h"

/* About as long as the longest critical section: a sleep and a wake cost far more than that. */
enum { SPINS_MAX = 64 };

/* Initial-exec: reaching it must never call the allocator this library may be. */
static __thread __attribute__((tls_model("initial-exec"))) uint32_t held[HFI_RANK_COUNT];

__thread uint32_t hfi_locks_taken __attribute__((tls_model("initial-exec")));

void hfi_lock_wait(hfi_lock *lock) {
    uint64_t start = hfi_os_clock_ns();
    bool taken = false;
    for (unsigned spin = 0; spin < SPINS_MAX && !taken; spin++) {
        hfi_cpu_relax();
        /* relaxed: only a hint that the compare-and-swap may succeed. */
        uint32_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);
        taken = word == 0 && hfi_lock_take_word(lock);
    }
    if (!taken) {
        /* 2 tells the holder to wake one; who got it this way leaves 2 behind, since others may
         * sleep still: one wake too many at worst.
         * SYNC(lock.word): pairs with the release in hfi_lock_release. */
        while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
            (void)hfi_os_futex_wait(&lock->word, 2, 0);
    }
    lock->waits++;
    lock->wait_ns += hfi_os_clock_ns() - start;
}

void hfi_lock_check_order(const hfi_lock *lock, bool peer) {
    uint32_t rank = lock->rank;
    HF_EXPECT(rank < HFI_RANK_COUNT, rank);
    for (uint32_t other = peer ? rank + 1 : rank; other < HFI_RANK_COUNT; other++) {
        uint32_t rank_held = other;
        HF_EXPECT(held[other] == 0, rank, rank_held);
    }
}

void hfi_lock_note_acquired(const hfi_lock *lock) {
    held[lock->rank]++;
}

void hfi_lock_note_released(const hfi_lock *lock) {
    HF_EXPECT(hfi_lock_is_held(lock), lock->rank);
    HF_EXPECT(held[lock->rank] > 0, lock->rank);
    held[lock->rank]--;
}

unsigned hfi_locks_held(hfi_rank rank) {
    return held[rank];
}

void hfi_locks_exchange(uint32_t counts[HFI_RANK_COUNT]) {
    for (uint32_t rank = 0; rank < HFI_RANK_COUNT; rank++) {
        uint32_t before = held[rank];
        held[rank] = counts[rank];
        counts[rank] = before;
    }
}

void hfi_locks_forget(void) {
    hfi_locks_taken = 0;
    for (uint32_t rank = 0; rank < HFI_RANK_COUNT; rank++)
        held[rank] = 0;
}
