/* shm_array.h - elements of one type in shared memory, in up to 8 dimensions, reached by address.
 *
 *   hf_shm_array_options_init(&options, sizeof(double), 1000);  options.format = "<f8";
 *   hf_shm_array_open(shm, "field", HF_SHM_OPEN_OR_CREATE, &options, &array);
 *   double *field = hf_shm_array_data(array);
 *
 * Layout       C order: the last index varies fastest; no padding; zeroed when it is made; element 0
 *              lies at a multiple of 64 bytes (4096 from a page on).
 * Guarantee    an aligned element of up to 8 bytes is never torn. Everything else is between those
 *              who use it: for whole snapshots there is shm_versioned.h, for counters shm_cells.h.
 * Killed       what a process wrote is there, what it had not yet written is not.
 * Threads      any; the address is good until the array is closed. */
#ifndef HOLDFAST_SHM_ARRAY_H
#define HOLDFAST_SHM_ARRAY_H

#include <stdint.h>

#include <holdfast/shm.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm_array hf_shm_array;

typedef struct hf_shm_array_options {
    uint32_t struct_size;
    uint32_t dimensions;    /* 0: one, of element_count; when opening: any            */
    uint64_t element_size;  /* [bytes]; 0 when opening: any                           */
    uint64_t element_count; /* the product of the shape; 0 when opening: any          */
    uint64_t shape[HF_SHM_DIMENSIONS_MAX];
    const char *format; /* of one element, as NumPy writes it; NULL: any          */
} hf_shm_array_options;

/* One dimension. */
HF_API void hf_shm_array_options_init(hf_shm_array_options *options, uint64_t element_size,
                                      uint64_t element_count);
/* HF_E_MISMATCH: there is one of another kind, element or shape. NULL options with HF_SHM_OPEN:
 * whatever it is. */
HF_API hf_status hf_shm_array_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                   const hf_shm_array_options *options, hf_shm_array **array_out);
HF_API void hf_shm_array_close(hf_shm_array *array);

HF_API void *hf_shm_array_data(const hf_shm_array *array);
/* [bytes] */
HF_API uint64_t hf_shm_array_size(const hf_shm_array *array);
HF_API uint64_t hf_shm_array_element_size(const hf_shm_array *array);
HF_API uint64_t hf_shm_array_element_count(const hf_shm_array *array);
HF_API uint32_t hf_shm_array_dimensions(const hf_shm_array *array);
/* hf_shm_array_dimensions extents. */
HF_API const uint64_t *hf_shm_array_shape(const hf_shm_array *array);
/* Where it lies in the segment, for hf_shm_at and hf_shm_persist_span. */
HF_API hf_shm_span hf_shm_array_span(const hf_shm_array *array);

/* Address of the element at `indices` (one for each dimension); NULL if one is out of range. */
HF_API void *hf_shm_array_at(const hf_shm_array *array, const uint64_t *indices);
/* Address of `count` elements from a flat index on; NULL if they do not all lie inside. */
HF_API void *hf_shm_array_run(const hf_shm_array *array, uint64_t first, uint64_t count);

#ifdef __cplusplus
}
#endif
#endif
