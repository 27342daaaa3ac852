/* attach.c - structures open and close their row of the table; plain spans; finding and listing.
 *
 *   look (no lock) -> there: hold, compare, accept      not there: lock, look again, reserve, init, publish
 * Invariants  what is published is complete; a part's numbers are private copies of checked facts.
 * Threads     any; the table's lock is taken to make something only.
 * Fails with  the statuses of shm.h, each with a sentence that names what was asked and what is there.
 * Talks to    table, space.   Called by every structure's open and close. */
#include <stdio.h>
#include <string.h>

#include "os/os.h"
#include "segment_state.h"

#define ROUNDS_MAX 1000 /* of one who meets structures that are erased while they are opened */

static const char *const kind_names[HF_SHM_KIND_COUNT] = {
#define HF_SHM_KIND(name, value, text) [HF_SHM_KIND_##name] = (text),
#include <holdfast/shm_kind.def>
#undef HF_SHM_KIND
};

const char *hf_shm_kind_name(uint32_t kind) {
    return kind < HF_SHM_KIND_COUNT && kind_names[kind] != NULL ? kind_names[kind] : "";
}

static hf_status request_check(const hf_shm *shm, hf_shm_mode mode,
                               const struct hfi_shm_request *r) {
    if (!hfi_shm_name_is_sound(shm, r->name))
        return hfi_shm_say(
            HF_E_INVALID,
            "segment \"%s\": the name of a structure has 1 to %u bytes here, \"%.60s\" "
            "has not",
            shm->name, shm->geometry.c.name_size - 1, r->name == NULL ? "(null)" : r->name);
    if ((unsigned)mode > HF_SHM_OPEN_OR_CREATE || r->kind == 0 || r->kind >= HF_SHM_KIND_COUNT ||
        r->dimensions > HF_SHM_DIMENSIONS_MAX)
        return hfi_shm_say(HF_E_INVALID,
                           "\"%s\": mode %d, kind %u or dimensions %u is out of range", r->name,
                           (int)mode, r->kind, r->dimensions);
    if (r->format != NULL &&
        strnlen(r->format, shm->geometry.c.format_size) >= shm->geometry.c.format_size)
        return hfi_shm_say(
            HF_E_INVALID,
            "\"%s\": the element format is longer than %u bytes; make the segment with "
            "a larger format_size",
            r->name, shm->geometry.c.format_size - 1);
    if (mode != HF_SHM_OPEN && (r->size == 0 || r->size > HF_SHM_SIZE_MAX))
        return hfi_shm_say(HF_E_INVALID, "\"%s\": a structure of %llu bytes cannot be made",
                           r->name, (unsigned long long)r->size);
    return HF_OK;
}

static hf_status differs(const struct hfi_shm_request *r, const char *what, uint64_t there,
                         uint64_t asked) {
    return hfi_shm_say(HF_E_MISMATCH, "%s \"%s\" has %s %llu, and %llu was asked for",
                       hf_shm_kind_name(r->kind), r->name, what, (unsigned long long)there,
                       (unsigned long long)asked);
}

/* Where the request says "any" (zero, NULL) everything agrees. */
static hf_status compare(const struct hfi_shm_request *r, const struct hfi_shm_facts *f,
                         const char *format) {
    if (r->kind != f->kind)
        return hfi_shm_say(HF_E_MISMATCH, "\"%s\" is of kind %s, and %s was asked for", r->name,
                           hf_shm_kind_name(f->kind), hf_shm_kind_name(r->kind));
    if (r->layout != f->layout)
        return hfi_shm_say(
            HF_E_LAYOUT,
            "%s \"%s\" has layout version %u, and this library knows %u: use the same "
            "version of holdfast in all processes",
            hf_shm_kind_name(r->kind), r->name, f->layout, r->layout);
    /* First: a type says more than its size. */
    if (r->format != NULL && strcmp(r->format, format) != 0)
        return hfi_shm_say(HF_E_MISMATCH,
                           "%s \"%s\" has elements \"%.120s\", and \"%.120s\" was asked for",
                           hf_shm_kind_name(r->kind), r->name, format, r->format);
    if (r->element_size != 0 && r->element_size != f->element_size)
        return differs(r, "an element size of", f->element_size, r->element_size);
    if (r->element_count != 0 && r->element_count != f->element_count)
        return differs(r, "an element count of", f->element_count, r->element_count);
    if (r->dimensions != 0) {
        if (r->dimensions != f->dimensions)
            return differs(r, "dimensions:", f->dimensions, r->dimensions);
        for (uint32_t i = 0; i < r->dimensions; i++)
            if (r->shape[i] != f->shape[i]) {
                char what[40];
                (void)snprintf(what, sizeof what, "in dimension %u a length of", i);
                return differs(r, what, f->shape[i], r->shape[i]);
            }
    }
    if (r->size != 0 && r->size != f->size)
        return differs(r, "a size in bytes of", f->size, r->size);
    return HF_OK;
}

