/* object_pool_view.c - a pool seen from outside: figures, account, every block, a check.
 * Contract    see pool.h.
 * Invariants  mapped = in_use + slack + cached + free + quarantined + meta at rest, by two sources:
 *             the counter that grows and shrinks with slabs, and a walk over the states.
 * Threads     the lock is held slab by slab; visitor and reports run without it.
 * Why         nothing is counted per block on the fast path: states are bytes, and a walk reads eight
 *             at a time where they are the same. */
#include <string.h>

#include "arena/object_pool.h"
#include "base/hooks.h"
#include "base/report.h"

struct hfi_object_counts hfi_object_counts_of(const hf_pool *pool, uint32_t from, uint32_t to) {
    uint32_t seen[HFI_OBJECT_DOOMED + 1] = {0};
    for (uint32_t i = from; i < to;) {
        uint8_t state = atomic_load_explicit(&pool->states[i], memory_order_relaxed);
        if (i % 8 == 0 && to - i >= 8 && hfi_object_states(pool, i) == HFI_OBJECT_EACH * state) {
            seen[state] += 8;
            i += 8;
        } else {
            seen[state]++;
            i++;
        }
    }
    return (struct hfi_object_counts){.live = seen[HFI_OBJECT_LIVE] + seen[HFI_OBJECT_RELEASING] +
                                              (uint64_t)seen[HFI_OBJECT_DOOMED],
                                      .cached = seen[HFI_OBJECT_CACHED],
                                      .free = seen[HFI_OBJECT_FREE],
                                      .quarantined = seen[HFI_OBJECT_QUARANTINED]};
}

size_t hf_pool_live(hf_pool *pool) {
    return hfi_object_counts_of(pool, 0, hfi_objects_made(pool)).live;
}

static void slab_account(const hf_pool *pool, const struct hfi_slab *slab, hf_stats *out) {
    uint32_t first = (uint32_t)slab->number << pool->slab_shift;
    struct hfi_object_counts c = hfi_object_counts_of(pool, first, first + slab->count);
    size_t bytes = hfi_object_slab_bytes(pool, slab);
    size_t rest = bytes - (size_t)(c.live + c.cached) * pool->stride;
    switch ((enum hfi_slab_state)slab->state) {
    case HFI_SLAB_EMPTY: out->slabs_empty++; break;
    case HFI_SLAB_PARTIAL: out->slabs_partial++; break;
    case HFI_SLAB_FULL: out->slabs_full++; break;
    case HFI_SLAB_QUARANTINED: out->slabs_quarantined++; break;
    }
    out->blocks_in_use += c.live;
    out->bytes_in_use += c.live * pool->block_size;
    out->bytes_slack += c.live * (pool->stride - pool->block_size);
    out->bytes_cached += c.cached * pool->stride;
    if (slab->state == HFI_SLAB_QUARANTINED)
        out->bytes_quarantined += rest;
    else if (!slab->purged)
        out->bytes_free += rest;
}

hf_status hfi_object_pool_stats(void *self, hf_stats *out) {
    hf_pool *pool = self;
    *out = (hf_stats){.struct_size = sizeof *out};
    hfi_lock_acquire(&pool->lock);
    for (uint32_t i = 0; i < pool->slab_count; i++)
        slab_account(pool, pool->slabs[i], out);
    out->bytes_mapped = pool->bytes_mapped;
    out->bytes_mapped_peak = pool->bytes_mapped_peak;
    out->bytes_meta = pool->bytes_meta;
    out->bytes_returned = pool->bytes_returned;
    out->purges = pool->purges;
    out->failures = pool->refusals;
    out->limit_hits = pool->limit_hits;
    out->lock_waits = pool->lock.waits;
    out->lock_wait_ns = pool->lock.wait_ns;
    out->cache_misses = pool->gone_misses;
    out->cache_refills = pool->gone_refills;
    out->cache_flushes = pool->gone_flushes;
    for (struct hfi_object_magazine *m = pool->magazines; m != NULL; m = m->next) {
        out->threads++;
        out->cache_misses += atomic_load_explicit(&m->misses, memory_order_relaxed);
        out->cache_refills += atomic_load_explicit(&m->refills, memory_order_relaxed);
        out->cache_flushes += atomic_load_explicit(&m->flushes, memory_order_relaxed);
    }
    out->allocs = out->small_allocs = hfi_object_allocs(pool);
    out->reports = atomic_load_explicit(&pool->reports, memory_order_relaxed);
    hfi_lock_release(&pool->lock);
    out->frees = out->allocs > out->blocks_in_use ? out->allocs - out->blocks_in_use : 0;
    return HF_OK;
}

hf_status hf_pool_stats(hf_pool *pool, hf_stats *stats_out) {
    if (pool == NULL || stats_out == NULL) return HF_E_INVALID;
    return hfi_object_pool_stats(pool, stats_out);
}

hf_status hf_pool_figures_of(hf_pool *pool, hf_pool_figures *out) {
    if (pool == NULL || out == NULL) return HF_E_INVALID;
    hfi_lock_acquire(&pool->lock);
    uint32_t made = hfi_objects_made(pool);
    struct hfi_object_counts c = hfi_object_counts_of(pool, 0, made);
    *out = (hf_pool_figures){.block_size = pool->block_size,
                             .stride = pool->stride,
                             .alignment = pool->alignment,
                             .capacity = pool->bounded ? pool->capacity : 0,
                             .blocks = c.live + c.cached + c.free + c.quarantined,
                             .blocks_live = c.live,
                             .blocks_cached = c.cached,
                             .blocks_free = c.free,
                             .blocks_quarantined = c.quarantined,
                             .slab_blocks = UINT64_C(1) << pool->slab_shift,
                             .taken_back = pool->taken_back,
                             .waits = pool->waits,
                             .wait_ns = pool->wait_ns_sum,
                             .timeouts = pool->timeouts,
                             .refusals = pool->refusals};
    hfi_lock_release(&pool->lock);
    return HF_OK;
}

