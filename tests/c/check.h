/* check.h - what a C test says when something is not so.
 *
 *   int main(void) {
 *       CHECK_WATCHDOG(60);
 *       CHECK_RUN(test_free_twice_reports_double_free);
 *       return 0;
 *   }
 *
 * Contract    a CHECK that fails prints file, line, the condition and its values on stderr and ends
 *             the process with 1: a test never goes on from a state it did not expect.
 *             CHECK_SKIP ends it with 77, which CTest shows as skipped, and prints the reason.
 * Threads     usable from any thread, in children of fork, and inside report handlers.
 * Why         not a framework: a test is a program, a failure is an exit status, a hang is an alarm. */
#ifndef HF_TESTS_CHECK_H
#define HF_TESTS_CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CHECK_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define CHECK_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CHECK_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define CHECK_TSAN 1
#endif
#ifndef CHECK_ASAN
#define CHECK_ASAN 0
#endif
#ifndef CHECK_TSAN
#define CHECK_TSAN 0
#endif
#define CHECK_SANITIZED (CHECK_ASAN || CHECK_TSAN)

#define CHECK_SKIPPED 77

/* Ends the test with a line of text; the format is printf's. */
#define CHECK_FAIL(...)                                                                            \
    do {                                                                                           \
        fflush(stdout);                                                                            \
        fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, __func__);                              \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        _exit(1);                                                                                  \
    } while (0)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) CHECK_FAIL("not so: %s", #condition);                                    \
    } while (0)

/* The same with a printf text that says which case it was. */
#define CHECK_SAY(condition, ...)                                                                  \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s: ", __FILE__, __LINE__, #condition);                \
            CHECK_FAIL(__VA_ARGS__);                                                               \
        }                                                                                          \
    } while (0)

#define CHECK_OP(left, op, right)                                                                  \
    do {                                                                                           \
        int64_t check_left = (int64_t)(left), check_right = (int64_t)(right);                      \
        if (!(check_left op check_right))                                                          \
            CHECK_FAIL("not so: %s %s %s: %" PRId64 " and %" PRId64, #left, #op, #right,           \
                       check_left, check_right);                                                   \
    } while (0)
#define CHECK_EQ(left, right) CHECK_OP(left, ==, right)
#define CHECK_NE(left, right) CHECK_OP(left, !=, right)
#define CHECK_LE(left, right) CHECK_OP(left, <=, right)
#define CHECK_LT(left, right) CHECK_OP(left, <, right)
#define CHECK_GE(left, right) CHECK_OP(left, >=, right)
#define CHECK_GT(left, right) CHECK_OP(left, >, right)

#define CHECK_PTR(left, right)                                                                     \
    do {                                                                                           \
        const void *check_left = (left), *check_right = (right);                                   \
        if (check_left != check_right)                                                             \
            CHECK_FAIL("not so: %s == %s: %p and %p", #left, #right, check_left, check_right);     \
    } while (0)

#define CHECK_STR(left, right)                                                                     \
    do {                                                                                           \
        const char *check_left = (left), *check_right = (right);                                   \
        if (strcmp(check_left, check_right) != 0)                                                  \
            CHECK_FAIL("not so: %s == %s: \"%s\" and \"%s\"", #left, #right, check_left,           \
                       check_right);                                                               \
    } while (0)

#define CHECK_SKIP(reason)                                                                         \
    do {                                                                                           \
        printf("skipped: %s\n", reason);                                                           \
        fflush(stdout);                                                                            \
        _exit(CHECK_SKIPPED);                                                                      \
    } while (0)

/* A hang becomes a death by SIGALRM. Sanitized builds and busy machines get more time. */
#define CHECK_WATCHDOG(seconds) ((void)alarm((unsigned)(seconds) * (CHECK_SANITIZED ? 5u : 2u)))

#define CHECK_RUN(test)                                                                            \
    do {                                                                                           \
        printf("%s\n", #test);                                                                     \
        fflush(stdout);                                                                            \
        test();                                                                                    \
    } while (0)

/* A small deterministic generator; a test prints its seed. Source: Vigna, splitmix64. */
typedef struct check_random {
    uint64_t state;
} check_random;

static inline uint64_t check_random_next(check_random *random) {
    uint64_t z = (random->state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* 0 <= result < bound, bound > 0. */
static inline uint64_t check_random_below(check_random *random, uint64_t bound) {
    return check_random_next(random) % bound;
}

#endif
