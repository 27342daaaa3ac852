/* reclaim.c - one pass over everything that is free; two drivers.
 *
 *   pass:  idle threads' caches -> pools: depots, empty slabs, free pages -> middle -> large
 *          -> hooks (CPython arenas) -> segments: pages free for two ticks go to the system
 *
 * background  a thread that ticks at half the decay time while there is something to decay, and ends
 *             when there was nothing for a while. It is stopped before a fork and starts again when
 *             needed: CPython counts the threads of a process that forks and warns.
 * serial      the slow frees themselves, every N of them or when the decay time has passed.
 * Invariants  at most one pass at a time; a pass takes no lock of the allocation paths for longer
 *             than one pool.
 * Threads     see reclaim.h.
 * Fails with  nothing: a thread that cannot be started turns background into serial. */
#include "reclaim.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "heap_state.h"
#include "middle.h"
#include "pool.h"
#include "tcache.h"

#define QUIET_TICKS   8u /* ticks with nothing to do before the thread ends */
#define STACK_SIZE    ((size_t)128 << 10)
#define TRIM_STEP     ((uint64_t)512 << 10) /* least growth between two trims */
#define TRIM_PAUSE_NS UINT64_C(25000000)    /* least time, below the highest mark */

enum { THREAD_NONE, THREAD_STARTING, THREAD_RUNS, THREAD_STOP };

static hfi_lock reclaim_lock = HFI_LOCK_INIT(HFI_RANK_RECLAIM);
static _Atomic uint32_t thread_state; /* THREAD_*                          */
static _Atomic uint32_t work;         /* 1: something may be left to decay */
static _Atomic uint32_t tick_word;    /* the thread sleeps on it           */
static pthread_t thread;
static uint32_t thread_kernel_id;
static _Atomic uint64_t serial_next_ns;
static bool thread_at_fork;
/* Above 0: libc may hold the locks of pthread_create on the calling thread. */
static __thread int threads_forbidden __attribute__((tls_model("initial-exec")));
/* The calling thread is inside a pass. */
static __thread bool in_pass __attribute__((tls_model("initial-exec")));

static uint64_t tick_ns(void) {
    uint64_t half = hfi_default_heap.options.decay_ms * 500000u;
    return half != 0 ? half : 1000000u;
}

/* --- the pass ------------------------------------------------------------------------------- */

static size_t heap_pass(hf_heap *heap, bool force, bool *more_out) {
    size_t given = 0;
    uint64_t start = hfi_os_clock_ns();
    (void)hfi_tcache_sweep(heap, more_out);
    for (unsigned i = 0; i < heap->node_count * HFI_CLASS_COUNT; i++) {
        struct hfi_pool *pool = &heap->pools[i];
        /* Unlocked looks: a pool that turns busy right now is met by the next tick. */
        if (hfi_peek(pool->all) == NULL) continue;
        given += hfi_pool_reclaim(pool, force, more_out);
    }
    given += hfi_middle_reclaim(heap, force, more_out);
    atomic_fetch_add_explicit(&heap->reclaims, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&heap->reclaim_ns, hfi_os_clock_ns() - start, memory_order_relaxed);
    return given;
}

static size_t pass_locked(bool force, hf_heap *only, bool *more_out) HF_REQUIRES(reclaim_lock) {
    uint64_t before = hfi_segment_returned(), hooked = 0;
    size_t dirty = 0;
    if (hfi_default_heap.options.decay_ms == 0) force = true;
    if (only != NULL) {
        (void)heap_pass(only, force, more_out);
    } else {
        /* Heaps are made in front of the list and destroyed under the reclaim lock. */
        for (hf_heap *heap = hfi_heap_first(); heap != NULL; heap = heap->next)
            (void)heap_pass(heap, force, more_out);
        hooked = hfi_hooks_run(hfi_os_clock_ns(), force);
    }
    (void)hfi_segment_decay(force, &dirty);
    *more_out |= dirty != 0;
    return (size_t)(hfi_segment_returned() - before + hooked);
}

size_t hfi_reclaim_pass(bool force, hf_heap *only, bool *more_out) {
    /* A report handler or a hook, called from inside a pass, may allocate, fail and come here. */
    if (in_pass) return 0;
    hfi_lock_acquire(&reclaim_lock);
    in_pass = true;
    size_t given = pass_locked(force, only, more_out);
    in_pass = false;
    hfi_lock_release(&reclaim_lock);
    return given;
}

/* --- growth --------------------------------------------------------------------------------- */

