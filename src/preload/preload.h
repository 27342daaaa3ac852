/* preload.h - what the files of the preload library know in common.
 *
 * Invariants  nothing here is written after the constructor but by the child of a fork, which has
 *             one thread; before the constructor `started` is false and the library only allocates.
 * Threads     read by any thread without a lock.
 * Talks to    base, os.   Written by start.c. */
#ifndef HFI_PRELOAD_H
#define HFI_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holdfast/report.h>

#define HFI_DIRECTORY_MAX ((size_t)3072) /* longest HOLDFAST_REPORT_DIR, made absolute          */
#define HFI_PATH_SIZE     ((size_t)3136) /* that, a process id, an extension and the terminator */

extern struct hfi_preload {
    bool started;        /* the constructor has run                                     */
    bool forked;         /* this process is the child of a fork, not an image of its own */
    bool stderr_usable;  /* file 2 was open at start and HOLDFAST_QUIET is not set      */
    uint32_t process;    /* process id as of start or fork; a vfork child has another   */
    uint64_t started_ns; /* monotonic clock, of start or fork                           */
    char directory[HFI_DIRECTORY_MAX]; /* HOLDFAST_REPORT_DIR, absolute; "" if unset    */
} hfi_preload;

/* False before the constructor, and in children that share or copied memory without fork's handlers
 * (vfork, posix_spawn, bare clone): their exit is not this program's exit. */
bool hfi_preload_is_own_process(void);
/* Writes "DIRECTORY/PID.EXTENSION" for this process; false if there is no directory. */
bool hfi_preload_path(const char *extension, char path[HFI_PATH_SIZE]);

/* exit_report.c. Writes the report of this process once; `how` is "exit", "_exit", "quick_exit" or
 * "exec". Preserves errno. */
void hfi_exit_report(const char *how);
/* The exec after hfi_exit_report("exec") failed: the process goes on and will report again. */
void hfi_exit_report_undo(void);
/* exec_entry.c. Finds the functions that are interposed while it is safe to search. */
void hfi_exec_start(void);
/* sink.c. Text to stderr, one line of JSON to PID.reports. Preserves errno. */
void hfi_sink_report(const hf_report *report);

#endif
