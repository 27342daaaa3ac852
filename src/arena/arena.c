/* arena.c - arenas begin, are reset, and end; the place where allocation stands.
 *
 *   create --> chunk 1, owners, decay      reset: current = first, windows small, marks end
 *
 * Contract    holdfast/arena.h.
 * Talks to    arena_chunk, arena_debug, arena_decay, base/owners, base/hooks, pages/meta.
 * Threads     arena_state.h. Reset and destroy take the lock for a moment: the decay looks at the windows.
 * Fails with  HF_E_BUSY, HF_E_CLOSED, HF_E_INVALID, HF_E_NO_MEMORY; damage is a report. */
#include <string.h>

#include "arena_state.h"
#include "base/hooks.h"
#include "pages/meta.h"
#include "poison.h"

/* Read by whoever looks while the owner allocates inline: a value that may be old. */
__attribute__((noinline, no_sanitize("thread"))) uintptr_t
hfi_arena_cursor(const struct hfi_arena *a) {
    const struct hfi_chunk *chunk = hfi_arena_current(a);
    if (!(a->mode & HFI_MODE_SHARED)) return a->bump->cursor;
    uintptr_t cursor = atomic_load_explicit(&chunk->cursor, memory_order_relaxed);
    return cursor != HFI_BUMP_SEALED ? cursor : chunk->stopped;
}

/* --- back to an earlier place ---------------------------------------------------------------- */

static void chunk_leave(struct hfi_arena *a, struct hfi_chunk *chunk, uintptr_t from,
                        uintptr_t to) {
    if (from > atomic_load_explicit(&chunk->dirty, memory_order_relaxed))
        atomic_store_explicit(&chunk->dirty, from, memory_order_relaxed);
    if (a->mode & HFI_MODE_POISON) hfi_poison_hide((void *)to, from - to);
}

void hfi_arena_return_to(struct hfi_arena *a, struct hfi_chunk *chunk, uintptr_t cursor) {
    struct hfi_chunk *at = hfi_arena_current(a);
    uintptr_t from = hfi_arena_cursor(a);
    uint64_t used = at->before + (from - (uintptr_t)at->space);
    uint64_t left = chunk->before + (cursor - (uintptr_t)chunk->space);
    /* relaxed: figures. Only the owner writes them. */
    if (used > atomic_load_explicit(&a->peak, memory_order_relaxed))
        atomic_store_explicit(&a->peak, used, memory_order_relaxed);
    uint64_t done = atomic_load_explicit(&a->total_done, memory_order_relaxed);
    atomic_store_explicit(&a->total_done, done + (used - left), memory_order_relaxed);
    size_t high = from - (uintptr_t)at->space;
    if (high > atomic_load_explicit(&at->high_now, memory_order_relaxed))
        atomic_store_explicit(&at->high_now, high, memory_order_relaxed);
    while (at != chunk) {
        chunk_leave(a, at, from, (uintptr_t)at->space);
        /* Nothing of it is in use: the decay may have it. */
        atomic_store_explicit(&at->window, (uintptr_t)at->space, memory_order_relaxed);
        at = at->prev;
        from = at->stopped;
    }
    chunk_leave(a, chunk, from, cursor);
    hfi_arena_resume(a, chunk, cursor);
}

/* --- reset ----------------------------------------------------------------------------------- */

/* Windows become small again, so that the decay can work; kept whole where nothing decays. */
static void windows_fold(struct hfi_arena *a) {
    struct hfi_chunk *chunk = a->first;
    uintptr_t window = atomic_load_explicit(&chunk->window, memory_order_relaxed);
    size_t least = a->options.retain > HFI_ARENA_WINDOW ? a->options.retain : HFI_ARENA_WINDOW;
    if (a->options.decay_ms == HF_ARENA_NEVER || chunk->region.base == NULL) return;
    if (window - (uintptr_t)chunk->space > least) window = (uintptr_t)chunk->space + least;
    window &= ~(uintptr_t)15;
    atomic_store_explicit(&chunk->window, window, memory_order_relaxed);
    if (!(a->mode & HFI_MODE_SHARED)) a->bump->limit = window;
}

