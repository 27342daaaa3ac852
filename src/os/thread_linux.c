/* thread_linux.c - os.h's threads, clocks and random part on Linux.
 * Talks to    the kernel, by raw system calls where libc's wrapper could allocate or lock.
 * Threads     stateless but for one capability flag.
 * Errno       untouched: callers run inside free. */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern void *__dso_handle __attribute__((visibility("hidden")));
extern int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *)
    __attribute__((weak));
extern int __cxa_at_quick_exit(void (*)(void *), void *) __attribute__((weak));

void hfi_os_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    if (__register_atfork != NULL)
        (void)__register_atfork(prepare, parent, child, &__dso_handle);
    else
        (void)pthread_atfork(prepare, parent, child);
}

void hfi_os_at_quick_exit(void (*handler)(void *unused), void (*plain)(void)) {
    if (__cxa_at_quick_exit != NULL)
        (void)__cxa_at_quick_exit(handler, &__dso_handle);
    else
        (void)at_quick_exit(plain);
}

int hfi_os_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
    struct timespec limit = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                             .tv_nsec = (long)(timeout_ns % 1000000000u)};
    int saved = errno;
    long result = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected,
                          timeout_ns != 0 ? &limit : NULL, NULL, 0);
    int timed_out = result == -1 && errno == ETIMEDOUT;
    errno = saved;
    return timed_out ? -1 : 0;
}

void hfi_os_futex_wake(_Atomic uint32_t *word, int count) {
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
    errno = saved;
}

bool hfi_os_barrier_all_threads(void) {
    static _Atomic int registered; /* 0 not asked, 1 works, -1 refused */
    int saved = errno;
    int state = atomic_load_explicit(&registered, memory_order_relaxed);
    if (state == 0) {
        long result = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
        state = result == 0 ? 1 : -1;
        atomic_store_explicit(&registered, state, memory_order_relaxed);
    }
    bool done = state == 1 && syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
    errno = saved;
    return done;
}

static uint64_t clock_read(clockid_t clock) {
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t hfi_os_clock_ns(void) {
    return clock_read(CLOCK_MONOTONIC);
}

uint64_t hfi_os_realtime_ns(void) {
    return clock_read(CLOCK_REALTIME);
}

uint32_t hfi_os_thread_id(void) {
    return (uint32_t)syscall(SYS_gettid);
}

uint32_t hfi_os_process_id(void) {
    return (uint32_t)syscall(SYS_getpid);
}

bool hfi_os_thread_exists(uint32_t process, uint32_t thread) {
    int saved = errno;
    bool exists = syscall(SYS_tgkill, process, thread, 0) == 0;
    errno = saved;
    return exists;
}

/* Reads a small /proc file whole; 0 if it is not there. */
static size_t proc_read(uint32_t thread, const char *name, char *text, size_t size) {
    char path[64] = "/proc/self/task/";
    size_t at = 16;
    char digits[12];
    int count = 0;
    for (uint32_t rest = thread; count == 0 || rest != 0; rest /= 10)
        digits[count++] = (char)('0' + rest % 10);
    while (count > 0)
        path[at++] = digits[--count];
    path[at++] = '/';
    for (const char *c = name; *c != '\0'; c++)
        path[at++] = *c;
    path[at] = '\0';
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) return 0;
    size_t length = 0;
    while (length + 1 < size) {
        long got = syscall(SYS_read, file, text + length, size - 1 - length);
        if (got <= 0) break;
        length += (size_t)got;
    }
    syscall(SYS_close, file);
    text[length] = '\0';
    return length;
}

static uint64_t field_number(const char *text, const char *name) {
    for (; *text != '\0'; text++) {
        const char *a = text, *b = name;
        while (*b != '\0' && *a == *b)
            a++, b++;
        if (*b != '\0') continue;
        uint64_t value = 0;
        while (*a == ' ' || *a == '\t')
            a++;
        while (*a >= '0' && *a <= '9')
            value = value * 10 + (uint64_t)(*a++ - '0');
        return value;
    }
    return 0;
}

static uint64_t field_hex(const char *text, const char *name) {
    const char *at = strstr(text, name);
    if (at == NULL) return UINT64_MAX;
    uint64_t value = 0;
    for (at += strlen(name); *at == ' ' || *at == '\t';)
        at++;
    for (;; at++) {
        if (*at >= '0' && *at <= '9')
            value = value << 4 | (uint64_t)(*at - '0');
        else if (*at >= 'a' && *at <= 'f')
            value = value << 4 | (uint64_t)(*at - 'a' + 10);
        else
            return value;
    }
}

/* A thread that waits for its vfork child sleeps, but the child runs on its memory. */
static bool is_vfork_or_clone(const char *text) {
    long number = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (*text - '0');
#ifdef SYS_vfork
    if (number == SYS_vfork) return true;
#endif
#ifdef SYS_clone3
    if (number == SYS_clone3) return true;
#endif
    return number == SYS_clone;
}

unsigned hfi_os_thread_count(void) {
    int saved = errno;
    char text[2048];
    unsigned count = 0;
    if (proc_read(hfi_os_thread_id(), "status", text, sizeof text) > 0)
        count = (unsigned)field_number(text, "\nThreads:");
    errno = saved;
    return count;
}

bool hfi_os_thread_asleep(uint32_t thread, uint64_t *switches_out) {
    int saved = errno;
    char text[2048];
    bool asleep = false;
    /* "running" unless the kernel made sure that the thread is off its processor. */
    if (proc_read(thread, "syscall", text, sizeof text) > 0 && text[0] >= '0' && text[0] <= '9' &&
        !is_vfork_or_clone(text) && proc_read(thread, "status", text, sizeof text) > 0) {
        *switches_out = field_number(text, "\nvoluntary_ctxt_switches:") +
                        field_number(text, "\nnonvoluntary_ctxt_switches:");
        /* Asleep inside a signal handler, it may have been interrupted anywhere. A handler runs
         * with its signal blocked; a thread that blocks caught signals for good looks the same. */
        asleep = (field_hex(text, "\nSigBlk:") & field_hex(text, "\nSigCgt:")) == 0;
    }
    errno = saved;
    return asleep;
}

void hfi_os_random(void *bytes, size_t size) {
    int saved = errno;
    unsigned char *at = bytes;
    while (size > 0) {
        long got = syscall(SYS_getrandom, at, size, 1 /* GRND_NONBLOCK */);
        if (got <= 0) break;
        at += got;
        size -= (size_t)got;
    }
    if (size >
        0) { /* early boot or a filter: the clock and the stack's address are better than zero */
        uint64_t seed = hfi_os_clock_ns() ^ (uint64_t)(uintptr_t)&seed * 0x9E3779B97F4A7C15u;
        while (size-- > 0) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            *at++ = (unsigned char)(seed >> 24);
        }
    }
    errno = saved;
}

void hfi_os_write(int file, const char *bytes, size_t size) {
    int saved = errno;
    while (size > 0) {
        long done = syscall(SYS_write, file, bytes, size);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) break;
        bytes += done;
        size -= (size_t)done;
    }
    errno = saved;
}
