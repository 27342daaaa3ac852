/* object_pool.c - made, asked for a block, given one back, destroyed.
 *
 *   acquire: magazine -> claim, done │ miss: slabs -> grow -> other threads' magazines -> refuse, wait
 *   release: LIVE -> CACHED, magazine, done │ full: half of it to the slabs │ somebody waits: to them
 *
 * Contract    see pool.h; invariants in object_pool.h.
 * Threads     a hit is one compare-and-swap on the block's own byte and no lock.
 * Fails with  HF_E_LIMIT, HF_E_TIMEOUT, HF_E_NO_MEMORY, HF_E_INVALID.
 * Source      Shimmer's object pools; magazines as in Bonwick and Adams 2001. */
#include <holdfast/heap.h>
#include <string.h>

#include "arena/object_pool.h"
#include "base/bits.h"
#include "base/hooks.h"
#include "pages/meta.h"

#define REGION_MOST ((uint64_t)64 << 30) /* address space of a pool without bound      */
#define BLOCKS_MOST UINT64_C(0xfffe0000) /* an index has 32 bits                       */
#define SLAB_SIZE   ((uint64_t)64 << 10) /* at most half of it is lost by its rounding */
#define WASTE_SHARE 32u                  /* a stride grows by a 32nd at most, to fill pages */

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

static _Atomic uint64_t serials;

/* --- making --------------------------------------------------------------------------------- */

static uint64_t power_up(uint64_t value) {
    return value <= 1 ? 1 : UINT64_C(1) << (64 - __builtin_clzll(value - 1));
}

static uint64_t round_up(uint64_t value, uint64_t to) {
    return (value + to - 1) / to * to;
}

/* Stride and blocks of a slab: whole pages, a power of two of blocks, little lost. */
static void geometry(hf_pool *pool, uint64_t grow) {
    uint64_t stride = round_up(pool->block_size, pool->alignment);
    if (stride < 2) stride = 2;                                 /* index arithmetic */
    uint64_t least = power_up(HFI_PAGE * WASTE_SHARE / stride); /* rounding costs a 32nd at most */
    uint64_t count = power_up(grow != 0 ? grow : SLAB_SIZE / stride);
    while (least > 1 && (least / 2 * stride) % HFI_PAGE == 0)
        least /= 2; /* no rounding is needed here */
    if (count < least) count = least;
    if (count > HFI_SLAB_BLOCKS_MAX) count = HFI_SLAB_BLOCKS_MAX;
    if (count < HFI_PAGE && !pool->borrowed) stride = round_up(stride, HFI_PAGE / count);
    pool->stride = (uint32_t)stride;
    pool->magic = UINT64_MAX / stride + 1;
    pool->slab_shift = (uint32_t)__builtin_ctzll(count);
    pool->slab_size = (size_t)(count * stride);
}

static hf_status options_check(const hf_pool_options *o, bool borrowed) {
    if (o == NULL || o->struct_size != sizeof *o) return HF_E_INVALID;
    if (o->block_size < 1 || o->block_size > HF_POOL_BLOCK_MAX) return HF_E_INVALID;
    if (o->alignment != 0 && (!hfi_is_power(o->alignment) || o->alignment > HF_POOL_ALIGNMENT_MAX))
        return HF_E_INVALID;
    if (o->on_exhausted > HF_POOL_WAIT || o->sanitize > HF_POOL_PATTERN) return HF_E_INVALID;
    if (o->capacity > BLOCKS_MOST / 4 || o->grow > HFI_SLAB_BLOCKS_MAX) return HF_E_INVALID;
    if (o->node < -1 || o->node >= (int64_t)hfi_os_node_count()) return HF_E_INVALID;
    if (o->on_exhausted != HF_POOL_GROW && o->capacity == 0 && !borrowed) return HF_E_CONFLICT;
    return HF_OK;
}

static void shape(hf_pool *pool, const hf_pool_options *options) {
    pool->block_size = options->block_size;
    pool->alignment = options->alignment != 0     ? options->alignment
                      : options->block_size >= 16 ? 16
                                                  : power_up(options->block_size);
    geometry(pool, options->grow);
}

size_t hf_pool_buffer_size(const hf_pool_options *options) {
    hf_pool pool = {.borrowed = true};
    if (options_check(options, true) != HF_OK) return 0;
    shape(&pool, options);
    return options->capacity != 0 ? options->capacity * pool.stride + pool.alignment - 1 : 0;
}

