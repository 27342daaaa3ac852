/* middle.c - pools of fit-managed units.
 * Contract    see middle.h.
 * Invariants  the bit `shifted` of a used block says where its payload begins: 16 bytes after its
 *             first unit, or a whole unit after it (aligned blocks); headers only confirm it.
 * Talks to    fit, segment, pagemap, meta.   Called by malloc, walk, reclaim.
 * Threads     grow_lock (rank CACHES) for making pools, pool.lock for what is inside; the list of
 *             pools only grows and is read without a lock.
 * Why         a pool that is wholly free gives its segment back and lies dormant in the list. */
#include "middle.h"

#include <string.h>

#include "heap_state.h"
#include "middle_keep.h"
#include "middle_stamp.h"
#include "middle_units.h"
#include "reclaim.h"

#define POOLS_MAX         4096u
#define POOL_SLICES_FIRST 32u  /* 2 MiB, doubling to 16 MiB */
#define POOL_SLICES_MOST  255u /* units must fit 16 bits    */
#define POOLS_SIZE        (POOLS_MAX * sizeof(struct hfi_middle_pool *))
#define UNITS_PER_SLICE   ((uint32_t)(HFI_SLICE / HFI_MIDDLE_UNIT))

struct hfi_middle {
    hfi_lock grow_lock;
    unsigned spread; /* pools that threads begin at */
    _Atomic uint32_t count;
    _Atomic size_t warm;                      /* bytes freed since the last forced reclaim */
    _Atomic(struct hfi_middle_pool *) *pools; /* [POOLS_MAX], made with the first; constant then */
};

HFI_EVERY_PROCESS struct hfi_middle *hfi_middle_make(hf_heap *heap) {
    (void)heap;
    struct hfi_middle *middle = hfi_meta_alloc(sizeof *middle);
    if (middle == NULL) return NULL;
    hfi_lock_init(&middle->grow_lock, HFI_RANK_CACHES);
    middle->spread = hfi_os_cpu_count();
    return middle;
}

HFI_EVERY_PROCESS struct hfi_middle_pool *hfi_middle_pool_at(hf_heap *heap, unsigned index) {
    if (index >= atomic_load_explicit(&heap->middle->count, memory_order_acquire)) return NULL;
    return atomic_load_explicit(&heap->middle->pools[index], memory_order_acquire);
}

static uint32_t words_of(uint32_t units) {
    return (units + 63) / 64;
}

bool hfi_middle_header_whole(const char *payload) {
    uint64_t word = hfi_middle_header_word(payload);
    return hfi_load64(payload - 16) == word && hfi_load64(payload - 8) == ~word;
}

void hfi_middle_header_damage(const char *payload, ptrdiff_t *offset_out, size_t *length_out,
                              uint64_t *expected_out, uint64_t *found_out) {
    uint64_t word = hfi_middle_header_word(payload);
    uint64_t expected[2] = {word, ~word}, found[2];
    memcpy(found, payload - 16, sizeof found);
    const unsigned char *a = (const unsigned char *)expected, *b = (const unsigned char *)found;
    int first = 0, last = 15;
    while (first < 15 && a[first] == b[first])
        first++;
    while (last > first && a[last] == b[last])
        last--;
    *offset_out = first - 16;
    *length_out = (size_t)(last - first + 1);
    *expected_out = expected[first / 8];
    *found_out = found[first / 8];
}

/* --- pools come and go ---------------------------------------------------------------------- */

/* Gives a new or dormant pool its memory. */
static bool pool_wake(struct hfi_middle_pool *pool, size_t slices, unsigned home)
    HF_REQUIRES(pool->lock) {
    bool zero;
    hf_heap *heap = pool->heap;
    uint32_t units = (uint32_t)slices * UNITS_PER_SLICE;
    size_t tables = hfi_fit_meta_size(units), bitmaps = 4 * (size_t)words_of(units) * 8;
    if (!hfi_heap_charge(heap, slices * HFI_SLICE)) return false;
    char *meta = hfi_meta_alloc(tables + bitmaps);
    char *base = meta != NULL ? hfi_segment_take(HFI_ZONE_SMALL, slices, 1, home, &zero) : NULL;
    if (base == NULL) {
        hfi_meta_free(meta, tables + bitmaps);
        hfi_heap_discharge(heap, slices * HFI_SLICE);
        return false;
    }
    uint64_t splits = pool->fit.splits, coalesces = pool->fit.coalesces;
    hfi_fit_init(&pool->fit, units, (enum hfi_fit_order)heap->options.fit, meta);
    pool->fit.splits = splits;
    pool->fit.coalesces = coalesces;
    hfi_middle_room_note(pool);
    pool->aged = (uint64_t *)(meta + tables);
    pool->purged = pool->aged + words_of(units);
    pool->shifted = pool->purged + words_of(units);
    pool->stamped = pool->shifted + words_of(units);
    pool->meta_size = tables + bitmaps;
    hfi_poke(pool->base, base);
    pool->slices = slices;
    pool->live = 0;
    pool->kept_count = pool->kept_units = 0;
    pool->fresh = zero ? 0 : units;
    hfi_unit_put(pool->purged, 0, zero);
    hfi_pagemap_set(base, slices, &pool->owner, 0);
    return true;
}

