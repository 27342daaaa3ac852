/* malloc.h - one block of any size, any alignment, from any heap; and back.
 * The general paths; the hot ones of the default heap are in hot.c and fall back to these.
 * Threads     any.
 * Fails with  NULL and errno; frees never fail and keep errno. */
#ifndef HFI_MALLOC_H
#define HFI_MALLOC_H

#include "types.h"

/* `alignment` is a power of two; `zero` asks for zeroed memory. */
void *hfi_alloc(hf_heap *heap, size_t size, size_t alignment, int domain, bool zero);
/* Frees a block of any heap; `only` insists on that heap. `expected_size` SIZE_MAX: not checked. */
void hfi_free(hf_heap *only, void *block, int domain, size_t expected_size);
void *hfi_realloc(hf_heap *heap, void *block, size_t size, int domain);
size_t hfi_size_of(const void *block);

/* True if a small block that is free still holds what it held when it was freed. */
bool hfi_freed_whole(hf_heap *heap, const void *block, size_t extent);
/* Takes a block that a hot path found suspicious on pop; hands out it or another one. */
void *hfi_alloc_suspect(hf_heap *heap, void *block, unsigned class_index, size_t size, int domain);

/* Makes blocks that hfi_free_small would check too late look different; see middle.c, large.c. */
struct hfi_live {
    struct hfi_owner *owner;
    size_t size;   /* asked for; class size in fast heaps       */
    size_t extent; /* occupied                                  */
    uint64_t note; /* trailer's; HFI_NOTE_MAX + 1: not live     */
    hf_heap *heap;
    unsigned class_index;
};
/* What a pointer is; false unless it is the start of a live, whole block. */
bool hfi_resolve(const void *block, struct hfi_live *live_out);

#endif
