/* test_middle.c - blocks of some 32 KiB to 1 MiB: headers, split, coalesce, orders, quarantine.
 * Method      addresses and statistics of a heap that serves nothing but the middle tier. */
#include <errno.h>
#include <heap/heap_state.h>
#include <heap/middle.h>
#include <sys/mman.h>

#include "account.h"
#include "content.h"

static int reports;
static hf_report_kind last_kind;
static ptrdiff_t last_offset;
static size_t last_length, last_size;

static void on_report(const hf_report *report, void *context) {
    (void)context;
    reports++;
    last_kind = report->kind;
    last_offset = report->damage_offset;
    last_length = report->damage_length;
    last_size = report->block_size;
}

static hf_heap *make(hf_fit_order order) {
    hf_options options;
    hf_heap *heap;
    hf_options_init(&options);
    options.profile = HF_PROFILE_CHECKED;
    options.fit = order;
    options.sites = HF_SITES_OFF;
    options.reclaim = HF_RECLAIM_OFF;
    CHECK_EQ(hf_heap_create(&options, "middle", -1, &heap), HF_OK);
    reports = 0;
    return heap;
}

static struct hfi_middle_pool *pool_of(const void *block) {
    struct hfi_owner *owner = hfi_pagemap_owner(block);
    CHECK(owner != NULL);
    CHECK_EQ(owner->kind, HFI_OWNER_MIDDLE);
    return (struct hfi_middle_pool *)owner;
}

