/* types.h - the heap's structures, seen by the files of this folder only.
 *
 *   hf_heap -> pools[node][class] -> slabs          small tier
 *           -> middle -> pools                      middle tier
 *           -> large                                large tier
 *   thread  -> tcache per heap -> magazine per class
 *
 * Threads     each field says what guards it; "own" fields are written by one thread and read by
 *             statistics, so they are single words accessed by hfi_own_load / hfi_own_store. */
#ifndef HFI_HEAP_TYPES_H
#define HFI_HEAP_TYPES_H

#include <holdfast/heap.h>
#include <holdfast/report.h>

#include "base/assert.h"
#include "base/lock.h"
#include "base/owners.h"
#include "base/racy.h"
#include "base/size_class.h"
#include "blocks/block.h"
#include "blocks/slab.h"
#include "pages/meta.h"
#include "pages/pagemap.h"
#include "pages/segment.h"

/* Words of one writer that others may look at. Plain moves but where TSan wants to know: it gets
 * acquire and release, because it does not know membarrier(2), which makes them that when the idle
 * sweep takes over what a sleeping thread wrote, nor what an address that was loaded orders. */
#ifdef HFI_TSAN
#define hfi_own_load(word)         __atomic_load_n(&(word), __ATOMIC_ACQUIRE)
#define hfi_own_store(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELEASE)
#else
#define hfi_own_load(word)         (word)
#define hfi_own_store(word, value) ((word) = (value))
#endif
#define hfi_own_add(word, value) hfi_own_store(word, hfi_own_load(word) + (value))
/* Moves a pointer by whole slots in memory: one instruction where the compiler would make two. */
#if defined(__x86_64__) && !defined(HFI_TSAN)
#define hfi_own_step(pointer, slots)                                                               \
    __asm__("addq %1, %0" : "+m"(pointer) : "i"((slots) * (int)sizeof(void *)))
#else
#define hfi_own_step(pointer, slots) hfi_own_store(pointer, hfi_own_load(pointer) + (slots))
#endif

#define hfi_likely(condition)   __builtin_expect(!!(condition), 1)
#define hfi_unlikely(condition) __builtin_expect(!!(condition), 0)

#define HFI_HEAPS_MAX          64u /* heaps that get thread caches; more work uncached */
#define HFI_NODES_MAX          8u  /* nodes with pools of their own                    */
#define HFI_SLAB_BINS          4u  /* partial slabs by fullness                        */
#define HFI_SITE_FRAMES        24u
#define HFI_HARDENED_DELAY_MAX ((size_t)4096) /* larger blocks are reused at once */

/* One size class of one thread. `top` is where the next freed block goes; top[-1] is the next to
 * hand out; the slot below the first holds NULL, so an empty magazine answers a pop with NULL. */
struct hfi_magazine {
    void **top;          /* own                                        */
    void **limit;        /* top == limit: full; own                    */
    uint64_t allocs;     /* blocks handed out; own                     */
    uint64_t block_size; /* constant                                   */
};
_Static_assert(sizeof(struct hfi_magazine) == 32, "the pagemap stores class * 32");
_Static_assert(HFI_CLASS_COUNT * sizeof(struct hfi_magazine) < 65536, "and that fits 16 bits");

struct hfi_magazine_cold {
    void **slots;         /* slots[0] is the NULL below the first block; own */
    uint32_t capacity;    /* slots that exist; own                      */
    uint64_t misses;      /* own */
    uint64_t flushes;     /* own */
    uint64_t allocs_seen; /* by the idle sweep                         */
    bool received;        /* began with a block of another thread; own */
};

/* Blocks on their way to reuse (hardened): a ring in which each freed block takes a random place. */
#define HFI_DELAY_SLOTS 16u
struct hfi_delay {
    void *blocks[HFI_DELAY_SLOTS];
};

struct hfi_thread;

