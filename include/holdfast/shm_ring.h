/* shm_ring.h - a ring in shared memory: one process writes a stream, many read it, each at its pace.
 *
 *   hf_shm_ring_options_init(&options, sizeof(struct sample), 4096);
 *   hf_shm_ring_open(shm, "samples", HF_SHM_OPEN_OR_CREATE, &options, &ring);
 *   writer   hf_shm_ring_push(ring, &sample, 0);   or  _push_bulk, or in place  _reserve / _commit
 *   reader   hf_shm_ring_reader_open(ring, NULL, &reader);
 *            hf_shm_ring_pop_bulk(reader, samples, 64, HF_FOREVER, &got, &lost);
 *
 * Positions    every element has one: 0, 1, 2, ... as it was written. Every reader gets every element;
 *              reading takes nothing away from others.
 * Overwrite    (default) the writer never waits: it overwrites the oldest. A reader that was too slow
 *              is told how many elements it lost: received + lost = positions it went past, exactly.
 * Reliable     the writer waits for the slowest living reader that is not lossy.
 * One writer   pushing claims the ring; a second writer is refused (HF_E_BUSY, with the pid of the
 *              first) until the first releases, closes or dies.
 * Killed       a writer in the middle of a push: the push did not happen; of a bulk of at most
 *              `capacity` elements in overwrite mode, none. The oldest elements that it had begun to
 *              overwrite are lost. A reader: as if it had closed.
 * Threads      one thread at a time on a handle; any number of handles. A handle goes on in the child
 *              of a fork: a reader as one of its own, a writer as one that has to claim. */
#ifndef HOLDFAST_SHM_RING_H
#define HOLDFAST_SHM_RING_H

#include <stdint.h>

#include <holdfast/shm.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm_ring hf_shm_ring;
typedef struct hf_shm_ring_reader hf_shm_ring_reader;

#define HF_SHM_RING_READERS_MAX 1023

typedef struct hf_shm_ring_options {
    uint32_t struct_size;
    uint32_t reliable;     /* 1: the writer waits for readers; opening: must agree, 2: any */
    uint64_t element_size; /* [bytes]; 0 when opening: any                                 */
    uint64_t capacity;     /* elements; 0 when opening: any                                */
    uint32_t readers_max;  /* that can be open at once, 16; only when it is made           */
    uint32_t spare;
    const char *format; /* of one element; NULL: any                                    */
} hf_shm_ring_options;

HF_API void hf_shm_ring_options_init(hf_shm_ring_options *options, uint64_t element_size,
                                     uint64_t capacity);
/* HF_E_MISMATCH: there is one of another kind, element size, format, capacity or mode. NULL options
 * with HF_SHM_OPEN: whatever it is. */
HF_API hf_status hf_shm_ring_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                  const hf_shm_ring_options *options, hf_shm_ring **ring_out);
/* HF_E_BUSY while readers are open on this handle. Releases the ring if it writes. */
HF_API hf_status hf_shm_ring_close(hf_shm_ring *ring);

HF_API uint64_t hf_shm_ring_element_size(const hf_shm_ring *ring);
HF_API uint64_t hf_shm_ring_capacity(const hf_shm_ring *ring);
HF_API uint32_t hf_shm_ring_readers_max(const hf_shm_ring *ring);
HF_API int hf_shm_ring_reliable(const hf_shm_ring *ring);
/* Elements that were ever written: the position of the next one. */
HF_API uint64_t hf_shm_ring_total_written(const hf_shm_ring *ring);
/* Position of the oldest element that is there. */
HF_API uint64_t hf_shm_ring_oldest(const hf_shm_ring *ring);

/* --- writing ---------------------------------------------------------------------------------- */

/* Becomes the writer, which the first push does by itself. HF_E_BUSY: a living one writes. */
HF_API hf_status hf_shm_ring_claim(hf_shm_ring *ring);
/* Lets another write. HF_E_BUSY while elements are reserved. */
HF_API hf_status hf_shm_ring_release(hf_shm_ring *ring);
/* One element. HF_E_FULL (reliable, timeout 0), HF_E_TIMEOUT: a living reader did not keep up. */
HF_API hf_status hf_shm_ring_push(hf_shm_ring *ring, const void *element, uint64_t timeout_ns);
/* `count` elements. *pushed_out (may be NULL) says how many went in, also with HF_E_FULL and
 * HF_E_TIMEOUT: reliable rings take what there is room for. */
HF_API hf_status hf_shm_ring_push_bulk(hf_shm_ring *ring, const void *elements, uint64_t count,
                                       uint64_t timeout_ns, uint64_t *pushed_out);
/* Up to `count` elements in one run, to be filled in place (a run ends at the end of the memory).
 * Readers see them when they are committed. HF_E_BUSY: some are reserved already. */
HF_API hf_status hf_shm_ring_reserve(hf_shm_ring *ring, uint64_t count, uint64_t timeout_ns,
                                     void **run_out, uint64_t *count_out);
/* Publishes the first `count` reserved elements and gives up the rest. */
HF_API hf_status hf_shm_ring_commit(hf_shm_ring *ring, uint64_t count);

/* --- reading ---------------------------------------------------------------------------------- */