/* Blocks that fit the buffer, which then begins at the first; false: not as many as are wanted. */
static bool buffer_fit(hf_pool *pool, char **buffer, size_t size) {
    size_t lost = -(uintptr_t)*buffer & (pool->alignment - 1);
    uint64_t fit = size > lost ? (size - lost) / pool->stride : 0;
    if (pool->capacity == 0) pool->capacity = fit < BLOCKS_MOST / 4 ? fit : BLOCKS_MOST / 4;
    *buffer += lost;
    return pool->capacity != 0 && pool->capacity <= fit;
}

void hf_pool_options_init(hf_pool_options *options, size_t block_size) {
    *options =
        (hf_pool_options){.struct_size = sizeof *options, .block_size = block_size, .node = -1};
}

static hf_status create(const hf_pool_options *options, char *buffer, size_t size,
                        hf_pool **pool_out) {
    hf_status status = pool_out != NULL ? options_check(options, buffer != NULL) : HF_E_INVALID;
    if (status != HF_OK) return status;
    /* Fork handlers, decay and limits are the default heap's doing; it starts the library. */
    hf_pool *pool = hf_heap_default() != NULL ? hfi_meta_alloc(sizeof *pool) : NULL;
    if (pool == NULL) return HF_E_NO_MEMORY;
    hfi_object_threads_start();
    pool->borrowed = buffer != NULL;
    pool->capacity = options->capacity;
    pool->on_exhausted = options->on_exhausted;
    pool->bounded = pool->borrowed || options->on_exhausted != HF_POOL_GROW;
    pool->wait_ns = options->wait_ns != 0 ? options->wait_ns : UINT64_MAX;
    pool->sanitize = options->sanitize;
    pool->node = options->node;
    if (options->name != NULL) strncpy(pool->name, options->name, HF_OWNER_NAME_MAX);
    shape(pool, options);
    if (pool->borrowed && !buffer_fit(pool, &buffer, size)) {
        hfi_meta_free(pool, sizeof *pool);
        return HF_E_INVALID;
    }
    hfi_lock_init(&pool->lock, HFI_RANK_OWNER);
    uint64_t blocks = REGION_MOST / pool->stride;
    if (pool->borrowed)
        blocks = pool->capacity;
    else if (
        pool->bounded) /* Slabs that go out of service are replaced; this is addresses alone. */
        blocks = pool->capacity * 2 + (UINT64_C(8) << pool->slab_shift);
    if (blocks > BLOCKS_MOST) blocks = BLOCKS_MOST;
    if (!hfi_objects_start(pool, blocks, buffer)) {
        hfi_meta_free(pool, sizeof *pool);
        return HF_E_NO_MEMORY;
    }
    pool->bytes_meta = pool->bytes_mapped = pool->bytes_mapped_peak = sizeof *pool;
    /* relaxed: a number nobody else gets. */
    pool->serial = atomic_fetch_add_explicit(&serials, 1, memory_order_relaxed) + 1;
    pool->slot = hfi_object_slot_take();
    pool->entry = (struct hfi_owner_entry){.kind = HF_OWNER_POOL,
                                           .name = pool->name,
                                           .stats = hfi_object_pool_stats,
                                           .fork = hfi_object_pool_fork,
                                           .self = pool};
    hfi_owners_add(&pool->entry);
    *pool_out = pool;
    return HF_OK;
}

hf_status hf_pool_create(const hf_pool_options *options, hf_pool **pool_out) {
    return create(options, NULL, 0, pool_out);
}

hf_status hf_pool_create_on(void *buffer, size_t size, const hf_pool_options *options,
                            hf_pool **pool_out) {
    return buffer != NULL ? create(options, buffer, size, pool_out) : HF_E_INVALID;
}

size_t hf_pool_destroy_forced(hf_pool *pool) {
    HF_EXPECT(pool != NULL);
    size_t live = hf_pool_live(pool);
    hfi_owners_remove(&pool->entry);
    hfi_object_slot_give(pool->slot);
    hfi_object_magazines_end(pool);
    hfi_objects_end(pool);
    hfi_meta_free(pool, sizeof *pool);
    return live;
}

hf_status hf_pool_destroy(hf_pool *pool) {
    HF_EXPECT(pool != NULL);
    if (hf_pool_live(pool) != 0) return HF_E_BUSY;
    (void)hf_pool_destroy_forced(pool);
    return HF_OK;
}

/* --- acquire -------------------------------------------------------------------------------- */

