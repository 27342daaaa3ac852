/* test_size_class.c - from every size to its class and back.
 * Method      exhaustive: every size of the small tier, every alignment. */
#include <base/size_class.h>

#include "check.h"

static void test_class_of_every_size_is_the_smallest_that_fits(void) {
    for (size_t size = 1; size <= HFI_SMALL_MAX; size++) {
        unsigned class_index = hfi_class_of(size);
        CHECK_GT(class_index, HFI_CLASS_NONE);
        CHECK_LT(class_index, HFI_CLASS_ALIGNED);
        CHECK_GE(hfi_class_size[class_index], size);
        CHECK_LT(hfi_class_size[class_index - 1], size);
    }
}

static void test_class_waste_is_bounded(void) {
    for (size_t size = 1; size <= HFI_SMALL_MAX; size++) {
        size_t waste = hfi_class_size[hfi_class_of(size)] - size;
        CHECK_SAY(waste <= 15 || waste * 8 <= size + 128, "%zu bytes waste %zu", size, waste);
    }
}

static void test_classes_grow_and_keep_their_alignment(void) {
    for (unsigned i = 1; i < HFI_CLASS_COUNT; i++) {
        CHECK_EQ(hfi_class_size[i] % hfi_class_alignment[i], 0);
        CHECK_GE(hfi_class_alignment[i], 16);
        if (i != 1 && i != HFI_CLASS_ALIGNED) CHECK_GT(hfi_class_size[i], hfi_class_size[i - 1]);
    }
}

static void test_class_aligned_holds_size_at_alignment(void) {
    for (size_t alignment = 32; alignment <= HFI_ALIGNED_MAX; alignment *= 2)
        for (size_t size = 1; size <= HFI_ALIGNED_MAX + 1; size++) {
            unsigned class_index = hfi_class_aligned(size, alignment);
            if (size > HFI_ALIGNED_MAX) {
                CHECK_EQ(class_index, HFI_CLASS_NONE);
                continue;
            }
            CHECK_GE(class_index, HFI_CLASS_ALIGNED);
            CHECK_LT(class_index, HFI_CLASS_COUNT);
            CHECK_GE(hfi_class_size[class_index], size);
            CHECK_EQ(hfi_class_alignment[class_index] % alignment, 0);
            CHECK_SAY(hfi_class_size[class_index] == alignment ||
                          hfi_class_size[class_index] / 2 < size,
                      "%zu bytes at %zu take %u", size, alignment, hfi_class_size[class_index]);
        }
}

int main(void) {
    CHECK_WATCHDOG(30);
    CHECK_RUN(test_class_of_every_size_is_the_smallest_that_fits);
    CHECK_RUN(test_class_waste_is_bounded);
    CHECK_RUN(test_classes_grow_and_keep_their_alignment);
    CHECK_RUN(test_class_aligned_holds_size_at_alignment);
    return 0;
}
