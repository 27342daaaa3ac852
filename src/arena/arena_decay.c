/* arena_decay.c - memory that recent cycles did not need goes back.
 *
 *   period | period | now        kept of a chunk: the most that either period, or the present, used
 *
 * A cycle that needs as much as the last one finds its memory where it was; a spike goes back after
 * two periods of decay_ms; an arena that nobody uses shrinks to `retain`.
 * Invariants  memory below a window is not touched here: that is the owner's, who takes no lock for it.
 * Talks to    arena_chunk, base/owners (all arenas), base/hooks (who calls when).
 * Threads     under the lock of one arena at a time, on the thread of the decay.
 * Fails with  nothing. */
#include "arena_state.h"
#include "base/hooks.h"

struct pass {
    uint64_t now_ns, given;
    bool force, more;
};

/* Bytes of space of this chunk that `retain` asks for; *left is what it asks of the rest. */
static size_t retained(const struct hfi_chunk *chunk, uint64_t *left) {
    size_t space = chunk->usable - 2 * HFI_ARENA_EDGE;
    size_t keep = *left < space ? (size_t)*left : space;
    *left -= keep;
    return keep;
}

/* A chunk of which nothing is kept, behind the first: its address space goes, too. */
static uint64_t chunk_drop(struct hfi_arena *a, struct hfi_chunk *chunk) {
    uint64_t bytes = chunk->usable;
    (void)hfi_chunk_check(a, chunk); /* before its edges disappear */
    if (chunk->next != NULL) chunk->next->prev = chunk->prev;
    chunk->prev->next = chunk->next;
    hfi_chunk_destroy(a, chunk);
    return bytes;
}

static size_t window_of(const struct hfi_chunk *chunk) {
    /* relaxed: the owner raises it under the lock; who sees it before it was lowered keeps more. */
    return atomic_load_explicit(&chunk->window, memory_order_relaxed) - (uintptr_t)chunk->space;
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Ends a period. `force`: what is not in a window goes now. */
static void arena_pass(struct hfi_arena *a, struct pass *pass) HF_REQUIRES(a->lock) {
    uint64_t left = a->options.retain, mapped = 0, needed = 0;
    struct hfi_chunk *current = hfi_arena_current(a), *next;
    bool behind = false;
    for (struct hfi_chunk *chunk = a->first; chunk != NULL; chunk = next) {
        next = chunk->next;
        size_t window = window_of(chunk), least = larger(window, retained(chunk, &left));
        size_t high = atomic_load_explicit(&chunk->high_now, memory_order_relaxed);
        size_t keep = pass->force ? least : larger(least, larger(high, chunk->high_before));
        chunk->high_before = pass->force ? window : high;
        atomic_store_explicit(&chunk->high_now, window, memory_order_relaxed);
        if (behind && keep == 0 && chunk->region.base != NULL) {
            pass->given += chunk_drop(a, chunk);
            continue;
        }
        /* Less than an eighth more than needed is not worth the faults. */
        if (pass->force || chunk->usable > keep + keep / 8 + HFI_ARENA_WINDOW)
            pass->given += hfi_chunk_purge(a, chunk, keep);
        if (chunk->region.base != NULL) {
            mapped += chunk->usable;
            needed += least + least / 8 + 2 * HFI_ARENA_WINDOW;
        }
        behind |= chunk == current;
    }
    pass->more |= mapped > needed;
}

static void arena_visit(void *self, void *context) {
    struct hfi_arena *a = self;
    struct pass *pass = context;
    uint64_t decay_ms = a->options.decay_ms;
    if (decay_ms == HF_ARENA_NEVER && !pass->force) return;
    hfi_lock_acquire(&a->lock);
    if (pass->force || (pass->now_ns - a->period_start) / 1000000u >= decay_ms) {
        a->period_start = pass->now_ns;
        arena_pass(a, pass);
    } else {
        pass->more = true;
    }
    hfi_lock_release(&a->lock);
}

uint64_t hfi_arena_decay(uint64_t now_ns, int force) {
    struct pass pass = {.now_ns = now_ns, .force = force != 0};
    hfi_owners_each(HF_OWNER_ARENA, arena_visit, &pass);
    if (pass.more) hfi_reclaim_wake();
    return pass.given;
}

void hfi_arena_purge_all(struct hfi_arena *a) HF_NO_THREAD_SAFETY {
    struct pass pass = {.force = true};
    /* The window is the owner's, and the owner is here. */
    struct hfi_chunk *first = a->first;
    if (a->options.retain < window_of(first) && first->region.base != NULL) {
        uintptr_t window = (uintptr_t)first->space + (size_t)(a->options.retain & ~(uint64_t)15);
        atomic_store_explicit(&first->window, window, memory_order_relaxed);
        if (!(a->mode & HFI_MODE_SHARED)) a->bump->limit = window;
    }
    arena_pass(a, &pass);
}

bool hfi_arena_may_decay(const struct hfi_arena *a) {
    if (a->options.decay_ms == HF_ARENA_NEVER || a->options.decay_ms == 0) return false;
    /* A small arena has nothing to give. */
    return a->mapped > 4 * HFI_ARENA_WINDOW && a->mapped - 4 * HFI_ARENA_WINDOW > a->options.retain;
}