struct hfi_tcache {
    struct hfi_magazine magazine[HFI_CLASS_COUNT];
    struct hfi_magazine_cold cold[HFI_CLASS_COUNT];
    hf_heap *heap;
    struct hfi_thread *thread;
    struct hfi_pool *pools;  /* of the thread's node                             */
    struct hfi_delay *delay; /* one per class; NULL unless the heap delays reuse */
    uint64_t delay_bits;     /* random, for places in the delay                      */
    uint64_t rng;
    size_t limit_bytes;              /* sum over classes of magazine limit * block size  */
    int64_t sample_left;             /* bytes until the next sampled site                */
    uint64_t slack_mask[16];         /* bytes of the pattern that so much slack shows    */
    unsigned home;                   /* shard of the segment layer                       */
    unsigned middle_home;            /* middle pool tried first                          */
    struct hfi_middle_pool *kept_in; /* where a middle block of this thread was kept last */
    _Atomic uint32_t sweeping;       /* 1: the idle sweep has withdrawn the magazines    */
    uint64_t idle_switches;          /* idle sweep: see tcache_idle.c                    */
    uint64_t idle_since_allocs;
    struct hfi_magazine *withdrawn; /* idle sweep: copies of the magazines            */
    uint32_t busy;                  /* own; in a slow path, so many deep              */
    bool held;     /* its thread gives it back: the heap's end waits; guarded by: registry lock */
    void *away[4]; /* where `top` points while withdrawn: away + 2   */
    struct hfi_tcache *next, *prev; /* guarded by: heap->caches_lock                  */
    /* own counters */
    uint64_t middle_allocs, large_allocs, large_hits, moved, in_place;
};

struct hfi_thread {
    struct hfi_tcache *caches[HFI_HEAPS_MAX]; /* by heap index */
    uint32_t number;
    uint32_t id; /* kernel's      */
    bool exiting;
    struct hfi_thread *next, *prev; /* guarded by: registry lock */
};

struct hfi_pool {
    hfi_lock lock;
    hf_heap *heap;
    uint8_t class_index;
    uint8_t node;
    uint16_t slices; /* of one slab                                    */
    uint32_t block_size;
    uint32_t blocks; /* of one slab                                    */
    uint32_t lead;
    struct hfi_slab *bins[HFI_SLAB_BINS]; /* PARTIAL, fullest bin last; guarded by: lock */
    struct hfi_slab *empty;               /* EMPTY, kept for a while; guarded by: lock      */
    struct hfi_slab *all;                 /* guarded by: lock                               */
    uint32_t slab_count, empty_count, full_count, quarantined_count;
    void **depot; /* blocks that travel in batches; guarded by: lock */
    uint32_t depot_count, depot_capacity, depot_low;
    uint64_t taken;                  /* blocks out of healthy slabs; guarded by: lock  */
    uint64_t slabs_made, slabs_gone; /* guarded by: lock                           */
    _Atomic uint64_t allocs_gone;    /* of threads that exited                        */
    _Atomic uint64_t misses_gone, flushes_gone;
};

struct hfi_middle;    /* middle.c */
struct hfi_large_set; /* large.c */

#define HFI_CROSSED_SOFT 1u /* the soft limit */
#define HFI_CROSSED_TRIM 2u /* trim_at        */

struct hf_heap {
    uint64_t id;
    char name[32];
    unsigned index; /* < HFI_HEAPS_MAX: threads cache its blocks      */
    bool is_default;
    bool trailer; /* every profile but fast                         */
    bool fill;    /* hardened, debug: whole blocks are filled       */
    bool all_sites;
    bool
        keeps; /* the default heap, with no option that looks at each block: freed middle blocks are
                   kept a while. A heap that was made has chosen its fit and gets it. */
    int node;  /* -1: of the asking thread                       */
    hf_options options;
    struct hfi_pool *pools; /* [node][class]                                  */
    unsigned node_count;
    struct hfi_middle *middle;
    struct hfi_large_set *large;
    hfi_lock caches_lock;
    struct hfi_tcache *caches; /* guarded by: caches_lock                        */
    _Atomic uint64_t mapped, mapped_peak;
    _Atomic uint64_t limit_hard, limit_soft;
    _Atomic uint64_t external; /* held by owners that joined by base/hooks.h; counts for limits */
    _Atomic uint32_t crossed;  /* HFI_CROSSED_*: to be acted on without locks     */
    _Atomic int64_t absent;    /* of what slabs map: bytes without memory       */
    _Atomic uint64_t trim_at;  /* resident bytes from which on growth trims     */
    uint64_t trim_peak, trimmed_ns;  /* from which on at any time; when; guarded by: reclaim lock */
    struct hfi_owner_entry entry;    /* in the list of all owners */
    hf_limit_callback soft_callback; /* guarded by: registry lock */
    void *soft_context;              /* guarded by: registry lock */
    _Atomic uint64_t failures, limit_hits, reports;
    _Atomic uint64_t gone_middle_allocs, gone_large_allocs, gone_large_hits, gone_moved,
        gone_in_place;                            /* of threads that exited, or have no cache */
    _Atomic uint64_t direct_allocs, direct_frees; /* small blocks of threads without a cache */
    _Atomic uint64_t slow_frees;                  /* serial reclaim                          */
    _Atomic uint64_t reclaims, reclaim_ns;
    struct hf_heap *next; /* guarded by: registry lock                      */
};

#endif
