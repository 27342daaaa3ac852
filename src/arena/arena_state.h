/* arena_state.h - what an arena is made of; shared by the files of this folder.
 *
 *   struct hfi_arena --> first --> chunk --> chunk --> chunk
 *                        current ------------^           ^ kept from an earlier cycle
 *
 *   chunk   | header | blocks | cursor ... window ... | footer | reserved
 *           ^ base   ^ space                          ^ base + usable - footer
 *
 * Invariants  space <= cursor <= window <= base + usable - footer. Memory above `window` is nobody's: it
 *             is handed out, and given back by another thread, under `lock` alone. Windows start
 *             small after a reset and double, so that a cycle takes the lock a few times.
 *             Chunks before `current` stay where they are; those behind it may go.
 * Threads     the owner's calls come one at a time, or from many threads with `shared` (allocation by
 *             compare-and-swap) or with debug switches and thread_safe (everything under `lock`). The decay and
 *             whoever looks come from anywhere. */
#ifndef HFI_ARENA_STATE_H
#define HFI_ARENA_STATE_H

#include <holdfast/arena.h>

#include "base/lock.h"
#include "base/owners.h"
#include "base/report.h"
#include "blocks/bump.h"
#include "pages/region.h"

#define HFI_ARENA_LIVE   UINT64_C(0x4146414e45524148) /* of an arena that is open */
#define HFI_ARENA_EDGE   ((size_t)64)                 /* header, footer           */
#define HFI_ARENA_WINDOW ((size_t)64 << 10)           /* the first of a cycle     */
#define HFI_ARENA_LEVELS 64u                          /* marks known exactly      */
#define HFI_ARENA_CANARY ((size_t)16)                 /* least bytes behind a block */

/* Why an allocation takes the long way; 0: it does not. */
enum {
    HFI_MODE_SHARED = 1,
    HFI_MODE_COUNT = 2,
    HFI_MODE_ZERO = 4,
    HFI_MODE_PREFETCH = 8,
    HFI_MODE_SHAPE = 16, /* alignment or min_size of its own */
    HFI_MODE_POISON = 32,
    HFI_MODE_RECORD = 64,
    HFI_MODE_CANARY = 128,
    HFI_MODE_LOG = 256,
};

/* 64 bytes at each end of a chunk's space: what an overrun meets first. */
struct hfi_edge {
    uint64_t magic;     /* which end                        */
    uint64_t magic_not; /* its complement                   */
    uint64_t arena;     /* address of the arena             */
    uint64_t arena_not; /* its complement                   */
    uint64_t chunk;     /* number of the chunk              */
    uint64_t chunk_not; /* its complement                   */
    uint64_t place;     /* address of the edge itself       */
    uint64_t place_not; /* its complement                   */
};
_Static_assert(sizeof(struct hfi_edge) == HFI_ARENA_EDGE, "an edge is a cache line");

struct hfi_chunk {
    struct hfi_chunk *next, *prev; /* guarded by: lock                                          */
    uint64_t number;               /* 1 for the first of the arena                              */
    struct hfi_region region;      /* base NULL: a buffer of the caller                         */
    char *base;                    /* header                                                    */
    char *space;                   /* first byte of blocks                                      */
    size_t usable;                 /* bytes from base, both edges included; guarded by: lock    */
    _Atomic uintptr_t cursor;      /* of the allocation, in shared arenas                       */
    uintptr_t stopped;             /* cursor when the next chunk was begun                      */
    _Atomic uintptr_t window;      /* allocation goes this far without the lock                 */
    _Atomic uintptr_t dirty;       /* bytes from here on are zero                               */
    uintptr_t purged;              /* lowest purge since `dirty` was set; guarded by: lock      */
    uint64_t before;               /* bytes handed out of earlier chunks                        */
    _Atomic size_t high_now;       /* most bytes of space used in this period                   */
    size_t high_before;            /* and in the last one; guarded by: lock                     */
    size_t records;                /* of blocks before this chunk                               */
    bool header_damaged, footer_damaged; /* was reported                                       */
};