/* Bytes in memory that a trim could find, at most. */
static uint64_t idle_bytes(hf_heap *heap) {
    int64_t idle = -atomic_load_explicit(&heap->absent, memory_order_relaxed);
    for (unsigned i = 0; i < heap->node_count * HFI_CLASS_COUNT; i++)
        if (__atomic_load_n(&heap->pools[i].all, __ATOMIC_RELAXED) != NULL)
            idle += (int64_t)hfi_pool_idle(&heap->pools[i]);
    return (idle > 0 ? (uint64_t)idle : 0) + hfi_segment_dirty(HFI_ZONE_SMALL) +
           hfi_middle_warm(heap);
}

static void trim(hf_heap *heap) {
    bool more = false;
    for (unsigned i = 0; i < heap->node_count * HFI_CLASS_COUNT; i++)
        if (__atomic_load_n(&heap->pools[i].all, __ATOMIC_RELAXED) != NULL)
            (void)hfi_pool_trim(&heap->pools[i]);
    (void)hfi_middle_reclaim(heap, true, &more);
    (void)hfi_segment_trim();
}

/* The decay takes a second; a program may run through several working sets in that time, each with
 * sizes of its own. So before a heap takes more memory than ever, what it holds free goes, if that is
 * an eighth of it. The next trim comes a step above what is left, but not at once: else a heap whose
 * needs go up and down would give back in every trough what it takes again for the next crest. */
void hfi_reclaim_growth(hf_heap *heap) {
    if (in_pass || hfi_default_heap.options.reclaim == HF_RECLAIM_OFF) return;
    if (!hfi_lock_try(&reclaim_lock)) return;
    in_pass = true;
    uint64_t resident = hfi_heap_resident(heap), now = hfi_os_clock_ns();
    uint64_t step = resident / 16 > TRIM_STEP ? resident / 16 : TRIM_STEP;
    uint64_t at = atomic_load_explicit(&heap->trim_at, memory_order_relaxed);
    bool record = resident > heap->trim_peak;
    bool due = record || (resident > at && now - heap->trimmed_ns > TRIM_PAUSE_NS);
    if (record) heap->trim_peak = resident + step;
    if (due && idle_bytes(heap) > resident / 8) {
        trim(heap);
        heap->trimmed_ns = now;
        resident = hfi_heap_resident(heap);
    } else if (!record) {
        step /=
            4; /* too early, served from warm memory, or nothing to find: again a little later */
    }
    uint64_t next = resident + step;
    atomic_store_explicit(&heap->trim_at, next < heap->trim_peak ? next : heap->trim_peak,
                          memory_order_relaxed);
    in_pass = false;
    hfi_lock_release(&reclaim_lock);
}

void hfi_reclaim_for_failure(void) {
    bool more = false;
    int saved = errno;
    struct hfi_thread *mine = hfi_thread_current;
    if (mine != NULL && !mine->exiting) hfi_thread_flush_all();
    (void)hfi_reclaim_pass(true, NULL, &more);
    errno = saved;
}

bool hfi_reclaim_thread_runs(void) {
    return atomic_load_explicit(&thread_state, memory_order_relaxed) == THREAD_RUNS;
}

void hfi_reclaim_lock_heaps(void) {
    hfi_lock_acquire(&reclaim_lock);
}

void hfi_reclaim_unlock_heaps(void) {
    hfi_lock_release(&reclaim_lock);
}

/* --- background ----------------------------------------------------------------------------- */

static void *reclaim_thread(void *unused) {
    (void)unused;
    thread_kernel_id = hfi_os_thread_id();
    (void)pthread_setname_np(pthread_self(), "hf-reclaim");
    unsigned quiet = 0;
    while (quiet < QUIET_TICKS) {
        uint32_t ticket = atomic_load(&tick_word);
        if (atomic_load(&thread_state) == THREAD_STOP) return NULL;
        hfi_os_futex_wait(&tick_word, ticket, tick_ns());
        if (atomic_load(&thread_state) == THREAD_STOP) return NULL;
        bool more = false;
        if (atomic_exchange(&work, 0) != 0) {
            (void)hfi_reclaim_pass(false, NULL, &more);
            if (more) atomic_store(&work, 1);
        }
        quiet = atomic_load(&work) != 0 ? 0 : quiet + 1;
    }
    /* Whoever sees NONE starts another; work noted before that is not lost: check once more. */
    while (atomic_load(&thread_state) == THREAD_STARTING)
        sched_yield();
    uint32_t runs = THREAD_RUNS;
    if (!atomic_compare_exchange_strong(&thread_state, &runs, THREAD_NONE)) return NULL;
    pthread_detach(pthread_self());
    if (atomic_load(&work) != 0) hfi_reclaim_wake_driver();
    return NULL;
}

/* pthread_create allocates: it runs with no lock held, and the state keeps others from starting a
 * second one meanwhile. */
