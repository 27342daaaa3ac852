/* fit.c - boundary tags in tables, searches over a bitmap of free blocks.
 * Contract    see fit.h.
 * Invariants  see fit.h; hfi_fit_check walks and tells.
 * Threads     the caller's lock.
 * Why         the bitmap makes first fit in address order a scan of words: a pool of 16 MiB has at
 *             most 512 blocks of its smallest size, in 256 words. */
#include "fit.h"

#include "base/assert.h"

static uint32_t words_of(uint32_t units) {
    return (units + 63) / 64;
}

size_t hfi_fit_meta_size(uint32_t units) {
    size_t lengths = ((size_t)units * sizeof(uint16_t) + 7) & ~(size_t)7;
    return lengths + 2 * (size_t)words_of(units) * 8;
}

static void set_bit(uint64_t *map, uint32_t at) {
    map[at / 64] |= UINT64_C(1) << (at % 64);
}

static void clear_bit(uint64_t *map, uint32_t at) {
    map[at / 64] &= ~(UINT64_C(1) << (at % 64));
}

static void tag(struct hfi_fit *fit, uint32_t start, uint32_t count) {
    fit->length[start] = (uint16_t)count;
    fit->length[start + count - 1] = (uint16_t)count;
}

static void make_free(struct hfi_fit *fit, uint32_t start, uint32_t count) {
    tag(fit, start, count);
    set_bit(fit->free, start);
    if (count > fit->largest) fit->largest = count;
}

void hfi_fit_init(struct hfi_fit *fit, uint32_t units, enum hfi_fit_order order, void *tables) {
    HF_EXPECT(units > 0 && units <= HFI_FIT_UNITS_MAX, units);
    *fit = (struct hfi_fit){.units = units, .order = order, .free_units = units};
    size_t lengths = ((size_t)units * sizeof(uint16_t) + 7) & ~(size_t)7;
    fit->length = tables;
    fit->used = (uint64_t *)((char *)tables + lengths);
    fit->free = fit->used + words_of(units);
    make_free(fit, 0, units);
}

/* Start of a block of `count` inside the free block at `start`, or NONE. */
static uint32_t place(const struct hfi_fit *fit, uint32_t start, uint32_t count, uint32_t align,
                      uint32_t offset) {
    uint32_t skip = (align - ((start + offset) & (align - 1))) & (align - 1);
    return skip + count <= fit->length[start] ? start + skip : HFI_FIT_NONE;
}

/* Searches free blocks whose first unit is in [from, to). */
static uint32_t search(struct hfi_fit *fit, uint32_t from, uint32_t to, uint32_t count,
                       uint32_t align, uint32_t offset, uint32_t *free_start_out) {
    uint32_t best = HFI_FIT_NONE, best_length = UINT32_MAX;
    for (uint32_t w = from / 64; w < words_of(to); w++) {
        uint64_t bits = fit->free[w];
        if (w == from / 64) bits &= ~UINT64_C(0) << (from % 64);
        for (; bits != 0; bits &= bits - 1) {
            uint32_t start = w * 64 + (uint32_t)__builtin_ctzll(bits);
            if (start >= to) break;
            uint32_t at = place(fit, start, count, align, offset);
            if (at == HFI_FIT_NONE || fit->length[start] >= best_length) continue;
            best = at;
            best_length = fit->length[start];
            *free_start_out = start;
            if (fit->order != HFI_FIT_ORDER_BEST) return best;
        }
    }
    return best;
}

bool hfi_fit_whole(const struct hfi_fit *fit, uint32_t start) {
    uint32_t length = fit->length[start];
    return length != 0 && length <= fit->units - start &&
           fit->length[start + length - 1] == length &&
           hfi_fit_is_used(fit, start) != hfi_fit_is_free(fit, start);
}

