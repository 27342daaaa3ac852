/* cells_state.h - where cells lie, in shared memory and in this process.
 * Contract    cells.c says what it looks like.   Called by cells.c, cells_kind.c.
 * Invariants  count and stride are private copies that fit into the part.
 * Talks to    segment.h.
 * Threads     constant after open. */
#ifndef HFI_SHM_CELLS_STATE_H
#define HFI_SHM_CELLS_STATE_H

#include <inttypes.h>

#include <holdfast/shm_cells.h>

#include "segment.h"

#define CELLS_EVENTS 16u
#define CELLS_STRIDE 64u

struct cells_header {
    uint64_t count;
    uint32_t type, packed;
};
struct cells_event {
    struct hfi_shm_event event;
    char spare[CELLS_STRIDE - sizeof(struct hfi_shm_event)];
};
struct cell_line {
    _Atomic uint64_t value;
    struct hfi_shm_event event;
};

struct hf_shm_cells {
    struct hfi_shm_part part;
    char *cells;
    struct cells_event *events; /* packed; otherwise NULL */
    uint64_t count, stride;
    hf_shm_cell_type type;
};

static inline bool cell_is_narrow(uint32_t type) {
    return type == HF_SHM_CELL_I32 || type == HF_SHM_CELL_U32;
}

#endif
