/* large.h - blocks above 1 MiB, and guarded ones: segments of their own. What is freed stays warm in
 * the segment layer's huge zone until it decays, bounded by the option large_cache.
 * Bookkeeping stands apart from the block; the payload starts at the segment (or ends at a guard).
 * Threads     any; one lock per heap, rank LARGE, held for list work only.
 * Fails with  NULL when a limit or the OS says no. */
#ifndef HFI_LARGE_H
#define HFI_LARGE_H

#include "types.h"

struct hfi_large {
    struct hfi_owner owner; /* kind = HFI_OWNER_LARGE                            */
    _Atomic bool live;      /* false: quarantined, or on its way to the list     */
    bool guarded;           /* a guard page right behind the payload             */
    bool resting;           /* freed, and a guard all over: any access faults    */
    bool held;              /* a walk found it damaged: the program did not free it yet */
    hf_heap *heap;
    char *base; /* of the segment                                    */
    size_t slices;
    char *payload;
    size_t extent; /* payload to trailer's end                          */
    uint32_t lead; /* base to payload, the header at its end; 0: none   */
    uint64_t number;
    uint64_t note; /* guarded: what the trailer says and the site, where no overflow reaches */
    uint32_t site;
    struct hfi_large *next, *prev; /* list of live blocks                         */
};

struct hfi_large_set *hfi_large_make(hf_heap *heap);
void hfi_large_destroy(hf_heap *heap);

/* *extent_out: payload to trailer's end; *zero_out: reads as zero. */
void *hfi_large_alloc(hf_heap *heap, struct hfi_tcache *tc, size_t size, size_t alignment,
                      size_t *extent_out, bool *zero_out, bool guarded);
/* A guarded block was sealed with this note. */
void hfi_large_sealed(const void *payload, uint64_t note, uint32_t site);
void hfi_large_free(struct hfi_large *large);
/* In place if the extent allows or the space behind is free, else by moving pages; new payload or
 * NULL if the caller must copy. */
void *hfi_large_resize(struct hfi_large *large, size_t size, size_t *extent_out, bool *moved_out);
void hfi_large_quarantine(struct hfi_large *large);
/* The header before the payload is whole, or there is none. */
bool hfi_large_header_whole(const struct hfi_large *large);
/* True if the address was the payload of one of the last freed blocks. */
bool hfi_large_was(hf_heap *heap, const void *address);

struct hfi_large_figures {
    uint64_t live_blocks, mapped, live_bytes, quarantined_bytes, meta_bytes;
    uint64_t lock_waits, lock_wait_ns;
};
void hfi_large_sum(hf_heap *heap, struct hfi_large_figures *out);
/* Which block, for as long as it lives: hfi_large_pin finds it again. */
struct hfi_large_id {
    char *base;
    uint64_t number;
};
/* Live blocks numbered above `after`, in order, for walks; returns how many. */
size_t hfi_large_list(hf_heap *heap, uint64_t after, struct hfi_large_id *out, size_t capacity);
/* Keeps a live block where it is while somebody looks at it; NULL (nothing to unpin) if it is gone. */
const struct hfi_large *hfi_large_pin(hf_heap *heap, const void *base, uint64_t number);
void hfi_large_unpin(hf_heap *heap);
void hfi_large_fork(hf_heap *heap, void (*act)(hfi_lock *));

#endif
