/* large.c - segments handed out whole; freed ones wait in a bounded cache that decays.
 *
 *   | payload ... slack | trailer |  (guard page)   unused rest of the last slice
 *
 * Invariants  a large block is in `live` or `cached`; cached_bytes is the sum over `cached`.
 * Talks to    segment, pagemap, meta.   Called by malloc, reclaim, walk.
 * Threads     set.lock for the lists; a block's fields belong to whoever took it off a list.
 * Why         the cache is what makes NumPy's temporaries cheap: 8 MiB from the kernel costs 2,000
 *             faults of 0.5 us; it is best fit within 25 %, so that blocks are not wasted on small
 *             requests, and what is not asked for again within the decay time goes back. */
#include "large.h"

#include <string.h>

#include "heap_state.h"
#include "reclaim.h"

#define HUGE_LEAST ((size_t)4 << 20) /* from here on huge pages pay, as NumPy found */

struct hfi_large_set {
    hfi_lock lock;
    struct hfi_large *live, *cached, *cached_last; /* guarded by: lock */
    uint64_t made, live_count, live_bytes, cached_bytes, quarantined_bytes; /* guarded by: lock */
};

struct hfi_large_set *hfi_large_make(hf_heap *heap) {
    (void)heap;
    struct hfi_large_set *set = hfi_meta_alloc(sizeof *set);
    if (set != NULL) hfi_lock_init(&set->lock, HFI_RANK_LARGE);
    return set;
}

static size_t round_page(size_t size) {
    return (size + HFI_PAGE - 1) & ~(HFI_PAGE - 1);
}

static size_t segment_size(const struct hfi_large *large) {
    return large->slices * HFI_SLICE;
}

/* --- lists ---------------------------------------------------------------------------------- */

static void live_push(struct hfi_large_set *set, struct hfi_large *large) HF_REQUIRES(set->lock) {
    large->prev = NULL;
    large->next = set->live;
    if (set->live != NULL) set->live->prev = large;
    set->live = large;
    large->number = ++set->made;
    set->live_count++;
    set->live_bytes += segment_size(large);
    atomic_store_explicit(&large->state, HFI_LARGE_LIVE, memory_order_relaxed);
}

static void live_remove(struct hfi_large_set *set, struct hfi_large *large) HF_REQUIRES(set->lock) {
    if (large->prev != NULL)
        large->prev->next = large->next;
    else
        set->live = large->next;
    if (large->next != NULL) large->next->prev = large->prev;
    set->live_count--;
    set->live_bytes -= segment_size(large);
}

static void cached_push(struct hfi_large_set *set, struct hfi_large *large) HF_REQUIRES(set->lock) {
    large->idle = 0;
    large->prev = NULL;
    large->next = set->cached;
    if (set->cached != NULL)
        set->cached->prev = large;
    else
        set->cached_last = large;
    set->cached = large;
    set->cached_bytes += segment_size(large);
}

static void cached_remove(struct hfi_large_set *set, struct hfi_large *large) HF_REQUIRES(set->lock) {
    if (large->prev != NULL)
        large->prev->next = large->next;
    else
        set->cached = large->next;
    if (large->next != NULL)
        large->next->prev = large->prev;
    else
        set->cached_last = large->prev;
    set->cached_bytes -= segment_size(large);
}

/* --- segments ------------------------------------------------------------------------------- */

/* The segment goes back. `purge`: its memory too, at once; else the segment layer's decay has it. */
static size_t large_release(struct hfi_large *large, bool purge) {
    hf_heap *heap = large->heap;
    size_t bytes = segment_size(large), given = 0;
    hfi_pagemap_set(large->base, large->slices, NULL, 0);
    if (large->guarded)
        (void)hfi_os_unguard(large->base + bytes - HFI_PAGE, HFI_PAGE);
    if (purge && !large->zero) {
        given = round_page(large->touched);
        hfi_os_purge(large->base, given);
        hfi_segment_note_returned(given);
    }
    /* Blocks of others must not find huge pages where they expect small ones (NumPy 31590). */
    if (large->huge) hfi_os_huge(large->base, bytes, false);
    hfi_segment_give(large->base, large->slices, !purge && !large->zero);
    hfi_meta_free(large, sizeof *large);
    hfi_heap_discharge(heap, bytes);
    return given;
}

static size_t release_chain(struct hfi_large *chain, bool purge) {
    size_t given = 0;
    while (chain != NULL) {
        struct hfi_large *next = chain->next;
        given += large_release(chain, purge);
        chain = next;
    }
    return given;
}

