/* gil.h - keeps the interpreter still for a moment without becoming one of its threads.
 *
 *   struct _gil_runtime_state { interval, last_holder, locked, switch_number, cond, mutex, ... }
 *
 * Whoever holds gil->mutex while gil->locked is 0 keeps every thread from taking the GIL: take_gil
 * needs the mutex first. No thread state is made, so nothing can go wrong at fork or at exit of the
 * interpreter, and there is no waiting: a busy interpreter turns us away.
 *
 * Invariants  nothing is believed before it was seen with the GIL held: the pattern (interval, this
 *             thread's state, locked == 1, an idle mutex) must occur once in _PyRuntime.
 * Threads     locate on a thread that holds the GIL; try and release on any thread.
 * Fails with  false.
 * Source      Python/ceval_gil.c (3.11 to 3.13): the structure has not changed since 3.7. */
#ifndef HFI_GIL_H
#define HFI_GIL_H

#include <stdbool.h>

/* True once the structure is known. */
bool hfi_gil_locate(void);
bool hfi_gil_is_known(void);
/* True: no thread runs Python code until hfi_gil_release. To be held for microseconds. */
bool hfi_gil_try(void);
void hfi_gil_release(void);
/* True if the calling thread holds this GIL, not that of a subinterpreter with its own. */
bool hfi_gil_is_mine(void);

#endif
