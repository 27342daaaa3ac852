/* account.h - what every test of a heap asks at the end: is everything there, and nothing else?
 *
 * Contract    account_adds_up mapped = in_use + slack + cached + free + quarantined + meta, exactly;
 *                             for the statistics of any owner. account_check asks it of a heap.
 *             account_whole   hf_heap_check finds nothing and the reports did not grow.
 *             account_blocks  the view shows exactly the blocks given, each once, with its size.
 * Threads     call them when no other thread uses the heap: the account is exact at rest. */
#ifndef HF_TESTS_ACCOUNT_H
#define HF_TESTS_ACCOUNT_H

#include <holdfast/holdfast.h>
#include <stdlib.h>

#include "check.h"

static inline hf_stats account_stats(hf_heap *heap) {
    hf_stats stats = {.struct_size = sizeof stats};
    CHECK_EQ(hf_heap_stats(heap, &stats), HF_OK);
    return stats;
}

static inline void account_adds_up(const hf_stats *s) {
    uint64_t sum = s->bytes_in_use + s->bytes_slack + s->bytes_cached + s->bytes_free +
                   s->bytes_quarantined + s->bytes_meta;
    if (sum != s->bytes_mapped)
        CHECK_FAIL("the account is off by %" PRId64 ": mapped %" PRIu64 ", in_use %" PRIu64
                   " slack %" PRIu64 " cached %" PRIu64 " free %" PRIu64 " quarantined %" PRIu64
                   " meta %" PRIu64,
                   (int64_t)(s->bytes_mapped - sum), s->bytes_mapped, s->bytes_in_use,
                   s->bytes_slack, s->bytes_cached, s->bytes_free, s->bytes_quarantined,
                   s->bytes_meta);
    CHECK_EQ(s->blocks_in_use, s->allocs - s->frees);
    CHECK_LE(s->bytes_mapped, s->bytes_mapped_peak);
}

static inline void account_check(hf_heap *heap) {
    hf_stats stats = account_stats(heap);
    account_adds_up(&stats);
}

static inline void account_whole(hf_heap *heap) {
    size_t found = 99;
    uint64_t before = hf_report_count();
    CHECK_EQ(hf_heap_check(heap, &found), HF_OK);
    CHECK_EQ(found, 0);
    CHECK_EQ(hf_report_count(), before);
}

/* A handler for tests in which nothing is to be reported: what is gets printed. */
static inline void account_print_report(const hf_report *report, void *context) {
    char text[4096];
    (void)context;
    hf_report_format(report, text, sizeof text);
    fputs(text, stderr);
}

/* A live block as the test knows it. */
typedef struct account_block {
    const void *address;
    size_t size;
} account_block;

typedef struct account_view {
    account_block *seen;
    size_t count, capacity;
    uint64_t bytes_live;
} account_view;

static inline int account_visit(const hf_view_block *block, void *context) {
    account_view *view = context;
    if (block->state != HF_BLOCK_LIVE) return 0;
    CHECK_LE(block->size, block->class_size);
    if (view->count < view->capacity)
        view->seen[view->count] = (account_block){block->address, block->size};
    view->count++;
    view->bytes_live += block->size;
    return 0;
}

static inline int account_order(const void *left, const void *right) {
    uintptr_t a = (uintptr_t)((const account_block *)left)->address;
    uintptr_t b = (uintptr_t)((const account_block *)right)->address;
    return (a > b) - (a < b);
}

/* `blocks` is sorted in place. `exact`: sizes must be equal; otherwise the view's may be larger. */
static inline void account_blocks(hf_heap *heap, account_block *blocks, size_t count, int exact) {
    account_view view = {.capacity = count + 64};
    view.seen = calloc(view.capacity, sizeof *view.seen);
    CHECK(view.seen != NULL);
    CHECK_EQ(hf_heap_view(heap, account_visit, &view), HF_OK);
    size_t shown = view.count < view.capacity ? view.count : view.capacity;
    qsort(view.seen, shown, sizeof *view.seen, account_order);
    qsort(blocks, count, sizeof *blocks, account_order);
    for (size_t i = 0; i < count && i < shown; i++) {
        CHECK_SAY(view.seen[i].address == blocks[i].address,
                  "block %zu of %zu: the view shows %p, the program holds %p", i, count,
                  view.seen[i].address, blocks[i].address);
        CHECK_SAY(exact ? view.seen[i].size == blocks[i].size : view.seen[i].size >= blocks[i].size,
                  "the view gives %p %zu bytes, the program asked for %zu", blocks[i].address,
                  view.seen[i].size, blocks[i].size);
    }
    CHECK_EQ(view.count, count);
    hf_stats stats = account_stats(heap);
    CHECK_EQ(stats.blocks_in_use, count);
    CHECK_EQ(stats.bytes_in_use, view.bytes_live);
    free(view.seen);
}

/* A heap of a profile with the other options as the environment has them not. */
static inline hf_heap *account_heap(hf_profile profile) {
    hf_options options;
    hf_heap *heap = NULL;
    hf_options_init(&options);
    options.profile = profile;
    CHECK_EQ(hf_heap_create(&options, "test", -1, &heap), HF_OK);
    CHECK(heap != NULL);
    return heap;
}

#endif
