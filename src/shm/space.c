/* space.c - which bytes of a segment are free: those that no row of the table speaks of.
 *
 *   rows -> extents, sorted, joined -> gaps     first gap that is long enough, lowest first
 * Invariants  nothing about free space is stored, so nothing about it can be wrong, be lost with a
 *             killed process, or need repair; neighbours join by themselves.
 * Threads     the process's lock for the scratch list; the answer holds under the table's lock.
 * Fails with  0: no gap is long enough.
 * Called by   table.c, info.c, check.c.
 * Why         not blocks/fit: it cuts at most 65535 units, and keeps tables that a killed process
 *             could leave half changed. Sorting a few hundred rows costs less than rebuilding those. */
#include "segment_state.h"

uint64_t hfi_shm_footprint(uint64_t size) {
    return hfi_shm_round(size, size < HFI_SHM_PAGE ? HFI_SHM_GRAIN : HFI_SHM_PAGE);
}

static uint64_t alignment_of(const hf_shm *shm, uint64_t size) {
    if (size >= HFI_SHM_HUGE && shm->geometry.c.huge_pages != 0) return HFI_SHM_HUGE;
    return size < HFI_SHM_PAGE ? HFI_SHM_GRAIN : HFI_SHM_PAGE;
}

/* Shell's sort, gaps of Ciura 2001: rows come nearly in order. */
static void sort(struct hfi_shm_extent *extents, uint32_t count) {
    static const uint32_t gaps[] = {29524, 9841, 3280, 1093, 301, 132, 57, 23, 10, 4, 1};
    for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++)
        for (uint32_t i = gaps[g]; i < count; i++) {
            struct hfi_shm_extent one = extents[i];
            uint32_t at = i;
            for (; at >= gaps[g] && extents[at - gaps[g]].start > one.start; at -= gaps[g])
                extents[at] = extents[at - gaps[g]];
            extents[at] = one;
        }
}

/* Used extents in order, joined where they touch or (garbage) overlap. */
uint32_t hfi_shm_extents(hf_shm *shm) {
    uint32_t count = 0, joined = 0;
    uint64_t size = atomic_load_explicit(&shm->mapped, memory_order_acquire);
    for (uint32_t i = 0, rows = hfi_shm_rows(shm); i < rows; i++) {
        struct hfi_shm_sight sight;
        if (!hfi_shm_see(shm, i, &sight, NULL, NULL)) continue;
        const struct hfi_shm_facts *f = &sight.facts;
        if (f->offset < shm->geometry.c.data_at || f->offset >= size || f->size > size) continue;
        uint64_t end = f->offset + hfi_shm_footprint(f->size);
        shm->extents[count++] = (struct hfi_shm_extent){f->offset, end < size ? end : size};
    }
    sort(shm->extents, count);
    for (uint32_t i = 0; i < count; i++) {
        if (joined > 0 && shm->extents[i].start <= shm->extents[joined - 1].end) {
            if (shm->extents[i].end > shm->extents[joined - 1].end)
                shm->extents[joined - 1].end = shm->extents[i].end;
        } else {
            shm->extents[joined++] = shm->extents[i];
        }
    }
    return joined;
}

uint64_t hfi_shm_place_bytes(hf_shm *shm, uint64_t size, struct hfi_shm_space *space_out) {
    uint64_t need = hfi_shm_footprint(size), found = 0, at = shm->geometry.c.data_at;
    uint64_t alignment = alignment_of(shm, size);
    struct hfi_shm_space space = {0};
    hfi_shm_enter(shm);
    uint64_t total = atomic_load_explicit(&shm->mapped, memory_order_acquire);
    uint32_t count = hfi_shm_extents(shm);
    for (uint32_t i = 0; i <= count; i++) {
        uint64_t end = i < count ? shm->extents[i].start : total;
        uint64_t start = hfi_shm_round(at, alignment);
        if (found == 0 && start <= end && end - start >= need) found = start;
        space.free += end - at;
        if (end - at > space.largest) space.largest = end - at;
        if (i < count) {
            space.used += shm->extents[i].end - shm->extents[i].start;
            at = shm->extents[i].end;
        }
    }
    hfi_shm_exit(shm);
    if (space_out != NULL) *space_out = space;
    return found;
}

struct hfi_shm_space hfi_shm_space(hf_shm *shm) {
    struct hfi_shm_space space;
    (void)hfi_shm_place_bytes(shm, HFI_SHM_GRAIN, &space);
    return space;
}
