/* fuzz_program.c - bytes as a program of allocations, against a model.
 *
 *   input: options byte, then steps of 4 bytes: verb | slot | size low | size high
 *
 * Method      every block is filled and must stay whole; nothing may be reported; at the end the walk,
 *             the view and the account must agree with what the program holds.
 * Contract    any input is a legal program: a report, a crash or a failed check is a fault of ours. */
#include "../c/account.h"
#include "../c/content.h"

enum { SLOTS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    char *block;
    size_t size, alignment;
} slots[SLOTS];
static hf_heap *heap;

static size_t step_size(uint8_t low, uint8_t high) {
    size_t size = low | (size_t)(high & 15) << 8;
    switch (high >> 4) {
    case 15: return size << 9; /* up to 2 MiB */
    case 14:
    case 13: return size << 5; /* up to 128 KiB */
    case 12:
    case 11: return size << 3; /* up to 32 KiB */
    default: return size & 1023;
    }
}

static void keep(unsigned i, char *block, size_t size, size_t alignment) {
    CHECK(block != NULL);
    CHECK_EQ((uintptr_t)block % alignment, 0);
    CHECK_EQ(hf_usable_size(block), size);
    slots[i].block = block;
    slots[i].size = size;
    slots[i].alignment = alignment;
    content_fill(block, size, i);
}

static void drop(unsigned i, bool sized) {
    if (slots[i].block == NULL) return;
    CHECK(content_whole(slots[i].block, slots[i].size, i));
    if (sized)
        hf_free_sized(slots[i].block, slots[i].size);
    else
        hf_heap_free(heap, slots[i].block);
    slots[i].block = NULL;
}

static void step(const uint8_t *s) {
    unsigned i = s[1] % SLOTS;
    size_t size = step_size(s[2], s[3]);
    switch (s[0] % 16) {
    case 0:
    case 1: drop(i, s[0] & 16); break;
    case 2:
        if (slots[i].block == NULL) break;
        CHECK(content_whole(slots[i].block, slots[i].size, i));
        if (size == 0) size = 1;
        char *moved = hf_heap_realloc(heap, slots[i].block, size);
        CHECK(moved != NULL);
        CHECK(
            content_whole_to(moved, slots[i].size, size < slots[i].size ? size : slots[i].size, i));
        keep(i, moved, size, 16);
        break;
    case 3: {
        size_t alignment = (size_t)16 << (s[0] >> 4);
        drop(i, false);
        keep(i, hf_heap_aligned_alloc(heap, alignment, size), size, alignment);
        break;
    }
    case 4:
        drop(i, false);
        char *zeroed = hf_heap_calloc(heap, 1, size);
        CHECK(zeroed != NULL && content_zero(zeroed, size));
        keep(i, zeroed, size, 16);
        break;
    case 5:
        if (s[0] == 5) account_whole(heap);
        break;
    case 6:
        if (s[0] == 6) (void)hf_heap_reclaim(heap);
        if (s[0] == 22) hf_thread_flush();
        break;
    default: drop(i, false); keep(i, hf_heap_malloc(heap, size), size, 16);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 5) return 0;
    hf_options options;
    hf_options_init(&options);
    options.profile = HF_PROFILE_CHECKED + data[0] % 3;
    options.fit = (data[0] >> 2) % 3;
    options.cache_bytes = data[0] & 16 ? 0 : 1 << 20;
    options.decay_ms = data[0] & 32 ? 0 : 500;
    options.reclaim = data[0] & 64 ? HF_RECLAIM_SERIAL : HF_RECLAIM_OFF;
    options.reclaim_every = 16;
    CHECK_EQ(hf_heap_create(&options, "fuzz", -1, &heap), HF_OK);
    for (size_t at = 1; at + 4 <= size; at += 4)
        step(data + at);

    account_block blocks[SLOTS];
    size_t count = 0;
    for (unsigned i = 0; i < SLOTS; i++)
        if (slots[i].block != NULL)
            blocks[count++] = (account_block){slots[i].block, slots[i].size};
    account_whole(heap);
    account_blocks(heap, blocks, count, 1);
    account_check(heap);
    for (unsigned i = 0; i < SLOTS; i++)
        drop(i, false);
    account_check(heap);
    CHECK_EQ(account_stats(heap).blocks_in_use, 0);
    CHECK_EQ(hf_report_count(), 0);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    return 0;
}
