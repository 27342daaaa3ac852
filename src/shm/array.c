/* array.c - plain arrays: the table's entry is the whole bookkeeping, the bytes are all elements.
 *
 * Invariants  shape and sizes are private copies; their products were verified against the bytes of
 *             the part, so an address handed out lies inside.
 * Talks to    segment.h, shape.h, pages/meta.   Called by the program; check by the segment.
 * Threads     any.
 * Fails with  HF_E_INVALID, HF_E_MISMATCH, HF_E_CORRUPT. */
#include <holdfast/shm_array.h>

#include "pages/meta.h"
#include "segment.h"
#include "shape.h"

#define ARRAY_LAYOUT 1

struct hf_shm_array {
    struct hfi_shm_part part;
    struct hfi_shm_shape shape;
    hf_shm_span span; /* of the elements */
};

void hf_shm_array_options_init(hf_shm_array_options *options, uint64_t element_size,
                               uint64_t element_count) {
    *options = (hf_shm_array_options){.struct_size = sizeof *options,
                                      .element_size = element_size,
                                      .element_count = element_count};
}

struct shape_search {
    const struct hfi_shm_part *part;
    struct hfi_shm_shape *shape;
    uint64_t offset; /* from the start of the segment [bytes] */
    bool found;
};

static int shape_found(const hf_shm_entry *entry, void *context) {
    struct shape_search *search = context;
    if (entry->index != search->part->index || entry->generation != search->part->generation)
        return 0;
    search->shape->dimensions = entry->dimensions;
    memcpy(search->shape->extents, entry->shape, sizeof search->shape->extents);
    search->offset = entry->span.offset;
    search->found = true;
    return 1;
}

/* The shape that the table says, verified against the bytes that are there. */
static hf_status shape_of(const struct hfi_shm_part *part, struct hfi_shm_shape *shape,
                          hf_shm_span *span_out) {
    struct shape_search search = {.part = part, .shape = shape};
    *shape = (struct hfi_shm_shape){.element_size = part->element_size,
                                    .element_count = part->element_count};
    hf_status status = hf_shm_list(part->shm, shape_found, &search);
    if (status != HF_OK) return status;
    if (!search.found) /* erased meanwhile: the bytes are still ours, their shape is gone */
        return hfi_shm_say(HF_E_NOT_FOUND, "the array was erased while it was being opened");
    if (hfi_shm_shape_take(shape, false, "array") != HF_OK ||
        shape->element_size * shape->element_count > part->size)
        return hfi_shm_say(
            HF_E_CORRUPT,
            "the table says an array of %llu elements of %llu bytes in %u dimensions, "
            "in %llu bytes",
            (unsigned long long)part->element_count, (unsigned long long)part->element_size,
            shape->dimensions, (unsigned long long)part->size);
    *span_out = (hf_shm_span){search.offset, shape->element_size * shape->element_count};
    return HF_OK;
}

hf_status hf_shm_array_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                            const hf_shm_array_options *given, hf_shm_array **array_out) {
    static const char who[] = "hf_shm_array_open";
    if (shm == NULL || name == NULL || array_out == NULL)
        return hfi_shm_say(HF_E_INVALID, "%s: segment, name and array_out are needed", who);
    if (given == NULL && mode != HF_SHM_OPEN)
        return hfi_shm_say(HF_E_INVALID, "%s: options are needed to make an array", who);
    if (given != NULL && given->struct_size != sizeof *given)
        return hfi_shm_say(HF_E_INVALID,
                           "%s: options of %u bytes, %zu expected: call "
                           "hf_shm_array_options_init first",
                           who, given->struct_size, sizeof *given);
    struct hfi_shm_shape shape = {0};
    if (given != NULL) {
        shape.element_size = given->element_size;
        shape.element_count = given->element_count;
        shape.dimensions = given->dimensions;
        memcpy(shape.extents, given->shape, sizeof shape.extents);
    }
    hf_status status = hfi_shm_shape_take(&shape, mode == HF_SHM_OPEN, who);
    if (status != HF_OK) return status;
    struct hfi_shm_request request = {
        .name = name,
        .kind = HF_SHM_KIND_ARRAY,
        .layout = ARRAY_LAYOUT,
        .size = mode == HF_SHM_OPEN ? 0 : shape.element_size * shape.element_count,
        .format = given != NULL ? given->format : NULL};
    hfi_shm_shape_request(&shape, &request);
    hf_shm_array *array = hfi_meta_alloc(sizeof *array);
    if (array == NULL) return hfi_shm_say(HF_E_NO_MEMORY, "no memory for the handle of an array");
    status = hfi_shm_attach(shm, mode, &request, &array->part);
    if (status == HF_OK) {
        status = shape_of(&array->part, &array->shape, &array->span);
        if (status != HF_OK) hfi_shm_detach(&array->part);
    }
    if (status != HF_OK) {
        hfi_meta_free(array, sizeof *array);
        return status;
    }
    *array_out = array;
    return HF_OK;
}

void hf_shm_array_close(hf_shm_array *array) {
    if (array == NULL) return;
    hfi_shm_detach(&array->part);
    hfi_meta_free(array, sizeof *array);
}

void *hf_shm_array_data(const hf_shm_array *array) {
    return array->part.base;
}

uint64_t hf_shm_array_size(const hf_shm_array *array) {
    return array->shape.element_size * array->shape.element_count;
}

uint64_t hf_shm_array_element_size(const hf_shm_array *array) {
    return array->shape.element_size;
}

uint64_t hf_shm_array_element_count(const hf_shm_array *array) {
    return array->shape.element_count;
}

uint32_t hf_shm_array_dimensions(const hf_shm_array *array) {
    return array->shape.dimensions;
}

const uint64_t *hf_shm_array_shape(const hf_shm_array *array) {
    return array->shape.extents;
}

hf_shm_span hf_shm_array_span(const hf_shm_array *array) {
    return array->span;
}

void *hf_shm_array_at(const hf_shm_array *array, const uint64_t *indices) {
    uint64_t flat = 0;
    for (uint32_t i = 0; i < array->shape.dimensions; i++) {
        if (indices[i] >= array->shape.extents[i]) return NULL;
        flat = flat * array->shape.extents[i] + indices[i];
    }
    return array->part.base + flat * array->shape.element_size;
}

void *hf_shm_array_run(const hf_shm_array *array, uint64_t first, uint64_t count) {
    if (first > array->shape.element_count || count > array->shape.element_count - first)
        return NULL;
    return array->part.base + first * array->shape.element_size;
}

/* --- for the segment -------------------------------------------------------------------------- */

static void array_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding) {
    struct hfi_shm_shape shape;
    hf_shm_span span;
    if (shape_of(part, &shape, &span) == HF_E_CORRUPT)
        hfi_shm_fault(finding, "%s", hf_shm_detail());
}

static void array_figures(const struct hfi_shm_part *part, hf_shm_figures *figures) {
    figures->capacity = figures->count = part->element_count;
}

static hf_status array_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    struct hfi_shm_shape shape;
    hf_shm_span span;
    hf_status status = shape_of(part, &shape, &span);
    if (status != HF_OK) return status;
    hf_shm_view_item item = {
        .piece = HF_SHM_PIECE_ELEMENTS, .value = shape.element_count, .state = HF_SHM_STATE_LIVE};
    hfi_shm_show_owner(part->shm, &item, 0);
    (void)hfi_shm_show(showing, &item, part->base, span.size);
    return HF_OK;
}

const struct hfi_shm_kind hfi_shm_array_kind = {
    .layout = ARRAY_LAYOUT, .check = array_check, .figures = array_figures, .show = array_show};
