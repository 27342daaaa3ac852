/* test_conformance.c - one suite, every owner of memory (owners.h).
 *
 *   test_conformance OWNER       with LD_PRELOAD=libholdfast_malloc.so for the owner "malloc"
 *
 * Method      each test states one promise of the malloc family and tries it over sizes on both sides
 *             of every border: size classes, small to middle to large, page and huge page.
 * Contract    every test leaves the owner as it found it: the account adds up, nothing is live. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../c/account.h"
#include "../c/content.h"
#include "owners.h"

static owner subject;

static const size_t borders[] = {
    0,       1,       2,       7,       8,       9,       15,     16,     17,      23,      24,
    25,      31,      32,      33,      56,      64,      100,    127,    128,     129,     250,
    512,     1000,    1015,    1016,    1017,    1023,    1024,   1025,   1040,    1160,    1168,
    2047,    2048,    2056,    4087,    4088,    4096,    4097,   4104,   4112,    8192,    8200,
    16384,   16392,   32760,   32767,   32768,   32769,   32776,  32777,  32784,   32785,   40000,
    65528,   65535,   65536,   65537,   131072,  200000,  262144, 524288, 1048560, 1048568, 1048576,
    1048577, 1048600, 1500000, 2097152, 2097153, 4194304, 5000000};
#define BORDER_COUNT (sizeof borders / sizeof borders[0])

static void *must(void *block) {
    CHECK(block != NULL);
    return block;
}

static void test_alloc_any_size_is_aligned_and_usable(void) {
    for (size_t i = 0; i < BORDER_COUNT; i++) {
        unsigned char *block = must(subject.alloc(&subject, borders[i]));
        CHECK_EQ((uintptr_t)block % 16, 0);
        size_t usable = subject.usable(&subject, block);
        CHECK_GE(usable, borders[i]);
        if (subject.exact) CHECK_EQ(usable, borders[i]);
        content_fill(block, usable, borders[i]);
        CHECK(content_whole(block, usable, borders[i]));
        subject.give(&subject, block);
    }
}

static void test_alloc_many_are_disjoint_and_keep_their_content(void) {
    enum { ROUNDS = 6 };
    static account_block blocks[BORDER_COUNT * ROUNDS];
    size_t count = 0;
    for (int round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < BORDER_COUNT; i++, count++) {
            void *block = must(subject.alloc(&subject, borders[i]));
            content_fill(block, borders[i], count);
            blocks[count] = (account_block){block, borders[i]};
        }
    for (size_t i = 0; i < count; i++)
        CHECK_SAY(content_whole(blocks[i].address, blocks[i].size, i), "block %zu of %zu bytes", i,
                  blocks[i].size);
    qsort(blocks, count, sizeof blocks[0], account_order);
    for (size_t i = 0; i + 1 < count; i++) {
        size_t size = blocks[i].size > 0 ? blocks[i].size : 1;
        CHECK_LE((uintptr_t)blocks[i].address + size, (uintptr_t)blocks[i + 1].address);
    }
    for (size_t i = 0; i < count; i++)
        subject.give(&subject, (void *)blocks[i].address);
}

static void test_alloc_zero_size_gives_distinct_blocks(void) {
    void *first = must(subject.alloc(&subject, 0));
    void *second = must(subject.alloc(&subject, 0));
    CHECK(first != second);
    if (subject.exact) CHECK_EQ(subject.usable(&subject, first), 0);
    subject.give(&subject, first);
    subject.give(&subject, second);
}

static void test_alloc_huge_size_fails_with_enomem(void) {
    const size_t sizes[] = {SIZE_MAX,        SIZE_MAX - 7,    SIZE_MAX - 8,     SIZE_MAX - 15,
                            SIZE_MAX - 4095, SIZE_MAX - 4096, SIZE_MAX - 65536, SIZE_MAX / 2 + 1,
                            SIZE_MAX / 2,    (size_t)1 << 62, ((size_t)1 << 47)};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        errno = 0;
        CHECK(subject.alloc(&subject, sizes[i]) == NULL);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(subject.alloc_zero(&subject, sizes[i], 1) == NULL);
        CHECK_EQ(errno, ENOMEM);
        void *block = must(subject.alloc(&subject, 100));
        content_fill(block, 100, 5);
        errno = 0;
        CHECK(subject.resize(&subject, block, sizes[i]) == NULL);
        CHECK_EQ(errno, ENOMEM);
        CHECK(content_whole(block, 100, 5));
        subject.give(&subject, block);
    }
}

static void test_alloc_zero_product_overflow_fails_with_enomem(void) {
    const size_t pairs[][2] = {{SIZE_MAX, 2},
                               {2, SIZE_MAX},
                               {(size_t)1 << 32, (size_t)1 << 32},
                               {((size_t)1 << 33) + 1, (size_t)1 << 31},
                               {SIZE_MAX / 3, 5}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        errno = 0;
        CHECK(subject.alloc_zero(&subject, pairs[i][0], pairs[i][1]) == NULL);
        CHECK_EQ(errno, ENOMEM);
    }
    void *none = must(subject.alloc_zero(&subject, 0, SIZE_MAX));
    subject.give(&subject, none);
    none = must(subject.alloc_zero(&subject, SIZE_MAX, 0));
    subject.give(&subject, none);
}

static void test_alloc_zero_after_dirty_free_is_zero(void) {
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < BORDER_COUNT; i++) {
            void *block = must(subject.alloc(&subject, borders[i]));
            memset(block, 0xA5, borders[i]);
            subject.give(&subject, block);
            block = must(subject.alloc_zero(&subject, 1, borders[i]));
            CHECK_SAY(content_zero(block, borders[i]), "calloc of %zu bytes", borders[i]);
            memset(block, 0x5A, borders[i]);
            subject.give(&subject, block);
        }
}

static void test_resize_keeps_content(void) {
    for (size_t i = 0; i < BORDER_COUNT; i++)
        for (size_t j = 0; j < BORDER_COUNT; j++) {
            size_t old_size = borders[i], new_size = borders[j];
            if (new_size == 0 || (i * BORDER_COUNT + j) % (CHECK_SANITIZED ? 7 : 2) != 0) continue;
            size_t kept = old_size < new_size ? old_size : new_size;
            void *block = must(subject.alloc(&subject, old_size));
            content_fill(block, old_size, i * 100 + j);
            block = must(subject.resize(&subject, block, new_size));
            CHECK_EQ((uintptr_t)block % 16, 0);
            CHECK_SAY(content_whole_to(block, old_size, kept, i * 100 + j), "from %zu to %zu bytes",
                      old_size, new_size);
            CHECK_GE(subject.usable(&subject, block), new_size);
            if (subject.exact) CHECK_EQ(subject.usable(&subject, block), new_size);
            content_fill(block, new_size, j);
            CHECK(content_whole(block, new_size, j));
            subject.give(&subject, block);
        }
}

static void test_resize_byte_by_byte_keeps_content(void) {
    unsigned char *block = must(subject.alloc(&subject, 1));
    block[0] = content_byte(7, 0);
    for (size_t size = 2; size <= 3000; size++) {
        block = must(subject.resize(&subject, block, size));
        block[size - 1] = content_byte(7, size - 1);
        if (size % 64 == 0) CHECK(content_whole(block, size, 7));
    }
    for (size_t size = 2999; size >= 1; size--) {
        block = must(subject.resize(&subject, block, size));
        if (size % 64 == 0) CHECK(content_whole(block, size, 7));
    }
    CHECK_EQ(block[0], content_byte(7, 0));
    subject.give(&subject, block);
}

static void test_resize_null_allocates_and_zero_frees(void) {
    void *block = must(subject.resize(&subject, NULL, 77));
    content_fill(block, 77, 1);
    CHECK(content_whole(block, 77, 1));
    /* glibc's answer, which programs rely on: the block is freed and NULL comes back - but for
     * Python's domains, which want a block. Either way nothing may stay behind. */
    void *rest = subject.resize(&subject, block, 0);
    if (rest != NULL) subject.give(&subject, rest);
}

