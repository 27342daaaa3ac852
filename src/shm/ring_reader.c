/* ring_reader.c - readers join a ring, and leave it.
 *
 *   FREE --CAS--> JOINING(me) --> RELIABLE(me) or LOSSY(me) --CAS--> FREE (by me, or when I am dead)
 *
 * Invariants  a place that counts for the writer has a cursor of its own reader: the one of the last
 *             user is replaced while JOINING, which nobody waits for.
 * Joining a reliable ring: the cursor is shown, then a fence, then the limit is read. A writer whose
 *             scan missed the cursor had published its limit before; the reader begins behind that.
 * Talks to    ring_reader.h, pages/meta.   Called by the program, ring_read.c.
 * Threads     one at a time per handle.
 * Fails with  HF_E_LIMIT: all places are taken by the living. HF_E_INVALID. */
#include "ring_reader.h"

#include "pages/meta.h"

void hf_shm_ring_reader_options_init(hf_shm_ring_reader_options *options) {
    *options = (hf_shm_ring_reader_options){.struct_size = sizeof *options};
}

/* First position that nobody overwrites while this reader stands there (for reliable readers), or
 * that is there now. */
static uint64_t safe_position(const hf_shm_ring_reader *reader) {
    hf_shm_ring *ring = reader->ring;
    bool counts = ring->reliable && !reader->lossy;
    uint64_t ahead = hfi_shm_load64(counts ? &ring->shared->limit : &ring->shared->intent);
    return hfi_ring_min(hfi_ring_oldest(ring, ahead), hfi_shm_load64(&ring->shared->commit));
}

/* Claims a free place, or that of a dead one. */
static hf_status place_claim(hf_shm_ring_reader *reader) {
    hf_shm_ring *ring = reader->ring;
    uint64_t self = hfi_shm_self(ring->part.shm);
    if (self == 0) return hfi_shm_closed(ring->part.shm);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < ring->readers_max; i++) {
            struct hfi_ring_reader *place = &ring->shared->readers[i];
            uint64_t word = hfi_shm_load64(&place->word);
            uint32_t owner = hfi_lease_owner(word);
            /* The kernel is asked only when no place is free. */
            if (owner != 0 && (round == 0 || !hfi_shm_dead(ring->part.shm, owner))) continue;
            uint64_t mine = ((word >> 20) + 1) << 20 | (uint64_t)HFI_READER_JOINING << 16 | self;
            if (!hfi_shm_swap64(&place->word, &word, mine)) continue;
            reader->place = place;
            reader->word = mine;
            return HF_OK;
        }
    }
    return hfi_shm_say(HF_E_LIMIT,
                       "all %u places for readers of the ring are taken by living ones; "
                       "make it with more readers_max",
                       ring->readers_max);
}

/* Takes a place and stands at max(position, what is safe). What is gone of it is lost. */
static hf_status reader_join(hf_shm_ring_reader *reader, hf_shm_ring_from from, uint64_t position) {
    hf_shm_ring *ring = reader->ring;
    hf_status status = place_claim(reader);
    if (status != HF_OK) return status;
    reader->cursor = safe_position(reader);
    hfi_shm_store64(&reader->place->lost, reader->lost);
    hfi_shm_store64(&reader->place->cursor, reader->cursor);
    uint64_t state = reader->lossy || !ring->reliable ? HFI_READER_LOSSY : HFI_READER_RELIABLE;
    uint64_t joined = (reader->word & ~((uint64_t)15 << 16)) | state << 16;
    uint64_t seen = reader->word;
    if (!hfi_shm_swap64(&reader->place->word, &seen, joined))
        return hfi_shm_say(HF_E_CORRUPT, "the ring is damaged: a place for a reader changed hands");
    reader->word = joined;
    /* SYNC(ring.join): with the fence of scan_readers one of the two sees the other. */
    hfi_shm_fence();
    uint64_t safe = HFI_SHM_MUTANT(605) ? reader->cursor : safe_position(reader);
    if (from == HF_SHM_RING_OLDEST) position = safe;
    if (from == HF_SHM_RING_NEWEST) position = hfi_shm_load64(&ring->shared->commit);
    if (position < safe) {
        reader->lost += safe - position;
        position = safe;
    }
    reader->cursor = position;
    hfi_reader_publish(reader);
    return HF_OK;
}

