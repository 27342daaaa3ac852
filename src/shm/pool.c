/* pool.c - objects of one size in a segment: open, take, give back, pass on.
 *
 *   acquire -> slots: found? done | search: hints missing, owners dead? again | spin, then sleep
 *   release -> slots: free again -> wake one that waits
 *
 * Contract    holdfast/shm_pool.h.   Talks to slots.h, segment.h, pool_state.h.
 * Invariants  an object is zeroed (sanitize) while its word says RETIRED and names who does it, so it
 *             is never zeroed under the next owner's hands.
 * Killed      slots.c says what is left at each point; a wake that did not happen is made up for by
 *             the next look of the sleeper, 50 ms later at most.
 * Threads     every function from any thread of any process.
 * Fails with  HF_E_EMPTY, HF_E_TIMEOUT, HF_E_STALE, HF_E_INVALID, each with a sentence. */
#include "handle.h"
#include "pool_state.h"

#define POOL_LINE 128u

void hf_shm_pool_options_init(hf_shm_pool_options *options, uint64_t capacity,
                              uint64_t object_size) {
    *options = (hf_shm_pool_options){
        .struct_size = sizeof *options, .capacity = capacity, .object_size = object_size};
}

static uint64_t pool_round(uint64_t size, uint64_t to) {
    return (size + to - 1) / to * to;
}

bool hfi_shm_pool_layout(uint64_t capacity, uint64_t object_size, uint64_t alignment,
                         struct pool_layout *layout) {
    if (capacity == 0 || capacity > HF_SHM_POOL_CAPACITY_MAX) return false;
    if (object_size == 0 || object_size > HF_SHM_POOL_OBJECT_MAX) return false;
    if (alignment < 8 || alignment > HF_SHM_POOL_ALIGNMENT_MAX || (alignment & (alignment - 1)))
        return false;
    layout->stride = pool_round(object_size, alignment);
    if (layout->stride > HF_SHM_SIZE_MAX / capacity) return false;
    layout->slots_at = 2 * POOL_LINE;
    layout->objects_at = pool_round(layout->slots_at + hfi_shm_slots_size((uint32_t)capacity),
                                    alignment > POOL_LINE ? alignment : POOL_LINE);
    layout->size = layout->objects_at + capacity * layout->stride;
    /* From a page on the table aligns to a page, which is what large alignments stand on. */
    if (alignment > 64 && layout->size < 4096) layout->size = 4096;
    return layout->size <= HF_SHM_SIZE_MAX;
}

bool hfi_shm_pool_view(const struct hfi_shm_part *part, struct pool_view *view) {
    struct pool_layout layout;
    if (part->size < 2 * POOL_LINE) return false;
    view->header = (struct pool_header *)(void *)part->base;
    const struct pool_header header = {.capacity = view->header->capacity,
                                       .object_size = view->header->object_size,
                                       .alignment = view->header->alignment,
                                       .sanitize = view->header->sanitize};
    if (header.capacity != part->element_count || header.object_size != part->element_size)
        return false;
    if (!hfi_shm_pool_layout(header.capacity, header.object_size, header.alignment, &layout))
        return false;
    if (layout.size > part->size || header.sanitize > 1) return false;
    view->released = (struct hfi_shm_event *)(void *)(part->base + POOL_LINE);
    hfi_shm_slots_view(&view->slots, part->base + layout.slots_at, (uint32_t)header.capacity);
    view->objects = part->base + layout.objects_at;
    view->object_size = header.object_size;
    view->stride = layout.stride;
    view->sanitize = header.sanitize != 0;
    return true;
}

/* --- open and close --------------------------------------------------------------------------- */

struct pool_asked {
    hf_shm_pool_options options; /* complete                           */
    uint64_t alignment;          /* as the caller wrote it: 0 is any   */
};

static void pool_init(struct hfi_shm_part *part, const void *raw) {
    const hf_shm_pool_options *options = &((const struct pool_asked *)raw)->options;
    struct pool_header *header = (struct pool_header *)(void *)part->base;
    struct pool_view view;
    header->capacity = options->capacity;
    header->object_size = options->object_size;
    header->alignment = options->alignment;
    header->sanitize = options->sanitize;
    if (hfi_shm_pool_view(part, &view)) hfi_shm_slots_init(&view.slots);
}

static hf_status pool_accept(struct hfi_shm_part *part, const void *raw) {
    const struct pool_asked *asked = raw;
    const struct pool_header *header = (const struct pool_header *)(const void *)part->base;
    struct pool_view view;
    if (!hfi_shm_pool_view(part, &view))
        return hfi_shm_say(HF_E_CORRUPT, "the pool's header contradicts its entry; erase it and "
                                         "make it again");
    const uint64_t alignment = header->alignment;
    if (asked->alignment != 0 && asked->alignment != alignment)
        return hfi_shm_say(HF_E_MISMATCH,
                           "the pool aligns objects to %" PRIu64 " bytes, asked for was %" PRIu64,
                           alignment, asked->alignment);
    return HF_OK;
}

