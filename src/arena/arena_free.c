/* arena_free.c - the youngest block can be given back, or change its size, where it stands.
 *
 *   ... | block | cursor        block + held == cursor, and no younger mark: then the cursor moves
 *
 * Contract    holdfast/arena.h. Any other block keeps its bytes until the next rewind or reset; a record
 *             of it, where there is one, is noted as freed.
 * Talks to    arena_debug, poison.
 * Threads     the owner's. In shared arenas nothing moves: a block of another thread may be behind it.
 * Fails with  INVALID_FREE, DOUBLE_FREE, OVERFLOW reports of the debug switches. */
#include <string.h>

#include "arena_state.h"
#include "poison.h"

/* Bytes from the block's start to its end in the arena, for a block of `size`. */
static size_t held_by(const struct hfi_arena *a, size_t size) {
    size_t held = size > a->options.min_size ? size : a->options.min_size;
    if (held == 0) held = 1;
    return hfi_bump_round(held) + (a->mode & HFI_MODE_CANARY ? HFI_ARENA_CANARY : 0);
}

/* Is [block, block + held) the last thing handed out, and younger than the youngest mark? */
static bool is_youngest(const struct hfi_arena *a, uintptr_t block, size_t held) {
    if (a->mode & HFI_MODE_SHARED) return false;
    const struct hfi_chunk *chunk = hfi_arena_current(a);
    if (block < (uintptr_t)chunk->space || block + held != a->bump->cursor) return false;
    uint64_t depth = atomic_load_explicit(&a->depth, memory_order_relaxed);
    if (depth == 0) return true;
    if (depth < a->bottom) return false; /* where the mark is was forgotten */
    const struct hfi_level *level = &a->levels[depth % HFI_ARENA_LEVELS];
    return level->chunk != chunk->number || block >= level->cursor;
}

static void dirty_raise(struct hfi_chunk *chunk, uintptr_t end) {
    if (end > atomic_load_explicit(&chunk->dirty, memory_order_relaxed))
        atomic_store_explicit(&chunk->dirty, end, memory_order_relaxed);
}

/* Builds the report a wrong pointer deserves; false if the block is live and whole. */
static bool free_is_wrong(const struct hfi_arena *a, uintptr_t block, size_t index,
                          hf_report *report) {
    const struct hfi_record *record = index != SIZE_MAX ? hfi_record_at(a, index) : NULL;
    hf_report_kind kind = HF_REPORT_NONE;
    if (record == NULL)
        kind = HF_REPORT_INVALID_FREE;
    else if (record->address != block)
        kind = HF_REPORT_INTERIOR_FREE;
    else if (record->freed)
        kind = HF_REPORT_DOUBLE_FREE;
    if (kind == HF_REPORT_NONE) return false;
    hfi_debug_report(a, report, kind, (const void *)block, "arena_free", record);
    return true;
}

