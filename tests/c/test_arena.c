/* test_arena.c - arenas: allocation, growth, limits, buffers, what is given back, options.
 * Method      each test states one promise of arena.h and tries it on both sides of its borders.
 *             What becomes of the memory, and what is told of it, is test_arena_reset.c's. */
#include <errno.h>

#include "arena_account.h"
#include "content.h"

static void test_alloc_blocks_are_aligned_disjoint_and_touch(void) {
    hf_arena *arena = arena_open(NULL);
    char *last = NULL;
    size_t last_size = 0;
    for (size_t size = 1; size < 3000; size += 7) {
        char *block = must(hf_arena_alloc(arena, size));
        CHECK_EQ((uintptr_t)block % 16, 0);
        if (last != NULL) CHECK_PTR(block, last + ((last_size + 15) & ~(size_t)15));
        content_fill(block, size, size);
        last = block;
        last_size = size;
    }
    CHECK(content_whole(last, last_size, last_size));
    arena_close(arena);
}

static void test_alloc_constant_and_variable_sizes_take_the_same_bytes(void) {
    hf_arena *arena = arena_open(NULL);
    volatile size_t eight = 8, forty = 40;
    char *a = must(hf_arena_alloc(arena, 8));
    char *b = must(hf_arena_alloc(arena, eight));
    char *c = must(hf_arena_alloc(arena, 40));
    char *d = must(hf_arena_alloc(arena, forty));
    char *e = must(hf_arena_allocate(arena, 40, 0));
    char *f = must(hf_arena_allocate(arena, 8, 8));
    CHECK_PTR(b, a + 16);
    CHECK_PTR(c, b + 16);
    CHECK_PTR(d, c + 48);
    CHECK_PTR(e, d + 48);
    CHECK_PTR(f, e + 48);
    arena_close(arena);
}

static void test_alloc_zero_size_gives_distinct_blocks(void) {
    hf_arena *arena = arena_open(NULL);
    volatile size_t nothing = 0;
    char *a = must(hf_arena_alloc(arena, 0));
    char *b = must(hf_arena_alloc(arena, nothing));
    char *c = must(hf_arena_alloc_aligned(arena, nothing, 64));
    CHECK(a != b && b != c && a != c);
    arena_close(arena);
}

static void test_alloc_aligned_every_alignment_is_aligned(void) {
    hf_arena *arena = arena_open(NULL);
    for (size_t alignment = 16; alignment <= HF_ARENA_ALIGNMENT_MAX; alignment *= 2)
        for (size_t size = 1; size < 100; size += 33) {
            char *inline_block = must(hf_arena_alloc_aligned(arena, size, alignment));
            char *block = must(hf_arena_allocate(arena, size, alignment));
            CHECK_EQ((uintptr_t)inline_block % alignment, 0);
            CHECK_EQ((uintptr_t)block % alignment, 0);
            CHECK_GE(block - inline_block, (ptrdiff_t)size);
            (void)must(hf_arena_alloc(arena, 16));
        }
    CHECK_EQ((uintptr_t)must(hf_arena_alloc_simd(arena, 100)) % 64, 0);
    CHECK_EQ((uintptr_t)must(hf_arena_allocate(arena, 3, 1)) % 16, 0);
    arena_close(arena);
}

static void test_alloc_bad_alignment_fails_with_einval(void) {
    hf_arena *arena = arena_open(NULL);
    const size_t wrong[] = {3, 24, 48, 4097, HF_ARENA_ALIGNMENT_MAX * 2, SIZE_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        errno = 0;
        CHECK(hf_arena_alloc_aligned(arena, 10, wrong[i]) == NULL);
        CHECK_EQ(errno, EINVAL);
        errno = 0;
        CHECK(hf_arena_allocate(arena, 10, wrong[i]) == NULL);
        CHECK_EQ(errno, EINVAL);
    }
    arena_close(arena);
}

