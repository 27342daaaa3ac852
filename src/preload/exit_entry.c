/* exit_entry.c - the two ways to leave that no handler sees.
 *
 * Invariants  the process ends with the status it asked for, whatever the report does.
 * Threads     any; also in signal handlers and in vfork children, which write nothing.
 * Talks to    exit_report.c.   Called by the program; libc's own exit does not come by here.
 * Source      POSIX.1-2024 _Exit. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload.h"

#include <holdfast/export.h>

HF_API void _exit(int status) {
    hfi_exit_report("_exit");
    for (;;)
        (void)syscall(SYS_exit_group, status);
}

HF_API void _Exit(int status) {
    _exit(status);
}
