/* grow.c - memory at the end of a segment, and what reaches the medium.
 *
 *   grow: lock, allocate behind the end, say the new size      others map it when they meet it
 * Invariants  the size in the header never says more than there is memory for; killed in between, the
 *             file is longer than it says, and the next one to grow uses that.
 * Threads     grow takes the table's lock; addresses stay, so readers notice nothing.
 * Fails with  HF_E_LIMIT, HF_E_NO_SPACE; HF_E_UNSUPPORTED where there is no medium.
 * Talks to    os, table.   Source: tmpfs, fallocate(2); msync(2), MAP_SYNC in mmap(2). */
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
    if (wanted > now) status = extend(shm, now, wanted);
    if (wanted > now && status == HF_OK) {
        hfi_shm_store64(&header->size, wanted);
        if (!hfi_shm_cover(shm, wanted))
            status = hfi_shm_say(HF_E_NO_MEMORY, "segment \"%s\": the new end cannot be mapped",
                                 shm->name);
        else if (shm->node >= 0)
            (void)hfi_os_node_bind(shm->base + now, wanted - now, (unsigned)shm->node);
        else if (shm->node == -2)
            (void)hfi_os_shm_interleave(shm->base + now, wanted - now);
    }
    hfi_shm_table_unlock(shm);
    return status;
}

/* --- persistence ------------------------------------------------------------------------------ */

static hf_status flush(hf_shm *shm, uint64_t offset, uint64_t size) {
    if (!shm->on_file)
        return hfi_shm_say(
            HF_E_UNSUPPORTED,
            "segment \"%s\" is in memory alone; make it with options.path to keep it", shm->name);
    hfi_shm_step();
    if (shm->sync)
        hfi_os_shm_flush_lines(shm->base + offset, size);
    else if (hfi_os_shm_flush(shm->base + offset, size) != 0)
        return hfi_shm_say(HF_E_SYSTEM, "%.200s: %s", shm->path, strerror(errno));
    return HF_OK;
}

hf_status hf_shm_persist(hf_shm *shm) {
    hf_status status = hfi_shm_usable(shm);
    return status == HF_OK ? flush(shm, 0, hfi_shm_size(shm)) : status;
}

hf_status hf_shm_persist_span(hf_shm *shm, hf_shm_span span) {
    hf_status status = hfi_shm_usable(shm);
    if (status != HF_OK) return status;
    if (span.size == 0) return HF_OK;
    if (span.offset > shm->reserved || span.size > shm->reserved - span.offset ||
        !hfi_shm_cover(shm, span.offset + span.size))
        return hfi_shm_say(HF_E_INVALID,
                           "segment \"%s\": the span of %llu bytes at %llu is outside", shm->name,
                           (unsigned long long)span.size, (unsigned long long)span.offset);
    return flush(shm, span.offset, span.size);
}