static size_t pool_sleep(struct hfi_middle_pool *pool) HF_REQUIRES(pool->lock) {
    size_t bytes = pool->slices * HFI_SLICE;
    hfi_pagemap_set(pool->base, pool->slices, NULL, 0);
    hfi_segment_give(pool->base, pool->slices, !hfi_unit_get(pool->purged, 0));
    hfi_meta_free(pool->fit.length, pool->meta_size);
    hfi_heap_discharge(pool->heap, bytes);
    uint64_t splits = pool->fit.splits, coalesces = pool->fit.coalesces;
    pool->fit = (struct hfi_fit){.splits = splits, .coalesces = coalesces};
    hfi_middle_room_note(pool);
    hfi_poke(pool->base, NULL);
    pool->slices = 0;
    pool->kept_count = pool->kept_units = 0;
    return bytes;
}

/* A pool with room for `units`, made or woken. */
static struct hfi_middle_pool *pool_make(hf_heap *heap, uint32_t units, unsigned home) {
    struct hfi_middle *middle = heap->middle;
    struct hfi_middle_pool *made = NULL;
    hfi_lock_acquire(&middle->grow_lock);
    uint32_t count = atomic_load_explicit(&middle->count, memory_order_relaxed), awake = 0;
    struct hfi_middle_pool *dormant = NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct hfi_middle_pool *pool =
            atomic_load_explicit(&middle->pools[i], memory_order_relaxed);
        if (hfi_peek(pool->base) != NULL)
            awake++;
        else if (dormant == NULL)
            dormant = pool;
    }
    size_t slices = awake < 3 ? (size_t)POOL_SLICES_FIRST << awake : POOL_SLICES_MOST;
    size_t least = (units + UNITS_PER_SLICE - 1) / UNITS_PER_SLICE;
    if (slices < least) slices = least;
    if (slices > POOL_SLICES_MOST) slices = POOL_SLICES_MOST;
    if (middle->pools == NULL) middle->pools = hfi_meta_alloc(POOLS_SIZE);
    if (dormant == NULL && count < POOLS_MAX && middle->pools != NULL) {
        dormant = hfi_meta_alloc(sizeof *dormant);
        if (dormant != NULL) {
            dormant->owner.kind = HFI_OWNER_MIDDLE;
            dormant->heap = heap;
            dormant->number = count + 1;
            hfi_lock_init(&dormant->lock, HFI_RANK_MIDDLE);
            /* SYNC(middle.count): publishes the pool; pairs with the acquire in pool_at. */
            atomic_store_explicit(&middle->pools[count], dormant, memory_order_release);
            atomic_store_explicit(&middle->count, count + 1, memory_order_release);
        }
    }
    if (dormant != NULL) {
        hfi_lock_acquire(&dormant->lock);
        if (pool_wake(dormant, slices, home) || (slices > least && pool_wake(dormant, least, home)))
            made = dormant;
        hfi_lock_release(&dormant->lock);
    }
    hfi_lock_release(&middle->grow_lock);
    return made;
}

/* --- blocks --------------------------------------------------------------------------------- */

struct want {
    uint32_t units, align, offset;
    bool shifted;
};

/* The units up to `end` are in use from now on. */
static void fresh_end(struct hfi_middle_pool *pool, uint32_t end) HF_REQUIRES(pool->lock) {
    if (pool->fresh < end) pool->fresh = end;
}