/* Counts damaged edges, and those that were when they moved; reports are queued. */
static size_t edges_verify(struct hfi_arena *a) HF_REQUIRES(a->lock) {
    size_t damaged = 0;
    for (const struct hfi_damage *moved = a->damage; moved != NULL; moved = moved->next)
        damaged++;
    for (struct hfi_chunk *chunk = a->first; chunk != NULL; chunk = chunk->next)
        damaged += hfi_chunk_check(a, chunk);
    return damaged;
}

static void damage_emit(struct hfi_arena *a) {
    for (;;) {
        hfi_lock_acquire(&a->lock);
        struct hfi_damage *damage = a->damage;
        if (damage != NULL) a->damage = damage->next;
        hfi_lock_release(&a->lock);
        if (damage == NULL) return;
        hfi_debug_emit(a, &damage->report);
        hfi_meta_free(damage, sizeof *damage);
    }
}

static size_t edges_report(struct hfi_arena *a) {
    hfi_lock_acquire(&a->lock);
    size_t damaged = edges_verify(a);
    hfi_lock_release(&a->lock);
    if (damaged != 0) damage_emit(a);
    return damaged;
}

/* Nothing is in use any more. Lock held. */
static void start_again(struct hfi_arena *a, bool release) {
    hfi_arena_return_to(a, a->first, (uintptr_t)a->first->space);
    windows_fold(a);
    a->bottom = 1;
    a->record_count = 0;
    /* relaxed: the caller has the arena for itself. */
    atomic_store_explicit(&a->depth, 0, memory_order_relaxed);
    uint64_t generation = atomic_load_explicit(&a->generation, memory_order_relaxed);
    atomic_store_explicit(&a->generation, generation + 1, memory_order_relaxed);
    atomic_store_explicit(&a->blocks, 0, memory_order_relaxed);
    atomic_store_explicit(&a->requested, 0, memory_order_relaxed);
    if (release || a->options.decay_ms == 0) hfi_arena_purge_all(a);
    if (a->mode & HFI_MODE_LOG)
        hfi_debug_log(a, release ? HF_ARENA_OP_RELEASE : HF_ARENA_OP_RESET,
                      (uintptr_t)a->first->space, 0, 0);
}

static hf_status reset_to_start(struct hfi_arena *a, bool release) {
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    if (hf_arena_borrows(&a->fast) != 0) return HF_E_BUSY;
    if (a->mode & HFI_MODE_CANARY) (void)hfi_debug_verify(a, 0, "arena_reset");
    hfi_lock_acquire(&a->lock);
    bool damaged = edges_verify(a) != 0;
    start_again(a, release);
    bool wake = !release && hfi_arena_may_decay(a);
    hfi_lock_release(&a->lock);
    if (damaged) damage_emit(a);
    if (wake) hfi_reclaim_wake();
    return HF_OK;
}

hf_status hf_arena_reset(hf_arena *arena) {
    return reset_to_start(hfi_arena_of(arena), false);
}

hf_status hf_arena_release(hf_arena *arena) {
    return reset_to_start(hfi_arena_of(arena), true);
}

hf_status hf_arena_check(hf_arena *arena, size_t *found_out) {
    struct hfi_arena *a = hfi_arena_of(arena);
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    size_t found = edges_report(a);
    if (a->mode & HFI_MODE_CANARY) found += hfi_debug_verify(a, 0, "arena_check");
    if (found_out != NULL) *found_out = found;
    return found == 0 ? HF_OK : HF_E_CORRUPT;
}

/* --- birth ----------------------------------------------------------------------------------- */

