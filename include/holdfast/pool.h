/* pool.h - object pools: blocks of one size, made once and used again and again, by any thread.
 *
 *   hf_pool_options options;              hf_pool *pool;              void *block;
 *   hf_pool_options_init(&options, 256);  hf_pool_create(&options, &pool);
 *   hf_pool_acquire(pool, &block);  ...  hf_pool_release(pool, block);  hf_pool_destroy(pool);
 *
 * Caveats
 *  - A release of what is no acquired block of this pool (released before, of another owner, inside a
 *    block) is HF_E_INVALID and one report that says which; the pool is as it was.
 *  - Released blocks wait in the magazine of the thread that released them. No thread starves for
 *    it: before acquire refuses or waits it takes back what lies in the magazines of all threads.
 *  - hf_pool_destroy is refused with blocks out; hf_pool_destroy_forced takes them along.
 *  - Every function may be called from any thread, and in the child of a fork; destroy when no other
 *    thread uses the pool. */
#ifndef HOLDFAST_POOL_H
#define HOLDFAST_POOL_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/stats.h>
#include <holdfast/status.h>
#include <holdfast/view.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_pool hf_pool;

#define HF_POOL_BLOCK_MAX     ((size_t)1 << 20) /* largest block [bytes]     */
#define HF_POOL_ALIGNMENT_MAX ((size_t)4096)    /* largest alignment [bytes] */

/* What acquire does when `capacity` blocks are out. */
typedef enum hf_pool_exhausted {
    HF_POOL_GROW, /* makes more: capacity is no bound, only what is reserved at least */
    HF_POOL_FAIL, /* HF_E_LIMIT                                                       */
    HF_POOL_WAIT  /* waits for a release, first come first served, then HF_E_TIMEOUT  */
} hf_pool_exhausted;

/* What release does with the content of a block. */
typedef enum hf_pool_sanitize {
    HF_POOL_KEEP,   /* nothing: an acquired block holds what its last user left, or zeroes       */
    HF_POOL_ZERO,   /* zeroes it: an acquired block is all zero                                  */
    HF_POOL_PATTERN /* fills it, and acquire looks whether the fill is whole: USE_AFTER_FREE if not */
} hf_pool_sanitize;

typedef struct hf_pool_options {
    uint32_t struct_size;
    uint32_t on_exhausted; /* hf_pool_exhausted                                             */
    uint64_t block_size;   /* 1 to HF_POOL_BLOCK_MAX [bytes]                                */
    uint64_t alignment;    /* power of two up to HF_POOL_ALIGNMENT_MAX; 0: 16, or the size's */
    uint64_t capacity;     /* blocks that can be out at once; 0: no bound (HF_POOL_GROW)     */
    uint64_t grow;         /* blocks made at a time; 0: the pool chooses                    */
    uint64_t wait_ns;      /* longest wait of acquire; 0: as long as it takes               */
    uint32_t sanitize;     /* hf_pool_sanitize                                              */
    int32_t node;          /* NUMA node of the blocks; -1: of the thread that touches first */
    const char *name;      /* for reports, copied (31 bytes); may be NULL                   */
} hf_pool_options;

/* A pool of blocks of this size that grows; every field may be changed before hf_pool_create. */
HF_API void hf_pool_options_init(hf_pool_options *options, size_t block_size);
/* HF_E_INVALID: a field is out of range. HF_E_CONFLICT: FAIL or WAIT without a capacity. */
HF_API hf_status hf_pool_create(const hf_pool_options *options, hf_pool **pool_out);
/* A pool in memory of the caller, which must outlive it: `capacity` blocks, or as many as fit. It never
 * grows (HF_POOL_GROW is HF_POOL_FAIL), has no guards, gives nothing back to the system, and a block
 * that was never out holds what was there; `node` does not apply. HF_E_INVALID also for a buffer that
 * is too small. */
HF_API hf_status hf_pool_create_on(void *buffer, size_t size, const hf_pool_options *options,
                                   hf_pool **pool_out);
/* Bytes that a pool of `capacity` blocks takes there, wherever they begin; 0: options that are wrong,
 * or without a capacity. */
HF_API size_t hf_pool_buffer_size(const hf_pool_options *options);
/* HF_E_BUSY while blocks are out (hf_pool_live says how many); then nothing happened. */
HF_API hf_status hf_pool_destroy(hf_pool *pool);
/* The same with blocks out: they are gone. Returns how many there were. */
HF_API size_t hf_pool_destroy_forced(hf_pool *pool);

