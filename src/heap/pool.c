/* pool.c - object pools: slabs by fullness, a depot of blocks in transit.
 *
 *   thread caches <== batches ==> depot <-> slabs by fullness <-> segments
 *
 * Invariants  taken == sum of slab.taken over healthy slabs; a slab is in exactly one list: a bin
 *             (PARTIAL), empty (EMPTY), none (FULL, QUARANTINED).
 * Talks to    slab, segment, pagemap, meta, large limits in heap.c.   Called by tcache, reclaim.
 * Threads     pool.lock; slabs that became empty are handed to the segment layer after it is released.
 * Source      depot: Bonwick and Adams 2001 (magazines and vmem); fullest slab first: so that the
 *             emptiest drain and go back to the system. */
#include "pool.h"

#include <string.h>

#include "heap_state.h"
#include "reclaim.h"

#define SLAB_BLOCKS_WANTED 8u
#define DEPOT_BLOCKS       256u
#define DEPOT_BYTES        ((size_t)64 << 10)
#define LEAD               64u
#define FRESH_BYTES        4096u

static void pool_shape(struct hfi_pool *pool, hf_heap *heap, unsigned class_index, unsigned node) {
    uint32_t size = hfi_class_size[class_index];
    bool aligned = class_index >= HFI_CLASS_ALIGNED;
    hfi_lock_init(&pool->lock, HFI_RANK_POOL);
    pool->heap = heap;
    pool->class_index = (uint8_t)class_index;
    pool->node = (uint8_t)node;
    pool->block_size = size;
    /* The lead holds a guard word where the trailer of a block before the first would be. Aligned
     * slabs have none: block 0 must start at the slab's own alignment. */
    pool->lead = heap->trailer && !aligned ? LEAD : 0;
    pool->slices = (uint16_t)((SLAB_BLOCKS_WANTED * size + pool->lead + HFI_SLICE - 1) / HFI_SLICE);
    uint32_t fit = (uint32_t)((pool->slices * HFI_SLICE - pool->lead) / size);
    pool->blocks = fit < HFI_SLAB_BLOCKS_MAX ? fit : HFI_SLAB_BLOCKS_MAX;
    size_t depot = DEPOT_BYTES / size < DEPOT_BLOCKS ? DEPOT_BYTES / size : DEPOT_BLOCKS;
    pool->depot_capacity = depot < 8 ? 8 : (uint32_t)depot;
}

struct hfi_pool *hfi_pools_make(hf_heap *heap, unsigned nodes) {
    struct hfi_pool *pools = hfi_meta_alloc(nodes * HFI_CLASS_COUNT * sizeof *pools);
    if (pools == NULL) return NULL;
    for (unsigned node = 0; node < nodes; node++)
        for (unsigned c = 1; c < HFI_CLASS_COUNT; c++)
            pool_shape(&pools[node * HFI_CLASS_COUNT + c], heap, c, node);
    return pools;
}

/* --- lists --------------------------------------------------------------------------------- */

#define NO_BIN    255u
#define EMPTY_BIN 254u

static void list_push(struct hfi_slab **head, struct hfi_slab *slab) {
    slab->prev = NULL;
    slab->next = *head;
    if (*head != NULL) (*head)->prev = slab;
    *head = slab;
}

static void list_remove(struct hfi_slab **head, struct hfi_slab *slab) {
    if (slab->prev != NULL)
        slab->prev->next = slab->next;
    else
        *head = slab->next;
    if (slab->next != NULL) slab->next->prev = slab->prev;
}

static void slab_unlist(struct hfi_pool *pool, struct hfi_slab *slab) HF_REQUIRES(pool->lock) {
    if (slab->bin == EMPTY_BIN) {
        list_remove(&pool->empty, slab);
        pool->empty_count--;
    } else if (slab->bin < HFI_SLAB_BINS) {
        list_remove(&pool->bins[slab->bin], slab);
    } else if (slab->state == HFI_SLAB_FULL) {
        pool->full_count--;
    }
    slab->bin = NO_BIN;
}

