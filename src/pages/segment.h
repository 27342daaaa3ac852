/* segment.h - a range of pages from the one reservation, for one owner.
 *
 *   reservation: zone 0: shard, shard, ...   zone 1: shard, ...    shard: chunks of 64 slices of 64 KiB
 *
 * Every byte the heaps hand out lies in one reservation, so that "is this ours?" is a subtraction
 * and "whose?" a table look-up (pagemap.h). A shard has its own lock and, with several NUMA nodes,
 * its own node; a thread takes from the shard of its node. Large blocks have a zone of their own, the
 * only one that asks for huge pages: what is small never finds itself in a huge page, and freed large
 * blocks melt together and serve other large ones until they decay.
 * Invariants  a slice is taken, or free and clean (reads as zero, no memory behind it), or free and
 *             dirty; the first slice of a shard is never taken, so address - 1 of a segment is ours.
 * Talks to    os, lock.   Called by slab's pool, middle, large.
 * Threads     any; one lock per shard, rank SEGMENT. No OS call that can wait is made under it but
 *             the commit of a new chunk.
 * Fails with  NULL when the shards are exhausted or the OS refuses. */
#ifndef HFI_SEGMENT_H
#define HFI_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"
#include "base/visibility.h"
#include "os/os.h"

#define HFI_SLICE_SHIFT  16
#define HFI_SLICE        ((size_t)1 << HFI_SLICE_SHIFT)
#define HFI_CHUNK_SHIFT  22
#define HFI_CHUNK        ((size_t)1 << HFI_CHUNK_SHIFT)
#define HFI_CHUNK_SLICES 64u
#define HFI_SHARDS_MAX   16u

/* The reservation; set once at start. Size 0 before that: no address is ours. Words of their own,
 * so that each is one memory operand on the hot path. */
extern HFI_HIDDEN uintptr_t hfi_reservation_base;
extern HFI_HIDDEN size_t hfi_reservation_size;

enum hfi_zone { HFI_ZONE_SMALL, HFI_ZONE_HUGE, HFI_ZONES };

/* Reserves address space, as much as the system lets us. `huge`: the huge zone asks the kernel for
 * huge pages. 0 or -1. */
int hfi_segment_start(unsigned shards, bool huge);
/* Shards of a zone. */
unsigned hfi_segment_shards(void);
/* The shard a thread should ask first. */
unsigned hfi_segment_home(unsigned thread_number, int node);

/* Takes `count` slices aligned to `align_slices` (power of two). *zero_out says if every byte reads
 * as zero. Looks in the home shard first, then in the others; memory that is still warm first. */
void *hfi_segment_take(enum hfi_zone zone, size_t count, size_t align_slices, unsigned home,
                       bool *zero_out);
/* Gives slices back. `dirty`: memory may be behind them; it is purged after a decay. */
void hfi_segment_give(void *base, size_t count, bool dirty);
/* Tries to take the slices right behind a segment. False if any of them is taken. */
bool hfi_segment_extend(void *end, size_t count, bool *zero_out);

/* One tick of the decay: purges what was dirty at the tick before (or everything, if `force`).
 * Returns the bytes given back; *left_out the bytes still dirty. */
size_t hfi_segment_decay(bool force, size_t *left_out);
/* The small zone's share of a forced tick. */
size_t hfi_segment_trim(void);
/* Free slices with memory behind them [bytes]. */
size_t hfi_segment_dirty(enum hfi_zone zone);
uint64_t hfi_segment_purges(void);
uint64_t hfi_segment_returned(void);
/* Counts bytes that an owner gave back by itself, inside its segments. */
void hfi_segment_note_returned(size_t bytes);
uint64_t hfi_segment_lock_waits(uint64_t *wait_ns_out);
/* Calls visit(start, end) for every run of taken slices, shard by shard, lock not held. */
void hfi_segment_visit(void (*visit)(uintptr_t start, uintptr_t end, void *context), void *context);

void hfi_segment_fork_prepare(void);
void hfi_segment_fork_parent(void);
void hfi_segment_fork_child(void);

static inline bool hfi_segment_owns(const void *address) {
    return (uintptr_t)address - hfi_reservation_base < hfi_reservation_size;
}

#endif