static void arena_fork(void *self, enum hfi_fork moment) HF_NO_THREAD_SAFETY {
    struct hfi_arena *a = self;
    if (moment == HFI_FORK_CHILD) hfi_debug_fork_child();
    if (moment == HFI_FORK_PREPARE)
        hfi_lock_acquire_peer(&a->lock);
    else if (moment == HFI_FORK_PARENT)
        hfi_lock_release(&a->lock);
    else
        hfi_lock_reinit(&a->lock);
}

static hf_status arena_owner_stats(void *self, hf_stats *out) {
    return hf_arena_stats(self, out);
}

static uint32_t mode_of(const hf_arena_options *o) {
    uint32_t mode = 0;
    bool debug =
        o->track_allocations || o->validate_access || o->check_corruption || o->log_operations;
    if (o->thread_safe && !debug) mode |= HFI_MODE_SHARED;
    if (o->statistics || debug) mode |= HFI_MODE_COUNT;
    if (o->zero) mode |= HFI_MODE_ZERO;
    if (o->prefetch != 0) mode |= HFI_MODE_PREFETCH;
    if (o->alignment > HFI_BUMP_UNIT || o->min_size > HFI_BUMP_UNIT) mode |= HFI_MODE_SHAPE;
    if (hfi_poison_watched()) mode |= HFI_MODE_POISON;
    if (o->track_allocations || o->validate_access || o->check_corruption) mode |= HFI_MODE_RECORD;
    if (o->check_corruption) mode |= HFI_MODE_CANARY;
    if (o->log_operations) mode |= HFI_MODE_LOG;
    return mode;
}

static void arena_undo(struct hfi_arena *a) {
    if (a->first != NULL) hfi_chunk_destroy(a, a->first);
    hfi_debug_end(a);
    hfi_meta_free(a, sizeof *a);
}

/* The options are good. */
static hf_status arena_make(const hf_arena_options *options, void *buffer, size_t size,
                            hf_arena **arena_out) {
    struct hfi_arena *a = hfi_meta_alloc(sizeof *a);
    if (a == NULL) return HF_E_NO_MEMORY;
    a->options = *options;
    if (options->name != NULL) strncpy(a->name, options->name, HF_OWNER_NAME_MAX);
    a->options.name = a->name;
    if (a->options.alignment < HFI_BUMP_UNIT) a->options.alignment = HFI_BUMP_UNIT;
    a->mode = mode_of(options);
    a->locked = options->thread_safe && !(a->mode & HFI_MODE_SHARED);
    a->bump = a->mode == 0 ? (struct hfi_bump *)&a->fast : &a->own;
    a->buffer = buffer != NULL;
    a->bottom = 1;
    hfi_lock_init(&a->lock, HFI_RANK_OWNER);
    hfi_os_random(&a->secret, sizeof a->secret);
    a->secret |= UINT64_C(0x0101010101010101); /* no byte is 0: a string's end shows */
    hf_status status = hfi_debug_start(a);
    if (status != HF_OK) {
        arena_undo(a);
        return status;
    }
    uint64_t refused = a->limit_hits;
    a->first = buffer != NULL ? hfi_chunk_on_buffer(a, buffer, size) : hfi_chunk_create(a, 0);
    if (a->first == NULL) {
        status = a->limit_hits != refused ? HF_E_LIMIT : HF_E_NO_MEMORY;
        arena_undo(a);
        return status;
    }
    atomic_store_explicit(&a->current, a->first, memory_order_relaxed);
    a->bump->cursor = a->bump->limit = (uintptr_t)a->first->space;
    a->magic = HFI_ARENA_LIVE;
    /* The first window; nothing is refused here: what the limit does not allow is not asked for. */
    hfi_lock_acquire(&a->lock);
    if (options->limit == 0 || options->limit >= HFI_BUMP_UNIT)
        (void)hfi_arena_reach(a, HFI_BUMP_UNIT, HFI_BUMP_UNIT);
    if (a->mode & HFI_MODE_LOG)
        hfi_debug_log(a, HF_ARENA_OP_CREATE, (uintptr_t)a->first->space, a->first->usable, 0);
    hfi_lock_release(&a->lock);
    a->owner = (struct hfi_owner_entry){.kind = HF_OWNER_ARENA,
                                        .name = a->name,
                                        .stats = arena_owner_stats,
                                        .fork = arena_fork,
                                        .self = a};
    hfi_owners_add(&a->owner);
    hfi_reclaim_hook_add(hfi_arena_decay);
    *arena_out = &a->fast;
    return HF_OK;
}

