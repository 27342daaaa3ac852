/* object_pool_threads.c - magazines: made at a thread's first miss, flushed when it ends or forks.
 *
 *   thread --> slot[pool->slot] {serial, magazine} --> hints
 *
 * Invariants  a slot is valid for the pool whose serial it names; serials are never used again, so a
 *             slot that a destroyed pool left behind is valid for nobody and needs no clearing.
 * Talks to    meta, owners.   Called by the fast path's misses, fork, thread end.
 * Threads     a thread's table is its own; magazines are in the pool's list under the pool's lock.
 *             The end of a thread walks the list of owners, so that no pool dies under it.
 * Fails with  NULL: the pool works without a magazine. */
#include <pthread.h>

#include "arena/object_pool.h"
#include "base/hooks.h"
#include "pages/meta.h"

#define FIRST_LIMIT 8u
#define MOST_BYTES  ((size_t)256 << 10)

__thread struct hfi_object_thread *hfi_object_thread __attribute__((tls_model("initial-exec")));

/* What a thread is after its end: destructors of other keys still acquire and release. */
static struct hfi_object_thread thread_gone = {.exiting = true};
static pthread_key_t exit_key;
static pthread_once_t started = PTHREAD_ONCE_INIT;
static bool exit_key_made;
static _Atomic uint64_t slots_used[HFI_OBJECT_POOLS_MAX / 64];

/* --- slots ---------------------------------------------------------------------------------- */

uint32_t hfi_object_slot_take(void) {
    for (uint32_t w = 0; w < HFI_OBJECT_POOLS_MAX / 64; w++) {
        uint64_t used = atomic_load_explicit(&slots_used[w], memory_order_relaxed);
        while (~used != 0) {
            uint32_t bit = (uint32_t)__builtin_ctzll(~used);
            /* relaxed: who gets the number has it; nothing else is published by it. */
            if (atomic_compare_exchange_weak_explicit(&slots_used[w], &used,
                                                      used | UINT64_C(1) << bit,
                                                      memory_order_relaxed, memory_order_relaxed))
                return w * 64 + bit;
        }
    }
    return HFI_OBJECT_POOLS_MAX;
}

void hfi_object_slot_give(uint32_t slot) {
    if (slot >= HFI_OBJECT_POOLS_MAX) return;
    atomic_fetch_and_explicit(&slots_used[slot / 64], ~(UINT64_C(1) << (slot % 64)),
                              memory_order_relaxed);
}

/* --- magazines ------------------------------------------------------------------------------ */

static size_t magazine_size(const struct hfi_object_magazine *magazine) {
    return sizeof *magazine + magazine->most * sizeof magazine->index[0];
}

/* Out of the pool's list, its figures folded; its memory goes when the lock is free. */
static void magazine_unlink(struct hfi_object_magazine *m) HF_REQUIRES(m->pool->lock) {
    hf_pool *pool = m->pool;
    if (m->next != NULL) m->next->prev = m->prev;
    *(m->prev != NULL ? &m->prev->next : &pool->magazines) = m->next;
    pool->gone_allocs += atomic_load_explicit(&m->allocs, memory_order_relaxed);
    pool->gone_misses += atomic_load_explicit(&m->misses, memory_order_relaxed);
    pool->gone_refills += atomic_load_explicit(&m->refills, memory_order_relaxed);
    pool->gone_flushes += atomic_load_explicit(&m->flushes, memory_order_relaxed);
    hfi_objects_note_meta(m->pool, magazine_size(m), 0);
}

void hfi_object_magazine_flush(struct hfi_object_magazine *m, uint32_t count) {
    if (count > m->count) count = m->count;
    for (uint32_t i = 0; i < count; i++)
        if (hfi_object_step(m->pool, m->index[i], HFI_OBJECT_CACHED, HFI_OBJECT_FREE))
            hfi_objects_give(m->pool, m->index[i]);
    for (uint32_t i = count; i < m->count; i++)
        m->index[i - count] = m->index[i];
    m->count -= count;
    if (count != 0) hfi_own_count(&m->flushes, 1);
}

struct hfi_object_magazine *hfi_object_magazine_make(hf_pool *pool) {
    struct hfi_object_thread *thread = hfi_object_thread;
    if (pool->slot >= HFI_OBJECT_POOLS_MAX || !exit_key_made) return NULL;
    if (thread == NULL) {
        thread = hfi_meta_alloc(sizeof *thread);
        if (thread == NULL) return NULL;
        hfi_object_thread = thread;
        /* May allocate (keys above 31); a thread whose end would go unnoticed gets no magazines. */
        if (pthread_setspecific(exit_key, thread) != 0) thread->exiting = true;
    }
    if (thread->exiting) return NULL;
    size_t most = MOST_BYTES / pool->stride;
    most = most > HFI_MAGAZINE_MOST ? HFI_MAGAZINE_MOST : most < 2 ? 2 : most;
    struct hfi_object_magazine *m = hfi_meta_alloc(sizeof *m + most * sizeof m->index[0]);
    if (m == NULL) return NULL;
    m->pool = pool;
    m->thread = thread;
    m->most = (uint32_t)most;
    m->limit = m->most < FIRST_LIMIT ? m->most : FIRST_LIMIT;
    hfi_lock_acquire(&pool->lock);
    m->next = pool->magazines;
    if (m->next != NULL) m->next->prev = m;
    pool->magazines = m;
    hfi_objects_note_meta(pool, 0, magazine_size(m));
    hfi_lock_release(&pool->lock);
    thread->slot[pool->slot].magazine = m;
    thread->slot[pool->slot].serial = pool->serial;
    return m;
}

