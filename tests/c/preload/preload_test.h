/* preload_test.h - what the programs that run under the preloaded library share.
 *
 * They link to nothing of the library: what they call is malloc, and what they know of holdfast they
 * ask through the dynamic linker, as any program would.
 * Invariants  CHECK prints file, line and condition and exits with 1; a watchdog ends what hangs;
 *             test_end fails if any report of corruption was made, since no test here corrupts.
 * Threads     CHECK from any thread. */
#ifndef PRELOAD_TEST_H
#define PRELOAD_TEST_H

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static inline void *library_symbol(const char *name) {
    return dlsym(RTLD_DEFAULT, name);
}

static inline void test_begin(unsigned watchdog_seconds) {
    alarm(watchdog_seconds);
    int (*is_active)(void) = (int (*)(void))(uintptr_t)library_symbol("hf_is_active");
    CHECK(is_active != NULL);
    CHECK(is_active());
}

static inline uint64_t report_count(void) {
    uint64_t (*count)(void) = (uint64_t(*)(void))(uintptr_t)library_symbol("hf_report_count");
    CHECK(count != NULL);
    return count();
}

/* Walks the heap of the process; damage in it is a failure of the test. */
static inline void test_end(void) {
    typedef int (*check_function)(void *heap, size_t *found_out);
    void *(*heap)(void) = (void *(*)(void))(uintptr_t)library_symbol("hf_heap_default");
    check_function check = (check_function)(uintptr_t)library_symbol("hf_heap_check");
    CHECK(heap != NULL);
    CHECK(check != NULL);
    size_t found = 0;
    CHECK(check(heap(), &found) == 0);
    CHECK(found == 0);
    CHECK(report_count() == 0);
}

/* A byte that depends on where it is, so that blocks that overlap are noticed. */
static inline unsigned char pattern_of(size_t index, unsigned seed) {
    return (unsigned char)(index * 31u + seed * 7u + (index >> 8));
}

static inline void fill(void *block, size_t size, unsigned seed) {
    unsigned char *bytes = (unsigned char *)block;
    for (size_t i = 0; i < size; i++)
        bytes[i] = pattern_of(i, seed);
}

static inline int is_filled(const void *block, size_t size, unsigned seed) {
    const unsigned char *bytes = (const unsigned char *)block;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != pattern_of(i, seed)) return 0;
    return 1;
}

static inline int is_zero(const void *block, size_t size) {
    const unsigned char *bytes = (const unsigned char *)block;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0) return 0;
    return 1;
}

#endif