static void test_alloc_huge_size_fails_with_enomem_and_leaves_the_arena(void) {
    hf_arena *arena = arena_open(NULL);
    const size_t sizes[] = {SIZE_MAX,         SIZE_MAX - 14, SIZE_MAX - 15,   SIZE_MAX - 16,
                            SIZE_MAX / 2 + 1, SIZE_MAX / 2,  (size_t)1 << 62, (size_t)1 << 47};
    char *before = must(hf_arena_alloc(arena, 16));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        errno = 0;
        CHECK_SAY(hf_arena_alloc(arena, sizes[i]) == NULL, "%zu bytes", sizes[i]);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(hf_arena_alloc_aligned(arena, sizes[i], 4096) == NULL);
        CHECK_EQ(errno, ENOMEM);
        size_t asked = 0;
        hf_arena_last_refusal(arena, &asked, NULL);
        CHECK_EQ(asked, sizes[i]);
    }
    CHECK_PTR(must(hf_arena_alloc(arena, 16)), before + 16);
    CHECK_EQ(arena_figures(arena).failures, 16);
    arena_close(arena);
}

static void test_growth_keeps_every_byte(void) {
    for (int policy = 0; policy < 3; policy++) {
        hf_arena_options options = arena_options((hf_arena_policy)policy);
        options.reserve = 1 << 20; /* many chunks */
        hf_arena *arena = arena_open(&options);
        enum { COUNT = 4000 };
        static char *blocks[COUNT];
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = i % 97 == 0 ? 300000 : 1 + i % 700;
            blocks[i] = must(hf_arena_alloc(arena, size));
            content_fill(blocks[i], size, i);
        }
        for (size_t i = 0; i < COUNT; i++)
            CHECK(content_whole(blocks[i], i % 97 == 0 ? 300000 : 1 + i % 700, i));
        CHECK_GT(arena_figures(arena).chunks, 5);
        arena_close(arena);
    }
}

static void test_capacity_larger_than_reserve_is_usable_at_once(void) {
    for (int fixed = 0; fixed < 2; fixed++) {
        hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
        options.reserve = 1 << 20;
        options.capacity = 5 << 20;
        options.limit = fixed ? options.capacity : 0;
        hf_arena *arena = arena_open(&options);
        CHECK_GE(arena_figures(arena).bytes_usable, 5 << 20);
        char *block = must(hf_arena_alloc(arena, 5 << 20));
        content_fill(block, 5 << 20, 1);
        hf_arena_figures f = arena_figures(arena);
        CHECK_EQ(f.chunks, 1);
        CHECK_LT(f.bytes_usable, (5 << 20) + 8192);
        CHECK_EQ(hf_arena_alloc(arena, 16) == NULL, fixed);
        arena_close(arena);
    }
}

static void test_block_larger_than_a_chunk_gets_one_of_its_own(void) {
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.reserve = 256 << 10;
    hf_arena *arena = arena_open(&options);
    char *small = must(hf_arena_alloc(arena, 100));
    char *large = must(hf_arena_alloc_aligned(arena, 5 << 20, 1 << 20));
    CHECK_EQ((uintptr_t)large % (1 << 20), 0);
    content_fill(small, 100, 1);
    content_fill(large, 5 << 20, 2);
    char *next = must(hf_arena_alloc(arena, 200 << 10));
    content_fill(next, 200 << 10, 3);
    CHECK(content_whole(small, 100, 1) && content_whole(large, 5 << 20, 2));
    arena_close(arena);
}

static void test_limit_serves_exactly_its_bytes_and_says_what_was_left(void) {
    for (int debug = 0; debug < 2; debug++) {
        hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
        options.limit = 4096;
        options.capacity = 4096;
        options.statistics = (uint32_t)debug;
        hf_arena *arena = arena_open(&options);
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 255; i++)
                content_fill(must(hf_arena_alloc(arena, 16)), 16, 1);
            errno = 0;
            CHECK(hf_arena_alloc(arena, 17) == NULL);
            CHECK_EQ(errno, ENOMEM);
            size_t asked = 0, left = 0;
            hf_arena_last_refusal(arena, &asked, &left);
            CHECK_EQ(asked, 17);
            CHECK_EQ(left, 16);
            CHECK_EQ(arena_figures(arena).bytes_left, 16);
            (void)must(hf_arena_alloc(arena, 16));
            CHECK(hf_arena_alloc(arena, 1) == NULL);
            hf_arena_last_refusal(arena, &asked, &left);
            CHECK_EQ(asked, 1);
            CHECK_EQ(left, 0);
            CHECK_EQ(hf_arena_reset(arena), HF_OK);
        }
        CHECK_GE(arena_stats(arena).limit_hits, 6);
        arena_close(arena);
    }
}

