/* walk.c - the viewer, the checker and the exact sums: three users of one walk.
 *
 *   small:   64 blocks at a time under the pool's lock      middle:  64 blocks of a pool likewise
 *   large:   from the list of live blocks, each looked at under the lock
 *
 * The check runs at the end of every program, sums whenever somebody asks for figures: both look at
 * small blocks in place, and only what may be damaged becomes a record.
 * Invariants  owns nothing, changes nothing (Squirrel's viewer).
 * Threads     each element was true when it was looked at; memory is read under the lock that keeps it
 *             there. A block in transit between its owner's instructions looks damaged: the check
 *             looks again before it says so.
 * Talks to    slab, fit, large, block.   Called by api, stats.
 * Fails with  nothing; what vanished between two looks is left out. */
#include "walk.h"

#include <string.h>

#include "base/report.h"
#include "heap_state.h"
#include "large.h"
#include "malloc.h"
#include "middle.h"
#include "pool.h"
#include "reclaim.h"
#include "tcache.h"

/* What a walk found; address is the payload. */
struct found {
    hf_view_block block;
    struct hfi_owner *owner;
    void *place;      /* small: the pool; large: the segment                             */
    uint32_t unit;    /* middle: where the block begins                                  */
    size_t extent;    /* payload to trailer's end                                        */
    bool quarantined; /* its slab or pool is out of service                              */
    bool suspect;     /* should be live or freed and whole, is not: may be on its way    */
};
typedef int (*found_visitor)(hf_heap *heap, const struct found *found, void *context);

static bool note_fits(size_t extent, uint64_t note) {
    size_t kept = HFI_TRAILER + ((note & HFI_NOTE_SITE) ? HFI_SITE_WORD : 0);
    return (note & HFI_SLACK_MAX) + kept <= extent;
}

/* A live block's pattern and its note say the same. */
static bool live_is_whole(const char *payload, size_t extent, uint64_t note) {
    return note_fits(extent, note) &&
           hfi_block_peek_pattern(hfi_block_limit(payload, extent, note), note & HFI_SLACK_MAX);
}

static void judge_live(struct found *found, const char *payload, uint64_t note) {
    found->suspect = !live_is_whole(payload, found->extent, note);
    if (!note_fits(found->extent, note)) return;
    found->block.size = hfi_block_size(found->extent, note);
    found->block.domain = (int)(note >> HFI_DOMAIN_SHIFT) & 3;
}

/* Under the pool's lock: the slab stays where it is, its memory can be read. */
static void classify_small(const struct hfi_slab *slab, uint32_t index, struct found *out) {
    const char *block = hfi_slab_block(slab, index);
    size_t extent = slab->block_size;
    bool here = hfi_slab_has(slab, index);
    *out = (struct found){.extent = extent,
                          .owner = (struct hfi_owner *)&slab->owner,
                          .place = slab->pool,
                          .quarantined = slab->state == HFI_SLAB_QUARANTINED};
    out->block = (hf_view_block){.address = block,
                                 .size = extent,
                                 .class_size = extent,
                                 .tier = HF_TIER_SMALL,
                                 .owner = slab->number,
                                 .state = here ? HF_BLOCK_FREE : HF_BLOCK_LIVE};
    if (slab->pool->heap->trailer && index < slab->fresh) {
        uint64_t note = hfi_block_peek_note(block, extent);
        bool purged = slab->purged && hfi_peek64(hfi_block_trailer(block, extent)) == 0;
        bool freed = purged || hfi_block_peek_note_freed(block, extent) <= HFI_NOTE_MAX;
        if (!here && note <= HFI_NOTE_MAX) {
            judge_live(out, block, note);
        } else if (freed) {
            if (!here) out->block.state = HF_BLOCK_CACHED;
            out->suspect = !hfi_freed_whole(slab->pool->heap, block, extent);
        } else {
            out->suspect = true;
        }
    }
    if (out->quarantined && out->block.state != HF_BLOCK_LIVE)
        out->block.state = HF_BLOCK_QUARANTINED;
}

