/* json.c - text into a buffer: JSON. format.h is the contract.
 * Invariants  a comma is due before a key or a value unless the last byte wanted opens a bracket or
 *             ends a key; nothing else has to be remembered, so brackets nest without a stack.
 * Threads     stateless.
 * Source      RFC 8259; well-formed UTF-8 is table 3-7 of the Unicode standard. */
#include "format.h"

static void json_separate(hfi_writer *writer) {
    char last = writer->last;
    bool due = writer->wanted > 0 && last != '{' && last != '[' && last != ':' && last != '\n';
    if (due) hfi_write_char(writer, ',');
}

/* Bytes of the well-formed UTF-8 sequence at `text`; 0 if there is none. Stops at the terminator. */
static size_t utf8_length(const unsigned char *text) {
    unsigned char lead = text[0];
    unsigned char low = 0x80, high = 0xBF; /* bounds of the second byte */
    size_t length;
    if (lead < 0x80) return 1;
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        if (lead == 0xE0) low = 0xA0;
        if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        if (lead == 0xF0) low = 0x90;
        if (lead == 0xF4) high = 0x8F;
    } else {
        return 0;
    }
    if (text[1] < low || text[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    return length;
}

static void json_string(hfi_writer *writer, const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    hfi_write_char(writer, '"');
    while (*at != '\0') {
        size_t length = utf8_length(at);
        if (length == 0) {
            hfi_write_text(writer, "\\ufffd");
            at++;
        } else if (*at == '"' || *at == '\\') {
            hfi_write_char(writer, '\\');
            hfi_write_char(writer, (char)*at++);
        } else if (*at == '\n') {
            hfi_write_text(writer, "\\n");
            at++;
        } else if (*at < 0x20 || *at == 0x7F) {
            hfi_write_text(writer, "\\u00");
            hfi_write_char(writer, "0123456789abcdef"[*at >> 4]);
            hfi_write_char(writer, "0123456789abcdef"[*at & 15]);
            at++;
        } else {
            hfi_write_bytes(writer, (const char *)at, length);
            at += length;
        }
    }
    hfi_write_char(writer, '"');
}

void hfi_json_open(hfi_writer *writer, char bracket) {
    json_separate(writer);
    hfi_write_char(writer, bracket);
}

void hfi_json_close(hfi_writer *writer, char bracket) {
    hfi_write_char(writer, bracket);
}

void hfi_json_key(hfi_writer *writer, const char *key) {
    json_separate(writer);
    json_string(writer, key);
    hfi_write_char(writer, ':');
}

void hfi_json_u64(hfi_writer *writer, uint64_t value) {
    json_separate(writer);
    hfi_write_u64(writer, value);
}

void hfi_json_i64(hfi_writer *writer, int64_t value) {
    json_separate(writer);
    hfi_write_i64(writer, value);
}

void hfi_json_bool(hfi_writer *writer, bool value) {
    json_separate(writer);
    hfi_write_text(writer, value ? "true" : "false");
}

void hfi_json_null(hfi_writer *writer) {
    json_separate(writer);
    hfi_write_text(writer, "null");
}

void hfi_json_ratio(hfi_writer *writer, uint64_t numerator, uint64_t denominator,
                    unsigned decimals) {
    json_separate(writer);
    hfi_write_ratio(writer, numerator, denominator, decimals);
}

void hfi_json_text(hfi_writer *writer, const char *text) {
    if (text == NULL) {
        hfi_json_null(writer);
        return;
    }
    json_separate(writer);
    json_string(writer, text);
}

void hfi_json_pair_u64(hfi_writer *writer, const char *key, uint64_t value) {
    hfi_json_key(writer, key);
    hfi_json_u64(writer, value);
}

void hfi_json_pair_text(hfi_writer *writer, const char *key, const char *text) {
    hfi_json_key(writer, key);
    hfi_json_text(writer, text);
}

void hfi_json_hex(hfi_writer *writer, uint64_t value, unsigned digits) {
    json_separate(writer);
    hfi_write_char(writer, '"');
    hfi_write_hex(writer, value, digits);
    hfi_write_char(writer, '"');
}
