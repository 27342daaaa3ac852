/* report_text.c - a report for people and as JSON. holdfast/report.h is the contract.
 *
 *   holdfast: OVERFLOW: bytes after the end of the block were overwritten
 *     block 0x7f1200000040 of 24 bytes (class 48, small, heap 1, domain libc)
 *     3 bytes past the end overwritten, from offset 24: 41 41 41  |AAA|
 *     expected 0x5a17c09be2264d31, found 0x5a17c09be2414141
 *     noticed in free on thread 4711, at:
 *       app.py:12 in main
 *     allocated at:
 *       app.py:9 in make
 *     see docs/failure-modes.md#overflow
 * Invariants  a field that is not known is left out, never shown as zero.
 * Threads     stateless; no malloc, no stdio: usable wherever a report can arise. */
#include <stdbool.h>
#include <string.h>

#include "report.h"

/* ---- names ---- */

static const struct {
    const char *name, *python, *anchor, *sentence;
} kinds[] = {
#define HF_REPORT(name, python, anchor, sentence) {#name, python, anchor, sentence},
#include <holdfast/report.def>
#undef HF_REPORT
};

static bool kind_is_known(hf_report_kind kind) {
    return (unsigned)kind < HF_REPORT_KIND_COUNT;
}

const char *hf_report_kind_name(hf_report_kind kind) {
    return kind_is_known(kind) ? kinds[kind].name : "UNKNOWN";
}

const char *hf_report_kind_sentence(hf_report_kind kind) {
    return kind_is_known(kind) ? kinds[kind].sentence : "a kind this library does not know";
}

const char *hf_report_kind_anchor(hf_report_kind kind) {
    return kind_is_known(kind) ? kinds[kind].anchor : "none";
}

const char *hfi_domain_name(hf_domain domain) {
    static const char *const names[] = {"libc", "py_raw", "py_mem", "py_obj"};
    return (unsigned)domain < sizeof names / sizeof *names ? names[domain] : "unknown";
}

/* The functions a reader would look for in the source. */
static const char *domain_functions(hf_domain domain) {
    static const char *const names[] = {"malloc and its family", "PyMem_Raw*", "PyMem_*",
                                        "PyObject_*"};
    return (unsigned)domain < sizeof names / sizeof *names ? names[domain] : "an unknown family";
}

/* ---- for people ---- */

static void write_count(hfi_writer *writer, uint64_t count, const char *noun) {
    hfi_write_u64(writer, count);
    hfi_write_char(writer, ' ');
    hfi_write_text(writer, noun);
    if (count != 1) hfi_write_char(writer, 's');
}

/* "block 0x.. of 24 bytes (class 48, small, heap 1, domain libc)" */
static void write_block(hfi_writer *writer, const hf_report *report) {
    if (report->block == NULL) return;
    hfi_write_text(writer, "  block ");
    hfi_write_pointer(writer, report->block);
    if (report->block_size > 0) {
        hfi_write_text(writer, " of ");
        write_count(writer, report->block_size, "byte");
    }
    hfi_write_text(writer, " (");
    if (report->class_size > 0) {
        hfi_write_text(writer, "class ");
        hfi_write_u64(writer, report->class_size);
        hfi_write_text(writer, ", ");
    }
    if (report->owner != NULL) {
        hfi_write_text(writer, report->owner);
        hfi_write_text(writer, ", ");
    }
    if (report->name[0] != '\0') { /* a stack: it has no domain */
        hfi_write_text(writer, report->name);
        hfi_write_text(writer, ")\n");
        return;
    }
    if (report->heap_id != 0) {
        hfi_write_text(writer, "heap ");
        hfi_write_u64(writer, report->heap_id);
        hfi_write_text(writer, ", ");
    }
    hfi_write_text(writer, "domain ");
    hfi_write_text(writer, hfi_domain_name(report->domain));
    hfi_write_text(writer, ")\n");
}

/* "pointer 0x.. is 16 bytes into the block": when it is not the block itself. */
static void write_pointer_given(hfi_writer *writer, const hf_report *report) {
    if (report->address == NULL || report->address == report->block) return;
    hfi_write_text(writer, "  pointer ");
    hfi_write_pointer(writer, report->address);
    if (report->block == NULL) {
        if (report->kind == HF_REPORT_FOREIGN_FREE && report->owner != NULL) {
            hfi_write_text(writer, " of ");
            hfi_write_text(writer, report->owner);
        }
        hfi_write_text(writer, " was given to ");
        hfi_write_text(writer, report->found_by != NULL ? report->found_by : "the heap");
    } else {
        uintptr_t address = (uintptr_t)report->address, block = (uintptr_t)report->block;
        bool inside = address > block;
        hfi_write_text(writer, " is ");
        write_count(writer, inside ? address - block : block - address, "byte");
        hfi_write_text(writer, inside ? " into the block" : " before the block");
    }
    hfi_write_char(writer, '\n');
}

