/* heap.h - heaps: any size, any time, any thread.
 *
 * Caveats
 *  - A heap made with hf_heap_create owns its blocks: hf_heap_destroy frees them all.
 *  - hf_free takes a block of any heap; hf_heap_free insists on the heap and reports FOREIGN_FREE.
 *  - Functions shaped like malloc return NULL and set errno (ENOMEM; EINVAL for a bad alignment).
 *  - Every function may be called from any thread, and in the child of a fork. */
#ifndef HOLDFAST_HEAP_H
#define HOLDFAST_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/options.h>
#include <holdfast/stats.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_heap hf_heap;

/* The process-wide heap; what malloc uses when the library is preloaded. Never destroyed. */
HF_API hf_heap *hf_heap_default(void);
/* A new heap. `options` NULL is the defaults; `name` (may be NULL, copied, 31 bytes) is for reports;
 * `node` is the NUMA node its memory is placed on, -1 for the node of the asking thread. */
HF_API hf_status hf_heap_create(const hf_options *options, const char *name, int node,
                                hf_heap **heap_out);
/* Frees every block and the heap. HF_E_INVALID for the default heap or a pointer that is no heap. */
HF_API hf_status hf_heap_destroy(hf_heap *heap);
HF_API uint64_t hf_heap_id(const hf_heap *heap);
HF_API const char *hf_heap_name(const hf_heap *heap);

HF_API void *hf_heap_malloc(hf_heap *heap, size_t size) HF_NODISCARD;
HF_API void *hf_heap_calloc(hf_heap *heap, size_t count, size_t size) HF_NODISCARD;
HF_API void *hf_heap_realloc(hf_heap *heap, void *block, size_t size) HF_NODISCARD;
HF_API void *hf_heap_aligned_alloc(hf_heap *heap, size_t alignment, size_t size) HF_NODISCARD;
HF_API void hf_heap_free(hf_heap *heap, void *block);

/* The same on the default heap; hf_free takes blocks of every heap. errno is preserved by frees. */
HF_API void *hf_malloc(size_t size) HF_NODISCARD;
HF_API void *hf_calloc(size_t count, size_t size) HF_NODISCARD;
HF_API void *hf_realloc(void *block, size_t size) HF_NODISCARD;
HF_API void *hf_aligned_alloc(size_t alignment, size_t size) HF_NODISCARD;
HF_API void hf_free(void *block);
/* `size` must be what was asked for; a difference is a SIZE_MISMATCH report (not in `fast`). */
HF_API void hf_free_sized(void *block, size_t size);
/* Bytes that may be used; exactly what was asked for unless the profile is `fast`. 0 for NULL or
 * a pointer that is no live block. */
HF_API size_t hf_usable_size(const void *block);
/* The heap a block lives in; NULL if the address belongs to none. */
HF_API hf_heap *hf_heap_of(const void *block);

/* Blocks tagged with the family of functions that asked for them (report.h: hf_domain); freeing by
 * another family is a DOMAIN_MISMATCH report and frees the block all the same. */
HF_API void *hf_domain_malloc(int domain, size_t size) HF_NODISCARD;
HF_API void *hf_domain_calloc(int domain, size_t count, size_t size) HF_NODISCARD;
HF_API void *hf_domain_realloc(int domain, void *block, size_t size) HF_NODISCARD;
HF_API void hf_domain_free(int domain, void *block);

HF_API hf_status hf_heap_stats(hf_heap *heap, hf_stats *stats_out);
/* Fills at most `capacity`; *count_out is the number of size classes. */
HF_API hf_status hf_heap_class_stats(hf_heap *heap, hf_class_stats *classes_out, size_t capacity,
                                     size_t *count_out);
/* Walks every block and verifies it; damage is reported. HF_E_CORRUPT if any was found, with the
 * number in *found_out (may be NULL). */
HF_API hf_status hf_heap_check(hf_heap *heap, size_t *found_out);

/* Gives back to the system whatever is free: caches of this thread, depots, empty slabs, free pages
 * of the middle tier, cached large blocks. Returns the bytes given back. */
HF_API size_t hf_reclaim(void);
HF_API size_t hf_heap_reclaim(hf_heap *heap);
/* The calling thread's cache goes back to the pools. */
HF_API void hf_thread_flush(void);

typedef void (*hf_limit_callback)(hf_heap *heap, uint64_t bytes_mapped, void *context);
/* Changes limits at run time; 0 is none. The callback runs without locks on the thread that crossed
 * the soft limit, once per crossing. */
HF_API hf_status hf_heap_limit(hf_heap *heap, uint64_t hard, uint64_t soft,
                               hf_limit_callback callback, void *context);
/* What happens after a report, for the whole process. */
HF_API hf_status hf_policy_set(hf_policy policy);

/* "0.1.0"; true in a process whose malloc is this library's. */
HF_API const char *hf_version(void);
HF_API int hf_is_active(void);

/* NUMA, as the library sees it. */
HF_API int hf_node_count(void);
HF_API int hf_node_current(void);

/* Address range test: 1 if the library manages the address (live or not). Never faults. */
HF_API int hf_owns(const void *address);

#ifdef __cplusplus
}
#endif
#endif