/* Best cached segment for `slices`; what is older and in the way of a new mapping goes to *evicted. */
static struct hfi_large *cached_take(struct hfi_large_set *set, size_t slices, size_t align,
                                     struct hfi_large **evicted) {
    struct hfi_large *best = NULL;
    hfi_lock_acquire(&set->lock);
    for (struct hfi_large *l = set->cached; l != NULL; l = l->next) {
        if (l->slices < slices || l->slices > slices + slices / 4) continue;
        if (((uintptr_t)l->base & (align * HFI_SLICE - 1)) != 0) continue;
        if (best == NULL || l->slices < best->slices) best = l;
    }
    if (best != NULL) {
        cached_remove(set, best);
        live_push(set, best);
    } else {
        /* Nothing fits: the oldest give way for as many bytes as are about to be mapped, so that a
         * program whose sizes drift does not pay twice. */
        size_t freed = 0;
        while (set->cached_last != NULL && freed < slices * HFI_SLICE) {
            struct hfi_large *oldest = set->cached_last;
            cached_remove(set, oldest);
            freed += segment_size(oldest);
            oldest->next = *evicted;
            *evicted = oldest;
        }
    }
    hfi_lock_release(&set->lock);
    return best;
}

static bool huge_wanted(const hf_heap *heap, size_t size) {
    if (heap->options.huge_pages == HF_HUGE_NEVER) return false;
    if (heap->options.huge_pages == HF_HUGE_ALWAYS) return size >= HFI_HUGE_PAGE;
    return size >= HUGE_LEAST;
}

static struct hfi_large *segment_make(hf_heap *heap, unsigned home, size_t slices, size_t align,
                                      bool huge) {
    size_t bytes = slices * HFI_SLICE;
    if (!hfi_heap_charge(heap, bytes)) return NULL;
    struct hfi_large *large = hfi_meta_alloc(sizeof *large);
    bool zero = false;
    char *base = large != NULL ? hfi_segment_take(slices, align, home, &zero) : NULL;
    if (base == NULL) {
        hfi_meta_free(large, sizeof *large);
        hfi_heap_discharge(heap, bytes);
        return NULL;
    }
    large->owner.kind = HFI_OWNER_LARGE;
    large->heap = heap;
    large->base = base;
    large->slices = slices;
    large->zero = zero;
    large->huge = huge;
    if (huge) hfi_os_huge(base, bytes, true);
    hfi_pagemap_set(base, slices, &large->owner, 0);
    hfi_lock_acquire(&heap->large->lock);
    live_push(heap->large, large);
    hfi_lock_release(&heap->large->lock);
    return large;
}

/* From now on walks may look at the block. */
static void publish(struct hfi_large *large, char *payload, size_t extent) {
    hfi_lock_acquire(&large->heap->large->lock);
    large->payload = payload;
    large->extent = extent;
    hfi_lock_release(&large->heap->large->lock);
}

void *hfi_large_alloc(hf_heap *heap, struct hfi_tcache *tc, size_t size, size_t alignment,
                      size_t *extent_out, bool *zero_out, bool guarded) {
    struct hfi_large *evicted = NULL, *large = NULL;
    if (size > PTRDIFF_MAX - HFI_HUGE_PAGE) return NULL;
    if (size == 0) size = 1; /* aligned, in profile `fast`: an address of its own */
    bool huge = huge_wanted(heap, size) && !guarded;
    size_t pages = round_page(size), total = pages + (guarded ? HFI_PAGE : 0);
    size_t slices = (total + HFI_SLICE - 1) >> HFI_SLICE_SHIFT;
    size_t align = alignment > HFI_SLICE ? alignment >> HFI_SLICE_SHIFT : 1;
    if (huge && align < HFI_HUGE_PAGE / HFI_SLICE) align = HFI_HUGE_PAGE / HFI_SLICE;
    if (!guarded) large = cached_take(heap->large, slices, align, &evicted);
    (void)release_chain(evicted, false);
    if (large != NULL) {
        if (tc != NULL) hfi_own_add(tc->large_hits, 1);
    } else {
        large = segment_make(heap, tc != NULL ? tc->home : 0, slices, align, huge);
        if (large == NULL) return NULL;
        if (guarded && hfi_os_guard(large->base + segment_size(large) - HFI_PAGE, HFI_PAGE) == 0)
            large->guarded = true;
    }
    /* A guarded block ends where the guard begins, as far as its alignment allows. */
    size_t room = segment_size(large) - (large->guarded ? HFI_PAGE : 0);
    size_t extent = large->guarded ? (size + 15) & ~(size_t)15 : pages;
    char *payload = large->base;
    if (large->guarded)
        payload = (char *)((uintptr_t)(large->base + room - extent) & ~(alignment - 1));
    /* Up to the guard, unless alignment left a gap that is more slack than a note can say. */
    size_t gap = (size_t)(large->base + room - payload) - extent;
    if (large->guarded && gap <= HFI_PAGE) extent += gap;
    *zero_out = large->zero;
    large->zero = false;
    size_t end = (size_t)(payload - large->base) + extent;
    if (end > large->touched) large->touched = end;
    publish(large, payload, extent);
    *extent_out = large->extent;
    return large->payload;
}

