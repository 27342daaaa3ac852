/* queue.c - a queue is opened, measured and closed.
 *
 *   options --> request to the table --> header (made by init, or compared by accept) --> handle
 *
 * Contract    shm_queue.h. What an opened queue's header says is checked against the part, once, and
 *             kept privately.
 * Talks to    segment.h, lease.h (who it is), pages/meta.h (handles).   Called through shm_queue.h.
 * Fails with  HF_E_INVALID, HF_E_MISMATCH, HF_E_CORRUPT (a header that does not fit its part),
 *             HF_E_BUSY (closing with slots in hand), HF_E_NO_MEMORY.
 * Source      shape of a handle: numbers are read once, so that a peer cannot change them under us. */
#include "queue_claim.h"

#include "lease.h"
#include "pages/meta.h"

static _Atomic uint32_t handle_count;

void hf_shm_queue_options_init(hf_shm_queue_options *options, uint64_t element_size,
                               uint64_t capacity) {
    if (options == NULL) return;
    *options = (hf_shm_queue_options){.struct_size = sizeof *options,
                                      .items = HF_SHM_QUEUE_RECORDS,
                                      .element_size = element_size,
                                      .capacity = capacity};
}

/* Small items share a line with their state; larger ones begin on a line of their own. */
static uint32_t data_offset(uint64_t element_size, bool bytes) {
    if (element_size <= 8 && !bytes) return 8;
    return element_size <= 48 ? 16 : QUEUE_LINE;
}

static uint64_t slot_stride(uint64_t element_size, bool bytes) {
    uint64_t size = data_offset(element_size, bytes) + element_size;
    for (uint64_t small = 16; small < 64; small *= 2)
        if (size <= small) return small;
    return (size + 63) & ~UINT64_C(63);
}

uint64_t queue_size(uint64_t element_size, uint64_t capacity, bool bytes) {
    uint64_t slots = 0, size = 0;
    if (element_size == 0 || element_size > HF_SHM_SIZE_MAX) return 0;
    if (capacity == 0 || capacity > HF_SHM_QUEUE_CAPACITY_MAX) return 0;
    if (__builtin_mul_overflow(slot_stride(element_size, bytes), capacity, &slots) ||
        __builtin_add_overflow(slots, QUEUE_SLOTS_OFFSET, &size) || size > HF_SHM_SIZE_MAX)
        return 0;
    return (size + 4095) & ~UINT64_C(4095); /* from a page on the table aligns to pages */
}

bool queue_shape_of(const struct hfi_shm_part *part, struct queue_shape *shape_out) {
    uint64_t capacity = part->element_count;
    if (part->size < QUEUE_SLOTS_OFFSET || capacity == 0 || (capacity & (capacity - 1)) != 0)
        return false;
    struct queue_header *header = (struct queue_header *)part->base;
    uint32_t items = *(volatile uint32_t *)&header->items;
    uint32_t single = *(volatile uint32_t *)&header->single;
    uint32_t redeliver = *(volatile uint32_t *)&header->redeliver;
    if (items > HF_SHM_QUEUE_BYTES || single > 1 || redeliver > 1) return false;
    uint64_t size = queue_size(part->element_size, capacity, items == HF_SHM_QUEUE_BYTES);
    if (size == 0 || size > part->size) return false;
    bool bytes = items == HF_SHM_QUEUE_BYTES;
    *shape_out = (struct queue_shape){.header = header,
                                      .slots = part->base + QUEUE_SLOTS_OFFSET,
                                      .mask = capacity - 1,
                                      .stride = slot_stride(part->element_size, bytes),
                                      .element_size = part->element_size,
                                      .shift = (uint32_t)__builtin_ctzll(capacity),
                                      .data_offset = data_offset(part->element_size, bytes),
                                      .bytes = bytes,
                                      .single = single == 1,
                                      .redeliver = redeliver == 1};
    return true;
}

static void queue_init(struct hfi_shm_part *part, const void *raw) {
    const hf_shm_queue_options *options = raw;
    struct queue_header *header = (struct queue_header *)part->base;
    header->items = options->items;
    header->single = options->single;
    header->redeliver = options->redeliver; /* zeroed slots are FREE in lap 0 */
}

static const char *items_name(bool bytes) {
    return bytes ? "bytes" : "records";
}

