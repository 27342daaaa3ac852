/* arena.h - arenas: memory that is handed out by moving a cursor and dies all at once.
 *
 *   | guard | header 64 B | blocks ... -> cursor      window | usable   footer 64 B | reserved | guard |
 *
 *   hf_arena *arena;
 *   hf_arena_create(NULL, &arena);
 *   node *n = hf_arena_alloc(arena, sizeof *n);       inline, five to eight instructions
 *   hf_arena_reset(arena);                            every block dies; the memory stays for the next
 *
 * Contract    blocks are aligned to 16 bytes, or to what was asked; one block never moves. Size 0 gives
 *             a block of its own. Functions shaped like malloc return NULL and set errno: ENOMEM (see
 *             hf_arena_last_refusal), EINVAL for an alignment that is no power of two up to 2 MiB.
 * Threads     one at a time, or any number with `thread_safe`; then reset, release, rewind and destroy
 *             still need the arena for themselves. hf_arena_borrow, hf_arena_give_back and all that
 *             only looks (stats, figures) may run beside the owner's calls on any thread.
 * Fork        the child has the arena as it was.
 * Damage      header, footer and canaries are verified by reset, destroy, rewind (canaries) and
 *             hf_arena_check; what is found is reported (report.h), once.
 * Source      Hanson, "Fast allocation and deallocation of memory based on object lifetimes", 1990. */
#ifndef HOLDFAST_ARENA_H
#define HOLDFAST_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/options.h>
#include <holdfast/stats.h>
#include <holdfast/status.h>
#include <holdfast/view.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HF_ARENA_ALIGNMENT     16u               /* of every block that does not ask for more   */
#define HF_ARENA_ALIGNMENT_MAX ((size_t)2 << 20) /* of a block                                  */
#define HF_ARENA_SIMD          64u               /* alignment of hf_arena_alloc_simd            */
#define HF_ARENA_NEVER         UINT64_MAX        /* decay_ms: nothing is ever purged by time    */

/* The two words the inline path needs; the rest of an arena is behind them. Programs do not write
 * them. Both are 0 where every allocation takes the long way: a debug switch, `thread_safe`,
 * `statistics`, `zero`, an alignment or min_size above 16, or a program under ASan or Valgrind. */
typedef struct hf_arena {
    uintptr_t cursor; /* next free byte, a multiple of 16                */
    uintptr_t limit;  /* the inline path stops here, a multiple of 16    */
} hf_arena;

/* Ready-made options. */
typedef enum hf_arena_policy {
    HF_ARENA_DEFAULT,          /* grows; guard pages of 4 KiB                                     */
    HF_ARENA_HIGH_PERFORMANCE, /* no guards, huge pages, a large first piece, kept for ever       */
    HF_ARENA_SAFETY            /* guards of 64 KiB, zeroed blocks, all four debug switches        */
} hf_arena_policy;

/* Set struct_size and the defaults with hf_arena_options_init. Switches are 0 or 1. */
typedef struct hf_arena_options {
    uint32_t struct_size;
    uint32_t huge_pages;  /* hf_huge_mode: AUTO asks for them beyond the first 2 MiB             */
    uint64_t capacity;    /* usable at once [B]; the first step of growth                        */
    uint64_t limit;       /* bytes of blocks, padding included, the arena ever holds; 0: no limit.
                              limit == capacity is an arena of fixed size                         */
    uint64_t reserve;     /* address space of one chunk [B], or what capacity needs; more chunks
                              follow when it is full                                              */
    uint64_t retain;      /* kept through every reset and decay [B]                              */
    uint64_t decay_ms;    /* memory above what recent cycles used goes back after this time; 0: at
                              each reset; HF_ARENA_NEVER: only by hf_arena_release                */
    uint64_t guard;       /* inaccessible bytes at both ends of a chunk; 0: none                 */
    uint64_t prefetch;    /* how far ahead of the cursor to prefetch [B]; 0: not at all          */
    uint32_t alignment;   /* of blocks that do not ask, power of two, 16 to 4096                 */
    uint32_t min_size;    /* smaller blocks take this many bytes; 0: no minimum                  */
    int32_t node;         /* NUMA node, -1: the kernel's choice                                  */
    uint32_t zero;        /* blocks are handed out zeroed                                        */
    uint32_t thread_safe; /* allocation from any thread, without a lock                          */
    uint32_t statistics;  /* count blocks, bytes asked for and padding                           */
    /* The debug switches, each of its own. */
    uint32_t track_allocations; /* remember every live block and where it was allocated           */
    uint32_t validate_access;   /* hf_arena_validate, _free and _resize know the exact blocks     */
    uint32_t check_corruption;  /* a canary behind every block                                    */
    uint32_t log_operations;    /* keep the last operations for hf_arena_log                      */
    const char *name;           /* for reports and owners, copied, 31 bytes; NULL: none           */
} hf_arena_options;

