/* info.c - figures of a segment, and its account as an owner of memory.
 * Invariants  size == bytes_meta + bytes_used + bytes_free, from one look at the table.
 * Threads     any; without the table's lock: exact at rest.
 * Talks to    table, space, participants. */
#include <stdio.h>
#include <string.h>

#include "segment_state.h"

hf_status hf_shm_info_of(hf_shm *shm, hf_shm_info *info_out) {
    hf_status status = hfi_shm_readable(shm);
    if (status != HF_OK) return status;
    if (info_out == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_info_of: info_out is NULL");
    struct hfi_shm_header *header = hfi_shm_header_of(shm);
    const struct hfi_shm_constants *c = &shm->geometry.c;
    struct hfi_os_file file = {0};
    for (uint32_t i = 0, rows = hfi_shm_self(shm) != 0 ? hfi_shm_rows(shm) : 0; i < rows; i++)
        hfi_shm_reclaim(shm, i);
    hf_shm_info info = {.size = hfi_shm_size(shm),
                        .size_max = c->size_max,
                        .bytes_meta = c->data_at,
                        .created_ns = c->created_ns,
                        .layout = HFI_SHM_LAYOUT,
                        .participants_max = c->participants_max,
                        .entries_max = c->entries_max,
                        .self = hfi_shm_self(shm) - 1,
                        .persist = hfi_shm_load32(&header->persist) != 0,
                        .on_file = shm->on_file,
                        .power_cuts = hfi_shm_load64(&header->power_cuts),
                        .recoveries = hfi_shm_load64(&header->recoveries)};
    struct hfi_shm_space space = hfi_shm_space(shm);
    info.bytes_used = space.used;
    info.bytes_free = space.free;
    info.largest_free = space.largest;
    if (hfi_os_shm_stat(shm->view, &file) == 0) info.access = file.access;
    memcpy(info.name, shm->name, sizeof info.name);
    for (size_t i = 0; i < sizeof c->id; i++)
        (void)snprintf(info.id + 2 * i, 3, "%02x", c->id[i]);
    for (uint32_t i = 0; i < c->participants_max; i++) {
        uint32_t state = hfi_shm_load32(&hfi_shm_place_of(shm, i)->state);
        if (state == HFI_SHM_FREE || state == HFI_SHM_LEFT) continue;
        if (hfi_shm_dead(shm, i + 1))
            info.participants_dead++;
        else
            info.participants_live++;
    }
    for (uint32_t i = 0, rows = hfi_shm_rows(shm); i < rows; i++)
        info.entries += hfi_shm_control_state(hfi_shm_load64(&hfi_shm_row_of(shm, i)->control)) ==
                        HFI_SHM_ROW_PUBLISHED;
    *info_out = info;
    return HF_OK;
}

hf_status hfi_shm_account(void *self, hf_stats *out) {
    hf_shm *shm = self;
    uint64_t asked = 0;
    out->bytes_meta = shm->geometry.c.data_at + shm->private_size;
    if (hfi_shm_self(shm) == 0) {
        out->bytes_mapped = out->bytes_mapped_peak = out->bytes_meta;
        return HF_OK;
    }
    uint64_t size = hfi_shm_size(shm);
    struct hfi_shm_space space = hfi_shm_space(shm);
    for (uint32_t i = 0, rows = hfi_shm_rows(shm); i < rows; i++) {
        struct hfi_shm_sight sight;
        if (!hfi_shm_see(shm, i, &sight, NULL, NULL)) continue;
        asked += sight.facts.size;
        out->blocks_in_use++;
    }
    if (asked > space.used) asked = space.used; /* garbage in a row, or a row that just came */
    out->bytes_in_use = asked;
    out->bytes_slack = space.used - asked;
    out->bytes_free = size - shm->geometry.c.data_at - space.used;
    out->bytes_mapped = size + shm->private_size;
    out->bytes_mapped_peak = out->bytes_mapped;
    out->lock_waits = shm->lock.waits;
    out->lock_wait_ns = shm->lock.wait_ns;
    return HF_OK;
}

hf_status hf_shm_stats(hf_shm *shm, hf_stats *stats_out) {
    hf_status status = hfi_shm_readable(shm);
    if (status != HF_OK) return status;
    if (stats_out == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_stats: stats_out is NULL");
    *stats_out = (hf_stats){.struct_size = sizeof *stats_out};
    return hfi_shm_account(shm, stats_out);
}
