/* access.h - every access to shared memory that another process may see half done.
 *
 * One access is one step: builds with HFI_SHM_STEPS call hfi_shm_step_hook before each, and tests kill
 * the process there, or let another run. So a structure goes through these for its truth words, its
 * hints and its payload, and nothing happens to shared memory between two steps.
 *
 * Ordering  loads acquire, stores release, compare-and-swap and add do both; SYNC names stand at the
 *           call. Weaker ones are not offered: on x86-64 they cost the same.
 * Talks to    nothing.   Called by everything in src/shm.
 * Source      crash points: every prefix of an operation's accesses must leave a legal state. */
#ifndef HFI_SHM_ACCESS_H
#define HFI_SHM_ACCESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
               "words of shared memory must be lock-free");

#ifndef HFI_SHM_STEPS
#define HFI_SHM_STEPS 0
#endif
#if HFI_SHM_STEPS
extern void (*hfi_shm_step_hook)(void);  /* tests/shm/steps.c                                    */
extern bool (*hfi_shm_sleep_hook)(void); /* instead of sleeping in the kernel; true: it was done  */
extern unsigned hfi_shm_mutant;          /* which deliberate fault is on; 0: none                 */
static inline void hfi_shm_step(void) {
    if (hfi_shm_step_hook) hfi_shm_step_hook();
}
static inline bool hfi_shm_sleep_step(void) {
    return hfi_shm_sleep_hook && hfi_shm_sleep_hook();
}
/* Time stands still: whoever spins or is patient goes by turns, so that an order can be run again. */
static inline bool hfi_shm_is_woven(void) {
    return hfi_shm_sleep_hook != NULL;
}
#define HFI_SHM_MUTANT(number) (hfi_shm_mutant == (number)) /* a fault that the tests must catch */
#else
static inline void hfi_shm_step(void) {}
static inline bool hfi_shm_sleep_step(void) {
    return false;
}
static inline bool hfi_shm_is_woven(void) {
    return false;
}
#define HFI_SHM_MUTANT(number) 0
#endif

#define HFI_SHM_ACCESS(bits)                                                                       \
    static inline uint##bits##_t hfi_shm_load##bits(const _Atomic uint##bits##_t *word) {          \
        hfi_shm_step();                                                                            \
        return atomic_load_explicit(word, memory_order_acquire);                                   \
    }                                                                                              \
    static inline void hfi_shm_store##bits(_Atomic uint##bits##_t *word, uint##bits##_t value) {   \
        hfi_shm_step();                                                                            \
        atomic_store_explicit(word, value, memory_order_release);                                  \
    }                                                                                              \
    /* False and *expected is what was there; never fails by itself. */                            \
    static inline bool hfi_shm_swap##bits(_Atomic uint##bits##_t *word, uint##bits##_t *expected,  \
                                          uint##bits##_t value) {                                  \
        hfi_shm_step();                                                                            \
        return atomic_compare_exchange_strong_explicit(                                            \
            word, expected, value, memory_order_acq_rel, memory_order_acquire);                    \
    }                                                                                              \
    static inline uint##bits##_t hfi_shm_add##bits(_Atomic uint##bits##_t *word,                   \
                                                   uint##bits##_t value) {                         \
        hfi_shm_step();                                                                            \
        return atomic_fetch_add_explicit(word, value, memory_order_acq_rel);                       \
    }                                                                                              \
    static inline uint##bits##_t hfi_shm_or##bits(_Atomic uint##bits##_t *word,                    \
                                                  uint##bits##_t value) {                          \
        hfi_shm_step();                                                                            \
        return atomic_fetch_or_explicit(word, value, memory_order_acq_rel);                        \
    }                                                                                              \
    static inline uint##bits##_t hfi_shm_and##bits(_Atomic uint##bits##_t *word,                   \
                                                   uint##bits##_t value) {                         \
        hfi_shm_step();                                                                            \
        return atomic_fetch_and_explicit(word, value, memory_order_acq_rel);                       \
    }

HFI_SHM_ACCESS(64)
HFI_SHM_ACCESS(32)

/* Everything before is visible before everything after: for the two-word protocols (intent, payload,
 * commit), where release and acquire are not enough. */
static inline void hfi_shm_fence(void) {
    atomic_thread_fence(memory_order_seq_cst);
}

/* Payload that only the owner of its slot touches. In builds with steps there is one in the middle. */
static inline void hfi_shm_copy(void *to, const void *from, size_t size) {
    hfi_shm_step();
#if HFI_SHM_STEPS
    memcpy(to, from, size / 2);
    hfi_shm_step();
    memcpy((char *)to + size / 2, (const char *)from + size / 2, size - size / 2);
#else
    memcpy(to, from, size);
#endif
}

#endif
