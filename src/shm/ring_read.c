/* ring_read.c - the readers' side of a ring: copy, then look whether it was overwritten meanwhile.
 *
 *   c = commit | copy [cursor, ..c) | fence | i = intent | what lies before i - capacity is no good
 *
 * Invariants  received + lost = positions the cursor went past (a seek apart), whatever happens.
 *             Elements that are torn are counted as lost, and not one more: the rest of the same copy
 *             is kept. A reader that is lapped again and again goes further ahead each time.
 * Talks to    ring.h.   Called by the program. Joining and leaving: ring_reader.c.
 * Threads     one at a time per handle.
 * Fails with  HF_E_EMPTY, HF_E_TIMEOUT, HF_E_BUSY, HF_E_STALE, HF_E_CORRUPT, HF_E_INVALID. */
#include "ring_reader.h"

#include "os/os.h"

uint64_t hfi_ring_copy(const hf_shm_ring *ring, uint64_t first, uint64_t count, void *out) {
    uint64_t tail = ring->capacity - hfi_ring_slot(ring, first);
    uint64_t run = hfi_ring_min(count, tail);
    hfi_shm_copy_out(out, hfi_ring_at(ring, first), run * ring->element_size);
    if (count > run)
        hfi_shm_copy_out((char *)out + run * ring->element_size, ring->elements,
                         (count - run) * ring->element_size);
    hfi_shm_valid_fence();
    uint64_t oldest = hfi_ring_oldest(ring, hfi_shm_load64(&ring->shared->intent));
    return oldest > first && !HFI_SHM_MUTANT(603) ? hfi_ring_min(oldest - first, count) : 0;
}

/* Drops the first `gone` of `count` elements; returns how many are left. */
static uint64_t shift_out(const hf_shm_ring *ring, void *out, uint64_t gone, uint64_t count) {
    if (gone == 0) return count;
    if (gone < count)
        memmove(out, (char *)out + gone * ring->element_size, (count - gone) * ring->element_size);
    return count - gone;
}

/* Why no attempt succeeded: nonsense in the positions, or a writer that is faster than any copy. */
static hf_status lapped(const hf_shm_ring *ring) {
    uint64_t intent = hfi_shm_load64(&ring->shared->intent);
    uint64_t commit = hfi_shm_load64(&ring->shared->commit);
    if (intent > commit && intent - commit > ring->capacity)
        return hfi_shm_say(
            HF_E_CORRUPT,
            "the ring is damaged: its writer is at %llu and announces %llu; repair it",
            (unsigned long long)commit, (unsigned long long)intent);
    return hfi_shm_say(HF_E_BUSY,
                       "the writer goes round the ring of %llu elements faster than one can be "
                       "copied; make the ring larger",
                       (unsigned long long)ring->capacity);
}

static hf_status behind(const hf_shm_ring_reader *reader, uint64_t commit) {
    return hfi_shm_say(HF_E_CORRUPT,
                       "the ring is damaged: this reader is at %llu, and only %llu were written",
                       (unsigned long long)reader->cursor, (unsigned long long)commit);
}

/* Goes past what cannot be read any more; with each further attempt further, so that a copy fits
 * before the writer comes round. */
static void leave_the_writer(hf_shm_ring_reader *reader, uint64_t commit, unsigned attempt) {
    hf_shm_ring *ring = reader->ring;
    if (attempt == 0 && commit - reader->cursor <= ring->capacity) return;
    uint64_t oldest = hfi_ring_oldest(ring, hfi_shm_load64(&ring->shared->intent));
    if (oldest > commit) oldest = commit; /* it went on since commit was read */
    uint64_t to = oldest + (commit - oldest) / 8 * (attempt < 7 ? attempt : 7);
    if (attempt >= 7 && commit - oldest < 8 && commit > oldest) to = commit - 1;
    if (to <= reader->cursor) return;
    if (!HFI_SHM_MUTANT(607)) reader->lost += to - reader->cursor;
    reader->cursor = to;
}

/* Copies what is there, up to `count`; goes past it if `move`. Adds to *lost_out. */
static hf_status reader_fetch(hf_shm_ring_reader *reader, void *out, uint64_t count, bool move,
                              uint64_t *got_out) {
    hf_shm_ring *ring = reader->ring;
    uint64_t before = reader->cursor;
    for (unsigned attempt = 0; attempt < HFI_RING_TRIES; attempt++) {
        /* SYNC(ring.commit): the elements before it are there. */
        uint64_t commit = hfi_shm_load64(&ring->shared->commit);
        if (commit < reader->cursor) return behind(reader, commit);
        leave_the_writer(reader, commit, attempt);
        uint64_t ready = hfi_ring_min(commit - reader->cursor, ring->capacity);
        if (ready == 0) {
            if (hfi_shm_load64(&ring->shared->commit) != commit) continue; /* it went round */
            if (reader->cursor != before) hfi_reader_publish(reader);
            return HF_E_EMPTY;
        }
        if (ready > count) ready = count;
        uint64_t gone = hfi_ring_copy(ring, reader->cursor, ready, out);
        reader->lost += gone;
        reader->cursor += gone;
        if (gone == ready) continue;
        *got_out = shift_out(ring, out, gone, ready);
        if (move) reader->cursor += *got_out;
        hfi_reader_publish(reader);
        return HF_OK;
    }
    hfi_reader_publish(reader);
    return lapped(ring);
}

