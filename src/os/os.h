/* os.h - the platform, as one contract. The only folder with platform code.
 *
 * Memory   Functions that ask for memory return NULL or -1 with errno set; "no memory" is expected,
 *          anything else is a fault of ours. Each counts towards the injected failure (tests).
 *          Sizes and addresses are multiples of hfi_os_page unless said otherwise.
 * Threads  Everything is callable from any thread, before libc's constructors and after fork.
 * Errno    Memory functions may change errno; futex, clock and id functions do not.
 * Source   Linux man-pages mmap(2), madvise(2), futex(2), mbind(2). */
#ifndef HFI_OS_H
#define HFI_OS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HFI_PAGE      ((size_t)4096) /* unit of purge and protect on supported machines */
#define HFI_HUGE_PAGE ((size_t)2 << 20)

static inline size_t hfi_page_up(size_t bytes) {
    return (bytes + HFI_PAGE - 1) & ~(HFI_PAGE - 1);
}

/* Address space without memory: reading or writing it faults. `alignment` is a power of two. */
void *hfi_os_reserve(size_t size, size_t alignment);
/* Zeroed memory of its own; lazily backed. */
void *hfi_os_map(size_t size);
void hfi_os_unmap(void *address, size_t size);
/* Makes part of a reservation usable. 0, or -1 with ENOMEM. */
int hfi_os_commit(void *address, size_t size);
/* Gives the pages back; the range stays usable and reads as zero. */
void hfi_os_purge(void *address, size_t size);
/* Any access to the range faults from now on; the contents are lost. unguard makes it usable again. */
int hfi_os_guard(void *address, size_t size);
int hfi_os_unguard(void *address, size_t size);
/* True if guards are page-table marks (no extra mapping each), false if they are mprotect. */
bool hfi_os_guard_is_light(void);
/* Read-only from now on, or writable again. */
int hfi_os_seal(void *address, size_t size, bool writable);
/* Advice about transparent huge pages. */
void hfi_os_huge(void *address, size_t size, bool on);
/* Moves the pages of one usable range to another: what was at `to` is lost, `from` reads as zero
 * afterwards. 0, or -1 when the kernel cannot (then nothing changed). */
int hfi_os_move(void *from, size_t size, void *to);
/* Bytes of the range that are in memory now; 0 if the kernel cannot tell. */
size_t hfi_os_resident(const void *address, size_t size);

/* Many ranges at once, for those who carve one region into pieces. */
struct hfi_os_range {
    void *address;
    size_t size;
};
/* Light guards over every range, in as few calls as the kernel allows. 0, or -1 with errno: EINVAL or
 * ENOSYS if it has none or the memory is locked, else ENOMEM. Some ranges may be guarded then. */
int hfi_os_guard_many(const struct hfi_os_range *ranges, unsigned count);
/* The same by protection: one mapping more for each. -1 with ENOMEM at the limit of mappings. */
int hfi_os_guard_by_mapping(const struct hfi_os_range *ranges, unsigned count);
/* As hfi_os_purge, guards inside the ranges stay. False if the kernel refused (locked memory): some
 * ranges may be purged then. */
bool hfi_os_purge_many(const struct hfi_os_range *ranges, unsigned count);
/* Offset of the lowest page of the range that is in memory; `size` if none is. */
size_t hfi_os_first_resident(const void *address, size_t size);
/* Mappings a process may have; 0 if the system does not say. */
uint64_t hfi_os_mappings_max(void);

/* Tests: the Nth memory call from now on fails once with ENOMEM; 0 switches it off. */
void hfi_os_fail_after(uint64_t count);
uint64_t hfi_os_map_calls(void);
uint64_t hfi_os_map_failures(void);

/* NUMA. Nodes are numbered 0..count-1 here, whatever the machine calls them. */
void hfi_os_numa_start(unsigned pretended_nodes);
unsigned hfi_os_node_count(void);
unsigned hfi_os_node_current(void);
/* Prefers `node` for pages of the range that are not there yet. 0, or -1 if the kernel refuses. */
int hfi_os_node_bind(void *address, size_t size, unsigned node);
/* They go to all nodes in turn. */
int hfi_os_node_interleave(void *address, size_t size);
unsigned hfi_os_cpu_count(void);
/* Processors of the machine that are on, also those that this process may not use. At least 1. */
unsigned hfi_os_cpu_online(void);
size_t hfi_os_memory_size(void);

/* Waits while *word == expected, at most timeout_ns (0: no limit). 0 woken, -1 timed out. */
int hfi_os_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
void hfi_os_futex_wake(_Atomic uint32_t *word, int count);
/* What pthread_atfork and at_quick_exit do, by libc's own entries where it has them: the functions
 * of that name are linked into each library, far from everything that runs at start. */
void hfi_os_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
void hfi_os_at_quick_exit(void (*handler)(void *unused), void (*plain)(void));
/* A barrier on every running thread of the process; false if the kernel has none. */
bool hfi_os_barrier_all_threads(void);

/* Faults: SIGSEGV on an alternate stack. Each `judge` is told of every access that faulted (not of
 * signals that were sent) and may end the process; then the disposition from before gets the signal
 * as if nobody had been in between. 0, or -1 with errno; remove: EBUSY if another handler is in front. */
struct hfi_os_fault {
    void *address;           /* that was accessed       */
    uintptr_t stack_pointer; /* of the code that did it */
};
typedef void (*hfi_os_fault_judge)(const struct hfi_os_fault *fault);
int hfi_os_fault_install(hfi_os_fault_judge judge);
int hfi_os_fault_remove(hfi_os_fault_judge judge);
/* An alternate signal stack for the calling thread, unless it has one of 32 KiB or more. */
int hfi_os_altstack_prepare(void);

uint64_t hfi_os_clock_ns(void); /* monotonic */
uint64_t hfi_os_realtime_ns(void);
uint32_t hfi_os_thread_id(void);
uint32_t hfi_os_process_id(void);
/* Threads of this process; 0 if the kernel does not say. */
unsigned hfi_os_thread_count(void);
bool hfi_os_thread_exists(uint32_t process, uint32_t thread);
/* Proof that a thread of this process is asleep in the kernel: fills *switches_out with the number
 * of times it was switched out so far. Equal numbers at two moments: it did not run in between. */
bool hfi_os_thread_asleep(uint32_t thread, uint64_t *switches_out);
void hfi_os_random(void *bytes, size_t size);
void hfi_os_write(int file, const char *bytes, size_t size);

#endif
