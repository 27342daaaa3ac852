/* ring_write.c - the writer's side of a ring: claim, make room, announce, copy, commit.
 *
 *   intent = next + n | fence | copy n elements | commit = next + n | wake
 *
 * Invariants  intent never goes back: after a dead writer it stays where that one had announced to
 *             write until commit has passed it, so that readers never take what it tore.
 * Room        (reliable) intent <= limit: what the scan of the readers allowed. Before a scan looks at
 *             the readers it publishes how far it may allow; a reader that the scan missed sees that
 *             after its own fence, and begins where nothing can be overwritten. The scan goes at most
 *             an eighth of the ring ahead, so that late readers find the rest.
 * Dead reader the kernel is asked about the one that blocks a full ring at once, then every 200 us while
 *             the writer spins and each time it looks again.
 * Talks to    ring.h.   Called by the program.
 * Threads     one at a time per handle.
 * Fails with  HF_E_BUSY (another writes), HF_E_FULL, HF_E_TIMEOUT, HF_E_INVALID, HF_E_CORRUPT. */
#include "os/os.h"
#include "ring.h"

#define AHEAD         8      /* a scan allows up to an eighth of the ring */
#define ASK_EVERY_NS  200000 /* whether the slowest reader is dead         */
#define LOOK_AGAIN_NS 500000 /* at least, while it waits for that reader   */

/* A writer takes over where the last one stopped. */
static hf_status writer_adopt(hf_shm_ring *ring) {
    uint64_t commit = hfi_shm_load64(&ring->shared->commit);
    uint64_t intent = hfi_shm_load64(&ring->shared->intent);
    if (commit > UINT64_MAX / 4)
        return hfi_shm_say(HF_E_CORRUPT, "the ring says that 2^62 elements were written; erase it");
    if (intent < commit || intent - commit > ring->capacity) {
        /* Somebody wrote nonsense: nothing that was there before counts. */
        intent = commit + ring->capacity;
        hfi_shm_store64(&ring->shared->intent, intent);
    }
    ring->next = commit;
    ring->intent = HFI_SHM_MUTANT(602) ? commit : intent;
    ring->limit = commit;
    ring->reserved = 0;
    ring->asked_ns = 0;
    return HF_OK;
}