/* Surely not suspect. Under the pool's lock; the block was handed out once. */
static inline bool small_is_whole(const struct hfi_slab *slab, uint32_t index) {
    const char *block = hfi_slab_block(slab, index);
    size_t extent = slab->block_size;
    uint64_t note = hfi_block_peek_note(block, extent);
    if (note <= HFI_NOTE_MAX)
        return !hfi_slab_has(slab, index) && live_is_whole(block, extent, note);
    return hfi_block_peek_note_freed(block, extent) <= HFI_NOTE_MAX &&
           (slab->pool->heap->fill ? hfi_block_filled_whole(block, extent)
                                   : hfi_peek64(block) == hfi_block_pattern);
}

enum { BATCH = 64, GLANCES = 512 };

/* Where a walk of a pool stands. No slab left the pool while `gone` is unchanged: then `slab` is
 * still there. */
struct slab_cursor {
    struct hfi_slab *slab;
    uint64_t number, gone;
    uint32_t index;
};

/* Looks at one block; false: the walk ends here, and goes on from it at the next call. */
typedef bool (*glance)(const struct hfi_slab *slab, uint32_t index, void *context);

/* Looks at the next blocks of a pool, newest slab first: all, or those that were handed out once. The
 * lock is held for GLANCES of them at most. False if there are no more behind them. */
static inline __attribute__((always_inline)) bool
slab_run(struct hfi_pool *pool, struct slab_cursor *at, bool all, glance look, void *context) {
    bool more = true;
    hfi_lock_acquire(&pool->lock);
    if (at->slab == NULL || pool->slabs_gone != at->gone) {
        struct hfi_slab *slab = pool->all;
        while (slab != NULL && slab->number > at->number)
            slab = slab->all_next;
        if (slab != NULL && slab->number != at->number) at->index = 0;
        at->slab = slab;
        at->gone = pool->slabs_gone;
    }
    for (unsigned glances = 0; at->slab != NULL && more && glances < GLANCES; glances++) {
        const struct hfi_slab *slab = at->slab;
        at->number = slab->number;
        if (at->index < (all ? slab->count : slab->fresh)) {
            more = look(slab, at->index++, context);
            continue;
        }
        at->slab = slab->all_next;
        at->number--; /* at the end: no slab is older */
        at->index = 0;
    }
    more = at->slab != NULL;
    hfi_lock_release(&pool->lock);
    return more;
}

struct batch {
    size_t count;
    struct found found[BATCH];
};

static bool take_any(const struct hfi_slab *slab, uint32_t index, void *context) {
    struct batch *batch = context;
    classify_small(slab, index, &batch->found[batch->count++]);
    return batch->count < BATCH;
}

static bool take_suspect(const struct hfi_slab *slab, uint32_t index, void *context) {
    return small_is_whole(slab, index) || take_any(slab, index, context);
}

enum scope { ALL, SUSPECTS };

static void walk_pool(struct hfi_pool *pool, enum scope scope, found_visitor visit, void *context,
                      int *stop) {
    struct slab_cursor at = {.number = UINT64_MAX};
    struct batch batch;
    bool more = true;
    while (more && *stop == 0) {
        batch.count = 0;
        more = scope == ALL ? slab_run(pool, &at, true, take_any, &batch)
                            : slab_run(pool, &at, false, take_suspect, &batch);
        for (size_t i = 0; i < batch.count && *stop == 0; i++)
            *stop = visit(pool->heap, &batch.found[i], context);
    }
}

/* Under the pool's lock. False at the end of the pool. */
static bool classify_middle(struct hfi_middle_pool *pool, uint32_t *at, struct found *out) {
    uint64_t note;
    *out = (struct found){.owner = &pool->owner, .unit = *at, .quarantined = pool->quarantined};
    if (!hfi_middle_view(pool, at, &out->block, &out->extent, &note, &out->suspect)) return false;
    if (note <= HFI_NOTE_MAX && !out->suspect) judge_live(out, out->block.address, note);
    return true;
}