typedef enum hf_shm_ring_from {
    HF_SHM_RING_OLDEST,  /* everything that is still there */
    HF_SHM_RING_NEWEST,  /* what is written from now on    */
    HF_SHM_RING_POSITION /* `position` of the options      */
} hf_shm_ring_from;

typedef struct hf_shm_ring_reader_options {
    uint32_t struct_size;
    uint32_t from;     /* hf_shm_ring_from                                           */
    uint64_t position; /* to go on from; what is gone of it counts as lost           */
    uint32_t lossy;    /* 1: the writer of a reliable ring does not wait for this one */
    uint32_t spare;
} hf_shm_ring_reader_options;

/* From the oldest, not lossy. */
HF_API void hf_shm_ring_reader_options_init(hf_shm_ring_reader_options *options);
/* HF_E_LIMIT: readers_max living ones are open. HF_E_INVALID: a position that is not yet written. */
HF_API hf_status hf_shm_ring_reader_open(hf_shm_ring *ring,
                                         const hf_shm_ring_reader_options *options,
                                         hf_shm_ring_reader **reader_out);
HF_API void hf_shm_ring_reader_close(hf_shm_ring_reader *reader);

/* The next element. HF_E_EMPTY (timeout 0), HF_E_TIMEOUT: nothing was written. HF_E_BUSY: the writer
 * goes round faster than one element can be copied (capacity too small). HF_E_CORRUPT. */
HF_API hf_status hf_shm_ring_pop(hf_shm_ring_reader *reader, void *element_out,
                                 uint64_t timeout_ns);
/* What is there, 1 to `count` elements; waits only while there is none. *lost_out (may be NULL):
 * elements between the last read and this that were overwritten. */
HF_API hf_status hf_shm_ring_pop_bulk(hf_shm_ring_reader *reader, void *elements_out,
                                      uint64_t count, uint64_t timeout_ns, uint64_t *got_out,
                                      uint64_t *lost_out);
/* The same and stays where it is: the next pop brings them again. */
HF_API hf_status hf_shm_ring_peek(hf_shm_ring_reader *reader, void *elements_out, uint64_t count,
                                  uint64_t *got_out);
/* The next elements in place, up to `count` in one run. In a reliable ring they stay until
 * hf_shm_ring_advance; in overwrite mode advance says whether they stayed. HF_E_EMPTY. */
HF_API hf_status hf_shm_ring_view(hf_shm_ring_reader *reader, uint64_t count, const void **run_out,
                                  uint64_t *count_out);
/* Goes past `count` viewed (or unread) elements. HF_E_STALE: the first *lost_out (may be NULL) of
 * them were overwritten before this call; what was read of them is no good, they count as lost. */
HF_API hf_status hf_shm_ring_advance(hf_shm_ring_reader *reader, uint64_t count,
                                     uint64_t *lost_out);
/* Waits until `count` elements can be read. HF_E_TIMEOUT. */
HF_API hf_status hf_shm_ring_wait(hf_shm_ring_reader *reader, uint64_t count, uint64_t timeout_ns);
/* Goes to a position; what lies between and was not read is not counted as lost. Reliable readers
 * only go forward. HF_E_INVALID: not yet written, or back in a reliable ring. */
HF_API hf_status hf_shm_ring_seek(hf_shm_ring_reader *reader, uint64_t position);

/* Of the next element that this reader gets. */
HF_API uint64_t hf_shm_ring_position(const hf_shm_ring_reader *reader);
/* Elements written and not yet read by it; more than the capacity: some are lost. */
HF_API uint64_t hf_shm_ring_lag(const hf_shm_ring_reader *reader);
/* Elements it never got, since it was opened. */
HF_API uint64_t hf_shm_ring_lost(const hf_shm_ring_reader *reader);

/* The newest elements, up to `count`, oldest of them first; *position_out (may be NULL) is the
 * first one's. Without a reader. HF_E_EMPTY; HF_E_BUSY as for pop. */
HF_API hf_status hf_shm_ring_latest(hf_shm_ring *ring, void *elements_out, uint64_t count,
                                    uint64_t *got_out, uint64_t *position_out);
/* Elements from a position on. HF_E_STALE: overwritten. HF_E_EMPTY: not yet written. */
HF_API hf_status hf_shm_ring_read_at(hf_shm_ring *ring, uint64_t position, void *elements_out,
                                     uint64_t count, uint64_t *got_out);

/* --- who is there ----------------------------------------------------------------------------- */

typedef struct hf_shm_ring_reader_info {
    uint32_t index;
    uint32_t participant; /* index in hf_shm_participants                    */
    uint64_t position, lag, lost;
    uint32_t lossy;
    uint32_t alive; /* 0: killed, and not yet dropped                  */
} hf_shm_ring_reader_info;
/* Return non-zero to stop. */
typedef int (*hf_shm_ring_reader_visitor)(const hf_shm_ring_reader_info *reader, void *context);
HF_API hf_status hf_shm_ring_readers(hf_shm_ring *ring, hf_shm_ring_reader_visitor visitor,
                                     void *context);
/* Participant that writes: 1 and its index, or 0: nobody. */
HF_API int hf_shm_ring_writer(hf_shm_ring *ring, uint32_t *participant_out);

#ifdef __cplusplus
}
#endif
#endif
