/* kinds.c - the structures a segment knows how to recover, check and repair, by kind.
 *
 * Talks to    segment.h and every structure's own table of functions.   Called by recover, check,
 *             repair and figures of the segment. */
#include "segment.h"

extern const struct hfi_shm_kind hfi_shm_queue_kind;

const struct hfi_shm_kind *const hfi_shm_kinds[HF_SHM_KIND_COUNT] = {
    [HF_SHM_KIND_SPAN] = NULL,
    [HF_SHM_KIND_QUEUE] = &hfi_shm_queue_kind,
};
