/* hooks.h - how other owners of memory (the CPython arenas) join the decay.
 * Threads     hooks are added at start and never removed; they run on the reclaim thread, or on the
 *             thread that asked for a forced pass, without heap locks but under the reclaim lock. */
#ifndef HFI_HOOKS_H
#define HFI_HOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Gives back what has been unused for the decay time (everything, if `force`); returns the bytes.
 * Calls hfi_reclaim_wake itself when something is left to decay. */
typedef uint64_t (*hfi_reclaim_hook)(uint64_t now_ns, int force);
/* At most 8; more are ignored. */
void hfi_reclaim_hook_add(hfi_reclaim_hook hook);
/* There is something to decay: makes sure a tick comes. Callable from anywhere, cheap. */
void hfi_reclaim_wake(void);

/* While the calling thread's count is above 0 no reclaim thread is started from its frees: libc may
 * hold locks that pthread_create takes. `change` is 1 or -1; at 0 what waited is started. */
void hfi_threads_forbid(int change);

/* Bytes that such an owner holds count towards the limits of the default heap. False: refused. */
bool hfi_external_charge(size_t bytes);
void hfi_external_discharge(size_t bytes);

#endif
