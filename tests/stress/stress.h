/* stress.h - what the stress programs share: profile from argv, resident memory, patience.
 * Contract    stress_heap makes a heap of the profile named by argv[1] ("checked" if there is none).
 *             stress_resident is what the kernel says this process occupies.
 *             stress_wait_until polls a condition for `seconds`; it is a watchdog, never a benchmark. */
#ifndef HF_TESTS_STRESS_H
#define HF_TESTS_STRESS_H

#include <fcntl.h>
#include <holdfast/holdfast.h>
#include <time.h>

#include "../c/account.h"
#include "../c/content.h"

static inline hf_profile stress_profile(int argc, char **argv) {
    hf_options options;
    hf_options_init(&options);
    if (argc > 1) CHECK_EQ(hf_options_parse(&options, "profile", argv[1], NULL, 0), HF_OK);
    return (hf_profile)options.profile;
}

static inline hf_heap *stress_heap(int argc, char **argv) {
    return account_heap(stress_profile(argc, argv));
}

static inline size_t stress_resident(void) {
    char text[128] = "";
    int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    CHECK(file >= 0);
    CHECK(read(file, text, sizeof text - 1) > 0);
    close(file);
    unsigned long total = 0, resident = 0;
    CHECK_EQ(sscanf(text, "%lu %lu", &total, &resident), 2);
    return (size_t)resident * 4096;
}

static inline double stress_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Scales loops down where a sanitizer makes each step ten times dearer. */
static inline unsigned stress_scaled(unsigned count) {
    return CHECK_SANITIZED ? count / 10 + 1 : count;
}

#define STRESS_WAIT_UNTIL(condition, seconds)                                                      \
    do {                                                                                           \
        double stress_begin = stress_now();                                                        \
        while (!(condition) && stress_now() - stress_begin < (seconds))                            \
            usleep(20000);                                                                         \
    } while (0)

#endif
