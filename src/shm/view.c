/* view.c - what lies in a structure, piece by piece, shown to a visitor.
 *
 *   hf_shm_view -> the entry, held -> kind->show -> hfi_shm_show (each piece) -> the visitor
 *
 * Contract    holdfast/shm_view.h. Nothing of the structure is written: a look leaves every byte of it.
 * Invariants  an item is a copy, made before the visitor is called. Who is no participant cannot hold
 *             the structure: it looks at the entry again before each item, and stops when it changed.
 * Talks to    table, participants, the kinds.   Called by users and the command line.
 * Threads     any; no lock is held while the visitor runs.
 * Fails with  HF_E_NOT_FOUND, HF_E_CORRUPT, HF_E_LAYOUT, HF_E_INVALID. */
#include "segment_state.h"

struct hfi_shm_showing {
    hf_shm *shm;
    const struct hfi_shm_sight *sight;
    hf_shm_visitor visitor;
    void *context;
    bool gone; /* the structure is not there any more */
};

#define HF_SHM_STATE(name, text, meaning)
#define HF_SHM_PIECE(name, text, structures, number, value) [HF_SHM_PIECE_##name] = text,
static const char *const piece_names[HF_SHM_PIECE_COUNT] = {
#include <holdfast/shm_view.def>
};
#undef HF_SHM_PIECE
#undef HF_SHM_STATE

#define HF_SHM_PIECE(name, text, structures, number, value)
#define HF_SHM_STATE(name, text, meaning) [HF_SHM_STATE_##name] = text,
static const char *const state_names[HF_SHM_STATE_COUNT] = {
#include <holdfast/shm_view.def>
};
#undef HF_SHM_PIECE
#undef HF_SHM_STATE

const char *hf_shm_piece_name(uint32_t piece) {
    return piece < HF_SHM_PIECE_COUNT ? piece_names[piece] : "";
}

const char *hf_shm_state_name(uint32_t state) {
    return state < HF_SHM_STATE_COUNT ? state_names[state] : "";
}

void hfi_shm_show_owner(hf_shm *shm, hf_shm_view_item *item, uint32_t owner) {
    item->participant = owner != 0 ? owner - 1 : HF_SHM_NOBODY;
    item->pid = owner != 0 && owner <= hfi_shm_places(shm)
                    ? hfi_shm_load32(&hfi_shm_place_of(shm, owner - 1)->pid)
                    : 0;
    item->dead = owner != 0 && hfi_shm_dead(shm, owner);
}

bool hfi_shm_show(struct hfi_shm_showing *showing, hf_shm_view_item *item, const void *bytes,
                  uint64_t size) {
    hf_shm *shm = showing->shm;
    if (hfi_shm_self(shm) == 0 && !hfi_shm_same_row(shm, showing->sight)) {
        showing->gone = true;
        return false;
    }
    item->span = (hf_shm_span){(uint64_t)((const char *)bytes - shm->base), size};
    return showing->visitor(item, showing->context) == 0;
}

bool hfi_shm_show_holder(struct hfi_shm_showing *showing, hf_shm_piece piece,
                         const _Atomic uint64_t *word, uint64_t number) {
    hf_shm_view_item item = {.piece = piece, .number = number, .state = HF_SHM_STATE_HELD};
    for (unsigned looks = 0; looks < HFI_SHM_LOOKS; looks++) {
        uint64_t seen = hfi_shm_load64(word);
        if ((seen & 0xffff) == 0) return true;
        hfi_shm_show_owner(showing->shm, &item, (uint32_t)(seen & 0xffff));
        if (hfi_shm_load64(word) == seen) break;
    }
    return hfi_shm_show(showing, &item, word, sizeof *word);
}

/* Plain bytes have no kind of their own: one piece. */
static hf_status span_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    hf_shm_view_item item = {
        .piece = HF_SHM_PIECE_BYTES, .state = HF_SHM_STATE_LIVE, .participant = HF_SHM_NOBODY};
    (void)hfi_shm_show(showing, &item, part->base, part->size);
    return HF_OK;
}

hf_status hf_shm_view(hf_shm *shm, const char *name, hf_shm_visitor visitor, void *context) {
    static const struct hfi_shm_kind span_kind = {.show = span_show};
    hf_status status = hfi_shm_readable(shm);
    if (status != HF_OK) return status;
    if (name == NULL || visitor == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_view: name and visitor are needed");
    if (!hfi_shm_name_is_sound(shm, name))
        return hfi_shm_say(HF_E_NOT_FOUND, "segment \"%s\": no structure has such a name",
                           shm->name);
    struct hfi_shm_sight sight;
    status = hfi_shm_lookup(shm, name, &sight, NULL);
    if (status != HF_OK) return status;
    struct hfi_shm_part part;
    const struct hfi_shm_kind *kind = hfi_shm_kind_of(shm, &sight, &part);
    if (sight.facts.kind == HF_SHM_KIND_SPAN) {
        hfi_shm_part_fill(shm, &sight, &part);
        kind = &span_kind;
    }
    if (kind == NULL)
        return hfi_shm_say(HF_E_LAYOUT,
                           "\"%s\" is of kind %u in layout version %u, which this library does not "
                           "know",
                           name, sight.facts.kind, sight.facts.layout);
    struct hfi_shm_showing showing = {
        .shm = shm, .sight = &sight, .visitor = visitor, .context = context};
    bool watches = hfi_shm_self(shm) == 0;
    showing.gone = watches ? !hfi_shm_same_row(shm, &sight) : !hfi_shm_hold(shm, &sight);
    if (!showing.gone) {
        status = kind->show(&part, &showing);
        if (!watches) hfi_shm_unhold(shm, part.index, part.generation);
    }
    if (showing.gone)
        return hfi_shm_say(HF_E_NOT_FOUND, "\"%s\" was erased while it was looked at", name);
    return status;
}