static void test_aligned_alloc_every_alignment_is_aligned(void) {
    if (strcmp(subject.name, "domain") == 0) return;
    const size_t sizes[] = {0,    1,     16,    24,    100,    1000,   4096,
                            5000, 32768, 40000, 70000, 300000, 2000000};
    for (size_t alignment = 16; alignment <= (size_t)2 << 20; alignment *= 2) {
        void *blocks[sizeof sizes / sizeof sizes[0]][2];
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            for (int twin = 0; twin < 2; twin++) {
                void *block = must(subject.alloc_aligned(&subject, alignment, sizes[i]));
                CHECK_EQ((uintptr_t)block % alignment, 0);
                CHECK_GE(subject.usable(&subject, block), sizes[i]);
                if (subject.exact) CHECK_EQ(subject.usable(&subject, block), sizes[i]);
                content_fill(block, sizes[i], alignment + i * 2 + (size_t)twin);
                blocks[i][twin] = block;
            }
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            for (int twin = 0; twin < 2; twin++) {
                uint64_t tag = alignment + i * 2 + (size_t)twin;
                CHECK(content_whole(blocks[i][twin], sizes[i], tag));
                if (twin == 1 && sizes[i] > 0) {
                    void *grown = must(subject.resize(&subject, blocks[i][twin], sizes[i] * 2));
                    CHECK(content_whole_to(grown, sizes[i], sizes[i], tag));
                    blocks[i][twin] = grown;
                }
                subject.give(&subject, blocks[i][twin]);
            }
    }
}

