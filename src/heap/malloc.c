/* malloc.c - the general way to a block and back, for every heap, tier, alignment and profile.
 *
 *   size --> small: class -> tcache -> pool | middle: fit | large: segment
 *   free --> pagemap: whose? --> checks of that tier --> back
 *
 * Invariants  what hfi_alloc returns is sealed (unless the profile is fast): hfi_resolve finds it.
 * Talks to    tcache, middle, large, diagnose, sites.   Called by hot.c, api.c.
 * Threads     any.
 * Fails with  NULL and ENOMEM after one forced reclaim; frees report what is wrong and return. */
#include "malloc.h"

#include <errno.h>
#include <string.h>

#include "base/report.h"
#include "base/rng.h"
#include "heap_state.h"
#include "large.h"
#include "middle.h"
#include "middle_keep.h"
#include "pool.h"
#include "reclaim.h"
#include "sites.h"
#include "tcache.h"

static struct hfi_tcache *cache_of(hf_heap *heap) {
    if (heap->is_default && hfi_tcache_current != &hfi_tcache_empty) return hfi_tcache_current;
    return hfi_tcache_of(heap);
}

/* --- allocation ----------------------------------------------------------------------------- */

bool hfi_freed_whole(hf_heap *heap, const void *payload, size_t extent) {
    const char *block = payload;
    uint64_t pattern = hfi_block_pattern;
    size_t words = 1;
    if (heap->fill) {
        if (hfi_likely(hfi_block_filled_whole(block, extent))) return true;
        uint64_t note = hfi_block_peek_note_freed(block, extent);
        words = hfi_block_fill_words(extent, note <= HFI_NOTE_MAX ? note : 0);
    }
    bool zero_allowed = false;
    for (size_t i = 0; i < words; i++) {
        uint64_t word = hfi_peek64(block + 8 * i);
        if (hfi_likely(word == pattern)) continue;
        if (word != 0) return false;
        /* Zeroes are what a page that was given back reads as. */
        if (!zero_allowed) {
            const struct hfi_slab *slab = (const struct hfi_slab *)hfi_pagemap_owner(block);
            if (!hfi_peek(slab->purged)) return false;
            zero_allowed = true;
        }
    }
    return true;
}

static void *small_take(hf_heap *heap, struct hfi_tcache *tc, unsigned class_index) {
    size_t extent = hfi_class_size[class_index];
    for (;;) {
        char *block =
            tc != NULL ? hfi_tcache_pop(tc, class_index) : hfi_direct_pop(heap, class_index);
        if (block == NULL || !heap->trailer || hfi_likely(hfi_freed_whole(heap, block, extent)))
            return block;
        hfi_report_written(heap, block, extent, "malloc");
    }
}

/* Poisson-like: the gap to the next sample is drawn anew around the mean. */
static bool sample_due(hf_heap *heap, struct hfi_tcache *tc) {
    if (tc == NULL || tc->sample_left >= 0 || heap->options.sites != HF_SITES_SAMPLED) return false;
    uint64_t mean = heap->options.site_interval;
    /* -log(u) by its series in base 2: bits of a random word before the first one, with a fraction. */
    uint64_t random = hfi_rng_next(&tc->rng) | 1;
    unsigned zeroes = (unsigned)__builtin_clzll(random);
    uint64_t fraction = (random << zeroes << 1) >> 44; /* 20 bits */
    tc->sample_left =
        (int64_t)((mean * 710 >> 10) * (zeroes * 1048576ull + (1048576 - fraction)) >> 20);
    return heap->trailer;
}

struct block_want {
    size_t size, alignment;
    size_t total; /* size and what is kept behind it */
    bool guarded;
};

/* Class of the small tier that serves the request, or none. */
static unsigned small_class(const struct block_want *want) {
    if (want->guarded) return HFI_CLASS_NONE;
    if (want->alignment > 16) {
        unsigned class_index = hfi_class_aligned(want->total, want->alignment);
        /* Small blocks of large alignment have more slack than a note can say. */
        if (class_index == HFI_CLASS_NONE) return class_index;
        return hfi_class_size[class_index] - want->total <= HFI_SLACK_MAX ? class_index
                                                                          : HFI_CLASS_NONE;
    }
    return want->total <= HFI_SMALL_MAX ? hfi_class_of(want->total | (want->total == 0))
                                        : HFI_CLASS_NONE;
}

