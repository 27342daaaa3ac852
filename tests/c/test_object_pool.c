/* test_object_pool.c - public object pools: geometry, options, misuse, content, memory, refusals.
 * Method      every condition of pool.h by itself; the account and the view are checked after each.
 *             Pools that are exhausted, threads and fork are in test_object_pool_threads.c, waiting and
 *             races of many threads in tests/stress/stress_pool.c, random programs in
 *             tests/property/test_pool_programs.c. */
#include <holdfast/owner.h>
#include <os/os.h>

#include "pool_check.h"

static pool_reported reported;

static void expect_report(hf_report_kind kind, unsigned count) {
    CHECK_EQ(reported.count, count);
    CHECK_EQ(reported.last.kind, kind);
    reported.count = 0;
}

/* --- making --------------------------------------------------------------------------------- */

static void test_blocks_of_any_size_are_aligned_disjoint_and_usable(void) {
    static const size_t sizes[] = {1,    2,    3,    7,     8,      12,     16,      24,     48,
                                   100,  520,  1000, 1040,  4095,   4096,   5000,    40000,  65537,
                                   4097, 8200, 64,   99999, 131072, 262145, 1048575, 1048576};
    static const size_t alignments[] = {0, 1, 2, 8, 16, 64, 512, 4096};
    enum { COUNT = 40 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof alignments / sizeof *alignments; k++) {
            hf_pool_options options;
            hf_pool_options_init(&options, sizes[i]);
            options.alignment = alignments[k];
            hf_pool *pool = pool_make(&options);
            size_t alignment = alignments[k] != 0 ? alignments[k] : sizes[i] >= 16 ? 16 : 1;
            unsigned char *blocks[COUNT];
            for (int b = 0; b < COUNT; b++) {
                blocks[b] = pool_get(pool);
                CHECK_EQ((uintptr_t)blocks[b] % alignment, 0);
                CHECK_EQ(hf_pool_state(pool, blocks[b]), HF_BLOCK_LIVE);
                CHECK(hf_pool_owns(pool, blocks[b]));
                CHECK(hf_pool_owns(pool, blocks[b] + sizes[i] - 1));
                memset(blocks[b], b + 1, sizes[i]);
            }
            for (int b = 0; b < COUNT; b++)
                for (size_t at = 0; at<sizes[i]; at += sizes[i]> 64 ? sizes[i] - 1 : 1)
                    CHECK_EQ(blocks[b][at], b + 1);
            hf_pool_figures f;
            CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
            CHECK_EQ(f.block_size, sizes[i]);
            size_t tight = (sizes[i] + alignment - 1) / alignment * alignment;
            CHECK_LE(f.stride, tight + tight / 16 + 16);
            pool_account(pool, COUNT);
            for (int b = 0; b < COUNT; b++)
                CHECK_EQ(hf_pool_release(pool, blocks[b]), HF_OK);
            pool_account(pool, 0);
            CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
            CHECK_EQ(hf_pool_destroy(pool), HF_OK);
        }
}

static void test_options_out_of_range_are_refused(void) {
    hf_pool *pool = NULL;
    hf_pool_options good, o;
    hf_pool_options_init(&good, 64);
#define REFUSED(field, value, status)                                                              \
    do {                                                                                           \
        o = good;                                                                                  \
        o.field = value;                                                                           \
        CHECK_EQ(hf_pool_create(&o, &pool), status);                                               \
        CHECK_PTR(pool, NULL);                                                                     \
    } while (0)
    REFUSED(struct_size, 3, HF_E_INVALID);
    REFUSED(block_size, 0, HF_E_INVALID);
    REFUSED(block_size, HF_POOL_BLOCK_MAX + 1, HF_E_INVALID);
    REFUSED(alignment, 3, HF_E_INVALID);
    REFUSED(alignment, 8192, HF_E_INVALID);
    REFUSED(on_exhausted, 3, HF_E_INVALID);
    REFUSED(sanitize, 3, HF_E_INVALID);
    REFUSED(capacity, UINT64_MAX, HF_E_INVALID);
    REFUSED(node, -2, HF_E_INVALID);
    REFUSED(node, 4096, HF_E_INVALID);
    REFUSED(on_exhausted, HF_POOL_FAIL, HF_E_CONFLICT);
    REFUSED(on_exhausted, HF_POOL_WAIT, HF_E_CONFLICT);
    CHECK_EQ(hf_pool_create(NULL, &pool), HF_E_INVALID);
    CHECK_EQ(hf_pool_create(&good, NULL), HF_E_INVALID);
}

static int find_owner(const hf_owner *owner, void *context) {
    hf_owner *found = context;
    if (owner->kind != HF_OWNER_POOL || owner->id != found->id) return 0;
    *found = *owner;
    return 1;
}

