/* stack_pool.h - what a stack pool is made of; nobody outside src/fiber looks in here.
 *
 *   region:  | guard | stack | guard | stack | ... fresh ...            one mapping, stride apart
 *   slots:   | slot 0 | slot 1 | ...                                    out of band, one per stack
 *   thread:  magazine  --(batches)-->  warm list  --(decay)-->  cold list
 *
 * Invariants  slot.tag is odd exactly while the stack is taken, and grows by one with each take and
 *             give: the generation of a handle is the tag. A free slot is in one magazine, in `warm`
 *             (memory behind it) or in `cold` (none, reads as zero), or about to be moved there.
 *             created == taken + in magazines + warm + cold + moving.
 * Talks to    region, owners, hooks, os.   Called by fiber.
 * Threads     pool->lock for lists and growth; a magazine belongs to its thread, except between
 *             hfi_stack_withdraw's barrier and its reopening (see there). */
#ifndef HFI_STACK_POOL_H
#define HFI_STACK_POOL_H

#include <holdfast/stack.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/lock.h"
#include "base/owners.h"
#include "pages/region.h"

enum {
    HFI_STACK_REGIONS = 128,     /* of one pool                            */
    HFI_STACK_MAGAZINE = 64,     /* stacks one thread keeps at most        */
    HFI_STACK_TAKES = 256,       /* one take in a magazine's turns         */
    HFI_STACK_ALL = 255,         /* more than a magazine ever holds        */
    HFI_STACK_POOLS_CACHED = 16, /* pools a thread has magazines for       */
    HFI_STACK_CACHED_SIZE = 16,  /* bytes a thread has for each of them    */
    HFI_STACK_NONE = -1,         /* end of a list of slot indices          */
};

enum hfi_stack_flag {
    HFI_STACK_NAMED = 1,   /* names[index] is set                            */
    HFI_STACK_PAINTED = 2, /* every byte has been filled since it was fresh  */
};

struct hfi_stack_slot {
    char *top;              /* stack_ptr of the handle; never changes                      */
    _Atomic uint32_t tag;   /* see above                                                   */
    uint32_t index;         /* its own; never changes                                      */
    int32_t next, prev;     /* in warm; next in cold; prev: Valgrind's number while taken  */
    uint32_t freed_ms;      /* when it came into warm                                      */
    _Atomic uint32_t flags; /* hfi_stack_flag; written by whoever holds the stack          */
};
_Static_assert(sizeof(struct hfi_stack_slot) == 32, "two slots to a cache line");

/* The owner alone writes, but for a withdrawal; statistics look on. */
struct hfi_stack_magazine {
    _Atomic uint32_t busy;     /* the owner is inside                            */
    _Atomic uint32_t floor;    /* it takes while there are more: 0, or ALL when closed */
    _Atomic uint32_t capacity; /* it gives while there are fewer; 0 when closed  */
    _Atomic uint64_t turns;    /* stacks in it, and TAKES times those ever taken from it */
    uint64_t seen;             /* turns at the last tick; guarded by: pool->lock */
    struct hf_stack_pool *pool;
    struct hfi_stack_magazine *next, *prev; /* guarded by: pool->lock */
    struct hfi_stack_slot *_Atomic items[HFI_STACK_MAGAZINE];
};
_Static_assert(HFI_STACK_MAGAZINE < HFI_STACK_ALL && HFI_STACK_ALL < HFI_STACK_TAKES,
               "a magazine's count stays below its takes");

static inline uint32_t hfi_stack_magazine_count(struct hfi_stack_magazine *m) {
    /* relaxed: the owner, a withdrawal, or somebody who wants a hint. */
    return atomic_load_explicit(&m->turns, memory_order_relaxed) % HFI_STACK_TAKES;
}
static inline uint64_t hfi_stack_magazine_takes(struct hfi_stack_magazine *m) {
    return atomic_load_explicit(&m->turns, memory_order_relaxed) / HFI_STACK_TAKES;
}

struct hfi_stack_list {
    int32_t head, tail;
    uint32_t count;
};

struct hf_stack_pool {
    /* What every take and give reads. */
    uint64_t id;                  /* of the owner entry; never used twice          */
    struct hfi_stack_slot *slots; /* created of them are usable                    */
    size_t stack_size, guard_size, stride;
    size_t thread_offset;     /* place of its magazines in each thread [bytes] */
    _Atomic uint32_t created; /* slots with a guarded stack                    */
    bool odd;                 /* paint, Valgrind or ASan: no fast path         */
    bool paint, valgrind, light;
    uint32_t magazine_capacity;

    hfi_lock lock;
    struct hfi_stack_list warm; /* guarded by: lock; head was given last         */
    struct hfi_stack_list cold; /* guarded by: lock; singly linked               */
    uint32_t moving;            /* guarded by: lock; detached to be purged       */
    uint32_t count_max;         /* guarded by: lock                              */
    uint32_t retain;
    uint64_t decay_ns;
    uint64_t withdrawn_ns;                /* guarded by: lock; last look at magazines      */
    struct hfi_stack_magazine *magazines; /* guarded by: lock                      */
    uint64_t magazine_count;              /* guarded by: lock                              */
    uint64_t takes; /* guarded by: lock; of magazines that are gone and slow paths */
    uint64_t failures, limit_hits, refills, flushes, purges, returned; /* guarded by: lock */
    uint64_t peak; /* guarded by: lock; bytes mapped                */
    _Atomic uint64_t reports;
    _Atomic size_t high_water_max;
    bool said_limit; /* guarded by: lock                              */

