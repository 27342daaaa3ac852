/* racy.h - words that one thread writes while another looks: said in the code, checked by TSan.
 *
 *   hfi_peek / hfi_poke    our own words: relaxed atomics, the same instructions as plain moves
 *   hfi_peek64             a word of a block, which is the program's: it writes as it likes, and no
 *                          type of ours makes its stores atomic. Only readers who are right with
 *                          any value use it: they look again, under a lock, before they act.
 *
 * Invariants  a plain read of a word that others may write is a fault: the thread sanitizer says so,
 *             for it knows these two ways and no list of exempt functions.
 * Talks to    nothing.   Called by blocks, heap. */
#ifndef HFI_RACY_H
#define HFI_RACY_H

#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define HFI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HFI_TSAN 1
#endif
#endif

/* relaxed: no other memory is published by these words. */
#define hfi_peek(word)        __atomic_load_n(&(word), __ATOMIC_RELAXED)
#define hfi_poke(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELAXED)

#ifdef HFI_TSAN
#define HFI_UNWATCHED static __attribute__((noinline, unused, no_sanitize("thread")))
#else
#define HFI_UNWATCHED static inline
#endif

HFI_UNWATCHED uint64_t hfi_peek64(const void *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

#endif
