/* shm_queue.h - a first-in, first-out queue between processes, bounded, for any number of them.
 *
 *   hf_shm_queue_options options;                hf_shm_queue *queue;
 *   hf_shm_queue_options_init(&options, sizeof(struct job), 1024);
 *   hf_shm_queue_open(shm, "jobs", HF_SHM_OPEN_OR_CREATE, &options, &queue);
 *   hf_shm_queue_put(queue, &job, sizeof job, HF_FOREVER);
 *   hf_shm_queue_get(queue, &job, sizeof job, HF_FOREVER, NULL);      hf_shm_queue_close(queue);
 *
 * The promise  a process may be killed between any two instructions. Nobody waits for it for ever, the
 *              others' items stay whole and in order, and the queue keeps its capacity. What a killed
 *              producer had not finished was never put. What a killed consumer had in hand is gone
 *              (default) or delivered again (option redeliver).
 * Order        items of one producer come out in the order in which it put them; a returned one late.
 * Caveats
 *  - A put in progress holds up the items behind it: a producer that is stopped, not dead, in the
 *    middle of one (or with a reserved slot) stops the consumers until it goes on.
 *  - A thread that ends alone in the middle of an operation is not noticed: only a process's death is.
 *  - Any thread may use a handle, except with `single`: there one thread at a time on each side.
 *  - Results of length are of a moment that is over; statuses are not. */
#ifndef HOLDFAST_SHM_QUEUE_H
#define HOLDFAST_SHM_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/shm.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm_queue hf_shm_queue;

#define HF_SHM_QUEUE_CAPACITY_MAX ((uint64_t)1 << 32) /* items                         */
#define HF_SHM_QUEUE_RETURNS_MAX  15 /* times an item is delivered again, then given up */

/* What an item is. */
typedef enum hf_shm_queue_items {
    HF_SHM_QUEUE_RECORDS, /* element_size bytes each                           */
    HF_SHM_QUEUE_BYTES    /* 0 to element_size bytes each; the length is kept  */
} hf_shm_queue_items;

typedef struct hf_shm_queue_options {
    uint32_t struct_size;
    uint32_t items;        /* hf_shm_queue_items                                                */
    uint64_t element_size; /* of an item, or the most [bytes]; 0 with HF_SHM_OPEN: as it is      */
    /* Items, rounded up to a power of two; 0 with HF_SHM_OPEN: it, single and redeliver as they are. */
    uint64_t capacity;
    uint32_t single;    /* 1: one producer and one consumer, faster; a second gets HF_E_BUSY */
    uint32_t redeliver; /* 1: what a killed consumer had in hand is delivered again          */
    const char *format; /* of one item, as NumPy writes it; NULL: none                       */
} hf_shm_queue_options;

HF_API void hf_shm_queue_options_init(hf_shm_queue_options *options, uint64_t element_size,
                                      uint64_t capacity);

/* Opens or makes a queue. NULL options with HF_SHM_OPEN: whatever it is. HF_E_INVALID (options),
 * HF_E_MISMATCH (there is another one of this name), and what hf_shm_add returns. */
HF_API hf_status hf_shm_queue_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                   const hf_shm_queue_options *options, hf_shm_queue **queue_out);
/* HF_E_BUSY while slots are reserved or peeked at through this handle; otherwise it is gone. */
HF_API hf_status hf_shm_queue_close(hf_shm_queue *queue);

/* --- one item --------------------------------------------------------------------------------- */

/* Copies an item in. HF_E_FULL (timeout 0) or HF_E_TIMEOUT: no room; HF_E_INVALID: the size is not the
 * queue's; HF_E_BUSY: `single` and another producer lives (hf_shm_detail names it); HF_E_CANCELLED:
 * hf_shm_queue_wake; HF_E_CORRUPT: the queue's words make no sense (hf_shm_repair). */
HF_API hf_status hf_shm_queue_put(hf_shm_queue *queue, const void *data, uint64_t size,
                                  uint64_t timeout_ns);
/* Copies the oldest item out to `data`, which has room for `size` bytes. HF_E_EMPTY (timeout 0) or
 * HF_E_TIMEOUT: there is none; HF_E_INVALID: it is longer than `size`, *size_out says how long, and it
 * stays; otherwise as put. `size_out` (may be NULL): bytes of the item. */