static hf_status queue_accept(struct hfi_shm_part *part, const void *raw) {
    const hf_shm_queue_options *options = raw;
    struct queue_shape shape;
    if (!queue_shape_of(part, &shape))
        return hfi_shm_say(HF_E_CORRUPT, "the header of the queue makes no sense");
    if (options->element_size == 0) return HF_OK;
    if ((options->items == HF_SHM_QUEUE_BYTES) != shape.bytes)
        return hfi_shm_say(HF_E_MISMATCH, "the queue holds %s, not %s", items_name(shape.bytes),
                           items_name(!shape.bytes));
    if (options->capacity == 0) return HF_OK; /* only the items were said */
    if ((options->single == 1) != shape.single)
        return hfi_shm_say(HF_E_MISMATCH, "the queue was made with single=%d, not %d", shape.single,
                           !shape.single);
    if ((options->redeliver == 1) != shape.redeliver)
        return hfi_shm_say(HF_E_MISMATCH, "the queue was made with redeliver=%d, not %d",
                           shape.redeliver, !shape.redeliver);
    return HF_OK;
}

/* The options as they are used: rounded, and all zero for "as it is". */
static hf_status options_take(hf_shm_mode mode, const hf_shm_queue_options *given,
                              hf_shm_queue_options *options) {
    hf_shm_queue_options_init(options, 0, 0);
    if (given != NULL) {
        if (given->struct_size != sizeof *given)
            return hfi_shm_say(HF_E_INVALID,
                               "options.struct_size is %u: call hf_shm_queue_options_init",
                               given->struct_size);
        *options = *given;
    }
    if (mode == HF_SHM_OPEN && options->element_size == 0) return HF_OK;
    if (options->element_size == 0)
        return hfi_shm_say(HF_E_INVALID, "element_size is 0: say how large an item may be");
    if (options->items > HF_SHM_QUEUE_BYTES || options->single > 1 || options->redeliver > 1)
        return hfi_shm_say(HF_E_INVALID, "items is %u, single %u, redeliver %u: each is 0 or 1",
                           options->items, options->single, options->redeliver);
    if (mode == HF_SHM_OPEN && options->capacity == 0) return HF_OK;
    if (options->capacity == 0 || options->capacity > HF_SHM_QUEUE_CAPACITY_MAX)
        return hfi_shm_say(HF_E_INVALID, "capacity is %llu: 1 to %llu items",
                           (unsigned long long)options->capacity,
                           (unsigned long long)HF_SHM_QUEUE_CAPACITY_MAX);
    while ((options->capacity & (options->capacity - 1)) != 0)
        options->capacity = (options->capacity | (options->capacity - 1)) + 1;
    if (queue_size(options->element_size, options->capacity,
                   options->items == HF_SHM_QUEUE_BYTES) == 0)
        return hfi_shm_say(HF_E_INVALID, "%llu items of %llu bytes are more than a segment holds",
                           (unsigned long long)options->capacity,
                           (unsigned long long)options->element_size);
    return HF_OK;
}

hf_status hf_shm_queue_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                            const hf_shm_queue_options *given, hf_shm_queue **queue_out) {
    if (shm == NULL || name == NULL || queue_out == NULL)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_queue_open: shm, name and queue_out must be given");
    hf_shm_queue_options options;
    hf_status status = options_take(mode, given, &options);
    if (status != HF_OK) return status;
    struct hfi_shm_request request = {.name = name,
                                      .kind = HF_SHM_KIND_QUEUE,
                                      .layout = QUEUE_LAYOUT,
                                      .element_size = options.element_size,
                                      .element_count = options.capacity,
                                      .format = options.format,
                                      .options = &options,
                                      .init = queue_init,
                                      .accept = queue_accept};
    if (options.element_size != 0 && options.capacity != 0)
        request.size =
            queue_size(options.element_size, options.capacity, options.items == HF_SHM_QUEUE_BYTES);
    hf_shm_queue *queue = hfi_meta_alloc(sizeof *queue);
    if (queue == NULL) return hfi_shm_say(HF_E_NO_MEMORY, "no memory for the handle of a queue");
    status = hfi_shm_attach(shm, mode, &request, &queue->part);
    if (status == HF_OK && !queue_shape_of(&queue->part, &queue->shape)) {
        hfi_shm_detach(&queue->part);
        status = hfi_shm_say(HF_E_CORRUPT, "the header of queue \"%s\" makes no sense", name);
    }
    if (status != HF_OK) {
        hfi_meta_free(queue, sizeof *queue);
        return status;
    }
    queue->handle = atomic_fetch_add_explicit(&handle_count, 1, memory_order_relaxed) + 1;
    const struct queue_shape *shape = &queue->shape;
    bool is_short = !shape->bytes && !shape->redeliver && shape->element_size >= 8 &&
                    shape->element_size <= QUEUE_COPY_SMALL;
    queue->short_size = is_short && !shape->single ? shape->element_size : UINT64_MAX;
    queue->short_size_single = is_short && shape->single ? shape->element_size : UINT64_MAX;
    queue->opened_by = hfi_shm_self(shm);
    *queue_out = queue;
    return HF_OK;
}

