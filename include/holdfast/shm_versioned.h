/* shm_versioned.h - an array in shared memory that is replaced as a whole: one writes, many read.
 *
 *   hf_shm_versioned_options_init(&options, sizeof(float), 3 * 100000);
 *   hf_shm_versioned_open(shm, "positions", HF_SHM_OPEN_OR_CREATE, &options, &positions);
 *   writer   hf_shm_versioned_write(positions, data, &version);     or in place  _begin / _commit
 *   reader   hf_shm_versioned_wait(positions, version, HF_FOREVER, NULL);
 *            hf_shm_versioned_read(positions, data, &version);
 *
 * Snapshots    what a reader gets is one version, whole: never half of one and half of the next.
 * Wait-free    the writer never waits for readers. Readers copy again if the writer came round while
 *              they copied, which takes one that writes `buffers` - 1 versions during one copy.
 *              After HF_SHM_VERSIONED_TRIES of that the answer is HF_E_BUSY: use more buffers, or
 *              write less often than a copy takes.
 * Versions     1, 2, 3, ... 0: never written, and all zero.
 * One writer   writing claims the array, as in shm_ring.h.
 * Killed       a writer at any point: readers keep the last whole version, at once and for ever; the
 *              next writer makes the version that the dead one did not finish. A reader: nothing.
 * Threads      one thread at a time on a handle; any number of handles. */
#ifndef HOLDFAST_SHM_VERSIONED_H
#define HOLDFAST_SHM_VERSIONED_H

#include <stdint.h>

#include <holdfast/shm.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm_versioned hf_shm_versioned;

#define HF_SHM_VERSIONED_BUFFERS_MAX 64
#define HF_SHM_VERSIONED_TRIES       100 /* copies before a reader gives up */

typedef struct hf_shm_versioned_options {
    uint32_t struct_size;
    uint32_t buffers;      /* copies that are kept, 2 to 64; more: readers are disturbed less often;
                               0 when opening: any                                              */
    uint64_t element_size; /* [bytes]; 0 when opening: any                                     */
    uint64_t element_count; /* the product of the shape; 0 when opening: any                    */
    uint32_t dimensions;    /* 0: one, of element_count                                         */
    uint32_t spare;
    uint64_t shape[HF_SHM_DIMENSIONS_MAX];
    const char *format; /* of one element; NULL: any                                        */
} hf_shm_versioned_options;

/* Two buffers, one dimension. */
HF_API void hf_shm_versioned_options_init(hf_shm_versioned_options *options, uint64_t element_size,
                                          uint64_t element_count);
/* HF_E_MISMATCH: there is one of another kind, element, shape or number of buffers. NULL options
 * with HF_SHM_OPEN: whatever it is. */
HF_API hf_status hf_shm_versioned_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                       const hf_shm_versioned_options *options,
                                       hf_shm_versioned **versioned_out);
/* Gives up what was begun, releases it if it writes. */
HF_API hf_status hf_shm_versioned_close(hf_shm_versioned *versioned);

HF_API uint64_t hf_shm_versioned_element_size(const hf_shm_versioned *versioned);
HF_API uint64_t hf_shm_versioned_element_count(const hf_shm_versioned *versioned);
/* Of all elements [bytes]. */
HF_API uint64_t hf_shm_versioned_size(const hf_shm_versioned *versioned);
HF_API uint32_t hf_shm_versioned_buffers(const hf_shm_versioned *versioned);
/* Of the newest whole one. */
HF_API uint64_t hf_shm_versioned_version(const hf_shm_versioned *versioned);

/* --- writing ---------------------------------------------------------------------------------- */

/* Becomes the writer, which the first write does by itself. HF_E_BUSY: a living one writes. */
HF_API hf_status hf_shm_versioned_claim(hf_shm_versioned *versioned);
/* Lets another write. HF_E_BUSY between begin and commit. */
HF_API hf_status hf_shm_versioned_release(hf_shm_versioned *versioned);
/* Replaces everything. *version_out (may be NULL): the new version. */
HF_API hf_status hf_shm_versioned_write(hf_shm_versioned *versioned, const void *data,
                                        uint64_t *version_out);
/* Replaces `size` bytes at an offset; the rest is that of the last version (which is copied). */
HF_API hf_status hf_shm_versioned_write_range(hf_shm_versioned *versioned, uint64_t offset,
                                              const void *data, uint64_t size,
                                              uint64_t *version_out);
/* The memory of the next version, to be filled in place. keep 1: with the content of the last one,
 * which is copied; 0: with that of an older one. HF_E_BUSY: begun already. */
HF_API hf_status hf_shm_versioned_begin(hf_shm_versioned *versioned, int keep, void **data_out);
/* Readers see it from now on. HF_E_INVALID: not begun. */
HF_API hf_status hf_shm_versioned_commit(hf_shm_versioned *versioned, uint64_t *version_out);
/* As if it had never begun. */
HF_API hf_status hf_shm_versioned_cancel(hf_shm_versioned *versioned);

/* --- reading ---------------------------------------------------------------------------------- */

/* The newest whole version into data_out. *version_out (may be NULL) says which. HF_E_BUSY: see
 * above; data_out holds no version then. HF_E_CORRUPT. */
HF_API hf_status hf_shm_versioned_read(hf_shm_versioned *versioned, void *data_out,
                                       uint64_t *version_out);
/* `size` bytes of it from an offset. */
HF_API hf_status hf_shm_versioned_read_range(hf_shm_versioned *versioned, uint64_t offset,
                                             void *data_out, uint64_t size, uint64_t *version_out);
/* The same as read if the newest is not `version`; HF_E_EMPTY if it is. */
HF_API hf_status hf_shm_versioned_read_newer(hf_shm_versioned *versioned, uint64_t version,
                                             void *data_out, uint64_t *version_out);
/* Waits until the newest is later than `version`. HF_E_TIMEOUT. */
HF_API hf_status hf_shm_versioned_wait(hf_shm_versioned *versioned, uint64_t version,
                                       uint64_t timeout_ns, uint64_t *version_out);
/* The newest version in place. It stays whole until the writer begins `buffers` - 1 further ones; what
 * was read of it counts only if hf_shm_versioned_intact says so afterwards. */
HF_API hf_status hf_shm_versioned_view(hf_shm_versioned *versioned, const void **data_out,
                                       uint64_t *version_out);
/* HF_E_STALE: the writer has begun to overwrite this version. */
HF_API hf_status hf_shm_versioned_intact(hf_shm_versioned *versioned, uint64_t version);
/* Participant that writes: 1 and its index, or 0: nobody. */
HF_API int hf_shm_versioned_writer(hf_shm_versioned *versioned, uint32_t *participant_out);

#ifdef __cplusplus
}
#endif
#endif