void hfi_object_magazines_end(hf_pool *pool) {
    while (pool->magazines != NULL) {
        struct hfi_object_magazine *m = pool->magazines;
        pool->magazines = m->next;
        hfi_meta_free(m, magazine_size(m));
    }
}

uint64_t hfi_object_allocs(hf_pool *pool) {
    uint64_t allocs = pool->gone_allocs;
    for (struct hfi_object_magazine *m = pool->magazines; m != NULL; m = m->next)
        allocs += atomic_load_explicit(&m->allocs, memory_order_relaxed);
    return allocs;
}

/* --- the end of a thread -------------------------------------------------------------------- */

static void magazine_leave(void *self, void *context) {
    hf_pool *pool = self;
    struct hfi_object_thread *thread = context;
    if (pool->slot >= HFI_OBJECT_POOLS_MAX) return;
    if (thread->slot[pool->slot].serial != pool->serial) return;
    struct hfi_object_magazine *m = thread->slot[pool->slot].magazine;
    hfi_lock_acquire(&m->pool->lock);
    hfi_object_magazine_flush(m, m->count);
    magazine_unlink(m);
    hfi_lock_release(&m->pool->lock);
    hfi_meta_free(m, magazine_size(m));
}

static void thread_end(void *argument) {
    struct hfi_object_thread *thread = argument;
    if (thread == &thread_gone) return;
    hfi_object_thread = &thread_gone;
    hfi_owners_each(HF_OWNER_POOL, magazine_leave, thread);
    hfi_meta_free(thread, sizeof *thread);
    hfi_reclaim_wake();
}

/* --- the decay ------------------------------------------------------------------------------ */

struct decay {
    uint64_t given;
    bool force, more;
};

static void pool_decay(void *self, void *context) {
    hf_pool *pool = self;
    struct decay *decay = context;
    hfi_lock_acquire(&pool->lock);
    uint64_t allocs = hfi_object_allocs(pool);
    pool->idle_ticks = allocs == pool->idle_allocs ? pool->idle_ticks + 1 : 0;
    pool->idle_allocs = allocs;
    /* What threads cache of a pool that nobody uses would keep its slabs from being empty. */
    if (decay->force || pool->idle_ticks == 2) hfi_objects_take_back_all(pool);
    if (pool->idle_ticks < 2 && pool->slab_count != 0) decay->more = true;
    decay->given += hfi_objects_purge(pool, decay->force, &decay->more);
    hfi_lock_release(&pool->lock);
}

static uint64_t pools_decay(uint64_t now_ns, int force) {
    struct decay decay = {.force = force != 0};
    (void)now_ns;
    hfi_owners_each(HF_OWNER_POOL, pool_decay, &decay);
    if (decay.more && force == 0) hfi_reclaim_wake();
    return decay.given;
}

static void start(void) {
    exit_key_made = pthread_key_create(&exit_key, thread_end) == 0;
    hfi_reclaim_hook_add(pools_decay);
}

void hfi_object_threads_start(void) {
    (void)pthread_once(&started, start);
}

/* --- fork ----------------------------------------------------------------------------------- */

/* The other threads are gone: what they cached goes home, what they waited for is nobody's. Blocks
 * they had acquired stay out. */
static void fork_child(hf_pool *pool) HF_NO_THREAD_SAFETY {
    pool->first = pool->last = NULL;
    atomic_store_explicit(&pool->waiting, 0, memory_order_relaxed);
    for (struct hfi_object_magazine *m = pool->magazines, *next; m != NULL; m = next) {
        next = m->next;
        if (m->thread == hfi_object_thread) continue;
        hfi_object_magazine_flush(m, m->count);
        magazine_unlink(m);
        hfi_meta_free(m, magazine_size(m));
    }
}

void hfi_object_pool_fork(void *self, enum hfi_fork moment) HF_NO_THREAD_SAFETY {
    hf_pool *pool = self;
    switch (moment) {
    case HFI_FORK_PREPARE: hfi_lock_acquire_peer(&pool->lock); break;
    case HFI_FORK_PARENT: hfi_lock_release(&pool->lock); break;
    case HFI_FORK_CHILD:
        hfi_lock_reinit(&pool->lock);
        fork_child(pool);
        break;
    }
}
