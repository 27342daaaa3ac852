/* versioned.c - versioned arrays: made, opened, closed; recover, check, repair, figures, view.
 *
 * Invariants  versioned.h. Copying is in versioned_copy.c.
 * Talks to    segment.h, pages/meta.   Called by the program; by the segment through hfi_shm_kinds.
 * Threads     any, on handles of their own.
 * Fails with  HF_E_INVALID, HF_E_MISMATCH, HF_E_CORRUPT. */
#include "versioned.h"

#include "os/os.h"
#include "pages/meta.h"
#include "shape.h"

_Static_assert(sizeof(struct hfi_versioned) % HFI_SHM_LINE == 0, "buffers begin on a line");

void hf_shm_versioned_options_init(hf_shm_versioned_options *options, uint64_t element_size,
                                   uint64_t element_count) {
    *options = (hf_shm_versioned_options){.struct_size = sizeof *options,
                                          .buffers = 2,
                                          .element_size = element_size,
                                          .element_count = element_count};
}

/* Buffers begin on a page of their own when they have one, else on a line. */
static uint64_t rounded(uint64_t size, uint64_t value_size) {
    uint64_t unit = value_size < HFI_PAGE ? HFI_SHM_LINE : HFI_PAGE;
    return (size + unit - 1) & ~(unit - 1);
}

static uint64_t part_size(uint64_t size, uint64_t buffers) {
    return rounded(sizeof(struct hfi_versioned), size) + buffers * rounded(size, size);
}

hf_status hfi_versioned_take(const struct hfi_shm_part *part, hf_shm_versioned *versioned) {
    struct hfi_versioned *shared = (struct hfi_versioned *)(void *)part->base;
    if (part->size < sizeof *shared)
        return hfi_shm_say(HF_E_CORRUPT, "the versioned array has %llu bytes, less than its header",
                           (unsigned long long)part->size);
    uint64_t size = hfi_shm_load64(&shared->size);
    uint64_t buffers = hfi_shm_load64(&shared->buffers);
    if (size == 0 || size > HF_SHM_SIZE_MAX || buffers < 2 ||
        buffers > HF_SHM_VERSIONED_BUFFERS_MAX || part_size(size, buffers) > part->size ||
        (part->element_size != 0 &&
         (size % part->element_size != 0 || size / part->element_size != part->element_count)))
        return hfi_shm_say(
            HF_E_CORRUPT,
            "the header of the versioned array says %llu buffers of %llu bytes, which "
            "its %llu bytes cannot hold",
            (unsigned long long)buffers, (unsigned long long)size, (unsigned long long)part->size);
    *versioned = (hf_shm_versioned){.part = *part,
                                    .shared = shared,
                                    .buffers = part->base + rounded(sizeof *shared, size),
                                    .size = size,
                                    .stride = rounded(size, size),
                                    .count = (uint32_t)buffers};
    return HF_OK;
}

static void versioned_init(struct hfi_shm_part *part, const void *context) {
    const hf_shm_versioned_options *options = context;
    struct hfi_versioned *shared = (struct hfi_versioned *)(void *)part->base;
    hfi_shm_store64(&shared->size, options->element_size * options->element_count);
    hfi_shm_store64(&shared->buffers, options->buffers);
}

static hf_status versioned_accept(struct hfi_shm_part *part, const void *context) {
    const hf_shm_versioned_options *options = context;
    hf_shm_versioned versioned = {.count = 0};
    hf_status status = hfi_versioned_take(part, &versioned);
    if (status != HF_OK) return status;
    if (options->buffers != 0 && options->buffers != versioned.count)
        return hfi_shm_say(HF_E_MISMATCH, "the versioned array has %u buffers, asked for were %u",
                           versioned.count, options->buffers);
    return HF_OK;
}