static void test_aligned_alloc_bad_alignment_fails_with_einval(void) {
    if (strcmp(subject.name, "domain") == 0) return;
    const size_t wrong[] = {0, 3, 24, 48, 4097};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        errno = 0;
        CHECK(subject.alloc_aligned(&subject, wrong[i], 100) == NULL);
        CHECK_EQ(errno, EINVAL);
    }
    errno = 0;
    CHECK(subject.alloc_aligned(&subject, 64, SIZE_MAX - 10) == NULL);
    CHECK_EQ(errno, ENOMEM);
    errno = 0;
    CHECK(subject.alloc_aligned(&subject, (size_t)1 << 20, SIZE_MAX - ((size_t)1 << 20)) == NULL);
    CHECK_EQ(errno, ENOMEM);
}

static void test_free_null_does_nothing_and_keeps_errno(void) {
    uint64_t reports = hf_report_count();
    errno = 1234;
    subject.give(&subject, NULL);
    CHECK_EQ(errno, 1234);
    CHECK_EQ(subject.usable(&subject, NULL), 0);
    for (size_t i = 0; i < BORDER_COUNT; i++) {
        void *block = must(subject.alloc(&subject, borders[i]));
        errno = 4321;
        subject.give(&subject, block);
        CHECK_EQ(errno, 4321);
    }
    CHECK_EQ(hf_report_count(), reports);
}

static void test_freed_memory_is_reused(void) {
    if (!subject.recycles) return;
    for (size_t i = 0; i < BORDER_COUNT; i++) {
        hf_stats before = owner_stats(&subject);
        int rounds = borders[i] > 1000000 ? 200 : 2000;
        for (int round = 0; round < rounds; round++)
            subject.give(&subject, must(subject.alloc(&subject, borders[i])));
        hf_stats after = owner_stats(&subject);
        /* Hardened delays reuse; delayed blocks are bounded by 16 MiB per heap. */
        CHECK_SAY(after.bytes_mapped <= before.bytes_mapped + ((size_t)64 << 20),
                  "%zu bytes, from %" PRIu64 " to %" PRIu64, borders[i], before.bytes_mapped,
                  after.bytes_mapped);
    }
}

enum { TRAVEL_BLOCKS = CHECK_SANITIZED ? 4000 : 20000, TRAVEL_SLOTS = 64, TRAVEL_THREADS = 3 };
static _Atomic(account_block *) travel[TRAVEL_SLOTS];

/* Takes whatever is in a slot, checks and frees it, puts a block of its own there. */
static void *travel_run(void *argument) {
    check_random random = {(uintptr_t)argument};
    for (int i = 0; i < TRAVEL_BLOCKS; i++) {
        size_t size =
            sizeof(account_block) + check_random_below(&random, i % 50 == 0 ? 50000 : 600);
        account_block *block = must(subject.alloc(&subject, size));
        block->size = size;
        content_fill(block + 1, size - sizeof *block, size);
        /* acq_rel: the bytes of a block go with its pointer. */
        account_block *other = atomic_exchange_explicit(
            &travel[check_random_below(&random, TRAVEL_SLOTS)], block, memory_order_acq_rel);
        if (other == NULL) continue;
        CHECK(content_whole(other + 1, other->size - sizeof *other, other->size));
        if (i % 3 == 0) {
            size_t old_size = other->size, new_size = old_size / 2 + sizeof *other;
            other = must(subject.resize(&subject, other, new_size));
            size_t kept = (old_size < new_size ? old_size : new_size) - sizeof *other;
            CHECK(content_whole_to(other + 1, old_size - sizeof *other, kept, old_size));
        }
        subject.give(&subject, other);
    }
    return NULL;
}

static void test_blocks_passed_between_threads_keep_their_content(void) {
    pthread_t threads[TRAVEL_THREADS];
    if (!subject.threads) return;
    subject.quiet = true;
    for (uintptr_t i = 0; i < TRAVEL_THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, travel_run, (void *)(i + 1)), 0);
    for (int i = 0; i < TRAVEL_THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < TRAVEL_SLOTS; i++) {
        account_block *block = atomic_exchange(&travel[i], NULL);
        if (block != NULL) subject.give(&subject, block);
    }
    subject.quiet = false;
    subject.give(&subject, must(subject.alloc(&subject, 1))); /* an arena starts again */
}