/* One block. HF_E_LIMIT: the pool is exhausted, or a limit of the process is; HF_E_TIMEOUT: it was
 * for wait_ns; HF_E_NO_MEMORY: the system refused. *block_out is untouched on failure. */
HF_API hf_status hf_pool_acquire(hf_pool *pool, void **block_out) HF_NODISCARD;
/* The same, and with HF_POOL_WAIT waits at most `wait_ns` (0: not at all) whatever the option says. */
HF_API hf_status hf_pool_acquire_within(hf_pool *pool, uint64_t wait_ns,
                                        void **block_out) HF_NODISCARD;
/* Gives a block back. HF_E_INVALID and a report if it is none that is out. */
HF_API hf_status hf_pool_release(hf_pool *pool, void *block);
/* `count` blocks or none. A request that waits holds what it got, and is served before later ones:
 * two of them cannot block each other. HF_E_LIMIT at once for more than the capacity. */
HF_API hf_status hf_pool_acquire_bulk(hf_pool *pool, void **blocks_out, size_t count) HF_NODISCARD;
/* The same, and waits at most `wait_ns` (0: not at all) whatever the option says. */
HF_API hf_status hf_pool_acquire_bulk_within(hf_pool *pool, uint64_t wait_ns, void **blocks_out,
                                             size_t count) HF_NODISCARD;
/* Releases all that can be; HF_E_INVALID if any could not (one report each). */
HF_API hf_status hf_pool_release_bulk(hf_pool *pool, void *const *blocks, size_t count);

typedef struct hf_pool_figures {
    uint64_t block_size;         /* as asked for [bytes]                              */
    uint64_t stride;             /* from one block to the next [bytes]                */
    uint64_t alignment;          /* of every block [bytes]                            */
    uint64_t capacity;           /* 0: no bound                                       */
    uint64_t blocks;             /* made so far, whatever their state                 */
    uint64_t blocks_live;        /* out                                               */
    uint64_t blocks_cached;      /* free, in magazines of threads                     */
    uint64_t blocks_free;        /* free, in slabs                                    */
    uint64_t blocks_quarantined; /* out of service                                    */
    uint64_t slab_blocks;        /* blocks of a whole slab                            */
    uint64_t taken_back;         /* blocks taken out of the magazines of other threads */
    uint64_t waits;              /* acquires that had to wait                         */
    uint64_t wait_ns;            /* time they waited                                  */
    uint64_t timeouts;           /* of them, those that gave up                       */
    uint64_t refusals;           /* acquires that failed, timeouts included           */
} hf_pool_figures;

/* Exact at rest. The account of owner.h; slabs by state are slabs_empty, _partial, _full and
 * _quarantined. */
HF_API hf_status hf_pool_stats(hf_pool *pool, hf_stats *stats_out);
HF_API hf_status hf_pool_figures_of(hf_pool *pool, hf_pool_figures *figures_out);
/* Blocks that are out; exact at rest. */
HF_API size_t hf_pool_live(hf_pool *pool);
/* Visits every block that was made, in address order; `owner` is the number of its slab. */
HF_API hf_status hf_pool_view(hf_pool *pool, hf_visitor visitor, void *context);
/* Verifies the bookkeeping, and with HF_POOL_PATTERN the fill of every free block; damage is reported.
 * HF_E_CORRUPT if any was found, with the number in *found_out (may be NULL). */
HF_API hf_status hf_pool_check(hf_pool *pool, size_t *found_out);
/* Takes back what lies in magazines and gives the memory of empty slabs to the system now, which
 * happens by itself after the decay time (option decay_ms). Returns the bytes given back. */
HF_API size_t hf_pool_trim(hf_pool *pool);

/* State of a block by its address; -1 (as hf_block_state) if the address is no block's start. */
HF_API int hf_pool_state(const hf_pool *pool, const void *block);
/* 1 if the address lies in a block of this pool, live or not. Never faults. */
HF_API int hf_pool_owns(const hf_pool *pool, const void *address);
HF_API size_t hf_pool_block_size(const hf_pool *pool);
HF_API const char *hf_pool_name(const hf_pool *pool);
/* As in hf_owner and in reports. */
HF_API uint64_t hf_pool_id(const hf_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
