/* thread_entry.c - libc's thread functions, passed through with a note that they are under way.
 *
 *   pthread_join --> libc frees a stack, its lock held --> free --> must not call pthread_create
 *
 * The reclaim thread is started from slow frees. libc calls free with the lock of its stack cache
 * held, which pthread_create takes too: so while one of these functions runs, no thread is started.
 * What there is to reclaim waits for the next slow free, or for the function to return.
 * Invariants  the note is the calling thread's own and nests.
 * Talks to    heap/reclaim.h.   Called by the program.
 * Threads     the real functions are looked up before the reclaim thread can be wanted: dlsym frees
 *             its last error text, and a dlsym inside that free would free it again.
 * Fails with  what libc's functions fail with; ENOSYS where libc has no such function.
 * Source      glibc 2.36, nptl/nptl-stack.c, __nptl_free_stacks. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <threads.h>
#include <time.h>

#include "heap/reclaim.h"
#include "preload.h"

/* Defines NAME with these parameters, which calls the next one with these arguments. */
#define PASS_THROUGH(name, parameters, arguments)                                                  \
    static int(*_Atomic real_##name) parameters;                                                   \
    HF_API int name parameters {                                                                   \
        int(*next) parameters = atomic_load_explicit(&real_##name, memory_order_relaxed);          \
        if (next == NULL) {                                                                        \
            next = (int(*) parameters)dlsym(RTLD_NEXT, #name);                                     \
            if (next == NULL) return ENOSYS;                                                       \
            atomic_store_explicit(&real_##name, next, memory_order_relaxed);                       \
        }                                                                                          \
        hfi_threads_forbid(1);                                                                     \
        int result = next arguments;                                                               \
        hfi_threads_forbid(-1);                                                                    \
        return result;                                                                             \
    }

PASS_THROUGH(pthread_create,
             (pthread_t * thread, const pthread_attr_t *attributes, void *(*start)(void *),
              void *argument),
             (thread, attributes, start, argument))
PASS_THROUGH(pthread_join, (pthread_t thread, void **result_out), (thread, result_out))
PASS_THROUGH(pthread_tryjoin_np, (pthread_t thread, void **result_out), (thread, result_out))
PASS_THROUGH(pthread_timedjoin_np,
             (pthread_t thread, void **result_out, const struct timespec *limit),
             (thread, result_out, limit))
PASS_THROUGH(pthread_clockjoin_np,
             (pthread_t thread, void **result_out, clockid_t clock, const struct timespec *limit),
             (thread, result_out, clock, limit))
PASS_THROUGH(pthread_detach, (pthread_t thread), (thread))
PASS_THROUGH(thrd_create, (thrd_t * thread, thrd_start_t start, void *argument),
             (thread, start, argument))
PASS_THROUGH(thrd_join, (thrd_t thread, int *result_out), (thread, result_out))
PASS_THROUGH(thrd_detach, (thrd_t thread), (thread))

/* Before heap.c's, which allows the reclaim thread. */
__attribute__((constructor(101))) static void look_up(void) {
    atomic_store_explicit(&real_pthread_create, dlsym(RTLD_NEXT, "pthread_create"),
                          memory_order_relaxed);
}
