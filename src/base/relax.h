/* relax.h - what a waiting loop does in each turn: the other thread of the core goes first.
 *
 * Talks to    nothing.   Called by whoever spins: lock.c, shm/wait.c. */
#ifndef HFI_RELAX_H
#define HFI_RELAX_H

static inline void hfi_cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

#endif
