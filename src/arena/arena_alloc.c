/* arena_alloc.c - the cursor moves; where it cannot, the window grows, then the chunk, then the list.
 *
 *   inline (arena.h) --> hf_arena_allocate --> window --> hfi_arena_reach: window, usable, next chunk
 *
 * Contract    holdfast/arena.h.
 * Talks to    blocks/bump, arena_chunk, arena_debug, poison.
 * Threads     arena_state.h: one owner, or compare-and-swap on the cursor of the current chunk, or the lock.
 * Fails with  NULL and ENOMEM (what was asked and left is kept), EINVAL. */
#include <errno.h>
#include <string.h>

#include "arena_state.h"
#include "base/bits.h"
#include "poison.h"

/* How far the chunk may be filled: its address space and the arena's limit. */
static uintptr_t end_allowed(const struct hfi_arena *a, const struct hfi_chunk *chunk) {
    uintptr_t end = hfi_chunk_end_max(chunk);
    uint64_t limit = a->options.limit;
    if (limit == 0) return end;
    uint64_t room = limit > chunk->before ? (limit - chunk->before) & ~(uint64_t)15 : 0;
    return room < end - (uintptr_t)chunk->space ? (uintptr_t)chunk->space + room : end;
}

/* The window reaches `end` and, cheaply, further: twice as far as it did. */
static bool window_raise(struct hfi_arena *a, struct hfi_chunk *chunk, uintptr_t end) {
    uintptr_t most = end_allowed(a, chunk);
    if (end > most) {
        a->limit_hits += a->options.limit != 0;
        return false;
    }
    if (!hfi_chunk_extend(a, chunk, end)) return false;
    uintptr_t window = atomic_load_explicit(&chunk->window, memory_order_relaxed);
    size_t length = window - (uintptr_t)chunk->space;
    uintptr_t wanted = window + (length > HFI_ARENA_WINDOW ? length : HFI_ARENA_WINDOW);
    if (wanted < end) wanted = end;
    if (wanted > hfi_chunk_end(chunk)) wanted = hfi_chunk_end(chunk);
    if (wanted > most) wanted = most;
    /* What was purged since the owner looked is zero again. relaxed: who sees the old value zeroes
     * more than needed. */
    if (chunk->purged < atomic_load_explicit(&chunk->dirty, memory_order_relaxed))
        atomic_store_explicit(&chunk->dirty, chunk->purged, memory_order_relaxed);
    chunk->purged = UINTPTR_MAX;
    /* SYNC(bump.limit): the memory is usable; pairs with hfi_bump_take_shared. */
    atomic_store_explicit(&chunk->window, wanted, memory_order_release);
    if (!(a->mode & HFI_MODE_SHARED)) a->bump->limit = wanted;
    return true;
}

/* Everything that is handed out of the chunk stays; nothing more will be. */
static void chunk_stop(struct hfi_arena *a, struct hfi_chunk *chunk) {
    uintptr_t cursor = a->bump->cursor;
    if (a->mode & HFI_MODE_SHARED) /* relaxed: nobody reads anything through a sealed cursor. */
        cursor = atomic_exchange_explicit(&chunk->cursor, HFI_BUMP_SEALED, memory_order_relaxed);
    chunk->stopped = cursor;
    size_t used = cursor - (uintptr_t)chunk->space;
    if (used > atomic_load_explicit(&chunk->high_now, memory_order_relaxed))
        atomic_store_explicit(&chunk->high_now, used, memory_order_relaxed);
}

void hfi_arena_resume(struct hfi_arena *a, struct hfi_chunk *chunk, uintptr_t cursor) {
    if (a->mode & HFI_MODE_SHARED) {
        atomic_store_explicit(&chunk->cursor, cursor, memory_order_relaxed);
    } else {
        a->bump->cursor = cursor;
        a->bump->limit = atomic_load_explicit(&chunk->window, memory_order_relaxed);
    }
    /* SYNC(arena.current): publishes the chunk; pairs with hfi_arena_current. */
    atomic_store_explicit(&a->current, chunk, memory_order_release);
}

