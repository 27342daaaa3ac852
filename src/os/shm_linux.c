/* shm_linux.c - os/shm.h on Linux: tmpfs, memfd, open file description locks.
 * Talks to    the kernel.   Called by src/shm.
 * Threads     stateless but for the injected failure.
 * Fails with  -1 and errno from the kernel.
 * Why         O_TMPFILE and linkat: a segment has its name only once it is complete, and the kernel
 *             decides who of two makers was first. */
#include "shm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "os.h"

#define FOLDER      "/dev/shm"
#define PREFIX      "holdfast-"
#define LOCKS_AT    ((off_t)1 << 62)
/* A signal undoes what one fallocate did: the next asks for half as much. */
#define PIECE       ((uint64_t)16 << 20)
#define PIECE_LEAST ((uint64_t)64 << 10)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS   1033
#define F_SEAL_SHRINK 0x0002
#endif

static _Atomic uint64_t fail_countdown;

void hfi_os_shm_fail_after(uint64_t count) {
    atomic_store(&fail_countdown, count);
}

static bool failure_injected(void) {
    uint64_t left = atomic_load(&fail_countdown);
    while (left != 0)
        if (atomic_compare_exchange_weak(&fail_countdown, &left, left - 1)) return left == 1;
    return false;
}

/* --- names ------------------------------------------------------------------------------------ */

bool hfi_os_shm_path(const char *name, char *path, size_t size) {
    int length = snprintf(path, size, FOLDER "/" PREFIX "%s", name);
    return length > 0 && (size_t)length < size;
}

int hfi_os_shm_each(int (*visit)(const char *name, void *context), void *context) {
    DIR *folder = opendir(FOLDER);
    if (folder == NULL) return -1;
    for (struct dirent *at; (at = readdir(folder)) != NULL;)
        if (strncmp(at->d_name, PREFIX, sizeof PREFIX - 1) == 0 &&
            visit(at->d_name + sizeof PREFIX - 1, context) != 0)
            break;
    closedir(folder);
    return 0;
}

/* --- files ------------------------------------------------------------------------------------ */