struct hfi_level {
    uint64_t serial;          /* of the mark that opened it             */
    uint64_t chunk;           /* where                                  */
    uintptr_t cursor;         /* in it                                  */
    _Atomic uint64_t borrows; /* made while it was the top; by: lock    */
};

struct hfi_record {
    uintptr_t address;
    size_t size; /* as asked */
    size_t held; /* bytes from address, canary included */
    uint64_t serial;
    uint16_t freed, damaged;
    uint32_t frame_count;
    uintptr_t frames[11]; /* call site, innermost first */
};
_Static_assert(sizeof(struct hfi_record) == 128, "records are indexed by shifts");

/* An edge that was overwritten; who verifies next reports it. Edges move when a chunk grows or
 * shrinks, and nobody may report there: the lock is held. */
struct hfi_damage {
    struct hfi_damage *next;
    hf_report report;
};

struct hfi_arena {
    hf_arena fast;         /* both 0 unless mode is 0                       */
    struct hfi_bump *bump; /* &fast or &own                                */
    uint32_t mode;         /* HFI_MODE_*                                    */
    uint32_t locked;       /* every call of the owner takes the lock        */
    uint32_t buffer;       /* the first chunk is the caller's               */
    struct hfi_bump own;   /* cursor of the long way, one thread            */
    uint64_t magic;        /* HFI_ARENA_LIVE                                */
    _Atomic(struct hfi_chunk *) current;
    struct hfi_chunk *first;
    hf_arena_options options;
    char name[HF_OWNER_NAME_MAX + 1];
    struct hfi_owner_entry owner;
    hfi_lock lock;
    uint64_t secret;           /* bytes of the canaries */
    struct hfi_damage *damage; /* oldest first; guarded by: lock */

    _Atomic uint64_t generation;  /* resets                                     */
    uint64_t mark_serial;         /* of the youngest mark                       */
    _Atomic uint64_t depth;       /* open marks                                 */
    uint64_t highest;             /* depth so far                               */
    uint64_t bottom;              /* lowest of them in `levels`; guarded by: lock */
    _Atomic uint64_t borrows_low; /* below `bottom`; guarded by: lock           */
    _Atomic uint64_t borrows;     /* all of them                                 */
    struct hfi_level levels[HFI_ARENA_LEVELS];

    uint64_t next_chunk;                                         /* guarded by: lock */
    uint64_t mapped, mapped_peak, reserved;                      /* guarded by: lock */
    uint64_t returned, purges, os_maps, os_failures, limit_hits; /* guarded by: lock */
    uint64_t period_start; /* of the decay; guarded by: lock */
    _Atomic uint64_t blocks, requested, blocks_total;
    _Atomic uint64_t total_done; /* bytes handed out that died               */
    _Atomic uint64_t peak;       /* most bytes in use                        */
    _Atomic uint64_t rewinds, failures, reports;
    _Atomic uint64_t refused_size, refused_left;

    struct hfi_region record_region; /* of records; guarded by: lock in locked arenas */
    size_t record_count;
    hf_arena_operation *log; /* ring of HF_ARENA_LOG_MAX; guarded by: lock */
    uint64_t log_count;
};

static inline struct hfi_arena *hfi_arena_of(const hf_arena *arena) {
    return (struct hfi_arena *)(uintptr_t)arena;
}

static inline struct hfi_chunk *hfi_arena_current(const struct hfi_arena *a) {
    /* SYNC(arena.current): the fields of the chunk; pairs with the release of who moved on. */
    return atomic_load_explicit(&a->current, memory_order_acquire);
}

static inline uintptr_t hfi_chunk_end(const struct hfi_chunk *chunk) {
    return (uintptr_t)chunk->base + chunk->usable - HFI_ARENA_EDGE;
}

static inline struct hfi_record *hfi_record_at(const struct hfi_arena *a, size_t index) {
    return (struct hfi_record *)a->record_region.base + index;
}

