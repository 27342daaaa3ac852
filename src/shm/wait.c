/* wait.c - waiting for another process: spin, sleep in slices, patience.
 *
 *   waiter: flag up, read turn, look | sleep while the turn is the same, at most a slice
 *   waker:  change | flag up? take it down, next turn, wake; up again if more may sleep
 * Invariants  no sleep is longer than SLICE_NS: a waker may be killed between its change and its call.
 * Threads     any; nothing here is private to a process but the spin and patience of the caller.
 * Fails with  HF_E_TIMEOUT.
 * Talks to    os (clock, shared futex).   Called by every structure that blocks. */
#include "base/relax.h"
#include "os/os.h"
#include "os/shm.h"
#include "segment.h"

#define SLICE_NS   UINT64_C(50000000)
#define SPIN_NS    UINT64_C(20000)
#define SUSPECT_NS UINT64_C(200000)
enum { PAUSES = 8, CLOCK_EVERY = 8 };

uint64_t hfi_shm_deadline(uint64_t timeout_ns) {
    if (timeout_ns == 0 || timeout_ns == HF_FOREVER) return timeout_ns;
    uint64_t now = hfi_os_clock_ns();
    return timeout_ns > HF_FOREVER - 1 - now ? HF_FOREVER : now + timeout_ns;
}

hf_status hfi_shm_wait(struct hfi_shm_event *event, uint32_t turn, uint64_t deadline) {
    uint64_t now = deadline == 0 ? 0 : hfi_os_clock_ns();
    if (deadline <= now) return HF_E_TIMEOUT;
    uint64_t left = deadline - now;
    hfi_shm_step();
    if (!hfi_shm_sleep_step())
        (void)hfi_os_shared_wait(&event->turn, turn, left < SLICE_NS ? left : SLICE_NS);
    return HF_OK;
}

/* Of the machine: who is waited for may run where this process may not, one bound to a core each. */
static bool one_cpu(void) {
    static _Atomic uint32_t cpus; /* 0: not asked */
    /* relaxed: whoever asks gets the same answer. */
    uint32_t known = atomic_load_explicit(&cpus, memory_order_relaxed);
    if (known == 0) {
        known = hfi_os_cpu_online();
        atomic_store_explicit(&cpus, known, memory_order_relaxed);
    }
    return known == 1;
}

void hfi_shm_signal(struct hfi_shm_event *event, uint32_t count) {
    /* The caller's change before this load, the waiter's flag before its look: one of them sees. */
    hfi_shm_fence();
    if (hfi_shm_load32(&event->waiters) == 0) return;
    hfi_shm_store32(&event->waiters, 0);
    (void)hfi_shm_add32(&event->turn, 1);
    int most = count > INT32_MAX ? INT32_MAX : (int)count;
    hfi_shm_step();
    if (hfi_os_shared_wake(&event->turn, most) == most && most > 0)
        hfi_shm_store32(&event->waiters, 1); /* as many as were asked for: others may sleep still */
}

bool hfi_shm_spin(struct hfi_shm_spin *spin) {
    if (hfi_shm_is_woven()) return false;
    if (spin->until == 0) {
        if (one_cpu()) return false;
        spin->until = hfi_os_clock_ns() + SPIN_NS;
    }
    for (unsigned i = 0; i < PAUSES; i++)
        hfi_cpu_relax();
    return ++spin->turns % CLOCK_EVERY != 0 || hfi_os_clock_ns() < spin->until;
}

bool hfi_shm_patience(struct hfi_shm_patience *patience, uint64_t value) {
    uint64_t now = hfi_shm_is_woven() ? HF_FOREVER : hfi_os_clock_ns();
    if (patience->since == 0 || patience->value != value) {
        *patience = (struct hfi_shm_patience){value, now, now + SUSPECT_NS};
        return false;
    }
    if (now < patience->next) return false;
    patience->next = now + SLICE_NS;
    return true;
}