static hf_status create(void *buffer, size_t size, const hf_arena_options *given,
                        hf_arena **arena_out) {
    hf_arena_options options;
    hf_arena_options_init(&options, HF_ARENA_DEFAULT);
    if (given != NULL) {
        if (given->struct_size < offsetof(hf_arena_options, capacity)) return HF_E_INVALID;
        size_t known = given->struct_size < sizeof options ? given->struct_size : sizeof options;
        memcpy(&options, given, known);
        options.struct_size = sizeof options;
    }
    if (arena_out == NULL) return HF_E_INVALID;
    hfi_hooks_need_server();
    hf_status status = hf_arena_options_check(&options, NULL, 0);
    return status != HF_OK ? status : arena_make(&options, buffer, size, arena_out);
}

hf_status hf_arena_create(const hf_arena_options *options, hf_arena **arena_out) {
    return create(NULL, 0, options, arena_out);
}

hf_status hf_arena_create_on(void *buffer, size_t size, const hf_arena_options *options,
                             hf_arena **arena_out) {
    if (buffer == NULL) return HF_E_INVALID;
    uintptr_t begin = ((uintptr_t)buffer + HFI_ARENA_EDGE - 1) & ~(uintptr_t)(HFI_ARENA_EDGE - 1);
    uintptr_t end = ((uintptr_t)buffer + size) & ~(uintptr_t)(HFI_ARENA_EDGE - 1);
    if (end < begin + 3 * HFI_ARENA_EDGE) return HF_E_INVALID; /* header, one block, footer */
    return create((char *)begin, end - begin, options, arena_out);
}

/* --- death ----------------------------------------------------------------------------------- */

hf_status hf_arena_destroy(hf_arena *arena) {
    struct hfi_arena *a = hfi_arena_of(arena);
    if (arena == NULL) return HF_E_INVALID;
    if (a->magic != HFI_ARENA_LIVE) return HF_E_CLOSED;
    if (hf_arena_borrows(arena) != 0) return HF_E_BUSY;
    (void)edges_report(a);
    if (a->mode & HFI_MODE_CANARY) (void)hfi_debug_verify(a, 0, "arena_destroy");
    hfi_owners_remove(&a->owner);
    /* From here on nobody else sees it. */
    damage_emit(a);
    a->magic = 0;
    a->fast = (hf_arena){0};
    while (a->first != NULL) {
        struct hfi_chunk *next = a->first->next;
        hfi_chunk_destroy(a, a->first);
        a->first = next;
    }
    hfi_debug_end(a);
    hfi_meta_free(a, sizeof *a);
    return HF_OK;
}

uint64_t hf_arena_id(const hf_arena *arena) {
    return hfi_arena_of(arena)->owner.id;
}

const char *hf_arena_name(const hf_arena *arena) {
    return hfi_arena_of(arena)->name;
}

void hf_arena_options_of(const hf_arena *arena, hf_arena_options *options_out) {
    *options_out = hfi_arena_of(arena)->options;
}

int hf_arena_owns(const hf_arena *arena, const void *address) {
    struct hfi_arena *a = hfi_arena_of(arena);
    int found = 0;
    hfi_lock_acquire(&a->lock);
    for (struct hfi_chunk *chunk = a->first; chunk != NULL && !found; chunk = chunk->next)
        found = (const char *)address >= chunk->base &&
                (const char *)address < chunk->base + chunk->usable;
    hfi_lock_release(&a->lock);
    return found;
}
