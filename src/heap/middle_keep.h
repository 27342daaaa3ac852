/* middle_keep.h - the last freed middle blocks of a pool, whole, for requests of about their size.
 *
 *   kept:  | oldest ... newest |     used for the fit, freed by their trailers, stamped
 *
 * The usual pair of malloc and free is one lock each and no search. What is kept is cached in the
 * account and the views; it goes to the fit when it is older than a tick, when room is short, and
 * when more than HFI_MIDDLE_KEPT_BYTES or HFI_MIDDLE_KEPT blocks of a pool are kept.
 * Threads     any; pool->lock.
 * Fails with  NULL or false: the general way decides, and reports what is wrong. */
#ifndef HFI_MIDDLE_KEEP_H
#define HFI_MIDDLE_KEEP_H

#include "middle.h"

/* A sealed block for `size` bytes of the program's, or NULL. */
void *hfi_middle_reuse(struct hfi_middle_pool *pool, size_t size, int domain);
/* Takes back the payload of a usual block: whole, of this domain, without a site, `size` long if that
 * is not SIZE_MAX. */
bool hfi_middle_keep(struct hfi_middle_pool *pool, char *payload, int domain, size_t size);

/* Those of the caller hold pool->lock. */
/* The `count` oldest go to the fit. */
void hfi_kept_drop(struct hfi_middle_pool *pool, uint32_t count) HF_REQUIRES(pool->lock);
/* One tick: those of the tick before go. True if any is left. */
bool hfi_kept_tick(struct hfi_middle_pool *pool, bool force) HF_REQUIRES(pool->lock);
bool hfi_kept_has(const struct hfi_middle_pool *pool, uint32_t start);

#endif