static void *take(hf_heap *heap, struct hfi_tcache *tc, const struct block_want *want,
                  size_t *extent_out, bool *zero_out) {
    void *block;
    *zero_out = false;
    unsigned class_index = small_class(want);
    if (class_index != HFI_CLASS_NONE) {
        *extent_out = hfi_class_size[class_index];
        return small_take(heap, tc, class_index);
    }
    if (want->total <= HFI_MIDDLE_MAX && want->alignment <= HFI_SLICE && !want->guarded) {
        block = hfi_middle_alloc(heap, tc, want->total, want->alignment, extent_out, zero_out);
        if (block != NULL && tc != NULL) hfi_own_add(tc->middle_allocs, 1);
        if (block != NULL && tc == NULL)
            atomic_fetch_add_explicit(&heap->gone_middle_allocs, 1, memory_order_relaxed);
        return block;
    }
    bool guarded = want->guarded || heap->fill;
    block = hfi_large_alloc(heap, tc, want->total, want->alignment, extent_out, zero_out, guarded);
    if (block != NULL && tc != NULL) hfi_own_add(tc->large_allocs, 1);
    if (block != NULL && tc == NULL)
        atomic_fetch_add_explicit(&heap->gone_large_allocs, 1, memory_order_relaxed);
    return block;
}

static bool guard_due(hf_heap *heap, struct hfi_tcache *tc) {
    uint64_t every = heap->options.guard_every;
    return every != 0 && tc != NULL && hfi_rng_below(&tc->rng, (uint32_t)every) == 0;
}

/* A middle block of about this size that was freed a moment ago; NULL if the general way is wanted. */
static void *middle_reuse(hf_heap *heap, struct hfi_tcache *tc, size_t size, int domain) {
    if (tc == NULL || tc->kept_in == NULL || size > HFI_MIDDLE_KEPT_UNITS * HFI_MIDDLE_UNIT ||
        (tc->sample_left < 0 && heap->trailer))
        return NULL;
    void *block = hfi_middle_reuse(tc->kept_in, size, domain);
    if (block != NULL) hfi_own_add(tc->middle_allocs, 1);
    return block;
}

static inline bool above_limit(hf_heap *heap, size_t size) {
    uint64_t limit = heap->options.limit_block;
    if (hfi_likely(limit == 0 || size <= limit)) return false;
    hfi_heap_limited(heap);
    return true;
}

void *hfi_alloc(hf_heap *heap, size_t size, size_t alignment, int domain, bool zero) {
    if (hfi_unlikely(heap->is_default) && !hfi_start()) return hfi_heap_failed(heap);
    struct hfi_tcache *tc = cache_of(heap);
    if (size > HFI_SMALL_MAX && alignment <= 16) {
        void *kept = middle_reuse(heap, tc, size, domain);
        if (kept != NULL) return zero ? memset(kept, 0, size) : kept;
    }
    if (size > PTRDIFF_MAX - HFI_PAGE || alignment > (size_t)1 << 40 || above_limit(heap, size))
        return hfi_heap_failed(heap);
    struct block_want want = {.size = size, .alignment = alignment, .total = size};
    bool site = heap->all_sites || sample_due(heap, tc);
    uint32_t number = site ? hfi_site_here() : 0;
    site = number != 0;
    /* With a site at least eight bytes of slack: the pattern, not the site, is what an overflow meets. */
    if (heap->trailer) want.total += HFI_TRAILER + (site ? HFI_SITE_WORD + 8 : 0);
    want.guarded = guard_due(heap, tc);
    size_t extent = 0;
    bool reads_zero;
    char *block = take(heap, tc, &want, &extent, &reads_zero);
    if (hfi_unlikely(block == NULL)) {
        hfi_reclaim_for_failure();
        hfi_limit_met = false;
        block = take(heap, tc, &want, &extent, &reads_zero);
        if (block == NULL) {
            if (hfi_limit_met) hfi_heap_limited(heap);
            return hfi_heap_failed(heap);
        }
    }
    if (heap->trailer) {
        size_t kept = HFI_TRAILER + (site ? HFI_SITE_WORD : 0);
        uint64_t note = (extent - kept - size) | (uint64_t)domain << HFI_DOMAIN_SHIFT |
                        (site ? HFI_NOTE_SITE : 0);
        hfi_block_seal(block, extent, size, note);
        if (site) hfi_store64(hfi_block_limit(block, extent, note), number);
        if (want.guarded || (heap->fill && extent > HFI_MIDDLE_MAX))
            hfi_large_sealed(block, note, number);
    }
    /* After the seal: a walk meets a live block, not one in the making for as long as this takes. */
    if (zero && !reads_zero) memset(block, 0, size);
    hfi_heap_check_growth(heap);
    return block;
}

