/* ring.c - rings: made, opened, closed, looked at.
 *
 * Invariants  ring.h. What is here runs once or when somebody looks; the paths of elements are in
 *             ring_write.c and ring_read.c.
 * Talks to    segment.h, pages/meta.   Called by the program, kinds.c (through ring_kind.c).
 * Threads     any, on handles of their own.
 * Fails with  HF_E_INVALID, HF_E_MISMATCH, HF_E_CORRUPT, HF_E_BUSY. */
#include "ring.h"

#include "os/os.h"
#include "pages/meta.h"

#define LINE_UP(size) (((size) + HFI_SHM_LINE - 1) & ~(uint64_t)(HFI_SHM_LINE - 1))

_Static_assert(sizeof(struct hfi_ring_reader) == HFI_SHM_LINE, "a reader has its own lines");
_Static_assert(sizeof(struct hfi_ring) % HFI_SHM_LINE == 0, "readers begin on a line");

void hf_shm_ring_options_init(hf_shm_ring_options *options, uint64_t element_size,
                              uint64_t capacity) {
    *options = (hf_shm_ring_options){.struct_size = sizeof *options,
                                     .element_size = element_size,
                                     .capacity = capacity,
                                     .readers_max = 16};
}

uint64_t hfi_ring_header_size(uint64_t readers_max, uint64_t data_size) {
    uint64_t size = sizeof(struct hfi_ring) + readers_max * sizeof(struct hfi_ring_reader);
    return data_size < HFI_PAGE ? LINE_UP(size) : (size + HFI_PAGE - 1) & ~(HFI_PAGE - 1);
}

/* Whether sizes make sense at all; products of them cannot overflow then. */
static bool geometry_fits(uint64_t element_size, uint64_t capacity, uint64_t readers_max) {
    return element_size >= 1 && element_size <= HF_SHM_SIZE_MAX && capacity >= 1 &&
           capacity <= HF_SHM_SIZE_MAX / element_size && readers_max >= 1 &&
           readers_max <= HF_SHM_RING_READERS_MAX;
}

hf_status hfi_ring_take(const struct hfi_shm_part *part, hf_shm_ring *ring) {
    struct hfi_ring *shared = (struct hfi_ring *)(void *)part->base;
    if (part->size < sizeof *shared)
        return hfi_shm_say(HF_E_CORRUPT, "the ring has %llu bytes, less than its header",
                           (unsigned long long)part->size);
    uint64_t element_size = hfi_shm_load64(&shared->element_size);
    uint64_t capacity = hfi_shm_load64(&shared->capacity);
    uint64_t readers_max = hfi_shm_load64(&shared->readers_max);
    uint64_t reliable = hfi_shm_load64(&shared->reliable);
    uint64_t data =
        geometry_fits(element_size, capacity, readers_max) ? element_size * capacity : 0;
    uint64_t header = data != 0 ? hfi_ring_header_size(readers_max, data) : 0;
    if (data == 0 || reliable > 1 || header > part->size || data > part->size - header ||
        (part->element_size != 0 && part->element_size != element_size))
        return hfi_shm_say(HF_E_CORRUPT,
                           "the header of the ring says %llu elements of %llu bytes, %llu readers, "
                           "mode %llu, which its %llu bytes cannot hold",
                           (unsigned long long)capacity, (unsigned long long)element_size,
                           (unsigned long long)readers_max, (unsigned long long)reliable,
                           (unsigned long long)part->size);
    *ring = (hf_shm_ring){.part = *part,
                          .shared = shared,
                          .elements = part->base + header,
                          .element_size = element_size,
                          .capacity = capacity,
                          .mask = (capacity & (capacity - 1)) == 0 ? capacity - 1 : 0,
                          .readers_max = (uint32_t)readers_max,
                          .reliable = reliable == 1};
    return HF_OK;
}

static void ring_init(struct hfi_shm_part *part, const void *context) {
    const hf_shm_ring_options *options = context;
    struct hfi_ring *shared = (struct hfi_ring *)(void *)part->base;
    hfi_shm_store64(&shared->element_size, options->element_size);
    hfi_shm_store64(&shared->capacity, options->capacity);
    hfi_shm_store64(&shared->readers_max, options->readers_max);
    hfi_shm_store64(&shared->reliable, options->reliable == 1);
}

static hf_status ring_accept(struct hfi_shm_part *part, const void *context) {
    const hf_shm_ring_options *options = context;
    hf_shm_ring ring = {.capacity = 0};
    hf_status status = hfi_ring_take(part, &ring);
    if (status != HF_OK || options == NULL) return status;
    if (options->reliable < 2 && (options->reliable == 1) != ring.reliable)
        return hfi_shm_say(HF_E_MISMATCH, "the ring is %s, and was asked for as %s",
                           ring.reliable ? "reliable" : "overwriting",
                           options->reliable == 1 ? "reliable" : "overwriting");
    return HF_OK;
}