static void test_pool_is_among_the_owners(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 100);
    options.name = "particles of a name that is longer than 31 bytes";
    hf_pool *pool = pool_make(&options);
    void *block = pool_get(pool);
    hf_owner owner = {.id = hf_pool_id(pool)};
    CHECK_EQ(hf_owners_visit(find_owner, &owner), HF_OK);
    CHECK_STR(owner.name, "particles of a name that is lon");
    CHECK_STR(hf_pool_name(pool), owner.name);
    CHECK_EQ(owner.stats.blocks_in_use, 1);
    CHECK_EQ(owner.stats.bytes_in_use, 100);
    CHECK_EQ(hf_pool_release(pool, block), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
    hf_owner gone = {.id = owner.id};
    CHECK_EQ(hf_owners_visit(find_owner, &gone), HF_OK);
    CHECK_EQ(gone.stats.struct_size, 0);
}

static void test_destroy_with_blocks_out_is_busy(void) {
    hf_pool *pool = pool_bounded(64, 8, HF_POOL_FAIL);
    void *blocks[3] = {pool_get(pool), pool_get(pool), pool_get(pool)};
    CHECK_EQ(hf_pool_destroy(pool), HF_E_BUSY);
    CHECK_EQ(hf_pool_live(pool), 3);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, 2), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_E_BUSY);
    memset(blocks[2], 7, 64);
    CHECK_EQ(hf_pool_destroy_forced(pool), 1);
}

/* --- misuse --------------------------------------------------------------------------------- */

static void test_release_of_what_is_not_out_is_reported_and_refused(void) {
    hf_pool *pool = pool_bounded(48, 100, HF_POOL_FAIL);
    hf_pool *other = pool_bounded(48, 100, HF_POOL_FAIL);
    char *block = pool_get(pool), *second = pool_get(pool), *stranger = pool_get(other);
    char *heap_block = hf_malloc(48);
    int here = 0;
    hf_report_handler_set(pool_note_report, &reported);
    CHECK_EQ(hf_pool_release(pool, block + 1), HF_E_INVALID);
    expect_report(HF_REPORT_INTERIOR_FREE, 1);
    CHECK_PTR(reported.last.block, block);
    CHECK_EQ(reported.last.block_size, 48);
    CHECK_EQ(reported.last.heap_id, hf_pool_id(pool));
    CHECK_EQ(hf_pool_release(pool, block), HF_OK);
    CHECK_EQ(hf_pool_release(pool, block), HF_E_INVALID);
    expect_report(HF_REPORT_DOUBLE_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, stranger), HF_E_INVALID);
    expect_report(HF_REPORT_FOREIGN_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, heap_block), HF_E_INVALID);
    expect_report(HF_REPORT_FOREIGN_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, &here), HF_E_INVALID);
    expect_report(HF_REPORT_INVALID_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, NULL), HF_E_INVALID);
    expect_report(HF_REPORT_INVALID_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, block + 48 * 90), HF_E_INVALID); /* never handed out */
    expect_report(HF_REPORT_INVALID_FREE, 1);
    CHECK_EQ(hf_pool_release(pool, block - 1), HF_E_INVALID);
    expect_report(HF_REPORT_INVALID_FREE, 1);
    void *mixed[3] = {second, second, stranger};
    CHECK_EQ(hf_pool_release_bulk(pool, mixed, 3), HF_E_INVALID);
    expect_report(HF_REPORT_FOREIGN_FREE, 2);
    hf_report_handler_set(NULL, NULL);
    /* Nothing of it did any harm. */
    hf_stats s;
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_EQ(s.reports, 10);
    pool_account(pool, 0);
    CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
    void *all[100];
    CHECK_EQ(hf_pool_acquire_bulk(pool, all, 100), HF_OK);
    for (int i = 0; i < 100; i++)
        for (int k = 0; k < i; k++)
            CHECK(all[i] != all[k]);
    CHECK_EQ(hf_pool_release_bulk(pool, all, 100), HF_OK);
    CHECK_EQ(hf_pool_release(other, stranger), HF_OK);
    hf_free(heap_block);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
    CHECK_EQ(hf_pool_destroy(other), HF_OK);
}

/* --- content -------------------------------------------------------------------------------- */

