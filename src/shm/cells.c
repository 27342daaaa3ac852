/* cells.c - numbers that are changed in one step, and waiting for one of them to change.
 *
 *   header 128 | events 16 x 64 (packed) | cells       stride 64: value 8, turn 4, waiters 4
 *                                                      packed: the values alone
 * Contract    holdfast/shm_cells.h.   Talks to segment.h, cells_state.h.
 * Invariants  a cell changes by one instruction: an addition, a store, or a compare-and-swap that is
 *             tried again when somebody else was faster.
 * Killed      before or after that instruction. Nothing is owned, so there is nothing to recover.
 * Threads     every function from any thread of any process.
 * Fails with  HF_E_INVALID, HF_E_TIMEOUT; HF_E_BUSY if 2^20 tries in a row met changes. */
#include <math.h>

#include "cells_state.h"

#define CELLS_TRIES (1 << 20)

void *hf_shm_cells_at(hf_shm_cells *cells, uint64_t index) {
    return cells && index < cells->count ? cells->cells + index * cells->stride : NULL;
}

/* The bits of a cell in 64; narrow ones are the low 32. */
static uint64_t cell_bits(hf_shm_cell_type type, hf_shm_cell value) {
    return cell_is_narrow(type) ? value.u32 : value.u64;
}
static hf_shm_cell cell_of(hf_shm_cell_type type, uint64_t bits) {
    hf_shm_cell value = {.u64 = bits};
    if (cell_is_narrow(type)) {
        value.u64 = 0;
        value.u32 = (uint32_t)bits;
    }
    return value;
}
static uint64_t cell_load(hf_shm_cell_type type, const void *cell) {
    if (cell_is_narrow(type)) return hfi_shm_load32((const _Atomic uint32_t *)cell);
    return hfi_shm_load64((const _Atomic uint64_t *)cell);
}
static bool cell_swap(hf_shm_cell_type type, void *cell, uint64_t *expected, uint64_t value) {
    if (!cell_is_narrow(type)) return hfi_shm_swap64((_Atomic uint64_t *)cell, expected, value);
    uint32_t narrow = (uint32_t)*expected;
    bool done = hfi_shm_swap32((_Atomic uint32_t *)cell, &narrow, (uint32_t)value);
    *expected = narrow;
    return done;
}

static hf_status cells_refuse(const hf_shm_cells *cells, uint64_t index, const char *what) {
    return hfi_shm_say(HF_E_INVALID, "%s: cell %" PRIu64 " of %" PRIu64 ", or a NULL", what, index,
                       cells ? cells->count : 0);
}

hf_status hf_shm_cells_load(const hf_shm_cells *cells, uint64_t index, hf_shm_cell *out) {
    if (!cells || index >= cells->count || !out)
        return cells_refuse(cells, index, "hf_shm_cells_load");
    *out = cell_of(cells->type, cell_load(cells->type, cells->cells + index * cells->stride));
    return HF_OK;
}

hf_status hf_shm_cells_store(hf_shm_cells *cells, uint64_t index, hf_shm_cell value) {
    void *cell = hf_shm_cells_at(cells, index);
    if (!cell) return cells_refuse(cells, index, "hf_shm_cells_store");
    if (cell_is_narrow(cells->type))
        hfi_shm_store32((_Atomic uint32_t *)cell, value.u32);
    else
        hfi_shm_store64((_Atomic uint64_t *)cell, value.u64);
    return HF_OK;
}

/* --- changes ---------------------------------------------------------------------------------- */

enum cell_change { CELL_EXCHANGE, CELL_ADD, CELL_MIN, CELL_MAX };

static bool cell_less(hf_shm_cell_type type, hf_shm_cell a, hf_shm_cell b) {
    switch (type) {
    case HF_SHM_CELL_I64: return a.i64 < b.i64;
    case HF_SHM_CELL_U64: return a.u64 < b.u64;
    case HF_SHM_CELL_I32: return a.i32 < b.i32;
    case HF_SHM_CELL_U32: return a.u32 < b.u32;
    case HF_SHM_CELL_F64: break;
    }
    return a.f64 < b.f64;
}

/* True if `value` is what min or max leaves. A NaN gives way to a number. */
static bool cell_wins(hf_shm_cell_type type, enum cell_change change, hf_shm_cell value,
                      hf_shm_cell there) {
    if (type == HF_SHM_CELL_F64 && isnan(there.f64)) return !isnan(value.f64);
    return change == CELL_MIN ? cell_less(type, value, there) : cell_less(type, there, value);
}

static uint64_t cell_after(hf_shm_cell_type type, enum cell_change change, uint64_t before,
                           hf_shm_cell value) {
    const hf_shm_cell there = cell_of(type, before);
    if (change == CELL_EXCHANGE) return cell_bits(type, value);
    if (change == CELL_ADD) return ((hf_shm_cell){.f64 = there.f64 + value.f64}).u64;
    return cell_wins(type, change, value, there) ? cell_bits(type, value) : before;
}

