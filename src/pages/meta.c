/* meta.c - a bump over private mappings with free lists by size.
 * Invariants  a free piece holds nothing but the link to the next one; pieces never change size.
 * Threads     meta_lock guards all state.
 * Fails with  NULL; callers undo what they had begun. */
#include "meta.h"

#include <string.h>

#include "base/lock.h"
#include "os/os.h"

#define PIECE       ((size_t)64)
#define EXACT_MAX   ((size_t)1024)      /* up to here one list per 64 bytes */
#define MAP_SIZE    ((size_t)256 << 10) /* of one mapping */
#define EXACT_LISTS (EXACT_MAX / PIECE + 1)

struct piece {
    struct piece *next;
};

static hfi_lock meta_lock = HFI_LOCK_INIT(HFI_RANK_META);
static char *bump_at, *bump_end;         /* guarded by: meta_lock */
static struct piece *exact[EXACT_LISTS]; /* guarded by: meta_lock */
static struct piece *doubling[64];       /* guarded by: meta_lock */
static size_t bytes_mapped, bytes_used;  /* guarded by: meta_lock */
static bool guard_mappings;

void hfi_meta_start(bool guarded) {
    guard_mappings = guarded;
}

static size_t piece_size(size_t size) {
    if (size <= EXACT_MAX) return (size + PIECE - 1) & ~(PIECE - 1);
    return (size_t)1 << (64 - __builtin_clzll(size - 1));
}

static struct piece **piece_list(size_t rounded) {
    if (rounded <= EXACT_MAX) return &exact[rounded / PIECE];
    return &doubling[__builtin_ctzll(rounded)];
}

static char *map_guarded(size_t size) {
    if (!guard_mappings) return hfi_os_map(size);
    char *base = hfi_os_map(size + 2 * HFI_PAGE);
    if (base == NULL) return NULL;
    /* A guard that the kernel refuses is a lost defence, not a lost allocation. */
    (void)hfi_os_guard(base, HFI_PAGE);
    (void)hfi_os_guard(base + HFI_PAGE + size, HFI_PAGE);
    return base + HFI_PAGE;
}

void *hfi_meta_alloc(size_t size) {
    size_t rounded = piece_size(size);
    hfi_lock_acquire(&meta_lock);
    struct piece **list = piece_list(rounded);
    struct piece *piece = *list;
    bool recycled = piece != NULL;
    if (recycled) {
        *list = piece->next;
    } else if (rounded > MAP_SIZE / 4) {
        piece = (struct piece *)map_guarded(hfi_page_up(rounded));
        if (piece != NULL) bytes_mapped += rounded;
    } else {
        if ((size_t)(bump_end - bump_at) < rounded) {
            char *fresh = map_guarded(MAP_SIZE);
            if (fresh != NULL) {
                bump_at = fresh;
                bump_end = fresh + MAP_SIZE;
                bytes_mapped += MAP_SIZE;
            }
        }
        if ((size_t)(bump_end - bump_at) >= rounded) {
            piece = (struct piece *)bump_at;
            bump_at += rounded;
        }
    }
    if (piece != NULL) bytes_used += rounded;
    hfi_lock_release(&meta_lock);
    if (recycled) memset(piece, 0, rounded);
    return piece;
}

void hfi_meta_free(void *memory, size_t size) {
    size_t rounded = piece_size(size);
    struct piece *piece = memory;
    if (piece == NULL) return;
    hfi_lock_acquire(&meta_lock);
    struct piece **list = piece_list(rounded);
    piece->next = *list;
    *list = piece;
    bytes_used -= rounded;
    hfi_lock_release(&meta_lock);
}

size_t hfi_meta_mapped(size_t *used_out) {
    hfi_lock_acquire(&meta_lock);
    size_t mapped = bytes_mapped;
    if (used_out != NULL) *used_out = bytes_used;
    hfi_lock_release(&meta_lock);
    return mapped;
}

void hfi_meta_fork_prepare(void) HF_NO_THREAD_SAFETY {
    hfi_lock_acquire(&meta_lock);
}

void hfi_meta_fork_parent(void) HF_NO_THREAD_SAFETY {
    hfi_lock_release(&meta_lock);
}

void hfi_meta_fork_child(void) {
    hfi_lock_reinit(&meta_lock);
}