/* A claimed block is fit to be handed out; if its fill is damaged it is out of service. */
static inline bool is_fit(hf_pool *pool, uint32_t index) {
    if (likely(pool->sanitize != HF_POOL_PATTERN)) return true;
    if (likely(hfi_object_damage(pool, hfi_object_block(pool, index), NULL) == 0)) return true;
    hfi_object_used_after_release(pool, index, "acquire");
    /* It was LIVE while we looked, hence DOOMED now; what the program never got is not out. */
    (void)hfi_object_step(pool, index, HFI_OBJECT_DOOMED, HFI_OBJECT_QUARANTINED);
    return false;
}

/* A block of the calling thread's magazine; NULL if it has none. */
static inline void *pop(hf_pool *pool, struct hfi_object_magazine *m) {
    while (likely(m->count != 0)) {
        uint32_t index = m->index[--m->count];
        if (unlikely(!hfi_object_step(pool, index, HFI_OBJECT_CACHED, HFI_OBJECT_LIVE))) continue;
        if (unlikely(!is_fit(pool, index))) continue;
        return hfi_object_block(pool, index);
    }
    return NULL;
}

/* Fills `blocks` up to `wanted` and the magazine a little; the lock is held. */
static size_t refill(hf_pool *pool, struct hfi_object_magazine *m, void **blocks, size_t got,
                     size_t wanted, hf_status *why) HF_REQUIRES(pool->lock) {
    uint32_t indexes[HFI_OBJECT_BATCH], taken = 1;
    while (got < wanted && taken != 0) {
        size_t ask = wanted - got < HFI_OBJECT_BATCH ? wanted - got : HFI_OBJECT_BATCH;
        taken = hfi_objects_take(pool, indexes, (uint32_t)ask, HFI_OBJECT_LIVE, why);
        for (uint32_t i = 0; i < taken; i++)
            blocks[got++] = hfi_object_block(pool, indexes[i]);
    }
    while (got < wanted) {
        uint32_t index, extra = m != NULL && m->count == 0 ? m->limit / 2 : 0;
        if (!hfi_objects_take_back(pool, &index, m != NULL ? m->index : NULL, &extra)) break;
        if (m != NULL) m->count += extra;
        blocks[got++] = hfi_object_block(pool, index);
    }
    if (got < wanted || m == NULL || m->count != 0) return got;
    /* What there is already, never a slab for its own sake. */
    uint32_t spare = m->limit / 2 < HFI_OBJECT_BATCH ? m->limit / 2 : HFI_OBJECT_BATCH;
    uint32_t more = hfi_objects_take(pool, indexes, spare, HFI_OBJECT_CACHED, NULL);
    /* Taken lowest first, handed out lowest first. */
    for (uint32_t i = 0; i < more; i++)
        m->index[m->count++] = indexes[more - 1 - i];
    hfi_own_count(&m->refills, more != 0);
    return got;
}

/* Looks at blocks that came from slabs or other threads; the damaged ones are replaced by the next
 * round. Returns how many are fit, which stand in front. */
static size_t keep_fit(hf_pool *pool, void **blocks, size_t from, size_t count) {
    size_t kept = from;
    if (pool->sanitize != HF_POOL_PATTERN) return count;
    for (size_t i = from; i < count; i++) {
        size_t offset = (size_t)((char *)blocks[i] - pool->base);
        if (is_fit(pool, (uint32_t)hfi_object_index(pool, offset))) blocks[kept++] = blocks[i];
    }
    return kept;
}

/* A block can move past a search: released where it looked, acquired where it did not yet. Who
 * releases while `waiting` is up comes to serve, where our lock stops it before it acquires again; so
 * what is free now is found now, and a refusal is right. */
static size_t look_again(hf_pool *pool, void **blocks, size_t got, size_t wanted)
    HF_REQUIRES(pool->lock) {
    uint32_t index, none = 0;
    atomic_fetch_add_explicit(&pool->waiting, 1, memory_order_seq_cst);
    while (got < wanted && hfi_objects_take_back(pool, &index, NULL, &none))
        blocks[got++] = hfi_object_block(pool, index);
    atomic_fetch_sub_explicit(&pool->waiting, 1, memory_order_seq_cst);
    return got;
}

static hf_status refused(hf_pool *pool, void **blocks, size_t got, hf_status why) {
    hfi_lock_acquire(&pool->lock);
    for (size_t i = 0; i < got; i++)
        hfi_objects_drop(pool, blocks[i]);
    hfi_objects_serve(pool);
    pool->refusals++;
    hfi_lock_release(&pool->lock);
    return why;
}

