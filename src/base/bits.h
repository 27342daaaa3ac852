/* bits.h - bits of a word, counted where the compiler has no instruction for it.
 * Contract    hfi_bits(word) is what __builtin_popcountll says; hfi_is_power(value): exactly one is set.
 * Why         the builtin becomes a call of the compiler's own library, which stands at the far end
 *             of ours: a page of code that every process would map for it.
 * Threads     pure.
 * Talks to    nothing.   Called by pages, blocks, arena.
 * Source      sideways addition, Warren, Hacker's Delight, section 5-1. */
#ifndef HFI_BITS_H
#define HFI_BITS_H

#include <stdbool.h>
#include <stdint.h>

static inline bool hfi_is_power(uint64_t value) {
    return value != 0 && (value & (value - 1)) == 0;
}

static inline unsigned hfi_bits(uint64_t word) {
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0F0F0F0F0F0F0F0F);
    return (unsigned)(word * UINT64_C(0x0101010101010101) >> 56);
}

#endif
