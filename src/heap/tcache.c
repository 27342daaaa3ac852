/* tcache.c - magazines: arrays of block pointers, refilled and flushed in batches.
 *
 *   slots: | NULL | oldest ... newest | room |        top -->  limit -->
 *
 * A magazine starts small and doubles on a miss or an overflow, up to MOST_* and the thread's
 * budget, so what is kept follows what is used. Half of it moves at a time.
 * Invariants  slots[0] == NULL; slots < top <= limit <= slots + capacity - 1.
 * Talks to    pool.   Called by malloc, reclaim, heap.
 * Threads     the owner; `sweeping` hands a magazine to the idle sweep and back (tcache_idle.c).
 * Fails with  NULL from pop; push never fails.
 * Source      Bonwick and Adams 2001, adaptive magazines. */
#include "tcache.h"

#include <pthread.h>
#include <string.h>

#include "base/rng.h"
#include "heap_state.h"
#include "pool.h"
#include "reclaim.h"

#define FIRST_BLOCKS 8u /* a magazine's first limit: so many blocks or so many bytes */
#define FIRST_BYTES  ((size_t)64 << 10)
#define MOST_BLOCKS  256u /* and its last */
#define MOST_BYTES   ((size_t)64 << 10)
#define LEAST_BLOCKS 8u /* whatever their size */
#define VERIFY_AHEAD 4u /* blocks a flush looks ahead of the one it verifies */

__thread struct hfi_tcache *hfi_tcache_current __attribute__((tls_model("initial-exec"))) =
    &hfi_tcache_empty;
__thread struct hfi_thread *hfi_thread_current __attribute__((tls_model("initial-exec")));

void *hfi_null_slots[2];
struct hfi_tcache hfi_tcache_empty = {
    .magazine = {[0 ... HFI_CLASS_COUNT - 1] = {.top = hfi_null_slots + 1}}};

/* What a thread is after its end: other keys' destructors still free and allocate. */
static struct hfi_thread thread_gone = {.exiting = true};
static pthread_key_t exit_key;
static bool exit_key_made;
static _Atomic uint32_t thread_numbers;

static void thread_exit_hook(void *thread) {
    hfi_thread_exit(thread);
}

void hfi_tcache_start(void) {
    exit_key_made = pthread_key_create(&exit_key, thread_exit_hook) == 0;
}

/* --- threads and their caches -------------------------------------------------------------- */

static struct hfi_thread *thread_make(void) {
    struct hfi_thread *thread = hfi_meta_alloc(sizeof *thread);
    if (thread == NULL) return NULL;
    thread->number = atomic_fetch_add_explicit(&thread_numbers, 1, memory_order_relaxed);
    thread->id = hfi_os_thread_id();
    hfi_lock_acquire(&hfi_registry_lock);
    thread->next = hfi_threads;
    if (hfi_threads != NULL) hfi_threads->prev = thread;
    hfi_threads = thread;
    hfi_lock_release(&hfi_registry_lock);
    hfi_thread_current = thread;
    /* May allocate (keys above 31): the thread is set already, so that call finds it. */
    if (exit_key_made) pthread_setspecific(exit_key, thread);
    return thread;
}

