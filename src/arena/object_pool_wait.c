/* object_pool_wait.c - who waits for a block, and how a released one reaches them.
 *
 *   first -> oldest -> ... -> last      a released block is handed to the oldest, LIVE as it is
 *
 * Invariants  of those who wait only the oldest holds blocks; while somebody waits, no block is free or
 *             cached that the queue has not been offered.
 * Threads     the queue is under the pool's lock; a waiter sleeps on its own word.
 *             No wake-up is lost: a waiter adds itself to `waiting` and then looks at every state; who
 *             releases changes a state and then looks at `waiting`. All four are sequentially
 *             consistent, so one of the two sees the other.
 * Fails with  HF_E_TIMEOUT; what was handed over by then goes back.
 * Source      futexes: Franke, Russell, Kirkwood 2002. */
#include "arena/object_pool.h"

static void hand_over(hf_pool *pool, uint32_t index) HF_REQUIRES(pool->lock) {
    struct hfi_object_waiter *waiter = pool->first;
    waiter->blocks[waiter->got++] = hfi_object_block(pool, index);
    if (waiter->got < waiter->wanted) return;
    pool->first = waiter->next;
    if (pool->first == NULL) pool->last = NULL;
    atomic_fetch_sub_explicit(&pool->waiting, 1, memory_order_seq_cst);
    /* SYNC(waiter.done): publishes its blocks; pairs with the acquire in hfi_objects_wait. From here
     * on the waiter may be gone: only the address of its word is used. */
    _Atomic uint32_t *done = &waiter->done;
    atomic_store_explicit(done, 1, memory_order_release);
    hfi_os_futex_wake(done, 1);
}

void hfi_objects_serve(hf_pool *pool) {
    while (pool->first != NULL) {
        uint32_t index, none = 0;
        hf_status why = HF_OK;
        if (hfi_objects_take(pool, &index, 1, HFI_OBJECT_LIVE, &why) == 0 &&
            !hfi_objects_take_back(pool, &index, NULL, &none))
            return;
        hand_over(pool, index);
    }
}

static void leave(hf_pool *pool, struct hfi_object_waiter *leaver) HF_REQUIRES(pool->lock) {
    struct hfi_object_waiter **at = &pool->first, *before = NULL;
    while (*at != leaver) {
        before = *at;
        at = &before->next;
    }
    *at = leaver->next;
    if (pool->last == leaver) pool->last = before;
    atomic_fetch_sub_explicit(&pool->waiting, 1, memory_order_seq_cst);
}

/* Sleeps until it is done or the time is over; true if it is done. */
static bool sleep_until(struct hfi_object_waiter *waiter, uint64_t deadline) {
    /* SYNC(waiter.done): pairs with the release in hand_over. */
    while (atomic_load_explicit(&waiter->done, memory_order_acquire) == 0) {
        uint64_t now = hfi_os_clock_ns();
        if (deadline != UINT64_MAX && now >= deadline) return false;
        (void)hfi_os_futex_wait(&waiter->done, 0, deadline == UINT64_MAX ? 0 : deadline - now);
    }
    return true;
}

hf_status hfi_objects_wait(hf_pool *pool, void **blocks, size_t got, size_t wanted,
                           uint64_t wait_ns) {
    /* Only the oldest may hold what is not enough: two that do could wait for each other. */
    while (pool->first != NULL && got > 0)
        hfi_objects_drop(pool, blocks[--got]);
    struct hfi_object_waiter waiter = {.blocks = blocks, .wanted = wanted, .got = got};
    uint64_t start = hfi_os_clock_ns(), deadline = UINT64_MAX;
    if (wait_ns != UINT64_MAX && wait_ns < UINT64_MAX - start) deadline = start + wait_ns;
    *(pool->last != NULL ? &pool->last->next : &pool->first) = &waiter;
    pool->last = &waiter;
    atomic_fetch_add_explicit(&pool->waiting, 1, memory_order_seq_cst);
    hfi_objects_serve(pool);
    if (atomic_load_explicit(&waiter.done, memory_order_acquire) != 0) {
        hfi_lock_release(&pool->lock);
        return HF_OK;
    }
    pool->waits++;
    hfi_lock_release(&pool->lock);
    bool done = sleep_until(&waiter, deadline);
    hfi_lock_acquire(&pool->lock);
    pool->wait_ns_sum += hfi_os_clock_ns() - start;
    done = done || atomic_load_explicit(&waiter.done, memory_order_acquire) != 0;
    if (!done) {
        pool->timeouts++;
        leave(pool, &waiter);
        /* What it had goes to the next in the queue, who could not have it before. */
        for (size_t i = 0; i < waiter.got; i++)
            hfi_objects_drop(pool, blocks[i]);
        hfi_objects_serve(pool);
    }
    hfi_lock_release(&pool->lock);
    return done ? HF_OK : HF_E_TIMEOUT;
}