static hf_status cell_change(hf_shm_cells *cells, uint64_t index, enum cell_change change,
                             hf_shm_cell value, hf_shm_cell *before_out) {
    void *cell = hf_shm_cells_at(cells, index);
    if (!cell) return cells_refuse(cells, index, "hf_shm_cells_add and the like");
    const hf_shm_cell_type type = cells->type;
    uint64_t before;
    bool done = true;
    if (HFI_SHM_MUTANT(551)) {
        before = cell_load(type, cell);
        hfi_shm_store64((_Atomic uint64_t *)cell, before + value.u64);
    } else if (change == CELL_ADD && cell_is_narrow(type)) {
        before = hfi_shm_add32((_Atomic uint32_t *)cell, value.u32);
    } else if (change == CELL_ADD && type != HF_SHM_CELL_F64) {
        before = hfi_shm_add64((_Atomic uint64_t *)cell, value.u64);
    } else {
        before = cell_load(type, cell);
        done = false;
        for (int tries = 0; tries < CELLS_TRIES && !done; tries++) {
            const uint64_t after = cell_after(type, change, before, value);
            done = (after == before && change != CELL_EXCHANGE) ||
                   cell_swap(type, cell, &before, after);
        }
    }
    if (!done) return hfi_shm_say(HF_E_BUSY, "cell %" PRIu64 " changes without end", index);
    if (before_out) *before_out = cell_of(type, before);
    return HF_OK;
}

hf_status hf_shm_cells_exchange(hf_shm_cells *cells, uint64_t index, hf_shm_cell value,
                                hf_shm_cell *before_out) {
    return cell_change(cells, index, CELL_EXCHANGE, value, before_out);
}
hf_status hf_shm_cells_add(hf_shm_cells *cells, uint64_t index, hf_shm_cell value,
                           hf_shm_cell *before_out) {
    return cell_change(cells, index, CELL_ADD, value, before_out);
}
hf_status hf_shm_cells_min(hf_shm_cells *cells, uint64_t index, hf_shm_cell value,
                           hf_shm_cell *before_out) {
    return cell_change(cells, index, CELL_MIN, value, before_out);
}
hf_status hf_shm_cells_max(hf_shm_cells *cells, uint64_t index, hf_shm_cell value,
                           hf_shm_cell *before_out) {
    return cell_change(cells, index, CELL_MAX, value, before_out);
}

hf_status hf_shm_cells_compare_exchange(hf_shm_cells *cells, uint64_t index, hf_shm_cell *expected,
                                        hf_shm_cell value, int *done_out) {
    void *cell = hf_shm_cells_at(cells, index);
    if (!cell || !expected || !done_out)
        return cells_refuse(cells, index, "hf_shm_cells_compare_exchange");
    uint64_t there = cell_bits(cells->type, *expected);
    *done_out = cell_swap(cells->type, cell, &there, cell_bits(cells->type, value));
    if (!*done_out) *expected = cell_of(cells->type, there);
    return HF_OK;
}

/* --- waiting ---------------------------------------------------------------------------------- */

static struct hfi_shm_event *cell_event(hf_shm_cells *cells, uint64_t index) {
    if (cells->events) return &cells->events[index % CELLS_EVENTS].event;
    return &((struct cell_line *)(void *)(cells->cells + index * cells->stride))->event;
}

hf_status hf_shm_cells_wait(hf_shm_cells *cells, uint64_t index, hf_shm_cell value,
                            uint64_t timeout_ns) {
    void *cell = hf_shm_cells_at(cells, index);
    if (!cell) return cells_refuse(cells, index, "hf_shm_cells_wait");
    const uint64_t bits = cell_bits(cells->type, value);
    if (cell_load(cells->type, cell) != bits) return HF_OK;
    const uint64_t deadline = hfi_shm_deadline(timeout_ns);
    struct hfi_shm_event *event = cell_event(cells, index);
    struct hfi_shm_spin spin = {0};
    while (timeout_ns != 0 && hfi_shm_spin(&spin))
        if (cell_load(cells->type, cell) != bits) return HF_OK;
    while (timeout_ns != 0) {
        const uint32_t turn = hfi_shm_event_turn(event);
        if (cell_load(cells->type, cell) != bits) return HF_OK;
        if (hfi_shm_wait(event, turn, deadline) == HF_E_TIMEOUT) break;
    }
    return hfi_shm_say(HF_E_TIMEOUT, "cell %" PRIu64 " did not change for %" PRIu64 " ms", index,
                       timeout_ns / 1000000);
}

hf_status hf_shm_cells_notify(hf_shm_cells *cells, uint64_t index, uint32_t count) {
    if (!hf_shm_cells_at(cells, index)) return cells_refuse(cells, index, "hf_shm_cells_notify");
    /* Packed cells share events: all are woken, and those of other cells sleep on. */
    hfi_shm_signal(cell_event(cells, index), cells->events ? INT32_MAX : count);
    return HF_OK;
}