/* "3 bytes past the end overwritten, from offset 24: 41 41 41  |AAA|" */
static void write_damage(hfi_writer *writer, const hf_report *report) {
    if (report->damage_length == 0) return;
    ptrdiff_t size = (ptrdiff_t)report->block_size;
    hfi_write_text(writer, "  ");
    write_count(writer, report->damage_length, "byte");
    if (report->damage_offset < 0)
        hfi_write_text(writer, " before the start");
    else if (report->kind == HF_REPORT_OVERFLOW && report->damage_offset >= size && size > 0)
        hfi_write_text(writer, " past the end");
    hfi_write_text(writer, " overwritten, from offset ");
    hfi_write_i64(writer, report->damage_offset);
    size_t count = report->bytes_count < HF_REPORT_BYTES ? report->bytes_count : HF_REPORT_BYTES;
    if (count > 0) {
        hfi_write_text(writer, ": ");
        hfi_write_hex_bytes(writer, report->bytes, count);
        if (count < report->damage_length) hfi_write_text(writer, " ...");
        hfi_write_text(writer, "  |");
        hfi_write_printable(writer, report->bytes, count);
        hfi_write_char(writer, '|');
    }
    hfi_write_char(writer, '\n');
}

static void write_contrast(hfi_writer *writer, const hf_report *report) {
    if (report->expected != report->found) {
        hfi_write_text(writer, "  expected ");
        hfi_write_hex(writer, report->expected, 16);
        hfi_write_text(writer, ", found ");
        hfi_write_hex(writer, report->found, 16);
        hfi_write_char(writer, '\n');
    }
    if (report->kind == HF_REPORT_SIZE_MISMATCH) {
        hfi_write_text(writer, "  the caller said ");
        write_count(writer, report->given_size, "byte");
        hfi_write_text(writer, ", it asked for ");
        hfi_write_u64(writer, report->block_size);
        hfi_write_char(writer, '\n');
    }
    if (report->kind == HF_REPORT_DOMAIN_MISMATCH) {
        hfi_write_text(writer, "  allocated by ");
        hfi_write_text(writer, domain_functions(report->domain));
        hfi_write_text(writer, ", freed by ");
        hfi_write_text(writer, domain_functions(report->freed_as));
        hfi_write_char(writer, '\n');
    }
}

static void write_site(hfi_writer *writer, const char *title, const char *site) {
    if (site[0] == '\0') return;
    hfi_write_text(writer, title);
    hfi_write_text(writer, "at:\n    ");
    hfi_write_indented(writer, site, "    ");
    hfi_write_char(writer, '\n');
}

static void write_noticed(hfi_writer *writer, const hf_report *report) {
    hfi_write_text(writer, "  noticed");
    if (report->found_by != NULL) {
        hfi_write_text(writer, " in ");
        hfi_write_text(writer, report->found_by);
    }
    if (report->thread_id != 0) {
        hfi_write_text(writer, " on thread ");
        hfi_write_u64(writer, report->thread_id);
    }
    if (report->site_noticed[0] == '\0')
        hfi_write_char(writer, '\n');
    else
        write_site(writer, ", ", report->site_noticed);
}

/* "fiber 'parser-17' overflowed its 64.0 KiB stack at 0x7f12, high water 64.0 KiB" */
static void write_stack(hfi_writer *writer, const hf_report *report) {
    hfi_write_text(writer, "  ");
    if (report->kind == HF_REPORT_STACK_OVERFLOW) {
        hfi_write_text(writer, report->name);
        hfi_write_text(writer, " overflowed its ");
        hfi_write_size(writer, report->block_size);
        hfi_write_text(writer, " stack at ");
        hfi_write_pointer(writer, report->address);
        hfi_write_text(writer, ", high water ");
        hfi_write_size(writer, report->high_water);
    } else {
        hfi_write_text(writer, "the guard below ");
        hfi_write_text(writer, report->name);
        hfi_write_text(writer, " was accessed at ");
        hfi_write_pointer(writer, report->address);
    }
    hfi_write_text(writer, "\n  usable from ");
    hfi_write_pointer(writer, report->block);
    hfi_write_text(writer, " to ");
    hfi_write_pointer(writer, (const char *)report->block + report->block_size);
    if (report->owner != NULL) {
        hfi_write_text(writer, ", pool '");
        hfi_write_text(writer, report->owner);
        hfi_write_char(writer, '\'');
    }
    if (report->found != 0) {
        hfi_write_text(writer, "; stack pointer of the access ");
        hfi_write_hex(writer, report->found, 0);
    }
    hfi_write_char(writer, '\n');
}

