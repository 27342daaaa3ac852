/* middle_stamp.h - what a freed middle block must still look like when its memory is used again.
 *
 *   first unit of the payload: | length, coded | its complement | pattern ... |    bit in pool->stamped
 *
 * Free blocks melt together and are cut anew, so a stamp stands where a freed block began, whatever
 * became of its borders; it is verified and taken off when its unit is handed out or its page given
 * back. The length leads to the trailer the block had, and so to who allocated and who freed it.
 * Invariants  a stamped unit lies in a free or kept block, its page was not given back since.
 * Talks to    block.h.   Called by middle.c, diagnose.c, walk.c.
 * Threads     the caller holds pool->lock.
 * Fails with  false, or the unit, where a stamp was written over. */
#ifndef HFI_MIDDLE_STAMP_H
#define HFI_MIDDLE_STAMP_H

#include "middle.h"

/* Stamps the block [start, start + units) that is about to be free. */
void hfi_stamp_put(struct hfi_middle_pool *pool, uint32_t start, uint32_t units, bool shifted);
/* Takes off every stamp in [from, to). The unit of the first that was written over, or
 * HFI_FIT_NONE; that one stays. */
uint32_t hfi_stamp_take(struct hfi_middle_pool *pool, uint32_t from, uint32_t to);
/* The first stamp at or after `from` that was written over; HFI_FIT_NONE if all are whole. */
uint32_t hfi_stamp_broken(const struct hfi_middle_pool *pool, uint32_t from);
/* The payload a stamp stands for. */
char *hfi_stamp_payload(const struct hfi_middle_pool *pool, uint32_t unit);
/* True if `payload` was a block and its stamp is still there. */
bool hfi_stamp_is(const struct hfi_middle_pool *pool, const void *payload);
/* Bytes from the payload to its trailer's end; 0 if the stamp does not say. */
size_t hfi_stamp_extent(const struct hfi_middle_pool *pool, uint32_t unit);
/* Which bytes, counted from the payload, are not as they were, and what should be there first. */
void hfi_stamp_damage(const struct hfi_middle_pool *pool, uint32_t unit, ptrdiff_t *offset_out,
                      size_t *length_out, uint64_t *expected_out);

#endif
