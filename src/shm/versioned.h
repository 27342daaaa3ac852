/* versioned.h - the bytes of a versioned array, and what its handles know.
 *
 *   | geometry | lease | intent, version | event | buffer 0 | ... | buffer n-1 |
 *   version v lies in buffer v % n
 *
 *   version <= intent <= version + 1;   intent == version + 1: the next one is being written, over
 *   version + 1 - n;   so a copy of v is whole if intent <= v + n - 1 after it
 *
 * Invariants  only the holder of the lease moves intent and version. A version that readers may take
 *             is never written to: a dead writer leaves the last one as it was.
 * Trust       geometry is taken once (hfi_versioned_take); a version only becomes an index by % n.
 * Talks to    segment.h, lease.h, racy_copy.h, shape.h.   Called by versioned*.c.
 * Source      Simpson, "Four-slot fully asynchronous communication mechanism", IEE Proc. 1990;
 *             Lamport, "Concurrent reading and writing", CACM 1977. */
#ifndef HFI_SHM_VERSIONED_H
#define HFI_SHM_VERSIONED_H

#include <holdfast/shm_versioned.h>

#include "lease.h"
#include "racy_copy.h"
#include "segment.h"

#define HFI_VERSIONED_LAYOUT 1

struct hfi_versioned {
    _Atomic uint64_t size, buffers; /* of the value [bytes]; how many of it */
    _Alignas(HFI_SHM_LINE) _Atomic uint64_t lease;
    _Atomic uint64_t recovered; /* writers that died */
    _Alignas(HFI_SHM_LINE) _Atomic uint64_t intent;
    _Atomic uint64_t version;
    _Alignas(HFI_SHM_LINE) struct hfi_shm_event changed;
};

struct hf_shm_versioned {
    struct hfi_shm_part part;
    struct hfi_versioned *shared;
    char *buffers;
    uint64_t size;   /* of the value [bytes]                   */
    uint64_t stride; /* from one buffer to the next [bytes]    */
    uint32_t count;  /* of buffers                             */
    bool begun;      /* as the writer: between begin and commit */
    uint64_t lease;  /* as the writer; 0: none                 */
    uint64_t newest; /* as the writer: what version is         */
};

static inline char *hfi_versioned_buffer(const hf_shm_versioned *versioned, uint64_t version) {
    return versioned->buffers + version % versioned->count * versioned->stride;
}

/* Takes and verifies the geometry of a part. HF_E_CORRUPT. */
hf_status hfi_versioned_take(const struct hfi_shm_part *part, hf_shm_versioned *versioned_out);

#endif
