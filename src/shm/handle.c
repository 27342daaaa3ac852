/* handle.c - handles of structures: made with the attachment, gone with it.
 * Contract    handle.h.   Called by every structure whose handle is plain memory.
 * Talks to    segment.h, meta (memory).
 * Threads     any.
 * Fails with  HF_E_NO_MEMORY. */
#include "handle.h"

#include "pages/meta.h"

void *hfi_shm_handle_open(hf_shm *shm, hf_shm_mode mode, const struct hfi_shm_request *request,
                          size_t size, hf_status *status_out) {
    void *handle = hfi_meta_alloc(size);
    if (!handle) {
        *status_out =
            hfi_shm_say(HF_E_NO_MEMORY, "\"%s\": no memory for its handle", request->name);
        return NULL;
    }
    *status_out = hfi_shm_attach(shm, mode, request, handle);
    if (*status_out == HF_OK) return handle;
    hfi_meta_free(handle, size);
    return NULL;
}

void hfi_shm_handle_close(void *handle, size_t size) {
    if (!handle) return;
    hfi_shm_detach(handle);
    hfi_meta_free(handle, size);
}
