/* plain_queue.h - the queue to compare with: sequence numbers in the slots, no owners, no repair.
 *
 *   claim: compare-and-swap of tail (head) --> copy --> publish: the slot's next sequence number
 *
 * Contract    as fast as the algorithm is; a process killed between claim and publish stops all others.
 * Bounds      size and count are the caller's; count is a power of two.
 * Talks to    nothing. Our own code, of the algorithm in Source.
 * Source      Vyukov's bounded queue for many producers and consumers, 1024cores.net. */
#ifndef PLAIN_QUEUE_H
#define PLAIN_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct plain_queue {
    uint64_t mask, stride, size;
    _Alignas(128) _Atomic uint64_t tail;
    _Alignas(128) _Atomic uint64_t head;
    _Alignas(128) char slots[];
};

struct plain_slot {
    _Atomic uint64_t turn;
    char data[];
};

static inline uint64_t plain_stride(uint64_t size) {
    uint64_t whole = 8 + size;
    for (uint64_t small = 16; small < 64; small *= 2)
        if (whole <= small) return small;
    return (whole + 63) & ~UINT64_C(63);
}
static inline uint64_t plain_bytes(uint64_t size, uint64_t count) {
    return sizeof(struct plain_queue) + plain_stride(size) * count;
}
static inline struct plain_slot *plain_at(struct plain_queue *queue, uint64_t position) {
    return (struct plain_slot *)(queue->slots + (position & queue->mask) * queue->stride);
}
static inline void plain_init(struct plain_queue *queue, uint64_t size, uint64_t count) {
    queue->mask = count - 1;
    queue->stride = plain_stride(size);
    queue->size = size;
    for (uint64_t i = 0; i < count; i++)
        plain_at(queue, i)->turn = i;
}
/* Small sizes in a few moves, as ours does. */
static inline void plain_copy(void *to, const void *from, uint64_t size) {
    if (size == 8)
        memcpy(to, from, 8);
    else if (size == 64)
        memcpy(to, from, 64);
    else
        memcpy(to, from, size);
}

__attribute__((noinline)) static bool plain_put(struct plain_queue *queue, const void *data) {
    uint64_t position = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    struct plain_slot *slot;
    for (;;) {
        slot = plain_at(queue, position);
        uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
        int64_t ahead = (int64_t)(turn - position);
        if (ahead < 0) return false;
        if (ahead > 0)
            position = atomic_load_explicit(&queue->tail, memory_order_relaxed);
        else if (atomic_compare_exchange_weak_explicit(&queue->tail, &position, position + 1,
                                                       memory_order_relaxed, memory_order_relaxed))
            break;
    }
    plain_copy(slot->data, data, queue->size);
    atomic_store_explicit(&slot->turn, position + 1, memory_order_release);
    return true;
}

__attribute__((noinline)) static bool plain_get(struct plain_queue *queue, void *data) {
    uint64_t position = atomic_load_explicit(&queue->head, memory_order_relaxed);
    struct plain_slot *slot;
    for (;;) {
        slot = plain_at(queue, position);
        uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
        int64_t ahead = (int64_t)(turn - (position + 1));
        if (ahead < 0) return false;
        if (ahead > 0)
            position = atomic_load_explicit(&queue->head, memory_order_relaxed);
        else if (atomic_compare_exchange_weak_explicit(&queue->head, &position, position + 1,
                                                       memory_order_relaxed, memory_order_relaxed))
            break;
    }
    plain_copy(data, slot->data, queue->size);
    atomic_store_explicit(&slot->turn, position + queue->mask + 1, memory_order_release);
    return true;
}

#endif