/* Completes *options for the mode; says what is wrong with them. */
static hf_status options_take(const hf_shm_ring_options *given, hf_shm_mode mode,
                              hf_shm_ring_options *options) {
    hf_shm_ring_options_init(options, 0, 0);
    options->reliable = 2;
    if (given == NULL) {
        if (mode == HF_SHM_OPEN) return HF_OK;
        return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_open: options are needed to make a ring");
    }
    if (given->struct_size != sizeof *given)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_open: options of %u bytes, %zu expected: call "
                           "hf_shm_ring_options_init first",
                           given->struct_size, sizeof *given);
    *options = *given;
    if (options->reliable > 2)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_open: reliable is %u; 0, 1 or 2 (any)",
                           options->reliable);
    if (mode == HF_SHM_OPEN) return HF_OK;
    if (!geometry_fits(options->element_size, options->capacity, options->readers_max))
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_ring_open: %llu elements of %llu bytes for %u readers; at least "
                           "1 of each, at most %u readers and 2^46 bytes",
                           (unsigned long long)options->capacity,
                           (unsigned long long)options->element_size, options->readers_max,
                           HF_SHM_RING_READERS_MAX);
    return HF_OK;
}

hf_status hf_shm_ring_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                           const hf_shm_ring_options *given, hf_shm_ring **ring_out) {
    if (shm == NULL || name == NULL || ring_out == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_open: segment, name and ring_out are needed");
    hf_shm_ring_options options;
    hf_status status = options_take(given, mode, &options);
    if (status != HF_OK) return status;
    uint64_t data = options.element_size * options.capacity;
    struct hfi_shm_request request = {
        .name = name,
        .kind = HF_SHM_KIND_RING,
        .layout = HFI_RING_LAYOUT,
        .size = mode == HF_SHM_OPEN ? 0 : hfi_ring_header_size(options.readers_max, data) + data,
        .element_size = options.element_size,
        .element_count = options.capacity,
        .format = options.format,
        .options = &options,
        .init = ring_init,
        .accept = ring_accept};
    struct hfi_shm_part part;
    status = hfi_shm_attach(shm, mode, &request, &part);
    if (status != HF_OK) return status;
    hf_shm_ring *ring = hfi_meta_alloc(sizeof *ring);
    status = ring != NULL ? hfi_ring_take(&part, ring)
                          : hfi_shm_say(HF_E_NO_MEMORY, "no memory for the handle of a ring");
    if (status != HF_OK) {
        if (ring != NULL) hfi_meta_free(ring, sizeof *ring);
        hfi_shm_detach(&part);
        return status;
    }
    *ring_out = ring;
    return HF_OK;
}

hf_status hf_shm_ring_close(hf_shm_ring *ring) {
    if (ring == NULL) return HF_OK;
    uint32_t open = atomic_load_explicit(&ring->readers_open, memory_order_acquire);
    if (open != 0)
        return hfi_shm_say(HF_E_BUSY,
                           "hf_shm_ring_close: %u readers of this handle are open; "
                           "close them first",
                           open);
    ring->reserved = 0;
    (void)hf_shm_ring_release(ring);
    hfi_shm_detach(&ring->part);
    hfi_meta_free(ring, sizeof *ring);
    return HF_OK;
}

uint64_t hf_shm_ring_element_size(const hf_shm_ring *ring) {
    return ring->element_size;
}

uint64_t hf_shm_ring_capacity(const hf_shm_ring *ring) {
    return ring->capacity;
}

uint32_t hf_shm_ring_readers_max(const hf_shm_ring *ring) {
    return ring->readers_max;
}

int hf_shm_ring_reliable(const hf_shm_ring *ring) {
    return ring->reliable;
}

uint64_t hf_shm_ring_total_written(const hf_shm_ring *ring) {
    return hfi_shm_load64(&ring->shared->commit);
}

uint64_t hf_shm_ring_oldest(const hf_shm_ring *ring) {
    uint64_t oldest = hfi_ring_oldest(ring, hfi_shm_load64(&ring->shared->intent));
    return hfi_ring_min(oldest, hfi_shm_load64(&ring->shared->commit));
}

int hf_shm_ring_writer(hf_shm_ring *ring, uint32_t *participant_out) {
    uint32_t owner = hfi_lease_owner(hfi_shm_load64(&ring->shared->lease));
    if (owner == 0 || hfi_shm_dead(ring->part.shm, owner)) return 0;
    if (participant_out != NULL) *participant_out = owner - 1;
    return 1;
}

hf_status hf_shm_ring_readers(hf_shm_ring *ring, hf_shm_ring_reader_visitor visitor,
                              void *context) {
    if (ring == NULL || visitor == NULL)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_ring_readers: ring and visitor are needed");
    for (uint32_t i = 0; i < ring->readers_max; i++) {
        struct hfi_ring_reader *place = &ring->shared->readers[i];
        uint64_t word = hfi_shm_load64(&place->word);
        uint32_t owner = hfi_lease_owner(word);
        if (owner == 0 || HFI_READER_STATE(word) == HFI_READER_JOINING) continue;
        hf_shm_ring_reader_info info = {.index = i,
                                        .participant = owner - 1,
                                        .position = hfi_shm_load64(&place->cursor),
                                        .lost = hfi_shm_load64(&place->lost),
                                        .lossy = HFI_READER_STATE(word) == HFI_READER_LOSSY,
                                        .alive = !hfi_shm_dead(ring->part.shm, owner)};
        uint64_t commit = hfi_shm_load64(&ring->shared->commit);
        info.lag = commit > info.position ? commit - info.position : 0;
        if (hfi_shm_load64(&place->word) != word) continue;
        if (visitor(&info, context) != 0) break;
    }
    return HF_OK;
}
