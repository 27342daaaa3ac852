/* arena_marks.c - marks, rewinding, and what is borrowed.
 *
 *   level   0 | 1 | 2 | ... | depth        one per open mark; the youngest 64 are kept exactly
 *   borrow  counts at the level that was the top when it was made
 *
 * Invariants  a mark is good while its level is open and carries its serial; a rewind to level n needs
 *             that nothing is borrowed at n or above. Levels below `bottom` are forgotten: their
 *             marks are checked by place, and their borrows count as one sum.
 * Talks to    arena.c, arena_debug.
 * Threads     mark and rewind are the owner's and take the lock only where levels are forgotten, or in
 *             thread-safe arenas; borrow and give_back come from any thread, under the lock.
 * Fails with  HF_E_INVALID, HF_E_BUSY. */
#include "arena_state.h"

static struct hfi_level *level_at(struct hfi_arena *a, uint64_t depth) {
    return &a->levels[depth % HFI_ARENA_LEVELS];
}

static bool is_shared(const struct hfi_arena *a) {
    return a->options.thread_safe != 0;
}

/* The oldest level that is kept makes room. Lock held. */
static void level_forget(struct hfi_arena *a) {
    uint64_t borrows =
        atomic_exchange_explicit(&level_at(a, a->bottom)->borrows, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&a->borrows_low, borrows, memory_order_relaxed);
    a->bottom++;
}

hf_status hf_arena_mark(hf_arena *arena, hf_mark *mark_out) HF_NO_THREAD_SAFETY {
    struct hfi_arena *a = hfi_arena_of(arena);
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    HF_EXPECT(mark_out != NULL);
    /* relaxed here and below: the owner alone opens levels. */
    uint64_t depth = atomic_load_explicit(&a->depth, memory_order_relaxed) + 1;
    bool lock = is_shared(a) || depth - a->bottom >= HFI_ARENA_LEVELS;
    if (lock) hfi_lock_acquire(&a->lock);
    if (depth - a->bottom >= HFI_ARENA_LEVELS) level_forget(a);
    const struct hfi_chunk *chunk = hfi_arena_current(a);
    struct hfi_level *level = level_at(a, depth);
    level->serial = ++a->mark_serial;
    level->chunk = chunk->number;
    level->cursor = hfi_arena_cursor(a);
    if (depth > a->highest) a->highest = depth;
    atomic_store_explicit(&a->depth, depth, memory_order_relaxed);
    *mark_out = (hf_mark){.chunk = chunk->number,
                          .cursor = level->cursor,
                          .generation = atomic_load_explicit(&a->generation, memory_order_relaxed),
                          .serial = level->serial,
                          .level = depth,
                          .blocks = atomic_load_explicit(&a->blocks, memory_order_relaxed),
                          .requested = atomic_load_explicit(&a->requested, memory_order_relaxed),
                          .records = a->record_count};
    if (a->mode & HFI_MODE_LOG) hfi_debug_log(a, HF_ARENA_OP_MARK, level->cursor, 0, 0);
    if (lock) hfi_lock_release(&a->lock);
    return HF_OK;
}

/* The chunk a mark names, if its cursor can still be a place in it. */
static struct hfi_chunk *mark_chunk(const struct hfi_arena *a, const hf_mark *mark) {
    struct hfi_chunk *chunk = hfi_arena_current(a);
    uintptr_t end = hfi_arena_cursor(a);
    while (chunk->number != mark->chunk) {
        chunk = chunk->prev;
        if (chunk == NULL) return NULL;
        end = chunk->stopped;
    }
    if (mark->cursor < (uintptr_t)chunk->space || mark->cursor > end) return NULL;
    return chunk;
}

/* Borrows that a rewind to this level would leave hanging. Who borrows while a level is left may count
 * at that level, above the top: what ever was one is looked at. */
static uint64_t borrows_from(struct hfi_arena *a, uint64_t from) {
    uint64_t sum = 0, end = a->bottom + HFI_ARENA_LEVELS - 1;
    /* SYNC(arena.borrows): what the borrower did is over; pairs with hf_arena_give_back. */
    if (atomic_load_explicit(&a->borrows, memory_order_acquire) == 0) return 0;
    if (from < a->bottom) sum = atomic_load_explicit(&a->borrows_low, memory_order_relaxed);
    if (end > a->highest) end = a->highest;
    for (uint64_t i = from < a->bottom ? a->bottom : from; i <= end; i++)
        /* SYNC(arena.borrows): the same. */
        sum += atomic_load_explicit(&level_at(a, i)->borrows, memory_order_acquire);
    return sum;
}