/* arena.c: where the allocation stands; may be old on another thread. */
uintptr_t hfi_arena_cursor(const struct hfi_arena *a);
/* Moves to a place at or below the present one; what lies between dies. Chunk and cursor are proven. */
void hfi_arena_return_to(struct hfi_arena *a, struct hfi_chunk *chunk, uintptr_t cursor);
/* The owner's calls of arenas that are locked. */
static inline void hfi_arena_enter(struct hfi_arena *a) HF_NO_THREAD_SAFETY {
    if (a->locked) hfi_lock_acquire(&a->lock);
}
static inline void hfi_arena_exit(struct hfi_arena *a) HF_NO_THREAD_SAFETY {
    if (a->locked) hfi_lock_release(&a->lock);
}

/* arena_alloc.c */
/* Allocation goes on at `cursor` of this chunk. */
void hfi_arena_resume(struct hfi_arena *a, struct hfi_chunk *chunk, uintptr_t cursor);
/* Makes room for a block above the window, in this chunk or the next; false: refused. Lock held. */
bool hfi_arena_reach(struct hfi_arena *a, size_t size, size_t alignment);

/* arena_chunk.c; the lock is held unless said otherwise. */
/* A chunk with room for `need` bytes of blocks, not yet in the list; NULL: refused. */
struct hfi_chunk *hfi_chunk_create(struct hfi_arena *a, size_t need);
/* The buffer begins and ends at multiples of HFI_ARENA_EDGE and has room for a block. */
struct hfi_chunk *hfi_chunk_on_buffer(struct hfi_arena *a, char *buffer, size_t size);
void hfi_chunk_destroy(struct hfi_arena *a, struct hfi_chunk *chunk);
/* Makes the space usable up to `end` at least; false: the system or a limit said no. */
bool hfi_chunk_extend(struct hfi_arena *a, struct hfi_chunk *chunk, uintptr_t end);
/* Highest end its address space allows. */
uintptr_t hfi_chunk_end_max(const struct hfi_chunk *chunk);
/* Gives back what lies above `keep` bytes of space; returns the bytes. */
size_t hfi_chunk_purge(struct hfi_arena *a, struct hfi_chunk *chunk, size_t keep);
/* Counts damaged edges, at most two; queues a report in `damage` for each that is new. */
unsigned hfi_chunk_check(struct hfi_arena *a, struct hfi_chunk *chunk);

/* arena_decay.c */
uint64_t hfi_arena_decay(uint64_t now_ns, int force);
/* Gives back everything above `retain`. Lock held, nothing in use. */
void hfi_arena_purge_all(struct hfi_arena *a);
/* Is there something that may have to go? Then hfi_reclaim_wake, without the lock. Lock held. */
bool hfi_arena_may_decay(const struct hfi_arena *a);

/* arena_debug.c; the lock is held in locked arenas unless said otherwise. */
hf_status hfi_debug_start(struct hfi_arena *a);
void hfi_debug_end(struct hfi_arena *a);
/* Room for one more record; false: no memory. */
bool hfi_debug_reserve(struct hfi_arena *a);
void hfi_debug_record(struct hfi_arena *a, uintptr_t address, size_t size, size_t held);
/* Index of the record whose block holds the address, or SIZE_MAX. */
size_t hfi_debug_find(const struct hfi_arena *a, uintptr_t address);
void hfi_debug_paint(struct hfi_arena *a, const struct hfi_record *record);
/* Verifies the canaries of the records from `from` on and reports what is new. Lock not held. Returns the
 * number of damaged blocks. */
size_t hfi_debug_verify(struct hfi_arena *a, size_t from, const char *found_by);
void hfi_debug_log(struct hfi_arena *a, hf_arena_verb verb, uintptr_t address, size_t size,
                   size_t alignment);
/* The calling thread has another id. */
void hfi_debug_fork_child(void);
/* A report about `record` (may be NULL) that is not emitted yet. */
void hfi_debug_report(const struct hfi_arena *a, hf_report *report, hf_report_kind kind,
                      const void *address, const char *found_by, const struct hfi_record *record);
/* Counts it and hands it to whoever listens. Lock not held. */
void hfi_debug_emit(struct hfi_arena *a, hf_report *report);

#endif
