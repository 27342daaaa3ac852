/* shm_mutex.h - one thread of one process at a time, and a word about it if that was killed.
 *
 *   hf_shm_mutex *mutex;            hf_shm_mutex_open(shm, "state", HF_SHM_OPEN_OR_CREATE, &mutex);
 *   hf_status status = hf_shm_mutex_lock(mutex, HF_FOREVER);
 *   if (status == HF_E_OWNER_DIED) { mend(data); hf_shm_mutex_consistent(mutex); }     it is locked
 *   else if (status != HF_OK) return status;                                           it is not
 *   ...                             hf_shm_mutex_unlock(mutex);
 *
 * Killed    while it held the lock: the next to lock it has it and gets HF_E_OWNER_DIED, which says
 *           that the data may be half changed. It mends them and calls consistent; from then on locks
 *           are HF_OK again. Unlocked without that, the next one is told the same: the doubt stays
 *           until somebody answers for the data, and nobody is shut out for ever.
 *           A thread that ended with the lock is noticed by the other threads of its process.
 * Order     not first come, first served, but who has waited for 1 ms goes before who has not: a try
 *           (timeout 0) may be refused for so long though nobody has it.
 * Caveats
 *  - Not recursive: locking twice is HF_E_BUSY. Unlocking another's is HF_E_INVALID and names it.
 *  - It belongs to the thread: unlock where it was locked. The child of a fork holds nothing. */
#ifndef HOLDFAST_SHM_MUTEX_H
#define HOLDFAST_SHM_MUTEX_H

#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/shm.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm_mutex hf_shm_mutex;

/* HF_E_NOT_FOUND, HF_E_EXISTS, HF_E_MISMATCH, HF_E_NO_SPACE, HF_E_LIMIT, HF_E_INVALID. */
HF_API hf_status hf_shm_mutex_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                   hf_shm_mutex **mutex_out);
/* Unlocks nothing; leaving the segment does, and the next one gets HF_E_OWNER_DIED. */
HF_API void hf_shm_mutex_close(hf_shm_mutex *mutex);

/* HF_OK and HF_E_OWNER_DIED: this thread has it. HF_E_TIMEOUT: another one had it all the time, or
 * goes first (0: now). HF_E_BUSY: this thread has it already. */
HF_API hf_status hf_shm_mutex_lock(hf_shm_mutex *mutex, uint64_t timeout_ns);
HF_API hf_status hf_shm_mutex_unlock(hf_shm_mutex *mutex);
/* After HF_E_OWNER_DIED, with the lock held: what it protects is right again. HF_E_INVALID: this thread
 * does not have the lock. */
HF_API hf_status hf_shm_mutex_consistent(hf_shm_mutex *mutex);

/* Who has it, of a moment that is over: HF_E_EMPTY if nobody; the participant's index, and the number
 * of the thread in its own system. Either may be NULL. */
HF_API hf_status hf_shm_mutex_owner(hf_shm_mutex *mutex, uint32_t *participant_out,
                                    uint32_t *thread_out);
/* 1 if the next lock, or this one, is in doubt. */
HF_API int hf_shm_mutex_is_inconsistent(const hf_shm_mutex *mutex);

#ifdef __cplusplus
}
#endif
#endif