static void test_limit_counts_over_chunks(void) {
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.limit = 3 << 20;
    options.reserve = 1 << 20;
    hf_arena *arena = arena_open(&options);
    size_t served = 0;
    while (hf_arena_alloc(arena, 1000) != NULL)
        served += 1008;
    CHECK_LE(served, 3 << 20);
    CHECK_GE(served, (3 << 20) - 4096);
    arena_account(arena);
    CHECK_EQ(hf_arena_reset(arena), HF_OK);
    size_t again = 0;
    while (hf_arena_alloc(arena, 1000) != NULL)
        again += 1008;
    CHECK_EQ(again, served);
    arena_close(arena);
}

static void test_alignment_and_min_size_options_hold(void) {
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.alignment = 256;
    options.min_size = 100;
    hf_arena *arena = arena_open(&options);
    char *a = must(hf_arena_alloc(arena, 8)), *b = must(hf_arena_alloc(arena, 8));
    char *c = must(hf_arena_allocate(arena, 8, 16));
    CHECK_EQ((uintptr_t)a % 256, 0);
    CHECK_EQ((uintptr_t)b % 256, 0);
    CHECK_GE(c - b, 100);
    arena_close(arena);
}

static void test_bulk_fills_until_full(void) {
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.limit = options.capacity = 8192;
    hf_arena *arena = arena_open(&options);
    void *blocks[100] = {NULL};
    CHECK_EQ(hf_arena_alloc_bulk(arena, 48, 64, 100, blocks), 100);
    for (int i = 0; i < 100; i++)
        CHECK_EQ((uintptr_t)blocks[i] % 64, 0);
    errno = 0;
    CHECK_LT(hf_arena_alloc_bulk(arena, 48, 64, 100, blocks), 100);
    CHECK_EQ(errno, ENOMEM);
    arena_close(arena);
}

static void test_buffer_of_the_caller_is_used_and_not_left(void) {
    static char memory[1000 + 64];
    for (size_t shift = 0; shift < 64; shift += 7) {
        memset(memory, 0x77, sizeof memory);
        hf_arena *arena = NULL;
        CHECK_EQ(hf_arena_create_on(memory + shift, 1000, NULL, &arena), HF_OK);
        arena_account(arena);
        size_t count = 0;
        char *block;
        while ((block = hf_arena_alloc(arena, 32)) != NULL) {
            CHECK(block >= memory + shift && block + 32 <= memory + shift + 1000);
            CHECK(hf_arena_owns(arena, block));
            memset(block, 1, 32);
            count++;
        }
        CHECK_GE(count, (1000 - 128 - 126) / 32);
        arena_account(arena);
        CHECK_EQ(hf_arena_reset(arena), HF_OK);
        block = must(hf_arena_allocate_zeroed(arena, 300, 0));
        CHECK(content_zero(block, 300));
        CHECK(!hf_arena_owns(arena, &count));
        arena_close(arena);
        for (size_t i = 0; i < shift; i++)
            CHECK_EQ(memory[i], 0x77);
        for (size_t i = shift + 1000; i < sizeof memory; i++)
            CHECK_EQ(memory[i], 0x77);
    }
    hf_arena *arena = NULL;
    CHECK_EQ(hf_arena_create_on(memory, 100, NULL, &arena), HF_E_INVALID);
    CHECK_EQ(hf_arena_create_on(NULL, 1000, NULL, &arena), HF_E_INVALID);
}

static void test_buffer_with_a_larger_limit_grows_on(void) {
    static char memory[4096];
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.limit = 1 << 20;
    hf_arena *arena = NULL;
    CHECK_EQ(hf_arena_create_on(memory, sizeof memory, &options, &arena), HF_OK);
    size_t inside = 0, outside = 0;
    for (char *block; (block = hf_arena_alloc(arena, 100)) != NULL;)
        if (block >= memory && block < memory + sizeof memory)
            inside++;
        else
            outside++;
    CHECK_GE(inside, 30);
    CHECK_GE(outside * 112, (1 << 20) - 8192);
    arena_close(arena);
}

