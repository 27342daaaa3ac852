/* gil.c - keeps the interpreter still for a moment. gil.h is the contract.
 * Invariants  `found` changes once, from NULL to a structure inside _PyRuntime, which is static.
 * Threads     `found` is published with release; the structure's own fields are read under its
 *             mutex, the one glance before it decides nothing but whether to try.
 * Why         PyGILState_Ensure would do the same with a thread state, and end the calling thread
 *             at finalisation; a pending call runs on the main thread only, which may sleep for
 *             hours. */
#include "gil.h"

#include <pthread.h>
#include <stdatomic.h>

#include "python_api.h"

typedef struct gil_state {
    unsigned long interval; /* microseconds                        */
    void *last_holder;      /* thread state                        */
    _Atomic int locked;     /* 1 held, 0 free, -1 not created      */
    unsigned long switches; /* so far                              */
    pthread_cond_t free;    /* signalled when the GIL is dropped   */
    pthread_mutex_t mutex;  /* taken by every thread that takes it */
} gil_state;

#define INTERVAL_LARGEST 3600000000ul /* of sys.setswitchinterval that we would believe */

static gil_state *_Atomic found; /* SYNC(gil.found) */

static bool looks_right(gil_state *gil, const void *holder) {
    return gil->last_holder == holder && gil->interval >= 1 && gil->interval <= INTERVAL_LARGEST &&
           atomic_load_explicit(&gil->locked, memory_order_relaxed) == 1 &&
           gil->mutex.__data.__kind == PTHREAD_MUTEX_TIMED_NP && gil->mutex.__data.__lock <= 2 &&
           gil->mutex.__data.__lock >= 0;
}

bool hfi_gil_locate(void) {
    if (hfi_gil_is_known()) return true;
    if (hfi_python.runtime == NULL || !hfi_python_thread_runs()) return false;
    const void *holder = hfi_python.thread_current();
    gil_state *match = NULL;
    for (size_t offset = 0; offset + sizeof(gil_state) <= hfi_python.runtime_size; offset += 8) {
        gil_state *candidate = (gil_state *)(uintptr_t)(hfi_python.runtime + offset);
        if (!looks_right(candidate, holder)) continue;
        if (match != NULL) return false; /* two of them: neither is believed */
        match = candidate;
    }
    if (match == NULL) return false;
    /* SYNC(gil.found): pairs with the acquire in hfi_gil_try. */
    atomic_store_explicit(&found, match, memory_order_release);
    return true;
}

bool hfi_gil_is_known(void) {
    return atomic_load_explicit(&found, memory_order_acquire) != NULL;
}

bool hfi_gil_try(void) {
    gil_state *gil = atomic_load_explicit(&found, memory_order_acquire);
    if (gil == NULL || !hfi_python.is_initialized()) return false;
    if (atomic_load_explicit(&gil->locked, memory_order_relaxed) != 0) return false;
    if (pthread_mutex_trylock(&gil->mutex) != 0) return false;
    /* Asked again: an interpreter ends with the GIL held, so from here on it is alive. */
    if (atomic_load_explicit(&gil->locked, memory_order_relaxed) == 0 &&
        hfi_python.is_initialized()) {
        return true;
    }
    pthread_mutex_unlock(&gil->mutex);
    return false;
}

void hfi_gil_release(void) {
    pthread_mutex_unlock(&atomic_load_explicit(&found, memory_order_acquire)->mutex);
}

bool hfi_gil_is_mine(void) {
    if (!hfi_gil_locate() || !hfi_python_thread_runs()) return false;
    gil_state *gil = atomic_load_explicit(&found, memory_order_acquire);
    return atomic_load_explicit(&gil->locked, memory_order_relaxed) == 1 &&
           gil->last_holder == hfi_python.thread_current();
}