/* Blocks may have been joined or split since the last look: the next start from `at` on. */
static uint32_t block_from(const struct hfi_middle_pool *pool, uint32_t at) {
    const struct hfi_fit *fit = &pool->fit;
    bool used;
    if (pool->base == NULL || at >= fit->units) return at;
    uint32_t start = hfi_fit_find(fit, at, &used);
    /* NONE: the tables are damaged. The walk ends or goes on as they say; the check reports them. */
    if (start == at || start == HFI_FIT_NONE) return at;
    return start + fit->length[start];
}

static void walk_middle(hf_heap *heap, struct hfi_middle_pool *pool, found_visitor visit,
                        void *context, int *stop) {
    struct found batch[BATCH];
    uint32_t at = 0;
    bool more = true;
    while (more && *stop == 0) {
        size_t count = 0;
        hfi_lock_acquire(&pool->lock);
        at = block_from(pool, at);
        while (count < BATCH && (more = classify_middle(pool, &at, &batch[count])))
            count++;
        hfi_lock_release(&pool->lock);
        for (size_t i = 0; i < count && *stop == 0; i++)
            *stop = visit(heap, &batch[i], context);
    }
}

/* False if the block is gone. */
static bool classify_large(hf_heap *heap, const struct hfi_large_id *id, struct found *out) {
    const struct hfi_large *large = hfi_large_pin(heap, id->base, id->number);
    if (large == NULL) return false;
    *out = (struct found){.extent = large->extent, .owner = (struct hfi_owner *)&large->owner};
    out->place = large->base;
    out->block = (hf_view_block){.address = large->payload,
                                 .size = large->extent,
                                 .class_size = large->slices * HFI_SLICE,
                                 .tier = HF_TIER_LARGE,
                                 .owner = large->number,
                                 .state = HF_BLOCK_LIVE};
    if (heap->trailer) {
        uint64_t note = hfi_block_peek_note(large->payload, large->extent);
        if (note <= HFI_NOTE_MAX) {
            judge_live(out, large->payload, note);
            out->suspect |= !hfi_large_header_whole(large);
        } else if (hfi_block_peek_note_freed(large->payload, large->extent) <= HFI_NOTE_MAX) {
            out->block.state = HF_BLOCK_CACHED; /* another thread is freeing it */
        } else {
            out->suspect = true;
        }
    }
    hfi_large_unpin(heap);
    return true;
}

static void walk_large(hf_heap *heap, found_visitor visit, void *context, int *stop) {
    struct hfi_large_id batch[32];
    struct found found;
    uint64_t after = 0;
    size_t count;
    while (*stop == 0 && (count = hfi_large_list(heap, after, batch, 32)) != 0) {
        for (size_t i = 0; i < count && *stop == 0; i++) {
            after = batch[i].number;
            if (classify_large(heap, &batch[i], &found)) *stop = visit(heap, &found, context);
        }
    }
}

static void walk_larger(hf_heap *heap, found_visitor visit, void *context, int *stop) {
    struct hfi_middle_pool *pool;
    for (unsigned i = 0; *stop == 0 && (pool = hfi_middle_pool_at(heap, i)) != NULL; i++)
        walk_middle(heap, pool, visit, context, stop);
    if (*stop == 0) walk_large(heap, visit, context, stop);
}

/* All blocks, or at least those that are suspect. */
static void walk(hf_heap *heap, enum scope scope, found_visitor visit, void *context) {
    int stop = 0;
    for (unsigned i = 0; i < heap->node_count * HFI_CLASS_COUNT && stop == 0; i++)
        if (i % HFI_CLASS_COUNT != 0) walk_pool(&heap->pools[i], scope, visit, context, &stop);
    walk_larger(heap, visit, context, &stop);
}

/* --- view ----------------------------------------------------------------------------------- */

struct view_call {
    hf_visitor visitor;
    void *context;
};

static int view_one(hf_heap *heap, const struct found *found, void *context) {
    (void)heap;
    struct view_call *call = context;
    return call->visitor(&found->block, call->context);
}

hf_status hf_heap_view(hf_heap *heap, hf_visitor visitor, void *context) {
    if (heap == NULL || visitor == NULL) return HF_E_INVALID;
    struct view_call call = {visitor, context};
    walk(heap, ALL, view_one, &call);
    return HF_OK;
}

