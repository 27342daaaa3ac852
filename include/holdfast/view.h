/* view.h - the heap seen from outside: every block, without owning any.
 * The visitor runs without locks held, on a copy made slab by slab (or pool by pool): each element
 * was true at the moment its slab was read. It may allocate. Return non-zero to stop. */
#ifndef HOLDFAST_VIEW_H
#define HOLDFAST_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/heap.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hf_block_state {
    HF_BLOCK_LIVE,
    HF_BLOCK_CACHED,
    HF_BLOCK_FREE,
    HF_BLOCK_QUARANTINED
} hf_block_state;
typedef enum hf_tier { HF_TIER_SMALL, HF_TIER_MIDDLE, HF_TIER_LARGE, HF_TIER_ARENA } hf_tier;

typedef struct hf_view_block {
    const void *address; /* what the program holds                        */
    size_t size;         /* bytes asked for; class_size in profile `fast` */
    size_t class_size;   /* bytes occupied                                */
    hf_block_state state;
    hf_tier tier;
    int domain;     /* hf_domain                                     */
    uint64_t owner; /* number of the slab, pool or mapping           */
} hf_view_block;

typedef int (*hf_visitor)(const hf_view_block *block, void *context);

/* Visits every block of `heap`, in address order within an owner. HF_OK, or HF_E_INVALID. */
HF_API hf_status hf_heap_view(hf_heap *heap, hf_visitor visitor, void *context);

#ifdef __cplusplus
}
#endif
#endif
