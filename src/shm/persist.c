/* persist.c - segments on a file: what reaches the medium, in which order, and what a power cut leaves.
 *
 *   closed cleanly (boot 0) --open--> boot of this machine --last one leaves: flush, then boot 0-->
 *   another boot's number found by an opener: the machine went down meanwhile; everything is recovered
 * Invariants  the medium never has a published row whose facts or bytes are not there: row, bytes and
 *             control are flushed in this order, and rows that were freed before their bytes are used
 *             again. Everything else reaches it when the kernel likes, or persist says.
 * Threads     any; order among flushes is that of the calls.
 * Fails with  HF_E_UNSUPPORTED where there is no medium; HF_E_SYSTEM with the errno's text.
 * Talks to    os.   Called by attach, grow, participants.
 * Source      msync(2); MAP_SYNC in mmap(2); order of updates: soft updates, Ganger and Patt, 1994. */
#include <errno.h>
#include <string.h>

#include "os/os.h"
#include "segment_state.h"

static int flush(hf_shm *shm, uint64_t offset, uint64_t size) {
    hfi_shm_step();
    if (!shm->sync) return hfi_os_shm_flush(shm->base + offset, size);
    hfi_os_shm_flush_lines(shm->base + offset, size);
    return 0;
}

static hf_status persist(hf_shm *shm, uint64_t offset, uint64_t size) {
    if (!shm->on_file)
        return hfi_shm_say(
            HF_E_UNSUPPORTED,
            "segment \"%s\" is in memory alone; make it with options.path to keep it", shm->name);
    if (flush(shm, offset, size) == 0) return HF_OK;
    return hfi_shm_say(HF_E_SYSTEM, "%.200s: %s", shm->path, strerror(errno));
}

hf_status hf_shm_persist(hf_shm *shm) {
    hf_status status = hfi_shm_usable(shm);
    return status == HF_OK ? persist(shm, 0, hfi_shm_size(shm)) : status;
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
    return persist(shm, span.offset, span.size);
}

/* What fails here fails again, and is told, in the next persist. */
void hfi_shm_harden(hf_shm *shm, uint64_t offset, uint64_t size) {
    if (shm->on_file && size > 0) (void)flush(shm, offset, size);
}

void hfi_shm_harden_table(hf_shm *shm) {
    hfi_shm_harden(shm, 0, shm->geometry.c.data_at);
}

bool hfi_shm_was_cut(hf_shm *shm) {
    uint64_t boot = shm->on_file ? hfi_shm_load64(&hfi_shm_header_of(shm)->boot) : 0;
    return boot != 0 && boot != hfi_os_boot();
}

void hfi_shm_mark_open(hf_shm *shm) {
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    if (!shm->on_file) return;
    if (hfi_shm_was_cut(shm)) (void)hfi_shm_add64(&header->power_cuts, 1);
    hfi_shm_store64(&header->boot, hfi_os_boot());
    hfi_shm_harden(shm, 0, HFI_SHM_PLACES_AT);
}

/* Twice: the first flush takes long and keeps nobody out, the second finds little. */
void hfi_shm_mark_closed(hf_shm *shm) {
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    uint32_t places = hfi_shm_places(shm);
    uint64_t size = atomic_load_explicit(&shm->mapped, memory_order_acquire);
    if (!shm->on_file) return;
    hfi_shm_harden(shm, 0, size);
    if (!hfi_os_shm_lock(shm->file, HFI_SHM_PLACE_BYTE, places)) return;
    if (hfi_shm_load32(&header->state) == HFI_SHM_READY && flush(shm, 0, hfi_shm_size(shm)) == 0) {
        hfi_shm_store64(&header->boot, 0);
        hfi_shm_harden(shm, 0, HFI_SHM_PLACES_AT);
    }
    hfi_os_shm_unlock(shm->file, HFI_SHM_PLACE_BYTE, places);
}