/* --- check ---------------------------------------------------------------------------------- */

/* The block as it is now; false if it is gone or was on its way when it was seen. */
static bool still_suspect(hf_heap *heap, const struct found *found) {
    struct found now = {.suspect = false};
    if (found->block.tier == HF_TIER_SMALL) {
        struct hfi_pool *pool = found->place;
        const struct hfi_slab *slab = (const struct hfi_slab *)found->owner;
        hfi_lock_acquire(&pool->lock);
        if (hfi_pagemap_owner(found->block.address) == found->owner && slab->pool == pool &&
            slab->number == found->block.owner)
            classify_small(slab, hfi_slab_index(slab, found->block.address), &now);
        hfi_lock_release(&pool->lock);
    } else if (found->block.tier == HF_TIER_MIDDLE) {
        struct hfi_middle_pool *pool = (struct hfi_middle_pool *)found->owner;
        uint32_t at = found->unit;
        hfi_lock_acquire(&pool->lock);
        if (hfi_fit_is_used(&pool->fit, at)) (void)classify_middle(pool, &at, &now);
        hfi_lock_release(&pool->lock);
    } else {
        struct hfi_large_id id = {found->place, found->block.owner};
        if (!classify_large(heap, &id, &now)) return false;
    }
    return now.suspect && !now.quarantined && now.block.address == found->block.address;
}

enum { SUSPECTS_MOST = 64 };

struct check_call {
    size_t count;
    uint32_t excused; /* blocks that threads lost in a fork may have left half way */
    uint32_t suspects;
    struct found suspect[SUSPECTS_MOST];
};

/* Nobody else can have a block on its way. */
static bool alone(void) {
    unsigned count = hfi_os_thread_count();
    return count != 0 && count <= 1u + hfi_reclaim_thread_runs();
}

/* What a thread that exists no more had in its hands: between two stores for ever. */
static bool was_in_transit(const struct found *found) {
    if (found->block.tier != HF_TIER_SMALL || found->block.state == HF_BLOCK_CACHED) return true;
    return hfi_is_being_sealed(found->block.address, found->extent);
}

/* A block that another thread is handing out or taking back looks wrong for a few instructions, or
 * for as long as that thread is off its processor in the middle of them. Damage stays: what looks
 * wrong for a second is reported. All suspects share that second. */
static void settle(hf_heap *heap, struct check_call *call) {
    static _Atomic uint32_t never;
    enum { LOOKS = 500, LOOK_NS = 2000000 };
    for (int look = 0; look < LOOKS && call->suspects != 0; look++) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < call->suspects; i++)
            if (still_suspect(heap, &call->suspect[i])) call->suspect[kept++] = call->suspect[i];
        call->suspects = kept;
        if (kept == 0 || alone()) break;
        (void)hfi_os_futex_wait(&never, 0, look < 4 ? 1000 : LOOK_NS);
    }
    for (uint32_t i = 0; i < call->suspects; i++) {
        const struct found *found = &call->suspect[i];
        /* One report for a slab or pool: with it the rest is out of service. */
        if (!still_suspect(heap, found)) continue;
        if (call->excused != 0 && was_in_transit(found)) {
            call->excused--;
            continue;
        }
        if (found->block.state == HF_BLOCK_LIVE)
            hfi_diagnose(heap, found->block.address, "check");
        else
            hfi_report_written(heap, found->block.address, found->block.class_size, "check");
        call->count++;
    }
    call->suspects = 0;
}

static int check_one(hf_heap *heap, const struct found *found, void *context) {
    struct check_call *call = context;
    /* What is out of service was reported when it went. */
    if (!found->suspect || found->quarantined) return 0;
    call->suspect[call->suspects++] = *found;
    if (call->suspects == SUSPECTS_MOST) settle(heap, call);
    return 0;
}

/* A slab of the pool whose bitmap and counters disagree; NULL if all agree. */
static struct hfi_slab *slab_broken(struct hfi_pool *pool) {
    struct hfi_slab *broken = NULL;
    hfi_lock_acquire(&pool->lock);
    for (struct hfi_slab *slab = pool->all; slab != NULL && broken == NULL; slab = slab->all_next)
        if (slab->state != HFI_SLAB_QUARANTINED && !hfi_slab_check(slab)) broken = slab;
    hfi_lock_release(&pool->lock);
    return broken;
}

