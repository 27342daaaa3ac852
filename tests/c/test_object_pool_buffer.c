/* test_object_pool_buffer.c - object pools in memory of the caller.
 * Method      buffers at every offset from an alignment, with sentinels on both sides; what fits, what
 *             is refused, what blocks hold at first; misuse, waiting and the account as in every pool. */
#include <pthread.h>
#include <time.h>

#include "pool_check.h"

enum { SPACE = 64 << 10, EDGE = 64 };
static unsigned char memory[SPACE + 2 * EDGE] __attribute__((aligned(4096)));

static void edges_are_whole(const unsigned char *buffer, size_t size) {
    for (size_t i = 0; i < EDGE; i++) {
        CHECK_EQ(buffer[-1 - (ptrdiff_t)i], 0xa5);
        CHECK_EQ(buffer[size + i], 0xa5);
    }
}

static hf_pool *pool_on(void *buffer, size_t size, const hf_pool_options *options) {
    hf_pool *pool = NULL;
    CHECK_EQ(hf_pool_create_on(buffer, size, options, &pool), HF_OK);
    return pool;
}

static void test_as_many_blocks_as_fit_and_none_outside(void) {
    static const size_t sizes[] = {1, 24, 64, 1000, 5000}, alignments[] = {0, 8, 64, 4096};
    static void *blocks[SPACE];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof alignments / sizeof *alignments; k++)
            for (size_t offset = 0; offset < 32; offset += 1 + offset) {
                unsigned char *buffer = memory + EDGE + offset;
                size_t size = SPACE - 32;
                hf_pool_options options;
                hf_pool_options_init(&options, sizes[i]);
                options.alignment = alignments[k];
                memset(memory, 0xa5, sizeof memory);
                hf_pool *pool = pool_on(buffer, size, &options);
                hf_pool_figures f;
                CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
                CHECK_GE((f.capacity + 1) * f.stride + f.alignment, size);
                for (size_t b = 0; b < f.capacity; b++) {
                    unsigned char *block = blocks[b] = pool_get(pool);
                    CHECK_GE((uintptr_t)block, (uintptr_t)buffer);
                    CHECK_LE((uintptr_t)block + sizes[i], (uintptr_t)buffer + size);
                    CHECK_EQ((uintptr_t)block % f.alignment, 0);
                    memset(block, 1, sizes[i]);
                }
                void *more = NULL;
                CHECK_EQ(hf_pool_acquire(pool, &more), HF_E_LIMIT);
                pool_account(pool, f.capacity);
                CHECK(!hf_pool_owns(pool, buffer + size));
                CHECK_EQ(hf_pool_release_bulk(pool, blocks, f.capacity), HF_OK);
                CHECK_EQ(hf_pool_trim(pool), 0);
                CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
                pool_account(pool, 0);
                CHECK_EQ(hf_pool_destroy(pool), HF_OK);
                edges_are_whole(buffer, size);
            }
}

static void test_capacity_is_kept_and_the_size_for_it_is_told(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 100);
    options.alignment = 64;
    CHECK_EQ(hf_pool_buffer_size(&options), 0);
    options.capacity = 50;
    size_t size = hf_pool_buffer_size(&options);
    CHECK_GE(size, 50 * 128);
    for (size_t offset = 0; offset < 64; offset++) {
        hf_pool *pool = pool_on(memory + offset, size, &options);
        void *blocks[50], *more = NULL;
        CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, 50), HF_OK);
        CHECK_EQ(hf_pool_acquire(pool, &more), HF_E_LIMIT);
        CHECK_EQ(hf_pool_destroy(pool), HF_E_BUSY);
        CHECK_EQ(hf_pool_destroy_forced(pool), 50);
    }
    hf_pool *none = NULL;
    CHECK_EQ(hf_pool_create_on(memory, size - 64, &options, &none), HF_E_INVALID);
    CHECK_EQ(hf_pool_create_on(memory, 0, &options, &none), HF_E_INVALID);
    CHECK_EQ(hf_pool_create_on(NULL, size, &options, &none), HF_E_INVALID);
    options.block_size = 0;
    CHECK_EQ(hf_pool_create_on(memory, size, &options, &none), HF_E_INVALID);
    CHECK_EQ(hf_pool_buffer_size(&options), 0);
    CHECK_PTR(none, NULL);
}