/* The block is the youngest: its bytes are free again. */
static void take_back(struct hfi_arena *a, uintptr_t block, size_t size, size_t held) {
    dirty_raise(hfi_arena_current(a), block + held);
    a->bump->cursor = block;
    if (a->mode & HFI_MODE_COUNT) {
        /* relaxed: figures, exact at rest. */
        atomic_fetch_sub_explicit(&a->blocks, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&a->requested, size, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&a->total_done, held, memory_order_relaxed);
    if (a->mode & HFI_MODE_POISON) hfi_poison_hide((void *)block, held);
}

void hf_arena_free(hf_arena *arena, void *block, size_t size) {
    struct hfi_arena *a = hfi_arena_of(arena);
    uintptr_t at = (uintptr_t)block;
    if (block == NULL) return;
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    hf_report report;
    bool wrong = false;
    size_t checked = SIZE_MAX;
    hfi_arena_enter(a);
    if (a->mode & HFI_MODE_RECORD) {
        size_t index = hfi_debug_find(a, at);
        struct hfi_record *record = index != SIZE_MAX ? hfi_record_at(a, index) : NULL;
        if (free_is_wrong(a, at, index, &report)) {
            wrong = a->options.validate_access != 0;
        } else if (index + 1 == a->record_count && is_youngest(a, at, record->held)) {
            checked = index;
        } else {
            record->freed = 1;
        }
    } else if (is_youngest(a, at, held_by(a, size))) {
        take_back(a, at, size, held_by(a, size));
    }
    if (a->mode & HFI_MODE_LOG) hfi_debug_log(a, HF_ARENA_OP_FREE, at, size, 0);
    hfi_arena_exit(a);
    if (wrong) hfi_debug_emit(a, &report);
    if (checked == SIZE_MAX) return;
    /* Its canary is looked at while it is there, without the lock. */
    (void)hfi_debug_verify(a, checked, "arena_free");
    hfi_arena_enter(a);
    struct hfi_record *record = hfi_record_at(a, checked);
    if (checked + 1 == a->record_count && record->address == at && !record->freed) {
        take_back(a, at, record->size, record->held);
        a->record_count--;
    } else if (checked < a->record_count && record->address == at) {
        record->freed = 1;
    }
    hfi_arena_exit(a);
}

/* The block's end moves to `held` bytes from its start. */
static bool stretch(struct hfi_arena *a, uintptr_t block, size_t old_held,
                    size_t held) HF_NO_THREAD_SAFETY {
    if (block + held > a->bump->limit) {
        struct hfi_chunk *chunk = hfi_arena_current(a);
        if (block + held > hfi_chunk_end_max(chunk)) return false;
        if (!a->locked) hfi_lock_acquire(&a->lock);
        /* Above the old end, so that the window grows where the block stands. */
        bool room = hfi_arena_reach(a, held - old_held, HFI_BUMP_UNIT);
        if (!a->locked) hfi_lock_release(&a->lock);
        if (!room || hfi_arena_current(a) != chunk) return false;
    }
    if (held < old_held) dirty_raise(hfi_arena_current(a), block + old_held);
    a->bump->cursor = block + held;
    return true;
}

static bool resize_here(struct hfi_arena *a, uintptr_t block, size_t old_size, size_t size) {
    struct hfi_record *record = NULL;
    size_t old_held = held_by(a, old_size), held = held_by(a, size);
    if (a->mode & HFI_MODE_RECORD) {
        size_t index = hfi_debug_find(a, block);
        if (index == SIZE_MAX || index + 1 != a->record_count) return false;
        record = hfi_record_at(a, index);
        if (record->address != block || record->size != old_size || record->freed) return false;
    }
    if (!is_youngest(a, block, old_held) || !stretch(a, block, old_held, held)) return false;
    if (a->mode & HFI_MODE_COUNT)
        atomic_fetch_add_explicit(&a->requested, size - old_size, memory_order_relaxed);
    if (a->mode & HFI_MODE_POISON) {
        if (size > old_size) hfi_poison_show((void *)(block + old_size), size - old_size);
        if (size < old_size) hfi_poison_hide((void *)(block + size), old_held - size);
    }
    if ((a->mode & HFI_MODE_ZERO) && size > old_size) {
        memset((void *)(block + old_size), 0, size - old_size);
        if (a->mode & HFI_MODE_POISON)
            hfi_poison_clear((void *)(block + old_size), size - old_size);
    }
    if (record != NULL) {
        record->size = size;
        record->held = held;
        hfi_debug_paint(a, record);
    }
    return true;
}

int hf_arena_resize(hf_arena *arena, void *block, size_t old_size, size_t new_size) {
    struct hfi_arena *a = hfi_arena_of(arena);
    HF_EXPECT(a->magic == HFI_ARENA_LIVE);
    if (block == NULL || old_size > HFI_BUMP_MAX || new_size > HFI_BUMP_MAX) return 0;
    hfi_arena_enter(a);
    bool done = resize_here(a, (uintptr_t)block, old_size, new_size);
    if (done && (a->mode & HFI_MODE_LOG))
        hfi_debug_log(a, HF_ARENA_OP_RESIZE, (uintptr_t)block, new_size, 0);
    hfi_arena_exit(a);
    return done;
}