static void *pool_take(struct hfi_middle_pool *pool, const struct want *want, size_t *extent_out,
                       bool *zero_out, bool *written_out) HF_REQUIRES(pool->lock) {
    if (pool->base == NULL || pool->quarantined) return NULL;
    uint32_t start = hfi_fit_take(&pool->fit, want->units, want->align, want->offset);
    hfi_middle_room_note(pool);
    if (start == HFI_FIT_NONE) return NULL;
    uint32_t after = start + want->units;
    /* Somebody wrote to a block after its free: not this caller's to have. */
    if (hfi_stamp_take(pool, start, after) != HFI_FIT_NONE) {
        (void)hfi_fit_give(&pool->fit, start);
        *written_out = true;
        return NULL;
    }
    hfi_unit_put(pool->shifted, start, want->shifted);
    *zero_out = start >= pool->fresh;
    if (hfi_fit_is_free(&pool->fit, after)) {
        hfi_unit_put(pool->aged, after, false);
        hfi_unit_put(pool->purged, after, *zero_out);
    }
    pool->live++;
    fresh_end(pool, after);
    char *payload = hfi_middle_payload(pool, start);
    *extent_out = hfi_middle_extent(pool, start);
    hfi_middle_header_write(payload);
    return payload;
}

void hfi_middle_note_warm(hf_heap *heap, ptrdiff_t bytes) {
    atomic_fetch_add_explicit(&heap->middle->warm, (size_t)bytes, memory_order_relaxed);
}

/* Before more is mapped, what is kept makes room. True if there was any. */
static bool drop_kept(hf_heap *heap) {
    struct hfi_middle_pool *pool;
    bool any = false;
    for (unsigned i = 0; (pool = hfi_middle_pool_at(heap, i)) != NULL; i++) {
        hfi_lock_acquire(&pool->lock);
        any |= pool->kept_count != 0;
        hfi_kept_drop(pool, HFI_MIDDLE_KEPT);
        hfi_lock_release(&pool->lock);
    }
    return any;
}

void *hfi_middle_alloc(hf_heap *heap, struct hfi_tcache *tc, size_t size, size_t alignment,
                       size_t *extent_out, bool *zero_out) {
    struct hfi_middle *middle = heap->middle;
    struct want want = {.align = 1, .shifted = alignment > 16};
    size_t lead = want.shifted ? HFI_MIDDLE_UNIT : HFI_MIDDLE_HEADER;
    if (size == 0) size = 1; /* the payload's address is inside the block */
    want.units = (uint32_t)((lead + size + HFI_MIDDLE_UNIT - 1) / HFI_MIDDLE_UNIT);
    if (alignment > HFI_MIDDLE_UNIT) {
        /* The payload is one unit behind the start. Pools begin at a slice, so alignments up to a
         * slice are alignments of unit numbers. */
        want.align = (uint32_t)(alignment / HFI_MIDDLE_UNIT);
        want.offset = 1;
    }
    unsigned home = tc != NULL ? tc->home : 0;
    unsigned first = tc != NULL ? tc->middle_home % middle->spread : 0;
    for (unsigned attempt = 0; attempt < 4; attempt++) {
        uint32_t count = atomic_load_explicit(&middle->count, memory_order_acquire);
        struct hfi_middle_pool *busy = NULL;
        for (uint32_t i = 0; i < count; i++) {
            struct hfi_middle_pool *pool = hfi_middle_pool_at(heap, (first + i) % count);
            /* A hint: too old a value costs a look or a new pool, not correctness. */
            if (hfi_peek(pool->room) < want.units) continue;
            if (!hfi_lock_try(&pool->lock)) {
                if (busy == NULL) busy = pool;
                continue;
            }
            bool written = false;
            void *payload = pool_take(pool, &want, extent_out, zero_out, &written);
            bool damaged = pool->fit.damaged && !pool->quarantined;
            hfi_lock_release(&pool->lock);
            if (payload != NULL) return payload;
            if (damaged) hfi_report_metadata(heap, &pool->owner, pool->base, "malloc");
            if (written) (void)hfi_report_middle_written(pool, "malloc");
        }
        if (busy != NULL) {
            hfi_lock_acquire(&busy->lock);
            bool written = false;
            void *payload = pool_take(busy, &want, extent_out, zero_out, &written);
            hfi_lock_release(&busy->lock);
            if (payload != NULL) return payload;
            if (written) (void)hfi_report_middle_written(busy, "malloc");
        }
        if (attempt == 0 && drop_kept(heap)) continue;
        if (pool_make(heap, want.units + want.align, home) == NULL) return NULL;
    }
    return NULL;
}

