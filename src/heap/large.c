/* large.c - segments handed out whole.
 *
 *   | header | payload ... slack | trailer |  (guard page)   unused rest of the last slice
 *
 * Invariants  a large block that is not quarantined is in the list of live ones.
 * Talks to    segment, pagemap, meta.   Called by malloc, walk.
 * Threads     set.lock for the list; a block's fields belong to whoever holds the block.
 * Fails with  NULL when a limit or the OS says no.
 * Why         no cache of blocks: freed slices stay warm in the segment layer, join with their
 *             neighbours and serve whatever size comes next. That is what makes NumPy's temporaries
 *             cheap: 8 MiB fresh from the kernel cost 2,000 faults of half a microsecond. A cache of
 *             whole blocks with best fit within 25 % was tried first and missed on drifting sizes. */
#include "large.h"

#include <string.h>

#include "fault.h"
#include "heap_state.h"
#include "middle_units.h"
#include "reclaim.h"

#define HUGE_LEAST  ((size_t)4 << 20) /* from here on huge pages pay, as NumPy found */
#define RECENT      64u               /* freed payloads remembered, to tell a double free */
#define LEAD        64u               /* header included: payloads stay on cache lines */
#define RESTING     64u               /* freed guarded blocks that fault, in debug        */
#define FAULT_EVERY 32u               /* guarded blocks between two looks at the SIGSEGV handler */
#define REST_MOST   2u                /* of up to so many slices: address space is bounded */

struct hfi_large_set {
    hfi_lock lock;
    struct hfi_large *live;                                   /* guarded by: lock */
    uint64_t made, live_count, live_bytes, quarantined_bytes; /* guarded by: lock */
    const void *recent[RECENT];                               /* guarded by: lock */
    uint32_t recent_at;                                       /* guarded by: lock */
    struct hfi_large *resting[RESTING];                       /* guarded by: lock */
    uint32_t resting_at;                                      /* guarded by: lock */
};