static struct hfi_tcache *tcache_make(hf_heap *heap, struct hfi_thread *thread) {
    struct hfi_tcache *tc = hfi_meta_alloc(sizeof *tc);
    if (tc == NULL) return NULL;
    if (heap->fill) {
        tc->delay = hfi_meta_alloc(HFI_CLASS_COUNT * sizeof *tc->delay);
        if (tc->delay == NULL) {
            hfi_meta_free(tc, sizeof *tc);
            return NULL;
        }
    }
    tc->heap = heap;
    tc->thread = thread;
    for (unsigned slack = 1; slack < 16; slack++)
        tc->slack_mask[slack] = slack < 8 ? (UINT64_C(1) << (8 * slack)) - 1 : UINT64_MAX;
    tc->home = hfi_segment_home(thread->number, heap->node);
    tc->middle_home = thread->number;
    unsigned node = heap->node >= 0 ? (unsigned)heap->node : hfi_os_node_current();
    tc->pools = hfi_pool_of(heap, node, 0);
    hfi_os_random(&tc->rng, sizeof tc->rng);
    tc->rng = hfi_rng_seed(tc->rng);
    tc->sample_left = (int64_t)(hfi_rng_next(&tc->rng) % (heap->options.site_interval + 1));
    for (unsigned c = 0; c < HFI_CLASS_COUNT; c++) {
        tc->magazine[c].top = hfi_null_slots + 1;
        tc->magazine[c].block_size = hfi_class_size[c];
    }
    hfi_lock_acquire(&heap->caches_lock);
    tc->next = heap->caches;
    if (heap->caches != NULL) heap->caches->prev = tc;
    heap->caches = tc;
    hfi_lock_release(&heap->caches_lock);
    thread->caches[heap->index] = tc;
    if (heap->is_default) hfi_tcache_current = tc;
    return tc;
}

struct hfi_tcache *hfi_tcache_of(hf_heap *heap) {
    if (heap->index >= HFI_HEAPS_MAX || heap->options.cache_bytes == 0) return NULL;
    struct hfi_thread *thread = hfi_thread_current;
    if (thread == NULL) thread = thread_make();
    if (thread == NULL || thread->exiting) return NULL;
    struct hfi_tcache *tc = thread->caches[heap->index];
    return tc != NULL ? tc : tcache_make(heap, thread);
}

/* --- magazines ------------------------------------------------------------------------------ */

/* Blocks of a class that fit into `bytes`, but at least `least` and not above `most`. */
static uint32_t blocks_in(unsigned c, size_t bytes, uint32_t least, uint32_t most) {
    size_t count = bytes / hfi_class_size[c];
    return count < least ? least : count > most ? most : (uint32_t)count;
}

static uint32_t first_limit(unsigned c) {
    return blocks_in(c, FIRST_BYTES, 1, FIRST_BLOCKS);
}

/* Gives the magazine room for `limit` blocks. False if memory or the budget is short. */
static bool magazine_grow(struct hfi_tcache *tc, unsigned c, uint32_t limit) {
    struct hfi_magazine *m = &tc->magazine[c];
    struct hfi_magazine_cold *cold = &tc->cold[c];
    uint32_t before =
        cold->slots == NULL ? 0 : (uint32_t)(hfi_own_load(m->limit) - (cold->slots + 1));
    size_t extra = (size_t)(limit - before) * m->block_size;
    if (limit > first_limit(c) && tc->limit_bytes + extra > tc->heap->options.cache_bytes)
        return false;
    if (limit + 1 > cold->capacity) {
        uint32_t capacity = limit + 1 < 16 ? 16 : (limit + 1 + 7) & ~7u;
        void **slots = hfi_meta_alloc(capacity * sizeof(void *));
        if (slots == NULL) return false;
        void **old = cold->slots;
        size_t old_size = cold->capacity * sizeof(void *);
        uint32_t count = old == NULL ? 1 : (uint32_t)(hfi_own_load(m->top) - old);
        if (old != NULL) memcpy(slots, old, count * sizeof(void *));
        hfi_own_store(cold->slots, slots);
        hfi_own_store(cold->capacity, capacity);
        hfi_own_store(m->top, slots + count);
        hfi_meta_free(old, old_size);
    }
    hfi_own_store(m->limit, cold->slots + 1 + limit);
    tc->limit_bytes += extra;
    return true;
}

static uint32_t magazine_limit(const struct hfi_tcache *tc, unsigned c) {
    const struct hfi_magazine_cold *cold = &tc->cold[c];
    return cold->slots == NULL
               ? 0
               : (uint32_t)(hfi_own_load(tc->magazine[c].limit) - (cold->slots + 1));
}