static void count_opened(hf_shm *shm, uint32_t change) {
    hfi_shm_enter(shm);
    hfi_poke(shm->opened, shm->opened + change);
    hfi_shm_exit(shm);
}

/* HFI_SHM_AGAIN: erased meanwhile. */
static hf_status attach_there(hf_shm *shm, const struct hfi_shm_request *r,
                              struct hfi_shm_part *part_out) {
    struct hfi_shm_sight sight;
    struct hfi_shm_part part;
    char format[HFI_SHM_FORMAT_SIZE];
    hf_status status = hfi_shm_lookup(shm, r->name, &sight, format);
    if (status == HF_OK) status = compare(r, &sight.facts, format);
    if (status != HF_OK) return status;
    if (!hfi_shm_hold(shm, &sight)) return (hf_status)HFI_SHM_AGAIN;
    hfi_shm_part_fill(shm, &sight, &part);
    if (r->accept != NULL) status = r->accept(&part, r->options);
    if (status != HF_OK) {
        hfi_shm_unhold(shm, sight.index, part.generation);
        return status;
    }
    count_opened(shm, 1);
    *part_out = part;
    return HF_OK;
}

/* HFI_SHM_AGAIN: somebody else made it. */
static hf_status make(hf_shm *shm, const struct hfi_shm_request *r, bool open, hf_shm_mode mode,
                      struct hfi_shm_part *part_out, hf_shm_span *span_out) {
    struct hfi_shm_sight sight = {.index = 0};
    hf_status status = hfi_shm_table_lock(shm);
    if (status != HF_OK) return status;
    status = hfi_shm_lookup(shm, r->name, &sight, NULL);
    if (status == HF_OK)
        status = mode == HF_SHM_CREATE
                     ? hfi_shm_say(HF_E_EXISTS, "segment \"%s\" has a %s \"%s\" already", shm->name,
                                   hf_shm_kind_name(sight.facts.kind), r->name)
                     : (hf_status)HFI_SHM_AGAIN;
    else if (status == HF_E_NOT_FOUND)
        status = hfi_shm_reserve(shm, r->name, r->size, &sight);
    if (status == HF_OK) {
        struct hfi_shm_facts *f = &sight.facts;
        *f = (struct hfi_shm_facts){.offset = f->offset,
                                    .size = f->size,
                                    .element_size = r->element_size,
                                    .element_count = r->element_count,
                                    .created_ns = hfi_os_realtime_ns(),
                                    .kind = r->kind,
                                    .layout = r->layout,
                                    .dimensions = r->dimensions};
        memcpy(f->shape, r->shape, sizeof f->shape);
        struct hfi_shm_part part;
        hfi_shm_part_fill(shm, &sight, &part);
        if (r->init != NULL) r->init(&part, r->options);
        hfi_shm_publish(shm, &sight, r->name, r->format, open);
        if (open) count_opened(shm, 1);
        if (part_out != NULL) *part_out = part;
        if (span_out != NULL) *span_out = (hf_shm_span){f->offset, f->size};
    }
    hfi_shm_table_unlock(shm);
    return status;
}

hf_status hfi_shm_attach(hf_shm *shm, hf_shm_mode mode, const struct hfi_shm_request *request,
                         struct hfi_shm_part *part_out) {
    hf_status status = hfi_shm_usable(shm);
    if (status == HF_OK) status = request_check(shm, mode, request);
    if (status != HF_OK) return status;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        status = HF_E_NOT_FOUND;
        if (mode != HF_SHM_CREATE) status = attach_there(shm, request, part_out);
        if (status == HF_E_NOT_FOUND && mode != HF_SHM_OPEN)
            status = make(shm, request, true, mode, part_out, NULL);
        if (status != (hf_status)HFI_SHM_AGAIN) return status;
    }
    return hfi_shm_say(HF_E_BUSY, "\"%s\" is made and erased by others all the time",
                       request->name);
}

void hfi_shm_detach(struct hfi_shm_part *part) {
    if (part->shm == NULL) return;
    hfi_shm_unhold(part->shm, part->index, part->generation);
    count_opened(part->shm, UINT32_MAX);
    part->shm = NULL;
}

/* --- spans, names ----------------------------------------------------------------------------- */