static void test_every_size_is_found_by_start_only(void) {
    hf_heap *heap = make(HF_FIT_FIRST);
    for (size_t size = 33000; size <= HFI_MIDDLE_MAX - 64; size += 7919) {
        char *block = hf_heap_malloc(heap, size);
        CHECK(block != NULL);
        struct hfi_middle_pool *pool = pool_of(block);
        void *payload = NULL;
        size_t extent = 0;
        CHECK_EQ(hfi_middle_find(pool, block, &payload, &extent), HFI_MIDDLE_START);
        CHECK_PTR(payload, block);
        CHECK_GE(extent, size + HFI_TRAILER);
        CHECK_LT(extent, size + HFI_TRAILER + HFI_MIDDLE_UNIT + HFI_MIDDLE_HEADER);
        CHECK_EQ(hfi_middle_find(pool, block + 16, &payload, &extent), HFI_MIDDLE_INSIDE);
        CHECK_PTR(payload, block);
        CHECK_EQ(hfi_middle_find(pool, block + size - 1, &payload, &extent), HFI_MIDDLE_INSIDE);
        hf_heap_free(heap, block);
        CHECK_EQ(hfi_middle_find(pool, block, &payload, &extent), HFI_MIDDLE_FREE);
        CHECK(hfi_fit_check(&pool->fit));
    }
    CHECK_EQ(account_stats(heap).middle_allocs, account_stats(heap).frees);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

/* Pages of the block that have memory behind them. */
static size_t pages_touched(const char *block, size_t size) {
    unsigned char here[HFI_MIDDLE_MAX / HFI_PAGE + 2];
    uintptr_t from = (uintptr_t)block & ~(uintptr_t)(HFI_PAGE - 1);
    size_t length = (uintptr_t)block + size - from, count = 0;
    CHECK_EQ(mincore((void *)from, length, here), 0);
    for (size_t i = 0; i * HFI_PAGE < length; i++)
        count += here[i] & 1u;
    return count;
}

static bool is_zero(const char *block, size_t size) {
    return block[0] == 0 && memcmp(block, block + 1, size - 1) == 0;
}

static void test_calloc_of_memory_that_was_never_used_touches_its_ends_only(void) {
    enum { SIZE = 400000 };
    hf_heap *heap = make(HF_FIT_FIRST);
    char *first = hf_heap_calloc(heap, 1, SIZE), *second = hf_heap_calloc(heap, 1, SIZE);
    CHECK_LE(pages_touched(second, SIZE), 3);
    CHECK(is_zero(first, SIZE));
    memset(first, 'x', SIZE);
    hf_heap_free(heap, first);
    char *again = hf_heap_calloc(heap, 1, SIZE);
    CHECK_PTR(again, first);
    CHECK(is_zero(again, SIZE));
    /* What a block grew into and left again was used. */
    char *grown = hf_heap_realloc(heap, second, SIZE + 200000);
    CHECK_PTR(grown, second);
    memset(grown, 'x', SIZE + 200000);
    CHECK_PTR(hf_heap_realloc(heap, grown, SIZE), second);
    char *behind = hf_heap_calloc(heap, 1, 150000);
    CHECK(behind > second && behind < second + SIZE + 200000);
    CHECK(is_zero(behind, 150000));
    hf_heap_free(heap, behind);
    hf_heap_free(heap, again);
    hf_heap_free(heap, second);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_freed_neighbours_join_and_serve_a_bigger_block(void) {
    hf_heap *heap = make(HF_FIT_FIRST);
    char *a = hf_heap_malloc(heap, 100000), *b = hf_heap_malloc(heap, 100000);
    char *c = hf_heap_malloc(heap, 100000), *d = hf_heap_malloc(heap, 100000);
    CHECK(a < b && b < c && c < d);
    uint64_t before = account_stats(heap).coalesces;
    hf_heap_free(heap, a);
    hf_heap_free(heap, c);
    hf_heap_free(heap, b);
    CHECK_GE(account_stats(heap).coalesces - before, 2);
    CHECK_PTR(hf_heap_malloc(heap, 290000), a);
    hf_heap_free(heap, d);
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

/* The default heap keeps what was freed a moment ago, cached in the account and the views. */
static int visit_kept(const hf_view_block *block, void *context) {
    const void **kept = context;
    if (block->tier == HF_TIER_MIDDLE && block->address == *kept) {
        CHECK_EQ(block->state, HF_BLOCK_CACHED);
        *kept = NULL;
    }
    return 0;
}

static void test_default_heap_keeps_freed_blocks_for_their_size(void) {
    hf_heap *heap = hf_heap_default();
    CHECK(hfi_default_heap.keeps);
    char *a = hf_malloc(100000), *behind = hf_malloc(100000);
    CHECK(a != NULL && behind != NULL);
    hf_stats before = account_stats(heap);
    const void *kept = a;
    memset(a, 1, 100000);
    hf_free(a);
    hf_stats freed = account_stats(heap);
    CHECK_EQ(freed.frees - before.frees, 1);
    CHECK_GE(freed.bytes_cached - before.bytes_cached, 100000);
    CHECK_EQ(freed.bytes_free, before.bytes_free);
    CHECK_EQ(before.blocks_in_use - freed.blocks_in_use, 1);
    account_check(heap);
    CHECK_EQ(hf_heap_view(heap, visit_kept, &kept), HF_OK);
    CHECK(kept == NULL);
    /* About the size: the same block. Much smaller: another. */
    char *less = hf_malloc(60000);
    CHECK(less != a);
    CHECK_PTR(hf_malloc(98000), a);
    CHECK_EQ(hf_usable_size(a), 98000);
    hf_free(a);
    CHECK_PTR(hf_calloc(1, 100000), a);
    for (int i = 0; i < 100000; i++)
        CHECK_EQ(a[i], 0);
    hf_free(a);
    /* Room behind a block, or on demand: what is kept gives way. */
    hf_free(behind);
    (void)hf_reclaim();
    CHECK_LE(account_stats(heap).bytes_cached, before.bytes_cached);
    account_whole(heap);
    account_check(heap);
    hf_free(less);
}

/* Holes of 300, 100 and 200 KB in address order; what serves 90 KB tells the order. */
static void test_orders_choose_their_hole(void) {
    for (int order = 0; order < 3; order++) {
        hf_heap *heap = make((hf_fit_order)order);
        const size_t sizes[] = {300000, 40000, 100000, 40000, 200000, 40000};
        char *blocks[6];
        for (int i = 0; i < 6; i++)
            blocks[i] = hf_heap_malloc(heap, sizes[i]);
        for (int i = 0; i < 6; i += 2)
            hf_heap_free(heap, blocks[i]);
        char *got = hf_heap_malloc(heap, 90000);
        if (order == HF_FIT_FIRST) CHECK_PTR(got, blocks[0]);
        if (order == HF_FIT_BEST) CHECK_PTR(got, blocks[2]);
        if (order == HF_FIT_NEXT) CHECK(got > blocks[5] || got == blocks[0]);
        account_whole(heap);
        CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    }
}

static void test_realloc_in_place_uses_the_hole_behind(void) {
    hf_heap *heap = make(HF_FIT_FIRST);
    char *a = hf_heap_malloc(heap, 60000), *b = hf_heap_malloc(heap, 60000),
         *c = hf_heap_malloc(heap, 60000);
    content_fill(a, 60000, 5);
    hf_heap_free(heap, b);
    uint64_t before = account_stats(heap).reallocs_in_place;
    CHECK_PTR(hf_heap_realloc(heap, a, 110000), a);
    CHECK(content_whole_to(a, 60000, 60000, 5));
    CHECK_PTR(hf_heap_realloc(heap, a, 40000), a);
    CHECK_EQ(hf_usable_size(a), 40000);
    CHECK_EQ(account_stats(heap).reallocs_in_place - before, 2);
    char *moved = hf_heap_realloc(heap, c, 700000);
    CHECK(moved != NULL);
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_every_byte_of_a_header_is_watched(void) {
    hf_report_handler_set(on_report, NULL);
    for (int byte = 1; byte <= 16; byte++) {
        hf_heap *heap = make(HF_FIT_FIRST);
        char *block = hf_heap_malloc(heap, 50000);
        block[-byte] = (char)(block[-byte] ^ 0x10);
        hf_heap_free(heap, block);
        CHECK_EQ(reports, 1);
        CHECK_EQ(last_kind, HF_REPORT_UNDERFLOW);
        CHECK_EQ(last_offset, -byte);
        CHECK_EQ(last_length, 1);
        CHECK_EQ(last_size, 50000);
        CHECK_EQ(account_stats(heap).middle_pools_quarantined, 1);
        account_check(heap);
        char *next = hf_heap_malloc(heap, 50000);
        CHECK(next != NULL);
        CHECK(pool_of(next) != pool_of(block));
        CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    }
    hf_report_handler_set(NULL, NULL);
}

static void test_free_twice_reports_double_free(void) {
    hf_report_handler_set(on_report, NULL);
    hf_heap *heap = make(HF_FIT_FIRST);
    char *block = hf_heap_malloc(heap, 50000), *keep = hf_heap_malloc(heap, 50000);
    hf_heap_free(heap, block);
    hf_heap_free(heap, block);
    CHECK_EQ(reports, 1);
    CHECK_EQ(last_kind, HF_REPORT_DOUBLE_FREE);
    hf_heap_free(heap, keep);
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    hf_report_handler_set(NULL, NULL);
}

static void test_aligned_blocks_of_every_alignment(void) {
    hf_heap *heap = make(HF_FIT_FIRST);
    char *blocks[40];
    int n = 0;
    for (size_t alignment = 16; alignment <= HFI_SLICE; alignment *= 2)
        for (size_t size = 35000; size < 600000; size += 290000) {
            char *block = hf_heap_aligned_alloc(heap, alignment, size);
            CHECK(block != NULL);
            CHECK_EQ((uintptr_t)block % alignment, 0);
            CHECK_EQ(hf_usable_size(block), size);
            content_fill(block, size, (uint64_t)n);
            blocks[n++] = block;
        }
    account_whole(heap);
    for (int i = 0; i < n; i++) {
        CHECK(content_whole(blocks[i], hf_usable_size(blocks[i]), (uint64_t)i));
        hf_heap_free(heap, blocks[i]);
    }
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_free_pool_gives_its_segment_back(void) {
    hf_heap *heap = make(HF_FIT_FIRST);
    enum { COUNT = 300 };
    char *blocks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = hf_heap_malloc(heap, 100000);
        CHECK(blocks[i] != NULL);
        memset(blocks[i], 1, 100000);
    }
    uint64_t pools = account_stats(heap).middle_pools, mapped = account_stats(heap).bytes_mapped;
    CHECK_GT(pools, 1);
    for (int i = 0; i < COUNT; i++)
        hf_heap_free(heap, blocks[i]);
    (void)hf_heap_reclaim(heap);
    CHECK_EQ(account_stats(heap).middle_pools, 0);
    CHECK_LT(account_stats(heap).bytes_mapped, mapped / 4);
    CHECK_PTR(hfi_pagemap_owner(blocks[0]), NULL);
    account_check(heap);
    CHECK(hf_heap_malloc(heap, 100000) != NULL); /* a dormant pool wakes */
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

int main(int argc, char **argv) {
    (void)argc;
    CHECK_WATCHDOG(60);
    /* The tick of the decay takes what is kept: here nothing ticks. */
    if (getenv("HOLDFAST_RECLAIM") == NULL) {
        CHECK_EQ(setenv("HOLDFAST_RECLAIM", "off", 1), 0);
        CHECK_EQ(setenv("HOLDFAST_PROFILE", "checked", 1), 0);
        execv("/proc/self/exe", argv);
        CHECK_SAY(false, "exec: %s", strerror(errno));
    }
    /* First: memory that another heap gave back is not new. */
    CHECK_RUN(test_calloc_of_memory_that_was_never_used_touches_its_ends_only);
    CHECK_RUN(test_every_size_is_found_by_start_only);
    CHECK_RUN(test_freed_neighbours_join_and_serve_a_bigger_block);
    CHECK_RUN(test_default_heap_keeps_freed_blocks_for_their_size);
    CHECK_RUN(test_orders_choose_their_hole);
    CHECK_RUN(test_realloc_in_place_uses_the_hole_behind);
    CHECK_RUN(test_every_byte_of_a_header_is_watched);
    CHECK_RUN(test_free_twice_reports_double_free);
    CHECK_RUN(test_aligned_blocks_of_every_alignment);
    CHECK_RUN(test_free_pool_gives_its_segment_back);
    return 0;
}
