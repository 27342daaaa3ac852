/* test_format.c - the text writer: every kind of value, cutting at every length, JSON escapes.
 * Method  results are compared with literal text or with snprintf; cutting is tried at every size. */
#include "base/format.h"

#include "check.h"

#define WRITES(expected, call)                                                                     \
    do {                                                                                           \
        char text[256];                                                                            \
        hfi_writer w = hfi_writer_make(text, sizeof text);                                         \
        call;                                                                                      \
        size_t wanted = hfi_writer_finish(&w);                                                     \
        CHECK_STR(text, expected);                                                                 \
        CHECK_EQ(wanted, strlen(expected));                                                        \
    } while (0)

static void test_integers_match_printf(void) {
    static const uint64_t values[] = {
        0,          1,         9,          10,         255,        4096,     999999999,
        UINT32_MAX, INT64_MAX, UINT64_MAX, 1000000000, 0x7fff1234, 1u << 31, UINT64_MAX - 9};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "%" PRIu64, values[i]);
        WRITES(expected, hfi_write_u64(&w, values[i]));
        snprintf(expected, sizeof expected, "%" PRId64, (int64_t)values[i]);
        WRITES(expected, hfi_write_i64(&w, (int64_t)values[i]));
        snprintf(expected, sizeof expected, "0x%" PRIx64, values[i]);
        WRITES(expected, hfi_write_hex(&w, values[i], 0));
        snprintf(expected, sizeof expected, "0x%016" PRIx64, values[i]);
        WRITES(expected, hfi_write_hex(&w, values[i], 16));
    }
    WRITES("-9223372036854775808", hfi_write_i64(&w, INT64_MIN));
}

static void test_sizes_read_well(void) {
    WRITES("0 bytes", hfi_write_size(&w, 0));
    WRITES("1 byte", hfi_write_size(&w, 1));
    WRITES("24 bytes", hfi_write_size(&w, 24));
    WRITES("1023 bytes", hfi_write_size(&w, 1023));
    WRITES("1.0 KiB", hfi_write_size(&w, 1024));
    WRITES("32.0 KiB", hfi_write_size(&w, 32768));
    WRITES("1.0 MiB", hfi_write_size(&w, 1048575)); /* never "1024.0 KiB" */
    WRITES("1.5 GiB", hfi_write_size(&w, 3ull << 29));
    WRITES("16.0 EiB", hfi_write_size(&w, UINT64_MAX));
}

static void test_ratio_rounds_to_nearest(void) {
    WRITES("0.00", hfi_write_ratio(&w, 5, 0, 2));
    WRITES("0.333", hfi_write_ratio(&w, 1, 3, 3));
    WRITES("0.667", hfi_write_ratio(&w, 2, 3, 3));
    WRITES("1.00", hfi_write_ratio(&w, 999, 1000, 2));
    WRITES("3", hfi_write_ratio(&w, 10, 4, 0)); /* 2.5 */
    WRITES("2", hfi_write_ratio(&w, 9, 4, 0));
    WRITES("1.000000000", hfi_write_ratio(&w, UINT64_MAX, UINT64_MAX, 9));
    WRITES("0.500000", hfi_write_ratio(&w, UINT64_MAX / 2, UINT64_MAX, 6));
}

static void test_cut_at_every_length_keeps_a_prefix(void) {
    static const char whole[] = "block 0x1f of -7 bytes";
    char text[64];
    for (size_t size = 0; size <= sizeof whole + 3; size++) {
        memset(text, 'x', sizeof text);
        hfi_writer w = hfi_writer_make(text, size);
        hfi_write_text(&w, "block ");
        hfi_write_hex(&w, 31, 0);
        hfi_write_text(&w, " of ");
        hfi_write_i64(&w, -7);
        hfi_write_text(&w, " bytes");
        CHECK_EQ(hfi_writer_finish(&w), sizeof whole - 1);
        CHECK_EQ(hfi_writer_is_cut(&w), size < sizeof whole);
        size_t kept = size == 0 ? 0 : size < sizeof whole ? size - 1 : sizeof whole - 1;
        CHECK_EQ(memcmp(text, whole, kept), 0);
        if (size > 0) CHECK_EQ(text[kept], '\0');
        for (size_t i = size; i < sizeof text; i++)
            CHECK_EQ(text[i], 'x');
    }
    hfi_writer none = hfi_writer_make(NULL, 10);
    hfi_write_text(&none, "abc");
    CHECK_EQ(hfi_writer_finish(&none), 3);
}

