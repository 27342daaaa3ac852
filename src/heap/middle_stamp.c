/* middle_stamp.c - see middle_stamp.h. */
#include "middle_stamp.h"

#include "middle_units.h"

#define CODE_WORDS   2u /* length and complement */
#define EXTENT_LIMIT (HFI_MIDDLE_MAX + HFI_SLICE)

static char *unit_at(const struct hfi_middle_pool *pool, uint32_t unit) {
    return pool->base + (size_t)unit * HFI_MIDDLE_UNIT;
}

/* The next stamped unit in [from, to); HFI_FIT_NONE if there is none. */
static uint32_t next_stamp(const struct hfi_middle_pool *pool, uint32_t from, uint32_t to) {
    while (from < to) {
        uint64_t rest = pool->stamped[from / 64] >> (from % 64);
        if (rest != 0) {
            uint32_t unit = from + (uint32_t)__builtin_ctzll(rest);
            return unit < to ? unit : HFI_FIT_NONE;
        }
        from = (from / 64 + 1) * 64;
    }
    return HFI_FIT_NONE;
}

/* Words of pattern behind the code. */
static unsigned pattern_words(const struct hfi_middle_pool *pool) {
    return pool->heap->fill ? (unsigned)(HFI_FILL_MAX / 8) : 1;
}

/* The stamp of a block of `extent` bytes at this place. */
static uint64_t code_of(const char *at, size_t extent) {
    return ((uintptr_t)at + extent + hfi_block_secret) * HFI_BLOCK_MULTIPLIER;
}

static size_t decode(const char *at, uint64_t code) {
    return (size_t)(code * HFI_BLOCK_INVERSE - hfi_block_secret - (uintptr_t)at);
}

void hfi_stamp_put(struct hfi_middle_pool *pool, uint32_t start, uint32_t units, bool shifted) {
    uint32_t unit = start + shifted;
    size_t extent = units * HFI_MIDDLE_UNIT - (shifted ? HFI_MIDDLE_UNIT : HFI_MIDDLE_HEADER);
    unsigned words = pattern_words(pool);
    /* Code, pattern and the trailer with its site word must not meet. */
    if (extent < (CODE_WORDS + words + 2) * 8) return;
    char *at = unit_at(pool, unit);
    uint64_t code = code_of(at, extent);
    hfi_store64(at, code);
    hfi_store64(at + 8, ~code);
    hfi_block_fill(at + 8 * CODE_WORDS, words);
    hfi_unit_put(pool->stamped, unit, true);
    hfi_unit_put(pool->shifted, unit, shifted);
}

static bool stamp_whole(const struct hfi_middle_pool *pool, uint32_t unit) {
    const char *at = unit_at(pool, unit);
    uint64_t code = hfi_load64(at);
    if (hfi_load64(at + 8) != ~code || decode(at, code) >= EXTENT_LIMIT) return false;
    for (unsigned i = 0; i < pattern_words(pool); i++)
        if (hfi_load64(at + 8 * (CODE_WORDS + i)) != hfi_block_pattern) return false;
    return true;
}

uint32_t hfi_stamp_take(struct hfi_middle_pool *pool, uint32_t from, uint32_t to) {
    uint32_t unit = from;
    while ((unit = next_stamp(pool, unit, to)) != HFI_FIT_NONE) {
        if (!stamp_whole(pool, unit)) return unit;
        hfi_unit_put(pool->stamped, unit++, false);
    }
    return HFI_FIT_NONE;
}

uint32_t hfi_stamp_broken(const struct hfi_middle_pool *pool, uint32_t from) {
    uint32_t unit = from;
    while ((unit = next_stamp(pool, unit, pool->fit.units)) != HFI_FIT_NONE) {
        if (!stamp_whole(pool, unit)) return unit;
        unit++;
    }
    return HFI_FIT_NONE;
}

char *hfi_stamp_payload(const struct hfi_middle_pool *pool, uint32_t unit) {
    return unit_at(pool, unit) + (hfi_unit_get(pool->shifted, unit) ? 0 : HFI_MIDDLE_HEADER);
}

bool hfi_stamp_is(const struct hfi_middle_pool *pool, const void *payload) {
    if (pool->base == NULL || (const char *)payload < pool->base) return false;
    size_t offset = (size_t)((const char *)payload - pool->base);
    uint32_t unit = (uint32_t)(offset / HFI_MIDDLE_UNIT);
    return unit < pool->fit.units && hfi_unit_get(pool->stamped, unit) &&
           hfi_stamp_payload(pool, unit) == payload;
}

/* Either half of the code says how long the block was: the one that makes sense is believed. */
static uint64_t code_found(const struct hfi_middle_pool *pool, uint32_t unit) {
    const char *at = unit_at(pool, unit);
    uint64_t first = hfi_load64(at), second = ~hfi_load64(at + 8);
    return decode(at, first) < EXTENT_LIMIT ? first : second;
}

size_t hfi_stamp_extent(const struct hfi_middle_pool *pool, uint32_t unit) {
    const char *at = unit_at(pool, unit);
    size_t extent = decode(at, code_found(pool, unit));
    size_t room = pool->slices * HFI_SLICE - (size_t)(hfi_stamp_payload(pool, unit) - pool->base);
    return extent < EXTENT_LIMIT && extent <= room ? extent : 0;
}

void hfi_stamp_damage(const struct hfi_middle_pool *pool, uint32_t unit, ptrdiff_t *offset_out,
                      size_t *length_out, uint64_t *expected_out) {
    const char *at = unit_at(pool, unit);
    unsigned char expected[8 * CODE_WORDS + HFI_FILL_MAX + 8];
    size_t length = 8 * (CODE_WORDS + pattern_words(pool)), from = 0;
    uint64_t code = code_found(pool, unit);
    hfi_store64(expected, code);
    hfi_store64(expected + 8, ~code);
    hfi_block_fill(expected + 8 * CODE_WORDS, pattern_words(pool) + 1);
    while (from < length && (unsigned char)at[from] == expected[from])
        from++;
    *expected_out = hfi_load64(expected + from);
    while (length > from && (unsigned char)at[length - 1] == expected[length - 1])
        length--;
    *offset_out = at + from - hfi_stamp_payload(pool, unit);
    *length_out = length - from;
}
