/* shm_semaphore.h - so many may at once: permits that are taken and given back between processes.
 *
 *   hf_shm_semaphore_options options;                      hf_shm_semaphore *licences;
 *   hf_shm_semaphore_options_init(&options, 4);
 *   hf_shm_semaphore_open(shm, "licences", HF_SHM_OPEN_OR_CREATE, &options, &licences);
 *   hf_shm_semaphore_wait(licences, 1, HF_FOREVER);  ...   hf_shm_semaphore_post(licences, 1);
 *
 * Held      (default) a permit belongs to the participant that took it, and comes back when that is
 *           killed or leaves: value = permits - those that living participants hold, at every instant,
 *           because taking a permit and writing down who has it is one step.
 * Counted   a bare number: who posts need not have waited. For signals from one process to another.
 *           Nobody owns what was taken, so nothing comes back.
 * Caveats
 *  - Permits are the participant's, not the thread's; not first come, first served.
 *  - A wait for several holds what it got until it has all or gives up; of such waits one collects at a
 *    time, so two of them cannot block each other. Counted: it takes all at once or waits.
 *  - Every function may be called from any thread; close when no other thread uses the semaphore. */
#ifndef HOLDFAST_SHM_SEMAPHORE_H
#define HOLDFAST_SHM_SEMAPHORE_H

#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/shm.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm_semaphore hf_shm_semaphore;

#define HF_SHM_SEMAPHORE_PERMITS_MAX ((uint32_t)1 << 20) /* held    */
#define HF_SHM_SEMAPHORE_VALUE_MAX   ((uint64_t)1 << 62) /* counted */

typedef struct hf_shm_semaphore_options {
    uint32_t struct_size;
    uint32_t counted; /* 1: a bare number; opened: must agree                             */
    uint64_t permits; /* held: all there are; counted: the first value; open: held, 0 = any */
    uint64_t most;    /* counted: post beyond it is HF_E_FULL; 0: VALUE_MAX; open: 0 = any  */
} hf_shm_semaphore_options;

HF_API void hf_shm_semaphore_options_init(hf_shm_semaphore_options *options, uint64_t permits);
/* Options NULL with HF_SHM_OPEN: whatever it is. HF_E_NOT_FOUND, HF_E_EXISTS, HF_E_MISMATCH,
 * HF_E_NO_SPACE, HF_E_LIMIT, HF_E_INVALID. */
HF_API hf_status hf_shm_semaphore_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                       const hf_shm_semaphore_options *options,
                                       hf_shm_semaphore **semaphore_out);
/* Gives nothing back; leaving the segment does. */
HF_API void hf_shm_semaphore_close(hf_shm_semaphore *semaphore);

/* Takes `count` permits or none. HF_E_TIMEOUT: they were not to be had for that long (0: now);
 * HF_E_INVALID: count is 0 or more than there can ever be. */
HF_API hf_status hf_shm_semaphore_wait(hf_shm_semaphore *semaphore, uint32_t count,
                                       uint64_t timeout_ns);
/* Gives `count` back, or none: HF_E_INVALID: this participant holds fewer; counted: HF_E_FULL. */
HF_API hf_status hf_shm_semaphore_post(hf_shm_semaphore *semaphore, uint32_t count);
/* Permits that are free, of a moment that is over. Held: those of killed ones come back at the next
 * wait that finds none, or at a sweep. */
HF_API uint64_t hf_shm_semaphore_value(hf_shm_semaphore *semaphore);
/* Held: those of this participant. Counted: 0. */
HF_API uint64_t hf_shm_semaphore_held(hf_shm_semaphore *semaphore);

#ifdef __cplusplus
}
#endif
#endif
