/* hooks.h - how owners of memory that are not heaps (arenas, stacks, CPython's arenas) join the decay
 * and the limits of the process.
 *
 *   owner --> hfi_reclaim_hook_add, hfi_reclaim_wake, hfi_external_charge --> whoever serves: the heap
 *
 * Threads     hooks are added at start and never removed; they run on the reclaim thread, or on the
 *             thread that asked for a forced pass, without heap locks but under the reclaim lock.
 * Called by   arena, fiber, interop.   Served by heap/reclaim.c and heap/heap.c. */
#ifndef HFI_HOOKS_H
#define HFI_HOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Gives back what has been unused for the decay time (everything, if `force`); returns the bytes.
 * Calls hfi_reclaim_wake itself when something is left to decay. */
typedef uint64_t (*hfi_reclaim_hook)(uint64_t now_ns, int force);
/* At most 8; more are ignored. Adding one that is there already changes nothing. */
void hfi_reclaim_hook_add(hfi_reclaim_hook hook);
/* There is something to decay: makes sure a tick comes. Callable from anywhere, cheap. */
void hfi_reclaim_wake(void);

/* Bytes that such an owner holds count towards the limits of the default heap. False: refused. */
bool hfi_external_charge(size_t bytes);
void hfi_external_discharge(size_t bytes);

/* The serving side. */
struct hfi_hook_services {
    void (*wake)(void);
    bool (*charge)(size_t bytes);
    void (*discharge)(size_t bytes);
};
/* Once, at start; before it nobody wakes and every charge is granted. */
void hfi_hooks_serve(const struct hfi_hook_services *services);
/* Defined by whoever serves, and called by owners when one is made: the library has started then, and a
 * program linked statically has the server in it. */
void hfi_hooks_need_server(void);
/* Runs every hook; returns the bytes they gave back. */
uint64_t hfi_hooks_run(uint64_t now_ns, int force);

#endif
