/* test_large.c - blocks above 1 MiB: freed to a warm zone, decaying, resized by moving pages, guarded.
 * Method      statistics, residency of pages, and addresses. */
#include <heap/large.h>
#include <signal.h>
#include <sys/wait.h>

#include "account.h"
#include "content.h"

enum { MIB = 1 << 20 };

static hf_heap *make(hf_profile profile, uint64_t large_cache) {
    hf_options options;
    hf_heap *heap;
    hf_options_init(&options);
    options.profile = profile;
    options.large_cache = large_cache;
    options.sites = HF_SITES_OFF;
    options.reclaim = HF_RECLAIM_OFF;
    CHECK_EQ(hf_heap_create(&options, "large", -1, &heap), HF_OK);
    return heap;
}

static struct hfi_large *large_of(const void *block) {
    struct hfi_owner *owner = hfi_pagemap_owner(block);
    CHECK(owner != NULL);
    CHECK_EQ(owner->kind, HFI_OWNER_LARGE);
    return (struct hfi_large *)owner;
}

/* The first page of a block, whatever stands before it. */
static char *page_of(const void *block) {
    return (char *)((uintptr_t)block & ~(uintptr_t)(HFI_PAGE - 1));
}

static void test_freed_memory_serves_other_large_blocks(void) {
    hf_heap *heap = make(HF_PROFILE_CHECKED, (uint64_t)256 * MIB);
    char *first = hf_heap_malloc(heap, 8 * MIB);
    CHECK(first != NULL);
    memset(first, 7, 8 * MIB);
    hf_heap_free(heap, first);
    CHECK_GT(hfi_os_resident(page_of(first), 8 * MIB), 0); /* still warm */
    uint64_t hits = account_stats(heap).large_cache_hits;
    char *second = hf_heap_malloc(heap, 6 * MIB);
    CHECK_PTR(second, first);
    CHECK_EQ(account_stats(heap).large_cache_hits - hits, 1);
    hf_heap_free(heap, second);
    char *zeroed = hf_heap_calloc(heap, 1, 8 * MIB);
    CHECK_PTR(zeroed, first);
    CHECK(content_zero(zeroed, 8 * MIB));
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    (void)hf_reclaim();
}

static void test_warm_memory_stays_within_large_cache(void) {
    const uint64_t limits[] = {0, 20 * MIB};
    for (int k = 0; k < 2; k++) {
        hf_heap *heap = make(HF_PROFILE_CHECKED, limits[k]);
        char *blocks[16];
        for (int i = 0; i < 16; i++) {
            blocks[i] = hf_heap_malloc(heap, 4 * MIB);
            memset(blocks[i], 1, 4 * MIB);
        }
        for (int i = 0; i < 16; i++) {
            hf_heap_free(heap, blocks[i]);
            CHECK_LE(hfi_segment_dirty(HFI_ZONE_HUGE), limits[k]);
            account_check(heap);
        }
        CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    }
}

