/* barrier.c - rounds of n arrivals: seats say who has come, one word says which round it is.
 *
 *   header 128 | phase 128 | passed: turn, waiters 128 | seat[parties]
 *   phase   round:24 | withdrawals:16 | outcomes:8 (bit 0: the last round was broken) | culprit:16
 *   seat    round:32 | GONE, LEAVING | owner:16       arrived <=> round of the phase, an owner, no LEAVING;
 *                                                     or GONE
 * Contract    holdfast/shm_barrier.h.   Talks to segment.h, handle.h, barrier_state.h.
 * Invariants  arriving is one compare-and-swap of a seat; a round ends by one of the phase, by whoever
 *             sees that all have arrived, or that the owner of a seat is dead. Who withdraws marks its
 *             seat, then counts up `withdrawals`: from then on a round that was found complete with it
 *             cannot end, and one that has ended already includes it.
 * Killed      after arriving: the others end the round. After ending it, before the wake-up: sleepers
 *             look again within 50 ms. In recover: the culprit in the phase says that it is done.
 * Threads     every function from any thread of any process.
 * Fails with  HF_E_OWNER_DIED, HF_E_TIMEOUT, HF_E_INVALID. */
#include "barrier_state.h"
#include "handle.h"

void hf_shm_barrier_options_init(hf_shm_barrier_options *options, uint32_t parties) {
    *options = (hf_shm_barrier_options){.struct_size = sizeof *options, .parties = parties};
}

/* --- open and close --------------------------------------------------------------------------- */

static void barrier_init(struct hfi_shm_part *part, const void *raw) {
    const hf_shm_barrier_options *options = raw;
    struct barrier_header *header = (struct barrier_header *)(void *)part->base;
    struct barrier_view view;
    header->parties = options->parties;
    header->on_death = options->on_death;
    if (hfi_shm_barrier_view(part, &view)) hfi_shm_store64(view.phase, PHASE_FIRST);
}

static hf_status barrier_accept(struct hfi_shm_part *part, const void *raw) {
    const hf_shm_barrier_options *options = raw;
    struct barrier_view view;
    if (!hfi_shm_barrier_view(part, &view))
        return hfi_shm_say(HF_E_CORRUPT, "the barrier's header contradicts its entry; erase it "
                                         "and make it again");
    if (options && (options->on_death == HF_SHM_BARRIER_GO_ON) != view.go_on)
        return hfi_shm_say(HF_E_MISMATCH, "after a death the barrier %s, asked for was the other",
                           view.go_on ? "goes on" : "breaks its round");
    return HF_OK;
}

hf_status hf_shm_barrier_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                              const hf_shm_barrier_options *options, hf_shm_barrier **barrier_out) {
    if (!shm || !name || !barrier_out || (!options && mode != HF_SHM_OPEN))
        return hfi_shm_say(HF_E_INVALID, "hf_shm_barrier_open: segment, name, barrier_out and, but "
                                         "for HF_SHM_OPEN, options must not be NULL");
    if (options &&
        (options->struct_size != sizeof *options || options->on_death > HF_SHM_BARRIER_GO_ON ||
         options->parties > HF_SHM_BARRIER_PARTIES_MAX ||
         (options->parties == 0 && mode != HF_SHM_OPEN)))
        return hfi_shm_say(HF_E_INVALID,
                           "barrier \"%s\": parties are 1 to %" PRIu32
                           ", on_death is BREAK or GO_ON, options come from "
                           "hf_shm_barrier_options_init",
                           name, HF_SHM_BARRIER_PARTIES_MAX);
    const uint32_t parties = options ? options->parties : 0;
    const struct hfi_shm_request request = {.name = name,
                                            .kind = HF_SHM_KIND_BARRIER,
                                            .layout = hfi_shm_barrier_kind.layout,
                                            .size = parties ? hfi_shm_barrier_size(parties) : 0,
                                            .element_size = parties ? 8 : 0,
                                            .element_count = parties,
                                            .options = options,
                                            .init = barrier_init,
                                            .accept = barrier_accept};
    hf_status status = HF_OK;
    hf_shm_barrier *barrier = hfi_shm_handle_open(shm, mode, &request, sizeof *barrier, &status);
    if (!barrier) return status;
    if (!hfi_shm_barrier_view(&barrier->part, &barrier->view)) {
        hfi_shm_handle_close(barrier, sizeof *barrier);
        return hfi_shm_say(HF_E_CORRUPT, "barrier \"%s\": its header changed while it was opened",
                           name);
    }
    atomic_init(&barrier->seen, phase_round(hfi_shm_load64(barrier->view.phase)));
    *barrier_out = barrier;
    return HF_OK;
}

/* Who closes takes part no more: its death is nobody's business then. A seat of the present round is
 * another handle's, in which somebody waits. */
