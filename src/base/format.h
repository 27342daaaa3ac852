/* format.h - text into a buffer, where printf cannot go.
 *
 *   hfi_writer w = hfi_writer_make(buffer, sizeof buffer);
 *   hfi_write_text(&w, "block of ");
 *   hfi_write_u64(&w, size);
 *   return hfi_writer_finish(&w);
 *
 * Invariants  begin <= at <= end; one byte behind `end` is kept for the terminator; `wanted` counts what an
 *             endless buffer would hold, as snprintf returns it; a cut text is valid UTF-8 if what
 *             was written is.
 * Threads     a writer belongs to one thread; no function here allocates, locks, reads the locale
 *             or touches errno: usable in signal handlers and before libc's constructors.
 * Fails with  nothing: what does not fit is counted and left out.
 * Called by   everything that makes text: reports, statistics, options, assertions. */
#ifndef HFI_FORMAT_H
#define HFI_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hfi_writer {
    char *begin;   /* of the buffer; NULL if there is none                  */
    char *at;      /* where the next byte goes                              */
    char *end;     /* place of the terminator if the buffer is used up      */
    size_t wanted; /* bytes written so far, those that did not fit included */
    char last;     /* last byte wanted; tells JSON where a comma is due     */
} hfi_writer;

/* `size` 0 makes a writer that only counts; `buffer` may then be NULL. */
hfi_writer hfi_writer_make(char *buffer, size_t size);
/* Terminates the text; returns the length it wanted, terminator not counted. */
size_t hfi_writer_finish(hfi_writer *writer);
/* True once something did not fit. */
bool hfi_writer_is_cut(const hfi_writer *writer);

void hfi_write_char(hfi_writer *writer, char c);
void hfi_write_bytes(hfi_writer *writer, const char *bytes, size_t size);
/* NULL is written as "(null)". */
void hfi_write_text(hfi_writer *writer, const char *text);
/* `text` with every line but the first preceded by `indent`; a final line end is dropped. */
void hfi_write_indented(hfi_writer *writer, const char *text, const char *indent);

void hfi_write_u64(hfi_writer *writer, uint64_t value);
void hfi_write_i64(hfi_writer *writer, int64_t value);
/* "0x7f12" ; `digits` pads with zeros to that many, 0 writes as many as it takes. */
void hfi_write_hex(hfi_writer *writer, uint64_t value, unsigned digits);
void hfi_write_pointer(hfi_writer *writer, const void *pointer);
/* For people: "0 bytes", "1 byte", "24 bytes", "32.0 KiB", "1.5 GiB". */
void hfi_write_size(hfi_writer *writer, uint64_t bytes);
/* numerator / denominator with `decimals` digits (at most 9), rounded to nearest; 0 if the
 * denominator is 0. */
void hfi_write_ratio(hfi_writer *writer, uint64_t numerator, uint64_t denominator,
                     unsigned decimals);
/* "41 42 43", and "ABC" with a dot for what cannot be printed. */
void hfi_write_hex_bytes(hfi_writer *writer, const uint8_t *bytes, size_t count);
void hfi_write_printable(hfi_writer *writer, const uint8_t *bytes, size_t count);

/* JSON. Values and keys put the comma themselves when one is due:
 *   hfi_json_open(&w, '{'); hfi_json_key(&w, "size"); hfi_json_u64(&w, 24); hfi_json_close(&w, '}');
 * Text that is no UTF-8 becomes U+FFFD, byte by byte; NULL becomes null. */
void hfi_json_open(hfi_writer *writer, char bracket);
void hfi_json_close(hfi_writer *writer, char bracket);
void hfi_json_key(hfi_writer *writer, const char *key);
void hfi_json_u64(hfi_writer *writer, uint64_t value);
void hfi_json_i64(hfi_writer *writer, int64_t value);
void hfi_json_bool(hfi_writer *writer, bool value);
void hfi_json_null(hfi_writer *writer);
void hfi_json_ratio(hfi_writer *writer, uint64_t numerator, uint64_t denominator,
                    unsigned decimals);
void hfi_json_text(hfi_writer *writer, const char *text);
/* A key and its value. */
void hfi_json_pair_u64(hfi_writer *writer, const char *key, uint64_t value);
void hfi_json_pair_text(hfi_writer *writer, const char *key, const char *text);
/* Addresses as text, "0x7f12": JSON numbers lose the low bits of 64. */
void hfi_json_hex(hfi_writer *writer, uint64_t value, unsigned digits);

#endif
