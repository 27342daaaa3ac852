/* object_pool.h - object pools inside: where blocks lie, what a state says, who may move it.
 *
 *   region   | slab 0: block 0 .. n-1 | slab 1 | ... | reserved |      n a power of two, slabs whole pages
 *   states   | one byte a block                    |             index = (address - base) / stride
 *   magazine   of a thread: indexes of blocks that may be CACHED
 *
 *   FREE --lock: take--> CACHED <--claim/release--> LIVE          QUARANTINED: for good
 *     ^------lock: give----'   '--any thread may claim--'
 *
 * Invariants  the state of a block is the only truth; it leaves CACHED and LIVE by compare-and-swap
 *             alone, so a block is claimed once and released once whoever tries. What magazines hold
 *             are hints: a hint whose block is not CACHED is dropped. Whoever makes a block CACHED
 *             pushes a hint after it, so a cached block has one. FREE <=> its bit in the slab is set.
 * Talks to    slab.h, region.h, owners.h, hooks.h.   Called by the public API and nobody else.
 * Threads     lock (rank OWNER) guards slabs and the queue of waiters; states are atomic bytes; a
 *             magazine belongs to its thread.
 * Source      magazines: Bonwick and Adams 2001; slabs by state: Bonwick 1994. */
#ifndef HFI_OBJECT_POOL_H
#define HFI_OBJECT_POOL_H

#include <holdfast/pool.h>
#include <holdfast/report.h>

#include "base/lock.h"
#include "base/owners.h"
#include "blocks/slab.h"
#include "pages/region.h"

enum hfi_object_state {
    HFI_OBJECT_NONE, /* no block was made here */
    HFI_OBJECT_FREE,
    HFI_OBJECT_CACHED,
    HFI_OBJECT_LIVE,
    HFI_OBJECT_RELEASING, /* out still: its content is being sanitised */
    HFI_OBJECT_QUARANTINED,
    HFI_OBJECT_DOOMED /* out, of a quarantined slab: QUARANTINED once it is released */
};

#define HFI_OBJECT_POOLS_MAX 512u /* pools whose threads get magazines; more work without */
#define HFI_MAGAZINE_MOST    128u
#define HFI_OBJECT_BATCH     64u

/* Statistics read what its thread alone writes. */
typedef _Atomic uint64_t hfi_own_counter;
static inline void hfi_own_count(hfi_own_counter *counter, uint64_t more) {
    /* relaxed: one writer; readers fold. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

struct hfi_object_magazine {
    hf_pool *pool;
    const void *thread;                      /* whose it is */
    struct hfi_object_magazine *next, *prev; /* of the pool; guarded by: pool lock */
    hfi_own_counter allocs, misses, refills, flushes;
    uint32_t count;   /* hints it holds                 */
    uint32_t limit;   /* hints it may hold now: adapts  */
    uint32_t most;    /* constant                       */
    uint32_t index[]; /* oldest first                   */
};

struct hfi_object_waiter {
    struct hfi_object_waiter *next;
    void **blocks;
    size_t wanted, got;
    _Atomic uint32_t done; /* it has all it wanted; its futex */
};

struct hf_pool {
    /* constant but for made */
    char *base;
    _Atomic uint8_t *states;
    uint64_t magic;      /* 2^64 / stride, rounded up */
    uint64_t serial;     /* never used again; names the pool to magazines */
    _Atomic size_t made; /* bytes from base on that slabs stand on */
    uint32_t stride;
    uint32_t slot; /* in the tables of the threads */
    uint32_t sanitize;
    _Atomic uint32_t waiting; /* waiters in the queue */
    uint32_t slab_shift;      /* log2 of the blocks of a slab */
    uint32_t on_exhausted;
    uint64_t block_size, alignment, capacity, wait_ns;
    size_t slab_size; /* bytes of a whole slab */
    int32_t node;
    bool bounded;
    bool borrowed; /* its blocks lie in memory of the caller */
    char name[HF_OWNER_NAME_MAX + 1];
    struct hfi_owner_entry entry;

