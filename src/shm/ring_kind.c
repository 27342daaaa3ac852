/* ring_kind.c - what the segment asks of a ring: recover, check, repair, figures.
 *
 * Invariants  every step is one compare-and-swap of a word that names the dead, or the repair of a
 *             position no living writer moves.
 * Talks to    ring.h.   Called by the segment through hfi_shm_kinds, ring_write.c.
 * Threads     any number of processes at once; may be killed in it. */
#include "ring.h"

bool hfi_ring_reader_free(const hf_shm_ring *ring, struct hfi_ring_reader *place, uint64_t word) {
    /* The generation goes up, so that nobody who saw the old word frees the next reader. */
    if (!hfi_shm_swap64(&place->word, &word, ((word >> 20) + 1) << 20)) return false;
    if (ring->reliable) hfi_shm_signal(&ring->shared->freed, INT32_MAX);
    return true;
}

static void ring_recover(const struct hfi_shm_part *part, uint32_t owner) {
    hf_shm_ring ring = {.capacity = 0};
    if (owner == 0 || hfi_ring_take(part, &ring) != HF_OK) return;
    if (hfi_lease_recover(&ring.shared->lease, owner)) hfi_shm_add64(&ring.shared->recovered, 1);
    for (uint32_t i = 0; i < ring.readers_max; i++) {
        struct hfi_ring_reader *place = &ring.shared->readers[i];
        uint64_t word = hfi_shm_load64(&place->word);
        if (hfi_lease_owner(word) == owner && hfi_ring_reader_free(&ring, place, word))
            hfi_shm_add64(&ring.shared->recovered, 1);
    }
}

static void ring_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding) {
    hf_shm_ring ring = {.capacity = 0};
    if (hfi_ring_take(part, &ring) != HF_OK) {
        hfi_shm_fault(finding, "%s", hf_shm_detail());
        return;
    }
    /* In this order each bound holds while a living writer goes on. */
    uint64_t before = hfi_shm_load64(&ring.shared->commit);
    uint64_t intent = hfi_shm_load64(&ring.shared->intent);
    uint64_t commit = hfi_shm_load64(&ring.shared->commit);
    if (intent < before)
        hfi_shm_fault(finding, "intent %llu lies before commit %llu", (unsigned long long)intent,
                      (unsigned long long)before);
    if (intent > commit && intent - commit > ring.capacity)
        hfi_shm_fault(finding, "intent %llu is more than a lap ahead of commit %llu",
                      (unsigned long long)intent, (unsigned long long)commit);
    uint32_t owner = hfi_lease_owner(hfi_shm_load64(&ring.shared->lease));
    if (owner > HFI_SHM_OWNER_MAX)
        hfi_shm_fault(finding, "the lease names owner %u, which cannot be", owner);
    for (uint32_t i = 0; i < ring.readers_max; i++) {
        struct hfi_ring_reader *place = &ring.shared->readers[i];
        uint64_t word = hfi_shm_load64(&place->word);
        uint64_t cursor = hfi_shm_load64(&place->cursor);
        uint64_t end = hfi_shm_load64(&ring.shared->commit);
        if (hfi_shm_load64(&place->word) != word) continue; /* came or went meanwhile */
        owner = hfi_lease_owner(word);
        uint32_t state = HFI_READER_STATE(word);
        if (owner > HFI_SHM_OWNER_MAX || state > HFI_READER_LOSSY ||
            (owner == 0) != (state == HFI_READER_FREE))
            hfi_shm_fault(finding, "reader %u: owner %u in state %u cannot be", i, owner, state);
        else if (state >= HFI_READER_RELIABLE && cursor > end)
            hfi_shm_fault(finding, "reader %u is at %llu, and only %llu were written", i,
                          (unsigned long long)cursor, (unsigned long long)end);
    }
}

