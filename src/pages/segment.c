/* segment.c - slices of the reservation: take a run, give one back, forget its pages after a while.
 *
 *   per shard, one bit a slice:   free   1 = nobody's        dirty  1 = free, memory behind it
 *                                 aged   1 = dirty since before the last tick of the decay
 * Invariants  dirty is a subset of free, aged of dirty; words at or above `top` are not committed.
 * Talks to    os.   Called by pools, middle, large, reclaim.
 * Threads     shard.lock guards its bitmaps. Purging takes slices out of the map first, so the lock
 *             is not held while the kernel works.
 * Source      bitmaps as in mimalloc's arenas (Leijen et al. 2019); two-tick ageing is a clock with
 *             one reference bit (Corbato 1968): a slice goes back after one to two ticks unused. */
#include "segment.h"

#include <string.h>

#include "base/assert.h"
#include "base/bits.h"

uintptr_t hfi_reservation_base;
size_t hfi_reservation_size;

/* A bit for each slice of a chunk. The three words stand together: a small heap touches one page of
 * them and not three. */
struct chunk {
    uint64_t free, dirty, aged;
};

struct shard {
    hfi_lock lock;
    uintptr_t base;
    uint32_t words;      /* chunks the shard may grow to                         */
    uint32_t top;        /* chunks committed so far; guarded by: lock            */
    uint32_t free_hint;  /* no free slice in a word below; guarded by: lock      */
    uint32_t dirty_hint; /* no dirty slice in a word below; guarded by: lock     */
    struct chunk *chunk; /* [words]; guarded by: lock                            */
    _Atomic uint64_t dirty_slices;
} __attribute__((aligned(64)));

static struct shard shards[HFI_ZONES * HFI_SHARDS_MAX]; /* zone by zone */
static unsigned shard_count;                            /* of one zone  */
static unsigned all_shards;
static bool huge_zone;
static _Atomic uint64_t purge_calls;
static _Atomic uint64_t bytes_returned;

#define RESERVE_WANTED ((size_t)1 << 40)
#define RESERVE_LEAST  ((size_t)64 << 20)

int hfi_segment_start(unsigned wanted_shards, bool huge) {
    size_t size = RESERVE_WANTED;
    void *base = NULL;
    if (hfi_reservation_size != 0) return 0; /* an earlier start got this far */
    while (size / 8 < hfi_os_memory_size() && size < (size_t)1 << 45)
        size *= 2;
    while (size >= RESERVE_LEAST && (base = hfi_os_reserve(size, HFI_CHUNK)) == NULL)
        size /= 2;
    if (base == NULL) return -1;
    shard_count = 1;
    while (shard_count * 2 <= wanted_shards && shard_count * 2 <= HFI_SHARDS_MAX &&
           size / (shard_count * 2 * HFI_ZONES) >= ((size_t)4 << 30))
        shard_count *= 2;
    all_shards = shard_count * HFI_ZONES;
    huge_zone = huge;
    size_t shard_size = size / all_shards;
    size_t words = shard_size >> HFI_CHUNK_SHIFT;
    struct chunk *maps = hfi_os_map(words * all_shards * sizeof *maps);
    if (maps == NULL) {
        hfi_os_unmap(base, size);
        return -1;
    }
    for (unsigned i = 0; i < all_shards; i++) {
        struct shard *s = &shards[i];
        hfi_lock_init(&s->lock, HFI_RANK_SEGMENT);
        s->base = (uintptr_t)base + i * shard_size;
        s->words = (uint32_t)words;
        s->chunk = maps + (size_t)i * words;
    }
    hfi_reservation_base = (uintptr_t)base;
    hfi_reservation_size = size;
    return 0;
}

unsigned hfi_segment_shards(void) {
    return shard_count;
}

