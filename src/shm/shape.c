/* shape.c - extents of arrays.
 *
 * Invariants  a taken shape that is not "any" has element_size * element_count <= HF_SHM_SIZE_MAX, and
 *             its extents multiply to element_count: no product of them overflows later.
 * Talks to    segment.h.   Called by array, versioned.
 * Threads     stateless.
 * Fails with  HF_E_INVALID. */
#include "shape.h"

hf_status hfi_shm_shape_take(struct hfi_shm_shape *shape, bool any, const char *who) {
    if (shape->dimensions > HF_SHM_DIMENSIONS_MAX)
        return hfi_shm_say(HF_E_INVALID, "%s: %u dimensions; at most %d", who, shape->dimensions,
                           HF_SHM_DIMENSIONS_MAX);
    uint64_t product = shape->dimensions != 0 ? 1 : shape->element_count;
    for (uint32_t i = 0; i < shape->dimensions; i++) {
        uint64_t extent = shape->extents[i];
        if (extent == 0 || extent > HF_SHM_SIZE_MAX / product)
            return hfi_shm_say(HF_E_INVALID,
                               "%s: extent %u of the shape is %llu; extents are 1 or "
                               "more and all bytes at most 2^46",
                               who, i, (unsigned long long)extent);
        product *= extent;
    }
    if (shape->element_count != 0 && shape->element_count != product)
        return hfi_shm_say(HF_E_INVALID, "%s: the shape has %llu elements, element_count says %llu",
                           who, (unsigned long long)product,
                           (unsigned long long)shape->element_count);
    if (any && (product == 0 || shape->element_size == 0)) return HF_OK;
    if (product == 0 || shape->element_size == 0 || shape->element_size > HF_SHM_SIZE_MAX / product)
        return hfi_shm_say(HF_E_INVALID,
                           "%s: %llu elements of %llu bytes; at least 1 of each, at "
                           "most 2^46 bytes",
                           who, (unsigned long long)product,
                           (unsigned long long)shape->element_size);
    shape->element_count = product;
    if (shape->dimensions == 0 && !any) {
        shape->dimensions = 1;
        shape->extents[0] = product;
    }
    return HF_OK;
}

void hfi_shm_shape_request(const struct hfi_shm_shape *shape, struct hfi_shm_request *request) {
    request->element_size = shape->element_size;
    request->element_count = shape->element_count;
    request->dimensions = shape->dimensions;
    for (uint32_t i = 0; i < shape->dimensions; i++)
        request->shape[i] = shape->extents[i];
}
