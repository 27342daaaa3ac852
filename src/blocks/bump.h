/* bump.h - sequential blocks: a cursor that moves up a range.
 *
 *   cursor --> | block | block | free ........ | limit
 *
 * Invariants  cursor <= limit, both multiples of HFI_BUMP_UNIT, so that an alignment up to it needs no
 *             step of its own. A range is far below the end of the address space: sums do not wrap
 *             for sizes up to HFI_BUMP_MAX.
 * Talks to    nobody.   Called by arena.
 * Threads     hfi_bump_take: the owner's. hfi_bump_take_shared: any number, without a lock; the limit
 *             may grow meanwhile, and a cursor set to HFI_BUMP_SEALED ends the range for all of them.
 * Fails with  0: does not fit; nothing has moved. */
#ifndef HFI_BUMP_H
#define HFI_BUMP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HFI_BUMP_UNIT   ((size_t)16)
#define HFI_BUMP_MAX    ((size_t)1 << 46) /* of a block, alignment included */
#define HFI_BUMP_SEALED UINTPTR_MAX       /* a shared cursor: nobody takes any more */

/* The first two words of an hf_arena. */
struct hfi_bump {
    uintptr_t cursor; /* next free byte          */
    uintptr_t limit;  /* end of what may be taken */
};

static inline size_t hfi_bump_round(size_t size) {
    return (size + HFI_BUMP_UNIT - 1) & ~(HFI_BUMP_UNIT - 1);
}

/* First place at or above `cursor` for a block of this alignment, a power of two of at least UNIT. */
static inline uintptr_t hfi_bump_place(uintptr_t cursor, size_t alignment) {
    return (cursor + alignment - 1) & ~(uintptr_t)(alignment - 1);
}

/* 1 <= size <= HFI_BUMP_MAX. */
static inline uintptr_t hfi_bump_take(struct hfi_bump *bump, size_t size, size_t alignment) {
    uintptr_t start = hfi_bump_place(bump->cursor, alignment);
    uintptr_t end = start + hfi_bump_round(size);
    if (__builtin_expect(end > bump->limit, 0)) return 0;
    bump->cursor = end;
    return start;
}

/* The same for many threads. */
static inline uintptr_t hfi_bump_take_shared(_Atomic uintptr_t *cursor,
                                             const _Atomic uintptr_t *limit, size_t size,
                                             size_t alignment) {
    /* relaxed: the compare-and-swap decides; what lies behind the limit is ordered by the limit. */
    uintptr_t at = atomic_load_explicit(cursor, memory_order_relaxed);
    for (;;) {
        if (at == HFI_BUMP_SEALED) return 0;
        uintptr_t start = hfi_bump_place(at, alignment);
        uintptr_t end = start + hfi_bump_round(size);
        /* SYNC(bump.limit): the memory below it is usable; pairs with the release of who raised it. */
        if (end > atomic_load_explicit(limit, memory_order_acquire)) return 0;
        /* relaxed: a block's bytes belong to its taker alone. */
        if (atomic_compare_exchange_weak_explicit(cursor, &at, end, memory_order_relaxed,
                                                  memory_order_relaxed))
            return start;
    }
}

#endif