/* Rewinds; the level of the mark stays open unless `end`. */
static hf_status rewind_to(struct hfi_arena *a, const hf_mark *mark, bool end) {
    uint64_t depth = atomic_load_explicit(&a->depth, memory_order_relaxed);
    if (mark->generation != atomic_load_explicit(&a->generation, memory_order_relaxed) ||
        mark->level == 0 || mark->level > depth)
        return HF_E_INVALID;
    if (mark->level >= a->bottom && level_at(a, mark->level)->serial != mark->serial)
        return HF_E_INVALID;
    struct hfi_chunk *chunk = mark_chunk(a, mark);
    if (chunk == NULL) return HF_E_INVALID;
    if (borrows_from(a, mark->level) != 0) return HF_E_BUSY;
    hfi_arena_return_to(a, chunk, mark->cursor);
    if (a->mode & HFI_MODE_COUNT) {
        atomic_store_explicit(&a->blocks, mark->blocks, memory_order_relaxed);
        atomic_store_explicit(&a->requested, mark->requested, memory_order_relaxed);
        a->record_count = mark->records;
    }
    uint64_t level = end ? mark->level - 1 : mark->level;
    /* Where its level was forgotten, all that are left are. */
    if (mark->level < a->bottom) a->bottom = level + 1;
    atomic_store_explicit(&a->depth, level, memory_order_relaxed);
    uint64_t rewinds = atomic_load_explicit(&a->rewinds, memory_order_relaxed);
    atomic_store_explicit(&a->rewinds, rewinds + 1, memory_order_relaxed);
    if (a->mode & HFI_MODE_LOG) hfi_debug_log(a, HF_ARENA_OP_REWIND, mark->cursor, 0, 0);
    return HF_OK;
}

static hf_status rewind_checked(hf_arena *arena, const hf_mark *mark,
                                bool end) HF_NO_THREAD_SAFETY {
    struct hfi_arena *a = hfi_arena_of(arena);
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    if (mark == NULL) return HF_E_INVALID;
    if ((a->mode & HFI_MODE_CANARY) &&
        mark->generation == atomic_load_explicit(&a->generation, memory_order_relaxed))
        (void)hfi_debug_verify(a, mark->records, "arena_rewind");
    bool lock = is_shared(a) || mark->level < a->bottom;
    if (lock) hfi_lock_acquire(&a->lock);
    hf_status status = rewind_to(a, mark, end);
    if (lock) hfi_lock_release(&a->lock);
    return status;
}

hf_status hf_arena_rewind(hf_arena *arena, const hf_mark *mark) {
    return rewind_checked(arena, mark, false);
}

hf_status hf_arena_leave(hf_arena *arena, const hf_mark *mark) {
    return rewind_checked(arena, mark, true);
}

/* --- borrowing ------------------------------------------------------------------------------- */

uint64_t hf_arena_borrow(hf_arena *arena) {
    struct hfi_arena *a = hfi_arena_of(arena);
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    hfi_lock_acquire(&a->lock);
    uint64_t depth = atomic_load_explicit(&a->depth, memory_order_relaxed);
    _Atomic uint64_t *count = depth < a->bottom ? &a->borrows_low : &level_at(a, depth)->borrows;
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&a->borrows, 1, memory_order_relaxed);
    hfi_lock_release(&a->lock);
    return depth;
}

void hf_arena_give_back(hf_arena *arena, uint64_t ticket) {
    struct hfi_arena *a = hfi_arena_of(arena);
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    hfi_lock_acquire(&a->lock);
    _Atomic uint64_t *count = ticket < a->bottom ? &a->borrows_low : &level_at(a, ticket)->borrows;
    /* SYNC(arena.borrows): the borrower's last look; pairs with borrows_from. */
    uint64_t was = atomic_fetch_sub_explicit(count, 1, memory_order_release);
    atomic_fetch_sub_explicit(&a->borrows, 1, memory_order_release);
    hfi_lock_release(&a->lock);
    HF_EXPECT(was != 0, ticket);
}

uint64_t hf_arena_borrows(const hf_arena *arena) {
    /* SYNC(arena.borrows): pairs with hf_arena_give_back. */
    return atomic_load_explicit(&hfi_arena_of(arena)->borrows, memory_order_acquire);
}
