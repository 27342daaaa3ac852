/* arenas.h - pymalloc's arenas: 1 MiB each, cut from large reservations, cached when freed.
 *
 *   reservation (64 MiB, then twice as much each)  | arena | arena | arena | ... not committed |
 *   slot: FRESH -> USED -> CACHED (with memory) -> COLD (without) -> USED ...
 *
 * Invariants  an arena is aligned to its size; only blocks of exactly one arena are cut from
 *             reservations, everything else (the interpreter's frame stack) is mapped by itself.
 *             Address space of arenas is never given back, memory is.
 * Threads     one lock, never held while another is taken. Decay uses trylock: it may run while the
 *             thread that forks holds the lock.
 * Fails with  NULL, which CPython turns into MemoryError.
 * Talks to    os.   Called by the interpreter, trim.c, cpython.c. */
#ifndef HFI_ARENAS_H
#define HFI_ARENAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HFI_ARENA_SIZE      ((size_t)1 << 20)
#define HFI_ARENA_POOL_SIZE ((size_t)16384)
#define HFI_ARENA_POOLS     64

typedef enum hfi_slot_state {
    HFI_SLOT_FRESH,
    HFI_SLOT_USED,
    HFI_SLOT_CACHED,
    HFI_SLOT_COLD
} hfi_slot_state;

/* What is known of one arena. The last three fields belong to trim.c and are written under the
 * exclusion of the interpreter the arena belongs to. */
typedef struct hfi_arena_slot {
    struct hfi_arena_slot *newer;   /* in the list of cached, or of cold arenas             */
    struct hfi_arena_slot *older;   /* the same, other direction                            */
    char *address;                  /* of the arena                                         */
    uint64_t freed_ns;              /* when it became CACHED                                */
    _Atomic uint32_t state;         /* hfi_slot_state                                       */
    bool huge;                      /* its range is advised for huge pages                  */
    uint64_t visited_ns;            /* when trim.c last looked; 0 never                     */
    uint64_t parked;                /* pools taken out of the interpreter's lists, as bits  */
    uint32_t seen[HFI_ARENA_POOLS]; /* fingerprint of each pool at that visit               */
} hfi_arena_slot;

typedef struct hfi_arenas_figures {
    uint64_t used;           /* arenas the interpreter holds             */
    uint64_t used_peak;      /* most of them at a time                   */
    uint64_t cached;         /* free arenas that have memory             */
    uint64_t cold;           /* free arenas without memory               */
    uint64_t huge;           /* arenas in ranges advised for huge pages  */
    uint64_t allocs;         /* arenas handed out so far                 */
    uint64_t hits;           /* of these, from the cache                 */
    uint64_t bytes_returned; /* given back to the system by decay        */
    uint64_t bytes_reserved; /* address space                            */
    uint64_t other_used;     /* blocks of other sizes the interpreter holds */
    uint64_t other_bytes;    /* bytes of these                           */
    uint64_t other_cached;   /* frame stack chunks kept for reuse        */
} hfi_arenas_figures;

/* Hands the arena allocator to the interpreter. */
void hfi_arenas_start(void);
/* Gives back what has been free for the decay time, everything if `force`. Returns the bytes;
 * *left_out is true if something is still cached. */
uint64_t hfi_arenas_decay(uint64_t now_ns, bool force, bool *left_out);
/* The slot of the arena at exactly this address, NULL if it is not one that is USED. */
hfi_arena_slot *hfi_arenas_find(const void *address);
/* The first USED slot with an index at or after *cursor (start with 0), NULL at the end. */
hfi_arena_slot *hfi_arenas_next(size_t *cursor);
hfi_arenas_figures hfi_arenas_read(void);
/* The ranges, for the account of the process. */
void hfi_arenas_ranges(void (*visitor)(uintptr_t, uintptr_t, const char *, void *), void *context);
/* Huge pages off for the two arenas that share one with `slot`: holes are about to be made. */
void hfi_arenas_split_huge(hfi_arena_slot *slot);

void hfi_arenas_fork_prepare(void);
void hfi_arenas_fork_done(void);

#endif
