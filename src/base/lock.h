/* lock.h - the one lock: four bytes that wait in the kernel, a rank, and what waiting cost.
 *
 *   static hfi_lock registry_lock = HFI_LOCK_INIT(HFI_RANK_REGISTRY);
 *   hfi_lock_acquire(&registry_lock);  ...  hfi_lock_release(&registry_lock);
 *
 * Invariants  word: 0 free, 1 held, 2 held and somebody may sleep on it. A thread takes locks in
 *             strictly increasing rank; checked builds abort with both names where one does not.
 * Threads     not recursive; a lock is released by the thread that took it. Free of contention it
 *             costs one compare-and-swap and one exchange, no call.
 * Fork        prepare takes every lock in rank order (hfi_lock_acquire_peer among equals); the
 *             parent releases them; the child calls hfi_lock_reinit on each, then hfi_locks_forget.
 * Source      Drepper, "Futexes Are Tricky", 2011, mutex 2. */
#ifndef HFI_LOCK_H
#define HFI_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "assert.h"
#include "os/os.h"

/* What clang proves at compile time with -Wthread-safety; gcc sees nothing. */
#if defined(__clang__)
#define HF_THREAD_SAFETY(x) __attribute__((x))
#else
#define HF_THREAD_SAFETY(x)
#endif
#define HF_CAPABILITY(name)  HF_THREAD_SAFETY(capability(name))
#define HF_REQUIRES(...)     HF_THREAD_SAFETY(requires_capability(__VA_ARGS__))
#define HF_ACQUIRES(...)     HF_THREAD_SAFETY(acquire_capability(__VA_ARGS__))
#define HF_RELEASES(...)     HF_THREAD_SAFETY(release_capability(__VA_ARGS__))
#define HF_TRY_ACQUIRES(...) HF_THREAD_SAFETY(try_acquire_capability(__VA_ARGS__))
#define HF_EXCLUDES(...)     HF_THREAD_SAFETY(locks_excluded(__VA_ARGS__))
#define HF_NO_THREAD_SAFETY  HF_THREAD_SAFETY(no_thread_safety_analysis)

/* In the order they are taken. The three tiers never nest, hence one rank; meta is a leaf. */
typedef enum hfi_rank {
    HFI_RANK_RECLAIM,
    HFI_RANK_REGISTRY,
    HFI_RANK_OWNERS, /* the list of all */
    HFI_RANK_OWNER,  /* arena, public pool, stack pool: one of them */
    HFI_RANK_CACHES,
    HFI_RANK_POOL,
    HFI_RANK_MIDDLE = HFI_RANK_POOL,
    HFI_RANK_LARGE = HFI_RANK_POOL,
    HFI_RANK_SEGMENT,
    HFI_RANK_SITES,
    HFI_RANK_META,
    HFI_RANK_COUNT
} hfi_rank;

typedef struct HF_CAPABILITY("lock") hfi_lock {
    _Atomic uint32_t word; /* 0 free, 1 held, 2 held and waited for                         */
    uint32_t waits;        /* acquisitions that were not served at once; guarded by: itself */
    uint64_t wait_ns;      /* time they took                            ; guarded by: itself */
    uint32_t rank;         /* hfi_rank; the layout is the same in checked and other builds  */
    uint32_t spare;
} hfi_lock;

#define HFI_LOCK_INIT(lock_rank)                                                                   \
    { .rank = (lock_rank) }

static inline void hfi_lock_init(hfi_lock *lock, hfi_rank rank) {
    *lock = (hfi_lock){.rank = (uint32_t)rank};
}

/* The slow half of acquire: spins a little, sleeps, counts. */
void hfi_lock_wait(hfi_lock *lock);

