/* slab.c - a bitmap over equal blocks.
 * Contract    see slab.h.
 * Invariants  bits at and above count are 0, so a scan never hands out what is not there.
 * Threads     under the pool's lock.
 * Source      bitmap slabs after Bonwick 1994 (external bufctl) and hardened_malloc; division by a
 *             constant after Granlund and Montgomery 1994: exact for offsets below 2^22. */
#include "slab.h"

#include "base/assert.h"
#include "base/bits.h"
#include "base/size_class.h"

_Static_assert(HFI_SMALL_MAX < (1u << 17), "the reciprocal is exact for these sizes");

void hfi_slab_init(struct hfi_slab *slab, char *base, uint16_t slices, uint32_t block_size,
                   uint32_t lead, uint32_t count) {
    slab->owner.kind = HFI_OWNER_SLAB;
    slab->state = HFI_SLAB_EMPTY;
    slab->slices = slices;
    slab->count = count;
    slab->block_size = block_size;
    slab->lead = lead;
    slab->magic = ((UINT64_C(1) << HFI_SLAB_MAGIC_SHIFT) + block_size - 1) / block_size;
    slab->base = base;
    for (uint32_t i = 0; i < count / 64; i++)
        slab->free[i] = ~UINT64_C(0);
    if (count % 64 != 0) slab->free[count / 64] = (UINT64_C(1) << (count % 64)) - 1;
}

uint32_t hfi_slab_take(struct hfi_slab *slab, void **blocks_out, uint32_t wanted) {
    uint32_t got = 0, words = (slab->count + 63) / 64, highest = 0;
    for (uint32_t w = slab->hint; w < words && got < wanted; w++) {
        uint64_t bits = slab->free[w];
        while (bits != 0 && got < wanted) {
            highest = w * 64 + (unsigned)__builtin_ctzll(bits);
            blocks_out[got++] = hfi_slab_block(slab, highest);
            bits &= bits - 1;
        }
        hfi_poke(slab->free[w], bits);
        slab->hint = (uint16_t)w;
    }
    slab->taken += got;
    if (got != 0 && highest >= slab->fresh) hfi_poke(slab->fresh, highest + 1);
    return got;
}

uint32_t hfi_slab_take_lines(struct hfi_slab *slab, void **blocks_out) {
    uint32_t words = (slab->count + 63) / 64;
    for (uint32_t w = slab->hint; w < words; w++) {
        uint64_t bits = slab->free[w], pairs = bits & (bits >> 1);
        uint64_t lines = pairs & (pairs >> 2) & UINT64_C(0x1111111111111111);
        if (lines == 0) continue;
        unsigned bit = (unsigned)__builtin_ctzll(lines);
        for (uint32_t i = 0; i < HFI_SLAB_LINES; i++)
            blocks_out[i] = hfi_slab_block(slab, w * 64 + bit + i);
        hfi_poke(slab->free[w], bits & ~(UINT64_C(0xf) << bit));
        slab->taken += HFI_SLAB_LINES;
        if (w * 64 + bit + HFI_SLAB_LINES > slab->fresh)
            hfi_poke(slab->fresh, w * 64 + bit + HFI_SLAB_LINES);
        return HFI_SLAB_LINES;
    }
    return 0;
}

bool hfi_slab_check(const struct hfi_slab *slab) {
    uint32_t here = 0;
    for (uint32_t w = 0; w < (slab->count + 63) / 64; w++) {
        here += hfi_bits(slab->free[w]);
        if (w < slab->hint && slab->free[w] != 0) return false;
    }
    return here + slab->taken == slab->count && slab->owner.kind == HFI_OWNER_SLAB;
}

size_t hfi_slab_purge(struct hfi_slab *slab) {
    size_t purged = 0, pages = (size_t)slab->slices * (HFI_SLICE / HFI_PAGE);
    size_t touched =
        (size_t)(hfi_slab_block(slab, slab->fresh) - slab->base + HFI_PAGE - 1) / HFI_PAGE;
    size_t run = 0; /* pages before `page` that may go */
    slab->taken_at_purge = slab->taken;
    if (touched < pages) pages = touched;
    for (size_t page = 0; page <= pages; page++) {
        bool free_page = page < pages;
        if (free_page) {
            const char *start = slab->base + page * HFI_PAGE, *last = start + HFI_PAGE - 1;
            uint32_t from = page == 0 ? 0 : hfi_slab_index(slab, start);
            uint32_t to = hfi_slab_index(slab, last);
            if (to == UINT32_MAX) to = slab->count - 1;
            if (from == UINT32_MAX) from = slab->count - 1;
            for (uint32_t i = from; i <= to && free_page; i++)
                free_page = hfi_slab_has(slab, i);
            /* Page 0 holds the lead, whose guard word must stay. */
            if (page == 0 && slab->lead != 0) free_page = false;
        }
        if (free_page) {
            run++;
        } else if (run != 0) {
            hfi_os_purge(slab->base + (page - run) * HFI_PAGE, run * HFI_PAGE);
            purged += run * HFI_PAGE;
            hfi_poke(slab->purged, true);
            run = 0;
        }
    }
    return purged;
}
