/* prefetch.h - a line that will be written soon is asked for now, as its only owner.
 *
 * Compilers make a prefetch for reading of __builtin_prefetch(address, 1) where the baseline of the
 * processor has no other; then the line comes twice.
 * Contract    a hint: nothing happens for an address that cannot be read. `prefetchw` is a no-op on
 *             x86-64 processors that lack it.
 * Talks to    nothing.   Called by shm.
 * Source      AMD64 Architecture Programmer's Manual, volume 3, PREFETCHW. */
#ifndef HFI_OS_PREFETCH_H
#define HFI_OS_PREFETCH_H

static inline void hfi_os_prefetch_write(const void *address) {
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)address));
#else
    __builtin_prefetch(address, 1);
#endif
}

#endif