void *hfi_alloc_suspect(hf_heap *heap, void *block, unsigned class_index, size_t size, int domain) {
    size_t extent = hfi_class_size[class_index];
    if (!hfi_freed_whole(heap, block, extent)) {
        hfi_report_written(heap, block, extent, "malloc");
        return hfi_alloc(heap, size, 16, domain, false);
    }
    hfi_block_seal(block, extent, size,
                   (extent - HFI_TRAILER - size) | (uint64_t)domain << HFI_DOMAIN_SHIFT);
    return block;
}

/* --- what a pointer is ---------------------------------------------------------------------- */

bool hfi_resolve(const void *block, struct hfi_live *live) {
    struct hfi_owner *owner = hfi_pagemap_owner(block);
    void *payload;
    *live = (struct hfi_live){.owner = owner, .note = HFI_NOTE_MAX + 1};
    if (owner == NULL || ((uintptr_t)block & 15) != 0) return false;
    if (owner->kind == HFI_OWNER_SLAB) {
        struct hfi_slab *slab = (struct hfi_slab *)owner;
        uint32_t index = hfi_slab_index(slab, block);
        if (index == UINT32_MAX || hfi_slab_block(slab, index) != block) return false;
        if (index >= hfi_peek(slab->fresh) && slab->pool->heap->trailer) return false;
        live->heap = slab->pool->heap;
        live->class_index = slab->pool->class_index;
        live->extent = slab->block_size;
        if (!live->heap->trailer && hfi_slab_has(slab, index)) return false;
    } else if (owner->kind == HFI_OWNER_MIDDLE) {
        struct hfi_middle_pool *pool = (struct hfi_middle_pool *)owner;
        if (hfi_middle_find(pool, block, &payload, &live->extent) != HFI_MIDDLE_START) return false;
        live->heap = pool->heap;
    } else {
        struct hfi_large *large = (struct hfi_large *)owner;
        if (large->payload != block || !large->live || !hfi_large_header_whole(large)) return false;
        live->heap = large->heap;
        live->extent = large->extent;
    }
    live->size = live->extent;
    live->note = 0;
    if (!live->heap->trailer) return true;
    live->note = hfi_block_note(block, live->extent);
    if (live->note > HFI_NOTE_MAX) return false;
    size_t kept = HFI_TRAILER + ((live->note & HFI_NOTE_SITE) ? HFI_SITE_WORD : 0);
    if ((live->note & HFI_SLACK_MAX) + kept > live->extent) return false;
    live->size = hfi_block_size(live->extent, live->note);
    return true;
}

size_t hfi_size_of(const void *block) {
    struct hfi_live live;
    return hfi_resolve(block, &live) ? live.size : 0;
}

static int note_domain(uint64_t note) {
    return (int)(note >> HFI_DOMAIN_SHIFT) & 3;
}

/* The bytes behind the payload are as they should be. */
static bool behind_whole(const void *block, const struct hfi_live *live) {
    return !live->heap->trailer ||
           hfi_block_pattern_whole(hfi_block_limit(block, live->extent, live->note),
                                   live->note & HFI_SLACK_MAX);
}

/* --- free ----------------------------------------------------------------------------------- */

/* Leaves the block as a freed one looks. */
static void mark_freed(hf_heap *heap, char *block, const struct hfi_live *live) {
    if (!heap->trailer) {
        if (heap->options.zero_on_free) memset(block, 0, live->size);
        return;
    }
    if (live->note & HFI_NOTE_SITE) {
        char *word = hfi_block_limit(block, live->extent, live->note);
        hfi_store64(word, (hfi_load64(word) & UINT32_MAX) | (uint64_t)hfi_site_here() << 32);
    }
    if (heap->options.zero_on_free) memset(block, 0, live->size);
    hfi_block_mark_freed(block, live->extent);
    if (live->owner->kind != HFI_OWNER_SLAB) return;
    hfi_block_fill(block, heap->fill ? hfi_block_fill_words(live->extent, live->note) : 1);
}

