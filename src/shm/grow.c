/* grow.c - memory at the end of a segment.
 *
 *   grow: lock, allocate behind the end, say the new size      others map it when they meet it
 * Invariants  the size in the header never says more than there is memory for; killed in between, the
 *             file is longer than it says, and the next one to grow uses that.
 * Threads     grow takes the table's lock; addresses stay, so readers notice nothing.
 * Fails with  HF_E_LIMIT, HF_E_NO_SPACE.
 * Talks to    os, table.   Source: tmpfs, fallocate(2). */
#include <errno.h>
#include <string.h>

#include "os/os.h"
#include "segment_state.h"

static hf_status extend(hf_shm *shm, uint64_t from, uint64_t to) {
    if (hfi_os_shm_extend(shm->view, from, to) == 0) return HF_OK;
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == ENOMEM)
        return hfi_shm_say(
            HF_E_NO_SPACE,
            "segment \"%s\": there is no memory to grow from %llu to %llu bytes (%s)", shm->name,
            (unsigned long long)from, (unsigned long long)to, strerror(errno));
    return hfi_shm_say(HF_E_SYSTEM, "segment \"%s\": growing: %s", shm->name, strerror(errno));
}

hf_status hf_shm_grow(hf_shm *shm, uint64_t size) {
    hf_status status = hfi_shm_usable(shm);
    if (status != HF_OK) return status;
    uint64_t wanted = hfi_shm_round(size <= HF_SHM_SIZE_MAX ? size : HF_SHM_SIZE_MAX, HFI_PAGE);
    if (size > shm->reserved)
        return hfi_shm_say(
            HF_E_LIMIT,
            "segment \"%s\" may grow to %llu bytes, not to %llu; make it with a larger "
            "size_max",
            shm->name, (unsigned long long)shm->reserved, (unsigned long long)size);
    status = hfi_shm_table_lock(shm);
    if (status != HF_OK) return status;
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    uint64_t now = hfi_shm_size(shm);
    if (wanted > now && shm->node != -1 &&
        hfi_os_shm_map(shm->base + now, wanted - now, shm->view, now, NULL) == 0)
        hfi_shm_place_pages(shm, now, wanted); /* cover maps it again, the file knows by then */
    if (wanted > now) status = extend(shm, now, wanted);
    if (wanted > now && status == HF_OK) {
        if (shm->on_file) (void)hfi_os_shm_sync(shm->view);
        hfi_shm_store64(&header->size, wanted);
        hfi_shm_harden(shm, 0, HFI_SHM_PLACES_AT);
        if (!hfi_shm_cover(shm, wanted))
            status = hfi_shm_say(HF_E_NO_MEMORY, "segment \"%s\": the new end cannot be mapped",
                                 shm->name);
    }
    hfi_shm_table_unlock(shm);
    return status;
}