    hfi_lock lock __attribute__((aligned(64)));
    struct hfi_region region, state_region; /* what follows is guarded by: lock */
    struct hfi_slab **slabs;                /* by index                        */
    uint64_t *open;                         /* bit i: slab i has free blocks   */
    uint32_t slab_count, slab_room;         /* slabs; places in both tables    */
    uint32_t quarantined_count;             /* slabs out of service            */
    uint64_t standing;                      /* blocks of the others            */
    uint32_t open_hint;                     /* no open slab in a word below    */
    uint32_t cursor;                        /* where the last search for cached blocks ended */
    struct hfi_object_magazine *magazines;
    struct hfi_object_waiter *first, *last;
    size_t bytes_mapped, bytes_mapped_peak; /* slabs with memory, and meta     */
    size_t bytes_meta;
    uint64_t bytes_returned, purges;
    uint64_t gone_allocs, gone_misses, gone_refills,
        gone_flushes; /* of ended threads, and direct */
    uint64_t taken_back, waits, wait_ns_sum, timeouts, refusals, limit_hits;
    uint64_t idle_allocs; /* allocations at the last tick of the decay */
    uint32_t idle_ticks;  /* ticks without one                         */
    _Atomic uint64_t reports;
};

/* Index of the block that holds an address of the region; exact for offsets below 2^40. */
static inline uint64_t hfi_object_index(const hf_pool *pool, size_t offset) {
    return (uint64_t)(((unsigned __int128)offset * pool->magic) >> 64);
}

static inline char *hfi_object_block(const hf_pool *pool, uint32_t index) {
    return pool->base + (size_t)index * pool->stride;
}

/* Memory of a slab: the last one of a bounded pool may be a part of the others. */
static inline size_t hfi_object_slab_bytes(const hf_pool *pool, const struct hfi_slab *slab) {
    size_t bytes = (size_t)slab->count * pool->stride;
    return pool->borrowed ? bytes : hfi_page_up(bytes);
}

/* One step of a block's life; false if it was not in `from`. */
static inline bool hfi_object_step(hf_pool *pool, uint32_t index, uint8_t from, uint8_t to) {
    /* SYNC(pool.state): what its last user wrote goes with the block; pairs with itself. Sequential:
     * ordered against `waiting`, see object_pool_wait.c. */
    return atomic_compare_exchange_strong_explicit(&pool->states[index], &from, to,
                                                   memory_order_seq_cst, memory_order_acquire);
}

static inline uint8_t hfi_object_state_of(const hf_pool *pool, uint32_t index) {
    return atomic_load_explicit(&pool->states[index], memory_order_acquire);
}

