/* test_arena_reset.c - arenas over many cycles: reset, release, decay, borrows, figures and limits.
 * Method      each test states one promise of arena.h and tries it on both sides of its borders. The
 *             decay is driven by hand, with times that have not come yet. */
#include <base/hooks.h>
#include <errno.h>
#include <holdfast/heap.h>
#include <holdfast/owner.h>
#include <os/os.h>

#include "arena_account.h"
#include "content.h"

static void test_reset_gives_the_same_memory_again(void) {
    hf_arena *arena = arena_open(NULL);
    char *first = must(hf_arena_alloc(arena, 100));
    for (int i = 0; i < 3000; i++)
        content_fill(must(hf_arena_alloc(arena, 1000)), 1000, 3);
    hf_arena_figures full = arena_figures(arena);
    CHECK_EQ(hf_arena_reset(arena), HF_OK);
    hf_arena_figures empty = arena_figures(arena);
    CHECK_EQ(empty.bytes_in_use, 0);
    CHECK_EQ(empty.bytes_usable, full.bytes_usable);
    CHECK_EQ(empty.bytes_in_use_peak, full.bytes_in_use);
    CHECK_EQ(empty.bytes_total, full.bytes_in_use);
    CHECK_GE(empty.bytes_recent, full.bytes_in_use);
    CHECK_EQ(empty.resets, 1);
    CHECK_PTR(must(hf_arena_alloc(arena, 100)), first);
    arena_close(arena);
}

static void test_reset_of_many_chunks_uses_them_again(void) {
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.reserve = 1 << 20;
    hf_arena *arena = arena_open(&options);
    uint64_t chunks = 0;
    for (int cycle = 0; cycle < 5; cycle++) {
        for (int i = 0; i < 10000; i++)
            content_fill(must(hf_arena_alloc(arena, 1000)), 1000, 1);
        if (cycle == 0) chunks = arena_figures(arena).chunks;
        CHECK_EQ(arena_figures(arena).chunks, chunks);
        arena_account(arena);
        CHECK_EQ(hf_arena_reset(arena), HF_OK);
        arena_account(arena);
    }
    arena_close(arena);
}

static void test_release_gives_memory_back(void) {
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.retain = 128 << 10;
    hf_arena *arena = arena_open(&options);
    char *block = must(hf_arena_alloc_aligned(arena, 64 << 20, 4096));
    memset(block, 1, 64 << 20);
    uint64_t before = arena_stats(arena).bytes_mapped;
    size_t resident = hfi_os_resident(block, 64 << 20);
    CHECK_GE(resident, (size_t)60 << 20);
    CHECK_EQ(hf_arena_release(arena), HF_OK);
    hf_stats after = arena_stats(arena);
    CHECK_LE(after.bytes_mapped, 300 << 10);
    CHECK_EQ(after.bytes_returned, before - after.bytes_mapped);
    CHECK_LE(hfi_os_resident((char *)block + (1 << 20), 63 << 20), 4 << 20);
    arena_account(arena);
    arena_whole(arena);
    /* What comes back is zero. */
    CHECK_EQ(hf_arena_reset(arena), HF_OK);
    char *zeroed = must(hf_arena_allocate_zeroed(arena, 8 << 20, 0));
    CHECK(content_zero(zeroed, 8 << 20));
    arena_close(arena);
}

static void test_retain_may_be_more_than_there_is(void) {
    const uint64_t all[] = {4096, 3 << 20, (uint64_t)1 << 46, UINT64_MAX - 100, UINT64_MAX};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
        options.retain = all[i];
        options.decay_ms = i % 2 == 0 ? 0 : UINT64_MAX - 1;
        hf_arena *arena = arena_open(&options);
        for (int cycle = 0; cycle < 3; cycle++) {
            content_fill(must(hf_arena_alloc(arena, 2 << 20)), 2 << 20, 1);
            uint64_t before = arena_stats(arena).bytes_mapped;
            CHECK_EQ(cycle == 0 ? hf_arena_reset(arena) : hf_arena_release(arena), HF_OK);
            (void)hfi_hooks_run(hfi_os_clock_ns(), 0);
            if (all[i] > 2 << 20) CHECK_EQ(arena_stats(arena).bytes_mapped, before);
            CHECK_LE(arena->cursor, arena->limit);
            arena_account(arena);
        }
        arena_close(arena);
    }
}

