/* test_slab.c - taking and giving equal blocks, telling where an address falls.
 * Method      exhaustive over the classes of size_class.def for the arithmetic; random programs over a
 *             byte per block for the bitmap. */
#include <base/size_class.h>
#include <blocks/slab.h>

#include "check.h"

static struct hfi_slab *make(char *base, uint16_t slices, uint32_t block_size, uint32_t lead,
                             uint32_t count) {
    struct hfi_slab *slab = calloc(1, hfi_slab_meta_size(count));
    CHECK(slab != NULL);
    hfi_slab_init(slab, base, slices, block_size, lead, count);
    CHECK(hfi_slab_check(slab));
    return slab;
}

static void test_index_of_every_address_is_its_block(void) {
    char *base = (char *)(uintptr_t)0x10000000;
    for (unsigned c = 1; c < HFI_CLASS_COUNT; c++)
        for (uint32_t lead = 0; lead <= 64; lead += 64) {
            uint16_t slices = hfi_class_size[c] > 4096 ? 8 : 1;
            uint32_t count = (uint32_t)((slices * HFI_SLICE - lead) / hfi_class_size[c]);
            if (count > HFI_SLAB_BLOCKS_MAX) count = HFI_SLAB_BLOCKS_MAX;
            struct hfi_slab *slab = make(base, slices, hfi_class_size[c], lead, count);
            for (uint32_t i = 0; i < count; i++) {
                char *block = hfi_slab_block(slab, i);
                CHECK_EQ(hfi_slab_index(slab, block), i);
                CHECK_EQ(hfi_slab_index(slab, block + 1), i);
                CHECK_EQ(hfi_slab_index(slab, block + hfi_class_size[c] / 2), i);
                CHECK_EQ(hfi_slab_index(slab, block + hfi_class_size[c] - 1), i);
            }
            if (lead != 0) CHECK_EQ(hfi_slab_index(slab, base), UINT32_MAX);
            if (lead != 0) CHECK_EQ(hfi_slab_index(slab, base + lead - 1), UINT32_MAX);
            char *end = hfi_slab_block(slab, count);
            if (end < base + slices * HFI_SLICE) {
                CHECK_EQ(hfi_slab_index(slab, end), UINT32_MAX);
                CHECK_EQ(hfi_slab_index(slab, base + slices * HFI_SLICE - 1), UINT32_MAX);
            }
            free(slab);
        }
}

static void test_take_lowest_first_until_full(void) {
    const uint32_t counts[] = {1, 2, 63, 64, 65, 127, 128, 1000, 4096};
    for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
        uint32_t count = counts[k], seen = 0;
        struct hfi_slab *slab = make((char *)(uintptr_t)0x10000, 1, 16, 0, count);
        void *blocks[7];
        for (uint32_t got; (got = hfi_slab_take(slab, blocks, 7)) != 0;)
            for (uint32_t i = 0; i < got; i++)
                CHECK_PTR(blocks[i], hfi_slab_block(slab, seen++));
        CHECK_EQ(seen, count);
        CHECK_EQ(slab->taken, count);
        CHECK_EQ(slab->fresh, count);
        CHECK(hfi_slab_check(slab));
        for (uint32_t i = 0; i < count; i++) {
            CHECK(!hfi_slab_has(slab, i));
            CHECK_EQ(hfi_slab_give(slab, i), HFI_SLAB_GIVEN);
        }
        CHECK_EQ(slab->taken, 0);
        CHECK(hfi_slab_check(slab));
        free(slab);
    }
}

static void test_lines_are_taken_where_nobody_has_a_block(void) {
    const uint32_t sizes[] = {16, 32, 48, 80};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        struct hfi_slab *slab = make((char *)(uintptr_t)0x10000, 1, sizes[k], 64, 131);
        void *taken[3], *lines[HFI_SLAB_LINES];
        CHECK_EQ(hfi_slab_take(slab, taken, 3), 3);
        CHECK_EQ(hfi_slab_give(slab, 1), HFI_SLAB_GIVEN);
        for (uint32_t round = 0; round < 31; round++) {
            CHECK_EQ(hfi_slab_take_lines(slab, lines), HFI_SLAB_LINES);
            CHECK_EQ((uintptr_t)lines[0] % 64, 0);
            for (uint32_t i = 0; i < HFI_SLAB_LINES; i++) {
                CHECK_EQ(hfi_slab_index(slab, lines[i]), 4 + 4 * round + i);
                CHECK(!hfi_slab_has(slab, 4 + 4 * round + i));
            }
            CHECK(hfi_slab_check(slab));
        }
        /* Three at the end are no line, nor are the two that are free in the first. */
        CHECK_EQ(hfi_slab_take_lines(slab, lines), 0);
        CHECK_EQ(slab->taken, 2 + 31 * 4);
        CHECK_EQ(slab->fresh, 128);
        CHECK(hfi_slab_has(slab, 1) && hfi_slab_has(slab, 3) && hfi_slab_has(slab, 130));
        free(slab);
    }
}