static void magazine_adapt(struct hfi_tcache *tc, unsigned c) {
    uint32_t limit = magazine_limit(tc, c);
    uint32_t most = blocks_in(c, MOST_BYTES, LEAST_BLOCKS, MOST_BLOCKS);
    uint32_t wanted = limit == 0 ? first_limit(c) : limit * 2;
    if (wanted > most) wanted = most;
    if (wanted > limit) (void)magazine_grow(tc, c, wanted);
}

static void *pop_refill(struct hfi_tcache *tc, unsigned c) {
    if (hfi_unlikely(hfi_tcache_restore(tc))) return hfi_tcache_pop(tc, c);
    struct hfi_magazine *m = &tc->magazine[c];
    struct hfi_magazine_cold *cold = &tc->cold[c];
    hfi_own_add(cold->misses, 1);
    magazine_adapt(tc, c);
    uint32_t limit = magazine_limit(tc, c);
    if (limit == 0) return hfi_direct_pop(tc->heap, c);
    uint32_t wanted = limit < 2 ? 1 : limit / 2;
    void **top = hfi_own_load(m->top);
    uint32_t got = hfi_likely(!cold->received)
                       ? hfi_pool_take(&tc->pools[c], top, wanted, tc->home)
                       : hfi_pool_take_apart(&tc->pools[c], top, wanted, tc->home);
    cold->received = false;
    if (got == 0) return NULL;
    hfi_own_store(m->top, top + got - 1);
    hfi_own_add(m->allocs, 1);
    tc->sample_left -= (int64_t)(got * m->block_size);
    return top[got - 1];
}

void *hfi_tcache_pop_slow(struct hfi_tcache *tc, unsigned c) {
    hfi_tcache_enter(tc);
    void *block = pop_refill(tc, c);
    hfi_tcache_leave(tc);
    return block;
}

uint32_t hfi_tcache_verify(hf_heap *heap, unsigned c, void **blocks, uint32_t count) {
    uint32_t extent = hfi_class_size[c], kept = 0;
    if (!heap->trailer) return count;
    for (uint32_t i = 0; i < count; i++) {
        const char *block = blocks[i];
        /* The oldest blocks of a magazine have left the cache. */
        if (i + VERIFY_AHEAD < count) {
            const char *soon = blocks[i + VERIFY_AHEAD];
            __builtin_prefetch(soon - HFI_TRAILER);
            __builtin_prefetch(soon);
        }
        /* Aligned classes have no trailer before their first block. */
        bool whole = c < HFI_CLASS_ALIGNED && hfi_block_trailer_whole(block - HFI_TRAILER) &&
                     (heap->fill ? hfi_block_filled_whole(block, extent)
                                 : hfi_load64(block) == hfi_block_pattern);
        if (hfi_likely(whole) || hfi_verify_freed(heap, block, extent, "flush"))
            blocks[kept++] = blocks[i];
    }
    return kept;
}

static void flush_oldest(struct hfi_tcache *tc, unsigned c, uint32_t count) {
    struct hfi_magazine *m = &tc->magazine[c];
    void **first = tc->cold[c].slots + 1;
    uint32_t kept = (uint32_t)(hfi_own_load(m->top) - first) - count;
    void *batch[MOST_BLOCKS];
    memcpy(batch, first, count * sizeof(void *));
    /* Empty while the slots hold pointers twice: another thread may fork right here, and the child
     * flushes what it finds. */
    hfi_own_store(m->top, first);
    atomic_signal_fence(memory_order_seq_cst);
    memmove(first, first + count, kept * sizeof(void *));
    atomic_signal_fence(memory_order_seq_cst);
    hfi_own_store(m->top, first + kept);
    hfi_own_add(tc->cold[c].flushes, 1);
    count = hfi_tcache_verify(tc->heap, c, batch, count);
    if (count != 0) hfi_pool_give(&tc->pools[c], batch, count);
}

