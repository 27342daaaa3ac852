/* pool_state.h - where the parts of a pool lie, in shared memory and in this process.
 *
 *   header 128 | released 128 | slots (slots.h) | objects, stride apart
 *
 * Contract    the layout follows from capacity, object size and alignment alone, so that it can be
 *             computed anew and compared; the header repeats them for checking.
 * Invariants  capacity and object size are those of the entry; nothing is computed from garbage.
 * Talks to    segment.h, slots.h.   Called by pool.c, pool_look.c, pool_kind.c.
 * Threads     constant after open, but for look_next. */
#ifndef HFI_SHM_POOL_STATE_H
#define HFI_SHM_POOL_STATE_H

#include <inttypes.h>
#include <stdio.h>

#include <holdfast/shm_pool.h>

#include "segment.h"
#include "slots.h"

struct pool_header {
    uint64_t capacity, object_size, alignment;
    uint32_t sanitize, spare;
    _Atomic uint64_t recovered; /* objects that came back from killed ones */
};

/* Private: what kind functions and open pools both need. */
struct pool_view {
    struct pool_header *header;
    struct hfi_shm_event *released;
    struct hfi_shm_slots slots;
    char *objects;
    uint64_t object_size, stride;
    bool sanitize;
};

struct hf_shm_pool {
    struct hfi_shm_part part;
    struct pool_view view;
    _Atomic uint64_t
        look_next; /* clock from which an empty pool is searched for dead owners again */
};

extern const struct hfi_shm_kind hfi_shm_pool_kind;

struct pool_layout {
    uint64_t stride, slots_at, objects_at, size;
};
/* False if the numbers are out of range. */
bool hfi_shm_pool_layout(uint64_t capacity, uint64_t object_size, uint64_t alignment,
                         struct pool_layout *layout);
/* False if the header contradicts the entry. */
bool hfi_shm_pool_view(const struct hfi_shm_part *part, struct pool_view *view);
/* Zeroes an object; context is the view. */
void hfi_shm_pool_wipe(void *view, uint32_t index);
/* Says why a handle was refused; returns the status. */
hf_status hfi_shm_pool_refuse(hf_shm_pool *pool, const char *what, hf_shm_handle handle,
                              hf_status status);

#endif
