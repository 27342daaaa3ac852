/* shm_pool.h - objects of one size in a segment: any process takes one, gives it back, passes it on.
 *
 *   hf_shm_pool_options options;                    hf_shm_pool *pool;          hf_shm_handle frame;
 *   hf_shm_pool_options_init(&options, 64, 1 << 20);
 *   hf_shm_pool_open(shm, "frames", HF_SHM_OPEN_OR_CREATE, &options, &pool);
 *   hf_shm_pool_acquire(pool, HF_FOREVER, &frame);  fill(hf_shm_pool_at(pool, frame));
 *   hf_shm_pool_release(pool, frame);               hf_shm_pool_close(pool);
 *
 * Handles   64 bits that mean the same in every process: generation and index. Giving back and passing
 *           on makes the old handle stale: it is refused for the next 2^32 - 2 uses of that object.
 * Killed    what a killed participant had is free again: at once where somebody waits for an object or
 *           finds none, else at the next sweep. Nobody else's object is touched.
 * Pass on   sender: put the handle into a queue, then hf_shm_pool_pass. Receiver: adopt it, then let
 *           the queue's record go (peek, adopt, release; a queue that redelivers what a killed
 *           receiver had in hand). A kill at any point leaves the object with exactly one of: the
 *           sender (freed with it), the queue's record, the receiver (freed with it).
 * Caveats
 *  - acquire is not first come, first served. Objects are the participant's, not the thread's.
 *  - HF_E_EMPTY means that every object was taken when it was looked at, not all at one instant.
 *  - Closing gives nothing back; leaving the segment does.
 *  - Every function may be called from any thread; close when no other thread uses the pool. */
#ifndef HOLDFAST_SHM_POOL_H
#define HOLDFAST_SHM_POOL_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/shm.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm_pool hf_shm_pool;
typedef uint64_t hf_shm_handle; /* generation:32 | index:32 */

#define HF_SHM_HANDLE_NONE        ((hf_shm_handle)0)
#define HF_SHM_POOL_CAPACITY_MAX  ((uint64_t)1 << 28)
#define HF_SHM_POOL_OBJECT_MAX    ((uint64_t)1 << 40)
#define HF_SHM_POOL_ALIGNMENT_MAX ((uint64_t)4096)
/* Instead of a participant: the object is on its way, nobody's death frees it. */
#define HF_SHM_POOL_PASSED        UINT32_MAX

typedef struct hf_shm_pool_options {
    uint32_t struct_size;
    uint32_t sanitize;    /* 1: given back objects are zeroed, those of killed ones too          */
    uint64_t capacity;    /* objects, to HF_SHM_POOL_CAPACITY_MAX; open: 0 = any                 */
    uint64_t object_size; /* 1 to HF_SHM_POOL_OBJECT_MAX [bytes]; open: 0 = any                  */
    uint64_t alignment;   /* power of two, 8 to 4096 [bytes]; 0: 64; open: not compared when 0   */
    const char *format;   /* of one object, as NumPy writes it; NULL: none, or any when opened   */
} hf_shm_pool_options;

HF_API void hf_shm_pool_options_init(hf_shm_pool_options *options, uint64_t capacity,
                                     uint64_t object_size);
/* Options NULL with HF_SHM_OPEN: whatever it is. HF_E_NOT_FOUND, HF_E_EXISTS, HF_E_MISMATCH,
 * HF_E_NO_SPACE, HF_E_LIMIT, HF_E_INVALID. */
HF_API hf_status hf_shm_pool_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                  const hf_shm_pool_options *options, hf_shm_pool **pool_out);
/* Ends the use of the pool by this process, not the pool. NULL does nothing. */
HF_API void hf_shm_pool_close(hf_shm_pool *pool);

/* One object. HF_E_EMPTY: none and timeout_ns is 0; HF_E_TIMEOUT: none came in time. */
HF_API hf_status hf_shm_pool_acquire(hf_shm_pool *pool, uint64_t timeout_ns,
                                     hf_shm_handle *handle_out);
/* Gives an object of this participant back. HF_E_STALE: given back, adopted or taken back before;
 * HF_E_INVALID: another participant has it (hf_shm_detail names it), or it is no handle. */
HF_API hf_status hf_shm_pool_release(hf_shm_pool *pool, hf_shm_handle handle);
/* Up to `count`; waits for the first, takes what else is there. HF_OK with at least one. */
HF_API hf_status hf_shm_pool_acquire_bulk(hf_shm_pool *pool, uint64_t timeout_ns,
                                          hf_shm_handle *handles_out, size_t count,
                                          size_t *acquired_out);
/* Gives back all that can be; otherwise the first refusal. released_out may be NULL. */
HF_API hf_status hf_shm_pool_release_bulk(hf_shm_pool *pool, const hf_shm_handle *handles,
                                          size_t count, size_t *released_out);

/* The address in this process; NULL if the handle is stale or none. Valid while the object is out. */
HF_API void *hf_shm_pool_at(hf_shm_pool *pool, hf_shm_handle handle);
/* Who has it: hf_shm_participant.index, or HF_SHM_POOL_PASSED. HF_E_STALE, HF_E_INVALID. */
HF_API hf_status hf_shm_pool_owner(hf_shm_pool *pool, hf_shm_handle handle,
                                   uint32_t *participant_out);

/* After the handle was handed over: this participant's death does not free the object any more.
 * HF_OK also if the receiver was faster. */
HF_API hf_status hf_shm_pool_pass(hf_shm_pool *pool, hf_shm_handle handle);
/* Takes over an object whose handle was received, whoever has it; from then on the handle is stale and
 * *handle_out is the one that counts. Of several that try one succeeds, the others get HF_E_STALE. */
HF_API hf_status hf_shm_pool_adopt(hf_shm_pool *pool, hf_shm_handle handle,
                                   hf_shm_handle *handle_out);

typedef struct hf_shm_pool_object {
    hf_shm_handle handle;
    uint32_t participant; /* hf_shm_participant.index or HF_SHM_POOL_PASSED */
    uint32_t spare;
    void *address; /* in this process                                */
} hf_shm_pool_object;
/* Return non-zero to stop. */
typedef int (*hf_shm_pool_visitor)(const hf_shm_pool_object *object, void *context);
/* Every object that is out, in order of its address; what changes meanwhile may be missed. */
HF_API hf_status hf_shm_pool_visit(hf_shm_pool *pool, hf_shm_pool_visitor visitor, void *context);

HF_API uint64_t hf_shm_pool_capacity(const hf_shm_pool *pool);
HF_API uint64_t hf_shm_pool_object_size(const hf_shm_pool *pool);
/* From one object to the next [bytes]. */
HF_API uint64_t hf_shm_pool_stride(const hf_shm_pool *pool);
/* Objects that are out. Looks at each. */
HF_API uint64_t hf_shm_pool_live(hf_shm_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