hf_status hf_shm_ring_claim(hf_shm_ring *ring) {
    if (ring == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_claim: no ring");
    if (hfi_lease_mine(ring->part.shm, ring->lease)) return HF_OK;
    ring->lease = 0;
    uint64_t lease;
    hf_status status = hfi_lease_claim(ring->part.shm, &ring->shared->lease, "ring", &lease);
    if (status != HF_OK) return status;
    status = writer_adopt(ring);
    if (status != HF_OK)
        hfi_lease_release(&ring->shared->lease, lease);
    else
        ring->lease = lease;
    return status;
}

hf_status hf_shm_ring_release(hf_shm_ring *ring) {
    if (ring == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_release: no ring");
    if (!hfi_lease_mine(ring->part.shm, ring->lease)) return HF_OK;
    if (ring->reserved != 0)
        return hfi_shm_say(
            HF_E_BUSY, "hf_shm_ring_release: %llu elements are reserved; commit or give them up",
            (unsigned long long)ring->reserved);
    hfi_lease_release(&ring->shared->lease, ring->lease);
    ring->lease = 0;
    return HF_OK;
}

/* Asks the kernel about the reader that blocks; true if its place was freed. */
static bool drop_if_dead(hf_shm_ring *ring, struct hfi_ring_reader *place, uint64_t word) {
    uint64_t now = hfi_os_clock_ns();
    /* Interleavings repeat themselves: no time in them. */
    if (!HFI_SHM_STEPS && now - ring->asked_ns < ASK_EVERY_NS) return false;
    ring->asked_ns = now;
    if (HFI_SHM_MUTANT(604) || !hfi_shm_dead(ring->part.shm, hfi_lease_owner(word))) return false;
    if (!hfi_ring_reader_free(ring, place, word)) return true; /* somebody else did */
    hfi_shm_add64(&ring->shared->recovered, 1);
    ring->asked_ns = 0;
    return true;
}

/* Looks how far the readers allow `count` elements to go; *slowest_out is who allows least. */
static uint64_t scan_readers(hf_shm_ring *ring, uint64_t count,
                             struct hfi_ring_reader **slowest_out, uint64_t *word_out) {
    uint64_t ahead = ring->capacity / AHEAD;
    if (ahead < count) ahead = count;
    uint64_t tentative = ring->next + hfi_ring_min(ahead, ring->capacity), limit = tentative;
    if (hfi_shm_load64(&ring->shared->limit) < limit && !HFI_SHM_MUTANT(606))
        hfi_shm_store64(&ring->shared->limit, limit);
    /* SYNC(ring.join): with the fence of reader_join one of the two sees the other. */
    hfi_shm_fence();
    *slowest_out = NULL;
    for (uint32_t i = 0; i < ring->readers_max; i++) {
        struct hfi_ring_reader *place = &ring->shared->readers[i];
        uint64_t word = hfi_shm_load64(&place->word);
        if (HFI_READER_STATE(word) != HFI_READER_RELIABLE || hfi_lease_owner(word) == 0) continue;
        uint64_t cursor = hfi_shm_load64(&place->cursor);
        if (cursor >= ring->next) continue; /* it has read all */
        /* A cursor of garbage far behind allows nothing, and does not wrap around. */
        uint64_t lag = ring->next - cursor;
        uint64_t allowed = lag >= ring->capacity ? ring->next : cursor + ring->capacity;
        if (allowed >= limit) continue;
        limit = allowed;
        *slowest_out = place;
        *word_out = word;
    }
    /* Who joins from now on finds more, for nothing beyond this is used. */
    if (limit < tentative)
        hfi_shm_store64(&ring->shared->limit, limit > ring->intent ? limit : ring->intent);
    return limit;
}

/* Nobody wakes a writer when a reader dies, so it looks again soon: after a sixteenth of the time it
 * has waited, at least half a millisecond. */
static hf_status writer_sleep(hf_shm_ring *ring, uint32_t turn, uint64_t started,
                              uint64_t deadline) {
    uint64_t now = hfi_os_clock_ns(), slice = (now - started) / 16;
    if (slice < LOOK_AGAIN_NS) slice = LOOK_AGAIN_NS;
    if (now >= deadline) return HF_E_TIMEOUT;
    uint64_t until = deadline - now > slice ? now + slice : deadline;
    (void)hfi_shm_wait(&ring->shared->freed, turn, until);
    return HF_OK;
}

/* How many of `count` elements may be written now, waiting for at least one. */
static hf_status writer_room(hf_shm_ring *ring, uint64_t count, uint64_t timeout_ns,
                             uint64_t *room_out) {
    uint64_t deadline = 0, started = 0;
    uint32_t turn = 0, dropped = 0;
    bool armed = false;
    struct hfi_shm_spin spin = {0};
    for (;;) {
        struct hfi_ring_reader *slowest = NULL;
        uint64_t word = 0;
        if (ring->limit - ring->next < count)
            ring->limit = scan_readers(ring, count, &slowest, &word);
        uint64_t room = ring->limit - ring->next;
        if (room != 0) {
            *room_out = hfi_ring_min(room, count);
            return HF_OK;
        }
        if (slowest != NULL && dropped <= ring->readers_max && drop_if_dead(ring, slowest, word)) {
            dropped++;
            continue;
        }
        if (timeout_ns == 0)
            return hfi_shm_say(HF_E_FULL, "the ring is full: a reader did not keep up");
        if (deadline == 0) {
            deadline = hfi_shm_deadline(timeout_ns);
            started = hfi_os_clock_ns();
        }
        if (!armed) {
            if (!HFI_SHM_STEPS && hfi_shm_spin(&spin)) continue;
            turn = hfi_shm_event_turn(&ring->shared->freed);
            armed = true; /* one more look, now that readers wake this one */
            continue;
        }
        if (writer_sleep(ring, turn, started, deadline) == HF_E_TIMEOUT)
            return hfi_shm_say(HF_E_TIMEOUT,
                               "the ring of %llu elements stayed full: a living reader did not "
                               "keep up",
                               (unsigned long long)ring->capacity);
        armed = false;
        dropped = 0; /* the bound is on what is dropped between two looks at the clock */
    }
}

/* Announces that everything before next + count may be overwritten from now on. */
static inline void writer_announce(hf_shm_ring *ring, uint64_t count) {
    if (ring->next + count > ring->intent) {
        ring->intent = ring->next + count;
        if (!HFI_SHM_MUTANT(601)) hfi_shm_store64(&ring->shared->intent, ring->intent);
    }
    hfi_shm_intent_fence();
}

static inline void writer_publish(hf_shm_ring *ring, uint64_t count) {
    ring->next += count;
    /* SYNC(ring.commit): publishes the elements; pairs with the loads of commit by readers. */
    hfi_shm_store64(&ring->shared->commit, ring->next);
    hfi_shm_signal(&ring->shared->filled, INT32_MAX);
}

static inline hf_status writer_ready(hf_shm_ring *ring) {
    if (!hfi_lease_mine(ring->part.shm, ring->lease)) {
        hf_status status = hf_shm_ring_claim(ring);
        if (status != HF_OK) return status;
    }
    if (ring->reserved != 0)
        return hfi_shm_say(HF_E_BUSY, "%llu elements of the ring are reserved; commit them first",
                           (unsigned long long)ring->reserved);
    return HF_OK;
}

static void writer_copy(hf_shm_ring *ring, const char *from, uint64_t count) {
    uint64_t tail = ring->capacity - hfi_ring_slot(ring, ring->next);
    uint64_t first = hfi_ring_min(count, tail);
    hfi_shm_copy_in(hfi_ring_at(ring, ring->next), from, first * ring->element_size);
    if (count > first)
        hfi_shm_copy_in(ring->elements, from + first * ring->element_size,
                        (count - first) * ring->element_size);
}

hf_status hf_shm_ring_push(hf_shm_ring *ring, const void *element, uint64_t timeout_ns) {
    if (ring == NULL || element == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_push: ring and element are needed");
    hf_status status = writer_ready(ring);
    if (status != HF_OK) return status;
    if (ring->reliable && ring->limit == ring->next) {
        uint64_t room;
        status = writer_room(ring, 1, timeout_ns, &room);
        if (status != HF_OK) return status;
    }
    writer_announce(ring, 1);
    hfi_shm_copy_in(hfi_ring_at(ring, ring->next), element, ring->element_size);
    writer_publish(ring, 1);
    return HF_OK;
}

hf_status hf_shm_ring_push_bulk(hf_shm_ring *ring, const void *elements, uint64_t count,
                                uint64_t timeout_ns, uint64_t *pushed_out) {
    if (ring == NULL || elements == NULL || count == 0)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_push_bulk: ring, elements and a count are needed");
    hf_status status = writer_ready(ring);
    uint64_t pushed = 0;
    const char *from = elements;
    uint64_t deadline = 0;
    bool timed = ring->reliable && timeout_ns != 0 && timeout_ns != HF_FOREVER;
    if (timed) deadline = hfi_os_clock_ns() + hfi_ring_min(timeout_ns, UINT64_MAX / 4);
    while (status == HF_OK && pushed < count) {
        uint64_t part = hfi_ring_min(count - pushed, ring->capacity);
        if (ring->reliable) {
            uint64_t left = timeout_ns;
            if (timed) {
                uint64_t now = hfi_os_clock_ns();
                left = now < deadline ? deadline - now : 1;
            }
            status = writer_room(ring, part, left, &part);
            if (status != HF_OK) break;
        }
        writer_announce(ring, part);
        writer_copy(ring, from, part);
        writer_publish(ring, part);
        from += part * ring->element_size;
        pushed += part;
    }
    if (pushed_out != NULL) *pushed_out = pushed;
    return status;
}

hf_status hf_shm_ring_reserve(hf_shm_ring *ring, uint64_t count, uint64_t timeout_ns,
                              void **run_out, uint64_t *count_out) {
    if (ring == NULL || run_out == NULL || count_out == NULL || count == 0)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_reserve: ring, a count, run_out and count_out are needed");
    hf_status status = writer_ready(ring);
    if (status != HF_OK) return status;
    uint64_t run = hfi_ring_min(count, ring->capacity - hfi_ring_slot(ring, ring->next));
    if (ring->reliable) {
        status = writer_room(ring, run, timeout_ns, &run);
        if (status != HF_OK) return status;
    }
    writer_announce(ring, run);
    ring->reserved = run;
    *run_out = hfi_ring_at(ring, ring->next);
    *count_out = run;
    return HF_OK;
}

hf_status hf_shm_ring_commit(hf_shm_ring *ring, uint64_t count) {
    if (ring == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_commit: no ring");
    if (!hfi_lease_mine(ring->part.shm, ring->lease))
        return hfi_shm_say(HF_E_STALE, "hf_shm_ring_commit: nothing is reserved by this process; a "
                                       "reservation does not pass to the child of a fork");
    if (count > ring->reserved)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_commit: %llu elements of %llu reserved ones",
                           (unsigned long long)count, (unsigned long long)ring->reserved);
    ring->reserved = 0;
    if (count != 0) writer_publish(ring, count);
    return HF_OK;
}