static void test_zero_gives_zeroes_always(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 100);
    options.sanitize = HF_POOL_ZERO;
    hf_pool *pool = pool_make(&options);
    unsigned char *blocks[300];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 300; i++) {
            blocks[i] = pool_get(pool);
            for (int at = 0; at < 100; at++)
                CHECK_EQ(blocks[i][at], 0);
            memset(blocks[i], 0xAB, 100);
        }
        CHECK_EQ(hf_pool_release_bulk(pool, (void **)blocks, 300), HF_OK);
        if (round == 1) CHECK_GT(hf_pool_trim(pool), 0);
    }
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void test_pattern_finds_a_write_after_release(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 90);
    options.alignment = 2;
    options.sanitize = HF_POOL_PATTERN;
    options.name = "watched";
    hf_pool *pool = pool_make(&options);
    char *blocks[20], *fresh[20];
    hf_report_handler_set(pool_note_report, &reported);
    reported.count = 0;
    for (int i = 0; i < 20; i++) {
        blocks[i] = pool_get(pool);
        memset(blocks[i], 'x', 90);
    }
    for (int i = 1; i < 20; i++)
        CHECK_EQ(hf_pool_release(pool, blocks[i]), HF_OK);
    CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
    blocks[19] = pool_get(pool);
    CHECK_EQ(hf_pool_release(pool, blocks[19]), HF_OK); /* on top of the magazine */
    memcpy(blocks[19] + 83, "stale", 5);
    CHECK_EQ(reported.count, 0);
    for (int i = 0; i < 20; i++) {
        fresh[i] = pool_get(pool);
        CHECK(fresh[i] != blocks[19]);
    }
    expect_report(HF_REPORT_USE_AFTER_FREE, 1);
    CHECK_PTR(reported.last.block, blocks[19]);
    CHECK_EQ(reported.last.damage_offset, 83);
    CHECK_EQ(reported.last.damage_length, 5);
    CHECK_EQ(memcmp(reported.last.bytes, "stale", 5), 0);
    CHECK_STR(reported.last.owner, "watched");
    /* Its slab is out of service: what is out of it comes back and stays. */
    hf_stats s;
    hf_pool_figures f;
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_EQ(s.slabs_quarantined, 1);
    pool_account(pool, 21);
    CHECK_EQ(hf_pool_release(pool, blocks[0]), HF_OK);
    CHECK_EQ(hf_pool_state(pool, blocks[0]), HF_BLOCK_QUARANTINED);
    CHECK_EQ(hf_pool_release(pool, blocks[0]), HF_E_INVALID);
    expect_report(HF_REPORT_DOUBLE_FREE, 1);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(hf_pool_release(pool, fresh[i]), HF_OK);
    pool_account(pool, 0);
    CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
    CHECK_GT(f.blocks_quarantined, 0);
    hf_report_handler_set(NULL, NULL);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void test_check_finds_writes_after_release(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 64);
    options.sanitize = HF_POOL_PATTERN;
    options.capacity = 40;
    options.on_exhausted = HF_POOL_FAIL;
    hf_pool *pool = pool_make(&options);
    char *blocks[40];
    size_t found = 0;
    CHECK_EQ(hf_pool_acquire_bulk(pool, (void **)blocks, 40), HF_OK);
    CHECK_EQ(hf_pool_release_bulk(pool, (void **)blocks, 40), HF_OK);
    blocks[3][0] = 1;
    blocks[30][63] = 1;
    hf_report_handler_set(pool_note_report, &reported);
    CHECK_EQ(hf_pool_check(pool, &found), HF_E_CORRUPT);
    CHECK_EQ(found, 2);
    expect_report(HF_REPORT_USE_AFTER_FREE, 2);
    hf_report_handler_set(NULL, NULL);
    pool_account(pool, 0);
    /* A bounded pool replaces the slab: it does not get smaller. */
    CHECK_EQ(hf_pool_acquire_bulk(pool, (void **)blocks, 40), HF_OK);
    pool_account(pool, 40);
    CHECK_EQ(hf_pool_release_bulk(pool, (void **)blocks, 40), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

/* --- memory --------------------------------------------------------------------------------- */

static void test_slabs_change_their_state_and_trim_gives_memory_back(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 256);
    hf_pool *pool = pool_make(&options);
    enum { COUNT = 4096 };
    static void *blocks[COUNT];
    hf_stats s;
    CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, COUNT), HF_OK);
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    uint64_t slabs = s.slabs_full;
    CHECK_GE(slabs, 8);
    CHECK_EQ(s.slabs_empty, 0);
    uint64_t full = s.bytes_mapped;
    memset(blocks[0], 1, 256);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks + 1, COUNT - 1), HF_OK);
    size_t given = hf_pool_trim(pool);
    CHECK_GE(given, (slabs - 1) * 65536);
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_EQ(s.slabs_full, 0);
    CHECK_EQ(s.slabs_partial, 1);
    CHECK_EQ(s.slabs_empty, slabs - 1);
    CHECK_EQ(s.bytes_mapped, full - given);
    CHECK_EQ(s.bytes_returned, given);
    pool_account(pool, 1);
    CHECK_EQ(hf_pool_acquire_bulk(pool, blocks + 1, COUNT - 1), HF_OK);
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_EQ(s.bytes_mapped, full);
    pool_account(pool, COUNT);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, COUNT), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void test_memory_decays_by_itself(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 1024);
    hf_pool *pool = pool_make(&options);
    static void *blocks[1000];
    hf_stats s;
    CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, 1000), HF_OK);
    for (int i = 0; i < 1000; i++)
        memset(blocks[i], 1, 1024);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, 1000), HF_OK);
    /* Where no thread drives the decay (a heap's frees do, or nobody), a pass is asked for. */
    bool driven = hf_options_active()->reclaim == HF_RECLAIM_BACKGROUND;
    do {
        CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
        if (!driven) (void)hf_reclaim();
        usleep(10000);
    } while (s.bytes_returned < 1000 * 1024);
    CHECK_EQ(s.bytes_cached, 0);
    CHECK_EQ(s.bytes_free, 0);
    pool_account(pool, 0);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void test_the_limit_of_the_process_is_kept(void) {
    hf_heap *heap = hf_heap_default();
    hf_stats s;
    CHECK_EQ(hf_heap_stats(heap, &s), HF_OK);
    CHECK_EQ(hf_heap_limit(heap, s.bytes_mapped + (16 << 20), 0, NULL, NULL), HF_OK);
    hf_pool_options options;
    hf_pool_options_init(&options, 65536);
    hf_pool *pool = pool_make(&options);
    void *blocks[512];
    int count = 0;
    hf_status status = HF_OK;
    while (count < 512 && (status = hf_pool_acquire(pool, &blocks[count])) == HF_OK)
        count++;
    CHECK_EQ(status, HF_E_LIMIT);
    CHECK_LE(count, 320); /* the heap's bookkeeping is in its figure, not under its limit */
    CHECK_GT(count, 100);
    CHECK_EQ(hf_pool_stats(pool, &s), HF_OK);
    CHECK_GE(s.limit_hits, 1);
    pool_account(pool, (uint64_t)count);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, (size_t)count), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
    CHECK_EQ(hf_heap_limit(heap, 0, 0, NULL, NULL), HF_OK);
}