/* Puts a slab into the list its count of taken blocks asks for. */
static void slab_file(struct hfi_pool *pool, struct hfi_slab *slab) HF_REQUIRES(pool->lock) {
    unsigned bin = NO_BIN;
    uint8_t state = HFI_SLAB_PARTIAL;
    if (slab->taken == 0) {
        state = HFI_SLAB_EMPTY;
        bin = EMPTY_BIN;
    } else if (slab->taken == slab->count) {
        state = HFI_SLAB_FULL;
    } else {
        bin = slab->taken * HFI_SLAB_BINS / slab->count;
    }
    if (slab->bin == bin && slab->state == state) return;
    slab_unlist(pool, slab);
    hfi_poke(slab->state, state);
    slab->bin = (uint8_t)bin;
    if (bin == EMPTY_BIN) {
        slab->idle = 0;
        list_push(&pool->empty, slab);
        pool->empty_count++;
    } else if (bin < HFI_SLAB_BINS) {
        list_push(&pool->bins[bin], slab);
    } else {
        pool->full_count++;
    }
}

/* --- what is in memory ---------------------------------------------------------------------- */

static void absent_add(hf_heap *heap, int64_t bytes) {
    atomic_fetch_add_explicit(&heap->absent, bytes, memory_order_relaxed);
}

/* `count` blocks left the slab; its first untouched block was `fresh_before` then. True if that takes
 * memory that was not there. */
static bool slab_touched(struct hfi_slab *slab, uint32_t count, uint32_t fresh_before)
    HF_REQUIRES(slab->pool->lock) {
    uint32_t fresh = slab->fresh - fresh_before;
    uint32_t untouched = (slab->count - slab->fresh) * slab->block_size;
    uint32_t less = fresh * slab->block_size;
    /* Of a slab with purged pages we do not know which they were. */
    if (slab->absent > untouched + less) {
        uint32_t purged = slab->absent - untouched - less;
        uint32_t back = count > fresh ? (count - fresh) * slab->block_size : 0;
        less += back < purged ? back : purged;
    }
    slab->absent -= less;
    absent_add(slab->pool->heap, -(int64_t)less);
    return less != 0;
}

static size_t slab_purge(struct hfi_slab *slab) HF_REQUIRES(slab->pool->lock) {
    size_t purged = hfi_slab_purge(slab);
    uint32_t absent = (slab->count - slab->fresh) * slab->block_size + (uint32_t)purged;
    absent_add(slab->pool->heap, (int64_t)absent - slab->absent);
    slab->absent = absent;
    return purged;
}

/* --- slabs come and go --------------------------------------------------------------------- */

static struct hfi_slab *slab_make(struct hfi_pool *pool, unsigned home) HF_REQUIRES(pool->lock) {
    hf_heap *heap = pool->heap;
    size_t bytes = pool->slices * HFI_SLICE;
    bool zero;
    if (!hfi_heap_charge(heap, bytes)) return NULL;
    size_t meta_size = hfi_slab_meta_size(pool->blocks);
    struct hfi_slab *slab = hfi_meta_alloc(meta_size);
    char *base =
        slab != NULL ? hfi_segment_take(HFI_ZONE_SMALL, pool->slices, 1, home, &zero) : NULL;
    if (base == NULL) {
        hfi_meta_free(slab, meta_size);
        hfi_heap_discharge(heap, bytes);
        return NULL;
    }
    hfi_slab_init(slab, base, pool->slices, pool->block_size, pool->lead, pool->blocks);
    slab->pool = pool;
    slab->absent = pool->blocks * pool->block_size;
    absent_add(heap, slab->absent);
    slab->bin = NO_BIN;
    slab->number = ++pool->slabs_made;
    if (pool->lead != 0)
        hfi_block_seal(base + pool->lead - pool->block_size, pool->block_size,
                       pool->block_size - HFI_TRAILER, 0);
    slab->all_next = pool->all;
    if (pool->all != NULL) pool->all->all_prev = slab;
    hfi_poke(pool->all, slab);
    pool->slab_count++;
    hfi_pagemap_set(base, pool->slices, &slab->owner,
                    heap->is_default ? (uint16_t)(pool->class_index * sizeof(struct hfi_magazine))
                                     : 0);
    slab_file(pool, slab);
    return slab;
}