hf_status hfi_reader_rejoin(hf_shm_ring_reader *reader) {
    uint64_t commit = hfi_shm_load64(&reader->ring->shared->commit);
    return reader_join(reader, HF_SHM_RING_POSITION, hfi_ring_min(reader->cursor, commit));
}

static hf_status options_verify(const hf_shm_ring *ring,
                                const hf_shm_ring_reader_options *options) {
    if (options->struct_size != sizeof *options)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_reader_open: options of %u bytes, %zu expected: call "
                           "hf_shm_ring_reader_options_init first",
                           options->struct_size, sizeof *options);
    if (options->from > HF_SHM_RING_POSITION || options->lossy > 1)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_reader_open: from %u, lossy %u",
                           options->from, options->lossy);
    uint64_t commit = hfi_shm_load64(&ring->shared->commit);
    if (options->from == HF_SHM_RING_POSITION && options->position > commit)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_reader_open: position %llu, and only %llu are written",
                           (unsigned long long)options->position, (unsigned long long)commit);
    return HF_OK;
}

hf_status hf_shm_ring_reader_open(hf_shm_ring *ring, const hf_shm_ring_reader_options *given,
                                  hf_shm_ring_reader **reader_out) {
    if (ring == NULL || reader_out == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_reader_open: ring and reader_out are needed");
    hf_shm_ring_reader_options options;
    hf_shm_ring_reader_options_init(&options);
    if (given != NULL) options = *given;
    hf_status status = options_verify(ring, &options);
    if (status != HF_OK) return status;
    hf_shm_ring_reader *reader = hfi_meta_alloc(sizeof *reader);
    if (reader == NULL) return hfi_shm_say(HF_E_NO_MEMORY, "no memory for the handle of a reader");
    *reader = (hf_shm_ring_reader){.ring = ring, .lossy = options.lossy == 1};
    status = reader_join(reader, (hf_shm_ring_from)options.from, options.position);
    if (status != HF_OK) {
        hfi_meta_free(reader, sizeof *reader);
        return status;
    }
    atomic_fetch_add_explicit(&ring->readers_open, 1, memory_order_acq_rel);
    *reader_out = reader;
    return HF_OK;
}

void hf_shm_ring_reader_close(hf_shm_ring_reader *reader) {
    if (reader == NULL) return;
    hf_shm_ring *ring = reader->ring;
    /* In the child of a fork the place is still the parent's. */
    if (hfi_lease_owner(reader->word) == hfi_shm_self(ring->part.shm))
        (void)hfi_ring_reader_free(ring, reader->place, reader->word);
    atomic_fetch_sub_explicit(&ring->readers_open, 1, memory_order_acq_rel);
    hfi_meta_free(reader, sizeof *reader);
}

hf_status hf_shm_ring_seek(hf_shm_ring_reader *reader, uint64_t position) {
    if (reader == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_seek: no reader");
    hf_status status = hfi_reader_ready(reader);
    if (status != HF_OK) return status;
    uint64_t commit = hfi_shm_load64(&reader->ring->shared->commit);
    if (position > commit)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_seek: position %llu, and only %llu are written",
                           (unsigned long long)position, (unsigned long long)commit);
    if (position < reader->cursor && reader->ring->reliable && !reader->lossy)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_seek: back from %llu to %llu, which the writer of a "
                           "reliable ring may have overwritten; open a reader there",
                           (unsigned long long)reader->cursor, (unsigned long long)position);
    reader->cursor = position;
    hfi_reader_publish(reader);
    return HF_OK;
}

uint64_t hf_shm_ring_position(const hf_shm_ring_reader *reader) {
    return reader->cursor;
}

uint64_t hf_shm_ring_lag(const hf_shm_ring_reader *reader) {
    uint64_t commit = hfi_shm_load64(&reader->ring->shared->commit);
    return commit > reader->cursor ? commit - reader->cursor : 0;
}

uint64_t hf_shm_ring_lost(const hf_shm_ring_reader *reader) {
    return reader->lost;
}