/* Completes *options for the mode, and the shape; says what is wrong with them. */
static hf_status options_take(const hf_shm_versioned_options *given, hf_shm_mode mode,
                              hf_shm_versioned_options *options, struct hfi_shm_shape *shape) {
    static const char who[] = "hf_shm_versioned_open";
    hf_shm_versioned_options_init(options, 0, 0);
    options->buffers = 0;
    if (given == NULL && mode != HF_SHM_OPEN)
        return hfi_shm_say(HF_E_INVALID, "%s: options are needed to make one", who);
    if (given != NULL && given->struct_size != sizeof *given)
        return hfi_shm_say(HF_E_INVALID,
                           "%s: options of %u bytes, %zu expected: call "
                           "hf_shm_versioned_options_init first",
                           who, given->struct_size, sizeof *given);
    if (given != NULL) *options = *given;
    uint32_t buffers = options->buffers;
    if ((buffers < 2 && !(buffers == 0 && mode == HF_SHM_OPEN)) ||
        buffers > HF_SHM_VERSIONED_BUFFERS_MAX)
        return hfi_shm_say(HF_E_INVALID, "%s: %u buffers; 2 to %d", who, buffers,
                           HF_SHM_VERSIONED_BUFFERS_MAX);
    *shape = (struct hfi_shm_shape){.element_size = options->element_size,
                                    .element_count = options->element_count,
                                    .dimensions = options->dimensions};
    memcpy(shape->extents, options->shape, sizeof shape->extents);
    hf_status status = hfi_shm_shape_take(shape, mode == HF_SHM_OPEN, who);
    options->element_count = shape->element_count;
    return status;
}

hf_status hf_shm_versioned_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                const hf_shm_versioned_options *given,
                                hf_shm_versioned **versioned_out) {
    if (shm == NULL || name == NULL || versioned_out == NULL)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_versioned_open: segment, name and versioned_out are needed");
    hf_shm_versioned_options options;
    struct hfi_shm_shape shape;
    hf_status status = options_take(given, mode, &options, &shape);
    if (status != HF_OK) return status;
    uint64_t size = shape.element_size * shape.element_count;
    struct hfi_shm_request request = {
        .name = name,
        .kind = HF_SHM_KIND_VERSIONED,
        .layout = HFI_VERSIONED_LAYOUT,
        .size = mode == HF_SHM_OPEN ? 0 : part_size(size, options.buffers),
        .format = options.format,
        .options = &options,
        .init = versioned_init,
        .accept = versioned_accept};
    hfi_shm_shape_request(&shape, &request);
    struct hfi_shm_part part;
    status = hfi_shm_attach(shm, mode, &request, &part);
    if (status != HF_OK) return status;
    hf_shm_versioned *versioned = hfi_meta_alloc(sizeof *versioned);
    status = versioned != NULL
                 ? hfi_versioned_take(&part, versioned)
                 : hfi_shm_say(HF_E_NO_MEMORY, "no memory for the handle of a versioned array");
    if (status != HF_OK) {
        if (versioned != NULL) hfi_meta_free(versioned, sizeof *versioned);
        hfi_shm_detach(&part);
        return status;
    }
    *versioned_out = versioned;
    return HF_OK;
}

hf_status hf_shm_versioned_close(hf_shm_versioned *versioned) {
    if (versioned == NULL) return HF_OK;
    versioned->begun = false;
    (void)hf_shm_versioned_release(versioned);
    hfi_shm_detach(&versioned->part);
    hfi_meta_free(versioned, sizeof *versioned);
    return HF_OK;
}

uint64_t hf_shm_versioned_element_size(const hf_shm_versioned *versioned) {
    return versioned->part.element_size;
}

uint64_t hf_shm_versioned_element_count(const hf_shm_versioned *versioned) {
    return versioned->part.element_count;
}

uint64_t hf_shm_versioned_size(const hf_shm_versioned *versioned) {
    return versioned->size;
}

uint32_t hf_shm_versioned_buffers(const hf_shm_versioned *versioned) {
    return versioned->count;
}

uint64_t hf_shm_versioned_version(const hf_shm_versioned *versioned) {
    return hfi_shm_load64(&versioned->shared->version);
}

int hf_shm_versioned_writer(hf_shm_versioned *versioned, uint32_t *participant_out) {
    uint32_t owner = hfi_lease_owner(hfi_shm_load64(&versioned->shared->lease));
    if (owner == 0 || hfi_shm_dead(versioned->part.shm, owner)) return 0;
    if (participant_out != NULL) *participant_out = owner - 1;
    return 1;
}

/* --- for the segment -------------------------------------------------------------------------- */

static void versioned_recover(const struct hfi_shm_part *part, uint32_t owner) {
    hf_shm_versioned versioned = {.count = 0};
    if (owner == 0 || hfi_versioned_take(part, &versioned) != HF_OK) return;
    if (hfi_lease_recover(&versioned.shared->lease, owner))
        hfi_shm_add64(&versioned.shared->recovered, 1);
}