static void test_content_is_sanitised_whatever_the_buffer_held(void) {
    static const hf_pool_sanitize ways[] = {HF_POOL_ZERO, HF_POOL_PATTERN};
    for (size_t way = 0; way < 2; way++) {
        hf_pool_options options;
        hf_pool_options_init(&options, 48);
        options.sanitize = ways[way];
        memset(memory, 0x77, sizeof memory);
        hf_pool *pool = pool_on(memory, SPACE, &options);
        for (int round = 0; round < 2; round++) {
            unsigned char *blocks[300];
            CHECK_EQ(hf_pool_acquire_bulk(pool, (void **)blocks, 300), HF_OK);
            for (int b = 0; b < 300; b++) {
                for (int i = 0; ways[way] == HF_POOL_ZERO && i < 48; i++)
                    CHECK_EQ(blocks[b][i], 0);
                memset(blocks[b], 0x55, 48);
            }
            CHECK_EQ(hf_pool_release_bulk(pool, (void **)blocks, 300), HF_OK);
            CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
        }
        CHECK_EQ(hf_pool_destroy(pool), HF_OK);
    }
}

static void test_misuse_is_reported(void) {
    static pool_reported reported;
    hf_pool_options options;
    hf_pool_options_init(&options, 64);
    hf_pool *pool = pool_on(memory, 1000, &options),
            *other = pool_on(memory + 1024, 1000, &options);
    unsigned char *block = pool_get(pool);
    hf_report_handler_set(pool_note_report, &reported);
    CHECK_EQ(hf_pool_release(other, block), HF_E_INVALID);
    CHECK_EQ(reported.last.kind, HF_REPORT_FOREIGN_FREE);
    CHECK_EQ(hf_pool_release(pool, block + 1), HF_E_INVALID);
    CHECK_EQ(reported.last.kind, HF_REPORT_INTERIOR_FREE);
    CHECK_EQ(hf_pool_release(pool, block), HF_OK);
    CHECK_EQ(hf_pool_release(pool, block), HF_E_INVALID);
    CHECK_EQ(reported.last.kind, HF_REPORT_DOUBLE_FREE);
    CHECK_EQ(reported.count, 3);
    hf_report_handler_set(NULL, NULL);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
    CHECK_EQ(hf_pool_destroy(other), HF_OK);
}

/* What a stale write takes out of service cannot be replaced: the pool says that it is at its end. */
static void test_quarantine_makes_the_pool_smaller(void) {
    static pool_reported reported;
    hf_pool_options options;
    hf_pool_options_init(&options, 64);
    options.sanitize = HF_POOL_PATTERN;
    hf_report_handler_set(pool_note_report, &reported);
    hf_pool *pool = pool_on(memory, 1000, &options);
    unsigned char *block = pool_get(pool);
    CHECK_EQ(hf_pool_release(pool, block), HF_OK);
    block[3] = 1;
    CHECK_EQ(hf_pool_check(pool, NULL), HF_E_CORRUPT);
    CHECK_EQ(reported.last.kind, HF_REPORT_USE_AFTER_FREE);
    void *none = NULL;
    CHECK_EQ(hf_pool_acquire(pool, &none), HF_E_LIMIT);
    pool_account(pool, 0);
    hf_report_handler_set(NULL, NULL);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void *release_later(void *argument) {
    void **both = argument;
    struct timespec moment = {0, 20000000};
    nanosleep(&moment, NULL);
    CHECK_EQ(hf_pool_release(both[0], both[1]), HF_OK);
    return NULL;
}

static void test_waits_for_a_release(void) {
    hf_pool_options options;
    hf_pool_options_init(&options, 64);
    options.on_exhausted = HF_POOL_WAIT;
    hf_pool *pool = pool_on(memory, 64 + 15, &options);
    void *both[2] = {pool, pool_get(pool)}, *next = NULL;
    CHECK_EQ(hf_pool_acquire_within(pool, 1000000, &next), HF_E_TIMEOUT);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, release_later, both), 0);
    CHECK_EQ(hf_pool_acquire(pool, &next), HF_OK);
    CHECK_PTR(next, both[1]);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(hf_pool_release(pool, next), HF_OK);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_as_many_blocks_as_fit_and_none_outside);
    CHECK_RUN(test_capacity_is_kept_and_the_size_for_it_is_told);
    CHECK_RUN(test_content_is_sanitised_whatever_the_buffer_held);
    CHECK_RUN(test_misuse_is_reported);
    CHECK_RUN(test_quarantine_makes_the_pool_smaller);
    CHECK_RUN(test_waits_for_a_release);
    return 0;
}