HF_API void hf_arena_options_init(hf_arena_options *options, hf_arena_policy policy);
/* HF_E_INVALID or HF_E_CONFLICT with a sentence in `why` (may be NULL). */
HF_API hf_status hf_arena_options_check(const hf_arena_options *options, char *why,
                                        size_t why_size);

/* A new arena; `options` NULL is the defaults. HF_E_INVALID, HF_E_CONFLICT, HF_E_NO_MEMORY, HF_E_LIMIT. */
HF_API hf_status hf_arena_create(const hf_arena_options *options, hf_arena **arena_out);
/* An arena in memory of the caller, which must outlive it: header and footer take 128 bytes and what
 * the 64-byte alignment costs. It does not grow unless `limit` is larger than the buffer; `guard`,
 * `node` and `huge_pages` do not apply to the buffer. HF_E_INVALID if it is too small. */
HF_API hf_status hf_arena_create_on(void *buffer, size_t size, const hf_arena_options *options,
                                    hf_arena **arena_out);
/* Ends the arena and every block. HF_E_BUSY while something is borrowed; nothing has happened then. */
HF_API hf_status hf_arena_destroy(hf_arena *arena);

HF_API uint64_t hf_arena_id(const hf_arena *arena);
HF_API const char *hf_arena_name(const hf_arena *arena);
/* A copy of what the arena was made with (`name` points into the arena). */
HF_API void hf_arena_options_of(const hf_arena *arena, hf_arena_options *options_out);

/* --- allocation ------------------------------------------------------------------------------ */

/* Out of line: what the inline functions below call when the window is used up, and the whole path of
 * arenas with options. `alignment` 0 is the arena's own. */
HF_API void *hf_arena_allocate(hf_arena *arena, size_t size, size_t alignment) HF_NODISCARD;
/* The same, all bytes zero; memory that is still fresh is not written. */
HF_API void *hf_arena_allocate_zeroed(hf_arena *arena, size_t size, size_t alignment) HF_NODISCARD;
/* `count` blocks of `size` bytes each; returns how many were made, fewer (with errno) if memory ran
 * short. blocks_out[i] are in address order and touch each other where they fit one chunk. */
HF_API size_t hf_arena_alloc_bulk(hf_arena *arena, size_t size, size_t alignment, size_t count,
                                  void **blocks_out) HF_NODISCARD;

#define HF_ARENA_LIKELY(x) __builtin_expect(!!(x), 1)

/* A block of `size` bytes. */
static inline void *hf_arena_alloc(hf_arena *arena, size_t size) {
    uintptr_t at = arena->cursor;
    if (__builtin_constant_p(size) && size != 0 && size <= ((size_t)1 << 30)) {
        uintptr_t end = at + ((size + 15) & ~(size_t)15);
        if (HF_ARENA_LIKELY(end <= arena->limit)) {
            arena->cursor = end;
            return (void *)at;
        }
    } else if (HF_ARENA_LIKELY(size - 1 < arena->limit - at)) { /* 0 wraps: the long way */
        arena->cursor = at + ((size + 15) & ~(size_t)15);
        return (void *)at;
    }
    return hf_arena_allocate(arena, size, 0);
}

/* A block at a multiple of `alignment`, a power of two up to 2 MiB. */
static inline void *hf_arena_alloc_aligned(hf_arena *arena, size_t size, size_t alignment) {
    if (HF_ARENA_LIKELY(alignment >= 16 && alignment <= HF_ARENA_ALIGNMENT_MAX &&
                        (alignment & (alignment - 1)) == 0 && size - 1 < ((size_t)1 << 40))) {
        uintptr_t at = (arena->cursor + alignment - 1) & ~(uintptr_t)(alignment - 1);
        uintptr_t end = at + ((size + 15) & ~(size_t)15);
        if (HF_ARENA_LIKELY(end <= arena->limit)) {
            arena->cursor = end;
            return (void *)at;
        }
    }
    return hf_arena_allocate(arena, size, alignment);
}

