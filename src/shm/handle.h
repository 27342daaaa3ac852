/* handle.h - opening a small structure: the private handle and the attachment, or neither.
 * Contract    the handle is zeroed memory of our own whose first member is struct hfi_shm_part.
 * Called by   event, semaphore, mutex, barrier, cells, pool.   Talks to segment.h.
 * Threads     any.
 * Fails with  HF_E_NO_MEMORY and what hfi_shm_attach says. */
#ifndef HFI_SHM_HANDLE_H
#define HFI_SHM_HANDLE_H

#include <inttypes.h>

#include "segment.h"

/* Finds or makes the structure. NULL and *status_out: it did not come to that. */
void *hfi_shm_handle_open(hf_shm *shm, hf_shm_mode mode, const struct hfi_shm_request *request,
                          size_t size, hf_status *status_out);
/* NULL does nothing; `size` as it was opened with. */
void hfi_shm_handle_close(void *handle, size_t size);

#endif
