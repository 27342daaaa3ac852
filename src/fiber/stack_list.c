/* stack_list.c - free stacks at rest: warm ones in the order they were given, cold ones below.
 *
 *   give --> head [ warm ... ] tail --(idle for decay_ns)--> purged in runs --> [ cold ]
 * Contract    stack_pool.h.
 * Threads     pool->lock; the purge itself runs without it, on stacks that are on no list.
 * Fails with  NULL from pop when there is none, or when the process's limit refuses a cold one.
 * Why         LIFO: the stack that was used last is the one whose pages are there and in the cache. */
#include <stdlib.h>

#include "base/hooks.h"
#include "fiber/stack_pool.h"

/* 2 KiB of indices and ranges together, as whoever gives or trims may stand on a small stack. */
enum { TRIM_BATCH = 256, RUNS_AT_ONCE = 64 };

uint32_t hfi_stack_now_ms(void) {
    return (uint32_t)(hfi_os_clock_ns() / 1000000u);
}

void hfi_stack_push_warm(hf_stack_pool *pool, struct hfi_stack_slot *slot, uint32_t now_ms) {
    int32_t index = (int32_t)slot->index;
    slot->freed_ms = now_ms;
    slot->prev = HFI_STACK_NONE;
    slot->next = pool->warm.head;
    if (pool->warm.head >= 0)
        hfi_stack_slot_at(pool, pool->warm.head)->prev = index;
    else
        pool->warm.tail = index;
    pool->warm.head = index;
    pool->warm.count++;
}

void hfi_stack_push_cold(hf_stack_pool *pool, struct hfi_stack_slot *slot) {
    slot->next = pool->cold.head;
    pool->cold.head = (int32_t)slot->index;
    pool->cold.count++;
}

static void note_peak(hf_stack_pool *pool) HF_REQUIRES(pool->lock) {
    uint64_t warm = atomic_load_explicit(&pool->created, memory_order_relaxed) - pool->cold.count;
    if (warm * pool->stack_size > pool->peak) pool->peak = warm * pool->stack_size;
}

struct hfi_stack_slot *hfi_stack_pop(hf_stack_pool *pool, bool *refused_out) {
    *refused_out = false;
    if (pool->warm.count > 0) {
        struct hfi_stack_slot *slot = hfi_stack_slot_at(pool, pool->warm.head);
        pool->warm.head = slot->next;
        if (slot->next >= 0)
            hfi_stack_slot_at(pool, slot->next)->prev = HFI_STACK_NONE;
        else
            pool->warm.tail = HFI_STACK_NONE;
        pool->warm.count--;
        return slot;
    }
    if (pool->cold.count == 0) return NULL;
    if (!hfi_external_charge(pool->stack_size)) {
        *refused_out = true;
        return NULL;
    }
    struct hfi_stack_slot *slot = hfi_stack_slot_at(pool, pool->cold.head);
    pool->cold.head = slot->next;
    pool->cold.count--;
    note_peak(pool);
    return slot;
}

/* Takes up to TRIM_BATCH stacks from the old end of warm. */
static uint32_t detach_idle(hf_stack_pool *pool, bool all, int32_t *indices)
    HF_REQUIRES(pool->lock) {
    uint32_t now = hfi_stack_now_ms(), count = 0;
    uint64_t decay_ms = pool->decay_ns / 1000000u;
    while (count < TRIM_BATCH && pool->warm.count > (all ? 0 : pool->retain)) {
        struct hfi_stack_slot *slot = hfi_stack_slot_at(pool, pool->warm.tail);
        if (!all && now - slot->freed_ms < decay_ms) break;
        indices[count++] = pool->warm.tail;
        /* relaxed: under the lock. Not when it is purged: the child of a fork finds it half purged. */
        atomic_store_explicit(&slot->flags, 0, memory_order_relaxed);
        pool->warm.tail = slot->prev;
        if (slot->prev >= 0)
            hfi_stack_slot_at(pool, slot->prev)->next = HFI_STACK_NONE;
        else
            pool->warm.head = HFI_STACK_NONE;
        pool->warm.count--;
    }
    pool->moving += count;
    return count;
}

static int by_index(const void *left, const void *right) {
    int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
    return (a > b) - (a < b);
}

/* Heap sort in place: qsort may allocate. */
static void sort_indices(int32_t *at, uint32_t count) {
    for (uint32_t start = count / 2, end = count; end > 1;) {
        if (start > 0) {
            start--;
        } else {
            end--;
            int32_t last = at[end];
            at[end] = at[0];
            at[0] = last;
        }
        for (uint32_t root = start; 2 * root + 1 < end;) {
            uint32_t child = 2 * root + 1;
            if (child + 1 < end && by_index(&at[child], &at[child + 1]) < 0) child++;
            if (by_index(&at[root], &at[child]) >= 0) break;
            int32_t swap = at[root];
            at[root] = at[child];
            at[child] = swap;
            root = child;
        }
    }
}

static void purge(const hf_stack_pool *pool, const struct hfi_os_range *runs, unsigned count) {
    if (!pool->valgrind && hfi_os_purge_many(runs, count)) return;
    /* Locked memory: one by one, which fills with zeros, and never touches a guard. */
    for (unsigned i = 0; i < count; i++)
        for (size_t at = 0; at < runs[i].size; at += pool->stride)
            hfi_os_purge((char *)runs[i].address + at, pool->stack_size);
}

/* Neighbours go in one range: a purge leaves the guard between them as it is. */
static void purge_runs(const hf_stack_pool *pool, const int32_t *indices, uint32_t count) {
    struct hfi_os_range runs[RUNS_AT_ONCE];
    unsigned runs_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        char *low = hfi_stack_low(pool, hfi_stack_slot_at(pool, indices[i]));
        struct hfi_os_range *last = runs_count > 0 ? &runs[runs_count - 1] : NULL;
        if (last != NULL && (char *)last->address + last->size + pool->guard_size == low) {
            last->size += pool->stride;
            continue;
        }
        if (runs_count == RUNS_AT_ONCE) {
            purge(pool, runs, runs_count);
            runs_count = 0;
        }
        runs[runs_count++] = (struct hfi_os_range){low, pool->stack_size};
    }
    purge(pool, runs, runs_count);
}

static uint32_t trim_batch(hf_stack_pool *pool, bool all) {
    int32_t indices[TRIM_BATCH];
    hfi_lock_acquire(&pool->lock);
    uint32_t count = detach_idle(pool, all, indices);
    hfi_lock_release(&pool->lock);
    if (count == 0) return 0;
    sort_indices(indices, count);
    purge_runs(pool, indices, count);
    hfi_lock_acquire(&pool->lock);
    /* Downwards, so that the lowest comes out first: what is used stays together. */
    for (uint32_t i = count; i-- > 0;) {
        struct hfi_stack_slot *slot = hfi_stack_slot_at(pool, indices[i]);
        hfi_stack_push_cold(pool, slot);
    }
    pool->moving -= count;
    pool->purges++;
    pool->returned += count * pool->stack_size;
    hfi_lock_release(&pool->lock);
    hfi_external_discharge(count * pool->stack_size);
    return count;
}

size_t hfi_stack_trim(hf_stack_pool *pool, bool all, uint32_t at_most) {
    uint32_t trimmed = 0, more;
    while (trimmed < at_most && (more = trim_batch(pool, all)) > 0)
        trimmed += more;
    return trimmed * pool->stack_size;
}
