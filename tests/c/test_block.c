/* test_block.c - the trailer tells whole from damaged, live from freed, and the size.
 * Method      every single-bit flip and many random words over every slack of some extents. */
#include <blocks/block.h>

#include "check.h"

enum { EXTENT_MAX = 4112 };
static _Alignas(16) char memory[EXTENT_MAX];
static const size_t extents[] = {16, 32, 48, 64, 128, 1024, 4112};
#define EXTENTS (sizeof extents / sizeof extents[0])

static uint64_t note_for(size_t extent, size_t size, unsigned domain) {
    return (extent - HFI_TRAILER - size) | (uint64_t)domain << HFI_DOMAIN_SHIFT;
}

static void test_seal_every_size_decodes(void) {
    for (size_t e = 0; e < EXTENTS; e++)
        for (size_t size = 0; size <= extents[e] - HFI_TRAILER; size++)
            for (unsigned domain = 0; domain < 4; domain++) {
                uint64_t note = note_for(extents[e], size, domain);
                memset(memory, 0, sizeof memory);
                hfi_block_seal(memory, extents[e], size, note);
                CHECK_EQ(hfi_block_note(memory, extents[e]), note);
                CHECK_EQ(hfi_block_size(extents[e], note), size);
                CHECK(hfi_block_note_freed(memory, extents[e]) > HFI_NOTE_MAX);
                const char *limit = hfi_block_limit(memory, extents[e], note);
                CHECK(hfi_block_pattern_whole(limit, note & HFI_SLACK_MAX));
                for (size_t i = 0; i < size; i++)
                    CHECK_EQ(memory[i], 0);
            }
}

static void test_seal_with_site_word_leaves_it_alone(void) {
    for (size_t size = 0; size <= 48; size++) {
        uint64_t note = (64 - HFI_TRAILER - HFI_SITE_WORD - size) | HFI_NOTE_SITE;
        memset(memory, 0, 64);
        hfi_block_seal(memory, 64, size, note);
        CHECK_EQ(hfi_block_note(memory, 64), note);
        CHECK_EQ(hfi_block_size(64, note), size);
        hfi_store64(hfi_block_limit(memory, 64, note), 0x1122334455667788u);
        CHECK_EQ(hfi_block_note(memory, 64), note);
        CHECK(hfi_block_pattern_whole(hfi_block_limit(memory, 64, note), note & HFI_SLACK_MAX));
    }
}

static void test_mark_freed_is_neither_live_nor_damaged(void) {
    for (size_t e = 0; e < EXTENTS; e++) {
        uint64_t note = note_for(extents[e], 5, 2);
        hfi_block_seal(memory, extents[e], 5, note);
        hfi_block_mark_freed(memory, extents[e]);
        CHECK_EQ(hfi_block_note_freed(memory, extents[e]), note);
        CHECK(hfi_block_note(memory, extents[e]) > HFI_NOTE_MAX);
    }
}

static void test_every_bit_flip_of_a_trailer_is_noticed(void) {
    for (size_t e = 0; e < EXTENTS; e++)
        for (size_t slack = 0; slack <= extents[e] - HFI_TRAILER && slack < 64; slack++)
            for (unsigned bit = 0; bit < 64; bit++)
                for (int freed = 0; freed < 2; freed++) {
                    hfi_block_seal(memory, extents[e], extents[e] - HFI_TRAILER - slack, slack);
                    if (freed) hfi_block_mark_freed(memory, extents[e]);
                    char *trailer = hfi_block_trailer(memory, extents[e]);
                    hfi_store64(trailer, hfi_load64(trailer) ^ (UINT64_C(1) << bit));
                    CHECK_SAY(hfi_block_note(memory, extents[e]) > HFI_NOTE_MAX &&
                                  hfi_block_note_freed(memory, extents[e]) > HFI_NOTE_MAX,
                              "extent %zu, slack %zu, bit %u, freed %d", extents[e], slack, bit,
                              freed);
                }
}

static void test_every_bit_flip_of_a_pattern_is_noticed(void) {
    for (size_t slack = 1; slack <= 40; slack++) {
        size_t size = 64 - HFI_TRAILER - slack;
        for (unsigned bit = 0; bit < 8 * (slack < 8 ? slack : 8); bit++) {
            hfi_block_seal(memory, 64, size, slack);
            const char *limit = hfi_block_limit(memory, 64, slack);
            CHECK(hfi_block_pattern_whole(limit, slack));
            memory[size + bit / 8] = (char)(memory[size + bit / 8] ^ (1 << bit % 8));
            CHECK_SAY(!hfi_block_pattern_whole(limit, slack), "slack %zu bit %u", slack, bit);
        }
    }
}

static void test_random_words_are_no_trailers(void) {
    check_random random = {4};
    for (int i = 0; i < 1000000; i++) {
        hfi_store64(hfi_block_trailer(memory, 64), check_random_next(&random));
        CHECK(hfi_block_note(memory, 64) > HFI_NOTE_MAX);
        CHECK(hfi_block_note_freed(memory, 64) > HFI_NOTE_MAX);
    }
}

static void test_pattern_is_no_text_and_no_byte_twice(void) {
    for (int i = 0; i < 8; i++) {
        unsigned byte = (hfi_block_pattern >> (8 * i)) & 0xff;
        CHECK_GE(byte, 0x80);
        CHECK_NE(byte, 0xff);
        for (int j = 0; j < i; j++)
            CHECK_NE(byte, (hfi_block_pattern >> (8 * j)) & 0xff);
    }
}

static void test_trailer_moved_to_another_block_is_damage(void) {
    hfi_block_seal(memory, 64, 40, 16);
    memcpy(memory + 64, memory, 64);
    CHECK(hfi_block_note(memory + 64, 64) > HFI_NOTE_MAX || hfi_block_note(memory + 64, 64) != 16);
    memcpy(memory + 2048 + 16, memory, 64);
    uint64_t note = hfi_block_note(memory + 2048 + 16, 64);
    CHECK(note != 16);
}

int main(void) {
    CHECK_WATCHDOG(60);
    hfi_block_secret_start();
    CHECK_RUN(test_seal_every_size_decodes);
    CHECK_RUN(test_seal_with_site_word_leaves_it_alone);
    CHECK_RUN(test_mark_freed_is_neither_live_nor_damaged);
    CHECK_RUN(test_every_bit_flip_of_a_trailer_is_noticed);
    CHECK_RUN(test_every_bit_flip_of_a_pattern_is_noticed);
    CHECK_RUN(test_random_words_are_no_trailers);
    CHECK_RUN(test_pattern_is_no_text_and_no_byte_twice);
    CHECK_RUN(test_trailer_moved_to_another_block_is_damage);
    return 0;
}
