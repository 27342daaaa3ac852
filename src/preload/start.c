/* start.c - the preload library enters a process, and stays out of its way.
 *
 *   loader: malloc works from the first call  -->  constructor: environment, exit hooks, Python
 *
 * Environment  HOLDFAST_REPORT_DIR  where reports are written; made absolute here
 *              HOLDFAST_QUIET=1     nothing on stderr
 *              HOLDFAST_NO_CHILDREN=1  the library takes itself out of LD_PRELOAD, so that programs
 *                                   started from here run without it; forks keep it
 * Invariants  the constructor allocates nothing, writes nothing and opens nothing; exit status,
 *             standard streams and signal handlers of the program are left as they are; where
 *             there are guards (hardened, debug) a SIGSEGV handler names them and passes on.
 * Threads     the constructor runs before main; the fork handler in a child with one thread.
 * Talks to    base, os, interop.   Called by the loader. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pthread.h>

#include "preload.h"

#include "base/format.h"
#include "base/report.h"
#include "interop/cpython.h"
#include "os/os.h"
#include <holdfast/export.h>

struct hfi_preload hfi_preload;

bool hfi_preload_is_own_process(void) {
    return hfi_preload.started && hfi_preload.process == hfi_os_process_id();
}

bool hfi_preload_path(const char *extension, char path[HFI_PATH_SIZE]) {
    if (hfi_preload.directory[0] == '\0') return false;
    hfi_writer writer = hfi_writer_make(path, HFI_PATH_SIZE);
    hfi_write_text(&writer, hfi_preload.directory);
    hfi_write_char(&writer, '/');
    hfi_write_u64(&writer, hfi_os_process_id());
    hfi_write_char(&writer, '.');
    hfi_write_text(&writer, extension);
    return hfi_writer_finish(&writer) < HFI_PATH_SIZE;
}

static bool is_set(const char *name) {
    const char *value = secure_getenv(name);
    return value != NULL && value[0] != '\0' && strcmp(value, "0") != 0;
}

/* A directory too long to be used is no directory: reports are a service, not a duty. */
static void read_directory(void) {
    const char *given = secure_getenv("HOLDFAST_REPORT_DIR");
    if (given == NULL || given[0] == '\0') return;
    hfi_writer writer = hfi_writer_make(hfi_preload.directory, sizeof hfi_preload.directory);
    if (given[0] != '/') {
        char here[HFI_DIRECTORY_MAX];
        if (getcwd(here, sizeof here) == NULL) return;
        hfi_write_text(&writer, here);
        hfi_write_char(&writer, '/');
    }
    hfi_write_text(&writer, given);
    if (hfi_writer_finish(&writer) >= sizeof hfi_preload.directory) hfi_preload.directory[0] = '\0';
}

static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Removes every entry of the list (separated by colons or blanks) that names `library`. In place:
 * the text only gets shorter, and it belongs to this process alone. */
static void list_remove(char *list, const char *library) {
    char *to = list;
    const char *from = list;
    while (*from != '\0') {
        size_t length = strcspn(from, ": ");
        const char *name = from;
        for (size_t i = 0; i < length; i++)
            if (from[i] == '/') name = from + i + 1;
        size_t name_length = length - (size_t)(name - from);
        bool ours = name_length == strlen(library) && memcmp(name, library, name_length) == 0;
        bool more = from[length] != '\0';
        if (length > 0 && !ours) {
            if (to != list) *to++ = ':';
            memmove(to, from, length);
            to += length;
        }
        from += length + (more ? 1 : 0);
    }
    *to = '\0';
}

static void leave_children_alone(void) {
    Dl_info self;
    char *list = secure_getenv("LD_PRELOAD");
    if (list == NULL || dladdr(&hfi_preload, &self) == 0 || self.dli_fname == NULL) return;
    list_remove(list, file_name(self.dli_fname));
    if (list[0] == '\0') (void)unsetenv("LD_PRELOAD");
}

static void become_child(void) {
    hfi_preload.process = hfi_os_process_id();
    hfi_preload.started_ns = hfi_os_clock_ns();
    hfi_preload.forked = true;
}

/* on_exit, not atexit: handlers that belong to no library run after the destructors of all, so what
 * those free and break is in the report. */
static void exiting(int status, void *unused) {
    (void)status;
    (void)unused;
    hfi_exit_report("exit");
}

static void exiting_quickly(void *unused) {
    (void)unused;
    hfi_exit_report("quick_exit");
}

static void exiting_plainly(void) {
    exiting_quickly(NULL);
}

static __attribute__((constructor)) void preload_start(void) {
    hfi_preload.process = hfi_os_process_id();
    hfi_preload.started_ns = hfi_os_clock_ns();
    hfi_preload.stderr_usable = !is_set("HOLDFAST_QUIET") && fcntl(STDERR_FILENO, F_GETFD) != -1;
    read_directory();
    if (is_set("HOLDFAST_NO_CHILDREN")) leave_children_alone();
    hfi_exec_start();
    hfi_report_sink_set(hfi_sink_report);
    hfi_os_at_fork(NULL, NULL, become_child);
    (void)on_exit(exiting, NULL);
    hfi_os_at_quick_exit(exiting_quickly, exiting_plainly);
    hfi_preload.started = true;
    hfi_python_start();
}