/* Takes an EMPTY slab out of the pool; the caller gives it to the segments without the lock. */
static void slab_detach(struct hfi_pool *pool, struct hfi_slab *slab) HF_REQUIRES(pool->lock) {
    slab_unlist(pool, slab);
    if (slab->all_prev != NULL)
        slab->all_prev->all_next = slab->all_next;
    else
        hfi_poke(pool->all, slab->all_next);
    if (slab->all_next != NULL) slab->all_next->all_prev = slab->all_prev;
    pool->slab_count--;
    pool->slabs_gone++;
    hfi_pagemap_set(slab->base, slab->slices, NULL, 0);
}

static size_t slab_release(struct hfi_slab *slab) {
    size_t bytes = slab->slices * HFI_SLICE;
    hf_heap *heap = slab->pool->heap;
    hfi_segment_give(slab->base, slab->slices, true);
    absent_add(heap, -(int64_t)slab->absent);
    hfi_meta_free(slab, hfi_slab_meta_size(slab->count));
    hfi_heap_discharge(heap, bytes);
    return bytes;
}

static size_t release_chain(struct hfi_slab *chain) {
    size_t bytes = 0;
    while (chain != NULL) {
        struct hfi_slab *next = chain->next;
        bytes += slab_release(chain);
        chain = next;
    }
    return bytes;
}

/* Out of service: in no list, found by no hot path. Idempotent. */
static void slab_retire(struct hfi_pool *pool, struct hfi_slab *slab) HF_REQUIRES(pool->lock) {
    if (slab->state == HFI_SLAB_QUARANTINED) return;
    slab_unlist(pool, slab);
    hfi_poke(slab->state, (uint8_t)HFI_SLAB_QUARANTINED);
    pool->quarantined_count++;
    pool->taken -= slab->taken;
    hfi_pagemap_set_magazine(slab->base, slab->slices, 0);
    /* Blocks of this slab that wait in the depot go nowhere. */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < pool->depot_count; i++) {
        if (hfi_pagemap_owner(pool->depot[i]) == &slab->owner)
            (void)hfi_slab_give(slab, hfi_slab_index(slab, pool->depot[i]));
        else
            pool->depot[kept++] = pool->depot[i];
    }
    pool->depot_count = kept;
    if (pool->depot_low > kept) pool->depot_low = kept;
}

/* --- batches ------------------------------------------------------------------------------- */

/* Writes the freed pattern into blocks handed out for the first time. */
static void freshen(const struct hfi_pool *pool, struct hfi_slab *slab, void **blocks, uint32_t got,
                    uint32_t fresh_before) {
    const char *first = hfi_slab_block(slab, fresh_before);
    for (uint32_t i = 0; i < got; i++) {
        if ((const char *)blocks[i] < first) continue;
        hfi_block_freshen(blocks[i], pool->block_size, pool->heap->fill);
    }
}