unsigned hfi_segment_home(unsigned thread_number, int node) {
    unsigned nodes = hfi_os_node_count();
    if (nodes == 1 || shard_count < nodes) return thread_number % shard_count;
    unsigned wanted = node >= 0 ? (unsigned)node % nodes : hfi_os_node_current();
    unsigned per_node = shard_count / nodes;
    return wanted + nodes * (thread_number % per_node);
}

/* Makes `count` more chunks usable. 0 or -1. */
static int shard_grow(struct shard *s, uint32_t count) HF_REQUIRES(s->lock) {
    if (count > s->words - s->top) return -1;
    uint32_t ahead = s->top / 8 < 16 ? s->top / 8 : 16;
    if (count + ahead <= s->words - s->top) count += ahead;
    char *start = (char *)s->base + ((size_t)s->top << HFI_CHUNK_SHIFT);
    /* One slice more than is used: checks read a trailer's length behind a wild pointer. */
    size_t margin = count < s->words - s->top ? HFI_SLICE : 0;
    if (hfi_os_commit(start, ((size_t)count << HFI_CHUNK_SHIFT) + margin) != 0) return -1;
    if (hfi_os_node_count() > 1)
        (void)hfi_os_node_bind(start, (size_t)count << HFI_CHUNK_SHIFT,
                               (unsigned)(s - shards) % shard_count % hfi_os_node_count());
    if (huge_zone && s >= &shards[HFI_ZONE_HUGE * shard_count])
        hfi_os_huge(start, (size_t)count << HFI_CHUNK_SHIFT, true);
    for (uint32_t w = s->top; w < s->top + count; w++)
        s->chunk[w].free = ~UINT64_C(0);
    if (s->top == 0) s->chunk[0].free &= ~UINT64_C(1);
    if (s->top + count == s->words) s->chunk[s->words - 1].free &= ~(UINT64_C(1) << 63);
    if (s->free_hint > s->top) s->free_hint = s->top;
    s->top += count;
    return 0;
}

/* Index of a free slice, dirty ones first; SIZE_MAX if there is none. */
static size_t find_one(struct shard *s) HF_REQUIRES(s->lock) {
    if (atomic_load_explicit(&s->dirty_slices, memory_order_relaxed) != 0) {
        for (uint32_t w = s->dirty_hint; w < s->top; w++) {
            if (s->chunk[w].dirty == 0) continue;
            s->dirty_hint = w;
            return (size_t)w * 64 + (unsigned)__builtin_ctzll(s->chunk[w].dirty);
        }
        s->dirty_hint = s->top;
    }
    for (uint32_t w = s->free_hint; w < s->top; w++) {
        if (s->chunk[w].free == 0) continue;
        s->free_hint = w;
        return (size_t)w * 64 + (unsigned)__builtin_ctzll(s->chunk[w].free);
    }
    s->free_hint = s->top;
    return SIZE_MAX;
}

/* First run of `count` free slices (all of them `dirty`, if asked) whose start is a multiple of
 * `align`; SIZE_MAX if there is none. *tail_out: slices at the very end, to which growth would add. */
static size_t scan_run(const struct shard *s, bool dirty, uint32_t from, size_t count, size_t align,
                       size_t *tail_out) {
    size_t start = 0, end = 0; /* current run */
    /* A shard begins at a chunk; greater alignments count from address 0. */
    size_t bias = (s->base >> HFI_SLICE_SHIFT) & (align - 1);
    for (uint32_t w = from; w < s->top; w++) {
        uint64_t bits = dirty ? s->chunk[w].dirty : s->chunk[w].free;
        size_t at = (size_t)w * 64;
        if (bits == 0) continue;
        if (bits == ~UINT64_C(0)) {
            if (end != at) start = at;
            end = at + 64;
        }
        for (unsigned bit = 0; bits != 0 && bits != ~UINT64_C(0);) {
            bit = (unsigned)__builtin_ctzll(bits);
            uint64_t shifted = ~(bits >> bit);
            unsigned length = (unsigned)__builtin_ctzll(shifted);
            if (end != at + bit) start = at + bit;
            end = at + bit + length;
            size_t fit = ((start + bias + align - 1) & ~(align - 1)) - bias;
            if (fit + count <= end) return fit;
            if (bit + length >= 64) break;
            bits &= ~(((UINT64_C(1) << length) - 1) << bit);
        }
        size_t fit = ((start + bias + align - 1) & ~(align - 1)) - bias;
        if (fit + count <= end) return fit;
    }
    *tail_out = end == (size_t)s->top * 64 ? end - start : 0;
    return SIZE_MAX;
}