static void test_reclaim_returns_warm_memory(void) {
    hf_heap *heap = make(HF_PROFILE_CHECKED, (uint64_t)256 * MIB);
    char *block = hf_heap_malloc(heap, 16 * MIB);
    memset(block, 1, 16 * MIB);
    uint64_t mapped = account_stats(heap).bytes_mapped;
    hf_heap_free(heap, block);
    CHECK_GE(hf_heap_reclaim(heap), 15 * MIB);
    CHECK_EQ(account_stats(heap).bytes_cached, 0);
    CHECK_LE(account_stats(heap).bytes_mapped, mapped - 16 * MIB);
    CHECK_EQ(hfi_os_resident(page_of(block), 16 * MIB), 0);
    account_check(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_realloc_grows_and_shrinks_without_losing_bytes(void) {
    for (int profile = 0; profile < 4; profile++) {
        hf_heap *heap = make((hf_profile)profile, (uint64_t)256 * MIB);
        size_t size = 2 * MIB;
        char *block = hf_heap_malloc(heap, size);
        void *in_the_way[40];
        content_fill(block, size, 1);
        for (int i = 0; i < 40; i++) {
            size_t next = i < 20 ? size + size / 4 + 123 : size - size / 5 - 77;
            if (next < 3 * MIB) next = 3 * MIB;
            in_the_way[i] = hf_heap_malloc(heap, MIB + MIB / 2);
            block = hf_heap_realloc(heap, block, next);
            CHECK(block != NULL);
            CHECK(content_whole_to(block, size, size < next ? size : next, (uint64_t)i + 1));
            if (profile != HF_PROFILE_FAST) CHECK_EQ(hf_usable_size(block), next);
            size = next;
            content_fill(block, size, (uint64_t)i + 2);
            account_check(heap);
        }
        for (int i = 0; i < 40; i++)
            hf_heap_free(heap, in_the_way[i]);
        hf_heap_free(heap, block);
        CHECK_EQ(account_stats(heap).blocks_in_use, 0);
        CHECK_EQ(account_stats(heap).large_blocks, 0);
        account_whole(heap);
        account_check(heap);
        CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    }
}

static void test_hardened_overflow_into_the_guard_faults(void) {
    hf_heap *heap = make(HF_PROFILE_HARDENED, (uint64_t)256 * MIB);
    size_t size = 3 * MIB + 1000;
    char *block = hf_heap_malloc(heap, size);
    CHECK(block != NULL);
    CHECK(large_of(block)->guarded);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        for (size_t i = 0; i < 2 * HFI_PAGE; i++)
            ((volatile char *)block)[size + i] = 1;
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    hf_heap_free(heap, block);
    account_whole(heap);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

static void test_aligned_large_blocks(void) {
    for (int profile = 0; profile < 4; profile++) {
        hf_heap *heap = make((hf_profile)profile, (uint64_t)64 * MIB);
        for (size_t alignment = 16; alignment <= 64 * MIB; alignment *= 4)
            for (int round = 0; round < 2; round++) {
                char *block = hf_heap_aligned_alloc(heap, alignment, 2 * MIB + 5);
                CHECK(block != NULL);
                CHECK_EQ((uintptr_t)block % alignment, 0);
                content_fill(block, 2 * MIB + 5, alignment);
                CHECK(content_whole(block, 2 * MIB + 5, alignment));
                hf_heap_free(heap, block);
            }
        account_whole(heap);
        account_check(heap);
        CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    }
}

static void test_list_shows_live_blocks_once_in_order(void) {
    hf_heap *heap = make(HF_PROFILE_CHECKED, 0);
    void *blocks[30];
    for (int i = 0; i < 30; i++)
        blocks[i] = hf_heap_malloc(heap, 2 * MIB);
    for (int i = 0; i < 30; i += 3)
        hf_heap_free(heap, blocks[i]);
    struct hfi_large_id found[7];
    uint64_t after = 0;
    size_t seen = 0;
    for (size_t got; (got = hfi_large_list(heap, after, found, 7)) != 0;)
        for (size_t i = 0; i < got; i++, seen++) {
            CHECK_GT(found[i].number, after);
            after = found[i].number;
            const struct hfi_large *large = hfi_large_pin(heap, found[i].base, found[i].number);
            bool known = false;
            for (int k = 0; large != NULL && k < 30; k++)
                known |= k % 3 != 0 && blocks[k] == large->payload;
            if (large != NULL) hfi_large_unpin(heap);
            CHECK(known);
        }
    CHECK_EQ(seen, 20);
    CHECK_EQ(account_stats(heap).large_blocks, 20);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
}

int main(void) {
    CHECK_WATCHDOG(90);
    CHECK_RUN(test_freed_memory_serves_other_large_blocks);
    CHECK_RUN(test_warm_memory_stays_within_large_cache);
    CHECK_RUN(test_reclaim_returns_warm_memory);
    CHECK_RUN(test_realloc_grows_and_shrinks_without_losing_bytes);
    CHECK_RUN(test_hardened_overflow_into_the_guard_faults);
    CHECK_RUN(test_aligned_large_blocks);
    CHECK_RUN(test_list_shows_live_blocks_once_in_order);
    return 0;
}
