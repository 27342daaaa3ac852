/* slab.h - a run of equal blocks: take some, give one back, tell where an address falls.
 *
 *   base --> | lead | block 0 | block 1 | ... | block n-1 | tail |      free[i/64] bit i: 1 = here
 *
 * The bitmap stands beside the blocks, never inside: a program that writes after free cannot break
 * it. Blocks are handed out lowest address first. Blocks from `fresh` on were never handed out and
 * their memory was not touched.
 * Invariants  taken + popcount(free) == count; EMPTY <=> taken == 0; FULL <=> taken == count.
 * Talks to    block.h.   Called by heap/pool.c, heap/walk.c, arena/object_pool*.c.
 * Threads     the caller's pool lock guards everything but the constant fields. `state`, `fresh`,
 *             `purged` and the bitmap are also looked at without it (base/racy.h): blocks that were
 *             handed out lie below `fresh`, and QUARANTINED is for ever.
 * Fails with  HFI_SLAB_TWICE when a block is already here. */
#ifndef HFI_SLAB_H
#define HFI_SLAB_H

#include "base/racy.h"
#include "pages/pagemap.h"

enum hfi_slab_state { HFI_SLAB_EMPTY, HFI_SLAB_PARTIAL, HFI_SLAB_FULL, HFI_SLAB_QUARANTINED };

#define HFI_SLAB_BLOCKS_MAX  4096u
#define HFI_SLAB_MAGIC_SHIFT 40

struct hfi_pool;

struct hfi_slab {
    struct hfi_owner owner;               /* kind = HFI_OWNER_SLAB                                */
    uint8_t state;                        /* enum hfi_slab_state; written under the pool lock     */
    uint8_t bin;                          /* which of the pool's lists it is in                   */
    uint8_t idle;                         /* decay ticks spent EMPTY                              */
    bool purged;                          /* free pages were given back: they read as zero        */
    uint16_t slices;                      /* constant                                             */
    uint16_t hint;                        /* no free bit in a word below                          */
    uint32_t count;                       /* blocks; constant                                     */
    uint32_t taken;                       /* blocks out of the slab                               */
    uint32_t fresh;                       /* blocks from here on were never taken                 */
    uint32_t taken_at_purge;              /* taken when free pages were given back last           */
    uint32_t absent;                      /* bytes without memory behind them, at a guess         */
    uint32_t block_size;                  /* constant                                             */
    uint32_t lead;                        /* bytes before block 0; constant                       */
    uint64_t magic;                       /* ceil(2^40 / block_size); constant                    */
    char *base;                           /* constant                                             */
    struct hfi_pool *pool;                /* constant                                             */
    struct hfi_slab *next, *prev;         /* list of the pool's bin                      */
    struct hfi_slab *all_next, *all_prev; /* every slab of the pool                      */
    uint64_t number;                      /* for views                                            */
    uint64_t free[];                      /* bitmap                                               */
};

static inline size_t hfi_slab_meta_size(uint32_t count) {
    return sizeof(struct hfi_slab) + (size_t)((count + 63) / 64) * 8;
}

/* Fills every field but the lists. `slab` is zeroed memory of hfi_slab_meta_size(count). */
void hfi_slab_init(struct hfi_slab *slab, char *base, uint16_t slices, uint32_t block_size,
                   uint32_t lead, uint32_t count);
/* Takes up to `wanted` blocks, lowest first; returns how many. */
uint32_t hfi_slab_take(struct hfi_slab *slab, void **blocks_out, uint32_t wanted);
/* Takes HFI_SLAB_LINES blocks that fill cache lines of which nobody has a block; how many: 0 or all.
 * Some blocks below them may have become less than `fresh` and stay here. */
uint32_t hfi_slab_take_lines(struct hfi_slab *slab, void **blocks_out);
/* Blocks whose size is a multiple of 16: four fill whole lines, if their first index is a multiple. */
#define HFI_SLAB_LINES 4u

enum hfi_slab_give { HFI_SLAB_GIVEN, HFI_SLAB_TWICE };
static inline enum hfi_slab_give hfi_slab_give(struct hfi_slab *slab, uint32_t index) {
    uint32_t w = index / 64;
    uint64_t bit = UINT64_C(1) << (index % 64);
    if (__builtin_expect((slab->free[w] & bit) != 0, 0)) return HFI_SLAB_TWICE;
    hfi_poke(slab->free[w], slab->free[w] | bit);
    slab->taken--;
    if (w < slab->hint) slab->hint = (uint16_t)w;
    return HFI_SLAB_GIVEN;
}

/* Index of the block that holds `address`, UINT32_MAX in lead or tail. */
static inline uint32_t hfi_slab_index(const struct hfi_slab *slab, const void *address) {
    uint64_t offset = (uint64_t)((const char *)address - slab->base);
    if (offset < slab->lead) return UINT32_MAX;
    uint32_t index = (uint32_t)(((offset - slab->lead) * slab->magic) >> HFI_SLAB_MAGIC_SHIFT);
    return index < slab->count ? index : UINT32_MAX;
}

static inline char *hfi_slab_block(const struct hfi_slab *slab, uint32_t index) {
    return slab->base + slab->lead + (size_t)index * slab->block_size;
}

/* Without the lock a hint: what it says was true a moment ago. */
static inline bool hfi_slab_has(const struct hfi_slab *slab, uint32_t index) {
    return (hfi_peek(slab->free[index / 64]) >> (index % 64)) & 1;
}

/* Out of service, and for ever: who sees it late sends a block more its way, which is harmless. */
static inline bool hfi_slab_quarantined(const struct hfi_slab *slab) {
    return hfi_peek(slab->state) == HFI_SLAB_QUARANTINED;
}

/* True if the bookkeeping agrees with itself. */
bool hfi_slab_check(const struct hfi_slab *slab);

/* Gives back the memory of whole pages that hold free blocks only. Returns the bytes. */
size_t hfi_slab_purge(struct hfi_slab *slab);

#endif