static void small_give(hf_heap *heap, char *block, const struct hfi_live *live) {
    struct hfi_tcache *tc = cache_of(heap);
    struct hfi_slab *slab = (struct hfi_slab *)live->owner;
    if (hfi_unlikely(hfi_slab_quarantined(slab))) {
        hfi_lock_acquire(&slab->pool->lock);
        (void)hfi_slab_give(slab, hfi_slab_index(slab, block));
        hfi_lock_release(&slab->pool->lock);
        return;
    }
    if (tc == NULL) {
        hfi_direct_push(heap, live->class_index, block);
        return;
    }
    if (tc->delay != NULL && live->extent <= HFI_HARDENED_DELAY_MAX) {
        /* A sweep that found this thread asleep may be emptying the delay right now. */
        hfi_tcache_enter(tc);
        (void)hfi_tcache_restore(tc);
        void **place =
            &tc->delay[live->class_index].blocks[hfi_rng_below(&tc->rng, HFI_DELAY_SLOTS)];
        void *out = hfi_own_load(*place);
        hfi_own_store(*place, block);
        hfi_tcache_leave(tc);
        block = out;
        if (block == NULL) return;
    }
    hfi_tcache_push(tc, live->class_index, block);
}

/* A middle block as most are, of a heap as most are, goes back without a second look. */
static bool middle_keep(hf_heap *only, char *block, int domain, size_t expected_size) {
    struct hfi_middle_pool *pool = (struct hfi_middle_pool *)hfi_pagemap_owner(block);
    if (pool == NULL || pool->owner.kind != HFI_OWNER_MIDDLE) return false;
    hf_heap *heap = pool->heap;
    if (!heap->keeps || (only != NULL && heap != only)) return false;
    int saved = errno;
    bool kept = hfi_middle_keep(pool, block, domain, expected_size);
    struct hfi_tcache *tc = kept ? cache_of(heap) : NULL;
    if (tc != NULL) tc->kept_in = pool;
    errno = saved;
    return kept;
}

void hfi_free(hf_heap *only, void *pointer, int domain, size_t expected_size) {
    char *block = pointer;
    struct hfi_live live;
    if (block == NULL || middle_keep(only, block, domain, expected_size)) return;
    int saved = errno;
    if (hfi_unlikely(!hfi_resolve(block, &live))) {
        hfi_diagnose(only, block, "free");
    } else if (hfi_unlikely(only != NULL && live.heap != only)) {
        hfi_report_foreign(only, block, "free");
    } else if (hfi_unlikely(!behind_whole(block, &live))) {
        hfi_diagnose(only, block, "free");
    } else {
        hf_heap *heap = live.heap;
        if (heap->trailer && note_domain(live.note) != domain)
            hfi_report_domain(heap, block, note_domain(live.note), domain, "free");
        if (heap->trailer && expected_size != SIZE_MAX && expected_size != live.size)
            hfi_report_size(heap, block, expected_size, "free");
        /* Where each free takes its time anyway, the neighbour is looked at at once. */
        if ((heap->fill || heap->all_sites) && live.owner->kind == HFI_OWNER_SLAB)
            (void)hfi_verify_before(heap, block, live.extent, "free");
        mark_freed(heap, block, &live);
        if (live.owner->kind == HFI_OWNER_SLAB)
            small_give(heap, block, &live);
        else if (live.owner->kind == HFI_OWNER_MIDDLE)
            hfi_middle_free((struct hfi_middle_pool *)live.owner, block);
        else
            hfi_large_free((struct hfi_large *)live.owner);
    }
    errno = saved;
}

/* --- realloc -------------------------------------------------------------------------------- */

static void reseal(char *block, size_t extent, size_t size, uint64_t note) {
    size_t kept = HFI_TRAILER + ((note & HFI_NOTE_SITE) ? HFI_SITE_WORD : 0);
    hfi_block_seal(block, extent, size, (extent - kept - size) | (note & ~(uint64_t)HFI_SLACK_MAX));
}