/* Book-keeping of checked builds: the ranks the calling thread holds. `peer` allows equal ranks. */
void hfi_lock_check_order(const hfi_lock *lock, bool peer);
void hfi_lock_note_acquired(const hfi_lock *lock);
void hfi_lock_note_released(const hfi_lock *lock);
/* Locks of this rank held by the calling thread, as far as checked code took them. */
unsigned hfi_locks_held(hfi_rank rank);
/* The book-keeping of the calling thread changes places with `counts`: for who runs several lines of
 * execution on one thread. */
void hfi_locks_exchange(uint32_t counts[HFI_RANK_COUNT]);
/* Child of a fork: the calling thread holds nothing. */
void hfi_locks_forget(void);

/* Locks the calling thread holds or is about to take, in every build: a signal handler that
 * interrupted the thread inside the allocator asks before it walks into a lock of its own. */
extern __thread uint32_t hfi_locks_taken __attribute__((tls_model("initial-exec")));

static inline void hfi_locks_count(uint32_t change) {
    hfi_locks_taken += change;
    /* The count is up before the word is and down after it: no handler sees the reverse. */
    atomic_signal_fence(memory_order_seq_cst);
}

static inline bool hfi_lock_take_word(hfi_lock *lock) {
    uint32_t free_word = 0;
    /* SYNC(lock.word): sees what the last holder wrote; pairs with the release in hfi_lock_release. */
    return atomic_compare_exchange_strong_explicit(&lock->word, &free_word, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline void hfi_lock_acquire(hfi_lock *lock) HF_ACQUIRES(*lock) HF_NO_THREAD_SAFETY {
    if (HFI_CHECKED) hfi_lock_check_order(lock, false);
    hfi_locks_count(1);
    if (__builtin_expect(!hfi_lock_take_word(lock), 0)) hfi_lock_wait(lock);
    if (HFI_CHECKED) hfi_lock_note_acquired(lock);
}

/* The same where a lock of equal rank is held already and all takers agree on an order (fork). */
static inline void hfi_lock_acquire_peer(hfi_lock *lock) HF_ACQUIRES(*lock) HF_NO_THREAD_SAFETY {
    if (HFI_CHECKED) hfi_lock_check_order(lock, true);
    hfi_locks_count(1);
    if (__builtin_expect(!hfi_lock_take_word(lock), 0)) hfi_lock_wait(lock);
    if (HFI_CHECKED) hfi_lock_note_acquired(lock);
}

/* Never waits, so any order is safe. */
static inline bool hfi_lock_try(hfi_lock *lock) HF_TRY_ACQUIRES(true, *lock) HF_NO_THREAD_SAFETY {
    hfi_locks_count(1);
    bool taken = hfi_lock_take_word(lock);
    if (!taken) hfi_locks_count((uint32_t)-1);
    if (HFI_CHECKED && taken) hfi_lock_note_acquired(lock);
    return taken;
}

static inline void hfi_lock_release(hfi_lock *lock) HF_RELEASES(*lock) HF_NO_THREAD_SAFETY {
    if (HFI_CHECKED) hfi_lock_note_released(lock);
    /* SYNC(lock.word): publishes what was written under the lock; pairs with the acquires in
     * hfi_lock_take_word and hfi_lock_wait. */
    uint32_t was = atomic_exchange_explicit(&lock->word, 0, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    hfi_locks_count((uint32_t)-1);
    if (__builtin_expect(was == 2, 0)) hfi_os_futex_wake(&lock->word, 1);
}

/* Child of a fork: the lock is free, whoever held it in the parent. Its figures stay. */
static inline void hfi_lock_reinit(hfi_lock *lock) {
    /* relaxed: the child has one thread. */
    atomic_store_explicit(&lock->word, 0, memory_order_relaxed);
}

/* True if somebody holds it at this moment; for assertions and tests. */
static inline bool hfi_lock_is_held(const hfi_lock *lock) {
    /* relaxed: an answer that may be old the moment it is given orders nothing. */
    return atomic_load_explicit(&lock->word, memory_order_relaxed) != 0;
}

#endif