/* The start of the block whose payload this is; the caller verified that it is one. */
static uint32_t start_of(const struct hfi_middle_pool *pool, const void *payload) {
    return hfi_middle_unit(pool, (const char *)payload - HFI_MIDDLE_HEADER);
}

void hfi_middle_free(struct hfi_middle_pool *pool, void *payload) {
    size_t extent = 0;
    hfi_lock_acquire(&pool->lock);
    if (!pool->quarantined) {
        uint32_t start = start_of(pool, payload);
        extent = hfi_middle_extent(pool, start);
        if (pool->heap->trailer)
            hfi_stamp_put(pool, start, pool->fit.length[start], hfi_unit_get(pool->shifted, start));
        start = hfi_fit_give(&pool->fit, start);
        hfi_middle_room_note(pool);
        hfi_unit_put(pool->aged, start, false);
        hfi_unit_put(pool->purged, start, false);
        pool->live--;
    }
    hfi_lock_release(&pool->lock);
    atomic_fetch_add_explicit(&pool->heap->middle->warm, extent, memory_order_relaxed);
    hfi_reclaim_note_frees(pool->heap, 1);
}

enum hfi_middle_where hfi_middle_find(struct hfi_middle_pool *pool, const void *address,
                                      void **payload_out, size_t *extent_out) {
    enum hfi_middle_where where = HFI_MIDDLE_FREE;
    bool used = false;
    hfi_lock_acquire(&pool->lock);
    if (pool->base != NULL && (const char *)address >= pool->base &&
        (size_t)((const char *)address - pool->base) < pool->slices * HFI_SLICE) {
        uint32_t start = hfi_fit_find(&pool->fit, hfi_middle_unit(pool, address), &used);
        if (used && !hfi_kept_has(pool, start)) {
            *payload_out = hfi_middle_payload(pool, start);
            *extent_out = hfi_middle_extent(pool, start);
            where = *payload_out != address                  ? HFI_MIDDLE_INSIDE
                    : !hfi_middle_header_whole(*payload_out) ? HFI_MIDDLE_DAMAGED
                                                             : HFI_MIDDLE_START;
        }
    }
    hfi_lock_release(&pool->lock);
    return where;
}

size_t hfi_middle_resize(struct hfi_middle_pool *pool, void *payload, size_t size) {
    size_t extent = 0;
    hfi_lock_acquire(&pool->lock);
    uint32_t start = start_of(pool, payload);
    size_t lead = hfi_middle_lead(pool, start);
    uint32_t units = (uint32_t)((lead + size + HFI_MIDDLE_UNIT - 1) / HFI_MIDDLE_UNIT);
    uint32_t old_end = start + pool->fit.length[start];
    /* What lies behind may be kept: then it makes room. */
    if (units > pool->fit.length[start] && hfi_kept_has(pool, old_end))
        hfi_kept_drop(pool, HFI_MIDDLE_KEPT);
    bool clean = pool->quarantined || hfi_stamp_take(pool, old_end, start + units) == HFI_FIT_NONE;
    if (!pool->quarantined && clean && hfi_fit_resize(&pool->fit, start, units)) {
        uint32_t after = start + units;
        if (hfi_fit_is_free(&pool->fit, after)) {
            hfi_unit_put(pool->aged, after, false);
            hfi_unit_put(pool->purged, after, false);
        }
        fresh_end(pool, after);
        extent = hfi_middle_extent(pool, start);
        hfi_middle_room_note(pool);
    }
    hfi_lock_release(&pool->lock);
    return extent;
}

bool hfi_middle_was(struct hfi_middle_pool *pool, const void *payload, size_t *extent_out) {
    hfi_lock_acquire(&pool->lock);
    bool was = hfi_stamp_is(pool, payload);
    *extent_out = was ? hfi_stamp_extent(pool, hfi_middle_unit(pool, payload)) : 0;
    hfi_lock_release(&pool->lock);
    return was;
}