/* Waits until the number of elements written is another one than `seen`. */
static hf_status wait_past(hf_shm_ring *ring, uint64_t seen, uint64_t deadline) {
    struct hfi_shm_spin spin = {0};
    do
        if (hfi_shm_load64(&ring->shared->commit) != seen) return HF_OK;
    while (!HFI_SHM_STEPS && hfi_shm_spin(&spin));
    for (;;) {
        uint32_t turn = hfi_shm_event_turn(&ring->shared->filled);
        if (hfi_shm_load64(&ring->shared->commit) != seen) return HF_OK;
        if (hfi_shm_wait(&ring->shared->filled, turn, deadline) == HF_E_TIMEOUT)
            return HF_E_TIMEOUT;
    }
}

/* What an attempt that brought nothing means for one who is ready to wait. HF_OK: try again. */
static hf_status reader_wait(hf_shm_ring_reader *reader, hf_status status, uint64_t timeout_ns,
                             uint64_t *deadline) {
    if (status != HF_E_EMPTY && status != HF_E_BUSY) return status;
    if (timeout_ns == 0)
        return status == HF_E_BUSY ? status : hfi_shm_say(HF_E_EMPTY, "nothing new in the ring");
    if (*deadline == 0) *deadline = hfi_shm_deadline(timeout_ns);
    if (status == HF_E_BUSY) return hfi_os_clock_ns() < *deadline ? HF_OK : HF_E_BUSY;
    if (wait_past(reader->ring, reader->cursor, *deadline) == HF_E_TIMEOUT)
        return hfi_shm_say(HF_E_TIMEOUT, "nothing was written to the ring in time: %llu elements",
                           (unsigned long long)reader->cursor);
    return HF_OK;
}

hf_status hf_shm_ring_pop_bulk(hf_shm_ring_reader *reader, void *elements_out, uint64_t count,
                               uint64_t timeout_ns, uint64_t *got_out, uint64_t *lost_out) {
    if (reader == NULL || elements_out == NULL || got_out == NULL || count == 0)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_pop_bulk: reader, room, a count and got_out are needed");
    hf_status status = hfi_reader_ready(reader);
    if (status != HF_OK) return status;
    uint64_t lost = reader->lost, deadline = 0;
    for (;;) {
        status = reader_fetch(reader, elements_out, count, true, got_out);
        if (status == HF_OK) break;
        status = reader_wait(reader, status, timeout_ns, &deadline);
        if (status != HF_OK) break;
    }
    if (lost_out != NULL) *lost_out = reader->lost - lost;
    return status;
}

/* The next element, if it is there and stays whole: what nearly every pop is. */
static inline bool pop_at_once(hf_shm_ring_reader *reader, void *element_out) {
    const hf_shm_ring *ring = reader->ring;
    /* SYNC(ring.commit): the elements before it are there. */
    uint64_t commit = hfi_shm_load64(&ring->shared->commit);
    if (commit - reader->cursor - 1 >= ring->capacity) return false; /* none, or too far behind */
    hfi_shm_copy_out(element_out, hfi_ring_at(ring, reader->cursor), ring->element_size);
    hfi_shm_valid_fence();
    uint64_t intent = hfi_shm_load64(&ring->shared->intent);
    if (hfi_ring_oldest(ring, intent) > reader->cursor && !HFI_SHM_MUTANT(609)) return false;
    reader->cursor++;
    hfi_reader_publish(reader);
    return true;
}