static void test_decay_gives_a_spike_back_and_keeps_what_cycles_need(void) {
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.decay_ms = 1000;
    hf_arena *arena = arena_open(&options);
    uint64_t now = hfi_os_clock_ns();
    memset(must(hf_arena_alloc(arena, 40 << 20)), 1, 40 << 20); /* the spike */
    CHECK_EQ(hf_arena_reset(arena), HF_OK);
    uint64_t spike = arena_stats(arena).bytes_mapped;
    for (int period = 1; period <= 4; period++) {
        for (int cycle = 0; cycle < 3; cycle++) {
            memset(must(hf_arena_alloc(arena, 4 << 20)), 2, 4 << 20);
            CHECK_EQ(hf_arena_reset(arena), HF_OK);
        }
        (void)hfi_hooks_run(now + (uint64_t)period * 1100000000u, 0);
        arena_account(arena);
    }
    uint64_t settled = arena_stats(arena).bytes_mapped;
    CHECK_LT(settled, spike / 4);
    CHECK_GE(settled, 4 << 20);
    CHECK_GE(arena_figures(arena).bytes_recent, 4 << 20);
    /* Nobody uses it any more: it shrinks to what is retained. */
    for (int period = 5; period <= 8; period++)
        (void)hfi_hooks_run(now + (uint64_t)period * 1100000000u, 0);
    CHECK_LE(arena_stats(arena).bytes_mapped, 300 << 10);
    /* And grows again. */
    content_fill(must(hf_arena_alloc(arena, 4 << 20)), 4 << 20, 1);
    arena_close(arena);
}

static void test_decay_leaves_live_blocks_alone(void) {
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.reserve = 1 << 20;
    hf_arena *arena = arena_open(&options);
    enum { COUNT = 5000 };
    static char *blocks[COUNT];
    uint64_t now = hfi_os_clock_ns();
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = must(hf_arena_alloc(arena, 900));
        content_fill(blocks[i], 900, i);
        if (i % 500 == 0) {
            (void)hfi_hooks_run(now + i * 1000000000u, (int)(i % 1000 == 0));
            arena_account(arena);
        }
    }
    (void)hfi_hooks_run(now, 1);
    for (size_t i = 0; i < COUNT; i++)
        CHECK(content_whole(blocks[i], 900, i));
    hf_mark unused;
    CHECK_EQ(hf_arena_mark(arena, &unused), HF_OK);
    CHECK_EQ(hf_arena_rewind(arena, &unused), HF_OK);
    CHECK_EQ(hf_arena_reset(arena), HF_OK);
    (void)hfi_hooks_run(now, 1);
    CHECK_EQ(arena_figures(arena).chunks, 1);
    arena_close(arena);
}

static void test_decay_zero_gives_back_at_each_reset(void) {
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.decay_ms = 0;
    hf_arena *arena = arena_open(&options);
    memset(must(hf_arena_alloc(arena, 10 << 20)), 1, 10 << 20);
    CHECK_EQ(hf_arena_reset(arena), HF_OK);
    CHECK_LE(arena_stats(arena).bytes_mapped, 300 << 10);
    arena_close(arena);
    options.decay_ms = HF_ARENA_NEVER;
    arena = arena_open(&options);
    memset(must(hf_arena_alloc(arena, 10 << 20)), 1, 10 << 20);
    CHECK_EQ(hf_arena_reset(arena), HF_OK);
    uint64_t now = hfi_os_clock_ns();
    for (uint64_t period = 1; period < 6; period++)
        (void)hfi_hooks_run(now + period * 10000000000u, 0);
    CHECK_GE(arena_stats(arena).bytes_mapped, 10 << 20);
    arena_close(arena);
}

static void test_zero_option_and_allocate_zeroed_give_zeros(void) {
    for (int option = 0; option < 2; option++) {
        hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
        options.zero = (uint32_t)option;
        hf_arena *arena = arena_open(&options);
        for (int cycle = 0; cycle < 4; cycle++) {
            for (size_t size = 1; size < 200000; size = size * 3 + 1) {
                char *block = option ? hf_arena_alloc(arena, size)
                                     : hf_arena_allocate_zeroed(arena, size, 64);
                CHECK_SAY(content_zero(must(block), size), "%zu bytes, cycle %d", size, cycle);
                memset(block, 0xA5, size);
                hf_mark mark;
                CHECK_EQ(hf_arena_mark(arena, &mark), HF_OK);
                memset(must(hf_arena_alloc(arena, 5000)), 0x5A, 5000);
                CHECK_EQ(hf_arena_leave(arena, &mark), HF_OK);
            }
            CHECK_EQ(hf_arena_reset(arena), HF_OK);
        }
        arena_close(arena);
    }
}

