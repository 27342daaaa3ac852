/* pool.h - all slabs of one block size, with one lock, and a depot where batches wait.
 * Blocks move in batches: a thread that only frees and a thread that only allocates meet in the
 * depot, at a pointer copy per block and one lock per batch.
 * Threads     any; pool.lock, rank POOL.
 * Fails with  0 blocks when a limit or the OS says no; hfi_pool_give reports DOUBLE_FREE. */
#ifndef HFI_POOL_H
#define HFI_POOL_H

#include "types.h"

/* Pools of every class for one heap on each node; NULL if the OS refuses. */
struct hfi_pool *hfi_pools_make(hf_heap *heap, unsigned nodes);
void hfi_pools_destroy(hf_heap *heap);

/* Fills blocks_out with up to `wanted` free blocks, to be popped from the end (lowest address
 * last). Blocks never used before carry the freed pattern already. */
uint32_t hfi_pool_take(struct hfi_pool *pool, void **blocks_out, uint32_t wanted, unsigned home);
/* Takes back blocks of this pool's heap and class. */
void hfi_pool_give(struct hfi_pool *pool, void **blocks, uint32_t count);

/* For a thread that begins with blocks of others, in whose cache lines others write: `take` gives it
 * whole lines if there are some (as hfi_pool_take otherwise), `give` puts a block into its slab and
 * not into the depot, where the next thread would find it. */
#define HFI_POOL_APART_MOST 96u /* larger blocks share a line with few */
uint32_t hfi_pool_take_apart(struct hfi_pool *pool, void **blocks_out, uint32_t wanted,
                             unsigned home);
void hfi_pool_give_apart(struct hfi_pool *pool, void *block);

/* Slabs back to the segments: depots above their low mark (all, if `force`), empty slabs idle for
 * two ticks. Returns the bytes given to the segment layer or the system. */
size_t hfi_pool_reclaim(struct hfi_pool *pool, bool force, bool *more_out);

/* The heap grows: everything that is free and touched goes, but for slabs that are nearly full. */
size_t hfi_pool_trim(struct hfi_pool *pool);
/* Bytes that are in nobody's hands, touched or not. */
size_t hfi_pool_idle(struct hfi_pool *pool);

/* Takes a slab out of service. Idempotent. */
void hfi_pool_quarantine(struct hfi_slab *slab);

static inline struct hfi_pool *hfi_pool_of(hf_heap *heap, unsigned node, unsigned class_index) {
    return &heap->pools[(node % heap->node_count) * HFI_CLASS_COUNT + class_index];
}

#endif
