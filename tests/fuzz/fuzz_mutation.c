/* fuzz_mutation.c - a program that corrupts its blocks; each corruption must be found.
 *
 *   input: options byte, size (2 bytes), sin, how far, what is written (up to 16 bytes)
 *
 * Method      a small heap of equal blocks with known content; one sin is committed; then the heap is
 *             used and walked. A sin that changed a watched byte must give a report of a kind that
 *             fits; one that changed nothing must give none; the other blocks stay whole.
 * Contract    watched: the pattern and trailer behind a live block, the first 8 bytes and the trailer of
 *             a freed small one (every byte of it in hardened), the header of a middle block. */
#include "../c/account.h"
#include "../c/content.h"

enum { BLOCKS = 24, SINS = 6 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static hf_heap *heap;
static char *blocks[BLOCKS];
static unsigned found;
static hf_report last;

static void on_report(const hf_report *report, void *context) {
    (void)context;
    found++;
    last = *report;
}

/* Writes `count` bytes; true if any of them was different before. */
static bool write_over(char *at, const uint8_t *bytes, size_t count) {
    bool changed = memcmp(at, bytes, count) != 0;
    memcpy(at, bytes, count);
    return changed;
}

static size_t draw_size(const uint8_t *data) {
    size_t size = data[0] | (size_t)data[1] << 8;
    if (size % 5 == 0) return size % 400;
    if (size % 5 == 1) return 33000 + size * 8; /* middle */
    return size % 3000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 7) return 0;
    hf_options options;
    hf_options_init(&options);
    options.profile = data[0] & 1 ? HF_PROFILE_HARDENED : HF_PROFILE_CHECKED;
    options.sites = HF_SITES_OFF;
    options.reclaim = HF_RECLAIM_OFF;
    hf_report_handler_set(on_report, NULL);
    CHECK_EQ(hf_heap_create(&options, "fuzz", -1, &heap), HF_OK);
    size_t block_size = draw_size(data + 1), how_far = data[4];
    const uint8_t *bytes = data + 5;
    size_t count = size - 5 < 16 ? size - 5 : 16;
    bool small = block_size <= 30000, hardened = data[0] & 1, expected = false;
    unsigned sin = data[3] % SINS;
    hf_report_kind also = HF_REPORT_NONE, kind = HF_REPORT_NONE;

    for (unsigned i = 0; i < BLOCKS; i++) {
        blocks[i] = hf_heap_malloc(heap, block_size);
        CHECK(blocks[i] != NULL);
        content_fill(blocks[i], block_size, i);
    }
    found = 0;
    unsigned victim = BLOCKS / 2;
    char *p = blocks[victim];
    switch (sin) {
    case 0: /* overflow, at most to the end of the trailer that is always there */
        if (count > 8) count = 8;
        expected = write_over(p + block_size, bytes, count);
        kind = HF_REPORT_OVERFLOW;
        hf_heap_free(heap, p);
        break;
    case 1: /* write after free */
        hf_heap_free(heap, p);
        if (block_size < 8 || !small) break;
        if (count > 8) count = 8;
        if (!hardened) how_far = 0;
        how_far %= block_size - 7;
        if (how_far + count > block_size) count = block_size - how_far;
        expected = write_over(p + how_far, bytes, count);
        kind = HF_REPORT_USE_AFTER_FREE;
        break;
    case 2: /* free twice */
        hf_heap_free(heap, p);
        hf_heap_free(heap, p);
        expected = true;
        kind = HF_REPORT_DOUBLE_FREE;
        break;
    case 3: /* free inside */
        if (how_far == 0 || how_far >= block_size) how_far = 0;
        hf_heap_free(heap, p + how_far);
        expected = how_far != 0;
        kind = HF_REPORT_INTERIOR_FREE;
        if (how_far != 0) hf_heap_free(heap, p);
        break;
    case 4: /* header of the middle tier */
        if (small) {
            hf_heap_free(heap, p);
            break;
        }
        if (count > 16) count = 16;
        expected = write_over(p - count, bytes, count);
        kind = HF_REPORT_UNDERFLOW;
        hf_heap_free(heap, p);
        break;
    default: /* a wild pointer */
    {
        uintptr_t wild = 0;
        memcpy(&wild, bytes, count < sizeof wild ? count : sizeof wild);
        hf_heap_free(heap, p);
        if (hf_owns((void *)wild) || wild == 0) break;
        hf_heap_free(heap, (void *)wild);
        expected = true;
        kind = HF_REPORT_INVALID_FREE;
        also = HF_REPORT_FOREIGN_FREE;
    }
    }
    hf_thread_flush();
    (void)hf_heap_check(heap, NULL);
    for (unsigned i = 0; i < BLOCKS; i++)
        if (i != victim) CHECK(content_whole(blocks[i], block_size, i));
    for (unsigned i = 0; i < 200; i++) {
        char *more = hf_heap_malloc(heap, block_size);
        CHECK(more != NULL);
        content_fill(more, block_size, 1000 + i);
        if (i % 2 == 0) hf_heap_free(heap, more);
    }
    (void)hf_heap_check(heap, NULL);
    for (unsigned i = 0; i < BLOCKS; i++)
        if (i != victim) CHECK(content_whole(blocks[i], block_size, i));
    CHECK_SAY(found == (expected ? 1 : 0), "sin %u, size %zu: %u reports", sin, block_size, found);
    if (expected)
        CHECK_SAY(last.kind == kind || last.kind == also, "sin %u, size %zu: %s instead of %s", sin,
                  block_size, hf_report_kind_name(last.kind), hf_report_kind_name(kind));
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    return 0;
}