static void test_statistics_count_exactly(void) {
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.statistics = 1;
    hf_arena *arena = arena_open(&options);
    (void)must(hf_arena_alloc(arena, 10));
    (void)must(hf_arena_alloc(arena, 16));
    (void)must(hf_arena_alloc_aligned(arena, 1, 64));
    hf_arena_figures f = arena_figures(arena);
    CHECK_EQ(f.counted, 1);
    CHECK_EQ(f.blocks, 3);
    CHECK_EQ(f.bytes_in_use, 27);
    CHECK_EQ(f.bytes_in_use + f.bytes_padding, 80);
    CHECK(f.fragmentation > 0.66 && f.fragmentation < 0.67);
    hf_mark mark;
    CHECK_EQ(hf_arena_mark(arena, &mark), HF_OK);
    (void)must(hf_arena_alloc(arena, 1000));
    CHECK_EQ(hf_arena_rewind(arena, &mark), HF_OK);
    f = arena_figures(arena);
    CHECK_EQ(f.blocks, 3);
    CHECK_EQ(f.blocks_total, 4);
    CHECK_EQ(f.bytes_in_use, 27);
    CHECK_EQ(f.bytes_in_use_peak, 80 + 1008);
    CHECK_EQ(f.bytes_total, 80 + 1008);
    hf_stats s = arena_stats(arena);
    CHECK_EQ(s.allocs, 4);
    CHECK_EQ(s.frees, 1);
    arena_close(arena);
}

static int find_name(const hf_owner *owner, void *context) {
    if (owner->kind == HF_OWNER_ARENA && strcmp(owner->name, "sessions") == 0)
        *(hf_owner *)context = *owner;
    return 0;
}

static void test_owners_list_knows_the_arena(void) {
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.name = "sessions";
    hf_arena *arena = arena_open(&options);
    (void)must(hf_arena_alloc(arena, 1600));
    hf_owner owner = {.id = 0};
    CHECK_EQ(hf_owners_visit(find_name, &owner), HF_OK);
    CHECK_EQ(owner.id, hf_arena_id(arena));
    CHECK_EQ(owner.stats.bytes_in_use, 1600);
    CHECK_STR(hf_arena_name(arena), "sessions");
    arena_close(arena);
    owner.id = 0;
    CHECK_EQ(hf_owners_visit(find_name, &owner), HF_OK);
    CHECK_EQ(owner.id, 0);
}

static void test_limit_of_the_process_counts_arenas(void) {
    hf_heap *heap = hf_heap_default();
    hf_stats stats = {.struct_size = sizeof stats};
    CHECK_EQ(hf_heap_stats(heap, &stats), HF_OK);
    hf_arena *arena = arena_open(NULL);
    CHECK_EQ(hf_heap_limit(heap, stats.bytes_mapped + (8 << 20), 0, NULL, NULL), HF_OK);
    size_t served = 0;
    while (served < (64 << 20) && hf_arena_alloc(arena, 100000) != NULL)
        served += 100000;
    CHECK_LT(served, 9 << 20);
    CHECK_GE(served, 1 << 20);
    CHECK_EQ(errno, ENOMEM);
    CHECK_GT(arena_stats(arena).limit_hits, 0);
    arena_account(arena);
    CHECK_EQ(hf_heap_limit(heap, 0, 0, NULL, NULL), HF_OK);
    (void)must(hf_arena_alloc(arena, 20 << 20));
    arena_close(arena);
}

static void test_destroy_with_borrows_is_refused(void) {
    hf_arena *arena = arena_open(NULL);
    char *block = must(hf_arena_alloc(arena, 100));
    content_fill(block, 100, 1);
    uint64_t ticket = hf_arena_borrow(arena);
    CHECK_EQ(hf_arena_borrows(arena), 1);
    CHECK_EQ(hf_arena_reset(arena), HF_E_BUSY);
    CHECK_EQ(hf_arena_release(arena), HF_E_BUSY);
    CHECK_EQ(hf_arena_destroy(arena), HF_E_BUSY);
    CHECK(content_whole(block, 100, 1));
    hf_arena_give_back(arena, ticket);
    CHECK_EQ(hf_arena_reset(arena), HF_OK);
    arena_close(arena);
    CHECK_EQ(hf_arena_destroy(NULL), HF_E_INVALID);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_reset_gives_the_same_memory_again);
    CHECK_RUN(test_reset_of_many_chunks_uses_them_again);
    CHECK_RUN(test_release_gives_memory_back);
    CHECK_RUN(test_retain_may_be_more_than_there_is);
    CHECK_RUN(test_decay_gives_a_spike_back_and_keeps_what_cycles_need);
    CHECK_RUN(test_decay_leaves_live_blocks_alone);
    CHECK_RUN(test_decay_zero_gives_back_at_each_reset);
    CHECK_RUN(test_zero_option_and_allocate_zeroed_give_zeros);
    CHECK_RUN(test_statistics_count_exactly);
    CHECK_RUN(test_owners_list_knows_the_arena);
    CHECK_RUN(test_limit_of_the_process_counts_arenas);
    CHECK_RUN(test_destroy_with_borrows_is_refused);
    return 0;
}