/* A block at a cache line, for vector loads of any width. */
static inline void *hf_arena_alloc_simd(hf_arena *arena, size_t size) {
    return hf_arena_alloc_aligned(arena, size, HF_ARENA_SIMD);
}

/* A block is no longer needed. The youngest block of the arena is reused; any other one is only noted
 * by `track_allocations`, so that it is no leak. `size` is what was asked for. With validate_access a
 * pointer that is no live block is an INVALID_FREE or DOUBLE_FREE report. NULL does nothing. */
HF_API void hf_arena_free(hf_arena *arena, void *block, size_t size);
/* Changes the size of the youngest block where it stands; 0 if it is not the youngest or there is no
 * room, and nothing has happened then. */
HF_API int hf_arena_resize(hf_arena *arena, void *block, size_t old_size, size_t new_size);

/* What the last refused allocation asked for and what was left for it without growth, for messages;
 * zeros if none was refused. `left` is meaningful where a limit refused, or a buffer was full. */
HF_API void hf_arena_last_refusal(const hf_arena *arena, size_t *asked_out, size_t *left_out);

/* --- all at once ----------------------------------------------------------------------------- */

/* Every block dies; the memory stays, but for what recent cycles did not need. Takes the same time
 * however many blocks there are. HF_E_BUSY while something is borrowed. Damage of header, footer or a
 * canary is reported and the reset done all the same. */
HF_API hf_status hf_arena_reset(hf_arena *arena);
/* Reset, and all memory but `retain` goes back to the system. */
HF_API hf_status hf_arena_release(hf_arena *arena);

/* A place to come back to. Copy it freely, look into it not. */
typedef struct hf_mark {
    uint64_t chunk;      /* number of the chunk                       */
    uintptr_t cursor;    /* in it                                     */
    uint64_t generation; /* of the arena: resets so far               */
    uint64_t serial;     /* of the mark: an older one ends younger    */
    uint64_t level;      /* how many marks were open below it         */
    uint64_t blocks;     /* live blocks then, where they are counted  */
    uint64_t requested;  /* bytes asked for by them                   */
    uint64_t records;    /* of debug switches                         */
} hf_mark;

/* Remembers the place of the cursor. */
HF_API hf_status hf_arena_mark(hf_arena *arena, hf_mark *mark_out);
/* Every block made since the mark dies, every younger mark ends; this one stays good for another rewind.
 * HF_E_INVALID for a mark that ended: by a reset, a rewind to an older one, or of another arena (marks
 * that lie under 64 younger ones are checked by place only, and any borrow refuses them). HF_E_BUSY while something is borrowed
 * that was borrowed after the mark. Nothing has happened in both cases. */
HF_API hf_status hf_arena_rewind(hf_arena *arena, const hf_mark *mark);
/* The last rewind to this mark: it ends as well. What a scope does when it is left. */
HF_API hf_status hf_arena_leave(hf_arena *arena, const hf_mark *mark);

/* Somebody holds a pointer that must not die: reset, release, destroy, and rewind to a mark older than
 * the borrow are refused until it is given back. Returns the ticket to give it back with. */
HF_API uint64_t hf_arena_borrow(hf_arena *arena);
HF_API void hf_arena_give_back(hf_arena *arena, uint64_t ticket);
HF_API uint64_t hf_arena_borrows(const hf_arena *arena);

/* --- looking --------------------------------------------------------------------------------- */

/* Verifies headers, footers and, with check_corruption, every canary; damage is reported, each place
 * once. HF_E_CORRUPT with the number in *found_out (may be NULL). */
HF_API hf_status hf_arena_check(hf_arena *arena, size_t *found_out);
/* Is [address, address + size) memory the program may use? HF_OK or HF_E_INVALID. Inside one live block
 * with validate_access, track_allocations or check_corruption; inside what is handed out without. */
HF_API hf_status hf_arena_validate(const hf_arena *arena, const void *address, size_t size);
/* 1 if the address lies in memory of this arena, live or not. */
HF_API int hf_arena_owns(const hf_arena *arena, const void *address);

