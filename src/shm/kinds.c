/* kinds.c - the structures a segment knows how to recover, check, repair and show, by kind.
 *
 * Talks to    segment.h and every structure's own table of functions.   Called by recover, check,
 *             repair, figures and view of the segment. */
#include "segment.h"

extern const struct hfi_shm_kind hfi_shm_array_kind;
extern const struct hfi_shm_kind hfi_shm_barrier_kind;
extern const struct hfi_shm_kind hfi_shm_cells_kind;
extern const struct hfi_shm_kind hfi_shm_event_kind;
extern const struct hfi_shm_kind hfi_shm_map_kind;
extern const struct hfi_shm_kind hfi_shm_mutex_kind;
extern const struct hfi_shm_kind hfi_shm_pool_kind;
extern const struct hfi_shm_kind hfi_shm_queue_kind;
extern const struct hfi_shm_kind hfi_shm_ring_kind;
extern const struct hfi_shm_kind hfi_shm_semaphore_kind;
extern const struct hfi_shm_kind hfi_shm_versioned_kind;

const struct hfi_shm_kind *const hfi_shm_kinds[HF_SHM_KIND_COUNT] = {
    [HF_SHM_KIND_SPAN] = NULL,
    [HF_SHM_KIND_ARRAY] = &hfi_shm_array_kind,
    [HF_SHM_KIND_BARRIER] = &hfi_shm_barrier_kind,
    [HF_SHM_KIND_CELLS] = &hfi_shm_cells_kind,
    [HF_SHM_KIND_EVENT] = &hfi_shm_event_kind,
    [HF_SHM_KIND_MAP] = &hfi_shm_map_kind,
    [HF_SHM_KIND_MUTEX] = &hfi_shm_mutex_kind,
    [HF_SHM_KIND_POOL] = &hfi_shm_pool_kind,
    [HF_SHM_KIND_QUEUE] = &hfi_shm_queue_kind,
    [HF_SHM_KIND_RING] = &hfi_shm_ring_kind,
    [HF_SHM_KIND_SEMAPHORE] = &hfi_shm_semaphore_kind,
    [HF_SHM_KIND_VERSIONED] = &hfi_shm_versioned_kind,
};
