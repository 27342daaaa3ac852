/* shm.h - the platform under shared memory: named and unnamed files, locks that the kernel releases,
 * shared mappings and futexes, who this process is.
 *
 * Files    a descriptor, or -1 with errno. All are close-on-exec; links are never followed.
 * Locks    of open file descriptions, on single bytes far behind the end of the file: gone when the
 *          last reference to the description is, and so with the process. A mapping is a reference:
 *          the description that locks must not be the one that maps.
 * Errno    file functions change it; futex, clock and lock functions do not.
 * Source   fcntl(2) "Open file description locks", open(2) O_TMPFILE, linkat(2), futex(2). */
#ifndef HFI_OS_SHM_H
#define HFI_OS_SHM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HFI_OS_PATH_MAX 4096

/* The file of a segment's name; false if it does not fit. `name` is checked by the caller. */
bool hfi_os_shm_path(const char *name, char *path, size_t size);
/* Calls visit with each segment name there is; stops when it returns non-zero. 0, or -1 with errno. */
int hfi_os_shm_each(int (*visit)(const char *name, void *context), void *context);

int hfi_os_shm_open(const char *path, bool write);
/* Another description of the same file. */
int hfi_os_shm_reopen(int file, bool write);
/* A file without a name that can have `path`; where the file system has none such, one with the name
 * left in `draft` (HFI_OS_PATH_MAX bytes). */
int hfi_os_shm_draft(const char *path, uint32_t access, char *draft);
/* Gives it the name, if nobody has it: 0, or -1 with EEXIST or another. The draft's name is gone. */
int hfi_os_shm_publish(int file, const char *path, const char *draft);
/* Memory without a name, which nobody can cut short. */
int hfi_os_shm_anonymous(void);
void hfi_os_shm_close(int file);
/* The child's descriptor `to` becomes another reference to `from`'s description. 0 or -1. */
int hfi_os_shm_replace(int from, int to);

struct hfi_os_file {
    uint64_t size, device, inode;
    uint32_t owner, access, links;
    bool regular;
};
int hfi_os_shm_stat(int file, struct hfi_os_file *out);
/* Of the name itself, links not followed. */
int hfi_os_shm_stat_path(const char *path, struct hfi_os_file *out);
int hfi_os_shm_unlink(const char *path);
/* Mode, and group unless -1. */
int hfi_os_shm_access(int file, uint32_t access, int64_t group);
/* Makes the file `to` bytes long, with memory or blocks behind [from, to); before `from` they are there
 * already. -1 with ENOSPC and the like. */
int hfi_os_shm_extend(int file, uint64_t from, uint64_t to);
/* Blocks behind all of [0, size), where the file system can do it: a copy of a file may have holes. */
int hfi_os_shm_fill_holes(int file, uint64_t size);
/* Length alone: what is behind it is allocated later. */
int hfi_os_shm_set_size(int file, uint64_t size);
/* Reads or writes all of it, or -1. */
int hfi_os_shm_read(int file, uint64_t offset, void *bytes, size_t size);
/* Goes on where the descriptor stands: pipes too. All of it, or -1; 0 of `get`'s bytes: errno is 0. */
int hfi_os_shm_put(int file, const void *bytes, size_t size);
int hfi_os_shm_get(int file, void *bytes, size_t size);
/* Tests: the Nth call of extend from now on fails with ENOSPC; 0 switches it off. */
void hfi_os_shm_fail_after(uint64_t count);

/* Locks. `first` is a number of our own; where the bytes lie is this file's business. */
bool hfi_os_shm_lock(int file, uint32_t first, uint32_t count);
void hfi_os_shm_unlock(int file, uint32_t first, uint32_t count);
/* Whether another description locks any of them; `first_out`, `count_out`: its lock; may be NULL. */
bool hfi_os_shm_locked(int file, uint32_t first, uint32_t count, uint32_t *first_out,
                       uint32_t *count_out);

/* Maps a part of the file over a reservation. *sync_out: stores are durable once they left the cache. */
int hfi_os_shm_map(void *address, size_t size, int file, uint64_t offset, bool *sync_out);
/* The same to look at alone. */
int hfi_os_shm_map_read(void *address, size_t size, int file, uint64_t offset);
/* Every page is there and in the page table afterwards. */
void hfi_os_shm_prefault(void *address, size_t size);
/* On the medium when it returns: by msync, or line by line where the mapping is synchronous. */
int hfi_os_shm_flush(void *address, size_t size);
void hfi_os_shm_flush_lines(void *address, size_t size);
/* Length, blocks and content of the file; the name of `path` in its folder. 0 or -1. */
int hfi_os_shm_sync(int file);
int hfi_os_shm_sync_name(const char *path);

/* As hfi_os_futex_*, between processes. wait: 0 woken or changed, -1 timed out. wake: how many. */
int hfi_os_shared_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);
int hfi_os_shared_wake(_Atomic uint32_t *word, int count);

void hfi_os_pause_ns(uint64_t time_ns);
/* When this process started, clock ticks since boot; 0 if /proc does not say. */
uint64_t hfi_os_process_started(void);
/* Number of this process's pid namespace; 0 if /proc does not say. */
uint64_t hfi_os_pid_namespace(void);
uint32_t hfi_os_user(void);
/* Another number each time the machine starts, never 0; drawn once per process if /proc does not say. */
uint64_t hfi_os_boot(void);

#endif
