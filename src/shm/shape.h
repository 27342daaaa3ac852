/* shape.h - extents of arrays: their product, and whether an opener asks for the same.
 *
 * Contract    a shape is `dimensions` extents of at least 1 whose product is the element count.
 *             Dimensions 0 mean one, of element_count; both 0 mean any (opening only).
 * Talks to    segment.h.   Called by array, versioned.
 * Fails with  HF_E_INVALID. */
#ifndef HFI_SHM_SHAPE_H
#define HFI_SHM_SHAPE_H

#include "segment.h"

struct hfi_shm_shape {
    uint64_t element_size, element_count;
    uint32_t dimensions;
    uint64_t extents[HF_SHM_DIMENSIONS_MAX];
};

/* Verifies a shape as asked for and completes its element_count or its dimension. `any` allows zeroes:
 * what an opener leaves open. `who` is for the sentence. */
hf_status hfi_shm_shape_take(struct hfi_shm_shape *shape, bool any, const char *who);
/* Puts it into a request. */
void hfi_shm_shape_request(const struct hfi_shm_shape *shape, struct hfi_shm_request *request);

#endif