static void versioned_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding) {
    hf_shm_versioned versioned = {.count = 0};
    if (hfi_versioned_take(part, &versioned) != HF_OK) {
        hfi_shm_fault(finding, "%s", hf_shm_detail());
        return;
    }
    /* In this order both bounds hold while a living writer goes on. */
    uint64_t before = hfi_shm_load64(&versioned.shared->version);
    uint64_t intent = hfi_shm_load64(&versioned.shared->intent);
    uint64_t after = hfi_shm_load64(&versioned.shared->version);
    if (intent < before || intent > after + 1)
        hfi_shm_fault(finding, "version %llu is announced after version %llu",
                      (unsigned long long)intent, (unsigned long long)after);
    uint32_t owner = hfi_lease_owner(hfi_shm_load64(&versioned.shared->lease));
    if (owner > HFI_SHM_OWNER_MAX)
        hfi_shm_fault(finding, "the lease names owner %u, which cannot be", owner);
}

static size_t versioned_repair(const struct hfi_shm_part *part) {
    hf_shm_versioned versioned = {.count = 0};
    if (hfi_versioned_take(part, &versioned) != HF_OK) return 0;
    uint32_t writer = hfi_lease_owner(hfi_shm_load64(&versioned.shared->lease));
    if (writer != 0 && writer <= HFI_SHM_OWNER_MAX && !hfi_shm_dead(part->shm, writer)) return 0;
    size_t repaired = writer != 0 && hfi_lease_recover(&versioned.shared->lease, writer);
    uint64_t version = hfi_shm_load64(&versioned.shared->version);
    uint64_t intent = hfi_shm_load64(&versioned.shared->intent);
    if (intent < version || intent > version + 1)
        repaired += hfi_shm_swap64(&versioned.shared->intent, &intent, version);
    return repaired;
}

static void versioned_figures(const struct hfi_shm_part *part, hf_shm_figures *figures) {
    hf_shm_versioned versioned = {.count = 0};
    if (hfi_versioned_take(part, &versioned) != HF_OK) return;
    figures->capacity = figures->count = part->element_count;
    figures->written = hfi_shm_load64(&versioned.shared->version);
    figures->recovered = hfi_shm_load64(&versioned.shared->recovered);
    uint32_t writer = hfi_lease_owner(hfi_shm_load64(&versioned.shared->lease));
    figures->writers = writer != 0 && !hfi_shm_dead(part->shm, writer);
}

/* One look at what lies in a buffer. False: the writer went on meanwhile. */
static bool copy_look(const hf_shm_versioned *versioned, uint32_t buffer, hf_shm_view_item *item) {
    struct hfi_versioned *shared = versioned->shared;
    uint64_t lease = hfi_shm_load64(&shared->lease);
    uint64_t version = hfi_shm_load64(&shared->version), intent = hfi_shm_load64(&shared->intent);
    uint32_t count = versioned->count;
    uint64_t older = (version % count + count - buffer) % count; /* versions after the one in it */
    *item = (hf_shm_view_item){.piece = HF_SHM_PIECE_COPY,
                               .index = buffer,
                               .number = version > older ? version - older : 0,
                               .state = version <= older ? HF_SHM_STATE_FREE
                                        : older == 0     ? HF_SHM_STATE_CURRENT
                                                         : HF_SHM_STATE_FULL};
    bool announced = intent != version && intent % count == buffer;
    if (announced) {
        item->number = intent;
        item->state = HF_SHM_STATE_WRITING;
    }
    hfi_shm_show_owner(versioned->part.shm, item, announced ? hfi_lease_owner(lease) : 0);
    return hfi_shm_load64(&shared->lease) == lease && hfi_shm_load64(&shared->version) == version &&
           hfi_shm_load64(&shared->intent) == intent;
}

static hf_status versioned_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    hf_shm_versioned versioned = {.count = 0};
    if (hfi_versioned_take(part, &versioned) != HF_OK) return HF_E_CORRUPT; /* said */
    if (!hfi_shm_show_holder(showing, HF_SHM_PIECE_WRITER, &versioned.shared->lease,
                             hfi_shm_load64(&versioned.shared->version) + 1))
        return HF_OK;
    for (uint32_t buffer = 0; buffer < versioned.count; buffer++) {
        hf_shm_view_item item;
        for (unsigned looks = 0; looks < HFI_SHM_LOOKS; looks++)
            if (copy_look(&versioned, buffer, &item)) break;
        if (!hfi_shm_show(showing, &item, hfi_versioned_buffer(&versioned, buffer), versioned.size))
            break;
    }
    return HF_OK;
}

const struct hfi_shm_kind hfi_shm_versioned_kind = {.layout = HFI_VERSIONED_LAYOUT,
                                                    .recover = versioned_recover,
                                                    .check = versioned_check,
                                                    .repair = versioned_repair,
                                                    .figures = versioned_figures,
                                                    .show = versioned_show};
