/* walk.c - the viewer, the checker and the exact sums: three users of one walk.
 *
 *   small:   slab by slab, the bitmap copied under the pool's lock
 *   middle:  pool by pool, block by block      large: from the list of live blocks
 *
 * Invariants  owns nothing, changes nothing (Squirrel's viewer).
 * Threads     each element was true when its slab was looked at.
 * Talks to    slab, fit, large, block.   Called by api, stats.
 * Fails with  nothing; what vanished between two looks is left out. */
#include "walk.h"

#include <string.h>

#include "base/report.h"
#include "heap_state.h"
#include "large.h"
#include "middle.h"
#include "pool.h"

/* What a walk found; address is the payload. */
struct found {
    hf_view_block block;
    struct hfi_owner *owner;
    size_t extent;     /* payload to trailer's end            */
    uint64_t note;     /* of a live block                     */
    bool damaged;      /* should be live or freed, is neither */
};
typedef int (*found_visitor)(hf_heap *heap, const struct found *found, void *context);

static void classify_small(hf_heap *heap, const struct hfi_slab *slab, uint32_t index, bool here,
                           struct found *out) {
    const char *block = hfi_slab_block(slab, index);
    size_t extent = slab->block_size;
    *out = (struct found){.extent = extent};
    out->block = (hf_view_block){.address = block,
                                 .size = extent,
                                 .class_size = extent,
                                 .tier = HF_TIER_SMALL,
                                 .owner = slab->number,
                                 .state = here ? HF_BLOCK_FREE : HF_BLOCK_LIVE};
    out->note = HFI_NOTE_MAX + 1;
    if (heap->trailer && index < slab->fresh) {
        uint64_t live = hfi_block_note(block, extent);
        bool freed = hfi_block_note_freed(block, extent) <= HFI_NOTE_MAX;
        bool given_back = slab->purged && hfi_load64(hfi_block_trailer(block, extent)) == 0;
        if (live <= HFI_NOTE_MAX && !here) {
            out->note = live;
            out->block.size = hfi_block_size(extent, live);
            out->block.domain = (int)(live >> HFI_DOMAIN_SHIFT) & 3;
        } else if (!here && (freed || given_back)) {
            out->block.state = HF_BLOCK_CACHED;
        } else if (!freed && !given_back) {
            out->damaged = true;
        }
    }
    if (slab->state == HFI_SLAB_QUARANTINED && out->block.state != HF_BLOCK_LIVE)
        out->block.state = HF_BLOCK_QUARANTINED;
}

/* Visits the slab of `number` in a pool, or the next older one; its number, 0 at the end. */
static uint64_t walk_slab(struct hfi_pool *pool, uint64_t below, found_visitor visit, void *context,
                          int *stop) {
    uint64_t bits[HFI_SLAB_BLOCKS_MAX / 64];
    struct hfi_slab copy;
    struct found found;
    hfi_lock_acquire(&pool->lock);
    struct hfi_slab *slab = pool->all; /* newest first */
    while (slab != NULL && slab->number >= below) slab = slab->all_next;
    if (slab != NULL) {
        memcpy(&copy, slab, sizeof copy);
        memcpy(bits, slab->free, (slab->count + 63) / 64 * 8);
    }
    hfi_lock_release(&pool->lock);
    if (slab == NULL) return 0;
    for (uint32_t i = 0; i < copy.count && *stop == 0; i++) {
        classify_small(pool->heap, &copy, i, (bits[i / 64] >> (i % 64)) & 1, &found);
        found.owner = &slab->owner;
        *stop = visit(pool->heap, &found, context);
    }
    return copy.number;
}

static void walk_middle(hf_heap *heap, struct hfi_middle_pool *pool, found_visitor visit,
                        void *context, int *stop) {
    struct found batch[64];
    uint32_t at = 0;
    bool more = true;
    while (more && *stop == 0) {
        size_t count = 0;
        hfi_lock_acquire(&pool->lock);
        while (count < 64) {
            more = hfi_middle_view(pool, &at, &batch[count].block, &batch[count].extent,
                                   &batch[count].note, &batch[count].damaged);
            if (!more) break;
            batch[count++].owner = &pool->owner;
        }
        hfi_lock_release(&pool->lock);
        for (size_t i = 0; i < count && *stop == 0; i++) *stop = visit(heap, &batch[i], context);
    }
}

