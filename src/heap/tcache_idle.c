/* tcache_idle.c - an idle thread does not hold memory for ever.
 *
 * A sleeping thread cannot give anything back, and its hot path has no lock and no fence that would
 * let others in. So the sweep proves that the thread does not run:
 *
 *   1 asleep? note its count of context switches          sweeping = 1
 *   2 barrier on all threads; in a slow path? leave it alone                          sweeping = 0
 *   3 withdraw every magazine: empty and full at once, so each path of the owner turns slow
 *   4 barrier on all threads
 *   5 asleep still, with the same count? it did not run since 1: the blocks are ours.  sweeping = 0
 *     otherwise no slot was touched and the owner puts its magazines back itself.      sweeping = 2
 *
 * A pop or push cannot be under way in a thread that sleeps: a thread asleep in the kernel is in a
 * system call, and the hot path makes none. One that wakes between 1 and 3 can be in the middle of a
 * single pop or push: it has read its magazine before 3 and moves `top` by one slot after it, to where
 * it was or to where 3 sent it; `away` has room for that, and putting back counts it.
 * Invariants  slots are never written by the sweep.
 * Threads     the sweep holds heap->caches_lock, so a cache cannot vanish under it.
 * Source      asymmetric synchronisation by membarrier(2), as in userspace RCU (Desnoyers 2012). */
#include "heap_state.h"
#include "pool.h"
#include "tcache.h"

#define SWEEPING  1u
#define ABANDONED 2u

/* What `top` is without the withdrawal. A pop or push that was under way moved it by one slot: where
 * it pointed before (then it points there again: the owner's store wins), or where it was sent. */
static void **top_restored(const struct hfi_tcache *tc, const struct hfi_magazine *m,
                           const struct hfi_magazine *was) {
    void **top = hfi_own_load(m->top);
    uintptr_t offset = (uintptr_t)top - (uintptr_t)tc->away;
    if (offset >= sizeof tc->away) return top;
    return was->top + (top - (void **)(tc->away + 2));
}

bool hfi_tcache_restore_slow(struct hfi_tcache *tc) {
    uint32_t state;
    /* SYNC(tcache.sweeping): pairs with the release in sweep_end. */
    while ((state = atomic_load_explicit(&tc->sweeping, memory_order_acquire)) == SWEEPING)
        hfi_os_futex_wait(&tc->sweeping, SWEEPING, 0);
    if (state == ABANDONED) {
        for (unsigned c = 1; c < HFI_CLASS_COUNT; c++) {
            struct hfi_magazine *m = &tc->magazine[c], *was = &tc->withdrawn[c];
            if (was->limit == NULL) {
                hfi_own_store(m->top, was->top);
                continue;
            }
            void **top = top_restored(tc, m, was);
            if (top == was->top + 1 && tc->away[2] != NULL) *was->top = tc->away[2];
            hfi_own_store(m->top, top);
            hfi_own_store(m->limit, was->limit);
        }
        tc->away[2] = NULL;
        /* SYNC(tcache.withdrawn): read to the end; pairs with the acquire in sweep_one. */
        atomic_store_explicit(&tc->sweeping, 0, memory_order_release);
    }
    return true;
}

static void sweep_end(struct hfi_tcache *tc, uint32_t state) {
    /* SYNC(tcache.sweeping): publishes the magazines; pairs with the acquire in restore. */
    atomic_store_explicit(&tc->sweeping, state, memory_order_release);
    hfi_os_futex_wake(&tc->sweeping, INT32_MAX);
}

/* Blocks in a magazine whose owner may be moving it to other slots right now: none then. */
static uint64_t cached_now(const struct hfi_tcache *tc, unsigned c, void **top) {
    void **slots = hfi_own_load(tc->cold[c].slots);
    uint64_t count = ((uintptr_t)top - (uintptr_t)(slots + 1)) / sizeof(void *);
    return slots != NULL && count < hfi_own_load(tc->cold[c].capacity) ? count : 0;
}

static uint64_t delayed_now(const struct hfi_tcache *tc, unsigned c) {
    uint64_t count = 0;
    for (unsigned i = 0; tc->delay != NULL && i < HFI_DELAY_SLOTS; i++)
        count += hfi_own_load(tc->delay[c].blocks[i]) != NULL;
    return count;
}

static uint64_t cache_allocs(struct hfi_tcache *tc, uint64_t *cached_out) {
    uint64_t allocs = 0, cached = 0;
    for (unsigned c = 1; c < HFI_CLASS_COUNT; c++) {
        struct hfi_magazine *m = &tc->magazine[c];
        allocs += hfi_own_load(m->allocs) * 2 + (uintptr_t)hfi_own_load(m->top) / sizeof(void *);
        cached += (cached_now(tc, c, hfi_own_load(m->top)) + delayed_now(tc, c)) * m->block_size;
    }
    *cached_out = cached;
    return allocs;
}