static uint64_t role_of(const hf_shm_queue *queue, uint32_t self) {
    return (uint64_t)queue->handle << 16 | self;
}

hf_status hf_shm_queue_close(hf_shm_queue *queue) {
    if (queue == NULL) return hfi_shm_say(HF_E_INVALID, "hf_shm_queue_close: queue is NULL");
    uint32_t self = hfi_shm_self(queue->part.shm);
    uint64_t held = atomic_load_explicit(&queue->held, memory_order_acquire);
    if (held != 0 && self == queue->opened_by) /* a fork's child holds none of its parent's */
        return hfi_shm_say(HF_E_BUSY,
                           "%llu slots are reserved or peeked at: commit, abandon or release them",
                           (unsigned long long)held);
    uint64_t mine = role_of(queue, self);
    if (queue->producer == self) (void)hfi_shm_swap64(&queue->shape.header->producer, &mine, 0);
    mine = role_of(queue, self);
    if (queue->consumer == self) (void)hfi_shm_swap64(&queue->shape.header->consumer, &mine, 0);
    hfi_shm_detach(&queue->part);
    hfi_meta_free(queue, sizeof *queue);
    return HF_OK;
}

/* --- single: who may ----------------------------------------------------------------------------- */

static hf_status role_take(hf_shm_queue *queue, _Atomic uint64_t *role, uint32_t self,
                           const char *what) {
    uint64_t mine = role_of(queue, self), found = 0;
    for (int tries = 0; tries < 3; tries++) {
        found = 0;
        if (hfi_shm_swap64(role, &found, mine) || found == mine) return HF_OK;
        uint32_t owner = (uint32_t)(found & 0xFFFF);
        if (owner == self || !hfi_shm_dead(queue->part.shm, owner)) break;
        hfi_shm_recover(queue->part.shm, owner);
    }
    char text[80];
    hfi_owner_text(queue->part.shm, (uint32_t)(found & 0xFFFF), text, sizeof text);
    return hfi_shm_say(HF_E_BUSY,
                       "the queue was made with single=1, and %s is its %s: make it without, or "
                       "close the queue there",
                       text, what);
}

hf_status queue_become_producer(hf_shm_queue *queue, uint32_t self) {
    struct queue_header *header = queue->shape.header;
    hf_status status = role_take(queue, &header->producer, self, "producer");
    if (status != HF_OK) return status;
    queue->tail = hfi_shm_load64(&header->tail);
    queue->producer = self;
    return HF_OK;
}

hf_status queue_become_consumer(hf_shm_queue *queue, uint32_t self) {
    struct queue_header *header = queue->shape.header;
    hf_status status = role_take(queue, &header->consumer, self, "consumer");
    if (status != HF_OK) return status;
    queue->head = hfi_shm_load64(&header->head);
    queue->consumer = self;
    return HF_OK;
}

/* --- figures ------------------------------------------------------------------------------------- */

uint64_t hf_shm_queue_length(const hf_shm_queue *queue) {
    if (queue == NULL) return 0;
    const struct queue_header *header = queue->shape.header;
    uint64_t head = hfi_shm_load64(&header->head), tail = hfi_shm_load64(&header->tail);
    int64_t length = (int64_t)(tail - head);
    if (length < 0) return 0;
    return (uint64_t)length > queue->shape.mask ? queue->shape.mask + 1 : (uint64_t)length;
}

uint64_t hf_shm_queue_capacity(const hf_shm_queue *queue) {
    return queue == NULL ? 0 : queue->shape.mask + 1;
}

uint64_t hf_shm_queue_element_size(const hf_shm_queue *queue) {
    return queue == NULL ? 0 : queue->shape.element_size;
}

void hf_shm_queue_options_of(const hf_shm_queue *queue, hf_shm_queue_options *options_out) {
    if (options_out == NULL) return;
    hf_shm_queue_options_init(options_out, hf_shm_queue_element_size(queue),
                              hf_shm_queue_capacity(queue));
    if (queue == NULL) return;
    options_out->items = queue->shape.bytes ? HF_SHM_QUEUE_BYTES : HF_SHM_QUEUE_RECORDS;
    options_out->single = queue->shape.single;
    options_out->redeliver = queue->shape.redeliver;
}

void hf_shm_queue_wake(hf_shm_queue *queue) {
    if (queue == NULL) return;
    struct queue_header *header = queue->shape.header;
    hfi_shm_add32(&header->wakes, 1);
    hfi_shm_signal(&header->filled, UINT32_MAX);
    hfi_shm_signal(&header->emptied, UINT32_MAX);
}

uint32_t hf_shm_queue_wakes(const hf_shm_queue *queue) {
    return queue == NULL ? 0 : hfi_shm_load32(&queue->shape.header->wakes);
}