/* The whole of what a hit is not. `blocks` holds `got` of `wanted`; wait_ns as in hfi_objects_wait,
 * 0: not at all. */
static hf_status acquire_slow(hf_pool *pool, void **blocks, size_t got, size_t wanted,
                              uint64_t wait_ns) {
    struct hfi_object_magazine *m = hfi_object_magazine_of(pool);
    if (m == NULL) m = hfi_object_magazine_make(pool);
    if (pool->bounded && wanted > pool->capacity) return refused(pool, blocks, got, HF_E_LIMIT);
    while (got < wanted) {
        hf_status why = HF_E_LIMIT;
        size_t before = got;
        hfi_lock_acquire(&pool->lock);
        uint64_t limit_hits = pool->limit_hits;
        /* Who came first is served first. */
        if (pool->first == NULL) got = refill(pool, m, blocks, got, wanted, &why);
        if (got < wanted && pool->first == NULL) got = look_again(pool, blocks, got, wanted);
        if (got < wanted) {
            /* A release is worth waiting for; memory that the system or a limit of the process refuses
             * need never come. */
            bool waits = pool->on_exhausted == HF_POOL_WAIT && why != HF_E_NO_MEMORY &&
                         pool->limit_hits == limit_hits;
            if (!waits || wait_ns == 0) {
                hfi_lock_release(&pool->lock);
                return refused(pool, blocks, keep_fit(pool, blocks, before, got),
                               waits ? HF_E_TIMEOUT : why);
            }
            why = hfi_objects_wait(pool, blocks, got, wanted, wait_ns);
            if (why != HF_OK) return refused(pool, blocks, 0, why);
            got = wanted;
            before = 0; /* what was here may have been given back and others be in its place */
        } else {
            hfi_lock_release(&pool->lock);
        }
        got = keep_fit(pool, blocks, before, got);
    }
    if (m != NULL) {
        hfi_own_count(&m->allocs, wanted);
        hfi_own_count(&m->misses, 1);
        if (m->limit < m->most) m->limit = m->limit * 2 < m->most ? m->limit * 2 : m->most;
    } else {
        hfi_lock_acquire(&pool->lock);
        pool->gone_allocs += wanted;
        pool->gone_misses++;
        hfi_lock_release(&pool->lock);
    }
    hfi_reclaim_wake();
    return HF_OK;
}

hf_status hf_pool_acquire(hf_pool *pool, void **block_out) {
    struct hfi_object_magazine *m = hfi_object_magazine_of(pool);
    void *block = likely(m != NULL) ? pop(pool, m) : NULL;
    if (likely(block != NULL)) {
        hfi_own_count(&m->allocs, 1);
        *block_out = block;
        return HF_OK;
    }
    hf_status status = acquire_slow(pool, &block, 0, 1, pool->wait_ns);
    if (status == HF_OK) *block_out = block;
    return status;
}

hf_status hf_pool_acquire_within(hf_pool *pool, uint64_t wait_ns, void **block_out) {
    struct hfi_object_magazine *m = hfi_object_magazine_of(pool);
    void *block = m != NULL ? pop(pool, m) : NULL;
    hf_status status = HF_OK;
    if (block != NULL)
        hfi_own_count(&m->allocs, 1);
    else
        status = acquire_slow(pool, &block, 0, 1, wait_ns);
    if (status == HF_OK) *block_out = block;
    return status;
}

hf_status hf_pool_acquire_bulk_within(hf_pool *pool, uint64_t wait_ns, void **blocks_out,
                                      size_t count) {
    struct hfi_object_magazine *m = hfi_object_magazine_of(pool);
    size_t got = 0;
    if (count == 0) return HF_OK;
    if (m != NULL && !(pool->bounded && count > pool->capacity))
        while (got < count && (blocks_out[got] = pop(pool, m)) != NULL)
            got++;
    if (got < count) return acquire_slow(pool, blocks_out, got, count, wait_ns);
    hfi_own_count(&m->allocs, count);
    return HF_OK;
}

hf_status hf_pool_acquire_bulk(hf_pool *pool, void **blocks_out, size_t count) {
    return hf_pool_acquire_bulk_within(pool, pool->wait_ns, blocks_out, count);
}

/* --- release -------------------------------------------------------------------------------- */

static __attribute__((noinline)) void serve(hf_pool *pool) {
    hfi_lock_acquire(&pool->lock);
    hfi_objects_serve(pool);
    hfi_lock_release(&pool->lock);
}

