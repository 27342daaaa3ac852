/* barrier_kind.c - a barrier as its segment sees it: where it lies, recover, check, repair, figures, view.
 *
 * Contract    struct hfi_shm_kind.   Talks to segment.h, barrier_state.h.   Called by kinds.c.
 * Invariants  one death breaks one round: the phase names the culprit of the last broken one, so that
 *             whoever recovers the same participant again sees that it is done. (If that is interrupted
 *             and another death comes in between, it breaks a second one: better than none.)
 * Killed      recover is run again for the same owner by the next one, from any point.
 * Threads     by several processes at once, while others use the barrier. */
#include <inttypes.h>

#include "barrier_state.h"

#define SEATS_AT (3 * HFI_SHM_LINE)

uint64_t hfi_shm_barrier_size(uint32_t parties) {
    return SEATS_AT + (uint64_t)parties * 8;
}

bool hfi_shm_barrier_view(const struct hfi_shm_part *part, struct barrier_view *view) {
    if (part->size < SEATS_AT) return false;
    const struct barrier_header header = *(const struct barrier_header *)(const void *)part->base;
    if (header.parties == 0 || header.parties > HF_SHM_BARRIER_PARTIES_MAX) return false;
    if (header.parties != part->element_count || header.on_death > HF_SHM_BARRIER_GO_ON)
        return false;
    if (part->size < hfi_shm_barrier_size(header.parties)) return false;
    view->phase = (_Atomic uint64_t *)(void *)(part->base + HFI_SHM_LINE);
    view->passed = (struct hfi_shm_event *)(void *)(part->base + 2 * HFI_SHM_LINE);
    view->seats = (_Atomic uint64_t *)(void *)(part->base + SEATS_AT);
    view->parties = header.parties;
    view->go_on = header.on_death == HF_SHM_BARRIER_GO_ON;
    return true;
}

uint32_t hfi_shm_barrier_arrived(const struct barrier_view *view) {
    const uint32_t round = phase_round(hfi_shm_load64(view->phase));
    uint32_t arrived = 0;
    for (uint32_t i = 0; i < view->parties; i++) {
        const uint64_t seat = hfi_shm_load64(&view->seats[i]);
        arrived += seat_arrived(seat, round) && (seat & SEAT_GONE) == 0;
    }
    return arrived;
}

/* Breaks the present round for the death of one who took part, once. Its seat may be of any round
 * before: those in between were broken by other deaths. */
static void barrier_break(const struct barrier_view *view, uint64_t seat) {
    const uint32_t owner = seat_owner(seat);
    uint64_t phase = hfi_shm_load64(view->phase);
    for (int tries = 0; tries < BARRIER_TRIES; tries++) {
        const uint32_t ago = (phase_round(phase) - seat_round(seat)) & ROUND_MASK;
        const bool done = (phase_outcomes(phase) & 1) != 0 && phase_culprit(phase) == owner;
        if (ago != 0 && done && !HFI_SHM_MUTANT(542)) return;
        if (!hfi_shm_swap64(view->phase, &phase, phase_next(phase, true, owner))) continue;
        hfi_shm_signal(view->passed, INT32_MAX);
        return;
    }
}

static void barrier_recover(const struct hfi_shm_part *part, uint32_t owner) {
    struct barrier_view view;
    if (owner == 0 || !hfi_shm_barrier_view(part, &view)) return;
    const bool leaving = hfi_shm_has_left(part->shm, owner); /* no death */
    for (uint32_t i = 0; i < view.parties; i++) {
        uint64_t seat = hfi_shm_load64(&view.seats[i]);
        if (seat_owner(seat) != owner) continue;
        uint64_t left = seat_make(seat_round(seat), 0);
        if (view.go_on && !leaving)
            left |= SEAT_GONE;
        else if (!leaving && !HFI_SHM_MUTANT(543))
            barrier_break(&view, seat);
        (void)hfi_shm_swap64(&view.seats[i], &seat, left);
    }
    if (view.go_on) (void)hfi_shm_barrier_complete(&view, hfi_shm_load64(view.phase));
}