static void push_flush(struct hfi_tcache *tc, unsigned c, void *block) {
    if (hfi_unlikely(hfi_tcache_restore(tc))) {
        hfi_tcache_push(tc, c, block);
        return;
    }
    struct hfi_magazine *m = &tc->magazine[c];
    bool first = hfi_own_load(m->limit) == NULL;
    if (hfi_own_load(m->top) >= hfi_own_load(m->limit)) magazine_adapt(tc, c);
    if (hfi_own_load(m->limit) == NULL) {
        hfi_direct_push(tc->heap, c, block);
        return;
    }
    /* Freed before the thread had one of its own: another thread's, and its neighbours in the cache
     * line are in use elsewhere. It is not what this thread should write to next. */
    if (first && m->block_size <= HFI_POOL_APART_MOST) {
        tc->cold[c].received = true;
        if (hfi_tcache_verify(tc->heap, c, &block, 1) != 0)
            hfi_pool_give_apart(&tc->pools[c], block);
        return;
    }
    if (hfi_own_load(m->top) >= hfi_own_load(m->limit)) {
        flush_oldest(tc, c, (magazine_limit(tc, c) + 1) / 2);
        hfi_reclaim_note_frees(tc->heap, magazine_limit(tc, c) / 2);
    }
    void **top = hfi_own_load(m->top);
    *top = block;
    hfi_own_store(m->top, top + 1);
}

void hfi_tcache_push_slow(struct hfi_tcache *tc, unsigned c, void *block) {
    hfi_tcache_enter(tc);
    push_flush(tc, c, block);
    hfi_tcache_leave(tc);
}

void *hfi_direct_pop(hf_heap *heap, unsigned c) {
    void *block = NULL;
    unsigned node = heap->node >= 0 ? (unsigned)heap->node : hfi_os_node_current();
    uint32_t got =
        hfi_pool_take(hfi_pool_of(heap, node, c), &block, 1, hfi_segment_home(0, heap->node));
    if (got != 0) atomic_fetch_add_explicit(&heap->direct_allocs, 1, memory_order_relaxed);
    return block;
}

void hfi_direct_push(hf_heap *heap, unsigned c, void *block) {
    unsigned node = heap->node >= 0 ? (unsigned)heap->node : hfi_os_node_current();
    atomic_fetch_add_explicit(&heap->direct_frees, 1, memory_order_relaxed);
    hfi_pool_give(hfi_pool_of(heap, node, c), &block, 1);
    hfi_reclaim_note_frees(heap, 1);
}

/* --- all of it ------------------------------------------------------------------------------ */

void hfi_tcache_flush(struct hfi_tcache *tc) {
    hfi_tcache_enter(tc);
    (void)hfi_tcache_restore(tc);
    for (unsigned c = 1; c < HFI_CLASS_COUNT; c++) {
        struct hfi_magazine *m = &tc->magazine[c];
        if (tc->cold[c].slots == NULL) continue;
        /* In the child of a fork the owner may have been in the middle of growing: then its blocks
         * are lost, as the registers of that thread are. */
        size_t count = (size_t)(hfi_own_load(m->top) - (tc->cold[c].slots + 1));
        if (count != 0 && count < tc->cold[c].capacity) flush_oldest(tc, c, (uint32_t)count);
        if (tc->delay == NULL) continue;
        struct hfi_delay *delay = &tc->delay[c];
        void *batch[HFI_DELAY_SLOTS];
        uint32_t delayed = 0;
        for (unsigned i = 0; i < HFI_DELAY_SLOTS; i++) {
            if (delay->blocks[i] != NULL) batch[delayed++] = delay->blocks[i];
            hfi_own_store(delay->blocks[i], NULL);
        }
        delayed = hfi_tcache_verify(tc->heap, c, batch, delayed);
        if (delayed != 0) hfi_pool_give(&tc->pools[c], batch, delayed);
    }
    hfi_tcache_leave(tc);
}

/* The thread's cache number `i`, NULL if it has none. Another thread may be destroying that heap: the
 * end waits for caches that are held (hfi_tcache_forget_heap). */