hf_status hf_shm_ring_pop(hf_shm_ring_reader *reader, void *element_out, uint64_t timeout_ns) {
    if (reader == NULL || element_out == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_pop: reader and room for one are needed");
    hf_status status = hfi_reader_ready(reader);
    if (status != HF_OK) return status;
    if (pop_at_once(reader, element_out)) return HF_OK;
    uint64_t got;
    return hf_shm_ring_pop_bulk(reader, element_out, 1, timeout_ns, &got, NULL);
}

hf_status hf_shm_ring_peek(hf_shm_ring_reader *reader, void *elements_out, uint64_t count,
                           uint64_t *got_out) {
    if (reader == NULL || elements_out == NULL || got_out == NULL || count == 0)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_peek: reader, room, a count and got_out are needed");
    hf_status status = hfi_reader_ready(reader);
    if (status != HF_OK) return status;
    status = reader_fetch(reader, elements_out, count, false, got_out);
    return status == HF_OK ? status : reader_wait(reader, status, 0, &(uint64_t){0});
}

hf_status hf_shm_ring_view(hf_shm_ring_reader *reader, uint64_t count, const void **run_out,
                           uint64_t *count_out) {
    if (reader == NULL || run_out == NULL || count_out == NULL || count == 0)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_view: reader, a count, run_out and count_out are needed");
    hf_status status = hfi_reader_ready(reader);
    if (status != HF_OK) return status;
    hf_shm_ring *ring = reader->ring;
    uint64_t commit = hfi_shm_load64(&ring->shared->commit);
    if (commit < reader->cursor) return behind(reader, commit);
    uint64_t oldest = hfi_ring_oldest(ring, hfi_shm_load64(&ring->shared->intent));
    oldest = hfi_ring_min(oldest, commit);
    if (oldest > reader->cursor) {
        reader->lost += oldest - reader->cursor;
        reader->cursor = oldest;
        hfi_reader_publish(reader);
    }
    uint64_t run = hfi_ring_min(commit - reader->cursor, count);
    run = hfi_ring_min(run, ring->capacity - hfi_ring_slot(ring, reader->cursor));
    if (run == 0) return reader_wait(reader, HF_E_EMPTY, 0, &(uint64_t){0});
    *run_out = hfi_ring_at(ring, reader->cursor);
    *count_out = run;
    return HF_OK;
}

hf_status hf_shm_ring_advance(hf_shm_ring_reader *reader, uint64_t count, uint64_t *lost_out) {
    if (reader == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_advance: no reader");
    hf_status status = hfi_reader_ready(reader);
    if (status != HF_OK) return status;
    hf_shm_ring *ring = reader->ring;
    hfi_shm_valid_fence();
    uint64_t intent = hfi_shm_load64(&ring->shared->intent);
    uint64_t commit = hfi_shm_load64(&ring->shared->commit);
    if (commit < reader->cursor || commit - reader->cursor < count)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_advance: %llu elements from %llu on; %llu are written",
                           (unsigned long long)count, (unsigned long long)reader->cursor,
                           (unsigned long long)commit);
    uint64_t oldest = hfi_ring_oldest(ring, intent), lost = 0;
    if (oldest > reader->cursor) lost = hfi_ring_min(oldest - reader->cursor, count);
    reader->lost += lost;
    reader->cursor += count;
    hfi_reader_publish(reader);
    if (lost_out != NULL) *lost_out = lost;
    if (lost == 0) return HF_OK;
    return hfi_shm_say(HF_E_STALE, "the first %llu of the %llu elements were overwritten meanwhile",
                       (unsigned long long)lost, (unsigned long long)count);
}

hf_status hf_shm_ring_wait(hf_shm_ring_reader *reader, uint64_t count, uint64_t timeout_ns) {
    if (reader == NULL || count > reader->ring->capacity)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_wait: a reader, and no more elements than "
                                         "the ring holds");
    uint64_t deadline = timeout_ns != 0 ? hfi_shm_deadline(timeout_ns) : 0;
    for (;;) {
        uint64_t commit = hfi_shm_load64(&reader->ring->shared->commit);
        if (commit < reader->cursor) return behind(reader, commit);
        if (commit - reader->cursor >= count) return HF_OK;
        if (timeout_ns == 0 || wait_past(reader->ring, commit, deadline) == HF_E_TIMEOUT)
            return hfi_shm_say(HF_E_TIMEOUT, "%llu of %llu elements came in time",
                               (unsigned long long)(commit - reader->cursor),
                               (unsigned long long)count);
    }
}

/* --- without a reader ------------------------------------------------------------------------- */

hf_status hf_shm_ring_latest(hf_shm_ring *ring, void *elements_out, uint64_t count,
                             uint64_t *got_out, uint64_t *position_out) {
    if (ring == NULL || elements_out == NULL || got_out == NULL || count == 0)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_latest: ring, room, a count and got_out are needed");
    for (unsigned attempt = 0; attempt < HFI_RING_TRIES; attempt++) {
        uint64_t commit = hfi_shm_load64(&ring->shared->commit);
        if (commit == 0) return hfi_shm_say(HF_E_EMPTY, "nothing was written to the ring yet");
        uint64_t there = hfi_ring_min(hfi_ring_min(count, ring->capacity), commit);
        uint64_t first = commit - there;
        uint64_t gone = hfi_ring_copy(ring, first, there, elements_out);
        if (gone == there) continue;
        *got_out = shift_out(ring, elements_out, gone, there);
        if (position_out != NULL) *position_out = first + gone;
        return HF_OK;
    }
    return lapped(ring);
}

hf_status hf_shm_ring_read_at(hf_shm_ring *ring, uint64_t position, void *elements_out,
                              uint64_t count, uint64_t *got_out) {
    if (ring == NULL || elements_out == NULL || got_out == NULL || count == 0)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_read_at: ring, room, a count and got_out are needed");
    uint64_t commit = hfi_shm_load64(&ring->shared->commit);
    if (position >= commit)
        return hfi_shm_say(HF_E_EMPTY, "element %llu is not yet written: %llu are",
                           (unsigned long long)position, (unsigned long long)commit);
    uint64_t there = hfi_ring_min(hfi_ring_min(count, ring->capacity), commit - position);
    uint64_t gone = hfi_ring_copy(ring, position, there, elements_out);
    if (gone != 0)
        return hfi_shm_say(HF_E_STALE, "element %llu was overwritten: %llu are written",
                           (unsigned long long)position, (unsigned long long)commit);
    *got_out = there;
    return HF_OK;
}