static bool is_about_a_stack(const hf_report *report) {
    return report->kind == HF_REPORT_STACK_OVERFLOW || report->kind == HF_REPORT_STACK_GUARD;
}

size_t hf_report_format(const hf_report *report, char *buffer, size_t size) {
    hfi_writer writer = hfi_writer_make(buffer, size);
    hfi_write_text(&writer, "holdfast: ");
    hfi_write_text(&writer, hf_report_kind_name(report->kind));
    hfi_write_text(&writer, ": ");
    hfi_write_text(&writer, hf_report_kind_sentence(report->kind));
    hfi_write_char(&writer, '\n');
    if (is_about_a_stack(report)) {
        write_stack(&writer, report);
    } else {
        write_block(&writer, report);
        write_pointer_given(&writer, report);
        write_damage(&writer, report);
        write_contrast(&writer, report);
    }
    write_noticed(&writer, report);
    write_site(&writer, "  allocated ", report->site_allocated);
    write_site(&writer, "  freed ", report->site_freed);
    if (report->block != NULL && report->name[0] == '\0' && report->site_allocated[0] == '\0')
        hfi_write_text(&writer,
                       "  call sites were not recorded for this block: run with --sites=all\n");
    hfi_write_text(&writer, "  see docs/failure-modes.md#");
    hfi_write_text(&writer, hf_report_kind_anchor(report->kind));
    hfi_write_char(&writer, '\n');
    return hfi_writer_finish(&writer);
}

/* ---- as JSON ---- */

static void json_address(hfi_writer *writer, const char *key, const void *address) {
    hfi_json_key(writer, key);
    if (address == NULL)
        hfi_json_null(writer);
    else
        hfi_json_hex(writer, (uint64_t)(uintptr_t)address, 0);
}

void hfi_write_report(hfi_writer *writer, const hf_report *report) {
    char quoted[3 * HF_REPORT_BYTES];
    hfi_writer bytes = hfi_writer_make(quoted, sizeof quoted);
    size_t count = report->bytes_count < HF_REPORT_BYTES ? report->bytes_count : HF_REPORT_BYTES;
    hfi_write_hex_bytes(&bytes, report->bytes, count);
    (void)hfi_writer_finish(&bytes);

    hfi_json_open(writer, '{');
    hfi_json_pair_text(writer, "kind", hf_report_kind_name(report->kind));
    hfi_json_pair_text(writer, "sentence", hf_report_kind_sentence(report->kind));
    hfi_json_pair_text(writer, "anchor", hf_report_kind_anchor(report->kind));
    hfi_json_pair_text(writer, "exception",
                       kind_is_known(report->kind) ? kinds[report->kind].python
                                                   : "CorruptionError");
    hfi_json_pair_u64(writer, "time_ns", report->time_ns);
    hfi_json_pair_u64(writer, "thread_id", report->thread_id);
    hfi_json_pair_text(writer, "found_by", report->found_by);
    json_address(writer, "address", report->address);
    json_address(writer, "block", report->block);
    hfi_json_pair_u64(writer, "block_size", report->block_size);
    hfi_json_pair_u64(writer, "class_size", report->class_size);
    hfi_json_key(writer, "damage_offset");
    hfi_json_i64(writer, report->damage_offset);
    hfi_json_pair_u64(writer, "damage_length", report->damage_length);
    hfi_json_key(writer, "expected");
    hfi_json_hex(writer, report->expected, 16);
    hfi_json_key(writer, "found");
    hfi_json_hex(writer, report->found, 16);
    hfi_json_pair_text(writer, "bytes", quoted);
    hfi_json_pair_text(writer, "domain", hfi_domain_name(report->domain));
    hfi_json_pair_text(writer, "freed_as", hfi_domain_name(report->freed_as));
    hfi_json_pair_u64(writer, "given_size", report->given_size);
    hfi_json_pair_text(writer, "owner", report->owner);
    hfi_json_pair_u64(writer, "heap_id", report->heap_id);
    hfi_json_pair_text(writer, "site_noticed", report->site_noticed);
    hfi_json_pair_text(writer, "site_allocated", report->site_allocated);
    hfi_json_pair_text(writer, "site_freed", report->site_freed);
    if (report->name[0] != '\0') {
        hfi_json_pair_text(writer, "name", report->name);
        hfi_json_pair_u64(writer, "high_water", report->high_water);
    }
    hfi_json_close(writer, '}');
}

size_t hf_report_json(const hf_report *report, char *buffer, size_t size) {
    hfi_writer writer = hfi_writer_make(buffer, size);
    hfi_write_report(&writer, report);
    return hfi_writer_finish(&writer);
}