int hfi_os_shm_open(const char *path, bool write) {
    /* NONBLOCK: a planted pipe or device must not make us wait. It means nothing to files. */
    return open(path, (write ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

static void own_path(int file, char path[32]) {
    (void)snprintf(path, 32, "/proc/self/fd/%d", file);
}

int hfi_os_shm_reopen(int file, bool write) {
    char path[32];
    own_path(file, path);
    return open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

int hfi_os_shm_draft(const char *path, uint32_t access, char *draft) {
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path) + (slash == path);
    if (length + 1 > HFI_OS_PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(draft, path, length);
    draft[length] = '\0';
    int file = open(length == 0 ? "." : draft, O_TMPFILE | O_RDWR | O_CLOEXEC, access & 0777);
    draft[0] = '\0';
    if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return file;
    uint64_t random = 0;
    hfi_os_random(&random, sizeof random);
    int wanted = snprintf(draft, HFI_OS_PATH_MAX, "%s.%016llx", path, (unsigned long long)random);
    if (wanted < 0 || wanted >= HFI_OS_PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(draft, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, access & 0777);
}

int hfi_os_shm_publish(int file, const char *path, const char *draft) {
    if (draft[0] != '\0') {
        int result = link(draft, path);
        int saved = errno;
        (void)unlink(draft);
        errno = saved;
        return result;
    }
    char own[32];
    own_path(file, own);
    return linkat(AT_FDCWD, own, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

int hfi_os_shm_anonymous(void) {
    int file = memfd_create("holdfast", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    /* Growing stays possible, cutting short does not. */
    if (file >= 0) (void)fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK);
    return file;
}

void hfi_os_shm_close(int file) {
    int saved = errno;
    if (file >= 0) close(file);
    errno = saved;
}

int hfi_os_shm_replace(int from, int to) {
    return dup3(from, to, O_CLOEXEC) < 0 ? -1 : 0;
}

static void describe(const struct stat *status, struct hfi_os_file *out) {
    *out = (struct hfi_os_file){.size = status->st_size < 0 ? 0 : (uint64_t)status->st_size,
                                .device = status->st_dev,
                                .inode = status->st_ino,
                                .owner = status->st_uid,
                                .access = status->st_mode & 07777,
                                .links = (uint32_t)status->st_nlink,
                                .regular = S_ISREG(status->st_mode)};
}

int hfi_os_shm_stat(int file, struct hfi_os_file *out) {
    struct stat status;
    if (fstat(file, &status) != 0) return -1;
    describe(&status, out);
    return 0;
}

int hfi_os_shm_stat_path(const char *path, struct hfi_os_file *out) {
    struct stat status;
    if (lstat(path, &status) != 0) return -1;
    describe(&status, out);
    return 0;
}

int hfi_os_shm_unlink(const char *path) {
    return unlink(path);
}

int hfi_os_shm_access(int file, uint32_t access, int64_t group) {
    if (group >= 0 && fchown(file, (uid_t)-1, (gid_t)group) != 0) return -1;
    return fchmod(file, access & 0777);
}

int hfi_os_shm_set_size(int file, uint64_t size) {
    return ftruncate(file, (off_t)size);
}

/* A number of /proc/meminfo [bytes]; UINT64_MAX if it is not there. */
static uint64_t meminfo(const char *text, const char *key) {
    const char *found = strstr(text, key);
    return found ? strtoull(found + strlen(key), NULL, 10) * 1024 : UINT64_MAX;
}

/* Whether the file system, and for one in memory the machine, has this much left. tmpfs may promise
 * more than there is memory (its usual limit is not less than all of it): then taking what it
 * promises would not fail but have processes killed. */
static bool room_is_there(int file, uint64_t size) {
    struct statvfs room;
    struct statfs kind;
    if (fstatvfs(file, &room) == 0 && room.f_blocks > 0 &&
        size / room.f_frsize > (uint64_t)room.f_bavail)
        return false;
    if (fstatfs(file, &kind) != 0 || kind.f_type != TMPFS_MAGIC) return true;
    char text[2048];
    int info = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    if (info < 0) return true;
    ssize_t length = read(info, text, sizeof text - 1);
    close(info);
    if (length <= 0) return true;
    text[length] = 0;
    uint64_t available = meminfo(text, "MemAvailable:"), swap = meminfo(text, "SwapFree:");
    if (available == UINT64_MAX) return true;
    if (swap != UINT64_MAX) available += swap;
    return size <= available - available / 32; /* a little is left for everybody else */
}

static int plain_fallocate(int file, off_t at, off_t size) {
    return fallocate(file, 0, at, size) == 0 ? 0 : errno;
}

/* 0, or the error number of `call`, which is one of the two that allocate. */
static int allocate(int file, uint64_t from, uint64_t to, int (*call)(int, off_t, off_t)) {
    uint64_t most = PIECE;
    for (uint64_t at = from; at < to;) {
        uint64_t piece = to - at < most ? to - at : most;
        int error = call(file, (off_t)at, (off_t)piece);
        if (error == 0)
            at += piece;
        else if (error != EINTR)
            return error;
        else if (most > PIECE_LEAST)
            most /= 2;
    }
    return 0;
}

int hfi_os_shm_fill_holes(int file, uint64_t size) {
    struct stat status;
    if (fstat(file, &status) != 0) return -1;
    if ((uint64_t)status.st_blocks * 512 >= size) return 0;
    /* Not the one that writes to each block where the file system has no call: others' bytes. */
    int error = allocate(file, 0, size, plain_fallocate);
    if (error != 0 && error != EOPNOTSUPP && error != ENOSYS) {
        errno = error;
        return -1;
    }
    return 0;
}

int hfi_os_shm_extend(int file, uint64_t from, uint64_t to) {
    if (from >= to) return 0;
    /* One who was killed in here left memory behind `from`: it need not be there again. */
    struct stat status;
    uint64_t there = fstat(file, &status) == 0 ? (uint64_t)status.st_blocks * 512 : 0;
    uint64_t missing = there <= from ? to - from : there < to ? to - there : 0;
    if (failure_injected() || !room_is_there(file, missing)) {
        errno = ENOSPC;
        return -1;
    }
    int error = allocate(file, from, to, posix_fallocate);
    if (error == 0) return 0;
    errno = error;
    return -1;
}

int hfi_os_shm_read(int file, uint64_t offset, void *bytes, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(file, (char *)bytes + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return -1;
        done += (size_t)got;
    }
    return 0;
}

int hfi_os_shm_put(int file, const void *bytes, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t put = write(file, (const char *)bytes + done, size - done);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return -1;
        done += (size_t)put;
    }
    return 0;
}

int hfi_os_shm_get(int file, void *bytes, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t got = read(file, (char *)bytes + done, size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = 0;
        if (got <= 0) return -1;
        done += (size_t)got;
    }
    return 0;
}

/* --- locks ------------------------------------------------------------------------------------ */

static int lock_call(int file, int command, struct flock *lock) {
    int saved = errno, result;
    do
        result = fcntl(file, command, lock);
    while (result != 0 && errno == EINTR);
    errno = saved;
    return result;
}

static struct flock lock_of(short type, uint32_t first, uint32_t count) {
    return (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = LOCKS_AT + first, .l_len = count};
}

bool hfi_os_shm_lock(int file, uint32_t first, uint32_t count) {
    struct flock lock = lock_of(F_WRLCK, first, count);
    return lock_call(file, F_OFD_SETLK, &lock) == 0;
}

void hfi_os_shm_unlock(int file, uint32_t first, uint32_t count) {
    struct flock lock = lock_of(F_UNLCK, first, count);
    (void)lock_call(file, F_OFD_SETLK, &lock);
}

bool hfi_os_shm_locked(int file, uint32_t first, uint32_t count, uint32_t *first_out,
                       uint32_t *count_out) {
    struct flock lock = lock_of(F_WRLCK, first, count);
    /* Who cannot ask must not bury anybody. */
    if (lock_call(file, F_OFD_GETLK, &lock) != 0) return true;
    if (lock.l_type == F_UNLCK) return false;
    uint64_t start = lock.l_start < LOCKS_AT ? 0 : (uint64_t)(lock.l_start - LOCKS_AT);
    if (first_out != NULL) *first_out = start > UINT32_MAX ? UINT32_MAX : (uint32_t)start;
    if (count_out != NULL)
        *count_out = lock.l_len <= 0 || lock.l_len > UINT32_MAX ? UINT32_MAX : (uint32_t)lock.l_len;
    return true;
}

/* --- memory ----------------------------------------------------------------------------------- */

int hfi_os_shm_map(void *address, size_t size, int file, uint64_t offset, bool *sync_out) {
    const int protection = PROT_READ | PROT_WRITE;
    void *at = MAP_FAILED;
    if (sync_out != NULL) {
        at = mmap(address, size, protection, MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED, file,
                  (off_t)offset);
        *sync_out = at != MAP_FAILED;
    }
    if (at == MAP_FAILED)
        at = mmap(address, size, protection, MAP_SHARED | MAP_FIXED, file, (off_t)offset);
    return at == MAP_FAILED ? -1 : 0;
}

int hfi_os_shm_map_read(void *address, size_t size, int file, uint64_t offset) {
    void *at = mmap(address, size, PROT_READ, MAP_SHARED | MAP_FIXED, file, (off_t)offset);
    return at == MAP_FAILED ? -1 : 0;
}

void hfi_os_shm_prefault(void *address, size_t size) {
    if (madvise(address, size, MADV_POPULATE_WRITE) == 0) return;
    for (size_t at = 0; at < size; at += HFI_PAGE)
        (void)*(volatile const char *)((char *)address + at);
}

int hfi_os_shm_flush(void *address, size_t size) {
    uintptr_t from = (uintptr_t)address & ~(uintptr_t)(HFI_PAGE - 1);
    return msync((void *)from, (uintptr_t)address + size - from, MS_SYNC);
}

void hfi_os_shm_flush_lines(void *address, size_t size) {
    uintptr_t end = (uintptr_t)address + size;
    for (uintptr_t at = (uintptr_t)address & ~(uintptr_t)63; at < end; at += 64) {
#if defined(__x86_64__)
        __builtin_ia32_clflush((const void *)at);
#elif defined(__aarch64__)
        __asm__ volatile("dc cvac, %0" ::"r"(at) : "memory");
#endif
    }
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#elif defined(__aarch64__)
    __asm__ volatile("dsb sy" ::: "memory");
#endif
}

int hfi_os_shm_sync(int file) {
    return fsync(file);
}

int hfi_os_shm_sync_name(const char *path) {
    char folder[HFI_OS_PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path) + (slash == path);
    memcpy(folder, path, length);
    folder[length] = '\0';
    int file = open(length == 0 ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = file < 0 ? -1 : fsync(file);
    hfi_os_shm_close(file);
    return result;
}

/* --- waiting and identity --------------------------------------------------------------------- */

int hfi_os_shared_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns) {
    struct timespec limit = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                             .tv_nsec = (long)(timeout_ns % 1000000000u)};
    int saved = errno;
    long result = syscall(SYS_futex, word, FUTEX_WAIT, expected, &limit, NULL, 0);
    int timed_out = result == -1 && errno == ETIMEDOUT;
    errno = saved;
    return timed_out ? -1 : 0;
}

int hfi_os_shared_wake(_Atomic uint32_t *word, int count) {
    int saved = errno;
    long woken = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
    errno = saved;
    return woken < 0 ? 0 : (int)woken;
}

void hfi_os_pause_ns(uint64_t time_ns) {
    struct timespec time = {.tv_sec = (time_t)(time_ns / 1000000000u),
                            .tv_nsec = (long)(time_ns % 1000000000u)};
    int saved = errno;
    (void)nanosleep(&time, NULL);
    errno = saved;
}

uint64_t hfi_os_process_started(void) {
    char text[1024];
    int saved = errno;
    int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    errno = saved;
    if (length <= 0) return 0;
    text[length] = '\0';
    /* The name in parentheses may hold anything: count fields from its end, where field 3 begins. */
    const char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    uint64_t value = 0;
    for (at = at == NULL ? "" : at + 1; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
}

uint64_t hfi_os_pid_namespace(void) {
    struct stat status;
    int saved = errno;
    uint64_t number = stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
    errno = saved;
    return number;
}

uint64_t hfi_os_boot(void) {
    static _Atomic uint64_t known;
    uint64_t boot = atomic_load_explicit(&known, memory_order_relaxed); /* relaxed: a constant */
    if (boot != 0) return boot;
    char text[64] = "";
    int saved = errno;
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, sizeof text);
    if (file >= 0) close(file);
    errno = saved;
    if (length <= 0) hfi_os_random(&boot, sizeof boot);
    for (ssize_t i = 0; i < length; i++)
        boot = (boot ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3) + UINT64_C(0xcbf29ce484222325);
    boot |= 1;
    uint64_t none = 0;
    return atomic_compare_exchange_strong(&known, &none, boot) ? boot : none;
}

uint32_t hfi_os_user(void) {
    return (uint32_t)geteuid();
}
