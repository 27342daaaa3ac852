/* exec_entry.c - the exec family: the image goes, and its report would go with it.
 *
 *   execl*, execv*, execve, fexecve --> will it start?  yes: report "exec" --> the real one
 *
 * Invariants  only an image that was itself started by exec reports: a child between fork and exec has
 *             its parent's heap, a vfork child its parent's memory. Where the new image brings the
 *             library too, its report replaces this one: PID.json is that of the last image.
 * Threads     async-signal-safe as POSIX wants it: after the constructor no search for symbols, no
 *             allocation; the variadic forms copy their arguments to the stack.
 * Fails with  what the real function fails with; the report is then written again at the next exit.
 * Talks to    exit_report.c.   Called by the program.
 * Source      POSIX.1-2024 exec; search along PATH as in glibc's execvpe. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload.h"

#include "base/format.h"
#include <holdfast/export.h>

extern char **environ;

typedef int (*execvpe_function)(const char *file, char *const argv[], char *const envp[]);
typedef int (*fexecve_function)(int file, char *const argv[], char *const envp[]);

static execvpe_function real_execvpe;
static fexecve_function real_fexecve;

void hfi_exec_start(void) {
    real_execvpe = (execvpe_function)(uintptr_t)dlsym(RTLD_NEXT, "execvpe");
    real_fexecve = (fexecve_function)(uintptr_t)dlsym(RTLD_NEXT, "fexecve");
}

static bool is_executable(const char *path) {
    return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0;
}

/* True if the search along PATH will meet something executable. */
static bool is_found(const char *file) {
    if (strchr(file, '/') != NULL) return is_executable(file);
    const char *list = NULL;
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
        if (strncmp(*entry, "PATH=", 5) == 0) list = *entry + 5;
    if (list == NULL) list = "/bin:/usr/bin";
    for (;;) {
        char path[4096];
        size_t length = strcspn(list, ":");
        hfi_writer writer = hfi_writer_make(path, sizeof path);
        hfi_write_bytes(&writer, list, length);
        if (length > 0) hfi_write_char(&writer, '/');
        hfi_write_text(&writer, file);
        if (hfi_writer_finish(&writer) < sizeof path && is_executable(path)) return true;
        if (list[length] == '\0') return false;
        list += length + 1;
    }
}

/* Whether a report would be lost by replacing the image. */
static bool has_report(void) {
    return hfi_preload.directory[0] != '\0' && !hfi_preload.forked && hfi_preload_is_own_process();
}

/* True if a report was written: the replacement is going to happen. errno is preserved. */
static bool leaving(bool will_start) {
    if (will_start) hfi_exit_report("exec");
    return will_start;
}

/* The exec came back, so it failed. */
static int stayed(bool reported, int result) {
    if (reported) hfi_exit_report_undo();
    return result;
}

HF_API int execve(const char *path, char *const argv[], char *const envp[]) {
    int saved = errno;
    bool reported = leaving(has_report() && is_executable(path));
    errno = saved;
    return stayed(reported, (int)syscall(SYS_execve, path, argv, envp));
}

HF_API int execv(const char *path, char *const argv[]) {
    return execve(path, argv, environ);
}

HF_API int execvpe(const char *file, char *const argv[], char *const envp[]) {
    if (real_execvpe == NULL) hfi_exec_start();
    int saved = errno;
    bool reported = leaving(has_report() && is_found(file));
    errno = saved;
    return stayed(reported, real_execvpe(file, argv, envp));
}

HF_API int execvp(const char *file, char *const argv[]) {
    return execvpe(file, argv, environ);
}

HF_API int fexecve(int file, char *const argv[], char *const envp[]) {
    if (real_fexecve == NULL) hfi_exec_start();
    int saved = errno;
    bool reported = leaving(has_report() && fcntl(file, F_GETFD) != -1);
    errno = saved;
    return stayed(reported, real_fexecve(file, argv, envp));
}

/* Arguments up to the terminating NULL, which is counted. */
static size_t count_arguments(va_list *list) {
    size_t count = 2; /* the one before the list, and the NULL */
    while (va_arg(*list, char *) != NULL)
        count++;
    return count;
}

static void copy_arguments(char **argv, const char *first, size_t count, va_list *list) {
    argv[0] = (char *)(uintptr_t)first;
    for (size_t i = 1; i < count; i++)
        argv[i] = va_arg(*list, char *);
}

/* The list is walked twice, once to learn how long it is. A macro, since the array must live in the
 * frame of the function that execs. */
#define ARGUMENTS(argv, rest, first)                                                               \
    va_list rest;                                                                                  \
    va_start(rest, first);                                                                         \
    size_t argv##_count = count_arguments(&rest);                                                  \
    va_end(rest);                                                                                  \
    char **argv = __builtin_alloca(argv##_count * sizeof(char *));                                 \
    va_start(rest, first);                                                                         \
    copy_arguments(argv, first, argv##_count, &rest)

HF_API int execl(const char *path, const char *first, ...) {
    ARGUMENTS(argv, rest, first);
    va_end(rest);
    return execve(path, argv, environ);
}

HF_API int execlp(const char *file, const char *first, ...) {
    ARGUMENTS(argv, rest, first);
    va_end(rest);
    return execvpe(file, argv, environ);
}

HF_API int execle(const char *path, const char *first, ...) {
    ARGUMENTS(argv, rest, first);
    char *const *envp = va_arg(rest, char *const *);
    va_end(rest);
    return execve(path, argv, envp);
}
