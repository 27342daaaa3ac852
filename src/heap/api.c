/* api.c - the public functions that only forward.
 * Contract    holdfast/heap.h.
 * Talks to    malloc, dispatch, tcache, reclaim.   Called by the program. */
#include <errno.h>

#include "base/report.h"
#include "dispatch.h"
#include "heap_state.h"
#include "malloc.h"
#include "reclaim.h"
#include "tcache.h"

static bool alignment_valid(size_t alignment) {
    return alignment != 0 && (alignment & (alignment - 1)) == 0;
}

void *hf_malloc(size_t size) {
    return hfi_dispatch.malloc(size);
}

void *hf_calloc(size_t count, size_t size) {
    return hfi_dispatch.calloc(count, size);
}

void *hf_realloc(void *block, size_t size) {
    return hfi_dispatch.realloc(block, size);
}

void *hf_aligned_alloc(size_t alignment, size_t size) {
    if (alignment_valid(alignment)) return hfi_dispatch.aligned_alloc(alignment, size);
    errno = EINVAL;
    return NULL;
}

void hf_free(void *block) {
    hfi_dispatch.free(block);
}

void hf_free_sized(void *block, size_t size) {
    hfi_dispatch.free_sized(block, size);
}

size_t hf_usable_size(const void *block) {
    return hfi_dispatch.usable_size(block);
}

void *hf_heap_malloc(hf_heap *heap, size_t size) {
    return hfi_alloc(heap, size, 16, HF_DOMAIN_LIBC, false);
}

void *hf_heap_calloc(hf_heap *heap, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return hfi_heap_failed(heap);
    return hfi_alloc(heap, bytes, 16, HF_DOMAIN_LIBC, true);
}

void *hf_heap_realloc(hf_heap *heap, void *block, size_t size) {
    return hfi_realloc(heap, block, size, HF_DOMAIN_LIBC);
}

void *hf_heap_aligned_alloc(hf_heap *heap, size_t alignment, size_t size) {
    if (alignment_valid(alignment))
        return hfi_alloc(heap, size, alignment < 16 ? 16 : alignment, HF_DOMAIN_LIBC, false);
    errno = EINVAL;
    return NULL;
}

void hf_heap_free(hf_heap *heap, void *block) {
    hfi_free(heap, block, HF_DOMAIN_LIBC, SIZE_MAX);
}

void *hf_domain_malloc(int domain, size_t size) {
    return hfi_dispatch.domain_malloc(domain, size);
}

void *hf_domain_calloc(int domain, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return hfi_heap_failed(&hfi_default_heap);
    return hfi_alloc(&hfi_default_heap, bytes, 16, domain & 3, true);
}

void *hf_domain_realloc(int domain, void *block, size_t size) {
    return hfi_realloc(&hfi_default_heap, block, size, domain & 3);
}

void hf_domain_free(int domain, void *block) {
    hfi_dispatch.domain_free(domain, block);
}

hf_heap *hf_heap_of(const void *block) {
    struct hfi_live live;
    return hfi_resolve(block, &live) ? live.heap : NULL;
}

size_t hf_heap_reclaim(hf_heap *heap) {
    bool more = false;
    if (!hfi_start()) return 0;
    hfi_thread_flush_all();
    return hfi_reclaim_pass(true, heap, &more);
}

size_t hf_reclaim(void) {
    return hf_heap_reclaim(NULL);
}

void hf_thread_flush(void) {
    hfi_thread_flush_all();
}

const char *hf_version(void) {
    return HF_VERSION_STRING;
}
/* The same without a way for another library to come between. */
extern const char *hfi_version_here(void)
    __attribute__((alias("hf_version"), visibility("hidden")));

int hf_node_count(void) {
    return hfi_start() ? (int)hfi_os_node_count() : 1;
}

int hf_node_current(void) {
    return hfi_start() ? (int)hfi_os_node_current() : 0;
}

int hf_owns(const void *address) {
    return hfi_segment_owns(address);
}

/* The preload library has its own, which says 1. */
__attribute__((weak)) int hf_is_active(void) {
    return 0;
}
