/* walk.h - every block of a heap, seen slab by slab.
 * Threads     a slab (pool) is copied under its lock, the visitor runs without it.
 * Called by   api (view, check), stats. */
#ifndef HFI_WALK_H
#define HFI_WALK_H

#include <holdfast/view.h>

#include "types.h"

/* Exact sizes of live blocks, for the account. */
struct hfi_live_sum {
    uint64_t small_blocks, small_bytes,
        small_extent;                   /* by trailers: live blocks of healthy slabs */
    uint64_t middle_bytes, large_bytes; /* asked for                                 */
    uint64_t quarantined_live_bytes,
        quarantined_live_extent; /* in slabs out of service           */
};
void hfi_walk_sum(hf_heap *heap, struct hfi_live_sum *out);

#endif