hf_status hf_shm_add(hf_shm *shm, const char *name, uint64_t size, hf_shm_span *span_out) {
    hf_status status = hfi_shm_usable(shm);
    struct hfi_shm_request request = {.name = name,
                                      .kind = HF_SHM_KIND_SPAN,
                                      .layout = 1,
                                      .size = size,
                                      .element_size = 1,
                                      .element_count = size};
    if (status == HF_OK) status = request_check(shm, HF_SHM_CREATE, &request);
    if (status == HF_OK) status = make(shm, &request, false, HF_SHM_CREATE, NULL, span_out);
    return status;
}

hf_status hf_shm_erase(hf_shm *shm, const char *name) {
    hf_status status = hfi_shm_usable(shm);
    if (status != HF_OK) return status;
    if (!hfi_shm_name_is_sound(shm, name))
        return hfi_shm_say(HF_E_NOT_FOUND, "segment \"%s\": no structure has such a name",
                           shm->name);
    struct hfi_shm_sight sight;
    status = hfi_shm_lookup(shm, name, &sight, NULL);
    /* What cannot be used can still be dropped. */
    if (status != HF_OK && status != HF_E_CORRUPT) return status;
    uint64_t seen = sight.control;
    uint64_t dying = hfi_shm_control(hfi_shm_control_generation(seen), 0, HFI_SHM_ROW_DYING);
    if (!hfi_shm_swap64(&hfi_shm_row_of(shm, sight.index)->control, &seen, dying))
        return hfi_shm_say(HF_E_NOT_FOUND, "\"%s\" was erased by somebody else just now", name);
    hfi_shm_reclaim(shm, sight.index);
    return HF_OK;
}

void *hf_shm_at(hf_shm *shm, hf_shm_span span, uint64_t offset, uint64_t size) {
    if (hfi_shm_usable(shm) != HF_OK) return NULL;
    bool inside = span.offset >= shm->geometry.c.data_at && span.offset <= shm->reserved &&
                  span.size <= shm->reserved - span.offset && offset <= span.size &&
                  size <= span.size - offset;
    if (inside && hfi_shm_cover(shm, span.offset + span.size))
        return shm->base + span.offset + offset;
    (void)hfi_shm_say(
        HF_E_INVALID,
        "segment \"%s\": bytes %llu to %llu of a span of %llu at %llu do not lie inside", shm->name,
        (unsigned long long)offset, (unsigned long long)(offset + size),
        (unsigned long long)span.size, (unsigned long long)span.offset);
    return NULL;
}

static hf_shm_entry entry_of(hf_shm *shm, const struct hfi_shm_sight *sight) {
    const struct hfi_shm_facts *f = &sight->facts;
    hf_shm_entry entry = {.kind = f->kind,
                          .layout = f->layout,
                          .span = {f->offset, f->size},
                          .element_size = f->element_size,
                          .element_count = f->element_count,
                          .dimensions = f->dimensions,
                          .created_ns = f->created_ns,
                          .index = sight->index,
                          .generation = hfi_shm_control_generation(sight->control)};
    memcpy(entry.shape, f->shape, sizeof entry.shape);
    struct hfi_shm_row *row = hfi_shm_row_of(shm, sight->index);
    for (uint32_t i = 0; i < shm->geometry.user_words; i++)
        entry.users += (uint32_t)__builtin_popcountll(hfi_shm_load64(&row->tail[i]));
    return entry;
}

hf_status hf_shm_list(hf_shm *shm, hf_shm_entry_visitor visitor, void *context) {
    hf_status status = hfi_shm_readable(shm);
    if (status != HF_OK) return status;
    if (visitor == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_list: visitor is NULL");
    char name[HFI_SHM_NAME_SIZE], format[HFI_SHM_FORMAT_SIZE];
    for (uint32_t i = 0, rows = hfi_shm_rows(shm); i < rows; i++) {
        struct hfi_shm_sight sight;
        if (!hfi_shm_see(shm, i, &sight, name, format) ||
            hfi_shm_control_state(sight.control) != HFI_SHM_ROW_PUBLISHED ||
            !hfi_shm_sound(shm, &sight.facts))
            continue;
        hf_shm_entry entry = entry_of(shm, &sight);
        entry.name = name;
        entry.format = format;
        if (visitor(&entry, context) != 0) break;
    }
    return HF_OK;
}

hf_status hf_shm_find(hf_shm *shm, const char *name, hf_shm_entry *entry_out) {
    hf_status status = hfi_shm_readable(shm);
    if (status != HF_OK) return status;
    if (entry_out == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_find: entry_out is NULL");
    if (!hfi_shm_name_is_sound(shm, name))
        return hfi_shm_say(HF_E_NOT_FOUND, "segment \"%s\": no structure has such a name",
                           shm->name);
    struct hfi_shm_sight sight;
    status = hfi_shm_lookup(shm, name, &sight, NULL);
    if (status == HF_OK) *entry_out = entry_of(shm, &sight);
    return status;
}