static void withdraw(struct hfi_tcache *tc) {
    for (unsigned c = 1; c < HFI_CLASS_COUNT; c++) {
        struct hfi_magazine *m = &tc->magazine[c];
        tc->withdrawn[c].limit = __atomic_exchange_n(&m->limit, NULL, __ATOMIC_SEQ_CST);
        /* Exchanged, not read and written: whatever the owner did before this moment counts. */
        tc->withdrawn[c].top = __atomic_exchange_n(&m->top, tc->away + 2, __ATOMIC_SEQ_CST);
    }
}

/* Moves the blocks of a withdrawn cache to `batch`, class by class, counts[c] each. */
static uint32_t collect(struct hfi_tcache *tc, void **batch, uint16_t *counts) {
    uint32_t total = 0;
    for (unsigned c = 1; c < HFI_CLASS_COUNT; c++) {
        struct hfi_magazine *m = &tc->magazine[c], *was = &tc->withdrawn[c];
        void **slots = tc->cold[c].slots;
        counts[c] = 0;
        if (slots == NULL || was->limit == NULL) {
            hfi_own_store(m->top, was->top);
            continue;
        }
        for (void **slot = slots + 1; slot < was->top; slot++)
            batch[total + counts[c]++] = *slot;
        /* No free looks at the delay before it has seen that the magazine has room, or, on the slow
         * path, that no sweep is under way. */
        for (unsigned i = 0; tc->delay != NULL && i < HFI_DELAY_SLOTS; i++) {
            void **place = &tc->delay[c].blocks[i];
            void *delayed = hfi_own_load(*place);
            if (delayed != NULL) batch[total + counts[c]++] = delayed;
            hfi_own_store(*place, NULL);
        }
        total += counts[c];
        /* SYNC(tcache.top): the slots were read; pairs with the owner's push, whose store to a slot
         * depends on the top it loaded. */
        __atomic_store_n(&m->top, slots + 1, __ATOMIC_RELEASE);
        hfi_own_store(m->limit, was->limit);
    }
    return total;
}

/* One cache: 0 busy or empty, 1 swept. Called with caches_lock held. */
static bool sweep_one(struct hfi_tcache *tc, void **batch, uint16_t *counts, bool *more_out)
    HF_REQUIRES(tc->heap->caches_lock) {
    uint64_t cached, before, after;
    uint64_t allocs = cache_allocs(tc, &cached);
    if (cached == 0 || tc->thread == hfi_thread_current) return false;
    bool quiet = allocs == tc->idle_since_allocs;
    tc->idle_since_allocs = allocs;
    *more_out = true;
    if (!quiet) return false;
    if (!hfi_os_thread_asleep(tc->thread->id, &before)) return false;
    if (tc->withdrawn == NULL) tc->withdrawn = hfi_meta_alloc(sizeof tc->magazine);
    if (tc->withdrawn == NULL) return false;
    /* An abandoned sweep that the owner has not met yet still stands.
     * SYNC(tcache.withdrawn): the owner has read it; pairs with the release in restore. */
    if (atomic_load_explicit(&tc->sweeping, memory_order_acquire) != 0) return false;
    atomic_store_explicit(&tc->sweeping, SWEEPING, memory_order_seq_cst);
    if (!hfi_os_barrier_all_threads() || hfi_own_load(tc->busy) != 0) {
        sweep_end(tc, 0);
        return false;
    }
    withdraw(tc);
    bool ours = hfi_os_barrier_all_threads() && hfi_os_thread_asleep(tc->thread->id, &after) &&
                after == before;
    if (ours) collect(tc, batch, counts);
    sweep_end(tc, ours ? 0 : ABANDONED);
    return ours;
}

size_t hfi_tcache_sweep(hf_heap *heap, bool *more_out) {
    /* Most a cache can hold: at most 256 blocks of each class and those whose reuse it delays. */
    size_t room = 0, bytes = 0;
    uint16_t counts[HFI_CLASS_COUNT];
    for (unsigned c = 1; c < HFI_CLASS_COUNT; c++)
        room += 256 + HFI_DELAY_SLOTS;
    void **batch = NULL;
    for (unsigned index = 0;; index++) {
        hfi_lock_acquire(&heap->caches_lock);
        struct hfi_tcache *tc = heap->caches;
        for (unsigned i = 0; i < index && tc != NULL; i++)
            tc = tc->next;
        if (tc == NULL) {
            hfi_lock_release(&heap->caches_lock);
            break;
        }
        struct hfi_pool *pools = tc->pools;
        if (batch == NULL) batch = hfi_meta_alloc(room * sizeof(void *));
        bool swept = batch != NULL && sweep_one(tc, batch, counts, more_out);
        hfi_lock_release(&heap->caches_lock);
        void **at = batch;
        for (unsigned c = 1; swept && c < HFI_CLASS_COUNT; c++) {
            if (counts[c] == 0) continue;
            bytes += (size_t)counts[c] * hfi_class_size[c];
            uint32_t kept = hfi_tcache_verify(heap, c, at, counts[c]);
            if (kept != 0) hfi_pool_give(&pools[c], at, kept);
            at += counts[c];
        }
    }
    hfi_meta_free(batch, room * sizeof(void *));
    return bytes;
}