HFI_EVERY_PROCESS struct hfi_large_set *hfi_large_make(hf_heap *heap) {
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

/* --- list ----------------------------------------------------------------------------------- */

static void live_push(struct hfi_large_set *set, struct hfi_large *large) {
    hfi_lock_acquire(&set->lock);
    large->next = set->live;
    if (set->live != NULL) set->live->prev = large;
    set->live = large;
    large->number = ++set->made;
    set->live_count++;
    set->live_bytes += segment_size(large);
    atomic_store_explicit(&large->live, true, memory_order_relaxed);
    for (unsigned i = 0; i < RECENT; i++)
        if (set->recent[i] == large->payload) set->recent[i] = NULL;
    hfi_lock_release(&set->lock);
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

/* --- segments ------------------------------------------------------------------------------- */

static void large_release(struct hfi_large *large) {
    hf_heap *heap = large->heap;
    size_t bytes = segment_size(large);
    hfi_pagemap_set(large->base, large->slices, NULL, 0);
    if (large->resting)
        (void)hfi_os_unguard(large->base, bytes);
    else if (large->guarded)
        (void)hfi_os_unguard(large->base + bytes - HFI_PAGE, HFI_PAGE);
    hfi_segment_give(large->base, large->slices, true);
    hfi_meta_free(large, sizeof *large);
    hfi_heap_discharge(heap, bytes);
}

static enum hfi_zone zone_of(const hf_heap *heap, size_t size) {
    size_t least = heap->options.huge_pages == HF_HUGE_ALWAYS ? HFI_HUGE_PAGE : HUGE_LEAST;
    return size >= least ? HFI_ZONE_HUGE : HFI_ZONE_SMALL;
}

/* Room for a header before the payload. Alignments above a page keep their place in the segment. */
static size_t lead_of(const hf_heap *heap, size_t alignment, bool guarded) {
    if (!heap->trailer || guarded || alignment > HFI_PAGE) return 0;
    return alignment > LEAD ? alignment : LEAD;
}

bool hfi_large_header_whole(const struct hfi_large *large) {
    return large->lead == 0 || hfi_middle_header_whole(large->payload);
}

/* A block over `slices` that nobody sees yet; its payload is the base. */
static struct hfi_large *large_make(hf_heap *heap, unsigned home, size_t size, size_t slices,
                                    size_t align, bool *zero_out) {
    size_t bytes = slices * HFI_SLICE;
    if (!hfi_heap_charge(heap, bytes)) return NULL;
    struct hfi_large *large = hfi_meta_alloc(sizeof *large);
    char *base = NULL;
    if (large != NULL) base = hfi_segment_take(zone_of(heap, size), slices, align, home, zero_out);
    if (base == NULL) {
        hfi_meta_free(large, sizeof *large);
        hfi_heap_discharge(heap, bytes);
        return NULL;
    }
    large->owner.kind = HFI_OWNER_LARGE;
    large->heap = heap;
    large->base = large->payload = base;
    large->slices = slices;
    return large;
}

/* From now on walks and frees may look at the block. */
static void large_publish(struct hfi_large *large) {
    live_push(large->heap->large, large);
    hfi_pagemap_set(large->base, large->slices, &large->owner, 0);
}

void *hfi_large_alloc(hf_heap *heap, struct hfi_tcache *tc, size_t size, size_t alignment,
                      size_t *extent_out, bool *zero_out, bool guarded) {
    if (size > PTRDIFF_MAX - HFI_HUGE_PAGE) return NULL;
    if (size == 0) size = 1; /* aligned, in profile `fast`: an address of its own */
    size_t lead = lead_of(heap, alignment, guarded);
    size_t pages = round_page(lead + size), total = pages + (guarded ? HFI_PAGE : 0);
    size_t slices = (total + HFI_SLICE - 1) >> HFI_SLICE_SHIFT;
    size_t align = alignment > HFI_SLICE ? alignment >> HFI_SLICE_SHIFT : 1;
    unsigned home = tc != NULL ? tc->home : 0;
    struct hfi_large *large = large_make(heap, home, size, slices, align, zero_out);
    if (large == NULL) return NULL;
    if (!*zero_out && tc != NULL) hfi_own_add(tc->large_hits, 1);
    large->extent = pages - lead;
    if (lead != 0) {
        large->lead = (uint32_t)lead;
        large->payload = large->base + lead;
        hfi_middle_header_write(large->payload);
    }
    char *guard = large->base + segment_size(large) - HFI_PAGE;
    if (guarded && hfi_os_guard(guard, HFI_PAGE) == 0) {
        /* A guarded block ends where the guard begins, as far as its alignment allows; a gap that
         * is more slack than a note can say stays outside. */
        size_t extent = (size + 15) & ~(size_t)15;
        large->guarded = true;
        large->payload = (char *)((uintptr_t)(guard - extent) & ~(alignment - 1));
        size_t gap = (size_t)(guard - large->payload) - extent;
        large->extent = extent + (gap <= HFI_PAGE ? gap : 0);
    }
    large_publish(large);
    *extent_out = large->extent;
    return large->payload;
}

void hfi_large_sealed(const void *payload, uint64_t note, uint32_t site) {
    struct hfi_large *large = (struct hfi_large *)hfi_pagemap_owner(payload);
    if (large == NULL || large->owner.kind != HFI_OWNER_LARGE || !large->guarded) return;
    large->note = note;
    large->site = site;
    /* A handler that the program installed meanwhile is asked after ours again. */
    if (large->number % FAULT_EVERY == 1) hfi_fault_start();
}

/* Debug: the block faults from now on, and the one that rested longest serves again. */
static struct hfi_large *lay_to_rest(struct hfi_large_set *set, struct hfi_large *large) {
    if (hfi_os_guard(large->base, segment_size(large)) != 0) return large;
    hfi_lock_acquire(&set->lock);
    struct hfi_large **place = &set->resting[set->resting_at++ % RESTING];
    struct hfi_large *out = *place;
    large->resting = true;
    *place = large;
    set->quarantined_bytes += segment_size(large);
    if (out != NULL) set->quarantined_bytes -= segment_size(out);
    hfi_lock_release(&set->lock);
    return out;
}

void hfi_large_free(struct hfi_large *large) {
    hf_heap *heap = large->heap;
    struct hfi_large_set *set = heap->large;
    hfi_lock_acquire(&set->lock);
    live_remove(set, large);
    atomic_store_explicit(&large->live, false, memory_order_relaxed);
    set->recent[set->recent_at++ % RECENT] = large->payload;
    hfi_lock_release(&set->lock);
    if (large->guarded && heap->options.guard_every != 0 && large->slices <= REST_MOST)
        large = lay_to_rest(set, large);
    if (large != NULL) large_release(large);
    /* Over the bound the decay does not wait for its tick. */
    if (hfi_segment_dirty(HFI_ZONE_HUGE) > heap->options.large_cache)
        (void)hfi_segment_decay(true, NULL);
    hfi_reclaim_note_frees(heap, 1);
}

bool hfi_large_was(hf_heap *heap, const void *address) {
    struct hfi_large_set *set = heap->large;
    bool was = false;
    hfi_lock_acquire(&set->lock);
    for (unsigned i = 0; i < RECENT; i++)
        was |= address != NULL && set->recent[i] == address;
    hfi_lock_release(&set->lock);
    return was;
}

/* --- resize --------------------------------------------------------------------------------- */

static void resized(struct hfi_large *large, size_t slices, size_t pages) {
    struct hfi_large_set *set = large->heap->large;
    hfi_lock_acquire(&set->lock);
    set->live_bytes = set->live_bytes + slices * HFI_SLICE - segment_size(large);
    large->slices = slices;
    large->extent = pages - large->lead;
    hfi_lock_release(&set->lock);
}

static bool shrink(struct hfi_large *large, size_t slices, size_t pages) {
    size_t spare = large->slices - slices;
    char *end = large->base + slices * HFI_SLICE;
    /* First: a walk must not read a trailer in memory that was given back. */
    resized(large, slices, pages);
    if (spare != 0) {
        hfi_pagemap_set(end, spare, NULL, 0);
        hfi_segment_give(end, spare, true);
        hfi_heap_discharge(large->heap, spare * HFI_SLICE);
        hfi_reclaim_note_frees(large->heap, 1);
    }
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
        hfi_pagemap_set(end, more, &large->owner, 0);
    }
    resized(large, slices, pages);
    return true;
}

/* Page tables move, bytes do not. The old block's memory is gone with the move. */
static struct hfi_large *move_pages(struct hfi_large *large, size_t slices, size_t pages) {
    hf_heap *heap = large->heap;
    bool zero;
    struct hfi_large *to =
        large_make(heap, hfi_segment_home(0, heap->node), pages, slices, 1, &zero);
    if (to == NULL) return NULL;
    if (hfi_os_move(large->base, round_page(large->lead + large->extent), to->base) != 0) {
        large_release(to);
        return NULL;
    }
    to->lead = large->lead;
    to->payload = to->base + to->lead;
    to->extent = pages - to->lead;
    if (to->lead != 0) hfi_middle_header_write(to->payload);
    large_publish(to);
    hfi_large_free(large);
    return to;
}

void *hfi_large_resize(struct hfi_large *large, size_t size, size_t *extent_out, bool *moved_out) {
    *moved_out = false;
    if (large->guarded || size > PTRDIFF_MAX - HFI_HUGE_PAGE) return NULL;
    size_t pages = round_page(large->lead + size);
    size_t slices = (pages + HFI_SLICE - 1) >> HFI_SLICE_SHIFT;
    bool done = slices <= large->slices ? shrink(large, slices, pages) : grow(large, slices, pages);
    if (!done) {
        large = move_pages(large, slices, pages);
        if (large == NULL) return NULL;
        *moved_out = true;
    }
    *extent_out = large->extent;
    return large->payload;
}

/* --- figures, walks, end -------------------------------------------------------------------- */

void hfi_large_quarantine(struct hfi_large *large) {
    struct hfi_large_set *set = large->heap->large;
    hfi_lock_acquire(&set->lock);
    if (atomic_load_explicit(&large->live, memory_order_relaxed)) {
        live_remove(set, large);
        set->quarantined_bytes += segment_size(large);
        atomic_store_explicit(&large->live, false, memory_order_relaxed);
    }
    hfi_lock_release(&set->lock);
}

void hfi_large_sum(hf_heap *heap, struct hfi_large_figures *out) {
    struct hfi_large_set *set = heap->large;
    hfi_lock_acquire(&set->lock);
    *out = (struct hfi_large_figures){
        .live_blocks = set->live_count,
        .live_bytes = set->live_bytes,
        .quarantined_bytes = set->quarantined_bytes,
        .mapped = set->live_bytes + set->quarantined_bytes,
        .meta_bytes = sizeof *set + set->live_count * sizeof(struct hfi_large),
        .lock_waits = set->lock.waits,
        .lock_wait_ns = set->lock.wait_ns,
    };
    hfi_lock_release(&set->lock);
}

HFI_EVERY_PROCESS size_t hfi_large_list(hf_heap *heap, uint64_t after, struct hfi_large_id *out,
                                        size_t capacity) {
    /* The list is newest first: keep the `capacity` smallest numbers above `after`, sorted. */
    struct hfi_large_set *set = heap->large;
    size_t count = 0;
    hfi_lock_acquire(&set->lock);
    for (struct hfi_large *l = set->live; l != NULL && l->number > after; l = l->next) {
        if (count == capacity) count--;
        memmove(out + 1, out, count * sizeof *out);
        out[0] = (struct hfi_large_id){l->base, l->number};
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
        large->number == number && atomic_load_explicit(&large->live, memory_order_relaxed))
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
    while (set->live != NULL) {
        struct hfi_large *large = set->live;
        set->live = large->next;
        large_release(large);
    }
    for (unsigned i = 0; i < RESTING; i++)
        if (set->resting[i] != NULL) large_release(set->resting[i]);
    hfi_meta_free(set, sizeof *set);
}