/* The chunk that comes next and is ready for `need` bytes from its start; NULL: refused. */
static struct hfi_chunk *chunk_next(struct hfi_arena *a, struct hfi_chunk *chunk, uint64_t used,
                                    size_t size, size_t alignment) {
    /* A space begins 64 bytes behind a page, so that larger alignments lose up to that much less. */
    size_t need = hfi_bump_round(size) + (alignment > HFI_ARENA_EDGE ? alignment : 0);
    uint64_t limit = a->options.limit;
    if (limit != 0 && (used > limit || hfi_bump_round(size) > limit - used)) {
        a->limit_hits++;
        return NULL;
    }
    if (a->buffer && limit <= chunk->before + (hfi_chunk_end(chunk) - (uintptr_t)chunk->space))
        return NULL;
    struct hfi_chunk *next = chunk->next;
    if (next != NULL) {
        uintptr_t end = hfi_bump_place((uintptr_t)next->space, alignment) + hfi_bump_round(size);
        if (end <= hfi_chunk_end_max(next)) return hfi_chunk_extend(a, next, end) ? next : NULL;
    }
    struct hfi_chunk *fresh = hfi_chunk_create(a, need);
    if (fresh == NULL) return NULL;
    fresh->prev = chunk;
    fresh->next = next;
    if (next != NULL) next->prev = fresh;
    chunk->next = fresh;
    return fresh;
}

bool hfi_arena_reach(struct hfi_arena *a, size_t size, size_t alignment) {
    struct hfi_chunk *chunk = hfi_arena_current(a);
    uintptr_t cursor = hfi_arena_cursor(a);
    uintptr_t end = hfi_bump_place(cursor, alignment) + hfi_bump_round(size);
    if (end <= atomic_load_explicit(&chunk->window, memory_order_relaxed)) return true;
    if (end <= hfi_chunk_end_max(chunk)) return window_raise(a, chunk, end);
    uint64_t used = chunk->before + (cursor - (uintptr_t)chunk->space);
    struct hfi_chunk *next = chunk_next(a, chunk, used, size, alignment);
    if (next == NULL) return false;
    chunk_stop(a, chunk);
    next->before = chunk->before + (chunk->stopped - (uintptr_t)chunk->space);
    next->records = a->record_count;
    end = hfi_bump_place((uintptr_t)next->space, alignment) + hfi_bump_round(size);
    atomic_store_explicit(&next->window, (uintptr_t)next->space, memory_order_relaxed);
    bool room = window_raise(a, next, end);
    hfi_arena_resume(a, room ? next : chunk, room ? (uintptr_t)next->space : chunk->stopped);
    return room;
}

/* --- one allocation -------------------------------------------------------------------------- */

/* Lock not held. */
static void *refuse(struct hfi_arena *a, size_t size, int why) {
    if (why == ENOMEM) {
        /* Chunks change under the lock, on other threads and by the decay. */
        hfi_lock_acquire(&a->lock);
        struct hfi_chunk *chunk = hfi_arena_current(a);
        uintptr_t end =
            a->buffer || a->options.limit != 0 ? end_allowed(a, chunk) : hfi_chunk_end(chunk);
        uintptr_t cursor = hfi_arena_cursor(a);
        hfi_lock_release(&a->lock);
        atomic_store_explicit(&a->refused_size, size, memory_order_relaxed);
        atomic_store_explicit(&a->refused_left, end > cursor ? end - cursor : 0,
                              memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&a->failures, 1, memory_order_relaxed);
    errno = why;
    return NULL;
}

static bool alignment_good(size_t alignment) {
    return hfi_is_power(alignment) && alignment <= HF_ARENA_ALIGNMENT_MAX;
}

/* Takes `held` bytes; 0: refused. `dirty_out` is where fresh memory begins. The lock is held in locked
 * arenas. */
static uintptr_t take(struct hfi_arena *a, size_t held, size_t alignment,
                      uintptr_t *dirty_out) HF_NO_THREAD_SAFETY {
    for (;;) {
        struct hfi_chunk *chunk = hfi_arena_current(a);
        uintptr_t start =
            a->mode & HFI_MODE_SHARED
                ? hfi_bump_take_shared(&chunk->cursor, &chunk->window, held, alignment)
                : hfi_bump_take(a->bump, held, alignment);
        if (start != 0) {
            *dirty_out = atomic_load_explicit(&chunk->dirty, memory_order_relaxed);
            return start;
        }
        if (!a->locked) hfi_lock_acquire(&a->lock);
        bool room = hfi_arena_reach(a, held, alignment);
        if (!a->locked) hfi_lock_release(&a->lock);
        if (!room) return 0;
    }
}

static void count_up(_Atomic uint64_t *counter, uint64_t change, bool shared) {
    /* relaxed: figures, exact at rest. One writer needs no locked instruction. */
    if (shared)
        atomic_fetch_add_explicit(counter, change, memory_order_relaxed);
    else
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + change,
                              memory_order_relaxed);
}

static void note(struct hfi_arena *a, size_t size) {
    bool shared = (a->mode & HFI_MODE_SHARED) != 0;
    count_up(&a->blocks, 1, shared);
    count_up(&a->blocks_total, 1, shared);
    count_up(&a->requested, size, shared);
}