static void thread_start(void) {
    /* A thread on its way out frees from inside libc, too. */
    struct hfi_thread *mine = hfi_thread_current;
    if (threads_forbidden != 0 || (mine != NULL && mine->exiting)) return;
    uint32_t none = THREAD_NONE;
    if (!atomic_compare_exchange_strong(&thread_state, &none, THREAD_STARTING)) return;
    pthread_attr_t attributes;
    sigset_t all, before;
    int saved = errno, result = EAGAIN;
    if (hfi_start_threads_allowed() && pthread_attr_init(&attributes) == 0) {
        (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        result = pthread_create(&thread, &attributes, reclaim_thread, NULL);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    /* RUNS says that `thread` can be joined: not before pthread_create has written it. */
    atomic_store(&thread_state, result == 0 ? THREAD_RUNS : THREAD_NONE);
    errno = saved;
}

/* --- serial --------------------------------------------------------------------------------- */

static void serial_pass(void) {
    static _Atomic uint32_t busy;
    if (atomic_exchange(&busy, 1) != 0) return;
    bool more = false;
    int saved = errno;
    atomic_store(&serial_next_ns, hfi_os_clock_ns() + tick_ns());
    if (!in_pass && hfi_lock_try(&reclaim_lock)) {
        in_pass = true;
        (void)pass_locked(false, NULL, &more);
        in_pass = false;
        hfi_lock_release(&reclaim_lock);
    }
    atomic_store(&busy, 0);
    errno = saved;
}

/* At rest nobody frees any more, so the serial driver cannot wait for the clock: what is dirty
 * beyond an eighth of what is live goes at once. */
static void serial_bound(hf_heap *heap) {
    uint64_t mapped = atomic_load_explicit(&heap->mapped, memory_order_relaxed);
    size_t middle = hfi_middle_warm(heap);
    size_t warm = hfi_segment_dirty(HFI_ZONE_SMALL) + hfi_segment_dirty(HFI_ZONE_HUGE) + middle;
    if (warm < ((size_t)2 << 20) || warm < (mapped - middle) / 8) return;
    bool more = false;
    if (middle > warm / 4) (void)hfi_middle_reclaim(heap, true, &more);
    (void)hfi_segment_decay(true, NULL);
}

void hfi_reclaim_wake_driver(void) {
    if (hfi_default_heap.options.reclaim != HF_RECLAIM_BACKGROUND) return;
    /* relaxed: a flag that is seen one tick late costs one tick. */
    if (atomic_load_explicit(&work, memory_order_relaxed) != 0 &&
        atomic_load_explicit(&thread_state, memory_order_relaxed) != THREAD_NONE)
        return;
    atomic_store(&work, 1);
    if (atomic_load_explicit(&thread_state, memory_order_relaxed) == THREAD_NONE) thread_start();
}

void hfi_threads_forbid(int change) {
    threads_forbidden += change;
    if (threads_forbidden == 0 && atomic_load_explicit(&work, memory_order_relaxed) != 0)
        hfi_reclaim_wake_driver();
}

void hfi_reclaim_note_frees(hf_heap *heap, uint32_t count) {
    uint32_t mode = hfi_default_heap.options.reclaim;
    if (mode == HF_RECLAIM_BACKGROUND) {
        hfi_reclaim_wake_driver();
    } else if (mode == HF_RECLAIM_SERIAL) {
        uint64_t every = heap->options.reclaim_every;
        uint64_t before = atomic_fetch_add_explicit(&heap->slow_frees, count, memory_order_relaxed);
        if (before / every != (before + count) / every ||
            ((before & 63) == 0 && hfi_os_clock_ns() > atomic_load(&serial_next_ns)))
            serial_pass();
        serial_bound(heap);
    }
}

/* --- fork ----------------------------------------------------------------------------------- */

void hfi_reclaim_fork_prepare(void) {
    thread_at_fork = false;
    while (atomic_load(&thread_state) == THREAD_STARTING)
        sched_yield();
    uint32_t runs = THREAD_RUNS;
    if (atomic_compare_exchange_strong(&thread_state, &runs, THREAD_STOP)) {
        thread_at_fork = true;
        atomic_fetch_add(&tick_word, 1);
        hfi_os_futex_wake(&tick_word, 1);
        pthread_join(thread, NULL);
        /* join returns a moment before the kernel stops counting the thread. */
        uint32_t process = hfi_os_process_id();
        for (int i = 0; i < 1000 && hfi_os_thread_exists(process, thread_kernel_id); i++)
            sched_yield();
        atomic_store(&thread_state, THREAD_NONE);
    }
    hfi_lock_acquire(&reclaim_lock);
}

void hfi_reclaim_fork_parent(void) {
    hfi_lock_release(&reclaim_lock);
}

void hfi_reclaim_fork_child(void) {
    hfi_lock_reinit(&reclaim_lock);
    atomic_store(&thread_state, THREAD_NONE);
    atomic_store(&work, thread_at_fork ? 1 : 0);
}
