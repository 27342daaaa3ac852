/* arena_account.h - what every test of an arena asks: does the account add up, is everything whole?
 * Contract    arena_account: account_adds_up of account.h, for an arena.
 *             arena_whole: hf_arena_check finds nothing and no report was made.
 * Threads     at rest. */
#ifndef HF_TESTS_ARENA_ACCOUNT_H
#define HF_TESTS_ARENA_ACCOUNT_H

#include <holdfast/arena.h>

#include "account.h"

static inline hf_stats arena_stats(const hf_arena *arena) {
    hf_stats stats;
    CHECK_EQ(hf_arena_stats(arena, &stats), HF_OK);
    return stats;
}

static inline hf_arena_figures arena_figures(const hf_arena *arena) {
    hf_arena_figures figures;
    CHECK_EQ(hf_arena_figures_of(arena, &figures), HF_OK);
    return figures;
}

static inline void arena_account(const hf_arena *arena) {
    hf_stats stats = arena_stats(arena);
    account_adds_up(&stats);
}

static inline void arena_whole(hf_arena *arena) {
    size_t found = 99;
    uint64_t before = hf_report_count();
    CHECK_EQ(hf_arena_check(arena, &found), HF_OK);
    CHECK_EQ(found, 0);
    CHECK_EQ(hf_report_count(), before);
}

/* A policy's options, to be changed. */
static inline hf_arena_options arena_options(hf_arena_policy policy) {
    hf_arena_options options;
    hf_arena_options_init(&options, policy);
    return options;
}

/* What was allocated; the test ends where it was refused. */
static inline void *must(void *block) {
    CHECK(block != NULL);
    return block;
}

static inline hf_arena *arena_open(const hf_arena_options *options) {
    hf_arena *arena = NULL;
    CHECK_EQ(hf_arena_create(options, &arena), HF_OK);
    CHECK(arena != NULL);
    arena_account(arena);
    return arena;
}

static inline void arena_close(hf_arena *arena) {
    arena_account(arena);
    arena_whole(arena);
    CHECK_EQ(hf_arena_destroy(arena), HF_OK);
}

#endif