static void walk_large(hf_heap *heap, found_visitor visit, void *context, int *stop) {
    struct hfi_large batch[32];
    uint64_t after = 0;
    size_t count;
    while (*stop == 0 && (count = hfi_large_list(heap, after, batch, 32)) != 0) {
        for (size_t i = 0; i < count && *stop == 0; i++) {
            struct hfi_large *large = &batch[i];
            after = large->number;
            struct found found = {.note = HFI_NOTE_MAX + 1,
                                  .extent = large->extent,
                                  .owner = hfi_pagemap_owner(large->base)};
            found.block = (hf_view_block){.address = large->payload,
                                          .size = large->extent,
                                          .class_size = large->slices * HFI_SLICE,
                                          .tier = HF_TIER_LARGE,
                                          .owner = large->number,
                                          .state = HF_BLOCK_LIVE};
            /* It may have been freed since the list was read; then its trailer is not ours to read. */
            if (found.owner == NULL || found.owner->kind != HFI_OWNER_LARGE) continue;
            if (heap->trailer) {
                found.note = hfi_block_note(large->payload, large->extent);
                found.damaged = found.note > HFI_NOTE_MAX;
                if (!found.damaged) {
                    found.block.size = hfi_block_size(large->extent, found.note);
                    found.block.domain = (int)(found.note >> HFI_DOMAIN_SHIFT) & 3;
                }
            }
            *stop = visit(heap, &found, context);
        }
    }
}

static void walk(hf_heap *heap, found_visitor visit, void *context) {
    int stop = 0;
    for (unsigned i = 0; i < heap->node_count * HFI_CLASS_COUNT && stop == 0; i++) {
        uint64_t number = UINT64_MAX;
        if (i % HFI_CLASS_COUNT == 0) continue;
        while (stop == 0 && (number = walk_slab(&heap->pools[i], number, visit, context, &stop)) != 0) {
        }
    }
    struct hfi_middle_pool *pool;
    for (unsigned i = 0; stop == 0 && (pool = hfi_middle_pool_at(heap, i)) != NULL; i++)
        walk_middle(heap, pool, visit, context, &stop);
    if (stop == 0) walk_large(heap, visit, context, &stop);
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
    walk(heap, view_one, &call);
    return HF_OK;
}

/* --- check ---------------------------------------------------------------------------------- */

static int check_one(hf_heap *heap, const struct found *found, void *context) {
    size_t *count = context;
    const char *block = found->block.address;
    size_t extent = found->block.class_size;
    if (!heap->trailer) return 0;
    /* What went out of service was reported when it did. */
    if (found->owner == NULL || found->block.state == HF_BLOCK_QUARANTINED) return 0;
    bool small = found->block.tier == HF_TIER_SMALL;
    if (small && ((struct hfi_slab *)found->owner)->state == HFI_SLAB_QUARANTINED) return 0;
    /* So was the rest of a pool that went out of service, for the block that was damaged. */
    if (found->damaged && found->block.tier == HF_TIER_MIDDLE &&
        ((struct hfi_middle_pool *)found->owner)->quarantined)
        return 0;
    bool damaged = found->damaged;
    if (!damaged && found->note <= HFI_NOTE_MAX) {
        damaged = !hfi_block_pattern_whole(hfi_block_limit(block, found->extent, found->note),
                                           found->note & HFI_SLACK_MAX);
    }
    if (damaged) {
        if (found->block.state == HF_BLOCK_LIVE)
            hfi_diagnose(heap, block, HF_DOMAIN_LIBC, "check");
        else
            hfi_report_written(heap, block, extent, "check");
        *count += 1;
        return 0;
    }
    bool was_freed = found->block.state == HF_BLOCK_CACHED || found->block.state == HF_BLOCK_FREE;
    if (!small || !was_freed) return 0;
    const struct hfi_slab *slab = (const struct hfi_slab *)found->owner;
    uint32_t index = hfi_slab_index(slab, block);
    if (index >= slab->fresh) return 0;
    uint64_t head = hfi_load64(block);
    if (head == hfi_block_pattern || (head == 0 && slab->purged)) return 0;
    hfi_report_written(heap, block, extent, "check");
    *count += 1;
    return 0;
}

hf_status hf_heap_check(hf_heap *heap, size_t *found_out) {
    if (heap == NULL) return HF_E_INVALID;
    size_t count = 0;
    const char *before = hfi_found_by;
    if (before == NULL) hfi_found_by = "check";
    walk(heap, check_one, &count);
    hfi_found_by = before;
    if (found_out != NULL) *found_out = count;
    return count == 0 ? HF_OK : HF_E_CORRUPT;
}

/* --- sums ----------------------------------------------------------------------------------- */

static int sum_one(hf_heap *heap, const struct found *found, void *context) {
    struct hfi_live_sum *sum = context;
    (void)heap;
    if (found->block.state != HF_BLOCK_LIVE) return 0;
    if (found->block.tier == HF_TIER_MIDDLE) {
        sum->middle_bytes += found->block.size;
    } else if (found->block.tier == HF_TIER_LARGE) {
        sum->large_bytes += found->block.size;
    } else if (((struct hfi_slab *)found->owner)->state == HFI_SLAB_QUARANTINED) {
        sum->quarantined_live_bytes += found->block.size;
        sum->quarantined_live_extent += found->block.class_size;
    } else {
        sum->small_blocks++;
        sum->small_bytes += found->block.size;
        sum->small_extent += found->block.class_size;
    }
    return 0;
}

void hfi_walk_sum(hf_heap *heap, struct hfi_live_sum *out) {
    *out = (struct hfi_live_sum){0};
    walk(heap, sum_one, out);
}