void hfi_large_free(struct hfi_large *large) {
    struct hfi_large_set *set = large->heap->large;
    hf_heap *heap = large->heap;
    struct hfi_large *evicted = NULL;
    atomic_store_explicit(&large->state, HFI_LARGE_CACHED, memory_order_relaxed);
    hfi_lock_acquire(&set->lock);
    live_remove(set, large);
    if (!large->guarded && heap->options.large_cache != 0 &&
        segment_size(large) <= heap->options.large_cache) {
        cached_push(set, large);
        while (set->cached_bytes > heap->options.large_cache) {
            struct hfi_large *oldest = set->cached_last;
            cached_remove(set, oldest);
            oldest->next = evicted;
            evicted = oldest;
        }
    } else {
        large->next = evicted;
        evicted = large;
    }
    hfi_lock_release(&set->lock);
    (void)release_chain(evicted, true);
    hfi_reclaim_note_frees(heap, 1);
}

/* --- resize --------------------------------------------------------------------------------- */

static void resized(struct hfi_large *large, size_t slices, size_t pages) {
    struct hfi_large_set *set = large->heap->large;
    hfi_lock_acquire(&set->lock);
    set->live_bytes = set->live_bytes + slices * HFI_SLICE - segment_size(large);
    large->slices = slices;
    large->extent = pages;
    hfi_lock_release(&set->lock);
    if (pages > large->touched) large->touched = pages;
}

static bool shrink(struct hfi_large *large, size_t slices, size_t pages) {
    size_t spare = large->slices - slices;
    /* First: a walk must not read a trailer in memory that was given back. */
    resized(large, slices, pages);
    if (spare != 0) {
        char *end = large->base + slices * HFI_SLICE;
        hfi_pagemap_set(end, spare, NULL, 0);
        if (large->huge) hfi_os_huge(end, spare * HFI_SLICE, false);
        hfi_segment_give(end, spare, true);
        hfi_heap_discharge(large->heap, spare * HFI_SLICE);
        if (large->touched > slices * HFI_SLICE) large->touched = slices * HFI_SLICE;
    }
    hfi_reclaim_note_frees(large->heap, 1);
    return true;
}

static bool grow(struct hfi_large *large, size_t slices, size_t pages) {
    size_t more = slices - large->slices;
    bool zero;
    if (more != 0) {
        char *end = large->base + segment_size(large);
        if (!hfi_heap_charge(large->heap, more * HFI_SLICE)) return false;
        if (!hfi_segment_extend(end, more, &zero)) {
            hfi_heap_discharge(large->heap, more * HFI_SLICE);
            return false;
        }
        if (large->huge) hfi_os_huge(end, more * HFI_SLICE, true);
        hfi_pagemap_set(end, more, &large->owner, 0);
    }
    resized(large, slices, pages);
    return true;
}

/* Page tables move, bytes do not. The old block's memory is gone with the move. */
static struct hfi_large *move_pages(struct hfi_large *large, size_t slices, size_t pages) {
    hf_heap *heap = large->heap;
    size_t align = large->huge ? HFI_HUGE_PAGE / HFI_SLICE : 1;
    /* Room to grow by half: a buffer that is appended to moves once in a while, not each time. */
    struct hfi_large *to = segment_make(heap, hfi_segment_home(0, heap->node), slices + slices / 2, align,
                                        large->huge);
    if (to == NULL) return NULL;
    if (hfi_os_move(large->base, round_page(large->extent), to->base) != 0) {
        to->zero = false;
        hfi_large_free(to);
        return NULL;
    }
    to->touched = pages;
    publish(to, to->base, pages);
    to->zero = false;
    large->zero = large->touched <= round_page(large->extent);
    hfi_large_free(large);
    return to;
}

