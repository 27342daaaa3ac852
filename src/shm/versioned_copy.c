/* versioned_copy.c - versions written and read.
 *
 *   writer   intent = v + 1 | fence | buffer[(v + 1) % n] | version = v + 1 | wake
 *   reader   v = version | copy buffer[v % n] | fence | whole if intent <= v + n - 1
 *
 * Invariants  versioned.h. The writer does the same number of steps whatever readers do.
 * Talks to    versioned.h.   Called by the program.
 * Threads     one at a time per handle.
 * Fails with  HF_E_BUSY (another writes; or the writer laps the reader), HF_E_EMPTY, HF_E_TIMEOUT,
 *             HF_E_STALE, HF_E_CORRUPT, HF_E_INVALID. */
#include "versioned.h"

/* --- writing ---------------------------------------------------------------------------------- */

hf_status hf_shm_versioned_claim(hf_shm_versioned *versioned) {
    if (versioned == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_versioned_claim: no array");
    if (hfi_lease_mine(versioned->part.shm, versioned->lease)) return HF_OK;
    versioned->lease = 0;
    versioned->begun = false;
    uint64_t lease;
    hf_status status =
        hfi_lease_claim(versioned->part.shm, &versioned->shared->lease, "versioned array", &lease);
    if (status != HF_OK) return status;
    versioned->lease = lease;
    versioned->newest = hfi_shm_load64(&versioned->shared->version);
    return HF_OK;
}

hf_status hf_shm_versioned_release(hf_shm_versioned *versioned) {
    if (versioned == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_versioned_release: no array");
    if (!hfi_lease_mine(versioned->part.shm, versioned->lease)) return HF_OK;
    if (versioned->begun)
        return hfi_shm_say(HF_E_BUSY, "hf_shm_versioned_release: a version is begun; commit or "
                                      "cancel it first");
    hfi_lease_release(&versioned->shared->lease, versioned->lease);
    versioned->lease = 0;
    return HF_OK;
}

/* Announces the next version and hands out its buffer. */
static hf_status version_begin(hf_shm_versioned *versioned, char **buffer_out) {
    if (!hfi_lease_mine(versioned->part.shm, versioned->lease)) {
        hf_status status = hf_shm_versioned_claim(versioned);
        if (status != HF_OK) return status;
    }
    if (versioned->begun)
        return hfi_shm_say(HF_E_BUSY, "version %llu is begun already; commit or cancel it first",
                           (unsigned long long)versioned->newest + 1);
    if (!HFI_SHM_MUTANT(701)) hfi_shm_store64(&versioned->shared->intent, versioned->newest + 1);
    hfi_shm_intent_fence();
    uint64_t next = HFI_SHM_MUTANT(703) ? versioned->newest : versioned->newest + 1;
    *buffer_out = hfi_versioned_buffer(versioned, next);
    return HF_OK;
}

static void version_publish(hf_shm_versioned *versioned, uint64_t *version_out) {
    versioned->newest++;
    /* SYNC(versioned.version): publishes the buffer; pairs with the loads of version by readers. */
    hfi_shm_store64(&versioned->shared->version, versioned->newest);
    hfi_shm_signal(&versioned->shared->changed, INT32_MAX);
    if (version_out != NULL) *version_out = versioned->newest;
}

hf_status hf_shm_versioned_write(hf_shm_versioned *versioned, const void *data,
                                 uint64_t *version_out) {
    if (versioned == NULL || data == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_versioned_write: array and data are needed");
    char *buffer = NULL;
    hf_status status = version_begin(versioned, &buffer);
    if (status != HF_OK) return status;
    hfi_shm_copy_in(buffer, data, versioned->size);
    version_publish(versioned, version_out);
    return HF_OK;
}

/* False, and said so, if the range does not lie inside. */
static hf_status range_verify(const hf_shm_versioned *versioned, uint64_t offset, uint64_t size,
                              const char *who) {
    if (offset <= versioned->size && size <= versioned->size - offset && size != 0) return HF_OK;
    return hfi_shm_say(HF_E_INVALID, "%s: %llu bytes at %llu of an array of %llu bytes", who,
                       (unsigned long long)size, (unsigned long long)offset,
                       (unsigned long long)versioned->size);
}

hf_status hf_shm_versioned_write_range(hf_shm_versioned *versioned, uint64_t offset,
                                       const void *data, uint64_t size, uint64_t *version_out) {
    if (versioned == NULL || data == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_versioned_write_range: array and data are needed");
    hf_status status = range_verify(versioned, offset, size, "hf_shm_versioned_write_range");
    if (status != HF_OK) return status;
    char *buffer = NULL;
    status = version_begin(versioned, &buffer);
    if (status != HF_OK) return status;
    const char *last = hfi_versioned_buffer(versioned, versioned->newest);
    uint64_t end = offset + size;
    if (offset != 0) hfi_shm_copy_in(buffer, last, offset);
    hfi_shm_copy_in(buffer + offset, data, size);
    if (end != versioned->size) hfi_shm_copy_in(buffer + end, last + end, versioned->size - end);
    version_publish(versioned, version_out);
    return HF_OK;
}

hf_status hf_shm_versioned_begin(hf_shm_versioned *versioned, int keep, void **data_out) {
    if (versioned == NULL || data_out == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_versioned_begin: array and data_out are needed");
    char *buffer = NULL;
    hf_status status = version_begin(versioned, &buffer);
    if (status != HF_OK) return status;
    if (keep)
        hfi_shm_copy_in(buffer, hfi_versioned_buffer(versioned, versioned->newest),
                        versioned->size);
    versioned->begun = true;
    *data_out = buffer;
    return HF_OK;
}

hf_status hf_shm_versioned_commit(hf_shm_versioned *versioned, uint64_t *version_out) {
    if (versioned == NULL || !versioned->begun)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_versioned_commit: no version is begun");
    if (!hfi_lease_mine(versioned->part.shm, versioned->lease))
        return hfi_shm_say(HF_E_STALE, "hf_shm_versioned_commit: begun by the process before the "
                                       "fork, which alone can commit it");
    versioned->begun = false;
    version_publish(versioned, version_out);
    return HF_OK;
}

hf_status hf_shm_versioned_cancel(hf_shm_versioned *versioned) {
    if (versioned == NULL || !versioned->begun)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_versioned_cancel: no version is begun");
    versioned->begun = false;
    return HF_OK;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* SYNC(shm.intent): whether what was read of this version so far is whole. */
static inline bool version_is_whole(const hf_shm_versioned *versioned, uint64_t version) {
    hfi_shm_valid_fence();
    uint64_t intent = hfi_shm_load64(&versioned->shared->intent);
    if (HFI_SHM_MUTANT(702)) return intent - version <= versioned->count;
    return intent <= version || intent - version < versioned->count;
}

/* Why no attempt succeeded: nonsense in the header, or a writer that is faster than any copy. */
static hf_status lapped(const hf_shm_versioned *versioned) {
    uint64_t intent = hfi_shm_load64(&versioned->shared->intent);
    uint64_t version = hfi_shm_load64(&versioned->shared->version);
    if (intent > version && intent - version > 1)
        return hfi_shm_say(
            HF_E_CORRUPT,
            "the versioned array is damaged: version %llu is announced after version "
            "%llu; repair it",
            (unsigned long long)intent, (unsigned long long)version);
    return hfi_shm_say(
        HF_E_BUSY,
        "the writer came round during each of %d copies; make the array with more than "
        "%u buffers, or write less often",
        HF_SHM_VERSIONED_TRIES, versioned->count);
}

/* The part of the newest version that begins at an offset, unless that version is `known`. */
static hf_status version_read(hf_shm_versioned *versioned, uint64_t known, uint64_t offset,
                              void *data_out, uint64_t size, uint64_t *version_out) {
    for (int i = 0; i < HF_SHM_VERSIONED_TRIES; i++) {
        /* SYNC(versioned.version): the buffer of it is filled. */
        uint64_t version = hfi_shm_load64(&versioned->shared->version);
        if (version == known) return hfi_shm_say(HF_E_EMPTY, "there is no newer version");
        hfi_shm_copy_out(data_out, hfi_versioned_buffer(versioned, version) + offset, size);
        if (!version_is_whole(versioned, version)) continue;
        if (version_out != NULL) *version_out = version;
        return HF_OK;
    }
    return lapped(versioned);
}

hf_status hf_shm_versioned_read(hf_shm_versioned *versioned, void *data_out,
                                uint64_t *version_out) {
    if (versioned == NULL || data_out == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_versioned_read: array and data_out are needed");
    return version_read(versioned, UINT64_MAX, 0, data_out, versioned->size, version_out);
}

hf_status hf_shm_versioned_read_range(hf_shm_versioned *versioned, uint64_t offset, void *data_out,
                                      uint64_t size, uint64_t *version_out) {
    if (versioned == NULL || data_out == NULL)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_versioned_read_range: array and data_out are needed");
    hf_status status = range_verify(versioned, offset, size, "hf_shm_versioned_read_range");
    if (status != HF_OK) return status;
    return version_read(versioned, UINT64_MAX, offset, data_out, size, version_out);
}

hf_status hf_shm_versioned_read_newer(hf_shm_versioned *versioned, uint64_t version, void *data_out,
                                      uint64_t *version_out) {
    if (versioned == NULL || data_out == NULL)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_versioned_read_newer: array and data_out are needed");
    return version_read(versioned, version, 0, data_out, versioned->size, version_out);
}

hf_status hf_shm_versioned_wait(hf_shm_versioned *versioned, uint64_t version, uint64_t timeout_ns,
                                uint64_t *version_out) {
    if (versioned == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_versioned_wait: no array");
    struct hfi_shm_event *changed = &versioned->shared->changed;
    uint64_t deadline = timeout_ns != 0 ? hfi_shm_deadline(timeout_ns) : 0;
    struct hfi_shm_spin spin = {0};
    uint64_t newest;
    while ((newest = hfi_shm_load64(&versioned->shared->version)) <= version) {
        if (!HFI_SHM_STEPS && timeout_ns != 0 && hfi_shm_spin(&spin)) continue;
        uint32_t turn = timeout_ns != 0 ? hfi_shm_event_turn(changed) : 0;
        newest = hfi_shm_load64(&versioned->shared->version);
        if (newest > version) break;
        if (hfi_shm_wait(changed, turn, deadline) == HF_E_TIMEOUT)
            return hfi_shm_say(HF_E_TIMEOUT, "no later version than %llu came in time",
                               (unsigned long long)newest);
    }
    if (version_out != NULL) *version_out = newest;
    return HF_OK;
}

hf_status hf_shm_versioned_view(hf_shm_versioned *versioned, const void **data_out,
                                uint64_t *version_out) {
    if (versioned == NULL || data_out == NULL || version_out == NULL)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_versioned_view: array, data_out and version_out are needed");
    *version_out = hfi_shm_load64(&versioned->shared->version);
    *data_out = hfi_versioned_buffer(versioned, *version_out);
    return HF_OK;
}

hf_status hf_shm_versioned_intact(hf_shm_versioned *versioned, uint64_t version) {
    if (versioned == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_versioned_intact: no array");
    if (version_is_whole(versioned, version)) return HF_OK;
    return hfi_shm_say(HF_E_STALE, "version %llu is being overwritten",
                       (unsigned long long)version);
}