    struct hfi_region table; /* slots, then names                             */
    size_t table_slots;      /* bytes of the part for slots                   */
    size_t slots_committed, names_committed;
    char (*names)[HF_STACK_NAME_MAX + 1];
    struct hfi_region regions[HFI_STACK_REGIONS]; /* guarded by: lock              */
    uint32_t region_first[HFI_STACK_REGIONS];     /* index of its first slot       */
    _Atomic uint32_t region_count;
    struct hfi_owner_entry owner;
    char name[HF_STACK_NAME_MAX + 1];
};

/* ---- stack_grow.c ---- */

/* Makes at least one more stack and puts it on `cold`. The caller holds the lock. */
hf_status hfi_stack_grow(hf_stack_pool *pool) HF_REQUIRES(pool->lock);
/* Commits the names of the slots. */
bool hfi_stack_names_commit(hf_stack_pool *pool) HF_REQUIRES(pool->lock);
void hfi_stack_regions_release(hf_stack_pool *pool);

/* ---- stack_cache.c ---- */

struct hfi_stack_magazine *hfi_stack_magazine_mine(hf_stack_pool *pool);
/* Unlinks and frees every magazine; the pool is going. */
void hfi_stack_magazines_free(hf_stack_pool *pool) HF_REQUIRES(pool->lock);
/* Moves what idle threads keep (all: what any thread keeps) to `warm`. */
void hfi_stack_withdraw(hf_stack_pool *pool, bool all) HF_REQUIRES(pool->lock);
/* Child of a fork: lists are made again from the tags. */
void hfi_stack_cache_fork_child(hf_stack_pool *pool);

/* ---- stack_list.c ---- */

void hfi_stack_push_warm(hf_stack_pool *pool, struct hfi_stack_slot *slot, uint32_t now_ms)
    HF_REQUIRES(pool->lock);
void hfi_stack_push_cold(hf_stack_pool *pool, struct hfi_stack_slot *slot) HF_REQUIRES(pool->lock);
/* The stack given last, else a cold one, which is charged first. NULL: HF_E_LIMIT or none is there. */
struct hfi_stack_slot *hfi_stack_pop(hf_stack_pool *pool, bool *refused_out)
    HF_REQUIRES(pool->lock);
/* Purges idle stacks: those older than the decay time, or all. Takes and leaves the lock. */
size_t hfi_stack_trim(hf_stack_pool *pool, bool all, uint32_t at_most) HF_EXCLUDES(pool->lock);
uint32_t hfi_stack_now_ms(void);

/* ---- stack_paint.c ---- */

void hfi_stack_paint_take(hf_stack_pool *pool, struct hfi_stack_slot *slot);
void hfi_stack_paint_give(hf_stack_pool *pool, struct hfi_stack_slot *slot);
size_t hfi_stack_used(const hf_stack_pool *pool, const struct hfi_stack_slot *slot);
void hfi_stack_high_water_note(hf_stack_pool *pool, size_t bytes);

/* ---- stack_overflow.c ---- */

/* The table that the fault handler reads. False: it is full, and faults there are not named. */
bool hfi_stack_region_add(hf_stack_pool *pool, const struct hfi_region *region, uint32_t first);
void hfi_stack_regions_forget(const hf_stack_pool *pool);
/* 1 + hf_stack_policy; 0: no handler. */
extern _Atomic uint32_t hfi_stack_policy __attribute__((visibility("hidden")));
static inline bool hfi_stack_overflow_installed(void) {
    /* relaxed: a thread that installs has a signal stack; others get theirs when they hear of it. */
    return atomic_load_explicit(&hfi_stack_policy, memory_order_relaxed) != 0;
}
/* "fiber 'x'" or "stack 7"; at least 48 bytes. */
void hfi_stack_describe(const hf_stack_pool *pool, const struct hfi_stack_slot *slot, char *text);
static inline char *hfi_stack_low(const hf_stack_pool *pool, const struct hfi_stack_slot *slot) {
    return slot->top - pool->stack_size;
}
static inline struct hfi_stack_slot *hfi_stack_slot_at(const hf_stack_pool *pool, int32_t index) {
    return &pool->slots[index];
}
static inline uint32_t hfi_stack_created(const hf_stack_pool *pool) {
    /* SYNC(pool.created): the slots below it are filled in; pairs with the release in stack_grow.c. */
    return atomic_load_explicit(&pool->created, memory_order_acquire);
}
static inline bool hfi_stack_is_taken(const struct hfi_stack_slot *slot) {
    /* relaxed: whoever asks holds the stack or the lock, or wants a hint. */
    return (atomic_load_explicit(&slot->tag, memory_order_relaxed) & 1) != 0;
}

#endif
