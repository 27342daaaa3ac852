/* fork.c - the child of a fork is a participant from its first instruction.
 *
 *   prepare: second description, a place of its own, a bit in every row the parent has open
 *   parent:  closes its reference          child: its lock is the second description, self the new place
 * Invariants  the child's place is locked by a description that both have until one lets go: it is
 *             dead exactly when the child is. Children that never run this (raw clone, vfork until
 *             exec) have the parent's descriptors and are no participants.
 * Threads     in prepare the locks of all owners are held; nothing here waits for other processes.
 * Fails with  nothing: a child that could not join answers HF_E_CLOSED.
 * Called by   owners (heap.c's handlers). */
#include <string.h>

#include "segment_state.h"

static void place_for_child(hf_shm *shm) {
    for (uint32_t i = 0; i < hfi_shm_places(shm); i++) {
        _Atomic uint32_t *state = &hfi_shm_place_of(shm, i)->state;
        if (hfi_shm_load32(state) != HFI_SHM_FREE ||
            !hfi_os_shm_lock(shm->fork_file, HFI_SHM_PLACE_BYTE + i, 1))
            continue;
        if (hfi_shm_load32(state) == HFI_SHM_FREE) {
            hfi_shm_identify(shm, i);
            shm->fork_self = i + 1;
            return;
        }
        hfi_os_shm_unlock(shm->fork_file, HFI_SHM_PLACE_BYTE + i, 1);
    }
}

static void prepare(hf_shm *shm) HF_NO_THREAD_SAFETY {
    bool usable = hfi_shm_self(shm) != 0 && shm->file >= 0, any_free = false;
    for (uint32_t i = 0; usable && i < hfi_shm_places(shm) && !any_free; i++)
        any_free = hfi_shm_load32(&hfi_shm_place_of(shm, i)->state) == HFI_SHM_FREE;
    if (usable && !any_free) (void)hfi_shm_sweep_all(shm);
    hfi_shm_enter(shm);
    shm->fork_self = 0;
    shm->fork_file = usable ? hfi_os_shm_reopen(shm->file, true) : -1;
    if (shm->fork_file < 0) return;
    place_for_child(shm);
    uint32_t self = shm->fork_self - 1;
    for (uint32_t i = 0; shm->fork_self != 0 && i < shm->geometry.c.entries_max; i++)
        if (shm->opens[i] > 0)
            (void)hfi_shm_or64(&hfi_shm_row_of(shm, i)->tail[self / 64], UINT64_C(1)
                                                                             << (self % 64));
}

static void child(hf_shm *shm) {
    hfi_lock_reinit(&shm->lock);
    hfi_lock_reinit(&shm->pin_lock);
    memset(shm->pins, 0, sizeof shm->pins);
    shm->front.self = 0;
    if (shm->fork_self != 0 && hfi_os_shm_replace(shm->fork_file, shm->file) == 0) {
        shm->front.self = shm->fork_self;
        hfi_shm_identify(shm, shm->fork_self - 1);
    } else if (shm->presence != HF_SHM_WATCHER) {
        hfi_os_shm_close(shm->file); /* the parent's lock is not ours to keep */
        shm->file = -1;
    }
    hfi_os_shm_close(shm->fork_file);
    shm->fork_file = -1;
}

void hfi_shm_fork(void *self, enum hfi_fork moment) HF_NO_THREAD_SAFETY {
    hf_shm *shm = self;
    if (moment == HFI_FORK_PREPARE) {
        prepare(shm);
    } else if (moment == HFI_FORK_PARENT) {
        hfi_os_shm_close(shm->fork_file);
        shm->fork_file = -1;
        hfi_shm_exit(shm);
    } else {
        child(shm);
    }
}