bool hfi_middle_written(struct hfi_middle_pool *pool, struct hfi_middle_written *out) {
    hfi_lock_acquire(&pool->lock);
    uint32_t unit =
        pool->base == NULL || pool->quarantined ? HFI_FIT_NONE : hfi_stamp_broken(pool, 0);
    if (unit != HFI_FIT_NONE) {
        out->payload = hfi_stamp_payload(pool, unit);
        out->extent = hfi_stamp_extent(pool, unit);
        hfi_stamp_damage(pool, unit, &out->offset, &out->length, &out->expected);
        pool->quarantined = true;
        pool->fit.largest = 0;
    }
    hfi_lock_release(&pool->lock);
    return unit != HFI_FIT_NONE;
}

void hfi_middle_quarantine(struct hfi_middle_pool *pool) {
    hfi_lock_acquire(&pool->lock);
    pool->quarantined = true;
    pool->fit.largest = 0;
    hfi_middle_room_note(pool);
    hfi_lock_release(&pool->lock);
}

/* --- decay, figures, end -------------------------------------------------------------------- */

#define PURGE_WRITTEN SIZE_MAX /* a stamp is damaged: the pages are evidence */

/* Whole pages of a free block, first page kept out if a neighbour's bytes share it. */
static size_t purge_free(struct hfi_middle_pool *pool, uint32_t start, uint32_t length) {
    uintptr_t from = (uintptr_t)pool->base + start * HFI_MIDDLE_UNIT;
    uintptr_t to = from + length * HFI_MIDDLE_UNIT;
    from = (from + HFI_PAGE - 1) & ~(uintptr_t)(HFI_PAGE - 1);
    to &= ~(uintptr_t)(HFI_PAGE - 1);
    if (to <= from) return 0;
    uint32_t first = (uint32_t)((from - (uintptr_t)pool->base) / HFI_MIDDLE_UNIT);
    uint32_t last = (uint32_t)((to - (uintptr_t)pool->base) / HFI_MIDDLE_UNIT);
    if (hfi_stamp_take(pool, first, last) != HFI_FIT_NONE) return PURGE_WRITTEN;
    hfi_os_purge((void *)from, to - from);
    return to - from;
}

static size_t pool_reclaim(struct hfi_middle_pool *pool, bool force, bool *more_out,
                           bool *written_out) HF_REQUIRES(pool->lock) {
    size_t given = 0;
    uint32_t at = 0, length;
    bool used;
    if (pool->base == NULL || pool->quarantined) return 0;
    *more_out |= hfi_kept_tick(pool, force);
    for (; hfi_fit_next(&pool->fit, at, &length, &used); at += length) {
        /* What is not free beyond doubt keeps its memory; the next malloc here reports. */
        if (!hfi_fit_whole(&pool->fit, at)) {
            pool->fit.damaged = true;
            return given;
        }
        if (used || hfi_unit_get(pool->purged, at)) continue;
        if (!force && !hfi_unit_get(pool->aged, at)) {
            hfi_unit_put(pool->aged, at, true);
            *more_out = true;
            continue;
        }
        size_t purged = purge_free(pool, at, length);
        if (purged == PURGE_WRITTEN) {
            *written_out = true;
            continue;
        }
        given += purged;
        hfi_unit_put(pool->purged, at, true);
    }
    if (pool->live == 0 && hfi_unit_get(pool->purged, 0)) (void)pool_sleep(pool);
    return given;
}

size_t hfi_middle_reclaim(hf_heap *heap, bool force, bool *more_out) {
    size_t given = 0;
    struct hfi_middle_pool *pool;
    if (force) atomic_store_explicit(&heap->middle->warm, 0, memory_order_relaxed);
    for (unsigned i = 0; (pool = hfi_middle_pool_at(heap, i)) != NULL; i++) {
        hfi_lock_acquire(&pool->lock);
        bool written = false;
        given += pool_reclaim(pool, force, more_out, &written);
        hfi_lock_release(&pool->lock);
        if (written) (void)hfi_report_middle_written(pool, "reclaim");
    }
    hfi_segment_note_returned(given);
    return given;
}