/* Puts intent and limit right where nobody writes. */
static size_t repair_positions(const hf_shm_ring *ring) {
    size_t repaired = 0;
    uint32_t writer = hfi_lease_owner(hfi_shm_load64(&ring->shared->lease));
    if (writer != 0 && writer <= HFI_SHM_OWNER_MAX && !hfi_shm_dead(ring->part.shm, writer))
        return 0;
    uint64_t commit = hfi_shm_load64(&ring->shared->commit);
    uint64_t intent = hfi_shm_load64(&ring->shared->intent);
    if (intent < commit || intent - commit > ring->capacity) {
        /* Nobody knows what was being written: everything before counts as overwritten. */
        repaired += hfi_shm_swap64(&ring->shared->intent, &intent, commit + ring->capacity);
    }
    uint64_t limit = hfi_shm_load64(&ring->shared->limit);
    if (limit > commit && limit - commit > ring->capacity)
        repaired += hfi_shm_swap64(&ring->shared->limit, &limit, commit + ring->capacity);
    if (writer != 0) repaired += hfi_lease_recover(&ring->shared->lease, writer);
    return repaired;
}

static size_t ring_repair(const struct hfi_shm_part *part) {
    hf_shm_ring ring = {.capacity = 0};
    if (hfi_ring_take(part, &ring) != HF_OK) return 0;
    size_t repaired = repair_positions(&ring);
    for (uint32_t i = 0; i < ring.readers_max; i++) {
        struct hfi_ring_reader *place = &ring.shared->readers[i];
        uint64_t word = hfi_shm_load64(&place->word);
        uint32_t owner = hfi_lease_owner(word), state = HFI_READER_STATE(word);
        if (owner == 0 && state == HFI_READER_FREE) continue;
        bool impossible = owner == 0 || owner > HFI_SHM_OWNER_MAX || state == HFI_READER_FREE ||
                          state > HFI_READER_LOSSY;
        if (impossible || hfi_shm_dead(part->shm, owner)) {
            repaired += hfi_ring_reader_free(&ring, place, word);
            continue;
        }
        /* A living reader keeps its own cursor and writes it again when it reads. */
        uint64_t cursor = hfi_shm_load64(&place->cursor);
        uint64_t commit = hfi_shm_load64(&ring.shared->commit);
        if (state >= HFI_READER_RELIABLE && cursor > commit)
            repaired += hfi_shm_swap64(&place->cursor, &cursor, commit);
    }
    return repaired;
}

static void ring_figures(const struct hfi_shm_part *part, hf_shm_figures *figures) {
    hf_shm_ring ring = {.capacity = 0};
    if (hfi_ring_take(part, &ring) != HF_OK) return;
    uint64_t intent = hfi_shm_load64(&ring.shared->intent);
    uint64_t commit = hfi_shm_load64(&ring.shared->commit);
    uint64_t oldest = hfi_ring_oldest(&ring, intent);
    figures->capacity = ring.capacity;
    figures->count = commit > oldest ? hfi_ring_min(commit - oldest, ring.capacity) : 0;
    figures->written = commit;
    figures->recovered = hfi_shm_load64(&ring.shared->recovered);
    uint32_t writer = hfi_lease_owner(hfi_shm_load64(&ring.shared->lease));
    figures->writers = writer != 0 && !hfi_shm_dead(part->shm, writer);
    for (uint32_t i = 0; i < ring.readers_max; i++) {
        struct hfi_ring_reader *place = &ring.shared->readers[i];
        uint64_t word = hfi_shm_load64(&place->word);
        uint32_t owner = hfi_lease_owner(word);
        if (owner == 0 || hfi_shm_dead(part->shm, owner)) continue;
        figures->readers++;
        figures->lost += hfi_shm_load64(&place->lost);
        uint64_t cursor = hfi_shm_load64(&place->cursor);
        if (cursor > figures->read) figures->read = hfi_ring_min(cursor, commit);
    }
}

const struct hfi_shm_kind hfi_shm_ring_kind = {.layout = HFI_RING_LAYOUT,
                                               .recover = ring_recover,
                                               .check = ring_check,
                                               .repair = ring_repair,
                                               .figures = ring_figures};
