/* report.h - reports inside the library: emitting, keeping, writing; and the call-site functions.
 *
 *   found damage --> hfi_report_emit: fill in time, thread, stack --> keep and count --> handler
 *                    --> sink (stderr, files) --> policy: go on | abort | pending for Python
 * Invariants  a report is counted once, kept once, given to the handler at most once.
 * Threads     any number may emit at the same time; nothing here locks, waits or allocates. A
 *             handler or sink in which a report arises is not called again on that thread.
 * Errno       hfi_report_emit preserves it.
 * Called by   the heap and the blocks below it, holding no locks. Public part: holdfast/report.h. */
#ifndef HFI_REPORT_H
#define HFI_REPORT_H

#include <holdfast/options.h>
#include <holdfast/report.h>

#include <stdbool.h>

#include "format.h"

/* The caller zeroes the report and fills in what it knows; the rest is done here: struct_size,
 * time_ns, thread_id, and site_noticed if it is empty. Does not return under policy `abort`. */
void hfi_report_emit(hf_report *report);

/* Where formatted reports go besides the handler; NULL is nowhere. It must not allocate. Policy
 * `abort` writes to fd 2 itself if there is none. */
typedef void (*hfi_report_sink)(const hf_report *report);
void hfi_report_sink_set(hfi_report_sink sink);
bool hfi_report_has_sink(void);

hf_policy hfi_policy(void);

/* Child of a fork: reports that other threads were keeping at that moment are given up. */
void hfi_report_fork_child(void);

/* The installed call-site functions, or 0 and "" if there are none. */
size_t hfi_site_capture_now(uintptr_t *frames, size_t capacity);
size_t hfi_site_render_to(const uintptr_t *frames, size_t count, char *buffer, size_t size);

/* One JSON object. */
void hfi_write_report(hfi_writer *writer, const hf_report *report);
/* "libc", "py_raw", "py_mem", "py_obj". */
const char *hfi_domain_name(hf_domain domain);

#endif