uint32_t hfi_pool_take(struct hfi_pool *pool, void **blocks_out, uint32_t wanted, unsigned home) {
    uint32_t got = 0;
    struct hfi_slab *broken = NULL;
    bool trailer = pool->heap->trailer, touched = false;
    hfi_lock_acquire(&pool->lock);
    uint32_t from_depot = pool->depot_count < wanted ? pool->depot_count : wanted;
    if (from_depot != 0) {
        pool->depot_count -= from_depot;
        if (pool->depot_count < pool->depot_low) pool->depot_low = pool->depot_count;
        memcpy(blocks_out, pool->depot + pool->depot_count, from_depot * sizeof(void *));
        got = from_depot;
    }
    /* One batch, one source: a thread that finds anything is served; slabs are for dry depots. */
    while (got == 0 || (got < wanted && from_depot == 0)) {
        struct hfi_slab *slab = NULL;
        for (unsigned bin = HFI_SLAB_BINS; slab == NULL && bin-- > 0;)
            slab = pool->bins[bin];
        if (slab == NULL) slab = pool->empty;
        if (slab == NULL) {
            if (got != 0) break; /* enough to go on with: do not map more for a full batch */
            slab = slab_make(pool, home);
            if (slab == NULL) break;
        }
        /* Blocks that were in use before are had for nothing; untouched ones a page at a time, or
         * a program that needs three of a size would pay for half a magazine of them. */
        uint32_t fresh = slab->fresh, used_before = fresh - slab->taken, most = wanted - got;
        if (used_before == 0) {
            if (got != 0) break;
            used_before = FRESH_BYTES / pool->block_size + (FRESH_BYTES < pool->block_size);
        }
        if (most > used_before) most = used_before;
        uint32_t taken = hfi_slab_take(slab, blocks_out + got, most);
        if (hfi_unlikely(taken == 0)) { /* it was listed as having some: its bitmap is damaged */
            slab_retire(pool, slab);
            broken = slab;
            continue;
        }
        pool->taken += taken;
        touched |= slab_touched(slab, taken, fresh);
        slab->idle = 0;
        if (trailer) freshen(pool, slab, blocks_out + got, taken, fresh);
        got += taken;
        slab_file(pool, slab);
    }
    hfi_lock_release(&pool->lock);
    if (touched) hfi_heap_touched(pool->heap);
    if (hfi_unlikely(broken != NULL))
        hfi_report_metadata(pool->heap, &broken->owner, broken->base, "refill");
    if (from_depot == 0) { /* popped from the end: lowest address last, so that it goes first */
        for (uint32_t i = 0; i < got / 2; i++) {
            void *swap = blocks_out[i];
            blocks_out[i] = blocks_out[got - 1 - i];
            blocks_out[got - 1 - i] = swap;
        }
    }
    return got;
}

uint32_t hfi_pool_take_apart(struct hfi_pool *pool, void **blocks_out, uint32_t wanted,
                             unsigned home) {
    uint32_t got = 0;
    hfi_lock_acquire(&pool->lock);
    /* The emptiest slabs only: in fuller ones free lines are few and the search is long. */
    struct hfi_slab *slab = pool->bins[0] != NULL ? pool->bins[0] : pool->empty;
    if (slab != NULL && wanted >= HFI_SLAB_LINES) {
        uint32_t fresh = slab->fresh;
        void *lines[HFI_SLAB_LINES];
        got = hfi_slab_take_lines(slab, lines);
        for (uint32_t i = 0; i < got; i++)
            blocks_out[i] = lines[got - 1 - i];
        for (uint32_t i = fresh; pool->heap->trailer && i < slab->fresh; i++)
            hfi_block_freshen(hfi_slab_block(slab, i), pool->block_size, pool->heap->fill);
        pool->taken += got;
        (void)slab_touched(slab, got, fresh);
        slab->idle = 0;
        slab_file(pool, slab);
    }
    hfi_lock_release(&pool->lock);
    return got != 0 ? got : hfi_pool_take(pool, blocks_out, wanted, home);
}

/* The blocks of a batch that lie side by side in it and in one slab go back together: the slab is
 * looked up and filed once. Returns how many they were; *twice: one of them was there already. The
 * slab may belong to another pool of the same class (another node): then that pool takes it. */
static uint32_t give_some(struct hfi_pool *pool, void **blocks, uint32_t count,
                          struct hfi_slab **released, void **twice) HF_REQUIRES(pool->lock) {
    struct hfi_slab *slab = (struct hfi_slab *)hfi_pagemap_owner(blocks[0]);
    if (hfi_unlikely(slab == NULL)) { /* the slab went with this block's other self */
        *twice = blocks[0];
        return 1;
    }
    uintptr_t base = (uintptr_t)slab->base, bytes = slab->slices * HFI_SLICE;
    uint32_t at = 0, given = 0;
    void *again = NULL;
    for (; at < count && (uintptr_t)blocks[at] - base < bytes; at++) {
        if (hfi_likely(hfi_slab_give(slab, hfi_slab_index(slab, blocks[at])) == HFI_SLAB_GIVEN))
            given++;
        else
            again = blocks[at];
    }
    if (slab->state == HFI_SLAB_QUARANTINED) return at;
    if (again != NULL) *twice = again;
    if (given == 0) return at;
    pool->taken -= given;
    slab->idle = 0;
    slab_file(pool, slab);
    /* One empty slab stays for the next burst; it leaves by the decay. */
    if (slab->taken == 0 && pool->empty_count > 1) {
        slab_detach(pool, slab);
        slab->next = *released;
        *released = slab;
    }
    return at;
}

