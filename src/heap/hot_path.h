/* hot_path.h - what the hot paths of all profiles share: ways to a magazine, ways out.
 * Contract    only for hot.c and hot_hardened.c. Everything that is not the plain case leaves by a
 *             cold function, which does the whole job in malloc.c.
 * Threads     the calling thread's cache. */
#ifndef HFI_HOT_PATH_H
#define HFI_HOT_PATH_H

#include "heap_state.h"
#include "malloc.h"
#include "tcache.h"

#define HFI_HOT  __attribute__((hot, aligned(64)))
#define HFI_COLD __attribute__((noinline, cold))

static HFI_COLD __attribute__((unused)) void *hfi_malloc_cold(size_t size) {
    return hfi_alloc(&hfi_default_heap, size, 16, HF_DOMAIN_LIBC, false);
}

static HFI_COLD __attribute__((unused)) void hfi_free_cold(void *block) {
    hfi_free(NULL, block, HF_DOMAIN_LIBC, SIZE_MAX);
}

static HFI_COLD __attribute__((unused)) void *hfi_suspect_cold(void *block, size_t extent,
                                                               size_t size, int domain) {
    return hfi_alloc_suspect(&hfi_default_heap, block, hfi_class_of(extent), size, domain);
}

static HFI_COLD __attribute__((unused)) void *hfi_domain_malloc_cold(int domain, size_t size) {
    return hfi_alloc(&hfi_default_heap, size, 16, domain, false);
}

static HFI_COLD __attribute__((unused)) void hfi_domain_free_cold(int domain, void *block) {
    hfi_free(NULL, block, domain, SIZE_MAX);
}

static HFI_COLD __attribute__((unused)) void hfi_sized_free_cold(int domain, void *block,
                                                                 size_t size) {
    hfi_free(NULL, block, domain, size);
}

/* The magazine of linear class extent / 16: 32 bytes a class. */
static inline struct hfi_magazine *hfi_magazine_at(struct hfi_tcache *tc, size_t extent) {
    return (struct hfi_magazine *)((char *)tc + extent * (sizeof(struct hfi_magazine) / 16));
}

/* Offset in the thread cache of the magazine for blocks of the slice that holds the address; 0, the
 * magazine that is always full, if that is not a healthy slab of the default heap. */
static inline size_t hfi_magazine_offset(const void *block) {
    uintptr_t offset = (uintptr_t)block - hfi_reservation_base;
    if (hfi_unlikely(offset >= hfi_reservation_size)) return 0;
    /* relaxed: the block came with the program's own synchronisation. */
    return atomic_load_explicit(&hfi_pagemap_magazine[offset >> HFI_SLICE_SHIFT],
                                memory_order_relaxed);
}

#endif