void *hfi_large_resize(struct hfi_large *large, size_t size, size_t *extent_out, bool *moved_out) {
    *moved_out = false;
    if (large->guarded || size > PTRDIFF_MAX - HFI_HUGE_PAGE) return NULL;
    size_t pages = round_page(size), slices = (pages + HFI_SLICE - 1) >> HFI_SLICE_SHIFT;
    bool done = slices <= large->slices ? shrink(large, slices, pages) : grow(large, slices, pages);
    if (!done) {
        large = move_pages(large, slices, pages);
        if (large == NULL) return NULL;
        *moved_out = true;
    }
    *extent_out = large->extent;
    return large->payload;
}

/* --- decay, figures, end -------------------------------------------------------------------- */

void hfi_large_quarantine(struct hfi_large *large) {
    struct hfi_large_set *set = large->heap->large;
    hfi_lock_acquire(&set->lock);
    if (atomic_load_explicit(&large->state, memory_order_relaxed) == HFI_LARGE_LIVE) {
        live_remove(set, large);
        set->quarantined_bytes += segment_size(large);
        atomic_store_explicit(&large->state, HFI_LARGE_QUARANTINED, memory_order_relaxed);
    }
    hfi_lock_release(&set->lock);
}

size_t hfi_large_reclaim(hf_heap *heap, bool force, bool *more_out) {
    struct hfi_large_set *set = heap->large;
    struct hfi_large *due = NULL;
    hfi_lock_acquire(&set->lock);
    for (struct hfi_large *l = set->cached, *next; l != NULL; l = next) {
        next = l->next;
        if (!force && l->idle++ == 0) continue;
        cached_remove(set, l);
        l->next = due;
        due = l;
    }
    *more_out |= set->cached != NULL;
    hfi_lock_release(&set->lock);
    return release_chain(due, true);
}

void hfi_large_sum(hf_heap *heap, struct hfi_large_figures *out) {
    struct hfi_large_set *set = heap->large;
    hfi_lock_acquire(&set->lock);
    *out = (struct hfi_large_figures){
        .live_blocks = set->live_count,
        .live_bytes = set->live_bytes,
        .cached_bytes = set->cached_bytes,
        .quarantined_bytes = set->quarantined_bytes,
        .mapped = set->live_bytes + set->cached_bytes + set->quarantined_bytes,
        .meta_bytes = sizeof *set + set->live_count * sizeof(struct hfi_large),
        .lock_waits = set->lock.waits,
        .lock_wait_ns = set->lock.wait_ns,
    };
    hfi_lock_release(&set->lock);
}

size_t hfi_large_list(hf_heap *heap, uint64_t after, struct hfi_large *out, size_t capacity) {
    /* The list is newest first: keep the `capacity` smallest numbers above `after`, sorted. */
    struct hfi_large_set *set = heap->large;
    size_t count = 0;
    hfi_lock_acquire(&set->lock);
    for (struct hfi_large *l = set->live; l != NULL && l->number > after; l = l->next) {
        if (l->payload == NULL) continue; /* in the making */
        if (count == capacity) memmove(out + 1, out, --count * sizeof *out);
        else memmove(out + 1, out, count * sizeof *out);
        out[0] = *l;
        count++;
    }
    hfi_lock_release(&set->lock);
    return count;
}

const struct hfi_large *hfi_large_pin(hf_heap *heap, const void *base, uint64_t number) {
    hfi_lock_acquire(&heap->large->lock);
    /* Descriptors stay readable when they are gone; one of this heap does not change now. */
    struct hfi_large *large = (struct hfi_large *)hfi_pagemap_owner(base);
    if (large != NULL && large->owner.kind == HFI_OWNER_LARGE && large->heap == heap &&
        large->number == number && large->payload != NULL &&
        atomic_load_explicit(&large->state, memory_order_relaxed) == HFI_LARGE_LIVE)
        return large;
    hfi_lock_release(&heap->large->lock);
    return NULL;
}

void hfi_large_unpin(hf_heap *heap) {
    hfi_lock_release(&heap->large->lock);
}

void hfi_large_fork(hf_heap *heap, void (*act)(hfi_lock *)) {
    act(&heap->large->lock);
}

void hfi_large_destroy(hf_heap *heap) {
    struct hfi_large_set *set = heap->large;
    (void)release_chain(set->live, false);
    (void)release_chain(set->cached, false);
    hfi_meta_free(set, sizeof *set);
}
