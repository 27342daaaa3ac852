/* pool_check.h - what every test of an object pool asks: does the account add up, is all in place?
 *
 * Contract    pool_account       account_adds_up of account.h, for a pool; the view, the figures and the
 *                                statistics agree.
 *             pool_note_report   a handler: counts the reports and keeps the last.
 * Threads     at rest. */
#ifndef HF_TESTS_POOL_CHECK_H
#define HF_TESTS_POOL_CHECK_H

#include <holdfast/pool.h>

#include "account.h"

static inline hf_pool *pool_make(const hf_pool_options *options) {
    hf_pool *pool = NULL;
    CHECK_EQ(hf_pool_create(options, &pool), HF_OK);
    CHECK(pool != NULL);
    return pool;
}

static inline hf_pool *pool_bounded(size_t size, size_t capacity, hf_pool_exhausted policy) {
    hf_pool_options options;
    hf_pool_options_init(&options, size);
    options.capacity = capacity;
    options.on_exhausted = policy;
    return pool_make(&options);
}

static inline void *pool_get(hf_pool *pool) {
    void *block = NULL;
    CHECK_EQ(hf_pool_acquire(pool, &block), HF_OK);
    CHECK(block != NULL);
    return block;
}

typedef struct pool_counts {
    uint64_t states[4];
    const void *last;
} pool_counts;

static inline int pool_count(const hf_view_block *block, void *context) {
    pool_counts *counts = (pool_counts *)context;
    CHECK(block->state <= HF_BLOCK_QUARANTINED);
    CHECK((uintptr_t)block->address > (uintptr_t)counts->last);
    counts->states[block->state]++;
    counts->last = block->address;
    return 0;
}

static inline void pool_account(hf_pool *pool, uint64_t live) {
    hf_stats s = {.struct_size = sizeof s};
    hf_pool_figures f;
    pool_counts counts = {.last = NULL};
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
    CHECK_EQ(hf_pool_view(pool, pool_count, &counts), HF_OK);
    account_adds_up(&s);
    CHECK_EQ(s.blocks_in_use, live);
    CHECK_EQ(s.bytes_in_use, live * f.block_size);
    CHECK_EQ(f.blocks_live, live);
    CHECK_EQ(hf_pool_live(pool), live);
    CHECK_EQ(counts.states[HF_BLOCK_LIVE], f.blocks_live);
    CHECK_EQ(counts.states[HF_BLOCK_CACHED], f.blocks_cached);
    CHECK_EQ(counts.states[HF_BLOCK_FREE], f.blocks_free);
    CHECK_EQ(counts.states[HF_BLOCK_QUARANTINED], f.blocks_quarantined);
    CHECK_EQ(f.blocks, f.blocks_live + f.blocks_cached + f.blocks_free + f.blocks_quarantined);
    if (f.capacity != 0 && f.blocks_quarantined == 0) CHECK_LE(f.blocks, f.capacity);
}

typedef struct pool_reported {
    unsigned count;
    hf_report last;
} pool_reported;

static inline void pool_note_report(const hf_report *report, void *context) {
    pool_reported *reported = (pool_reported *)context;
    reported->count++;
    reported->last = *report;
}

#endif