/* The account every owner keeps (stats.h): mapped = in_use + slack + cached + free + meta.
 * in_use: bytes asked for, or handed out where they are not counted; slack: rounding, alignment,
 * canaries; cached: usable and kept for the next cycle; free: usable, not used by recent cycles;
 * meta: headers, footers, records, the arena itself. A caller's buffer is not mapped by us: in
 * bytes_mapped it counts all the same, so that the account adds up. */
HF_API hf_status hf_arena_stats(const hf_arena *arena, hf_stats *stats_out);

typedef struct hf_arena_figures {
    uint32_t struct_size;
    uint32_t counted;      /* 1: blocks and padding are exact; 0: they are 0 or estimates     */
    uint64_t bytes_in_use; /* live, as asked for where counted, as handed out where not       */
    uint64_t
        bytes_in_use_peak;   /* largest so far, looked at when marking, rewinding, resetting    */
    uint64_t bytes_total;    /* handed out since creation                                       */
    uint64_t bytes_padding;  /* of live blocks: rounding, alignment, canaries, ends of chunks   */
    uint64_t bytes_left;     /* that fit without growth                                         */
    uint64_t bytes_usable;   /* of all chunks, headers and footers excluded                     */
    uint64_t bytes_reserved; /* address space                                                   */
    uint64_t bytes_recent;   /* largest need of the recent cycles, what decay keeps             */
    uint64_t blocks;         /* live                                                            */
    uint64_t blocks_total;   /* since creation                                                  */
    uint64_t chunks;         /* regions and buffers                                             */
    uint64_t resets;         /* release included                                                */
    uint64_t rewinds;        /* so far                                                          */
    uint64_t failures;       /* allocations that returned NULL                                  */
    uint64_t borrows;        /* not given back                                                  */
    double fragmentation;    /* padding / (in use + padding), 0 if there is nothing             */
} hf_arena_figures;

HF_API hf_status hf_arena_figures_of(const hf_arena *arena, hf_arena_figures *figures_out);

/* Every live block where they are tracked, else what is handed out of each chunk as one block; `owner`
 * is the number of the chunk. The visitor runs without locks, on a copy. */
HF_API hf_status hf_arena_view(hf_arena *arena, hf_visitor visitor, void *context);

typedef struct hf_arena_block {
    const void *address;
    size_t size;      /* bytes asked for                                         */
    uint64_t serial;  /* 1 for the first block of the arena, and so on           */
    const char *site; /* call stack, outermost first; "" if none was captured   */
} hf_arena_block;
/* Return non-zero to stop. */
typedef int (*hf_arena_block_visitor)(const hf_arena_block *block, void *context);
/* Live blocks made after `since` (NULL: all) that hf_arena_free did not note: what is about to die with
 * the scope although somebody may hold it. *count_out (may be NULL) is their number, visited or not.
 * HF_E_UNSUPPORTED without track_allocations. */
HF_API hf_status hf_arena_leaks(hf_arena *arena, const hf_mark *since,
                                hf_arena_block_visitor visitor, void *context, size_t *count_out);

typedef enum hf_arena_verb {
    HF_ARENA_OP_CREATE,
    HF_ARENA_OP_ALLOC,
    HF_ARENA_OP_REFUSE,
    HF_ARENA_OP_FREE,
    HF_ARENA_OP_RESIZE,
    HF_ARENA_OP_MARK,
    HF_ARENA_OP_REWIND,
    HF_ARENA_OP_RESET,
    HF_ARENA_OP_RELEASE,
    HF_ARENA_OP_GROW
} hf_arena_verb;

typedef struct hf_arena_operation {
    uint64_t number;    /* 1 for the first of the arena                       */
    uint64_t time_ns;   /* CLOCK_MONOTONIC                                    */
    uint64_t thread_id; /* kernel thread id                                   */
    hf_arena_verb verb;
    uint32_t alignment;  /* of an allocation                                   */
    const void *address; /* block, or cursor after a mark, rewind, reset       */
    size_t size;         /* of the block; new size of a resize; bytes of a growth */
} hf_arena_operation;

#define HF_ARENA_LOG_MAX 256
/* The last operations, oldest first; returns how many were copied. 0 without log_operations. */
HF_API size_t hf_arena_log(const hf_arena *arena, hf_arena_operation *operations_out,
                           size_t capacity);
/* "alloc", "reset" and so on; "" for anything else. */
HF_API const char *hf_arena_verb_name(hf_arena_verb verb);

#ifdef __cplusplus
}
#endif
#endif