static void test_cut_never_splits_a_character(void) {
    static const char whole[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z"; /* 1, 2, 3, 4, 1 bytes */
    static const size_t kept[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11};
    for (size_t room = 0; room < sizeof kept / sizeof *kept; room++) {
        char text[16];
        hfi_writer w = hfi_writer_make(text, room + 1);
        hfi_write_text(&w, whole);
        CHECK_EQ(hfi_writer_finish(&w), sizeof whole - 1);
        CHECK_EQ(strlen(text), kept[room]);
    }
}

static void test_bytes_and_lines(void) {
    static const uint8_t bytes[] = {0x00, 0x41, 0x7e, 0x7f, 0xff};
    WRITES("00 41 7e 7f ff", hfi_write_hex_bytes(&w, bytes, 5));
    WRITES(".A~..", hfi_write_printable(&w, bytes, 5));
    WRITES("", hfi_write_hex_bytes(&w, bytes, 0));
    WRITES("(null)", hfi_write_text(&w, NULL));
    WRITES("a\n  b\n  c", hfi_write_indented(&w, "a\nb\nc\n", "  "));
    WRITES("", hfi_write_indented(&w, "", "  "));
}

static void test_json_puts_commas_where_due(void) {
    char text[256];
    hfi_writer w = hfi_writer_make(text, sizeof text);
    hfi_json_open(&w, '{');
    hfi_json_pair_u64(&w, "a", 1);
    hfi_json_key(&w, "list");
    hfi_json_open(&w, '[');
    hfi_json_open(&w, '{');
    hfi_json_close(&w, '}');
    hfi_json_open(&w, '[');
    hfi_json_close(&w, ']');
    hfi_json_i64(&w, -2);
    hfi_json_bool(&w, true);
    hfi_json_bool(&w, false);
    hfi_json_null(&w);
    hfi_json_text(&w, "{");
    hfi_json_text(&w, NULL);
    hfi_json_hex(&w, 255, 4);
    hfi_json_ratio(&w, 1, 4, 2);
    hfi_json_close(&w, ']');
    hfi_json_pair_text(&w, "z", "end:");
    hfi_json_pair_text(&w, "zz", "");
    hfi_json_close(&w, '}');
    (void)hfi_writer_finish(&w);
    CHECK_STR(text, "{\"a\":1,\"list\":[{},[],-2,true,false,null,\"{\",null,\"0x00ff\",0.25],"
                    "\"z\":\"end:\",\"zz\":\"\"}");
}

static void test_json_text_is_escaped(void) {
    WRITES("\"a\\\"b\\\\c\\nd\\u0009\\u0001\\u007f\"", hfi_json_text(&w, "a\"b\\c\nd\t\x01\x7f"));
    WRITES("\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"",
           hfi_json_text(&w, "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"));
    /* Each ill-formed byte for itself: a lone continuation, an overlong '/', a surrogate, a sequence
     * that ends early, beyond U+10FFFF. */
    WRITES("\"\\ufffd\"", hfi_json_text(&w, "\x80"));
    WRITES("\"\\ufffd\\ufffd\"", hfi_json_text(&w, "\xC0\xAF"));
    WRITES("\"\\ufffd\\ufffd\\ufffd\"", hfi_json_text(&w, "\xED\xA0\x80"));
    WRITES("\"\\ufffd\\ufffd!\"", hfi_json_text(&w, "\xE2\x82!"));
    WRITES("\"\\ufffd\\ufffd\"", hfi_json_text(&w, "\xE2\x82"));
    WRITES("\"\\ufffd\\ufffd\\ufffd\\ufffd\"", hfi_json_text(&w, "\xF4\x90\x80\x80"));
}

int main(void) {
    CHECK_WATCHDOG(30);
    CHECK_RUN(test_integers_match_printf);
    CHECK_RUN(test_sizes_read_well);
    CHECK_RUN(test_ratio_rounds_to_nearest);
    CHECK_RUN(test_cut_at_every_length_keeps_a_prefix);
    CHECK_RUN(test_cut_never_splits_a_character);
    CHECK_RUN(test_bytes_and_lines);
    CHECK_RUN(test_json_puts_commas_where_due);
    CHECK_RUN(test_json_text_is_escaped);
    return 0;
}