/* A warm run if there is one, else any. */
static size_t find_run(const struct shard *s, size_t count, size_t align, size_t *tail_out) {
    if (atomic_load_explicit(&s->dirty_slices, memory_order_relaxed) >= count) {
        size_t warm = scan_run(s, true, s->dirty_hint, count, align, tail_out);
        if (warm != SIZE_MAX) return warm;
    }
    return scan_run(s, false, s->free_hint, count, align, tail_out);
}

/* Marks slices taken; true if none of them was dirty. */
static bool mark_taken(struct shard *s, size_t index, size_t count) HF_REQUIRES(s->lock) {
    uint64_t was_dirty = 0;
    while (count > 0) {
        size_t w = index / 64, bit = index % 64;
        size_t n = 64 - bit < count ? 64 - bit : count;
        uint64_t mask = (n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << bit;
        hf_assert((s->chunk[w].free & mask) == mask);
        was_dirty += hfi_bits(s->chunk[w].dirty & mask);
        s->chunk[w].free &= ~mask;
        s->chunk[w].dirty &= ~mask;
        s->chunk[w].aged &= ~mask;
        index += n;
        count -= n;
    }
    if (was_dirty != 0)
        atomic_fetch_sub_explicit(&s->dirty_slices, was_dirty, memory_order_relaxed);
    return was_dirty == 0;
}

static void mark_free(struct shard *s, size_t index, size_t count, bool dirty)
    HF_REQUIRES(s->lock) {
    if (index / 64 < s->free_hint) s->free_hint = (uint32_t)(index / 64);
    if (dirty && index / 64 < s->dirty_hint) s->dirty_hint = (uint32_t)(index / 64);
    if (dirty) atomic_fetch_add_explicit(&s->dirty_slices, count, memory_order_relaxed);
    while (count > 0) {
        size_t w = index / 64, bit = index % 64;
        size_t n = 64 - bit < count ? 64 - bit : count;
        uint64_t mask = (n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << bit;
        hf_assert((s->chunk[w].free & mask) == 0);
        s->chunk[w].free |= mask;
        if (dirty) s->chunk[w].dirty |= mask;
        index += n;
        count -= n;
    }
}

static void *shard_take(struct shard *s, size_t count, size_t align, bool *zero_out) {
    size_t tail = 0, index;
    hfi_lock_acquire(&s->lock);
    index = count == 1 && align == 1 ? find_one(s) : find_run(s, count, align, &tail);
    if (index == SIZE_MAX) {
        /* Alignment can eat up to align - 1 slices of the run that growth makes. */
        size_t missing = count + (align - 1) + (s->top == 0) - (tail < count ? tail : count - 1);
        if (missing / 64 + 1 < UINT32_MAX && shard_grow(s, (uint32_t)((missing + 63) / 64)) == 0)
            index = count == 1 && align == 1 ? find_one(s) : find_run(s, count, align, &tail);
    }
    void *base = NULL;
    if (index != SIZE_MAX) {
        *zero_out = mark_taken(s, index, count);
        base = (char *)s->base + index * HFI_SLICE;
    }
    hfi_lock_release(&s->lock);
    return base;
}

void *hfi_segment_take(enum hfi_zone zone, size_t count, size_t align_slices, unsigned home,
                       bool *zero_out) {
    struct shard *of_zone = &shards[zone * shard_count];
    for (unsigned i = 0; i < shard_count; i++) {
        void *base = shard_take(&of_zone[(home + i) % shard_count], count, align_slices, zero_out);
        if (base != NULL) return base;
    }
    return NULL;
}

static struct shard *shard_of(uintptr_t address, size_t *index_out) {
    size_t shard_size = hfi_reservation_size / all_shards;
    size_t offset = address - hfi_reservation_base;
    *index_out = (offset % shard_size) >> HFI_SLICE_SHIFT;
    return &shards[offset / shard_size];
}

void hfi_segment_give(void *base, size_t count, bool dirty) {
    size_t index;
    struct shard *s = shard_of((uintptr_t)base, &index);
    hfi_lock_acquire(&s->lock);
    mark_free(s, index, count, dirty);
    hfi_lock_release(&s->lock);
}

bool hfi_segment_extend(void *end, size_t count, bool *zero_out) {
    size_t index;
    if (!hfi_segment_owns(end)) return false;
    struct shard *s = shard_of((uintptr_t)end, &index);
    if ((uintptr_t)end == s->base) return false; /* the segment ended with its shard */
    bool whole = true;
    hfi_lock_acquire(&s->lock);
    if ((size_t)s->words * 64 - index < count)
        whole = false;
    else if (index + count > (size_t)s->top * 64)
        whole = shard_grow(s, (uint32_t)((index + count + 63) / 64 - s->top)) == 0;
    for (size_t i = index; whole && i < index + count; i++)
        whole = (s->chunk[i / 64].free >> (i % 64)) & 1;
    if (whole) *zero_out = mark_taken(s, index, count);
    hfi_lock_release(&s->lock);
    return whole;
}

/* Purges the slices of `bits`; they are marked taken meanwhile. */
static void purge_word(const struct shard *s, size_t w, uint64_t bits) {
    char *chunk = (char *)s->base + (w << HFI_CHUNK_SHIFT);
    for (uint64_t rest = bits; rest != 0;) {
        unsigned bit = (unsigned)__builtin_ctzll(rest);
        uint64_t shifted = ~(rest >> bit);
        unsigned length = shifted == 0 ? 64 : (unsigned)__builtin_ctzll(shifted);
        hfi_os_purge(chunk + bit * HFI_SLICE, length * HFI_SLICE);
        atomic_fetch_add_explicit(&purge_calls, 1, memory_order_relaxed);
        if (length == 64) break;
        rest &= ~(((UINT64_C(1) << length) - 1) << bit);
    }
}

/* The kernel fills a huge page as a whole, so behind a block that ends inside one there is memory in
 * slices that nobody took yet. It goes with the block's own: the clean slices of those huge pages. */
static uint64_t huge_company(const struct chunk *c, uint64_t due) {
    const uint64_t half = (UINT64_C(1) << (HFI_HUGE_PAGE / HFI_SLICE)) - 1;
    uint64_t pages = ((due & half) != 0 ? half : 0) | ((due & ~half) != 0 ? ~half : 0);
    return c->free & ~c->dirty & pages;
}
_Static_assert(HFI_HUGE_PAGE * 2 == HFI_CHUNK, "a chunk is two huge pages");

static size_t shard_decay(struct shard *s, bool force, size_t *left_out) {
    size_t purged = 0;
    bool huge = huge_zone && s >= &shards[HFI_ZONE_HUGE * shard_count];
    if (atomic_load_explicit(&s->dirty_slices, memory_order_relaxed) == 0) return 0;
    hfi_lock_acquire(&s->lock);
    for (uint32_t w = 0; w < s->top; w++) {
        struct chunk *c = &s->chunk[w];
        uint64_t due = force ? c->dirty : c->aged;
        if (due != 0) {
            uint64_t all = due | (huge ? huge_company(c, due) : 0);
            c->free &= ~all;
            c->dirty &= ~due;
            c->aged &= ~due;
            atomic_fetch_sub_explicit(&s->dirty_slices, hfi_bits(due), memory_order_relaxed);
            hfi_lock_release(&s->lock);
            purge_word(s, w, all);
            purged += hfi_bits(due) * HFI_SLICE;
            hfi_lock_acquire(&s->lock);
            c->free |= all;
            if (w < s->free_hint) s->free_hint = w;
        }
        c->aged = c->dirty;
    }
    *left_out += atomic_load_explicit(&s->dirty_slices, memory_order_relaxed) * HFI_SLICE;
    hfi_lock_release(&s->lock);
    return purged;
}

size_t hfi_segment_decay(bool force, size_t *left_out) {
    size_t purged = 0, left = 0;
    for (unsigned i = 0; i < all_shards; i++)
        purged += shard_decay(&shards[i], force, &left);
    atomic_fetch_add_explicit(&bytes_returned, purged, memory_order_relaxed);
    if (left_out != NULL) *left_out = left;
    return purged;
}

size_t hfi_segment_trim(void) {
    size_t purged = 0, left = 0;
    for (unsigned i = HFI_ZONE_SMALL * shard_count; i < (HFI_ZONE_SMALL + 1) * shard_count; i++)
        purged += shard_decay(&shards[i], true, &left);
    atomic_fetch_add_explicit(&bytes_returned, purged, memory_order_relaxed);
    return purged;
}

size_t hfi_segment_dirty(enum hfi_zone zone) {
    uint64_t slices = 0;
    for (unsigned i = zone * shard_count; i < (zone + 1) * shard_count; i++)
        slices += atomic_load_explicit(&shards[i].dirty_slices, memory_order_relaxed);
    return slices * HFI_SLICE;
}

uint64_t hfi_segment_purges(void) {
    return atomic_load_explicit(&purge_calls, memory_order_relaxed);
}

uint64_t hfi_segment_returned(void) {
    return atomic_load_explicit(&bytes_returned, memory_order_relaxed);
}

void hfi_segment_note_returned(size_t bytes) {
    if (bytes == 0) return;
    atomic_fetch_add_explicit(&purge_calls, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&bytes_returned, bytes, memory_order_relaxed);
}

uint64_t hfi_segment_lock_waits(uint64_t *wait_ns_out) {
    uint64_t waits = 0;
    *wait_ns_out = 0;
    for (unsigned i = 0; i < all_shards; i++) {
        waits += shards[i].lock.waits;
        *wait_ns_out += shards[i].lock.wait_ns;
    }
    return waits;
}

void hfi_segment_visit(void (*visit)(uintptr_t, uintptr_t, void *), void *context) {
    for (unsigned i = 0; i < all_shards; i++) {
        struct shard *s = &shards[i];
        size_t at = 1, top = (size_t)s->top * 64;
        while (at < top) {
            hfi_lock_acquire(&s->lock);
            while (at < top && ((s->chunk[at / 64].free >> (at % 64)) & 1))
                at++;
            size_t start = at;
            while (at < top && !((s->chunk[at / 64].free >> (at % 64)) & 1))
                at++;
            hfi_lock_release(&s->lock);
            if (at > start) visit(s->base + start * HFI_SLICE, s->base + at * HFI_SLICE, context);
        }
    }
}

void hfi_segment_fork_prepare(void) HF_NO_THREAD_SAFETY {
    for (unsigned i = 0; i < all_shards; i++)
        hfi_lock_acquire_peer(&shards[i].lock);
}

void hfi_segment_fork_parent(void) HF_NO_THREAD_SAFETY {
    for (unsigned i = all_shards; i-- > 0;)
        hfi_lock_release(&shards[i].lock);
}

void hfi_segment_fork_child(void) {
    for (unsigned i = 0; i < all_shards; i++)
        hfi_lock_reinit(&shards[i].lock);
}