/* With every option there is. */
static __attribute__((noinline)) void *allocate_long(struct hfi_arena *a, size_t size,
                                                     size_t alignment, bool zero) {
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    if (alignment == 0) alignment = a->options.alignment;
    if (!alignment_good(alignment)) return refuse(a, size, EINVAL);
    if (alignment < HFI_BUMP_UNIT) alignment = HFI_BUMP_UNIT;
    size_t held = size > a->options.min_size ? size : a->options.min_size;
    if (held == 0) held = 1;
    uintptr_t start = 0, dirty = 0;
    hfi_arena_enter(a);
    if (held <= HFI_BUMP_MAX) {
        /* The canary fills what rounding leaves and at least one unit more. */
        if (a->mode & HFI_MODE_CANARY) held = hfi_bump_round(held) + HFI_ARENA_CANARY;
        if (!(a->mode & HFI_MODE_RECORD) || hfi_debug_reserve(a))
            start = take(a, held, alignment, &dirty);
    }
    if (start != 0) {
        if (a->mode & HFI_MODE_COUNT) note(a, size);
        if (a->mode & HFI_MODE_POISON) hfi_poison_show((void *)start, size);
        if ((zero || (a->mode & HFI_MODE_ZERO)) && size > 0) {
            size_t old = dirty > start ? dirty - start : 0;
            memset((void *)start, 0, old < size ? old : size);
            if (a->mode & HFI_MODE_POISON) hfi_poison_clear((void *)start, size);
        }
        if (a->mode & HFI_MODE_RECORD) hfi_debug_record(a, start, size, hfi_bump_round(held));
        if (a->mode & HFI_MODE_PREFETCH)
            __builtin_prefetch((const char *)start + held + a->options.prefetch, 1);
    }
    if (a->mode & HFI_MODE_LOG)
        hfi_debug_log(a, start != 0 ? HF_ARENA_OP_ALLOC : HF_ARENA_OP_REFUSE, start, size,
                      alignment);
    hfi_arena_exit(a);
    return start != 0 ? (void *)start : refuse(a, size, ENOMEM);
}

/* Arenas with one simple option or none, within the window; NULL: the long way. */
static inline void *allocate_short(struct hfi_arena *a, size_t size, size_t alignment) {
    uintptr_t start = 0;
    if (a->mode == HFI_MODE_SHARED) {
        struct hfi_chunk *chunk = hfi_arena_current(a);
        start = hfi_bump_take_shared(&chunk->cursor, &chunk->window, size, alignment);
    } else if ((a->mode & ~(uint32_t)HFI_MODE_COUNT) == 0) {
        start = hfi_bump_take(a->bump, size, alignment);
        if (start != 0 && a->mode != 0) note(a, size);
    }
    return (void *)start;
}

/* Apart from its caller, which then needs no stack frame. */
static __attribute__((noinline)) void *allocate_other(struct hfi_arena *a, size_t size,
                                                      size_t alignment) {
    if (size - 1 < HFI_BUMP_MAX && (alignment == 0 || alignment_good(alignment))) {
        void *block =
            allocate_short(a, size, alignment > HFI_BUMP_UNIT ? alignment : HFI_BUMP_UNIT);
        if (block != NULL) return block;
    }
    return allocate_long(a, size, alignment, false);
}

void *hf_arena_allocate(hf_arena *arena, size_t size, size_t alignment) {
    /* The common case of the common arena, as short as a call allows; both words are 0 in others. */
    if (__builtin_expect(alignment == 0 && size - 1 < arena->limit - arena->cursor, 1)) {
        uintptr_t start = arena->cursor;
        arena->cursor = start + hfi_bump_round(size);
        return (void *)start;
    }
    return allocate_other(hfi_arena_of(arena), size, alignment);
}

void *hf_arena_allocate_zeroed(hf_arena *arena, size_t size, size_t alignment) {
    return allocate_long(hfi_arena_of(arena), size, alignment, true);
}

size_t hf_arena_alloc_bulk(hf_arena *arena, size_t size, size_t alignment, size_t count,
                           void **blocks_out) {
    for (size_t i = 0; i < count; i++) {
        blocks_out[i] = hf_arena_allocate(arena, size, alignment);
        if (blocks_out[i] == NULL) return i;
    }
    return count;
}

void hf_arena_last_refusal(const hf_arena *arena, size_t *asked_out, size_t *left_out) {
    const struct hfi_arena *a = hfi_arena_of(arena);
    if (asked_out != NULL)
        *asked_out = atomic_load_explicit(&a->refused_size, memory_order_relaxed);
    if (left_out != NULL) *left_out = atomic_load_explicit(&a->refused_left, memory_order_relaxed);
}