bool hfi_middle_view(struct hfi_middle_pool *pool, uint32_t *at, hf_view_block *block_out,
                     size_t *extent_out, uint64_t *note_out, bool *damaged_out) {
    uint32_t length;
    bool used;
    if (pool->base == NULL || !hfi_fit_next(&pool->fit, *at, &length, &used)) return false;
    *block_out = (hf_view_block){.address = pool->base + *at * HFI_MIDDLE_UNIT,
                                 .size = length * HFI_MIDDLE_UNIT,
                                 .class_size = length * HFI_MIDDLE_UNIT,
                                 .tier = HF_TIER_MIDDLE,
                                 .owner = pool->number,
                                 .state = used                ? HF_BLOCK_LIVE
                                          : pool->quarantined ? HF_BLOCK_QUARANTINED
                                                              : HF_BLOCK_FREE};
    *extent_out = block_out->size;
    *note_out = HFI_NOTE_MAX + 1;
    *damaged_out = false;
    if (used) {
        char *payload = hfi_middle_payload(pool, *at);
        *extent_out = hfi_middle_extent(pool, *at);
        block_out->address = payload;
        block_out->size = *extent_out;
        if (hfi_kept_has(pool, *at)) {
            block_out->state = HF_BLOCK_CACHED;
        } else if (pool->heap->trailer) {
            *note_out = hfi_block_peek_note(payload, *extent_out);
            bool freed = hfi_block_peek_note_freed(payload, *extent_out) <= HFI_NOTE_MAX;
            /* Between its mark and its give, a block that another thread frees looks freed. */
            if (freed) block_out->state = HF_BLOCK_CACHED;
            *damaged_out =
                !freed && (*note_out > HFI_NOTE_MAX || !hfi_middle_header_whole(payload));
            if (*note_out <= HFI_NOTE_MAX) {
                block_out->size = hfi_block_size(*extent_out, *note_out);
                block_out->domain = (int)(*note_out >> HFI_DOMAIN_SHIFT) & 3;
            }
        }
    }
    *at += length;
    return true;
}

size_t hfi_middle_warm(hf_heap *heap) {
    size_t warm = atomic_load_explicit(&heap->middle->warm, memory_order_relaxed);
    return warm <= PTRDIFF_MAX ? warm : 0; /* reset between a block's keeping and its reuse */
}

void hfi_middle_sum(hf_heap *heap, struct hfi_middle_figures *out) {
    struct hfi_middle_pool *pool;
    *out = (struct hfi_middle_figures){.meta_bytes = sizeof *heap->middle};
    if (hfi_middle_pool_at(heap, 0) != NULL) out->meta_bytes += POOLS_SIZE;
    for (unsigned i = 0; (pool = hfi_middle_pool_at(heap, i)) != NULL; i++) {
        hfi_lock_acquire(&pool->lock);
        size_t bytes = pool->slices * HFI_SLICE;
        out->meta_bytes += sizeof *pool + (pool->base != NULL ? pool->meta_size : 0);
        out->splits += pool->fit.splits;
        out->coalesces += pool->fit.coalesces;
        out->mapped += bytes;
        out->pools += pool->base != NULL;
        out->quarantined_pools += pool->quarantined;
        size_t kept = pool->kept_units * HFI_MIDDLE_UNIT;
        out->live_blocks += pool->live - pool->kept_count;
        out->kept_bytes += kept;
        size_t live_bytes = bytes - pool->fit.free_units * HFI_MIDDLE_UNIT;
        if (pool->base == NULL) live_bytes = 0;
        out->live_bytes += live_bytes - kept;
        if (pool->quarantined) out->quarantined_bytes += bytes - live_bytes;
        out->lock_waits += pool->lock.waits;
        out->lock_wait_ns += pool->lock.wait_ns;
        hfi_lock_release(&pool->lock);
    }
}

void hfi_middle_fork(hf_heap *heap, void (*act)(hfi_lock *), bool grow) {
    struct hfi_middle_pool *pool;
    if (grow) {
        act(&heap->middle->grow_lock);
        return;
    }
    for (unsigned i = 0; (pool = hfi_middle_pool_at(heap, i)) != NULL; i++)
        act(&pool->lock);
}

void hfi_middle_destroy(hf_heap *heap) {
    struct hfi_middle_pool *pool;
    for (unsigned i = 0; (pool = hfi_middle_pool_at(heap, i)) != NULL; i++) {
        hfi_lock_acquire(&pool->lock);
        bool awake = pool->base != NULL;
        if (awake) hfi_unit_put(pool->purged, 0, false);
        if (awake) (void)pool_sleep(pool);
        hfi_lock_release(&pool->lock);
        hfi_meta_free(pool, sizeof *pool);
    }
    hfi_meta_free(heap->middle->pools, POOLS_SIZE);
    hfi_meta_free(heap->middle, sizeof *heap->middle);
}