/* Resizes without copying. The (possibly moved) block, or NULL if the caller must copy. */
static void *resize(char *block, size_t size, const struct hfi_live *live) {
    size_t kept = 0, extent = live->extent;
    uint64_t site_word = 0;
    char *place = block;
    bool trailer = live->heap->trailer, moved;
    if (trailer) {
        kept = HFI_TRAILER + ((live->note & HFI_NOTE_SITE) ? HFI_SITE_WORD + 8 : 0);
        site_word = hfi_load64(hfi_block_limit(block, extent, live->note));
    }
    size_t total = size + kept;
    if (live->owner->kind == HFI_OWNER_SLAB) {
        if (total > extent || extent - total > HFI_SLACK_MAX || total < extent / 2) return NULL;
    } else if (live->owner->kind == HFI_OWNER_MIDDLE) {
        if (total > HFI_MIDDLE_MAX || total <= HFI_SMALL_MAX / 2) return NULL;
        extent = hfi_middle_resize((struct hfi_middle_pool *)live->owner, block, total);
        if (extent == 0) return NULL;
    } else {
        if (total <= HFI_MIDDLE_MAX / 2) return NULL;
        place = hfi_large_resize((struct hfi_large *)live->owner, total, &extent, &moved);
        if (place == NULL) return NULL;
    }
    if (trailer) {
        reseal(place, extent, size, live->note);
        if (live->note & HFI_NOTE_SITE)
            hfi_store64(hfi_block_limit(place, extent, live->note), site_word);
    }
    return place;
}

/* hfi_resolve refused it: is it the start of a block that was handed out and not freed? */
static bool is_damaged(const void *block, const struct hfi_live *live) {
    if (live->heap == NULL || live->extent == 0 || !live->heap->trailer) return false;
    if (hfi_block_note_freed(block, live->extent) <= HFI_NOTE_MAX) return false;
    if (live->owner->kind != HFI_OWNER_SLAB) return true;
    struct hfi_slab *slab = (struct hfi_slab *)live->owner;
    hfi_lock_acquire(&slab->pool->lock);
    bool here = hfi_slab_has(slab, hfi_slab_index(slab, block));
    hfi_lock_release(&slab->pool->lock);
    return !here;
}

void *hfi_realloc(hf_heap *heap, void *pointer, size_t size, int domain) {
    char *block = pointer;
    struct hfi_live live;
    if (block == NULL) return hfi_alloc(heap, size, 16, domain, false);
    if (size == 0) {
        hfi_free(heap->is_default ? NULL : heap, block, domain, SIZE_MAX);
        return NULL;
    }
    if (!hfi_resolve(block, &live)) {
        /* A live block whose trailer is gone: what can be its content moves to a new one. */
        char *copy =
            is_damaged(block, &live) ? hfi_alloc(live.heap, size, 16, domain, false) : NULL;
        if (copy != NULL) {
            size_t most = live.extent - HFI_TRAILER;
            memcpy(copy, block, most < size ? most : size);
        }
        hfi_diagnose(heap, block, "realloc");
        return copy != NULL ? copy : hfi_heap_failed(heap);
    }
    if (!heap->is_default && live.heap != heap) {
        hfi_report_foreign(heap, block, "realloc");
        return hfi_heap_failed(heap);
    }
    struct hfi_tcache *tc = cache_of(live.heap);
    if (live.heap->trailer && note_domain(live.note) != domain)
        hfi_report_domain(live.heap, block, note_domain(live.note), domain, "realloc");
    bool whole = behind_whole(block, &live);
    if (size > PTRDIFF_MAX - HFI_PAGE || above_limit(live.heap, size))
        return hfi_heap_failed(live.heap);
    if (whole) {
        char *same = resize(block, size, &live);
        if (same != NULL) {
            if (tc != NULL && same == block) hfi_own_add(tc->in_place, 1);
            if (tc != NULL && same != block) hfi_own_add(tc->moved, 1);
            hfi_heap_check_growth(live.heap);
            return same;
        }
    }
    char *copy = hfi_alloc(live.heap, size, 16, domain, false);
    if (copy == NULL) return NULL;
    memcpy(copy, block, live.size < size ? live.size : size);
    if (tc != NULL) hfi_own_add(tc->moved, 1);
    if (whole)
        hfi_free(NULL, block, note_domain(live.note), SIZE_MAX);
    else
        hfi_diagnose(heap, block, "realloc"); /* the damaged one stays out of service */
    return copy;
}
