/* tcache.h - what one thread keeps of one heap, and how it gets it.
 * Threads     a cache belongs to its thread; statistics read single words of it; the idle sweep
 *             (tcache_idle.c) withdraws magazines of sleeping threads.
 * Called by   malloc.c, heap.c. */
#ifndef HFI_TCACHE_H
#define HFI_TCACHE_H

#include "types.h"

/* Of the default heap: never NULL. Points at hfi_tcache_empty until the thread's first miss and
 * after its end; that one's magazines are empty and full at once, so every path turns slow. */
extern HFI_HIDDEN __thread struct hfi_tcache *hfi_tcache_current
    __attribute__((tls_model("initial-exec")));
extern HFI_HIDDEN __thread struct hfi_thread *hfi_thread_current
    __attribute__((tls_model("initial-exec")));
extern HFI_HIDDEN struct hfi_tcache hfi_tcache_empty;

void hfi_tcache_start(void);
/* The calling thread's cache of `heap`, made if need be; NULL if there can be none (the thread is
 * ending, memory is short, the heap is beyond HFI_HEAPS_MAX): then the pools are used directly. */
struct hfi_tcache *hfi_tcache_of(hf_heap *heap);

/* A free block of the class, from the pool if the magazine is empty; NULL if there is none. */
void *hfi_tcache_pop_slow(struct hfi_tcache *tc, unsigned class_index);
/* Takes a freed block whose magazine is full. */
void hfi_tcache_push_slow(struct hfi_tcache *tc, unsigned class_index, void *block);
/* The same without a cache. */
void *hfi_direct_pop(hf_heap *heap, unsigned class_index);
void hfi_direct_push(hf_heap *heap, unsigned class_index, void *block);

static inline void *hfi_tcache_pop(struct hfi_tcache *tc, unsigned class_index) {
    struct hfi_magazine *m = &tc->magazine[class_index];
    void **top = hfi_own_load(m->top);
    void *block = top[-1];
    if (hfi_unlikely(block == NULL)) return hfi_tcache_pop_slow(tc, class_index);
    hfi_own_store(m->top, top - 1);
    hfi_own_add(m->allocs, 1);
    return block;
}

static inline void hfi_tcache_push(struct hfi_tcache *tc, unsigned class_index, void *block) {
    struct hfi_magazine *m = &tc->magazine[class_index];
    void **top = hfi_own_load(m->top);
    if (hfi_unlikely(top >= hfi_own_load(m->limit))) {
        hfi_tcache_push_slow(tc, class_index, block);
        return;
    }
    *top = block;
    hfi_own_store(m->top, top + 1);
}

/* Slow paths call this first: if the idle sweep withdrew the magazines, waits for its verdict and
 * puts back what it left. True if anything changed. */
bool hfi_tcache_restore_slow(struct hfi_tcache *tc);
static inline bool hfi_tcache_restore(struct hfi_tcache *tc) {
    /* SYNC(tcache.sweeping): an empty magazine that the sweep made is seen together with its flag. */
    atomic_thread_fence(memory_order_acquire);
    if (hfi_likely(atomic_load_explicit(&tc->sweeping, memory_order_acquire) == 0)) return false;
    return hfi_tcache_restore_slow(tc);
}
/* Around every slow path: the sweep leaves a cache alone whose owner is in the middle of one, asleep
 * on a lock perhaps. SYNC(tcache.busy): the sweep raises `sweeping`, then makes a barrier on all
 * threads, then looks; so either it sees `busy` or the owner sees `sweeping`. */
static inline void hfi_tcache_enter(struct hfi_tcache *tc) {
    hfi_own_store(tc->busy, hfi_own_load(tc->busy) + 1);
    atomic_signal_fence(memory_order_seq_cst);
}
static inline void hfi_tcache_leave(struct hfi_tcache *tc) {
    atomic_signal_fence(memory_order_seq_cst);
    hfi_own_store(tc->busy, hfi_own_load(tc->busy) - 1);
}
/* The magazine that is empty and full at once. */
extern void *hfi_null_slots[2];
/* Looks at freed blocks before anybody else can have them; keeps the whole ones in front. */
uint32_t hfi_tcache_verify(hf_heap *heap, unsigned class_index, void **blocks, uint32_t count);

/* Everything back to the pools; the cache stays usable. */
void hfi_tcache_flush(struct hfi_tcache *tc);
/* The same for all heaps of the calling thread. */
void hfi_thread_flush_all(void);
/* The thread ends: flush, fold the counters, forget. */
void hfi_thread_exit(struct hfi_thread *thread);
/* Child of a fork: the other threads are gone, their caches are ours to flush. */
void hfi_thread_fork_child(void);
/* Some were in the middle of a malloc or free then: a block may be half sealed and stay so. */
extern uint32_t hfi_threads_lost;
/* Blocks of `heap` that threads hold, by class (cached_out[HFI_CLASS_COUNT]) and counters. */
void hfi_tcache_sum(hf_heap *heap, uint64_t *cached_out, uint64_t *allocs_out,
                    uint64_t *misses_out);
/* The heap dies: its caches in all threads go. */
void hfi_tcache_forget_heap(hf_heap *heap);
/* Withdraws what sleeping threads hold. Returns the bytes flushed; *more_out: some may follow. */
size_t hfi_tcache_sweep(hf_heap *heap, bool *more_out);
/* Drops blocks of a slab that went out of service from the calling thread's magazine. */
void hfi_tcache_drop_slab(struct hfi_tcache *tc, const struct hfi_slab *slab, unsigned class_index);

#endif
