/* ring_kind.c - what the segment asks of a ring: recover, check, repair, figures, view.
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

/* --- what a view shows ------------------------------------------------------------------------ */

static uint32_t reader_state(uint64_t word) {
    if (hfi_lease_owner(word) == 0 || hfi_lease_owner(word) > HFI_SHM_OWNER_MAX)
        return HF_SHM_STATE_DAMAGED;
    switch (HFI_READER_STATE(word)) {
    case HFI_READER_JOINING: return HF_SHM_STATE_JOINING;
    case HFI_READER_RELIABLE: return HF_SHM_STATE_RELIABLE;
    case HFI_READER_LOSSY: return HF_SHM_STATE_LOSSY;
    default: return HF_SHM_STATE_DAMAGED;
    }
}

/* A place for a reader, if one has it. False: enough. */
static bool reader_show(const hf_shm_ring *ring, uint32_t index, struct hfi_shm_showing *showing) {
    struct hfi_ring_reader *place = &ring->shared->readers[index];
    hf_shm_view_item item = {.piece = HF_SHM_PIECE_READER, .index = index};
    for (unsigned looks = 0; looks < HFI_SHM_LOOKS; looks++) {
        uint64_t word = hfi_shm_load64(&place->word);
        if (hfi_lease_owner(word) == 0 && HFI_READER_STATE(word) == HFI_READER_FREE) return true;
        item.state = reader_state(word);
        item.number = hfi_shm_load64(&place->cursor);
        uint64_t commit = hfi_shm_load64(&ring->shared->commit);
        item.value = commit > item.number ? commit - item.number : 0;
        hfi_shm_show_owner(ring->part.shm, &item, hfi_lease_owner(word));
        if (hfi_shm_load64(&place->word) == word) break;
    }
    return hfi_shm_show(showing, &item, place, sizeof *place);
}

/* One look at a position, or at the oldest one that is there if that is later. False: the writer went
 * on meanwhile. */
static bool element_look(const hf_shm_ring *ring, uint64_t position, hf_shm_view_item *item) {
    struct hfi_ring *shared = ring->shared;
    uint64_t lease = hfi_shm_load64(&shared->lease);
    uint64_t commit = hfi_shm_load64(&shared->commit), intent = hfi_shm_load64(&shared->intent);
    uint64_t oldest = hfi_ring_min(hfi_ring_oldest(ring, intent), commit);
    if (position < oldest) position = oldest;
    bool written = position < commit, announced = !written && position < intent;
    *item = (hf_shm_view_item){.piece = HF_SHM_PIECE_ELEMENT,
                               .index = hfi_ring_slot(ring, position),
                               .number = position,
                               .state = written     ? HF_SHM_STATE_FULL
                                        : announced ? HF_SHM_STATE_WRITING
                                                    : HF_SHM_STATE_FREE};
    hfi_shm_show_owner(ring->part.shm, item, announced ? hfi_lease_owner(lease) : 0);
    return hfi_shm_load64(&shared->lease) == lease && hfi_shm_load64(&shared->commit) == commit &&
           hfi_shm_load64(&shared->intent) == intent;
}

static hf_status ring_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    hf_shm_ring ring = {.capacity = 0};
    if (hfi_ring_take(part, &ring) != HF_OK) return HF_E_CORRUPT; /* said */
    if (!hfi_shm_show_holder(showing, HF_SHM_PIECE_WRITER, &ring.shared->lease,
                             hfi_shm_load64(&ring.shared->commit)))
        return HF_OK;
    for (uint32_t i = 0; i < ring.readers_max; i++)
        if (!reader_show(&ring, i, showing)) return HF_OK;
    uint64_t position = 0;
    for (uint64_t i = 0; i < ring.capacity; i++, position++) {
        hf_shm_view_item item;
        for (unsigned looks = 0; looks < HFI_SHM_LOOKS; looks++)
            if (element_look(&ring, position, &item)) break;
        position = item.number;
        if (!hfi_shm_show(showing, &item, hfi_ring_at(&ring, position), ring.element_size)) break;
    }
    return HF_OK;
}

const struct hfi_shm_kind hfi_shm_ring_kind = {.layout = HFI_RING_LAYOUT,
                                               .recover = ring_recover,
                                               .check = ring_check,
                                               .repair = ring_repair,
                                               .figures = ring_figures,
                                               .show = ring_show};
