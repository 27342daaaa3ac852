/* tsan_options.c - what the thread sanitizer's runtime needs to know of these tests.
 * Contract    linked into every test; nothing else in a build without that sanitizer.
 * Why         no function is exempt: words that are read while others write them say so themselves
 *             (src/base/racy.h, hfi_own_load), so that every other race is a fault. */

/* The other side of a race is named only while its history lasts. */
const char *__tsan_default_options(void);

const char *__tsan_default_options(void) {
    return "history_size=7";
}