/* With several nodes the blocks of other nodes' slabs go home one by one; returns how many stay. */
static uint32_t send_home(struct hfi_pool *pool, void **blocks, uint32_t count) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct hfi_slab *slab = (struct hfi_slab *)hfi_pagemap_owner(blocks[i]);
        if (slab->pool == pool)
            blocks[kept++] = blocks[i];
        else
            hfi_pool_give(slab->pool, &blocks[i], 1);
    }
    return kept;
}

void hfi_pool_give_apart(struct hfi_pool *pool, void *block) {
    struct hfi_slab *released = NULL;
    void *twice = NULL;
    pool = ((struct hfi_slab *)hfi_pagemap_owner(block))->pool;
    hfi_lock_acquire(&pool->lock);
    (void)give_some(pool, &block, 1, &released, &twice);
    hfi_lock_release(&pool->lock);
    (void)release_chain(released);
    if (twice != NULL) hfi_report_double_free(pool->heap, twice, pool->block_size, "flush");
    hfi_reclaim_note_frees(pool->heap, 1);
}

void hfi_pool_give(struct hfi_pool *pool, void **blocks, uint32_t count) {
    struct hfi_slab *released = NULL;
    void *twice = NULL;
    if (pool->heap->node_count > 1) count = send_home(pool, blocks, count);
    if (hfi_peek(pool->depot) == NULL) {
        /* Two threads may both make one; the loser's goes back. */
        size_t size = pool->depot_capacity * sizeof(void *);
        void **depot = hfi_meta_alloc(size);
        hfi_lock_acquire(&pool->lock);
        if (pool->depot == NULL) {
            hfi_poke(pool->depot, depot);
            depot = NULL;
        }
        hfi_lock_release(&pool->lock);
        hfi_meta_free(depot, size);
    }
    hfi_lock_acquire(&pool->lock);
    uint32_t at = 0;
    /* Quarantined slabs take nothing back, and fast heaps find double frees only in the bitmap:
     * both see every block. */
    if (pool->depot != NULL && pool->quarantined_count == 0) {
        uint32_t room = pool->depot_capacity - pool->depot_count;
        at = room < count ? room : count;
        memcpy(pool->depot + pool->depot_count, blocks, at * sizeof(void *));
        pool->depot_count += at;
    }
    while (at < count)
        at += give_some(pool, blocks + at, count - at, &released, &twice);
    hfi_lock_release(&pool->lock);
    (void)release_chain(released);
    if (twice != NULL) hfi_report_double_free(pool->heap, twice, pool->block_size, "flush");
}

/* --- decay, quarantine, end ----------------------------------------------------------------- */

/* The `count` blocks that wait longest in the depot go home. */
static void depot_drain(struct hfi_pool *pool, uint32_t count, struct hfi_slab **released,
                        void **twice) HF_REQUIRES(pool->lock) {
    for (uint32_t i = 0; i < count;)
        i += give_some(pool, pool->depot + i, count - i, released, twice);
    if (count != 0) {
        pool->depot_count -= count;
        memmove(pool->depot, pool->depot + count, pool->depot_count * sizeof(void *));
    }
    pool->depot_low = pool->depot_count;
}

/* Empty slabs leave: all of them, or those that were empty at the last tick. */
static void empties_release(struct hfi_pool *pool, bool all, struct hfi_slab **released)
    HF_REQUIRES(pool->lock) {
    for (struct hfi_slab *slab = pool->empty, *next; slab != NULL; slab = next) {
        next = slab->next;
        if (!all && slab->idle++ == 0) continue;
        slab_detach(pool, slab);
        slab->next = *released;
        *released = slab;
    }
}