static void test_give_twice_is_noticed_and_changes_nothing(void) {
    struct hfi_slab *slab = make((char *)(uintptr_t)0x10000, 1, 64, 0, 100);
    void *blocks[100];
    CHECK_EQ(hfi_slab_give(slab, 5), HFI_SLAB_TWICE);
    CHECK_EQ(hfi_slab_take(slab, blocks, 100), 100);
    CHECK_EQ(hfi_slab_give(slab, 99), HFI_SLAB_GIVEN);
    CHECK_EQ(hfi_slab_give(slab, 99), HFI_SLAB_TWICE);
    CHECK_EQ(slab->taken, 99);
    CHECK(hfi_slab_check(slab));
    free(slab);
}

static void test_random_program_matches_bytes(void) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
        check_random random = {seed};
        enum { COUNT = 777 };
        static unsigned char out[COUNT];
        memset(out, 0, sizeof out);
        struct hfi_slab *slab = make((char *)(uintptr_t)0x20000, 1, 80, 16, COUNT);
        uint32_t taken = 0;
        for (int step = 0; step < 5000; step++) {
            if (check_random_below(&random, 2) == 0) {
                void *blocks[32];
                uint32_t wanted = (uint32_t)check_random_below(&random, 33);
                uint32_t got = hfi_slab_take(slab, blocks, wanted);
                CHECK(got == wanted || taken + got == COUNT);
                for (uint32_t i = 0; i < got; i++) {
                    uint32_t index = hfi_slab_index(slab, blocks[i]);
                    CHECK_SAY(out[index] == 0, "seed %" PRIu64 ": block %u handed out twice", seed,
                              index);
                    out[index] = 1;
                }
                taken += got;
            } else {
                for (int i = 0; i < 20; i++) {
                    uint32_t index = (uint32_t)check_random_below(&random, COUNT);
                    CHECK_EQ(hfi_slab_has(slab, index), !out[index]);
                    enum hfi_slab_give given = hfi_slab_give(slab, index);
                    CHECK_EQ(given, out[index] ? HFI_SLAB_GIVEN : HFI_SLAB_TWICE);
                    taken -= out[index];
                    out[index] = 0;
                }
            }
            CHECK_EQ(slab->taken, taken);
            CHECK(hfi_slab_check(slab));
        }
        free(slab);
    }
}

static void test_check_notices_a_flipped_bit(void) {
    struct hfi_slab *slab = make((char *)(uintptr_t)0x10000, 1, 64, 0, 200);
    void *blocks[150];
    CHECK_EQ(hfi_slab_take(slab, blocks, 150), 150);
    for (uint32_t bit = 0; bit < 200; bit++) {
        slab->free[bit / 64] ^= UINT64_C(1) << (bit % 64);
        CHECK_SAY(!hfi_slab_check(slab), "bit %u", bit);
        slab->free[bit / 64] ^= UINT64_C(1) << (bit % 64);
    }
    CHECK(hfi_slab_check(slab));
    free(slab);
}

/* Pages with a live block keep their content; the others read as zero. */
static void test_purge_gives_back_free_pages_only(void) {
    const uint32_t sizes[] = {16, 48, 1168, 4112, 10256, 32784};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
        for (uint64_t seed = 1; seed <= 8; seed++) {
            check_random random = {seed};
            uint16_t slices = sizes[k] > 4096 ? 8 : 1;
            size_t bytes = slices * HFI_SLICE;
            char *base = hfi_os_map(bytes);
            CHECK(base != NULL);
            uint32_t count = (uint32_t)(bytes / sizes[k]);
            struct hfi_slab *slab = make(base, slices, sizes[k], 0, count);
            void **blocks = calloc(count, sizeof *blocks);
            CHECK_EQ(hfi_slab_take(slab, blocks, count), count);
            memset(base, 0x77, bytes);
            uint64_t keep = 1 + check_random_below(&random, 300);
            for (uint32_t i = 0; i < count; i++)
                if (check_random_below(&random, keep) != 0) hfi_slab_give(slab, i);
            size_t purged = hfi_slab_purge(slab);
            CHECK_LE(purged, bytes);
            for (uint32_t i = 0; i < count; i++) {
                if (hfi_slab_has(slab, i)) continue;
                const unsigned char *b = (const unsigned char *)hfi_slab_block(slab, i);
                CHECK(b[0] == 0x77 && b[sizes[k] / 2] == 0x77 && b[sizes[k] - 1] == 0x77);
            }
            size_t zero_pages = 0;
            for (size_t page = 0; page < bytes; page += HFI_PAGE)
                zero_pages += base[page] == 0;
            CHECK_EQ(zero_pages * HFI_PAGE, purged);
            if (slab->taken == 0) CHECK_GE(purged + HFI_PAGE, (size_t)count * sizes[k]);
            free(blocks);
            free(slab);
            hfi_os_unmap(base, bytes);
        }
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_index_of_every_address_is_its_block);
    CHECK_RUN(test_take_lowest_first_until_full);
    CHECK_RUN(test_lines_are_taken_where_nobody_has_a_block);
    CHECK_RUN(test_give_twice_is_noticed_and_changes_nothing);
    CHECK_RUN(test_random_program_matches_bytes);
    CHECK_RUN(test_check_notices_a_flipped_bit);
    CHECK_RUN(test_purge_gives_back_free_pages_only);
    return 0;
}