HF_API hf_status hf_shm_queue_get(hf_shm_queue *queue, void *data, uint64_t size,
                                  uint64_t timeout_ns, uint64_t *size_out);

typedef struct hf_shm_bytes {
    const void *data;
    uint64_t size; /* [bytes] */
} hf_shm_bytes;
/* One item from several parts, one behind another: written in place, without a copy in between. */
HF_API hf_status hf_shm_queue_put_segmented(hf_shm_queue *queue, const hf_shm_bytes *parts,
                                            size_t count, uint64_t timeout_ns);

/* --- many items ------------------------------------------------------------------------------- */

/* `count` items that lie element_size bytes apart; `sizes` (may be NULL: all of element_size) for
 * HF_SHM_QUEUE_BYTES. Waits until all are in; *done_out (may be NULL) of them went in, whatever the
 * status. Each is put by itself: items of others may come to lie between. */
HF_API hf_status hf_shm_queue_put_bulk(hf_shm_queue *queue, const void *data, const uint64_t *sizes,
                                       uint64_t count, uint64_t timeout_ns, uint64_t *done_out);
/* Waits for the first, then takes what is there, up to `count`, element_size bytes apart. HF_OK with
 * *done_out at least 1. `sizes_out` may be NULL. */
HF_API hf_status hf_shm_queue_get_bulk(hf_shm_queue *queue, void *data, uint64_t *sizes_out,
                                       uint64_t count, uint64_t timeout_ns, uint64_t *done_out);

/* --- in place --------------------------------------------------------------------------------- */

/* A slot in hand. `size` may be lowered between reserve and commit (HF_SHM_QUEUE_BYTES). */
typedef struct hf_shm_slot {
    void *data;        /* of the item; at a multiple of 64, of 16 up to 48 bytes, of 8 up to 8   */
    uint64_t size;     /* of the item [bytes]                                                  */
    uint64_t position; /* token: which one it is                                               */
    uint64_t state;    /* token: what it was marked with                                       */
} hf_shm_slot;

/* The next slot to write to, with room for `size` bytes; 0: element_size. Others go on behind it. */
HF_API hf_status hf_shm_queue_reserve(hf_shm_queue *queue, uint64_t size, uint64_t timeout_ns,
                                      hf_shm_slot *slot_out);
/* Puts what was written. HF_E_STALE: the slot is not reserved any more (committed, abandoned, or of
 * the parent of a fork); HF_E_INVALID: the size is not the queue's, and the slot stays in hand. */
HF_API hf_status hf_shm_queue_commit(hf_shm_queue *queue, const hf_shm_slot *slot);
/* Puts nothing: consumers step over it. */
HF_API hf_status hf_shm_queue_abandon(hf_shm_queue *queue, const hf_shm_slot *slot);
/* The oldest item where it lies; nobody else gets it, and its slot is not written before release. */
HF_API hf_status hf_shm_queue_peek(hf_shm_queue *queue, uint64_t timeout_ns, hf_shm_slot *slot_out);
HF_API hf_status hf_shm_queue_release(hf_shm_queue *queue, const hf_shm_slot *slot);

/* --- the queue -------------------------------------------------------------------------------- */

/* Items in it, those being written or read included; never more than the capacity. */
HF_API uint64_t hf_shm_queue_length(const hf_shm_queue *queue);
HF_API uint64_t hf_shm_queue_capacity(const hf_shm_queue *queue);
HF_API uint64_t hf_shm_queue_element_size(const hf_shm_queue *queue);
/* What it was made with; `format` is NULL here (hf_shm_list shows it). */
HF_API void hf_shm_queue_options_of(const hf_shm_queue *queue, hf_shm_queue_options *options_out);
/* Everyone who waits in this queue, in any process, returns HF_E_CANCELLED. */
HF_API void hf_shm_queue_wake(hf_shm_queue *queue);
/* Another number after every hf_shm_queue_wake: for those who wait in pieces, and would miss one between
 * two of them. */
HF_API uint32_t hf_shm_queue_wakes(const hf_shm_queue *queue);

#ifdef __cplusplus
}
#endif
#endif
