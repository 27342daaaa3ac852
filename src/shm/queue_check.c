/* queue_check.c - whether the words of a queue make sense together, and what is done if not.
 *
 *   u(i): position at which slot i is next written      right:  { u(i) } = { T, T+1, ..., T+capacity-1 }
 *   fit   the T that most slots agree with: those before T mod capacity are one lap further
 *
 * Contract    both may run while others use the queue. A slot is called wrong only if that cannot come
 *             from reading the slots one after another: positions grow, so one that lies below an earlier
 *             fit, or above a later one, was damaged.
 * Invariants  a damaged slot becomes SKIP: its item is given up, its place in the order stays.
 * Bounds      FITS_MAX passes over the slots by private numbers; DAMAGES_MAX slots at a time.
 * Talks to    queue.h, segment.h.   Called by the segment through hfi_shm_queue_kind.
 * Source      majority in one pass: Boyer and Moore 1981. */
#include "queue.h"

#define DAMAGES_MAX 64
#define FITS_MAX    256 /* passes; who goes on changing slots meanwhile does not make it longer */

struct fit {
    uint64_t lap;   /* of T, as in a state                  */
    uint64_t index; /* of T's slot                          */
    unsigned taken; /* fits that were taken in this look, apart from the first */
};

static uint64_t slot_state(const struct queue_shape *shape, uint64_t index) {
    return hfi_shm_load64(&queue_slot_at(shape, index)->state);
}

static uint64_t majority_lap(const struct queue_shape *shape) {
    uint64_t lap = 0, votes = 0;
    for (uint64_t i = 0; i <= shape->mask; i++) {
        uint64_t next = queue_next_lap(slot_state(shape, i), true);
        if (votes == 0) lap = next;
        votes += votes == 0 || next == lap ? 1 : UINT64_MAX; /* one up or one down */
    }
    return lap;
}

/* The best T in the lap given; returns how many slots disagree. */
static uint64_t fit_in_lap(const struct queue_shape *shape, uint64_t lap, struct fit *fit_out) {
    uint64_t wrong = 0;
    for (uint64_t i = 0; i <= shape->mask; i++)
        wrong += queue_next_lap(slot_state(shape, i), true) != lap;
    uint64_t best = wrong;
    *fit_out = (struct fit){.lap = lap};
    for (uint64_t i = 0; i < shape->mask; i++) { /* T behind slot i */
        uint64_t next = queue_next_lap(slot_state(shape, i), true);
        wrong += (uint64_t)(next != lap + QUEUE_LAP_ONE) - (uint64_t)(next != lap);
        if (wrong >= best) continue;
        best = wrong;
        *fit_out = (struct fit){.lap = lap, .index = i + 1};
    }
    return best;
}

static struct fit fit_of(const struct queue_shape *shape) {
    uint64_t lap = majority_lap(shape);
    struct fit here, before;
    uint64_t wrong_here = fit_in_lap(shape, lap, &here);
    uint64_t wrong_before = fit_in_lap(shape, lap - QUEUE_LAP_ONE, &before);
    return wrong_before < wrong_here ? before : here;
}

/* Laps by which a slot is off: below the fit, 0, or above it. */
static int64_t off(const struct fit *fit, uint64_t index, uint64_t state) {
    uint64_t lap = fit->lap + (index < fit->index ? QUEUE_LAP_ONE : 0);
    return (int64_t)(queue_next_lap(state, true) - lap) >> QUEUE_LAP_SHIFT;
}

/* A slot ahead of the fit was claimed since, or is wrong: a new fit tells, and serves from here on. */
static bool is_damaged(const struct queue_shape *shape, struct fit *fit, uint64_t index,
                       uint64_t state) {
    if (queue_is_odd(state)) return true;
    int64_t laps = off(fit, index, state);
    if (laps <= 0) return laps < 0;
    unsigned taken = fit->taken + 1;
    if (taken > FITS_MAX) return false;
    *fit = fit_of(shape);
    fit->taken = taken;
    return off(fit, index, state) > 0 && slot_state(shape, index) == state;
}

/* The first position not yet claimed for reading. Returned items may lie before head: `all` counts them. */
static uint64_t first_unread(const struct queue_shape *shape, uint64_t hint, bool all) {
    uint64_t first = 0;
    bool any = false;
    for (uint64_t i = 0; i <= shape->mask; i++) {
        uint64_t state = slot_state(shape, i);
        bool returned = queue_phase_of(state) == QUEUE_FULL && (state & QUEUE_RETURNS_MASK) != 0;
        if (returned && !all) continue;
        uint64_t position = queue_position_near(shape, queue_next_lap(state, false), i, hint);
        if (!any || (int64_t)(position - first) < 0) first = position;
        any = true;
    }
    return any ? first : hint;
}

