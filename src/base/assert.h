/* assert.h - what must hold, said where it must hold.
 *
 *   HF_EXPECT(heap != NULL);                    the caller's bug: always on, message, abort
 *   HF_EXPECT(offset <= size, offset, size);    the same with values (integers, at most 6)
 *   hf_assert(used <= count, used, count);      our bug: checked builds (no NDEBUG) only
 *
 * Caveats  One condition per line. Values are converted to uint64_t; cast pointers to uintptr_t.
 *          hf_assert evaluates nothing under NDEBUG, so conditions have no side effects.
 * Threads  failing allocates nothing and takes no lock: usable under every lock and in free. */
#ifndef HFI_ASSERT_H
#define HFI_ASSERT_H

#include <stdint.h>

/* Writes one line to fd 2 and aborts. `names` is the text of the values; values[0] is not shown. */
__attribute__((noreturn, cold, noinline)) void
hfi_expect_failed(const char *condition, const char *file, int line, const char *function,
                  const char *names, const uint64_t *values, unsigned count);

#define HF_EXPECT(condition, ...)                                                                  \
    (__builtin_expect(!!(condition), 1)                                                            \
         ? (void)0                                                                                 \
         : hfi_expect_failed(#condition, __FILE__, __LINE__, __func__, #__VA_ARGS__,               \
                             (const uint64_t[]){0, ##__VA_ARGS__},                                 \
                             sizeof((const uint64_t[]){0, ##__VA_ARGS__}) / sizeof(uint64_t)))

#ifdef NDEBUG
#define HFI_CHECKED               0
/* sizeof keeps names used and evaluates nothing. */
#define hf_assert(condition, ...) ((void)sizeof(!!(condition)))
#else
#define HFI_CHECKED               1
#define hf_assert(condition, ...) HF_EXPECT(condition, ##__VA_ARGS__)
#endif

#endif