/* `phase` was loaded after the seat: who sits in a round that has not begun keeps it from ending. */
static bool seat_wrong(uint64_t seat, uint64_t phase) {
    const uint64_t known = SEAT_LEAVING | SEAT_GONE | 0xffff | (uint64_t)ROUND_MASK << 32;
    return seat_owner(seat) >= HFI_SHM_OWNER_MAX || (seat & ~known) != 0 ||
           ((seat & SEAT_GONE) && seat_owner(seat) != 0) ||
           (seat_owner(seat) != 0 && round_is_before(phase_round(phase), seat_round(seat)));
}

static void barrier_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding) {
    struct barrier_view view;
    if (!hfi_shm_barrier_view(part, &view)) {
        hfi_shm_fault(finding, "the header contradicts the entry");
        return;
    }
    for (uint32_t i = 0; i < view.parties; i++) {
        const uint64_t seat = hfi_shm_load64(&view.seats[i]);
        if (seat_wrong(seat, hfi_shm_load64(view.phase)))
            hfi_shm_fault(finding, "seat %" PRIu32 ": its word 0x%" PRIx64 " is none", i, seat);
    }
}

static size_t barrier_repair(const struct hfi_shm_part *part) {
    struct barrier_view view;
    size_t repaired = 0;
    if (!hfi_shm_barrier_view(part, &view)) return 0;
    for (uint32_t i = 0; i < view.parties; i++) {
        uint64_t seat = hfi_shm_load64(&view.seats[i]);
        if (seat_wrong(seat, hfi_shm_load64(view.phase)))
            repaired += hfi_shm_swap64(&view.seats[i], &seat, 0);
    }
    return repaired;
}

static void barrier_figures(const struct hfi_shm_part *part, hf_shm_figures *figures_out) {
    struct barrier_view view;
    if (!hfi_shm_barrier_view(part, &view)) return;
    figures_out->capacity = view.parties;
    figures_out->count = hfi_shm_barrier_arrived(&view);
    figures_out->written = (phase_round(hfi_shm_load64(view.phase)) - 1) & ROUND_MASK;
}

static uint32_t seat_state(uint64_t seat, uint64_t phase) {
    if (seat_wrong(seat, phase)) return HF_SHM_STATE_DAMAGED;
    if ((seat & SEAT_GONE) != 0) return HF_SHM_STATE_GONE;
    if (seat_owner(seat) == 0) return HF_SHM_STATE_FREE;
    if ((seat & SEAT_LEAVING) != 0) return HF_SHM_STATE_LEAVING;
    return seat_round(seat) == phase_round(phase) ? HF_SHM_STATE_WAITING : HF_SHM_STATE_EXPECTED;
}

static hf_status barrier_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    struct barrier_view view;
    if (!hfi_shm_barrier_view(part, &view))
        return hfi_shm_say(HF_E_CORRUPT, "the header of the barrier contradicts the entry");
    for (uint32_t i = 0; i < view.parties; i++) {
        hf_shm_view_item item = {.piece = HF_SHM_PIECE_SEAT, .index = i};
        for (unsigned looks = 0; looks < HFI_SHM_LOOKS; looks++) {
            const uint64_t seat = hfi_shm_load64(&view.seats[i]);
            const uint64_t phase = hfi_shm_load64(view.phase);
            const uint32_t owner = seat_wrong(seat, phase) ? 0 : seat_owner(seat);
            item.state = seat_state(seat, phase);
            item.number =
                owner != 0 ? (seat_round(seat) - phase_round(PHASE_FIRST)) & ROUND_MASK : 0;
            hfi_shm_show_owner(part->shm, &item, owner);
            if (hfi_shm_load64(&view.seats[i]) == seat && hfi_shm_load64(view.phase) == phase)
                break;
        }
        if (!hfi_shm_show(showing, &item, &view.seats[i], sizeof view.seats[i])) break;
    }
    return HF_OK;
}

const struct hfi_shm_kind hfi_shm_barrier_kind = {.layout = 1,
                                                  .recover = barrier_recover,
                                                  .check = barrier_check,
                                                  .repair = barrier_repair,
                                                  .figures = barrier_figures,
                                                  .show = barrier_show};