void hfi_tcache_drop_slab(struct hfi_tcache *tc, const struct hfi_slab *slab, unsigned c) {
    if (tc == NULL || tc->cold[c].slots == NULL) return;
    hfi_tcache_enter(tc);
    (void)hfi_tcache_restore(tc);
    struct hfi_magazine *m = &tc->magazine[c];
    void **kept = tc->cold[c].slots + 1;
    for (void **slot = kept; slot < hfi_own_load(m->top); slot++)
        if (hfi_pagemap_owner(*slot) != &slab->owner) *kept++ = *slot;
    hfi_own_store(m->top, kept);
    for (unsigned i = 0; tc->delay != NULL && i < HFI_DELAY_SLOTS; i++) {
        void **place = &tc->delay[c].blocks[i];
        if (*place != NULL && hfi_pagemap_owner(*place) == &slab->owner)
            hfi_own_store(*place, NULL);
    }
    hfi_tcache_leave(tc);
}

uint32_t hfi_threads_lost;

void hfi_thread_fork_child(void) {
    struct hfi_thread *mine = hfi_thread_current;
    hfi_lock_acquire(&hfi_registry_lock);
    struct hfi_thread *thread = hfi_threads;
    hfi_lock_release(&hfi_registry_lock);
    if (mine != NULL) mine->id = hfi_os_thread_id();
    while (thread != NULL) {
        struct hfi_thread *next = thread->next;
        if (thread != mine) {
            /* The sweep was stopped before the fork, so a flag that is set means abandoned. */
            hfi_threads_lost++;
            hfi_thread_exit(thread);
        }
        thread = next;
    }
}

void hfi_tcache_sum(hf_heap *heap, uint64_t *cached_out, uint64_t *allocs_out,
                    uint64_t *misses_out) {
    hfi_lock_acquire(&heap->caches_lock);
    for (struct hfi_tcache *tc = heap->caches; tc != NULL; tc = tc->next) {
        for (unsigned c = 1; c < HFI_CLASS_COUNT; c++) {
            struct hfi_magazine *m = &tc->magazine[c];
            void **top = hfi_own_load(m->top);
            if (tc->sweeping == ABANDONED) top = top_restored(tc, m, &tc->withdrawn[c]);
            cached_out[c] += cached_now(tc, c, top);
            for (unsigned i = 0; tc->delay != NULL && i < HFI_DELAY_SLOTS; i++)
                cached_out[c] += hfi_own_load(tc->delay[c].blocks[i]) != NULL;
            allocs_out[c] += hfi_own_load(m->allocs);
            misses_out[c] += hfi_own_load(tc->cold[c].misses);
        }
    }
    hfi_lock_release(&heap->caches_lock);
}

/* The heap's caches are nobody's any more. False while a thread gives one back, at its end or because
 * it ran out of memory elsewhere. */
static bool take_from_threads(hf_heap *heap) {
    bool all = true;
    if (heap->index >= HFI_HEAPS_MAX) return true;
    hfi_lock_acquire(&hfi_registry_lock);
    for (struct hfi_thread *thread = hfi_threads; thread != NULL; thread = thread->next) {
        struct hfi_tcache *tc = thread->caches[heap->index];
        if (tc != NULL && tc->held && thread != hfi_thread_current)
            all = false;
        else
            hfi_poke(thread->caches[heap->index], NULL);
    }
    hfi_lock_release(&hfi_registry_lock);
    return all;
}

void hfi_tcache_forget_heap(hf_heap *heap) {
    static _Atomic uint32_t never;
    while (!take_from_threads(heap))
        (void)hfi_os_futex_wait(&never, 0, 50000);
    while (heap->caches != NULL) {
        struct hfi_tcache *tc = heap->caches;
        heap->caches = tc->next;
        for (unsigned c = 1; c < HFI_CLASS_COUNT; c++)
            hfi_meta_free(tc->cold[c].slots, tc->cold[c].capacity * sizeof(void *));
        hfi_meta_free(tc->withdrawn, sizeof tc->magazine);
        hfi_meta_free(tc->delay, HFI_CLASS_COUNT * sizeof *tc->delay);
        hfi_meta_free(tc, sizeof *tc);
    }
}
