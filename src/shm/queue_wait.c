/* queue_wait.c - what happens when a queue is full or empty: spin, sleep, and look who is in the way.
 *
 *   blocked --spin 20 us--> flag up, look again --> owner dead? recover --> sleep --> look again ...
 *
 * Contract    ends by its deadline; without one (timeout 0) after two tries. A death is noticed before
 *             each sleep, and after 50 ms at most if it happens during one.
 * Invariants  the waiters' flag is up before the last look, so that a change after the look is signalled.
 * Talks to    segment.h, queue_claim.h.   Called by queue_put.c, queue_get.c, queue_in_place.c.
 * Source      waiting on a turn with a flag: Linux futex(2); death by the kernel's word, never by time. */
#include "queue_claim.h"

hf_status queue_damaged(void) {
    return hfi_shm_say(HF_E_CORRUPT,
                       "a slot or a position of the queue makes no sense: hf_shm_check tells more, "
                       "hf_shm_repair puts right what can be");
}

static bool is_blocked(hf_status status) {
    return status == HF_E_FULL || status == HF_E_EMPTY;
}

/* True if something in the way was put aside. */
static bool unblock(hf_shm_queue *queue, bool writing, uint64_t blocker) {
    const struct queue_shape *shape = &queue->shape;
    hf_shm *shm = queue->part.shm;
    uint32_t owner = queue_owner_of(blocker), self = hfi_shm_self(shm);
    if (owner != 0 && owner != self && hfi_shm_dead(shm, owner)) {
        hfi_shm_recover(shm, owner);
        return true;
    }
    if (writing && queue_phase_of(blocker) == QUEUE_SKIP) {
        struct queue_claim claim = {.position = hfi_shm_load64(&shape->header->head)};
        (void)queue_claim_read(shape, self, QUEUE_LOOK, UINT64_MAX, &claim);
        return true;
    }
    if (!writing && shape->redeliver) { /* what a dead one had in hand is the next item */
        size_t recovered = 0;
        return hf_shm_sweep(shm, &recovered) == HF_OK && recovered > 0;
    }
    return false;
}

/* For one who polls: asks after 200 us on the same word. Its clock is read at the 8th look at that word,
 * the 16th and so on: a put in progress is seen a few times by one who polls closely. */
static bool unblock_poller(hf_shm_queue *queue, bool writing, uint64_t blocker) {
    if (writing && queue_phase_of(blocker) == QUEUE_SKIP) return unblock(queue, writing, blocker);
    if (queue_owner_of(blocker) == 0 && (writing || !queue->shape.redeliver)) return false;
    uint32_t self = hfi_shm_self(queue->part.shm);
    /* SYNC(queue.asking). Another number is that of a thread that did not come along in a fork. */
    uint32_t asking = atomic_load_explicit(&queue->asking, memory_order_relaxed);
    if (asking == self ||
        !atomic_compare_exchange_strong_explicit(&queue->asking, &asking, self,
                                                 memory_order_acquire, memory_order_relaxed))
        return false;
    if (blocker != queue->looked_at) queue->looks = 0;
    queue->looked_at = blocker;
    uint64_t looks = ++queue->looks;
    /* Tests of every order must repeat themselves: there time plays no part. */
    bool asks = HFI_SHM_STEPS || (looks >= 8 && (looks & (looks - 1)) == 0 &&
                                  hfi_shm_patience(&queue->patience, blocker));
    atomic_store_explicit(&queue->asking, 0, memory_order_release); /* SYNC(queue.asking) */
    return asks && unblock(queue, writing, blocker);
}

static hf_status woken(void) {
    return hfi_shm_say(HF_E_CANCELLED, "hf_shm_queue_wake ended the wait");
}

/* A change that was made before the flag was seen is on its way out of its processor, which takes
 * less than this. Wakers need no fence between change and look then; the slice bounds the rest. */
static void linger(void) {
    struct hfi_shm_spin spin = {0};
    for (unsigned i = 0; i < 4; i++)
        (void)hfi_shm_spin(&spin);
}

hf_status queue_wait(hf_shm_queue *queue, bool writing, uint64_t timeout_ns, uint64_t blocker,
                     queue_attempt attempt, void *context) {
    struct queue_header *header = queue->shape.header;
    hf_status status = writing ? HF_E_FULL : HF_E_EMPTY;
    if (timeout_ns == 0)
        return unblock_poller(queue, writing, blocker) ? attempt(queue, context, &blocker) : status;
    struct hfi_shm_event *event = writing ? &header->emptied : &header->filled;
    uint64_t deadline = hfi_shm_deadline(timeout_ns);
    uint32_t wakes = hfi_shm_load32(&header->wakes);
    struct hfi_shm_spin spin = {0};
    for (;;) {
        while (hfi_shm_spin(&spin))
            if (!is_blocked(status = attempt(queue, context, &blocker))) return status;
        uint32_t turn = hfi_shm_event_turn(event); /* the flag is up, then the look */
        if (!is_blocked(status = attempt(queue, context, &blocker))) return status;
        if (unblock(queue, writing, blocker) &&
            !is_blocked(status = attempt(queue, context, &blocker)))
            return status;
        if (hfi_shm_load32(&header->wakes) != wakes) return woken();
        linger();
        if (!is_blocked(status = attempt(queue, context, &blocker))) return status;
        hfi_shm_add64(&header->waits, 1);
        bool late = hfi_shm_wait(event, turn, deadline) == HF_E_TIMEOUT;
        if (!is_blocked(status = attempt(queue, context, &blocker))) return status;
        if (hfi_shm_load32(&header->wakes) != wakes) return woken();
        if (late)
            return hfi_shm_say(HF_E_TIMEOUT,
                               writing ? "the queue stayed full" : "the queue stayed empty");
    }
}
