/* object_pool_sanitize.c - what a released block holds, and the reports of what should not be.
 * Contract    see object_pool.h and pool.h.
 * Invariants  a fill is the process's pattern (block.h) over the whole stride: no text, no zeroes.
 * Threads     blocks that are looked at belong to the caller; reports are emitted without locks.
 * Why         A double release and a release of a block that was never acquired look different to
 *             who made the mistake, so the slab is asked how far it was ever handed out. */
#include <string.h>

#include "arena/object_pool.h"
#include "base/report.h"
#include "blocks/block.h"

void hfi_object_fill(const hf_pool *pool, void *block) {
    uint64_t pattern = hfi_block_pattern;
    size_t words = pool->stride / 8;
    for (size_t i = 0; i < words; i++)
        hfi_store64((char *)block + 8 * i, pattern);
    memcpy((char *)block + 8 * words, &pattern, pool->stride % 8);
}

size_t hfi_object_damage(const hf_pool *pool, const void *block, hf_report *report) {
    uint64_t pattern = hfi_block_pattern;
    const unsigned char *at = block;
    unsigned char fill[8];
    size_t words = pool->stride / 8, i = 0;
    while (i < words && hfi_load64(at + 8 * i) == pattern)
        i++;
    memcpy(fill, &pattern, sizeof fill);
    if (i == words && memcmp(at + 8 * words, fill, pool->stride % 8) == 0) return 0;
    size_t first = SIZE_MAX, damaged = 0;
    for (size_t k = 8 * i; k < pool->stride; k++) {
        if (at[k] == fill[k % 8]) continue;
        if (first == SIZE_MAX) first = k;
        damaged = k + 1 - first;
    }
    if (report == NULL) return damaged;
    report->damage_offset = (ptrdiff_t)first;
    report->damage_length = damaged;
    report->bytes_count = damaged < HF_REPORT_BYTES ? (uint32_t)damaged : HF_REPORT_BYTES;
    memcpy(report->bytes, at + first, report->bytes_count);
    size_t word = pool->stride - first < 8 ? pool->stride - first : 8;
    memcpy(&report->found, at + first, word);
    for (size_t k = 0; k < word; k++)
        ((unsigned char *)&report->expected)[k] = fill[(first + k) % 8];
    return damaged;
}

static void emit(hf_pool *pool, hf_report *report) {
    atomic_fetch_add_explicit(&pool->reports, 1, memory_order_relaxed);
    report->owner = pool->name[0] != '\0' ? pool->name : "pool";
    report->heap_id = pool->entry.id;
    report->class_size = pool->stride;
    hfi_report_emit(report);
}

struct search {
    const void *address;
    bool found;
};

static void search_pool(void *self, void *context) {
    struct search *search = context;
    if (hf_pool_owns(self, search->address)) search->found = true;
}

/* Somebody else's, as far as this library knows. */
static bool is_foreign(const void *address) {
    struct search search = {.address = address};
    if (hfi_segment_owns(address)) return true;
    hfi_owners_each(HF_OWNER_POOL, search_pool, &search);
    return search.found;
}

void hfi_object_misuse(hf_pool *pool, const void *block, const char *found_by) {
    hf_report report = {.found_by = found_by, .address = block};
    size_t offset = (size_t)((const char *)block - pool->base);
    uint64_t index = hfi_object_index(pool, offset);
    if ((uintptr_t)block - (uintptr_t)pool->base >=
        atomic_load_explicit(&pool->made, memory_order_acquire)) {
        report.kind = is_foreign(block) ? HF_REPORT_FOREIGN_FREE : HF_REPORT_INVALID_FREE;
    } else if (hfi_object_state_of(pool, (uint32_t)index) == HFI_OBJECT_NONE) {
        report.kind = HF_REPORT_INVALID_FREE;
    } else {
        uint32_t number = (uint32_t)index >> pool->slab_shift;
        hfi_lock_acquire(&pool->lock);
        uint32_t fresh = pool->slabs[number]->fresh;
        bool purged = pool->slabs[number]->purged;
        hfi_lock_release(&pool->lock);
        bool ever = purged || (uint32_t)index - (number << pool->slab_shift) < fresh;
        report.block = hfi_object_block(pool, (uint32_t)index);
        report.block_size = pool->block_size;
        if (report.block != block)
            report.kind = HF_REPORT_INTERIOR_FREE;
        else
            report.kind = ever ? HF_REPORT_DOUBLE_FREE : HF_REPORT_INVALID_FREE;
    }
    emit(pool, &report);
}

void hfi_object_used_after_release(hf_pool *pool, uint32_t index, const char *found_by) {
    const void *block = hfi_object_block(pool, index);
    hf_report report = {.kind = HF_REPORT_USE_AFTER_FREE,
                        .found_by = found_by,
                        .address = block,
                        .block = block,
                        .block_size = pool->block_size};
    (void)hfi_object_damage(pool, block, &report);
    hfi_lock_acquire(&pool->lock);
    hfi_objects_quarantine(pool, index);
    hfi_lock_release(&pool->lock);
    emit(pool, &report);
}

void hfi_object_contradiction(hf_pool *pool, uint32_t first) {
    hf_report report = {
        .kind = HF_REPORT_METADATA, .found_by = "check", .address = hfi_object_block(pool, first)};
    emit(pool, &report);
}