static void test_destroy_with_live_blocks_frees_them(void) {
    if (!subject.closable) return;
    for (int round = 0; round < 5; round++) {
        owner other = owner_open(subject.name);
        void *mine = must(subject.alloc(&subject, 1000));
        content_fill(mine, 1000, 3);
        for (size_t i = 0; i < BORDER_COUNT; i++)
            content_fill(must(other.alloc(&other, borders[i])), borders[i], i);
        if (subject.arena != NULL)
            CHECK(hf_arena_id(other.arena) != hf_arena_id(subject.arena));
        else
            CHECK(hf_heap_id(other.heap) != hf_heap_id(subject.heap));
        owner_close(&other);
        CHECK(content_whole(mine, 1000, 3));
        subject.give(&subject, mine);
    }
}

/* What limits count: memory for blocks, without the bookkeeping. */
static uint64_t blocks_mapped(void) {
    hf_stats stats = owner_stats(&subject);
    return stats.bytes_mapped - stats.bytes_meta;
}

static void test_limit_refuses_and_recovers(void) {
    if (!subject.closable || subject.heap == NULL) return;
    enum { LIMIT = 24 << 20, COUNT = 4096 };
    static void *blocks[COUNT];
    size_t count = 0;
    hf_stats before = owner_stats(&subject);
    uint64_t limit = blocks_mapped() + LIMIT;
    CHECK_EQ(hf_heap_limit(subject.heap, limit, 0, NULL, NULL), HF_OK);
    errno = 0;
    while (count < COUNT) {
        void *block = subject.alloc(&subject, count % 3 == 0 ? 60000 : 20000);
        if (block == NULL) break;
        blocks[count++] = block;
        CHECK_LE(blocks_mapped(), limit);
    }
    CHECK_LT(count, COUNT);
    CHECK_EQ(errno, ENOMEM);
    CHECK_GT(owner_stats(&subject).limit_hits, before.limit_hits);
    for (size_t i = 0; i < count; i++)
        subject.give(&subject, blocks[i]);
    blocks[0] = must(subject.alloc(&subject, 20000));
    subject.give(&subject, blocks[0]);
    CHECK_EQ(hf_heap_limit(subject.heap, 0, 0, NULL, NULL), HF_OK);
    blocks[0] = must(subject.alloc(&subject, (size_t)LIMIT * 2));
    subject.give(&subject, blocks[0]);
}

static void test_heap_of_names_the_owner(void) {
    if (subject.heap == NULL) return;
    void *block = must(subject.alloc(&subject, 40));
    CHECK_PTR(hf_heap_of(block), subject.heap);
    CHECK(hf_owns(block));
    int here = 0;
    CHECK_PTR(hf_heap_of(&here), NULL);
    CHECK(!hf_owns(&here));
    subject.give(&subject, block);
}

/* After every test: nothing of ours is left, the account adds up, nothing is damaged. */
static void settle(uint64_t live_before) {
    owner_whole(&subject);
    if (subject.closable) CHECK_EQ(owner_stats(&subject).blocks_in_use, live_before);
}

#define SUITE(test)                                                                                \
    do {                                                                                           \
        uint64_t live = owner_stats(&subject).blocks_in_use;                                       \
        CHECK_RUN(test);                                                                           \
        settle(live);                                                                              \
    } while (0)

int main(int argc, char **argv) {
    if (argc != 2) CHECK_FAIL("usage: %s OWNER", argv[0]);
    CHECK_WATCHDOG(120);
    subject = owner_open(argv[1]);
    SUITE(test_alloc_any_size_is_aligned_and_usable);
    SUITE(test_alloc_many_are_disjoint_and_keep_their_content);
    SUITE(test_alloc_zero_size_gives_distinct_blocks);
    SUITE(test_alloc_huge_size_fails_with_enomem);
    SUITE(test_alloc_zero_product_overflow_fails_with_enomem);
    SUITE(test_alloc_zero_after_dirty_free_is_zero);
    SUITE(test_resize_keeps_content);
    SUITE(test_resize_byte_by_byte_keeps_content);
    SUITE(test_resize_null_allocates_and_zero_frees);
    SUITE(test_aligned_alloc_every_alignment_is_aligned);
    SUITE(test_aligned_alloc_bad_alignment_fails_with_einval);
    SUITE(test_free_null_does_nothing_and_keeps_errno);
    SUITE(test_freed_memory_is_reused);
    SUITE(test_blocks_passed_between_threads_keep_their_content);
    SUITE(test_destroy_with_live_blocks_frees_them);
    SUITE(test_limit_refuses_and_recovers);
    SUITE(test_heap_of_names_the_owner);
    owner_close(&subject);
    return 0;
}