void hf_shm_barrier_close(hf_shm_barrier *barrier) {
    if (!barrier) return;
    const uint32_t self = hfi_shm_self(barrier->part.shm);
    const uint32_t round = phase_round(hfi_shm_load64(barrier->view.phase));
    for (uint32_t i = 0; i < barrier->view.parties && self != 0; i++) {
        uint64_t seat = hfi_shm_load64(&barrier->view.seats[i]);
        if (seat_owner(seat) == self && seat_round(seat) != round)
            (void)hfi_shm_swap64(&barrier->view.seats[i], &seat, seat_make(seat_round(seat), 0));
    }
    hfi_shm_handle_close(barrier, sizeof *barrier);
}

/* --- arrive and leave ------------------------------------------------------------------------- */

bool hfi_shm_barrier_complete(const struct barrier_view *view, uint64_t phase) {
    const uint32_t round = phase_round(phase);
    hfi_shm_fence(); /* my seat before theirs: of two that come last one sees the other */
    for (uint32_t i = 0; i < view->parties; i++)
        if (!seat_arrived(hfi_shm_load64(&view->seats[i]), round)) return false;
    const uint64_t next = phase_next(phase, false, phase_culprit(phase));
    if (hfi_shm_swap64(view->phase, &phase, next)) hfi_shm_signal(view->passed, INT32_MAX);
    return true;
}

/* How much a seat is for this participant: 3 its own, 2 nobody's, 1 somebody's of an old round, 0 not
 * to be had. */
static int seat_worth(uint64_t seat, uint32_t round, uint32_t self) {
    const uint32_t owner = seat_owner(seat);
    if (owner == 0) return 2;
    if (!round_is_before(seat_round(seat), round)) return 0;
    return owner == self ? 3 : 1;
}

/* Takes the best seat there is; its index, or UINT32_MAX. */
static uint32_t barrier_sit(const struct barrier_view *view, uint32_t round, uint32_t self) {
    const uint64_t mine = seat_make(round, self);
    for (int worth = 3; worth > 0; worth--) {
        for (uint32_t n = 0; n < view->parties; n++) {
            const uint32_t i = (self + n) % view->parties;
            uint64_t seat = hfi_shm_load64(&view->seats[i]);
            if (seat_worth(seat, round, self) != worth) continue;
            if (hfi_shm_swap64(&view->seats[i], &seat, mine)) return i;
        }
    }
    return UINT32_MAX;
}

/* Gives the arrival back, unless the round has ended: then *phase_out is what followed. The seat stays
 * this participant's, as of the round before: it takes part still, and its death is to be noticed. */
static bool barrier_withdraw(const struct barrier_view *view, uint32_t index, uint32_t round,
                             uint32_t self, uint64_t *phase_out) {
    const uint64_t mine = seat_make(round, self);
    uint64_t seat = mine, leaving = mine | SEAT_LEAVING;
    (void)hfi_shm_swap64(&view->seats[index], &seat, leaving);
    uint64_t phase = hfi_shm_load64(view->phase);
    for (int tries = 0; tries < BARRIER_TRIES && phase_round(phase) == round; tries++) {
        if (!HFI_SHM_MUTANT(541) && !hfi_shm_swap64(view->phase, &phase, phase_withdrawn(phase)))
            continue;
        const uint64_t back = seat_make((round - 1) & ROUND_MASK, self);
        (void)hfi_shm_swap64(&view->seats[index], &leaving, back);
        hfi_shm_signal(view->passed, INT32_MAX); /* there is a seat for who waits for one */
        return true;
    }
    (void)hfi_shm_swap64(&view->seats[index], &leaving, mine);
    *phase_out = phase;
    return false;
}

/* --- wait ------------------------------------------------------------------------------------- */

static hf_status barrier_broken(hf_shm_barrier *barrier, uint32_t seen, bool broken) {
    /* relaxed: private to this process; rounds before it are known to who uses this handle. */
    atomic_store_explicit(&barrier->seen, seen, memory_order_relaxed);
    if (!broken) return HF_OK;
    return hfi_shm_say(HF_E_OWNER_DIED, "a round of the barrier was broken: a participant that "
                                        "takes part was killed; come again");
}

/* Rounds that broke while this handle was open and nobody waited with it. */
static bool barrier_missed(const hf_shm_barrier *barrier, uint64_t phase) {
    /* relaxed: as above. */
    const uint32_t seen = atomic_load_explicit(&barrier->seen, memory_order_relaxed);
    const uint32_t rounds = (phase_round(phase) - seen) & ROUND_MASK;
    if (rounds > ROUND_MASK / 2) return false;
    return (phase_outcomes(phase) & ((1u << (rounds < 8 ? rounds : 8)) - 1)) != 0;
}

