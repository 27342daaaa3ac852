/* format.c - text into a buffer: the plain part. format.h is the contract; json.c the other part.
 * Invariants  every byte goes through hfi_write_bytes: one place knows about the end of the buffer.
 * Threads     stateless. */
#include "format.h"

#include <string.h>

hfi_writer hfi_writer_make(char *buffer, size_t size) {
    hfi_writer writer = {NULL, NULL, NULL, 0, '\0'};
    if (buffer != NULL && size > 0) {
        writer.begin = writer.at = buffer;
        writer.end = buffer + size - 1;
    }
    return writer;
}

bool hfi_writer_is_cut(const hfi_writer *writer) {
    return writer->wanted > (size_t)(writer->end - writer->begin);
}

/* Takes an incomplete UTF-8 sequence off the end of a text that was cut. */
static void writer_trim(hfi_writer *writer) {
    char *at = writer->at;
    size_t tail = 0;
    while (tail < 3 && at > writer->begin && ((unsigned char)at[-1] & 0xC0) == 0x80)
        at--, tail++;
    if (at == writer->begin) return;
    unsigned char lead = (unsigned char)at[-1];
    size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (length > 1 && tail + 1 < length) writer->at = at - 1;
}

size_t hfi_writer_finish(hfi_writer *writer) {
    if (writer->begin != NULL) {
        if (hfi_writer_is_cut(writer)) writer_trim(writer);
        *writer->at = '\0';
    }
    return writer->wanted;
}

void hfi_write_bytes(hfi_writer *writer, const char *bytes, size_t size) {
    if (size == 0) return;
    size_t room = (size_t)(writer->end - writer->at);
    size_t fits = size < room ? size : room;
    if (fits > 0) {
        memcpy(writer->at, bytes, fits);
        writer->at += fits;
    }
    writer->wanted += size;
    writer->last = bytes[size - 1];
}

void hfi_write_char(hfi_writer *writer, char c) {
    hfi_write_bytes(writer, &c, 1);
}

void hfi_write_text(hfi_writer *writer, const char *text) {
    if (text == NULL) text = "(null)";
    hfi_write_bytes(writer, text, strlen(text));
}

void hfi_write_indented(hfi_writer *writer, const char *text, const char *indent) {
    while (*text != '\0') {
        size_t length = 0;
        while (text[length] != '\0' && text[length] != '\n')
            length++;
        hfi_write_bytes(writer, text, length);
        text += length;
        if (*text == '\n') text++;
        if (*text != '\0') {
            hfi_write_char(writer, '\n');
            hfi_write_text(writer, indent);
        }
    }
}

void hfi_write_u64(hfi_writer *writer, uint64_t value) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    hfi_write_bytes(writer, digits + at, sizeof digits - at);
}

void hfi_write_i64(hfi_writer *writer, int64_t value) {
    if (value < 0) hfi_write_char(writer, '-');
    hfi_write_u64(writer, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void hfi_write_hex(hfi_writer *writer, uint64_t value, unsigned digits) {
    char text[18] = "0x";
    size_t at = sizeof text;
    if (digits > 16) digits = 16;
    for (unsigned written = 0; written == 0 || value != 0 || written < digits; written++) {
        text[--at] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }
    text[--at] = 'x';
    text[--at] = '0';
    hfi_write_bytes(writer, text + at, sizeof text - at);
}

void hfi_write_pointer(hfi_writer *writer, const void *pointer) {
    hfi_write_hex(writer, (uint64_t)(uintptr_t)pointer, 0);
}

void hfi_write_size(hfi_writer *writer, uint64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    uint64_t scale = 1;
    /* Rounding must not print "1024.0 KiB": the next unit starts where one decimal would do that. */
    while (unit + 1 < sizeof units / sizeof *units && bytes >= scale * 1024 - scale / 20) {
        scale *= 1024;
        unit++;
    }
    if (unit == 0)
        hfi_write_u64(writer, bytes);
    else
        hfi_write_ratio(writer, bytes, scale, 1);
    hfi_write_char(writer, ' ');
    hfi_write_text(writer, bytes == 1 ? "byte" : units[unit]);
}

void hfi_write_ratio(hfi_writer *writer, uint64_t numerator, uint64_t denominator,
                     unsigned decimals) {
    if (decimals > 9) decimals = 9;
    uint64_t scale = 1;
    for (unsigned i = 0; i < decimals; i++)
        scale *= 10;
    uint64_t whole = 0;
    uint64_t part = 0;
    if (denominator != 0) {
        whole = numerator / denominator;
        unsigned __int128 rest = (unsigned __int128)(numerator % denominator) * scale;
        /* Twice the rest plus the denominator over twice the denominator is rounding to nearest. */
        part = (uint64_t)((2 * rest + denominator) / (2 * (unsigned __int128)denominator));
        if (part >= scale) {
            whole++;
            part -= scale;
        }
    }
    hfi_write_u64(writer, whole);
    if (decimals == 0) return;
    hfi_write_char(writer, '.');
    for (uint64_t digit = scale / 10; digit > 0; digit /= 10)
        hfi_write_char(writer, (char)('0' + part / digit % 10));
}

void hfi_write_hex_bytes(hfi_writer *writer, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0) hfi_write_char(writer, ' ');
        hfi_write_char(writer, "0123456789abcdef"[bytes[i] >> 4]);
        hfi_write_char(writer, "0123456789abcdef"[bytes[i] & 15]);
    }
}

void hfi_write_printable(hfi_writer *writer, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i++)
        hfi_write_char(writer, bytes[i] >= 0x20 && bytes[i] < 0x7F ? (char)bytes[i] : '.');
}