/* The bookkeeping itself: what is broken goes out of service, so each is found once. */
static size_t check_metadata(hf_heap *heap) {
    size_t count = 0;
    for (unsigned i = 0; i < heap->node_count * HFI_CLASS_COUNT; i++) {
        struct hfi_slab *slab;
        if (i % HFI_CLASS_COUNT == 0) continue;
        while ((slab = slab_broken(&heap->pools[i])) != NULL) {
            hfi_report_metadata(heap, &slab->owner, slab->base, "check");
            count++;
        }
    }
    struct hfi_middle_pool *pool;
    for (unsigned i = 0; (pool = hfi_middle_pool_at(heap, i)) != NULL; i++) {
        hfi_lock_acquire(&pool->lock);
        bool broken = pool->base != NULL && !pool->quarantined && !hfi_fit_check(&pool->fit);
        hfi_lock_release(&pool->lock);
        if (!broken) continue;
        hfi_report_metadata(heap, &pool->owner, pool->base, "check");
        count++;
    }
    for (unsigned i = 0; heap->trailer && (pool = hfi_middle_pool_at(heap, i)) != NULL; i++)
        count += hfi_report_middle_written(pool, "check");
    return count;
}

hf_status hf_heap_check(hf_heap *heap, size_t *found_out) {
    if (heap == NULL) return HF_E_INVALID;
    const char *before = hfi_found_by;
    if (before == NULL) hfi_found_by = "check";
    struct check_call call;
    call.count = check_metadata(heap);
    call.excused = hfi_threads_lost;
    call.suspects = 0;
    if (heap->trailer) {
        walk(heap, SUSPECTS, check_one, &call);
        settle(heap, &call);
    }
    hfi_found_by = before;
    if (found_out != NULL) *found_out = call.count;
    return call.count == 0 ? HF_OK : HF_E_CORRUPT;
}

/* --- sums ----------------------------------------------------------------------------------- */

/* What classify_small would call live. */
static bool sum_small(const struct hfi_slab *slab, uint32_t index, void *context) {
    struct hfi_live_sum *sum = context;
    const char *block = hfi_slab_block(slab, index);
    size_t extent = slab->block_size, size = extent;
    if (hfi_slab_has(slab, index)) return true;
    uint64_t note = hfi_block_peek_note(block, extent);
    if (note <= HFI_NOTE_MAX) {
        if (note_fits(extent, note)) size = hfi_block_size(extent, note);
    } else if (hfi_block_peek_note_freed(block, extent) <= HFI_NOTE_MAX ||
               (slab->purged && hfi_peek64(hfi_block_trailer(block, extent)) == 0)) {
        return true;
    }
    if (slab->state == HFI_SLAB_QUARANTINED) {
        sum->quarantined_live_bytes += size;
        sum->quarantined_live_extent += extent;
    } else {
        sum->small_blocks++;
        sum->small_bytes += size;
        sum->small_extent += extent;
    }
    return true;
}

static int sum_larger(hf_heap *heap, const struct found *found, void *context) {
    struct hfi_live_sum *sum = context;
    (void)heap;
    if (found->block.state != HF_BLOCK_LIVE) return 0;
    if (found->block.tier == HF_TIER_MIDDLE)
        sum->middle_bytes += found->block.size;
    else
        sum->large_bytes += found->block.size;
    return 0;
}

void hfi_walk_sum(hf_heap *heap, struct hfi_live_sum *out) {
    int stop = 0;
    *out = (struct hfi_live_sum){0};
    for (unsigned i = 0; heap->trailer && i < heap->node_count * HFI_CLASS_COUNT; i++) {
        struct slab_cursor at = {.number = UINT64_MAX};
        while (i % HFI_CLASS_COUNT != 0 && slab_run(&heap->pools[i], &at, false, sum_small, out)) {
        }
    }
    walk_larger(heap, sum_larger, out, &stop);
}
