/* middle_keep.c - freed middle blocks that wait for the next request of their size.
 * Contract    see middle_keep.h.
 * Invariants  a kept block is used for the fit and counted in pool->live; kept_units is their sum.
 * Talks to    fit, middle_stamp.   Called by malloc, middle.
 * Threads     pool->lock, tried and not waited for where a block is wanted.
 * Why         buffers come back in the size they went: 64 KiB for a pair of malloc and free took a
 *             thousand instructions through lock, search, split and join. */
#include "middle_keep.h"

#include "middle_stamp.h"
#include "middle_units.h"
#include "reclaim.h"

#define SPARE_UNITS 6u /* a kept block may be longer by so much: less than a note's slack */
_Static_assert((SPARE_UNITS + 1) * HFI_MIDDLE_UNIT <= HFI_SLACK_MAX, "slack fits the note");

static void forget(struct hfi_middle_pool *pool, uint32_t at) {
    pool->kept_units -= pool->kept[at].units;
    pool->kept_count--;
    for (uint32_t i = at; i < pool->kept_count; i++)
        pool->kept[i] = pool->kept[i + 1];
}

void hfi_kept_drop(struct hfi_middle_pool *pool, uint32_t count) {
    for (; count > 0 && pool->kept_count > 0; count--) {
        uint32_t start = pool->kept[0].start;
        bool aged = pool->kept[0].aged;
        forget(pool, 0);
        if (pool->quarantined) continue;
        start = hfi_fit_give(&pool->fit, start);
        hfi_middle_room_note(pool);
        /* What has waited for a tick here waits no other. */
        hfi_unit_put(pool->aged, start, aged);
        hfi_unit_put(pool->purged, start, false);
        pool->live--;
    }
}

bool hfi_kept_tick(struct hfi_middle_pool *pool, bool force) {
    uint32_t due = 0;
    while (due < pool->kept_count && (force || pool->kept[due].aged))
        due++;
    hfi_kept_drop(pool, due);
    for (uint32_t i = 0; i < pool->kept_count; i++)
        pool->kept[i].aged = true;
    return pool->kept_count != 0;
}

bool hfi_kept_has(const struct hfi_middle_pool *pool, uint32_t start) {
    bool has = false;
    for (uint32_t i = 0; i < pool->kept_count; i++)
        has |= pool->kept[i].start == start;
    return has;
}

/* The newest kept block of [units, units + SPARE_UNITS], or of an eighth more; kept_count if none. */
static uint32_t find(const struct hfi_middle_pool *pool, uint32_t units) {
    uint32_t spare = units / 8 < SPARE_UNITS ? units / 8 : SPARE_UNITS;
    for (uint32_t i = pool->kept_count; i-- > 0;)
        if (pool->kept[i].units - units <= spare) return i;
    return pool->kept_count;
}

static char *reuse(struct hfi_middle_pool *pool, uint32_t units, size_t size, int domain)
    HF_REQUIRES(pool->lock) {
    uint32_t at = find(pool, units);
    if (at == pool->kept_count || pool->quarantined) return NULL;
    uint32_t start = pool->kept[at].start;
    /* Written to after its free: the general way meets it there and reports. */
    if (pool->heap->trailer && hfi_stamp_take(pool, start, start + 1) != HFI_FIT_NONE) {
        hfi_kept_drop(pool, at + 1);
        return NULL;
    }
    forget(pool, at);
    char *payload = hfi_middle_payload(pool, start);
    size_t extent = hfi_middle_extent(pool, start);
    hfi_middle_header_write(payload);
    if (pool->heap->trailer)
        hfi_block_seal(payload, extent, size,
                       (extent - HFI_TRAILER - size) | (uint64_t)domain << HFI_DOMAIN_SHIFT);
    hfi_middle_note_warm(pool->heap, -(ptrdiff_t)extent);
    return payload;
}

void *hfi_middle_reuse(struct hfi_middle_pool *pool, size_t size, int domain) {
    size_t total = size + (pool->heap->trailer ? HFI_TRAILER : 0);
    uint32_t units =
        (uint32_t)((HFI_MIDDLE_HEADER + total + HFI_MIDDLE_UNIT - 1) / HFI_MIDDLE_UNIT);
    if (!hfi_lock_try(&pool->lock)) return NULL;
    char *payload = reuse(pool, units, size, domain);
    hfi_lock_release(&pool->lock);
    return payload;
}

/* The first unit of the whole, usual (not aligned), live block of this payload; HFI_FIT_NONE if it is not one. */
static uint32_t usual(const struct hfi_middle_pool *pool, const char *payload, int domain,
                      size_t size) {
    if (pool->base == NULL || pool->quarantined || ((uintptr_t)payload & 15) != 0)
        return HFI_FIT_NONE;
    size_t offset = (size_t)(payload - HFI_MIDDLE_HEADER - pool->base);
    if (offset >= pool->slices * HFI_SLICE) return HFI_FIT_NONE;
    uint32_t start = (uint32_t)(offset / HFI_MIDDLE_UNIT);
    if (!hfi_fit_is_used(&pool->fit, start) || hfi_unit_get(pool->shifted, start) ||
        hfi_middle_payload(pool, start) != payload || !hfi_middle_header_whole(payload) ||
        hfi_kept_has(pool, start))
        return HFI_FIT_NONE;
    if (!pool->heap->trailer) return start;
    size_t extent = hfi_middle_extent(pool, start);
    uint64_t slack = hfi_block_note(payload, extent) - ((uint64_t)domain << HFI_DOMAIN_SHIFT);
    if (slack > HFI_SLACK_MAX || slack > extent - HFI_TRAILER) return HFI_FIT_NONE;
    if (size != SIZE_MAX && size != extent - HFI_TRAILER - slack) return HFI_FIT_NONE;
    bool whole = hfi_block_pattern_whole(hfi_block_trailer(payload, extent), slack);
    return whole ? start : HFI_FIT_NONE;
}

bool hfi_middle_keep(struct hfi_middle_pool *pool, char *payload, int domain, size_t size) {
    bool trailer = pool->heap->trailer;
    hfi_lock_acquire(&pool->lock);
    uint32_t start = usual(pool, payload, domain, size);
    uint32_t units = start != HFI_FIT_NONE ? pool->fit.length[start] : 0;
    bool keep = units != 0 && units <= HFI_MIDDLE_KEPT_UNITS;
    if (keep) {
        if (trailer) {
            hfi_block_mark_freed(payload, hfi_middle_extent(pool, start));
            hfi_stamp_put(pool, start, units, false);
        }
        while (pool->kept_count == HFI_MIDDLE_KEPT ||
               pool->kept_units + units > HFI_MIDDLE_KEPT_UNITS)
            hfi_kept_drop(pool, 1);
        pool->kept[pool->kept_count++] =
            (struct hfi_middle_kept){.start = (uint16_t)start, .units = (uint16_t)units};
        pool->kept_units += units;
        hfi_middle_note_warm(pool->heap, (ptrdiff_t)(units * HFI_MIDDLE_UNIT));
    }
    hfi_lock_release(&pool->lock);
    if (keep) hfi_reclaim_note_frees(pool->heap, 1);
    return keep;
}
