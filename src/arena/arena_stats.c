/* arena_stats.c - the account of an arena, its figures, and its blocks seen from outside.
 *
 *   mapped = in_use + slack + cached + free + meta
 *
 * Threads     any; under the lock. The cursor of an arena that is being used may be old.
 * Fails with  HF_E_INVALID, HF_E_CLOSED. */
#include <string.h>

#include "arena_state.h"

struct account {
    uint64_t used, tails, space, usable, recent, chunks, meta;
    uint64_t cached, free;
};

/* One walk over the chunks. Lock held. */
static struct account account_of(const struct hfi_arena *a) {
    struct account sum = {.meta = sizeof *a};
    const struct hfi_chunk *current = hfi_arena_current(a);
    bool behind = false;
    for (const struct hfi_chunk *chunk = a->first; chunk != NULL; chunk = chunk->next) {
        size_t space = chunk->usable - 2 * HFI_ARENA_EDGE, used = 0;
        if (chunk == current)
            used = hfi_arena_cursor(a) - (uintptr_t)chunk->space;
        else if (!behind)
            used = chunk->stopped - (uintptr_t)chunk->space;
        if (used > space) used = space; /* on the move at this moment */
        size_t high = atomic_load_explicit(&chunk->high_now, memory_order_relaxed);
        if (high < chunk->high_before) high = chunk->high_before;
        if (high < used) high = used;
        if (high > space) high = space;
        sum.used += used;
        sum.space += space;
        sum.usable += chunk->usable;
        sum.recent += high;
        sum.chunks++;
        sum.meta += 2 * HFI_ARENA_EDGE + sizeof *chunk;
        if (chunk != current && !behind) {
            sum.tails += space - used;
        } else {
            sum.cached += high - used;
            sum.free += space - high;
        }
        behind |= chunk == current;
    }
    sum.meta += a->record_region.committed;
    if (a->log != NULL) sum.meta += HF_ARENA_LOG_MAX * sizeof *a->log;
    return sum;
}