/* --- every block ---------------------------------------------------------------------------- */

static hf_block_state public_state(uint8_t state) {
    switch (state) {
    case HFI_OBJECT_FREE: return HF_BLOCK_FREE;
    case HFI_OBJECT_CACHED: return HF_BLOCK_CACHED;
    case HFI_OBJECT_QUARANTINED: return HF_BLOCK_QUARANTINED;
    default: return HF_BLOCK_LIVE;
    }
}

hf_status hf_pool_view(hf_pool *pool, hf_visitor visitor, void *context) {
    if (pool == NULL || visitor == NULL) return HF_E_INVALID;
    uint8_t states[HFI_SLAB_BLOCKS_MAX];
    uint32_t made = hfi_objects_made(pool), step = UINT32_C(1) << pool->slab_shift;
    for (uint32_t first = 0; first < made; first += step) {
        for (uint32_t i = 0; i < step; i++)
            states[i] = hfi_object_state_of(pool, first + i);
        for (uint32_t i = 0; i < step; i++) {
            if (states[i] == HFI_OBJECT_NONE) continue;
            hf_view_block block = {.address = hfi_object_block(pool, first + i),
                                   .size = pool->block_size,
                                   .class_size = pool->stride,
                                   .state = public_state(states[i]),
                                   .tier = HF_TIER_SMALL,
                                   .domain = HF_DOMAIN_LIBC,
                                   .owner = first >> pool->slab_shift};
            if (visitor(&block, context) != 0) return HF_OK;
        }
    }
    return HF_OK;
}

/* --- check ---------------------------------------------------------------------------------- */

enum { FOUND_MOST = 64 };

struct findings {
    size_t count;                 /* damaged fills                          */
    uint32_t indexes[FOUND_MOST]; /* the first of them                      */
    bool bookkeeping;             /* slab and states contradict each other  */
};

static void slab_verify(hf_pool *pool, struct hfi_slab *slab, struct findings *found)
    HF_REQUIRES(pool->lock) {
    uint32_t first = (uint32_t)slab->number << pool->slab_shift;
    *found = (struct findings){.bookkeeping = !hfi_slab_check(slab)};
    if (slab->state == HFI_SLAB_QUARANTINED) return;
    for (uint32_t i = 0; i < slab->count; i++) {
        uint8_t state = hfi_object_state_of(pool, first + i);
        if (hfi_slab_has(slab, i) != (state == HFI_OBJECT_FREE) || state == HFI_OBJECT_NONE)
            found->bookkeeping = true;
        if (pool->sanitize != HF_POOL_PATTERN || state != HFI_OBJECT_FREE) continue;
        if (slab->purged || i >= slab->fresh) continue;
        if (hfi_object_damage(pool, hfi_object_block(pool, first + i), NULL) == 0) continue;
        if (found->count < FOUND_MOST) found->indexes[found->count] = first + i;
        found->count++;
    }
}

hf_status hf_pool_check(hf_pool *pool, size_t *found_out) {
    size_t total = 0;
    if (pool == NULL) return HF_E_INVALID;
    hfi_lock_acquire(&pool->lock);
    /* What lies in a magazine may be acquired while it is looked at: it goes home first. */
    if (pool->sanitize == HF_POOL_PATTERN) hfi_objects_take_back_all(pool);
    for (uint32_t i = 0; i < pool->slab_count; i++) {
        struct findings found;
        slab_verify(pool, pool->slabs[i], &found);
        if (found.count == 0 && !found.bookkeeping) continue;
        total += found.count + (found.bookkeeping ? 1 : 0);
        hfi_lock_release(&pool->lock);
        for (size_t k = 0; k < found.count && k < FOUND_MOST; k++)
            hfi_object_used_after_release(pool, found.indexes[k], "check");
        if (found.bookkeeping) hfi_object_contradiction(pool, i << pool->slab_shift);
        hfi_lock_acquire(&pool->lock);
    }
    hfi_lock_release(&pool->lock);
    if (found_out != NULL) *found_out = total;
    return total == 0 ? HF_OK : HF_E_CORRUPT;
}

size_t hf_pool_trim(hf_pool *pool) {
    bool more = false;
    HF_EXPECT(pool != NULL);
    hfi_lock_acquire(&pool->lock);
    hfi_objects_take_back_all(pool);
    size_t given = hfi_objects_purge(pool, true, &more);
    hfi_lock_release(&pool->lock);
    return given;
}

/* --- one address ---------------------------------------------------------------------------- */

int hf_pool_state(const hf_pool *pool, const void *block) {
    size_t offset = (size_t)((const char *)block - pool->base);
    if (!hf_pool_owns(pool, block)) return -1;
    uint32_t index = (uint32_t)hfi_object_index(pool, offset);
    if (hfi_object_block(pool, index) != block) return -1;
    return (int)public_state(hfi_object_state_of(pool, index));
}

int hf_pool_owns(const hf_pool *pool, const void *address) {
    size_t offset = (uintptr_t)address - (uintptr_t)pool->base;
    if (offset >= atomic_load_explicit(&pool->made, memory_order_acquire)) return 0;
    return hfi_object_state_of(pool, (uint32_t)hfi_object_index(pool, offset)) != HFI_OBJECT_NONE;
}

size_t hf_pool_block_size(const hf_pool *pool) {
    return pool->block_size;
}

const char *hf_pool_name(const hf_pool *pool) {
    return pool != NULL ? pool->name : "";
}

uint64_t hf_pool_id(const hf_pool *pool) {
    return pool != NULL ? pool->entry.id : 0;
}
