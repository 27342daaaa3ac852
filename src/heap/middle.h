/* middle.h - blocks of some 32 KiB to 1 MiB: page-multiple pools, each with its own lock, fit inside.
 *
 *   unit u: | ... header:16 | payload ... | slack | trailer |      header = check:48 of address, 16 B
 *
 * Threads     any; one lock per pool, rank MIDDLE; threads begin at different pools.
 * Fails with  NULL when a limit or the OS says no. */
#ifndef HFI_MIDDLE_H
#define HFI_MIDDLE_H

#include <holdfast/view.h>

#include "blocks/fit.h"
#include "types.h"

#define HFI_MIDDLE_MAX    ((size_t)1 << 20) /* largest request served here [bytes] */
#define HFI_MIDDLE_HEADER ((size_t)16)
#define HFI_MIDDLE_UNIT   ((size_t)1024)

#define HFI_MIDDLE_KEPT       8u
#define HFI_MIDDLE_KEPT_UNITS 256u /* kept in one pool, all together */
struct hfi_middle_kept {
    uint16_t start, units;
    bool aged; /* seen by the last tick */
};

struct hfi_middle_pool {
    struct hfi_owner owner; /* kind = HFI_OWNER_MIDDLE                           */
    bool quarantined;       /* guarded by: lock                                  */
    hfi_lock lock;
    hf_heap *heap;
    char *base; /* NULL: dormant; written under the lock */
    size_t slices;
    uint64_t number;
    struct hfi_fit fit; /* guarded by: lock                                  */
    uint32_t room;      /* fit.largest, to be looked at without the lock     */
    uint32_t fresh;     /* units from here on were never used and read as zero; guarded by: lock */
    size_t meta_size;
    uint64_t *aged;    /* free blocks seen by the last tick, by start unit  */
    uint64_t *purged;  /* free blocks without memory                        */
    uint64_t *shifted; /* of used and stamped blocks: payload a unit after the start */
    uint64_t *stamped; /* units where a freed block began: middle_stamp.h   */
    uint64_t live;     /* blocks, kept ones among them                      */
    struct hfi_middle_kept kept[HFI_MIDDLE_KEPT]; /* oldest first: middle_keep.h */
    uint32_t kept_count, kept_units;              /* guarded by: lock */
};

struct hfi_middle *hfi_middle_make(hf_heap *heap);
void hfi_middle_destroy(hf_heap *heap);

/* Payload of at least `size` bytes, overhead added inside; *extent_out: payload to trailer's end;
 * *zero_out: it reads as zero. */
void *hfi_middle_alloc(hf_heap *heap, struct hfi_tcache *tc, size_t size, size_t alignment,
                       size_t *extent_out, bool *zero_out);
/* `payload` was verified by hfi_middle_find. */
void hfi_middle_free(struct hfi_middle_pool *pool, void *payload);

enum hfi_middle_where { HFI_MIDDLE_START, HFI_MIDDLE_INSIDE, HFI_MIDDLE_FREE, HFI_MIDDLE_DAMAGED };
/* Where an address falls; *payload_out and *extent_out of the block around it, if there is one. */
enum hfi_middle_where hfi_middle_find(struct hfi_middle_pool *pool, const void *address,
                                      void **payload_out, size_t *extent_out);
/* Is there a whole header before this address, which lies in a middle pool? */
bool hfi_middle_header_whole(const char *payload);
/* Which bytes before the payload differ from a whole header. */
void hfi_middle_header_damage(const char *payload, ptrdiff_t *offset_out, size_t *length_out,
                              uint64_t *expected_out, uint64_t *found_out);
/* True if a block that began at `payload` was freed and its memory not used since; *extent_out: from
 * there to its trailer's end, 0 if that is not known. */
bool hfi_middle_was(struct hfi_middle_pool *pool, const void *payload, size_t *extent_out);
/* Verifies what is left of freed blocks. The payload of the first that was written to, with what is
 * known of it, or NULL. The pool goes out of service then. */
struct hfi_middle_written {
    char *payload;
    size_t extent; /* payload to trailer's end; 0: not known */
    ptrdiff_t offset;
    size_t length; /* of the damage */
    uint64_t expected;
};
bool hfi_middle_written(struct hfi_middle_pool *pool, struct hfi_middle_written *out);
/* Grows or shrinks in place; new extent, or 0 if it must move. */
size_t hfi_middle_resize(struct hfi_middle_pool *pool, void *payload, size_t size);
void hfi_middle_quarantine(struct hfi_middle_pool *pool);
/* Counts bytes that became free, or are no longer. */
void hfi_middle_note_warm(hf_heap *heap, ptrdiff_t bytes);
/* Bytes freed since the last forced reclaim, at most what is free: may be in memory. */
size_t hfi_middle_warm(hf_heap *heap);
size_t hfi_middle_reclaim(hf_heap *heap, bool force, bool *more_out);

struct hfi_middle_figures {
    uint64_t pools, quarantined_pools, live_blocks, mapped, live_bytes, kept_bytes,
        quarantined_bytes, meta_bytes;
    uint64_t splits, coalesces, lock_waits, lock_wait_ns;
};
void hfi_middle_sum(hf_heap *heap, struct hfi_middle_figures *out);
/* The pool of number `index` in order of making, NULL past the last: for walks. */
struct hfi_middle_pool *hfi_middle_pool_at(hf_heap *heap, unsigned index);
/* The block at unit *at, for walks; moves *at on. False at the end. The caller holds pool->lock. */
bool hfi_middle_view(struct hfi_middle_pool *pool, uint32_t *at, hf_view_block *block_out,
                     size_t *extent_out, uint64_t *note_out, bool *damaged_out);
/* Acts on the lock for making pools (`grow`), or on those of the pools. */
void hfi_middle_fork(hf_heap *heap, void (*act)(hfi_lock *), bool grow);

#endif
