/* region.h - a segment of its own: address space between two guards, filled from the low end.
 *
 *   | guard | committed: usable ... | reserved: faults ............ | guard |
 *             ^ base                 ^ base + committed               ^ base + size
 *
 * For owners whose memory must be one range that grows in place: arenas, stacks. The guards are
 * never committed, so a run over either end faults whatever lies next to the region.
 * Invariants  committed <= size, both multiples of HFI_PAGE; bytes behind committed fault.
 * Talks to    os.   Called by arena, fiber.
 * Threads     the owner's lock, or none: a region has one owner. purge may run beside readers.
 * Fails with  -1 and errno when the system refuses; the region is then as it was. */
#ifndef HFI_REGION_H
#define HFI_REGION_H

#include <stdbool.h>
#include <stddef.h>

#include "os/os.h"

struct hfi_region {
    char *base;       /* first usable byte; NULL: no region */
    size_t size;      /* address space between the guards   */
    size_t committed; /* usable bytes from base on          */
    size_t guard;     /* bytes of each guard; 0: none       */
};

/* Reserves `size` bytes (a multiple of HFI_PAGE) between guards of `guard` bytes each; base is
 * aligned to `alignment`, a power of two of at least HFI_PAGE. Nothing is committed. */
int hfi_region_reserve(struct hfi_region *region, size_t size, size_t guard, size_t alignment);
/* Makes the first `bytes` usable (rounded up to pages); less than committed is no change. `huge`: ask
 * for huge pages; `node`: NUMA node of the new pages, -1 for the kernel's choice. New bytes are 0. */
int hfi_region_commit(struct hfi_region *region, size_t bytes, bool huge, int node);
/* Gives the memory behind [from, to) back; it reads as zero. Whole pages only: the part of a page at
 * either end stays. Returns the bytes of those pages. */
size_t hfi_region_purge(struct hfi_region *region, size_t from, size_t to);
/* Unmaps everything, guards included. */
void hfi_region_release(struct hfi_region *region);

#endif