/* --- refusals of the system ----------------------------------------------------------------- */

static void test_every_refusal_of_the_system_leaves_the_pool_whole(void) {
    enum { COUNT = 3000 };
    static void *blocks[COUNT];
    unsigned failures = 0;
    for (uint64_t nth = 1; nth < 40; nth++) {
        hf_pool_options options;
        hf_pool *pool = NULL;
        hf_pool_options_init(&options, 700);
        hfi_os_fail_after(nth);
        hf_status status = hf_pool_create(&options, &pool);
        if (status != HF_OK) {
            CHECK_EQ(status, HF_E_NO_MEMORY);
            failures++;
            hfi_os_fail_after(0);
            continue;
        }
        size_t count = 0;
        while (count < COUNT) {
            status = hf_pool_acquire(pool, &blocks[count]);
            if (status == HF_OK) {
                memset(blocks[count++], 1, 700);
                continue;
            }
            CHECK_EQ(status, HF_E_NO_MEMORY);
            failures++;
            pool_account(pool, count);
        }
        hfi_os_fail_after(0);
        pool_account(pool, COUNT);
        CHECK_EQ(hf_pool_release_bulk(pool, blocks, COUNT), HF_OK);
        CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
        CHECK_EQ(hf_pool_destroy(pool), HF_OK);
    }
    CHECK_GT(failures, 1);
}

int main(void) {
    CHECK_WATCHDOG(90);
    CHECK_RUN(test_blocks_of_any_size_are_aligned_disjoint_and_usable);
    CHECK_RUN(test_options_out_of_range_are_refused);
    CHECK_RUN(test_pool_is_among_the_owners);
    CHECK_RUN(test_destroy_with_blocks_out_is_busy);
    CHECK_RUN(test_release_of_what_is_not_out_is_reported_and_refused);
    CHECK_RUN(test_zero_gives_zeroes_always);
    CHECK_RUN(test_pattern_finds_a_write_after_release);
    CHECK_RUN(test_check_finds_writes_after_release);
    CHECK_RUN(test_slabs_change_their_state_and_trim_gives_memory_back);
    CHECK_RUN(test_memory_decays_by_itself);
    CHECK_RUN(test_the_limit_of_the_process_is_kept);
    CHECK_RUN(test_every_refusal_of_the_system_leaves_the_pool_whole);
    return 0;
}
