/* memory_linux.c - os.h's memory part on Linux.
 * Talks to    the kernel.   Called by base, pages, interop.
 * Threads     no state but counters and two capability flags, both atomic and idempotent.
 * Fails with  NULL or -1; errno from the kernel; ENOMEM when a failure is injected.
 * Why         A reservation is PROT_NONE and not RW|NORESERVE: an RW terabyte makes core dumps walk
 *             it page by page and counts against RLIMIT_DATA. */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440 /* one number on every architecture */
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

/* A range is laid out as the kernel's iovec. */
_Static_assert(sizeof(struct hfi_os_range) == sizeof(struct iovec) &&
                   offsetof(struct hfi_os_range, size) == offsetof(struct iovec, iov_len),
               "ranges are handed to process_madvise");

/* One system call for up to 1024 ranges where the kernel knows PIDFD_SELF, else one each. */
static int advise_many(const struct hfi_os_range *ranges, unsigned count, int advice) {
    enum { PIDFD_SELF_PROCESS = -10000, AT_ONCE = 1024 };
    unsigned done = 0;
    while (done < count) {
        unsigned part = count - done < AT_ONCE ? count - done : AT_ONCE;
        size_t wanted = 0;
        for (unsigned i = 0; i < part; i++)
            wanted += ranges[done + i].size;
        long result = part == 1 ? -1
                                : syscall(SYS_process_madvise, PIDFD_SELF_PROCESS, ranges + done,
                                          (size_t)part, advice, 0u);
        /* An older kernel, a seccomp filter, or a call that stopped in the middle. */
        if (result < 0 || (size_t)result != wanted)
            for (unsigned i = 0; i < part; i++)
                if (madvise(ranges[done + i].address, ranges[done + i].size, advice) != 0)
                    return -1;
        done += part;
    }
    return 0;
}

int hfi_os_guard_many(const struct hfi_os_range *ranges, unsigned count) {
    if (failure_injected()) return -1;
    return advise_many(ranges, count, MADV_GUARD_INSTALL);
}

int hfi_os_guard_by_mapping(const struct hfi_os_range *ranges, unsigned count) {
    if (failure_injected()) return -1;
    for (unsigned i = 0; i < count; i++)
        if (mprotect(ranges[i].address, ranges[i].size, PROT_NONE) != 0) return -1;
    return 0;
}

bool hfi_os_purge_many(const struct hfi_os_range *ranges, unsigned count) {
    return advise_many(ranges, count, MADV_DONTNEED) == 0;
}

size_t hfi_os_first_resident(const void *address, size_t size) {
    unsigned char present[1024];
    const char *at = address;
    for (size_t left = size; left > 0;) {
        size_t pages = left / HFI_PAGE < sizeof present ? left / HFI_PAGE : sizeof present;
        if (pages == 0 || mincore((void *)at, pages * HFI_PAGE, present) != 0) break;
        for (size_t i = 0; i < pages; i++)
            if ((present[i] & 1) != 0) return (size_t)(at - (const char *)address) + i * HFI_PAGE;
        at += pages * HFI_PAGE;
        left -= pages * HFI_PAGE;
    }
    return size;
}

uint64_t hfi_os_mappings_max(void) {
    char text[32];
    uint64_t value = 0;
    int file = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text);
    close(file);
    for (ssize_t i = 0; i < length && text[i] >= '0' && text[i] <= '9'; i++)
        value = value * 10 + (uint64_t)(text[i] - '0');
    return value;
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