hf_status hf_shm_pool_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                           const hf_shm_pool_options *options, hf_shm_pool **pool_out) {
    if (!shm || !name || !pool_out || (!options && mode != HF_SHM_OPEN))
        return hfi_shm_say(HF_E_INVALID, "hf_shm_pool_open: segment, name, pool_out and, but for "
                                         "HF_SHM_OPEN, options must not be NULL");
    hf_shm_pool_options any;
    hf_shm_pool_options_init(&any, 0, 0);
    if (!options) options = &any;
    if (options->struct_size != sizeof *options || options->sanitize > 1)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_pool_open: the options were not set by "
                                         "hf_shm_pool_options_init, or sanitize is not 0 or 1");
    struct pool_asked asked = {*options, options->alignment};
    struct pool_layout layout = {0};
    if (mode != HF_SHM_OPEN) {
        if (asked.options.alignment == 0) asked.options.alignment = 64;
        if (!hfi_shm_pool_layout(options->capacity, options->object_size, asked.options.alignment,
                                 &layout))
            return hfi_shm_say(
                HF_E_INVALID,
                "pool \"%s\": %" PRIu64 " objects of %" PRIu64 " bytes aligned to %" PRIu64
                ": capacity goes from 1 to 2^28, sizes from 1 byte to 2^40 and 2^46 in all, "
                "alignment is a power of two from 8 to 4096",
                name, options->capacity, options->object_size, asked.options.alignment);
    }
    struct hfi_shm_request request = {.name = name,
                                      .kind = HF_SHM_KIND_POOL,
                                      .layout = hfi_shm_pool_kind.layout,
                                      .size = layout.size,
                                      .element_size = options->object_size,
                                      .element_count = options->capacity,
                                      .format = options->format,
                                      .options = &asked,
                                      .init = pool_init,
                                      .accept = pool_accept};
    hf_status status = HF_OK;
    hf_shm_pool *pool = hfi_shm_handle_open(shm, mode, &request, sizeof *pool, &status);
    if (!pool) return status;
    if (!hfi_shm_pool_view(&pool->part, &pool->view)) {
        hfi_shm_handle_close(pool, sizeof *pool);
        return hfi_shm_say(HF_E_CORRUPT, "pool \"%s\": its header changed while it was opened",
                           name);
    }
    *pool_out = pool;
    return HF_OK;
}

void hf_shm_pool_close(hf_shm_pool *pool) {
    hfi_shm_handle_close(pool, sizeof *pool);
}

/* --- one object ------------------------------------------------------------------------------- */

hf_status hf_shm_pool_acquire(hf_shm_pool *pool, uint64_t timeout_ns, hf_shm_handle *handle_out) {
    if (!pool || !handle_out)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_pool_acquire: pool or handle_out is NULL");
    const uint32_t self = hfi_shm_self(pool->part.shm);
    const uint64_t handle = self != 0 ? hfi_shm_slots_acquire(&pool->view.slots, self) : 0;
    if (handle != 0) {
        *handle_out = handle;
        return HF_OK;
    }
    size_t acquired = 0;
    return hf_shm_pool_acquire_bulk(pool, timeout_ns, handle_out, 1, &acquired);
}

hf_status hf_shm_pool_release(hf_shm_pool *pool, hf_shm_handle handle) {
    if (!pool) return hfi_shm_say(HF_E_INVALID, "hf_shm_pool_release: pool is NULL");
    const struct hfi_shm_slots *slots = &pool->view.slots;
    const uint32_t self = hfi_shm_self(pool->part.shm);
    if (self == 0) return hfi_shm_closed(pool->part.shm);
    hf_status status;
    if (pool->view.sanitize) {
        status = hfi_shm_slots_retire(slots, self, handle);
        if (status == HF_OK) {
            hfi_shm_pool_wipe(&pool->view, (uint32_t)handle);
            status = hfi_shm_slots_free_retired(slots, self, handle);
        }
    } else {
        status = hfi_shm_slots_release(slots, self, handle);
    }
    if (status != HF_OK) return hfi_shm_pool_refuse(pool, "release", handle, status);
    hfi_shm_signal(pool->view.released, 1);
    return HF_OK;
}

void *hf_shm_pool_at(hf_shm_pool *pool, hf_shm_handle handle) {
    if (!pool || !hfi_shm_slots_live(&pool->view.slots, handle)) return NULL;
    return pool->view.objects + (uint64_t)(uint32_t)handle * pool->view.stride;
}

hf_status hf_shm_pool_pass(hf_shm_pool *pool, hf_shm_handle handle) {
    if (!pool) return hfi_shm_say(HF_E_INVALID, "hf_shm_pool_pass: pool is NULL");
    const uint32_t self = hfi_shm_self(pool->part.shm);
    if (self == 0) return hfi_shm_closed(pool->part.shm);
    hf_status status = hfi_shm_slots_pass(&pool->view.slots, self, handle);
    return status == HF_OK ? HF_OK : hfi_shm_pool_refuse(pool, "pass", handle, status);
}

hf_status hf_shm_pool_adopt(hf_shm_pool *pool, hf_shm_handle handle, hf_shm_handle *handle_out) {
    if (!pool || !handle_out)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_pool_adopt: pool or handle_out is NULL");
    const uint32_t self = hfi_shm_self(pool->part.shm);
    if (self == 0) return hfi_shm_closed(pool->part.shm);
    hf_status status = hfi_shm_slots_adopt(&pool->view.slots, self, handle, handle_out);
    return status == HF_OK ? HF_OK : hfi_shm_pool_refuse(pool, "adopt", handle, status);
}

uint64_t hf_shm_pool_capacity(const hf_shm_pool *pool) {
    return pool ? pool->view.slots.count : 0;
}
uint64_t hf_shm_pool_object_size(const hf_shm_pool *pool) {
    return pool ? pool->view.object_size : 0;
}
uint64_t hf_shm_pool_stride(const hf_shm_pool *pool) {
    return pool ? pool->view.stride : 0;
}