static void test_free_and_resize_of_the_youngest_block(void) {
    hf_arena *arena = arena_open(NULL);
    char *a = must(hf_arena_alloc(arena, 100)), *b = must(hf_arena_alloc(arena, 100));
    hf_arena_free(arena, a, 100); /* not the youngest */
    CHECK(hf_arena_alloc(arena, 16) == b + 112);
    hf_arena_free(arena, b + 112, 16);
    hf_arena_free(arena, b, 100);
    CHECK_PTR(must(hf_arena_alloc(arena, 50)), b);
    content_fill(b, 50, 9);
    CHECK(hf_arena_resize(arena, b, 50, 300000));
    CHECK(content_whole(b, 50, 9));
    content_fill(b, 300000, 4);
    CHECK(!hf_arena_resize(arena, a, 100, 200));
    CHECK(hf_arena_resize(arena, b, 300000, 10));
    CHECK_PTR(must(hf_arena_alloc(arena, 16)), b + 16);
    /* A block older than the youngest mark stays, or the mark would hang in the air. */
    char *c = must(hf_arena_alloc(arena, 16));
    hf_mark mark;
    CHECK_EQ(hf_arena_mark(arena, &mark), HF_OK);
    hf_arena_free(arena, c, 16);
    CHECK(!hf_arena_resize(arena, c, 16, 64));
    CHECK_PTR(must(hf_arena_alloc(arena, 16)), c + 16);
    CHECK_EQ(hf_arena_rewind(arena, &mark), HF_OK);
    hf_arena_free(arena, NULL, 5);
    arena_close(arena);
}

static void test_options_wrong_are_refused_with_a_sentence(void) {
    char why[100] = "";
    hf_arena *arena = NULL;
    hf_arena_options o = arena_options(HF_ARENA_DEFAULT);
    o.alignment = 48;
    CHECK_EQ(hf_arena_options_check(&o, why, sizeof why), HF_E_INVALID);
    CHECK(strstr(why, "alignment") != NULL);
    CHECK_EQ(hf_arena_create(&o, &arena), HF_E_INVALID);
    o = arena_options(HF_ARENA_DEFAULT);
    o.node = 1000;
    CHECK_EQ(hf_arena_create(&o, &arena), HF_E_INVALID);
    o = arena_options(HF_ARENA_DEFAULT);
    o.zero = 2;
    CHECK_EQ(hf_arena_create(&o, &arena), HF_E_INVALID);
    o = arena_options(HF_ARENA_DEFAULT);
    o.reserve = 1000;
    CHECK_EQ(hf_arena_create(&o, &arena), HF_E_INVALID);
    o = arena_options(HF_ARENA_DEFAULT);
    o.capacity = 1 << 20;
    o.limit = 1 << 10;
    CHECK_EQ(hf_arena_options_check(&o, why, 8), HF_E_CONFLICT);
    CHECK_STR(why, "capacit");
    CHECK(arena == NULL);
    for (int policy = 0; policy < 3; policy++) {
        o = arena_options((hf_arena_policy)policy);
        CHECK_EQ(hf_arena_options_check(&o, why, sizeof why), HF_OK);
        hf_arena_options made;
        arena = arena_open(&o);
        hf_arena_options_of(arena, &made);
        CHECK_EQ(made.capacity, o.capacity);
        arena_close(arena);
    }
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_alloc_blocks_are_aligned_disjoint_and_touch);
    CHECK_RUN(test_alloc_constant_and_variable_sizes_take_the_same_bytes);
    CHECK_RUN(test_alloc_zero_size_gives_distinct_blocks);
    CHECK_RUN(test_alloc_aligned_every_alignment_is_aligned);
    CHECK_RUN(test_alloc_bad_alignment_fails_with_einval);
    CHECK_RUN(test_alloc_huge_size_fails_with_enomem_and_leaves_the_arena);
    CHECK_RUN(test_growth_keeps_every_byte);
    CHECK_RUN(test_capacity_larger_than_reserve_is_usable_at_once);
    CHECK_RUN(test_block_larger_than_a_chunk_gets_one_of_its_own);
    CHECK_RUN(test_limit_serves_exactly_its_bytes_and_says_what_was_left);
    CHECK_RUN(test_limit_counts_over_chunks);
    CHECK_RUN(test_alignment_and_min_size_options_hold);
    CHECK_RUN(test_bulk_fills_until_full);
    CHECK_RUN(test_buffer_of_the_caller_is_used_and_not_left);
    CHECK_RUN(test_buffer_with_a_larger_limit_grows_on);
    CHECK_RUN(test_free_and_resize_of_the_youngest_block);
    CHECK_RUN(test_options_wrong_are_refused_with_a_sentence);
    return 0;
}