/* The round in which this one sat is over. Of rounds long ago nobody knows: broken. */
static hf_status barrier_passed(hf_shm_barrier *barrier, uint64_t phase, uint32_t round) {
    const uint32_t ago = (phase_round(phase) - round - 1) & ROUND_MASK;
    const bool broken = ago >= 8 || (phase_outcomes(phase) >> ago & 1) != 0;
    return barrier_broken(barrier, (round + 1) & ROUND_MASK, broken);
}

/* Those who take part and are dead. */
static void barrier_search(hf_shm_barrier *barrier, uint32_t self) {
    uint64_t owners[HFI_SHM_OWNER_MAX / 64 + 1] = {0};
    for (uint32_t i = 0; i < barrier->view.parties; i++) {
        const uint32_t owner = seat_owner(hfi_shm_load64(&barrier->view.seats[i]));
        if (owner < HFI_SHM_OWNER_MAX) owners[owner / 64] |= (uint64_t)1 << (owner % 64);
    }
    for (uint32_t owner = 1; owner < HFI_SHM_OWNER_MAX; owner++)
        if ((owners[owner / 64] >> (owner % 64) & 1) && owner != self &&
            hfi_shm_dead(barrier->part.shm, owner))
            hfi_shm_recover(barrier->part.shm, owner);
}

struct barrier_wait {
    uint32_t self, round, seat; /* UINT32_MAX: has none yet */
    struct hfi_shm_patience patience;
};

/* Sits down if there is a seat, and ends the round if it can. True: the round it sits in is over. */
static bool barrier_look(const struct barrier_view *view, struct barrier_wait *wait,
                         uint64_t *phase_out) {
    for (int tries = 0; tries < 64; tries++) {
        const uint64_t phase = *phase_out = hfi_shm_load64(view->phase);
        if (wait->seat != UINT32_MAX && phase_round(phase) != wait->round) return true;
        if (wait->seat == UINT32_MAX) {
            wait->round = phase_round(phase);
            wait->seat = barrier_sit(view, wait->round, wait->self);
        }
        if (!hfi_shm_barrier_complete(view, phase)) break;
    }
    return false;
}

hf_status hf_shm_barrier_wait(hf_shm_barrier *barrier, uint64_t timeout_ns, uint32_t *place_out) {
    if (!barrier) return hfi_shm_say(HF_E_INVALID, "hf_shm_barrier_wait: barrier is NULL");
    const struct barrier_view *view = &barrier->view;
    struct barrier_wait wait = {.self = hfi_shm_self(barrier->part.shm), .seat = UINT32_MAX};
    if (wait.self == 0) return hfi_shm_closed(barrier->part.shm);
    uint64_t phase = hfi_shm_load64(view->phase);
    if (barrier_missed(barrier, phase)) return barrier_broken(barrier, phase_round(phase), true);
    const uint64_t deadline = hfi_shm_deadline(timeout_ns);
    struct hfi_shm_spin spin = {0};
    bool over = barrier_look(view, &wait, &phase);
    while (!over && timeout_ns != 0 && hfi_shm_spin(&spin))
        over = barrier_look(view, &wait, &phase);
    while (!over) {
        const uint32_t turn = hfi_shm_event_turn(view->passed);
        over = barrier_look(view, &wait, &phase);
        if (over) break;
        if (hfi_shm_patience(&wait.patience, phase_round(phase)))
            barrier_search(barrier, wait.self);
        if (hfi_shm_wait(view->passed, turn, deadline) != HF_E_TIMEOUT) continue;
        /* The last look: who waits little or not at all is told of a death, too. */
        barrier_search(barrier, wait.self);
        over = barrier_look(view, &wait, &phase);
        if (over) break;
        if (wait.seat == UINT32_MAX ||
            barrier_withdraw(view, wait.seat, wait.round, wait.self, &phase))
            return hfi_shm_say(HF_E_TIMEOUT,
                               "not all %" PRIu32 " parties came to the barrier in %" PRIu64 " ms",
                               view->parties, timeout_ns / 1000000);
        over = true;
    }
    if (place_out) *place_out = wait.seat;
    return barrier_passed(barrier, phase, wait.round);
}

uint32_t hf_shm_barrier_parties(const hf_shm_barrier *barrier) {
    return barrier ? barrier->view.parties : 0;
}

uint32_t hf_shm_barrier_waiting(hf_shm_barrier *barrier) {
    return barrier ? hfi_shm_barrier_arrived(&barrier->view) : 0;
}

uint32_t hf_shm_barrier_round(const hf_shm_barrier *barrier) {
    if (!barrier) return 0;
    const uint32_t round = phase_round(hfi_shm_load64(barrier->view.phase));
    return (round - phase_round(PHASE_FIRST)) & ROUND_MASK;
}