static struct hfi_tcache *cache_hold(struct hfi_thread *thread, unsigned i) {
    if (hfi_peek(thread->caches[i]) == NULL) return NULL;
    hfi_lock_acquire(&hfi_registry_lock);
    struct hfi_tcache *tc = thread->caches[i];
    if (tc != NULL) tc->held = true;
    hfi_lock_release(&hfi_registry_lock);
    return tc;
}

static void cache_let_go(struct hfi_tcache *tc) {
    hfi_lock_acquire(&hfi_registry_lock);
    tc->held = false;
    hfi_lock_release(&hfi_registry_lock);
}

void hfi_thread_flush_all(void) {
    struct hfi_thread *thread = hfi_thread_current;
    if (thread == NULL || thread->exiting) return;
    for (unsigned i = 0; i < HFI_HEAPS_MAX; i++) {
        struct hfi_tcache *tc = cache_hold(thread, i);
        if (tc == NULL) continue;
        hfi_tcache_flush(tc);
        cache_let_go(tc);
    }
}

/* Counters of a cache that goes are kept by the heap. */
static void tcache_fold(struct hfi_tcache *tc) {
    hf_heap *heap = tc->heap;
#define FOLD(field) atomic_fetch_add_explicit(&heap->gone_##field, tc->field, memory_order_relaxed)
    FOLD(middle_allocs);
    FOLD(large_allocs);
    FOLD(large_hits);
    FOLD(moved);
    FOLD(in_place);
#undef FOLD
    for (unsigned c = 1; c < HFI_CLASS_COUNT; c++) {
        struct hfi_pool *pool = &tc->pools[c];
        atomic_fetch_add_explicit(&pool->allocs_gone, tc->magazine[c].allocs, memory_order_relaxed);
        atomic_fetch_add_explicit(&pool->misses_gone, tc->cold[c].misses, memory_order_relaxed);
        atomic_fetch_add_explicit(&pool->flushes_gone, tc->cold[c].flushes, memory_order_relaxed);
    }
}

static void tcache_free(struct hfi_tcache *tc) {
    for (unsigned c = 1; c < HFI_CLASS_COUNT; c++)
        hfi_meta_free(tc->cold[c].slots, tc->cold[c].capacity * sizeof(void *));
    hfi_meta_free(tc->withdrawn, sizeof tc->magazine);
    hfi_meta_free(tc->delay, HFI_CLASS_COUNT * sizeof *tc->delay);
    hfi_meta_free(tc, sizeof *tc);
}

/* Takes the cache out of its heap and folds its counters in the same breath, so that statistics see
 * each count exactly once. */
static void tcache_unlink(struct hfi_tcache *tc) HF_REQUIRES(hfi_registry_lock) {
    hf_heap *heap = tc->heap;
    hfi_lock_acquire(&heap->caches_lock);
    if (tc->prev != NULL)
        tc->prev->next = tc->next;
    else
        heap->caches = tc->next;
    if (tc->next != NULL) tc->next->prev = tc->prev;
    tcache_fold(tc);
    hfi_lock_release(&heap->caches_lock);
}

void hfi_thread_exit(struct hfi_thread *thread) {
    thread->exiting = true;
    if (thread == hfi_thread_current) hfi_tcache_current = &hfi_tcache_empty;
    for (unsigned i = 0; i < HFI_HEAPS_MAX; i++) {
        struct hfi_tcache *tc = cache_hold(thread, i);
        if (tc == NULL) continue;
        hfi_tcache_flush(tc);
        hfi_lock_acquire(&hfi_registry_lock);
        hfi_poke(thread->caches[i], NULL);
        tcache_unlink(tc); /* from here on the heap may be gone */
        hfi_lock_release(&hfi_registry_lock);
        tcache_free(tc);
    }
    hfi_lock_acquire(&hfi_registry_lock);
    if (thread->prev != NULL)
        thread->prev->next = thread->next;
    else
        hfi_threads = thread->next;
    if (thread->next != NULL) thread->next->prev = thread->prev;
    hfi_lock_release(&hfi_registry_lock);
    if (thread == hfi_thread_current) hfi_thread_current = &thread_gone;
    hfi_meta_free(thread, sizeof *thread);
}
