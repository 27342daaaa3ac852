/* reclaim.h - freed memory goes back to the system, off the allocation path.
 * One pass does everything; two drivers call it: the frees themselves (serial, every N slow ones and
 * when the decay time has passed), or a thread that sleeps when there is nothing to do.
 * Threads     a pass runs under the reclaim lock, rank RECLAIM; drivers never wait for it. */
#ifndef HFI_RECLAIM_H
#define HFI_RECLAIM_H

#include "base/hooks.h"
#include "types.h"

/* `count` blocks went back to the pools: something may be ready to decay. Cheap. */
void hfi_reclaim_note_frees(hf_heap *heap, uint32_t count);
/* One pass over every heap. `force` ignores ages. Returns the bytes that left for the system. */
size_t hfi_reclaim_pass(bool force, hf_heap *only, bool *more_out);
/* `heap` takes more memory than ever since its last trim: what is free elsewhere goes first. */
void hfi_reclaim_growth(hf_heap *heap);
#define HFI_TRIM_FIRST ((uint64_t)2 << 20) /* smaller heaps are left alone */
/* There is something to decay: the driver is told. Cheap. */
void hfi_reclaim_wake_driver(void);
/* The background thread exists. */
bool hfi_reclaim_thread_runs(void);
/* An allocation failed: a forced pass unless one is running. */
void hfi_reclaim_for_failure(void);

/* Keeps passes away while a heap is taken out of the list. */
void hfi_reclaim_lock_heaps(void);
void hfi_reclaim_unlock_heaps(void);

void hfi_reclaim_fork_prepare(void);
void hfi_reclaim_fork_parent(void);
void hfi_reclaim_fork_child(void);

/* While the calling thread's count is above 0 no reclaim thread is started from its frees: libc may
 * hold locks that pthread_create takes. `change` is 1 or -1; at 0 what waited is started. */
void hfi_threads_forbid(int change);

#endif
