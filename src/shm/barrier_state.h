/* barrier_state.h - the bits of a barrier's phase and seats.
 * Contract    barrier.c says what they mean.   Called by barrier.c, barrier_kind.c.
 * Invariants  rounds count modulo 2^24; a seat is compared with the phase's round by their distance.
 * Talks to    segment.h.
 * Threads     pure. */
#ifndef HFI_SHM_BARRIER_STATE_H
#define HFI_SHM_BARRIER_STATE_H

#include <holdfast/shm_barrier.h>

#include "segment.h"

#define ROUND_MASK    0xffffffu
#define PHASE_FIRST   ((uint64_t)1 << 40)
#define SEAT_LEAVING  ((uint64_t)1 << 16)
#define SEAT_GONE     ((uint64_t)1 << 17)
#define BARRIER_TRIES (1 << 16)

struct barrier_header {
    uint32_t parties, on_death;
};
struct barrier_view {
    _Atomic uint64_t *phase;
    struct hfi_shm_event *passed;
    _Atomic uint64_t *seats;
    uint32_t parties;
    bool go_on;
};
struct hf_shm_barrier {
    struct hfi_shm_part part;
    struct barrier_view view;
    _Atomic uint32_t seen; /* rounds before this one are known to whoever uses this handle */
};

extern const struct hfi_shm_kind hfi_shm_barrier_kind;

static inline uint32_t phase_round(uint64_t phase) {
    return (uint32_t)(phase >> 40);
}
static inline uint32_t phase_outcomes(uint64_t phase) {
    return (uint32_t)(phase >> 16) & 0xff;
}
static inline uint32_t phase_culprit(uint64_t phase) {
    return (uint32_t)phase & 0xffff;
}
/* The phase after the end of this one's round. */
static inline uint64_t phase_next(uint64_t phase, bool broken, uint32_t culprit) {
    const uint64_t round = (phase_round(phase) + 1) & ROUND_MASK;
    const uint64_t outcomes = (phase_outcomes(phase) << 1 & 0xff) | (broken ? 1 : 0);
    return round << 40 | (phase & (uint64_t)0xffff << 24) | outcomes << 16 | culprit;
}
static inline uint64_t phase_withdrawn(uint64_t phase) {
    const uint64_t mask = (uint64_t)0xffff << 24;
    return (phase & ~mask) | ((phase + ((uint64_t)1 << 24)) & mask);
}

static inline uint32_t seat_owner(uint64_t seat) {
    return (uint32_t)seat & 0xffff;
}
static inline uint32_t seat_round(uint64_t seat) {
    return (uint32_t)(seat >> 32) & ROUND_MASK;
}
static inline uint64_t seat_make(uint32_t round, uint32_t owner) {
    return (uint64_t)round << 32 | owner;
}
static inline bool seat_arrived(uint64_t seat, uint32_t round) {
    if (seat & SEAT_GONE) return true;
    return seat_round(seat) == round && seat_owner(seat) != 0 && (seat & SEAT_LEAVING) == 0;
}
static inline bool round_is_before(uint32_t round, uint32_t other) {
    return ((round - other) & ROUND_MASK) > ROUND_MASK / 2;
}

uint64_t hfi_shm_barrier_size(uint32_t parties);
/* False if the header contradicts the entry. */
bool hfi_shm_barrier_view(const struct hfi_shm_part *part, struct barrier_view *view);
/* Ends the round of this phase if all have come; true if so, whoever did it. */
bool hfi_shm_barrier_complete(const struct barrier_view *view, uint64_t phase);
/* Those who have come to the present round. */
uint32_t hfi_shm_barrier_arrived(const struct barrier_view *view);

#endif
