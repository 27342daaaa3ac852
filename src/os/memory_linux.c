/* memory_linux.c - os.h's memory part on Linux.
 * Talks to    the kernel.   Called by base, pages, interop.
 * Threads     no state but counters and two capability flags, both atomic and idempotent.
 * Fails with  NULL or -1; errno from the kernel; ENOMEM when a failure is injected.
 * Why         A reservation is PROT_NONE and not RW|NORESERVE: an RW terabyte makes core dumps walk
 *             it page by page and counts against RLIMIT_DATA. */
#include "os.h"

#include <errno.h>
#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* Linux 5.7; older kernels answer EINVAL and the caller copies */
#endif

static _Atomic uint64_t fail_countdown;
static _Atomic uint64_t map_calls;
static _Atomic uint64_t map_failures;
static _Atomic int guard_support; /* 0 not asked, 1 light, -1 mprotect */

void hfi_os_fail_after(uint64_t count) {
    atomic_store_explicit(&fail_countdown, count, memory_order_relaxed);
}

uint64_t hfi_os_map_calls(void) {
    return atomic_load_explicit(&map_calls, memory_order_relaxed);
}

uint64_t hfi_os_map_failures(void) {
    return atomic_load_explicit(&map_failures, memory_order_relaxed);
}

/* Counts the call; true if this is the one that the test wants to fail. */
static bool failure_injected(void) {
    /* relaxed: counters; nothing is published through them. */
    atomic_fetch_add_explicit(&map_calls, 1, memory_order_relaxed);
    uint64_t left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    while (left != 0) {
        if (atomic_compare_exchange_weak_explicit(&fail_countdown, &left, left - 1,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            if (left != 1) return false;
            atomic_fetch_add_explicit(&map_failures, 1, memory_order_relaxed);
            errno = ENOMEM;
            return true;
        }
    }
    return false;
}

static void *map_or_null(size_t size, int protection, int flags) {
    if (failure_injected()) return NULL;
    void *address = mmap(NULL, size, protection, flags | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (address != MAP_FAILED) return address;
    atomic_fetch_add_explicit(&map_failures, 1, memory_order_relaxed);
    return NULL;
}

void *hfi_os_reserve(size_t size, size_t alignment) {
    size_t padded = alignment > HFI_PAGE ? size + alignment : size;
    if (padded < size) {
        errno = ENOMEM;
        return NULL;
    }
    char *base = map_or_null(padded, PROT_NONE, MAP_NORESERVE);
    if (base == NULL || padded == size) return base;
    char *aligned = (char *)(((uintptr_t)base + alignment - 1) & ~(uintptr_t)(alignment - 1));
    if (aligned != base) munmap(base, (size_t)(aligned - base));
    size_t tail = (size_t)(base + padded - (aligned + size));
    if (tail != 0) munmap(aligned + size, tail);
    return aligned;
}

void *hfi_os_map(size_t size) {
    return map_or_null(size, PROT_READ | PROT_WRITE, MAP_NORESERVE);
}

void hfi_os_unmap(void *address, size_t size) {
    munmap(address, size);
}

int hfi_os_commit(void *address, size_t size) {
    if (failure_injected()) return -1;
    if (mprotect(address, size, PROT_READ | PROT_WRITE) == 0) return 0;
    atomic_fetch_add_explicit(&map_failures, 1, memory_order_relaxed);
    return -1;
}

void hfi_os_purge(void *address, size_t size) {
    /* DONTNEED and not FREE: the figures the user sees must fall at once (notes: snmalloc's 252 MB
     * of lazily freed pages count as its RSS for ever). Locked pages refuse: overwrite with zero. */
    if (madvise(address, size, MADV_DONTNEED) == 0) return;
    if (errno == EINVAL) __builtin_memset(address, 0, size);
}

bool hfi_os_guard_is_light(void) {
    int known = atomic_load_explicit(&guard_support, memory_order_relaxed);
    if (known == 0) {
        void *page =
            mmap(NULL, HFI_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) return false;
        known = madvise(page, HFI_PAGE, MADV_GUARD_INSTALL) == 0 ? 1 : -1;
        munmap(page, HFI_PAGE);
        atomic_store_explicit(&guard_support, known, memory_order_relaxed);
    }
    return known == 1;
}

int hfi_os_guard(void *address, size_t size) {
    if (failure_injected()) return -1;
    if (hfi_os_guard_is_light()) return madvise(address, size, MADV_GUARD_INSTALL);
    if (madvise(address, size, MADV_DONTNEED) != 0) return -1;
    return mprotect(address, size, PROT_NONE);
}

int hfi_os_unguard(void *address, size_t size) {
    if (hfi_os_guard_is_light()) return madvise(address, size, MADV_GUARD_REMOVE);
    return mprotect(address, size, PROT_READ | PROT_WRITE);
}

int hfi_os_seal(void *address, size_t size, bool writable) {
    return mprotect(address, size, writable ? PROT_READ | PROT_WRITE : PROT_READ);
}

void hfi_os_huge(void *address, size_t size, bool on) {
    /* Advice: a kernel without huge pages says EINVAL and nothing is lost. */
    (void)madvise(address, size, on ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

int hfi_os_move(void *from, size_t size, void *to) {
    if (failure_injected()) return -1;
    /* DONTUNMAP leaves the old range mapped and empty, so no other thread's mmap can slip into our
     * reservation; it insists on equal sizes, which is why only `size` bytes move. */
    void *moved = mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
    return moved == MAP_FAILED ? -1 : 0;
}

size_t hfi_os_resident(const void *address, size_t size) {
    unsigned char present[256];
    size_t resident = 0;
    const char *at = address;
    while (size > 0) {
        size_t pages = size / HFI_PAGE < sizeof present ? size / HFI_PAGE : sizeof present;
        if (pages == 0 || mincore((void *)at, pages * HFI_PAGE, present) != 0) break;
        for (size_t i = 0; i < pages; i++)
            resident += (present[i] & 1) ? HFI_PAGE : 0;
        at += pages * HFI_PAGE;
        size -= pages * HFI_PAGE;
    }
    return resident;
}
