/* cells_kind.c - opening cells, and cells as their segment sees them.
 *
 * Contract    holdfast/shm_cells.h, struct hfi_shm_kind.   Talks to segment.h, handle.h, cells_state.h.
 * Invariants  nothing of the header is used before it agrees with the entry and fits into the part.
 * Threads     any.
 * Fails with  HF_E_INVALID, HF_E_MISMATCH, HF_E_CORRUPT, and what hfi_shm_attach says. */
#include "cells_state.h"
#include "handle.h"

extern const struct hfi_shm_kind hfi_shm_cells_kind;

static const char *type_format(uint32_t type) {
    static const char *const formats[] = {"", "<i8", "<u8", "<i4", "<u4", "<f8"};
    return type <= HF_SHM_CELL_F64 ? formats[type] : "";
}

void hf_shm_cells_options_init(hf_shm_cells_options *options, hf_shm_cell_type type,
                               uint64_t count) {
    *options = (hf_shm_cells_options){.struct_size = sizeof *options, .type = type, .count = count};
}

static uint64_t cells_stride(uint32_t type, bool packed) {
    if (!packed) return CELLS_STRIDE;
    return cell_is_narrow(type) ? 4 : 8;
}
static uint64_t cells_at(bool packed) {
    return HFI_SHM_LINE + (packed ? CELLS_EVENTS * sizeof(struct cells_event) : 0);
}

/* Fills all but the part. */
static bool cells_view(const struct hfi_shm_part *part, hf_shm_cells *cells) {
    if (part->size < HFI_SHM_LINE) return false;
    const struct cells_header header = *(const struct cells_header *)(const void *)part->base;
    if (header.type < HF_SHM_CELL_I64 || header.type > HF_SHM_CELL_F64 || header.packed > 1)
        return false;
    if (header.count == 0 || header.count != part->element_count ||
        header.count > HF_SHM_CELLS_COUNT_MAX)
        return false;
    const bool packed = header.packed == 1;
    cells->stride = cells_stride(header.type, packed);
    if (part->size < cells_at(packed) + header.count * cells->stride) return false;
    cells->cells = part->base + cells_at(packed);
    cells->events = packed ? (struct cells_event *)(void *)(part->base + HFI_SHM_LINE) : NULL;
    cells->count = header.count;
    cells->type = (hf_shm_cell_type)header.type;
    return true;
}

static void cells_init(struct hfi_shm_part *part, const void *raw) {
    const hf_shm_cells_options *options = raw;
    struct cells_header *header = (struct cells_header *)(void *)part->base;
    header->count = options->count;
    header->type = options->type;
    header->packed = options->packed;
}

static hf_status cells_accept(struct hfi_shm_part *part, const void *raw) {
    const hf_shm_cells_options *options = raw;
    hf_shm_cells found;
    if (!cells_view(part, &found))
        return hfi_shm_say(HF_E_CORRUPT, "the header of the cells contradicts their entry; erase "
                                         "them and make them again");
    if (options && options->type != (uint32_t)found.type)
        return hfi_shm_say(HF_E_MISMATCH, "the cells are \"%s\", asked for was \"%s\"",
                           type_format(found.type), type_format(options->type));
    if (options && (options->packed == 1) != (found.events != NULL))
        return hfi_shm_say(HF_E_MISMATCH, "the cells are %spacked, asked for was the other",
                           found.events ? "" : "not ");
    return HF_OK;
}

static bool cells_options_right(const hf_shm_cells_options *options, hf_shm_mode mode) {
    return options->struct_size == sizeof *options && options->packed <= 1 &&
           options->type >= HF_SHM_CELL_I64 && options->type <= HF_SHM_CELL_F64 &&
           options->count <= HF_SHM_CELLS_COUNT_MAX && (options->count != 0 || mode == HF_SHM_OPEN);
}

hf_status hf_shm_cells_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                            const hf_shm_cells_options *options, hf_shm_cells **cells_out) {
    if (!shm || !name || !cells_out || (!options && mode != HF_SHM_OPEN))
        return hfi_shm_say(HF_E_INVALID, "hf_shm_cells_open: segment, name, cells_out and, but for "
                                         "HF_SHM_OPEN, options must not be NULL");
    if (options && !cells_options_right(options, mode))
        return hfi_shm_say(HF_E_INVALID,
                           "cells \"%s\": 1 to 2^32 of a type of hf_shm_cell_type; options come "
                           "from hf_shm_cells_options_init",
                           name);
    struct hfi_shm_request request = {.name = name,
                                      .kind = HF_SHM_KIND_CELLS,
                                      .layout = hfi_shm_cells_kind.layout,
                                      .options = options,
                                      .init = cells_init,
                                      .accept = cells_accept};
    if (options) {
        const bool packed = options->packed == 1;
        request.element_size = cell_is_narrow(options->type) ? 4 : 8;
        request.element_count = options->count;
        request.format = type_format(options->type);
        if (options->count != 0)
            request.size = cells_at(packed) + options->count * cells_stride(options->type, packed);
    }
    hf_status status = HF_OK;
    hf_shm_cells *cells = hfi_shm_handle_open(shm, mode, &request, sizeof *cells, &status);
    if (!cells) return status;
    if (!cells_view(&cells->part, cells)) {
        hfi_shm_handle_close(cells, sizeof *cells);
        return hfi_shm_say(HF_E_CORRUPT,
                           "cells \"%s\": their header changed while they were opened", name);
    }
    *cells_out = cells;
    return HF_OK;
}

void hf_shm_cells_close(hf_shm_cells *cells) {
    hfi_shm_handle_close(cells, sizeof *cells);
}

hf_shm_cell_type hf_shm_cells_type(const hf_shm_cells *cells) {
    return cells ? cells->type : (hf_shm_cell_type)0;
}
uint64_t hf_shm_cells_count(const hf_shm_cells *cells) {
    return cells ? cells->count : 0;
}
uint64_t hf_shm_cells_stride(const hf_shm_cells *cells) {
    return cells ? cells->stride : 0;
}

/* --- as their segment sees them --------------------------------------------------------------- */

static void cells_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding) {
    hf_shm_cells cells;
    if (!cells_view(part, &cells))
        hfi_shm_fault(finding,
                      "the header contradicts the entry: %" PRIu64 " cells in %" PRIu64 " bytes",
                      part->element_count, part->size);
}

static void cells_figures(const struct hfi_shm_part *part, hf_shm_figures *figures_out) {
    hf_shm_cells cells;
    if (!cells_view(part, &cells)) return;
    figures_out->capacity = figures_out->count = cells.count;
}

static hf_status cells_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    hf_shm_cells cells;
    if (!cells_view(part, &cells))
        return hfi_shm_say(HF_E_CORRUPT, "the header of the cells contradicts their entry");
    for (uint64_t i = 0; i < cells.count; i++) {
        const void *cell = cells.cells + i * cells.stride;
        const bool narrow = cell_is_narrow(cells.type);
        hf_shm_view_item item = {.piece = HF_SHM_PIECE_CELL,
                                 .index = i,
                                 .value = narrow ? hfi_shm_load32((const _Atomic uint32_t *)cell)
                                                 : hfi_shm_load64((const _Atomic uint64_t *)cell),
                                 .state = HF_SHM_STATE_LIVE};
        hfi_shm_show_owner(part->shm, &item, 0);
        if (!hfi_shm_show(showing, &item, cell, narrow ? 4 : 8)) break;
    }
    return HF_OK;
}

const struct hfi_shm_kind hfi_shm_cells_kind = {
    .layout = 1, .check = cells_check, .figures = cells_figures, .show = cells_show};
