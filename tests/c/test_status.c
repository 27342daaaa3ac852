/* test_status.c - every status has its own name and sentence; a number that is none has both too.
 * Method  status.def is expanded once more and compared row by row. */
#include <holdfast/status.h>

#include "check.h"

static const struct {
    hf_status status;
    const char *name, *sentence;
} rows[] = {
#define HF_STATUS(name, value, python, sentence) {(hf_status)(value), "HF_" #name, sentence},
#include <holdfast/status.def>
#undef HF_STATUS
};

enum { ROWS = sizeof rows / sizeof *rows };

static void test_names_and_sentences_match_the_table(void) {
    for (size_t i = 0; i < ROWS; i++) {
        CHECK_STR(hf_status_name(rows[i].status), rows[i].name);
        CHECK_STR(hf_status_text(rows[i].status), rows[i].sentence);
        CHECK_GT(strlen(rows[i].sentence), 0);
    }
}

static void test_values_are_distinct_and_errors_negative(void) {
    CHECK_EQ(HF_OK, 0);
    for (size_t i = 0; i < ROWS; i++) {
        CHECK_EQ(rows[i].status < 0, rows[i].status != HF_OK);
        for (size_t j = 0; j < i; j++)
            CHECK_NE(rows[i].status, rows[j].status);
    }
}

static void test_unknown_status_is_named_unknown(void) {
    CHECK_STR(hf_status_name((hf_status)-1000), "HF_E_UNKNOWN");
    CHECK_STR(hf_status_name((hf_status)1), "HF_E_UNKNOWN");
    CHECK(strlen(hf_status_text((hf_status)-1000)) > 0);
}

int main(void) {
    CHECK_WATCHDOG(10);
    CHECK_RUN(test_names_and_sentences_match_the_table);
    CHECK_RUN(test_values_are_distinct_and_errors_negative);
    CHECK_RUN(test_unknown_status_is_named_unknown);
    return 0;
}