/* Eight states at once; the index is a multiple of 8. */
#define HFI_OBJECT_EACH UINT64_C(0x0101010101010101) /* times a state: all eight are in it */
static inline uint64_t hfi_object_states(const hf_pool *pool, uint32_t index) {
    typedef uint64_t __attribute__((may_alias)) state_word;
    const state_word *word = (const state_word *)(const void *)(pool->states + index);
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

/* Places for blocks up to here have states; not all of them are blocks. */
static inline uint32_t hfi_objects_made(const hf_pool *pool) {
    /* SYNC(pool.made): their states are there; pairs with the release in slab_make. */
    return (uint32_t)(atomic_load_explicit(&pool->made, memory_order_acquire) / pool->slab_size)
           << pool->slab_shift;
}

/* --- object_pool_slabs.c; the pool's lock is held ------------------------------------------- */

/* Up to `wanted` free blocks from slabs, in state `to`. Makes a slab if there is none, or says why it
 * cannot; without `why_out` it makes none. */
uint32_t hfi_objects_take(hf_pool *pool, uint32_t *indexes_out, uint32_t wanted, uint8_t to,
                          hf_status *why_out) HF_REQUIRES(pool->lock);
/* A block whose state the caller moved to FREE goes home. */
void hfi_objects_give(hf_pool *pool, uint32_t index) HF_REQUIRES(pool->lock);
/* A block that was claimed and not handed out goes home. */
void hfi_objects_drop(hf_pool *pool, void *block) HF_REQUIRES(pool->lock);
/* Claims one cached block, whoever caches it; up to `extra` more are named, not claimed. False if no
 * thread has any. */
bool hfi_objects_take_back(hf_pool *pool, uint32_t *index_out, uint32_t *hints_out, uint32_t *extra)
    HF_REQUIRES(pool->lock);
/* All cached blocks go home. */
void hfi_objects_take_back_all(hf_pool *pool) HF_REQUIRES(pool->lock);
/* Gives the memory of empty slabs back: all, or those that were empty for two ticks. */
size_t hfi_objects_purge(hf_pool *pool, bool force, bool *more_out) HF_REQUIRES(pool->lock);
void hfi_objects_quarantine(hf_pool *pool, uint32_t index) HF_REQUIRES(pool->lock);
/* `buffer`: where the blocks of a borrowed pool lie. */
bool hfi_objects_start(hf_pool *pool, uint64_t blocks_max, char *buffer);
void hfi_objects_end(hf_pool *pool);
/* Counts bytes of bookkeeping in and out. */
void hfi_objects_note_meta(hf_pool *pool, size_t before, size_t now) HF_REQUIRES(pool->lock);

/* --- object_pool_threads.c ------------------------------------------------------------------ */

struct hfi_object_thread {
    bool exiting;
    struct {
        uint64_t serial; /* of the pool whose magazine it is */
        struct hfi_object_magazine *magazine;
    } slot[HFI_OBJECT_POOLS_MAX];
};

extern __thread struct hfi_object_thread *hfi_object_thread
    __attribute__((tls_model("initial-exec"))) __attribute__((visibility("hidden")));

void hfi_object_threads_start(void);
uint32_t hfi_object_slot_take(void);
void hfi_object_slot_give(uint32_t slot);
/* Makes the calling thread's magazine; NULL if it can have none. */
struct hfi_object_magazine *hfi_object_magazine_make(hf_pool *pool);
/* Hints of a magazine go home, the `count` oldest. */
void hfi_object_magazine_flush(struct hfi_object_magazine *magazine, uint32_t count)
    HF_REQUIRES(magazine->pool->lock);
void hfi_object_magazines_end(hf_pool *pool);
void hfi_object_pool_fork(void *pool, enum hfi_fork moment);
uint64_t hfi_object_allocs(hf_pool *pool) HF_REQUIRES(pool->lock);

static inline struct hfi_object_magazine *hfi_object_magazine_of(hf_pool *pool) {
    struct hfi_object_thread *thread = hfi_object_thread;
    if (__builtin_expect(thread != NULL && pool->slot < HFI_OBJECT_POOLS_MAX, 1) &&
        __builtin_expect(thread->slot[pool->slot].serial == pool->serial, 1))
        return thread->slot[pool->slot].magazine;
    return NULL;
}

/* --- object_pool_wait.c --------------------------------------------------------------------- */

/* Waits until `blocks` holds `wanted`, of which `got` are there; takes the lock and leaves it. */
hf_status hfi_objects_wait(hf_pool *pool, void **blocks, size_t got, size_t wanted,
                           uint64_t wait_ns) HF_RELEASES(pool->lock);
/* Hands what is free or cached to those who wait, oldest first. */
void hfi_objects_serve(hf_pool *pool) HF_REQUIRES(pool->lock);

/* --- object_pool_sanitize.c ----------------------------------------------------------------- */

void hfi_object_fill(const hf_pool *pool, void *block);
/* Bytes of the fill that are damaged; 0: whole. Fills in the report's damage fields. */
size_t hfi_object_damage(const hf_pool *pool, const void *block, hf_report *report);
/* Reports what release was given instead of an acquired block. */
void hfi_object_misuse(hf_pool *pool, const void *block, const char *found_by);
/* The fill of a free block is damaged: reports, takes its slab out of service. */
void hfi_object_used_after_release(hf_pool *pool, uint32_t index, const char *found_by)
    HF_EXCLUDES(pool->lock);

/* The slab whose first block this is contradicts the states of its blocks. */
void hfi_object_contradiction(hf_pool *pool, uint32_t first);

/* --- object_pool_view.c --------------------------------------------------------------------- */

struct hfi_object_counts {
    uint64_t live, cached, free, quarantined;
};
struct hfi_object_counts hfi_object_counts_of(const hf_pool *pool, uint32_t from, uint32_t to);
hf_status hfi_object_pool_stats(void *pool, hf_stats *out);

#endif
