/* pagemap.h - from an address to what owns it.
 *
 *   magazine[slice]  where in a thread cache blocks of this slice go; 0: ask the owner
 *   owner[slice]     the slab, middle pool or large block; NULL: nobody
 *
 * Invariants  magazine[slice] != 0 only for healthy slabs of the default heap.
 * Threads     a slice's entries are written while it is taken by one thread and read by whoever
 *             holds a pointer into it, which the program hands over with its own synchronisation;
 *             wild pointers read whatever is there, hence atomics.
 * Talks to    os.   Called by everything that is given an address. */
#ifndef HFI_PAGEMAP_H
#define HFI_PAGEMAP_H

#include "pages/segment.h"

enum hfi_owner_kind { HFI_OWNER_SLAB = 1, HFI_OWNER_MIDDLE, HFI_OWNER_LARGE };

/* First member of every owner. */
struct hfi_owner {
    uint8_t kind;
};

extern HFI_HIDDEN _Atomic uint16_t *hfi_pagemap_magazine;
extern HFI_HIDDEN struct hfi_owner *_Atomic *hfi_pagemap_owners;

/* After hfi_segment_start. 0 or -1. */
int hfi_pagemap_start(void);
void hfi_pagemap_set(const void *base, size_t slices, struct hfi_owner *owner, uint16_t magazine);
/* Only the magazine offset: 0 takes a slab off the hot path. */
void hfi_pagemap_set_magazine(const void *base, size_t slices, uint16_t magazine);

static inline struct hfi_owner *hfi_pagemap_owner(const void *address) {
    uintptr_t offset = (uintptr_t)address - hfi_reservation_base;
    if (offset >= hfi_reservation_size) return NULL;
    /* SYNC(pagemap.owner): pairs with the release in hfi_pagemap_set. */
    return atomic_load_explicit(&hfi_pagemap_owners[offset >> HFI_SLICE_SHIFT],
                                memory_order_acquire);
}

#endif
