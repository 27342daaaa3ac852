/* middle_units.h - where in a middle pool a block lies: units, lead, payload, header.
 * Invariants  a used block's payload begins 16 bytes after its first unit, or a whole unit after it
 *             (`shifted`): the unit of (payload - 16) is the block's first in both cases.
 * Called by   middle.c, middle_keep.c, middle_stamp.c.
 * Threads     the caller holds pool->lock. */
#ifndef HFI_MIDDLE_UNITS_H
#define HFI_MIDDLE_UNITS_H

#include "middle.h"

static inline bool hfi_unit_get(const uint64_t *map, uint32_t at) {
    return (map[at / 64] >> (at % 64)) & 1;
}

static inline void hfi_unit_put(uint64_t *map, uint32_t at, bool value) {
    uint64_t bit = UINT64_C(1) << (at % 64);
    map[at / 64] = value ? map[at / 64] | bit : map[at / 64] & ~bit;
}

static inline size_t hfi_middle_lead(const struct hfi_middle_pool *pool, uint32_t start) {
    return hfi_unit_get(pool->shifted, start) ? HFI_MIDDLE_UNIT : HFI_MIDDLE_HEADER;
}

static inline char *hfi_middle_payload(const struct hfi_middle_pool *pool, uint32_t start) {
    return pool->base + start * HFI_MIDDLE_UNIT + hfi_middle_lead(pool, start);
}

static inline size_t hfi_middle_extent(const struct hfi_middle_pool *pool, uint32_t start) {
    return pool->fit.length[start] * HFI_MIDDLE_UNIT - hfi_middle_lead(pool, start);
}

static inline uint32_t hfi_middle_unit(const struct hfi_middle_pool *pool, const void *address) {
    return (uint32_t)((size_t)((const char *)address - pool->base) / HFI_MIDDLE_UNIT);
}

/* After every change of `fit`: what those who have no lock go by. */
static inline void hfi_middle_room_note(struct hfi_middle_pool *pool) HF_REQUIRES(pool->lock) {
    hfi_poke(pool->room, pool->fit.largest);
}

/* Both words of a header depend on where it is, so a copied one is not taken for the real one. */
static inline uint64_t hfi_middle_header_word(const char *payload) {
    return ((uintptr_t)payload ^ hfi_block_secret) * HFI_BLOCK_INVERSE;
}

static inline void hfi_middle_header_write(char *payload) {
    uint64_t word = hfi_middle_header_word(payload);
    hfi_store64(payload - 16, word);
    hfi_store64(payload - 8, ~word);
}

#endif
