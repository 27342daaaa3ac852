/* fit.h - blocks of any size in one range: first, next or best fit, split, coalesce.
 *
 *   units:  | used 3 | free 5          | used 2 |        length[first] = length[last] = units
 *   used:     1 . .    . . . . .         1 .             bit at the first unit of a used block
 *   free:     . . .    1 . . . .         . .             bit at the first unit of a free one
 *
 * Boundary tags, but beside the blocks: nothing a program overwrites can break the structure, and
 * everything is an index, so it works in shared memory. Two free blocks never touch.
 * Invariants  blocks tile [0, units); free_units == sum of free lengths; largest >= longest free.
 * Talks to    nothing.   Called by heap/middle.c, shm.
 * Threads     the caller's lock.
 * Fails with  HFI_FIT_NONE; `damaged` is set, and nothing handed out, where the two ends of a block,
 *             or the two maps, contradict each other.
 * Source      Knuth, TAOCP 1, section 2.5 (boundary tags); Wilson et al. 1995 on first fit. */
#ifndef HFI_FIT_H
#define HFI_FIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HFI_FIT_NONE      UINT32_MAX
#define HFI_FIT_UNITS_MAX 65535u

enum hfi_fit_order { HFI_FIT_ORDER_FIRST, HFI_FIT_ORDER_NEXT, HFI_FIT_ORDER_BEST };

struct hfi_fit {
    uint32_t units; /* constant                                  */
    uint32_t order; /* enum hfi_fit_order; constant              */
    uint32_t free_units;
    uint32_t largest; /* no free block is longer                   */
    uint32_t cursor;  /* next fit: where the last search ended     */
    uint64_t splits, coalesces;
    bool damaged;     /* a step met tables that contradict each other */
    uint16_t *length; /* [units]                                   */
    uint64_t *used;   /* bitmap                                    */
    uint64_t *free;   /* bitmap                                    */
};

/* Bytes of the tables for a range of `units`. */
size_t hfi_fit_meta_size(uint32_t units);
/* One free block over everything. `tables` is zeroed memory of hfi_fit_meta_size bytes. */
void hfi_fit_init(struct hfi_fit *fit, uint32_t units, enum hfi_fit_order order, void *tables);
/* Takes `count` units; the start is such that (start + offset) % align == 0 (align in units, a power
 * of two). Returns the first unit. */
uint32_t hfi_fit_take(struct hfi_fit *fit, uint32_t count, uint32_t align, uint32_t offset);
/* Gives back a used block by its first unit; returns the first unit of the free block it joined. */
uint32_t hfi_fit_give(struct hfi_fit *fit, uint32_t start);
/* Changes the length of a used block in place. False if what follows does not allow it. */
bool hfi_fit_resize(struct hfi_fit *fit, uint32_t start, uint32_t count);
/* First unit of the used or free block that covers `unit`; *used_out says which. */
uint32_t hfi_fit_find(const struct hfi_fit *fit, uint32_t unit, bool *used_out);
/* Walks the blocks: `start` of the next one, its length and state; false at the end. Begin with 0. */
bool hfi_fit_next(const struct hfi_fit *fit, uint32_t start, uint32_t *length_out, bool *used_out);
bool hfi_fit_check(const struct hfi_fit *fit);
/* The block that starts here says the same at both ends, and is either used or free. */
bool hfi_fit_whole(const struct hfi_fit *fit, uint32_t start);

static inline bool hfi_fit_is_used(const struct hfi_fit *fit, uint32_t start) {
    return start < fit->units && ((fit->used[start / 64] >> (start % 64)) & 1);
}
static inline bool hfi_fit_is_free(const struct hfi_fit *fit, uint32_t start) {
    return start < fit->units && ((fit->free[start / 64] >> (start % 64)) & 1);
}

#endif
