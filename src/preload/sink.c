/* sink.c - where a report goes as it happens: stderr for people, PID.reports for programs.
 *
 * Invariants  one report is one write to each, so reports of several threads and processes do not
 *             mix; the file only ever grows and is opened per report, so no descriptor of the
 *             program's range stays taken.
 * Threads     any, at any time, also in a vfork child; keeps no state and takes no lock. errno is
 *             preserved.
 * Fails with  nothing: a directory that is gone or full costs the report its copy there.
 * Talks to    base/format.h, interop/raise.h, os.   Called by base/report.c as hfi_report_sink. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "preload.h"

#include "interop/raise.h"
#include "os/os.h"

/* Three call sites of JSON text and the figures fit many times over. */
#define TEXT_SIZE ((size_t)16 << 10)

static size_t end_line(char *text, size_t wanted, size_t size) {
    size_t length = wanted < size ? wanted : size - 1;
    if (length > 0 && text[length - 1] == '\n') return length;
    text[length] = '\n'; /* over the terminator, which nobody reads */
    return length + 1;
}

static void report_to_file(const hf_report *report, char *text, size_t size) {
    char path[HFI_PATH_SIZE];
    if (!hfi_preload_path("reports", path)) return;
    size_t wanted = hf_report_json(report, text, size);
    if (wanted >= size) return; /* half an object is worse than none */
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
    if (file < 0) return;
    hfi_os_write(file, text, end_line(text, wanted, size));
    (void)close(file);
}

static void report_with(const hf_report *report, char *text, size_t size) {
    if (hfi_preload.stderr_usable)
        hfi_os_write(STDERR_FILENO, text,
                     end_line(text, hf_report_format(report, text, size), size));
    report_to_file(report, text, size);
}

/* When no page can be had: a short text from the stack. */
static __attribute__((noinline)) void report_from_stack(const hf_report *report) {
    char text[1024];
    report_with(report, text, sizeof text);
}

void hfi_sink_report(const hf_report *report) {
    int saved = errno;
    char *text = hfi_os_map(TEXT_SIZE);
    if (text != NULL) {
        report_with(report, text, TEXT_SIZE);
        hfi_os_unmap(text, TEXT_SIZE);
    } else {
        report_from_stack(report);
    }
    hfi_raise_ask();
    errno = saved;
}
