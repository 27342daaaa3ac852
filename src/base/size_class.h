/* size_class.h - from a size to the pool that serves it, and back.
 * Invariants  hfi_class_size[hfi_class_of(n)] >= n, and the class below it is smaller than n.
 * Threads     read-only tables.
 * Source      spacing as in size-segregated fits (Wilson et al. 1995, section 3.6). */
#ifndef HFI_SIZE_CLASS_H
#define HFI_SIZE_CLASS_H

#include <stddef.h>
#include <stdint.h>

enum {
#define HF_CLASS(size, alignment) HFI_CLASS_##size##_##alignment,
#include "size_class.def"
#undef HF_CLASS
    HFI_CLASS_COUNT
};

#define HFI_CLASS_NONE      0u
#define HFI_LINEAR_MAX      ((size_t)1024)  /* largest block whose class is size / 16       */
#define HFI_SMALL_MAX       ((size_t)32784) /* largest block of the small tier [bytes]      */
#define HFI_ALIGNED_MAX     ((size_t)32768) /* largest alignment the small tier serves      */
#define HFI_CLASS_GEOMETRIC 65u
#define HFI_CLASS_ALIGNED   105u

_Static_assert(HFI_CLASS_1024_16 == 64 && HFI_CLASS_32784_16 == HFI_CLASS_ALIGNED - 1,
               "the families stand where the arithmetic below expects them");
_Static_assert(HFI_CLASS_COUNT <= 255, "a class fits a byte");

extern const uint32_t hfi_class_size[HFI_CLASS_COUNT];
extern const uint32_t hfi_class_alignment[HFI_CLASS_COUNT];

/* Class of a block of `size` bytes, 1 <= size <= HFI_SMALL_MAX. */
static inline unsigned hfi_class_of(size_t size) {
    if (size <= HFI_LINEAR_MAX) return (unsigned)((size + 15) >> 4);
    size_t rest = size - 17; /* 1025+16 starts the second geometric class of the first doubling */
    if (rest < 1024) return HFI_CLASS_GEOMETRIC;
    unsigned doubling = 63u - (unsigned)__builtin_clzll(rest); /* 10..14 */
    unsigned eighth = (unsigned)(rest >> (doubling - 3)) & 7u;
    return HFI_CLASS_GEOMETRIC + (doubling - 10) * 8 + eighth;
}

/* Class whose blocks are aligned to `alignment` (a power of two, 32..HFI_ALIGNED_MAX) and hold
 * `size` bytes; HFI_CLASS_NONE if there is none. */
static inline unsigned hfi_class_aligned(size_t size, size_t alignment) {
    size_t block = size > alignment ? size : alignment;
    if (block > HFI_ALIGNED_MAX) return HFI_CLASS_NONE;
    if (block < 32) block = 32;
    unsigned log = 64u - (unsigned)__builtin_clzll(block - 1);
    return HFI_CLASS_ALIGNED + (log - 5);
}

#endif