/* Hints lag behind the truth or are right; ahead of it, items would be passed over. */
static bool hint_lies(uint64_t hint, uint64_t truth) {
    return (int64_t)(truth - hint) < 0;
}

void queue_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding) {
    struct queue_shape shape;
    if (!queue_shape_of(part, &shape)) {
        hfi_shm_fault(finding, "the header of the queue does not fit its %llu bytes",
                      (unsigned long long)part->size);
        return;
    }
    uint64_t tail = hfi_shm_load64(&shape.header->tail);
    uint64_t head = hfi_shm_load64(&shape.header->head);
    struct fit fit = fit_of(&shape);
    unsigned faults = 0;
    for (uint64_t i = 0; i <= shape.mask && faults < DAMAGES_MAX; i++) {
        uint64_t state = slot_state(&shape, i);
        if (!is_damaged(&shape, &fit, i, state)) continue;
        hfi_shm_fault(finding, "slot %llu has the state 0x%llx, which is not one it can have now",
                      (unsigned long long)i, (unsigned long long)state);
        faults++;
    }
    fit = fit_of(&shape); /* after the hints were read: they lag, or are right */
    uint64_t end = queue_position_near(&shape, fit.lap, fit.index, tail);
    if (hint_lies(tail, end))
        hfi_shm_fault(finding, "the next position to write is %llu, and tail says %llu",
                      (unsigned long long)end, (unsigned long long)tail);
    uint64_t first = first_unread(&shape, head, false);
    if (faults == 0 && hint_lies(head, first))
        hfi_shm_fault(finding, "the next position to read is %llu, and head says %llu",
                      (unsigned long long)first, (unsigned long long)head);
}

static size_t dead_recover(const struct hfi_shm_part *part, const struct queue_shape *shape) {
    uint64_t asked[HFI_SHM_OWNER_MAX / 64 + 1] = {0};
    size_t count = 0;
    for (uint64_t i = 0; i <= shape->mask; i++) {
        uint64_t state = slot_state(shape, i);
        uint32_t owner = queue_owner_of(state);
        if (!queue_is_held(state) || owner == 0) continue;
        if (owner <= HFI_SHM_OWNER_MAX) {
            if (asked[owner / 64] >> (owner % 64) & 1) continue;
            asked[owner / 64] |= UINT64_C(1) << (owner % 64);
        }
        if (hfi_shm_dead(part->shm, owner)) count += queue_recover_owner(shape, owner);
    }
    return count;
}

static size_t hint_repair(_Atomic uint64_t *hint, uint64_t found, uint64_t truth) {
    return found != truth && hfi_shm_swap64(hint, &found, truth);
}

size_t queue_repair(const struct hfi_shm_part *part) {
    struct queue_shape shape;
    if (!queue_shape_of(part, &shape)) return 0;
    size_t count = 0, damages = 0;
    struct fit fit = fit_of(&shape);
    for (uint64_t i = 0; i <= shape.mask && damages < DAMAGES_MAX; i++) {
        struct queue_slot *slot = queue_slot_at(&shape, i);
        uint64_t state = hfi_shm_load64(&slot->state);
        if (!is_damaged(&shape, &fit, i, state)) continue;
        uint64_t lap = fit.lap - (i < fit.index ? 0 : QUEUE_LAP_ONE); /* of the last claim */
        damages += hfi_shm_swap64(&slot->state, &state, lap | QUEUE_SKIP);
    }
    count = damages + dead_recover(part, &shape);
    uint64_t tail = hfi_shm_load64(&shape.header->tail);
    uint64_t head = hfi_shm_load64(&shape.header->head);
    fit = fit_of(&shape);
    uint64_t end = queue_position_near(&shape, fit.lap, fit.index, tail);
    count += hint_repair(&shape.header->tail, tail, end);
    count += hint_repair(&shape.header->head, head, first_unread(&shape, end, true));
    if (shape.redeliver) hfi_shm_add64(&shape.header->returned_asked, 1);
    hfi_shm_signal(&shape.header->filled, UINT32_MAX);
    hfi_shm_signal(&shape.header->emptied, UINT32_MAX);
    return count;
}