size_t hfi_pool_reclaim(struct hfi_pool *pool, bool force, bool *more_out) {
    struct hfi_slab *released = NULL;
    void *twice = NULL;
    size_t purged = 0;
    hfi_lock_acquire(&pool->lock);
    depot_drain(pool, force ? pool->depot_count : pool->depot_low, &released, &twice);
    empties_release(pool, force, &released);
    /* Slabs that few blocks hold: their free pages go, the slab stays. */
    for (unsigned bin = 0; bin < HFI_SLAB_BINS - 1; bin++) {
        for (struct hfi_slab *slab = pool->bins[bin]; slab != NULL; slab = slab->next) {
            if (slab->idle == 2 && !force) continue;
            if (!force && slab->idle == 0) {
                slab->idle = 1;
                *more_out = true;
                continue;
            }
            purged += slab_purge(slab);
            slab->idle = 2;
        }
    }
    *more_out |= pool->depot_count != 0 || pool->empty != NULL;
    hfi_lock_release(&pool->lock);
    if (twice != NULL) hfi_report_double_free(pool->heap, twice, pool->block_size, "reclaim");
    return purged + release_chain(released);
}

size_t hfi_pool_idle(struct hfi_pool *pool) {
    hfi_lock_acquire(&pool->lock);
    uint64_t blocks = (uint64_t)(pool->slab_count - pool->quarantined_count) * pool->blocks;
    size_t idle = (size_t)(blocks - pool->taken + pool->depot_count) * pool->block_size;
    hfi_lock_release(&pool->lock);
    return idle;
}

size_t hfi_pool_trim(struct hfi_pool *pool) {
    struct hfi_slab *released = NULL;
    void *twice = NULL;
    size_t purged = 0;
    hfi_lock_acquire(&pool->lock);
    depot_drain(pool, pool->depot_count, &released, &twice);
    empties_release(pool, true, &released);
    for (unsigned bin = 0; bin < HFI_SLAB_BINS - 1; bin++) {
        for (struct hfi_slab *slab = pool->bins[bin]; slab != NULL; slab = slab->next) {
            /* Not again for a block or two that came free since. */
            if (slab->purged && slab->taken + slab->count / 16 >= slab->taken_at_purge) continue;
            purged += slab_purge(slab);
        }
    }
    hfi_lock_release(&pool->lock);
    if (twice != NULL) hfi_report_double_free(pool->heap, twice, pool->block_size, "reclaim");
    return purged + release_chain(released);
}

void hfi_pool_quarantine(struct hfi_slab *slab) {
    struct hfi_pool *pool = slab->pool;
    hfi_lock_acquire(&pool->lock);
    slab_retire(pool, slab);
    hfi_lock_release(&pool->lock);
}

/* The memory serves others next: a pointer that the program kept must not find a live trailer. */
static void forget_live(struct hfi_slab *slab) {
    for (uint32_t i = 0; i < slab->fresh; i++) {
        char *block = hfi_slab_block(slab, i);
        if (!hfi_slab_has(slab, i) && hfi_block_note(block, slab->block_size) <= HFI_NOTE_MAX)
            hfi_block_mark_freed(block, slab->block_size);
    }
}

void hfi_pools_destroy(hf_heap *heap) {
    for (unsigned i = 0; i < heap->node_count * HFI_CLASS_COUNT; i++) {
        struct hfi_pool *pool = &heap->pools[i];
        while (pool->all != NULL) {
            struct hfi_slab *slab = pool->all;
            pool->all = slab->all_next;
            if (heap->trailer) forget_live(slab);
            hfi_pagemap_set(slab->base, slab->slices, NULL, 0);
            (void)slab_release(slab);
        }
        hfi_meta_free(pool->depot, pool->depot_capacity * sizeof(void *));
    }
    hfi_meta_free(heap->pools, heap->node_count * HFI_CLASS_COUNT * sizeof *heap->pools);
}
