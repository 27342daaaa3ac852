/* test_errno.c - errno is the caller's: frees never touch it, successful allocations do not either.
 * Method: a marker in errno around every call, in sizes of every tier and under memory pressure that
 * makes the library call the system. */
#define _GNU_SOURCE
#include "preload_test.h"

#include <errno.h>
#include <malloc.h>

enum { MARK = 4242, BLOCKS = 20000 };

static void test_free_keeps_errno_in_every_tier(void) {
    for (size_t size = 1; size <= (size_t)64 << 20; size = size * 3 + 1) {
        errno = MARK;
        void *block = malloc(size);
        CHECK(block != NULL);
        CHECK(errno == MARK);
        memset(block, 1, size);
        free(block);
        CHECK(errno == MARK);
    }
    errno = MARK;
    free(NULL);
    CHECK(errno == MARK);
}

/* Enough of them that caches overflow and memory goes back to the system on the way. */
static void test_free_keeps_errno_when_caches_flush(void) {
    static void *blocks[BLOCKS];
    for (size_t size = 16; size <= 4096; size *= 4) {
        for (unsigned i = 0; i < BLOCKS; i++) {
            errno = MARK;
            blocks[i] = malloc(size);
            CHECK(blocks[i] != NULL);
            CHECK(errno == MARK);
        }
        for (unsigned i = 0; i < BLOCKS; i++) {
            errno = MARK;
            free(blocks[i]);
            CHECK(errno == MARK);
        }
    }
}

static void test_realloc_and_questions_keep_errno(void) {
    errno = MARK;
    void *block = realloc(malloc(10), 100000);
    CHECK(block != NULL);
    block = realloc(block, 10);
    CHECK(block != NULL);
    CHECK(malloc_usable_size(block) >= 10);
    free(block);
    (void)mallinfo2();
    (void)malloc_trim(0);
    void *aligned = NULL;
    CHECK(posix_memalign(&aligned, 4096, 100000) == 0);
    free(aligned);
    CHECK(errno == MARK);
}

int main(void) {
    test_begin(60);
    test_free_keeps_errno_in_every_tier();
    test_free_keeps_errno_when_caches_flush();
    test_realloc_and_questions_keep_errno();
    test_end();
    return 0;
}
