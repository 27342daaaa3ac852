/* pagemap.c - two flat tables over the reservation, touched only where slices are in use.
 * Contract    see pagemap.h.   Threads  see pagemap.h.
 * Why         flat and not a radix tree: one load on the hot path. A page of `magazine` covers
 *             128 MiB of heap, a page of `owner` 32 MiB. */
#include "pagemap.h"

_Atomic uint16_t *hfi_pagemap_magazine;
struct hfi_owner *_Atomic *hfi_pagemap_owners;

int hfi_pagemap_start(void) {
    size_t slices = hfi_reservation_size >> HFI_SLICE_SHIFT;
    /* A start that was refused half way is tried again. */
    if (hfi_pagemap_magazine == NULL)
        hfi_pagemap_magazine = hfi_os_map(slices * sizeof *hfi_pagemap_magazine);
    if (hfi_pagemap_owners == NULL)
        hfi_pagemap_owners = hfi_os_map(slices * sizeof *hfi_pagemap_owners);
    return hfi_pagemap_magazine != NULL && hfi_pagemap_owners != NULL ? 0 : -1;
}

void hfi_pagemap_set(const void *base, size_t slices, struct hfi_owner *owner, uint16_t magazine) {
    size_t first = ((uintptr_t)base - hfi_reservation_base) >> HFI_SLICE_SHIFT;
    for (size_t i = first; i < first + slices; i++) {
        /* SYNC(pagemap.owner): publishes the owner's fields; pairs with the acquire of the look-up. */
        atomic_store_explicit(&hfi_pagemap_owners[i], owner, memory_order_release);
        atomic_store_explicit(&hfi_pagemap_magazine[i], magazine, memory_order_relaxed);
    }
}

void hfi_pagemap_set_magazine(const void *base, size_t slices, uint16_t magazine) {
    size_t first = ((uintptr_t)base - hfi_reservation_base) >> HFI_SLICE_SHIFT;
    for (size_t i = first; i < first + slices; i++)
        atomic_store_explicit(&hfi_pagemap_magazine[i], magazine, memory_order_relaxed);
}