/* A cached block goes home, or to who waits. */
static void go_home(hf_pool *pool, uint32_t index) {
    hfi_lock_acquire(&pool->lock);
    if (hfi_object_step(pool, index, HFI_OBJECT_CACHED, HFI_OBJECT_FREE))
        hfi_objects_give(pool, index);
    hfi_objects_serve(pool);
    hfi_lock_release(&pool->lock);
    hfi_reclaim_wake();
}

/* A magazine that is full, or none. */
static __attribute__((noinline)) void push_slow(hf_pool *pool, struct hfi_object_magazine *m,
                                                uint32_t index) {
    if (m == NULL) m = hfi_object_magazine_make(pool);
    if (m == NULL) {
        go_home(pool, index);
        return;
    }
    if (m->count >= m->limit && m->limit < m->most) {
        m->limit = m->limit * 2 < m->most ? m->limit * 2 : m->most;
    } else if (m->count >= m->limit) {
        hfi_lock_acquire(&m->pool->lock);
        hfi_object_magazine_flush(m, (m->limit + 1) / 2);
        hfi_lock_release(&m->pool->lock);
        hfi_reclaim_wake();
    }
    m->index[m->count++] = index;
}

/* LIVE -> CACHED with the content sanitised on the way. */
static __attribute__((noinline)) bool sanitised_step(hf_pool *pool, uint32_t index) {
    char *block = hfi_object_block(pool, index);
    if (!hfi_object_step(pool, index, HFI_OBJECT_LIVE, HFI_OBJECT_RELEASING)) return false;
    if (pool->sanitize == HF_POOL_ZERO)
        memset(block, 0, pool->stride);
    else
        hfi_object_fill(pool, block);
    /* Its slab may have gone out of service meanwhile: DOOMED, which the caller looks for. */
    return hfi_object_step(pool, index, HFI_OBJECT_RELEASING, HFI_OBJECT_CACHED);
}

static __attribute__((noinline)) hf_status release_odd(hf_pool *pool, void *block,
                                                       const char *found_by) {
    size_t offset = (size_t)((char *)block - pool->base);
    if (offset < atomic_load_explicit(&pool->made, memory_order_acquire)) {
        uint32_t index = (uint32_t)hfi_object_index(pool, offset);
        if (hfi_object_block(pool, index) == block &&
            hfi_object_step(pool, index, HFI_OBJECT_DOOMED, HFI_OBJECT_QUARANTINED)) {
            /* A bounded pool may make another in its place. */
            if (atomic_load_explicit(&pool->waiting, memory_order_seq_cst) != 0) serve(pool);
            return HF_OK;
        }
    }
    hfi_object_misuse(pool, block, found_by);
    return HF_E_INVALID;
}

static inline hf_status release(hf_pool *pool, void *block, struct hfi_object_magazine *m,
                                const char *found_by) {
    size_t offset = (size_t)((char *)block - pool->base);
    /* SYNC(pool.made): the states up to there are there. */
    if (unlikely(offset >= atomic_load_explicit(&pool->made, memory_order_acquire)))
        return release_odd(pool, block, found_by);
    uint64_t index = hfi_object_index(pool, offset);
    if (unlikely(index * pool->stride != offset)) return release_odd(pool, block, found_by);
    bool done = pool->sanitize == HF_POOL_KEEP
                    ? hfi_object_step(pool, (uint32_t)index, HFI_OBJECT_LIVE, HFI_OBJECT_CACHED)
                    : sanitised_step(pool, (uint32_t)index);
    if (unlikely(!done)) return release_odd(pool, block, found_by);
    if (likely(m != NULL && m->count < m->limit))
        m->index[m->count++] = (uint32_t)index;
    else
        push_slow(pool, m, (uint32_t)index);
    /* SYNC(pool.waiting): see object_pool_wait.c. */
    if (unlikely(atomic_load_explicit(&pool->waiting, memory_order_seq_cst) != 0)) serve(pool);
    return HF_OK;
}

hf_status hf_pool_release(hf_pool *pool, void *block) {
    return release(pool, block, hfi_object_magazine_of(pool), "release");
}

hf_status hf_pool_release_bulk(hf_pool *pool, void *const *blocks, size_t count) {
    hf_status status = HF_OK;
    for (size_t i = 0; i < count; i++)
        if (release(pool, blocks[i], hfi_object_magazine_of(pool), "release") != HF_OK)
            status = HF_E_INVALID;
    return status;
}
