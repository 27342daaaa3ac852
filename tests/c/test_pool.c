/* test_pool.c - slabs of one size: states, growth, return, quarantine.
 * Method      a heap without thread caches (cache_bytes 0), so that every malloc and free reaches its
 *             pool, and the pool's own figures, read under its lock's silence. */
#include <heap/pool.h>

#include "account.h"
#include "content.h"

static hf_heap *make(hf_profile profile, uint64_t cache_bytes) {
    hf_options options;
    hf_heap *heap;
    hf_options_init(&options);
    options.profile = profile;
    options.cache_bytes = cache_bytes;
    options.reclaim = HF_RECLAIM_OFF;
    CHECK_EQ(hf_heap_create(&options, "pool", -1, &heap), HF_OK);
    return heap;
}

static struct hfi_slab *slab_of(const void *block) {
    struct hfi_owner *owner = hfi_pagemap_owner(block);
    CHECK(owner != NULL);
    CHECK_EQ(owner->kind, HFI_OWNER_SLAB);
    return (struct hfi_slab *)owner;
}

/* Everything the depot holds goes into the slabs. */
static void settle(hf_heap *heap) {
    (void)hf_heap_reclaim(heap);
}

static void test_every_class_serves_its_own_blocks(void) {
    hf_heap *heap = make(HF_PROFILE_FAST, 0);
    for (unsigned c = 1; c < HFI_CLASS_ALIGNED; c++) {
        char *block = hf_heap_malloc(heap, hfi_class_size[c]);
        CHECK(block != NULL);
        struct hfi_slab *slab = slab_of(block);
        CHECK_EQ(slab->block_size, hfi_class_size[c]);
        CHECK_EQ(slab->pool->class_index, c);
        CHECK_PTR(slab->pool->heap, heap);
        CHECK_EQ(slab->taken, 1);
        CHECK(hfi_slab_check(slab));
        hf_heap_free(heap, block);
    }
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_slab_goes_through_its_states(void) {
    hf_heap *heap = make(HF_PROFILE_CHECKED, 0);
    enum { MOST = 5000 };
    static void *blocks[MOST];
    blocks[0] = hf_heap_malloc(heap, 100);
    struct hfi_slab *slab = slab_of(blocks[0]);
    uint32_t count = slab->count;
    CHECK_LT(count, MOST);
    CHECK_EQ(slab->state, HFI_SLAB_PARTIAL);
    for (uint32_t i = 1; i < count; i++) {
        blocks[i] = hf_heap_malloc(heap, 100);
        CHECK_PTR(slab_of(blocks[i]), slab);
    }
    CHECK_EQ(slab->state, HFI_SLAB_FULL);
    CHECK_EQ(account_stats(heap).slabs_full, 1);
    blocks[count] = hf_heap_malloc(heap, 100);
    CHECK(slab_of(blocks[count]) != slab);
    hf_heap_free(heap, blocks[3]);
    settle(heap);
    CHECK_EQ(slab->state, HFI_SLAB_PARTIAL);
    CHECK_EQ(slab->taken, count - 1);
    for (uint32_t i = 0; i <= count; i++)
        if (i != 3) hf_heap_free(heap, blocks[i]);
    settle(heap);
    hf_stats stats = account_stats(heap);
    CHECK_EQ(stats.slabs_empty + stats.slabs_partial + stats.slabs_full, 0);
    CHECK_PTR(hfi_pagemap_owner(blocks[0]), NULL);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_fullest_slab_is_filled_first(void) {
    hf_heap *heap = make(HF_PROFILE_CHECKED, 0);
    enum { SLABS = 4, MOST = 8192 };
    static void *blocks[MOST];
    uint32_t n = 0;
    while (n < MOST && account_stats(heap).slabs_full < SLABS)
        blocks[n++] = hf_heap_malloc(heap, 1000);
    CHECK_LT(n, MOST);
    uint32_t per_slab = slab_of(blocks[0])->count;
    /* Slab k keeps all but 5 + 12 k of its blocks. */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = i / per_slab, at = i % per_slab;
        if (k < SLABS && at < 5 + 12 * k) {
            hf_heap_free(heap, blocks[i]);
            blocks[i] = NULL;
        }
    }
    settle(heap);
    struct hfi_slab *fullest = slab_of(blocks[per_slab - 1]);
    void *next = hf_heap_malloc(heap, 1000);
    CHECK_PTR(slab_of(next), fullest);
    hf_heap_free(heap, next);
    for (uint32_t i = 0; i < n; i++)
        hf_heap_free(heap, blocks[i]);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static int reports;
static void on_report(const hf_report *report, void *context) {
    CHECK_EQ(report->kind, HF_REPORT_OVERFLOW);
    CHECK(context == &reports);
    reports++;
}

static void test_quarantined_slab_hands_out_nothing_and_takes_nothing_back(void) {
    hf_heap *heap = make(HF_PROFILE_CHECKED, 0);
    enum { COUNT = 50, MORE = 3000 };
    static char *blocks[COUNT], *more[MORE];
    for (int i = 0; i < COUNT; i++)
        blocks[i] = hf_heap_malloc(heap, 40);
    struct hfi_slab *slab = slab_of(blocks[0]);
    hf_report_handler_set(on_report, &reports);
    reports = 0;
    blocks[7][40] = 'A';
    hf_heap_free(heap, blocks[7]);
    CHECK_EQ(reports, 1);
    CHECK_EQ(slab->state, HFI_SLAB_QUARANTINED);
    CHECK_EQ(account_stats(heap).slabs_quarantined, 1);
    account_check(heap);
    for (int i = 0; i < MORE; i++) {
        more[i] = hf_heap_malloc(heap, 40);
        CHECK(more[i] != NULL);
        CHECK(slab_of(more[i]) != slab);
    }
    for (int i = 0; i < COUNT; i++)
        if (i != 7) hf_heap_free(heap, blocks[i]); /* its live blocks may still be freed */
    for (int i = 0; i < MORE; i++)
        hf_heap_free(heap, more[i]);
    settle(heap);
    CHECK_EQ(reports, 1);
    CHECK_PTR(hfi_pagemap_owner(blocks[0]), &slab->owner);
    hf_stats stats = account_stats(heap);
    CHECK_EQ(stats.slabs_quarantined, 1);
    CHECK_GT(stats.bytes_quarantined, 0);
    account_check(heap);
    hf_report_handler_set(NULL, NULL);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_partial_slabs_give_their_free_pages_back(void) {
    hf_heap *heap = make(HF_PROFILE_CHECKED, 0);
    enum { COUNT = 2000 };
    static char *blocks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = hf_heap_malloc(heap, 2000);
        CHECK(blocks[i] != NULL);
        content_fill(blocks[i], 2000, (uint64_t)i);
    }
    for (int i = 0; i < COUNT; i++)
        if (i % 40 != 0) hf_heap_free(heap, blocks[i]);
    settle(heap);
    size_t resident = 0, slabs = 0;
    struct hfi_slab *last = NULL;
    for (int i = 0; i < COUNT; i += 40) {
        CHECK(content_whole(blocks[i], 2000, (uint64_t)i));
        struct hfi_slab *slab = slab_of(blocks[i]);
        if (slab == last) continue;
        last = slab;
        slabs++;
        resident += hfi_os_resident(slab->base, slab->slices * HFI_SLICE);
    }
    CHECK_GT(slabs, 10);
    CHECK_LT(resident, (size_t)COUNT / 40 * 4 * HFI_PAGE + slabs * HFI_PAGE);
    account_whole(heap);
    account_check(heap);
    for (int i = 0; i < COUNT; i++)
        if (i % 40 != 0) {
            blocks[i] = hf_heap_calloc(heap, 1, 2000);
            CHECK(content_zero(blocks[i], 2000));
        }
    for (int i = 0; i < COUNT; i++)
        hf_heap_free(heap, blocks[i]);
    CHECK_EQ(hf_report_count(), 1); /* the one of the test above */
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_class_stats_add_up(void) {
    hf_heap *heap = make(HF_PROFILE_CHECKED, 1 << 20);
    hf_class_stats classes[HFI_CLASS_COUNT];
    size_t count = 0;
    void *blocks[300];
    for (int i = 0; i < 300; i++)
        blocks[i] = hf_heap_malloc(heap, (size_t)i * 7);
    for (int i = 0; i < 300; i += 2)
        hf_heap_free(heap, blocks[i]);
    CHECK_EQ(hf_heap_class_stats(heap, classes, HFI_CLASS_COUNT, &count), HF_OK);
    CHECK_GT(count, 100);
    uint64_t live = 0, allocs = 0;
    for (size_t i = 0; i < count; i++)
        live += classes[i].blocks, allocs += classes[i].allocs;
    CHECK_EQ(live, 150);
    CHECK_EQ(allocs, 300);
    CHECK_EQ(account_stats(heap).small_allocs, 300);
    for (int i = 1; i < 300; i += 2)
        hf_heap_free(heap, blocks[i]);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_every_class_serves_its_own_blocks);
    CHECK_RUN(test_slab_goes_through_its_states);
    CHECK_RUN(test_fullest_slab_is_filled_first);
    CHECK_RUN(test_quarantined_slab_hands_out_nothing_and_takes_nothing_back);
    CHECK_RUN(test_partial_slabs_give_their_free_pages_back);
    CHECK_RUN(test_class_stats_add_up);
    return 0;
}