static uint64_t load(const _Atomic uint64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

hf_status hf_arena_stats(const hf_arena *arena, hf_stats *out) {
    struct hfi_arena *a = hfi_arena_of(arena);
    if (arena == NULL || out == NULL) return HF_E_INVALID;
    if (a->magic != HFI_ARENA_LIVE) return HF_E_CLOSED;
    memset(out, 0, sizeof *out);
    hfi_lock_acquire(&a->lock);
    struct account sum = account_of(a);
    bool counted = (a->mode & HFI_MODE_COUNT) != 0;
    uint64_t asked = counted ? load(&a->requested) : sum.used;
    if (asked > sum.used) asked = sum.used;
    out->struct_size = sizeof *out;
    out->bytes_in_use = asked;
    out->bytes_slack = sum.used - asked + sum.tails;
    out->bytes_cached = sum.cached;
    out->bytes_free = sum.free;
    out->bytes_meta = sum.meta;
    uint64_t edges = sum.chunks * 2 * HFI_ARENA_EDGE;
    out->bytes_mapped = sum.usable + (sum.meta - edges);
    out->bytes_mapped_peak = a->mapped_peak + (sum.meta - edges);
    if (out->bytes_mapped_peak < out->bytes_mapped) out->bytes_mapped_peak = out->bytes_mapped;
    out->bytes_returned = a->returned;
    out->allocs = load(&a->blocks_total);
    out->blocks_in_use = load(&a->blocks);
    out->frees = out->allocs - out->blocks_in_use;
    out->failures = load(&a->failures);
    out->limit_hits = a->limit_hits;
    out->purges = a->purges;
    out->reports = load(&a->reports);
    out->os_maps = a->os_maps;
    out->os_failures = a->os_failures;
    out->lock_waits = a->lock.waits;
    out->lock_wait_ns = a->lock.wait_ns;
    hfi_lock_release(&a->lock);
    return HF_OK;
}

hf_status hf_arena_figures_of(const hf_arena *arena, hf_arena_figures *out) {
    struct hfi_arena *a = hfi_arena_of(arena);
    if (arena == NULL || out == NULL) return HF_E_INVALID;
    if (a->magic != HFI_ARENA_LIVE) return HF_E_CLOSED;
    hfi_lock_acquire(&a->lock);
    struct account sum = account_of(a);
    bool counted = (a->mode & HFI_MODE_COUNT) != 0;
    uint64_t asked = counted ? load(&a->requested) : sum.used, peak = load(&a->peak);
    if (asked > sum.used) asked = sum.used;
    const struct hfi_chunk *chunk = hfi_arena_current(a);
    uintptr_t cursor = hfi_arena_cursor(a), end = hfi_chunk_end(chunk);
    uint64_t left = end > cursor ? end - cursor : 0;
    if (a->options.limit != 0) {
        uint64_t room = a->options.limit > sum.used ? a->options.limit - sum.used : 0;
        if (left > (room & ~(uint64_t)15)) left = room & ~(uint64_t)15;
    }
    *out = (hf_arena_figures){
        .struct_size = sizeof *out,
        .counted = counted,
        .bytes_in_use = asked,
        .bytes_in_use_peak = peak > sum.used ? peak : sum.used,
        .bytes_total = load(&a->total_done) + sum.used,
        .bytes_padding = sum.used - asked + sum.tails,
        .bytes_left = left,
        .bytes_usable = sum.space,
        .bytes_reserved = a->reserved,
        .bytes_recent = sum.recent,
        .blocks = load(&a->blocks),
        .blocks_total = load(&a->blocks_total),
        .chunks = sum.chunks,
        .resets = load(&a->generation),
        .rewinds = load(&a->rewinds),
        .failures = load(&a->failures),
    };
    hfi_lock_release(&a->lock);
    out->borrows = hf_arena_borrows(arena);
    uint64_t whole = out->bytes_in_use + out->bytes_padding;
    out->fragmentation = whole != 0 ? (double)out->bytes_padding / (double)whole : 0.0;
    return HF_OK;
}

/* --- blocks ---------------------------------------------------------------------------------- */

/* What is handed out of the chunk with this number or the next one; false: no more. */
static bool view_chunk(struct hfi_arena *a, size_t index, hf_view_block *out) {
    bool found = false, behind = false;
    hfi_lock_acquire(&a->lock);
    const struct hfi_chunk *current = hfi_arena_current(a);
    for (struct hfi_chunk *chunk = a->first; chunk != NULL && !behind; chunk = chunk->next) {
        uintptr_t end = chunk == current ? hfi_arena_cursor(a) : chunk->stopped;
        behind = chunk == current;
        if (index-- != 0) continue;
        size_t used = end - (uintptr_t)chunk->space;
        *out = (hf_view_block){.address = chunk->space,
                               .size = used,
                               .class_size = used,
                               .state = HF_BLOCK_LIVE,
                               .tier = HF_TIER_ARENA,
                               .owner = chunk->number};
        found = true;
        break;
    }
    hfi_lock_release(&a->lock);
    return found;
}

static uint64_t chunk_number_of(const struct hfi_arena *a, uintptr_t address) {
    for (const struct hfi_chunk *chunk = a->first; chunk != NULL; chunk = chunk->next)
        if (address >= (uintptr_t)chunk->base && address < (uintptr_t)chunk->base + chunk->usable)
            return chunk->number;
    return 0;
}

static bool view_record(struct hfi_arena *a, size_t index, hf_view_block *out) {
    bool found = false;
    hfi_lock_acquire(&a->lock);
    if (index < a->record_count) {
        const struct hfi_record *record = hfi_record_at(a, index);
        *out = (hf_view_block){.address = (const void *)record->address,
                               .size = record->size,
                               .class_size = record->held,
                               .state = record->freed ? HF_BLOCK_FREE : HF_BLOCK_LIVE,
                               .tier = HF_TIER_ARENA,
                               .owner = chunk_number_of(a, record->address)};
        found = true;
    }
    hfi_lock_release(&a->lock);
    return found;
}

hf_status hf_arena_view(hf_arena *arena, hf_visitor visitor, void *context) {
    struct hfi_arena *a = hfi_arena_of(arena);
    if (arena == NULL || visitor == NULL) return HF_E_INVALID;
    if (a->magic != HFI_ARENA_LIVE) return HF_E_CLOSED;
    bool records = (a->mode & HFI_MODE_RECORD) != 0;
    hf_view_block block;
    for (size_t i = 0; records ? view_record(a, i, &block) : view_chunk(a, i, &block); i++)
        if ((block.size != 0 || records) && visitor(&block, context) != 0) break;
    return HF_OK;
}
