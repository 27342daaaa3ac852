/* pool_kind.c - a pool as its segment sees it: recover, check, repair, figures, view.
 *
 * Contract    struct hfi_shm_kind.   Talks to slots.h, segment.h, pool_state.h.   Called by kinds.c.
 * Invariants  hints are no faults: a missing one is made up for by the next search.
 * Killed      recover is run again for the same owner by the next one, from any point.
 * Threads     by several processes at once, while others use the pool. */
#include <limits.h>

#include "pool_state.h"

void hfi_shm_pool_wipe(void *context, uint32_t index) {
    const struct pool_view *view = context;
    char *object = view->objects + (uint64_t)index * view->stride;
    hfi_shm_step();
    memset(object, 0, view->object_size / 2);
    hfi_shm_step();
    memset(object + view->object_size / 2, 0, view->object_size - view->object_size / 2);
}

static void pool_recover(const struct hfi_shm_part *part, uint32_t owner) {
    struct pool_view view;
    if (!hfi_shm_pool_view(part, &view)) return;
    size_t freed = hfi_shm_slots_recover(&view.slots, owner, hfi_shm_self(part->shm),
                                         view.sanitize ? hfi_shm_pool_wipe : NULL, &view);
    if (freed == 0) return;
    (void)hfi_shm_add64(&view.header->recovered, freed);
    hfi_shm_signal(view.released, INT_MAX);
}

static void pool_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding) {
    struct pool_view view;
    if (!hfi_shm_pool_view(part, &view)) {
        hfi_shm_fault(finding,
                      "the header contradicts the entry: %" PRIu64 " objects of %" PRIu64
                      " bytes in %" PRIu64,
                      part->element_count, part->element_size, part->size);
        return;
    }
    for (uint32_t i = 0; i < view.slots.count; i++) {
        const uint64_t own = hfi_shm_slots_word(&view.slots, i);
        if (hfi_shm_slots_wrong(own))
            hfi_shm_fault(finding, "object %" PRIu32 ": its owner word 0x%" PRIx64 " is none", i,
                          own);
    }
}

static size_t pool_repair(const struct hfi_shm_part *part) {
    struct pool_view view;
    if (!hfi_shm_pool_view(part, &view)) return 0;
    size_t repaired = hfi_shm_slots_repair(&view.slots);
    if (repaired != 0) hfi_shm_signal(view.released, INT_MAX);
    return repaired;
}

static void pool_figures(const struct hfi_shm_part *part, hf_shm_figures *figures_out) {
    struct pool_view view;
    if (!hfi_shm_pool_view(part, &view)) return;
    figures_out->capacity = view.slots.count;
    figures_out->count = hfi_shm_slots_taken(&view.slots);
    figures_out->recovered = hfi_shm_load64(&view.header->recovered);
}

static hf_status pool_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    struct pool_view view;
    if (!hfi_shm_pool_view(part, &view))
        return hfi_shm_say(HF_E_CORRUPT, "the header of the pool contradicts the entry");
    const struct hfi_shm_slots_shown as = {.piece = HF_SHM_PIECE_OBJECT,
                                           .taken = HF_SHM_STATE_TAKEN,
                                           .base = view.objects,
                                           .stride = view.stride,
                                           .size = view.object_size};
    hfi_shm_slots_show(&view.slots, part->shm, &as, showing);
    return HF_OK;
}

const struct hfi_shm_kind hfi_shm_pool_kind = {.layout = 1,
                                               .recover = pool_recover,
                                               .check = pool_check,
                                               .repair = pool_repair,
                                               .figures = pool_figures,
                                               .show = pool_show};
