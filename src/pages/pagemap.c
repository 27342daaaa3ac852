/* pagemap.c - two flat tables over the reservation, touched only where slices are in use.
 * Contract    see pagemap.h.   Threads  see pagemap.h.
 * Why         flat and not a radix tree: one load on the hot path. A page of `magazine` covers
 *             128 MiB of heap, a page of `owner` 32 MiB. */
#include "pagemap.h"

struct hfi_pagemap hfi_pagemap;

int hfi_pagemap_start(void) {
    size_t slices = hfi_reservation.size >> HFI_SLICE_SHIFT;
    hfi_pagemap.magazine = hfi_os_map(slices * sizeof *hfi_pagemap.magazine);
    hfi_pagemap.owner = hfi_os_map(slices * sizeof *hfi_pagemap.owner);
    return hfi_pagemap.magazine != NULL && hfi_pagemap.owner != NULL ? 0 : -1;
}

void hfi_pagemap_set(const void *base, size_t slices, struct hfi_owner *owner, uint16_t magazine) {
    size_t first = ((uintptr_t)base - hfi_reservation.base) >> HFI_SLICE_SHIFT;
    for (size_t i = first; i < first + slices; i++) {
        /* SYNC(pagemap.owner): publishes the owner's fields; pairs with the acquire of the look-up. */
        atomic_store_explicit(&hfi_pagemap.owner[i], owner, memory_order_release);
        atomic_store_explicit(&hfi_pagemap.magazine[i], magazine, memory_order_relaxed);
    }
}

void hfi_pagemap_set_magazine(const void *base, size_t slices, uint16_t magazine) {
    size_t first = ((uintptr_t)base - hfi_reservation.base) >> HFI_SLICE_SHIFT;
    for (size_t i = first; i < first + slices; i++)
        atomic_store_explicit(&hfi_pagemap.magazine[i], magazine, memory_order_relaxed);
}