uint32_t hfi_fit_take(struct hfi_fit *fit, uint32_t count, uint32_t align, uint32_t offset) {
    uint32_t free_start = 0, at;
    if (count == 0 || count > fit->largest) return HFI_FIT_NONE;
    uint32_t from = fit->order == HFI_FIT_ORDER_NEXT ? fit->cursor : 0;
    at = search(fit, from, fit->units, count, align, offset, &free_start);
    if (at == HFI_FIT_NONE && from != 0)
        at = search(fit, 0, from, count, align, offset, &free_start);
    if (at == HFI_FIT_NONE) {
        if (align == 1) fit->largest = count - 1; /* the whole range was seen */
        return HFI_FIT_NONE;
    }
    if (!hfi_fit_whole(fit, free_start)) {
        fit->damaged = true;
        fit->largest = 0;
        return HFI_FIT_NONE;
    }
    uint32_t length = fit->length[free_start], before = at - free_start;
    uint32_t after = length - before - count;
    clear_bit(fit->free, free_start);
    if (before != 0) make_free(fit, free_start, before);
    if (after != 0) make_free(fit, at + count, after);
    fit->splits += (before != 0) + (after != 0);
    tag(fit, at, count);
    set_bit(fit->used, at);
    fit->free_units -= count;
    fit->cursor = at + count < fit->units ? at + count : 0;
    return at;
}

uint32_t hfi_fit_give(struct hfi_fit *fit, uint32_t start) {
    hf_assert(hfi_fit_is_used(fit, start), start);
    uint32_t count = fit->length[start], end = start + count;
    clear_bit(fit->used, start);
    fit->free_units += count;
    if (hfi_fit_is_free(fit, end)) {
        clear_bit(fit->free, end);
        count += fit->length[end];
        fit->coalesces++;
    }
    if (start > 0) {
        uint32_t previous = start - fit->length[start - 1];
        if (hfi_fit_is_free(fit, previous)) {
            clear_bit(fit->free, previous);
            count += start - previous;
            start = previous;
            fit->coalesces++;
        }
    }
    if (fit->cursor > start && fit->cursor < start + count) fit->cursor = start;
    make_free(fit, start, count);
    return start;
}

bool hfi_fit_resize(struct hfi_fit *fit, uint32_t start, uint32_t count) {
    hf_assert(hfi_fit_is_used(fit, start) && count > 0, start, count);
    uint32_t now = fit->length[start], end = start + now;
    uint32_t behind = hfi_fit_is_free(fit, end) ? fit->length[end] : 0;
    if (count > now + behind) return false;
    if (behind != 0) clear_bit(fit->free, end);
    if (count < now && behind != 0) fit->coalesces++;
    if (count != now) fit->splits++;
    tag(fit, start, count);
    fit->free_units = fit->free_units + now - count;
    if (now + behind > count) make_free(fit, start + count, now + behind - count);
    if (fit->cursor > start && fit->cursor < start + now + behind)
        fit->cursor = start + count < fit->units ? start + count : 0;
    return true;
}

uint32_t hfi_fit_find(const struct hfi_fit *fit, uint32_t unit, bool *used_out) {
    for (uint32_t w = unit / 64 + 1; w-- > 0;) {
        uint64_t used = fit->used[w], free = fit->free[w];
        if (w == unit / 64) {
            uint64_t below = unit % 64 == 63 ? ~UINT64_C(0) : (UINT64_C(2) << (unit % 64)) - 1;
            used &= below;
            free &= below;
        }
        if ((used | free) == 0) continue;
        uint32_t bit = 63 - (uint32_t)__builtin_clzll(used | free);
        *used_out = (used >> bit) & 1;
        return w * 64 + bit;
    }
    *used_out = false;
    return HFI_FIT_NONE;
}

bool hfi_fit_next(const struct hfi_fit *fit, uint32_t start, uint32_t *length_out, bool *used_out) {
    if (start >= fit->units) return false;
    *used_out = hfi_fit_is_used(fit, start);
    *length_out = fit->length[start];
    /* A table that was overwritten ends the walk; it must not make it endless. */
    return *length_out != 0 && *length_out <= fit->units - start;
}

bool hfi_fit_check(const struct hfi_fit *fit) {
    uint32_t at = 0, length, free_units = 0;
    bool used, free_before = false;
    while (hfi_fit_next(fit, at, &length, &used)) {
        if (length == 0 || at + length > fit->units) return false;
        if (fit->length[at + length - 1] != length) return false;
        if (used == hfi_fit_is_free(fit, at)) return false;
        if (!used && (free_before || length > fit->largest)) return false;
        if (!used) free_units += length;
        free_before = !used;
        at += length;
    }
    return at == fit->units && free_units == fit->free_units;
}
