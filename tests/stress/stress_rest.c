/* stress_rest.c - after a spike of load the memory goes back to the system, unasked.
 *
 *   stress_rest background|serial
 *
 * Method      32 MiB stay live, spikes of 256 MiB in all tiers rise and fall; then the resident memory
 *             of the process must come down to 1.2 times what is live plus what the process had before.
 *             Serial mode needs traffic to work with: a little of it goes on. The deadline is ten times
 *             the promise; the time it took is printed, not judged. */
#include "stress.h"

enum { LIVE_BYTES = 32 << 20, SPIKE_BYTES = 256 << 20, COUNT_MAX = 2 << 20, DEADLINE_S = 20 };

static void **held;
static size_t held_count;

/* Blocks until `bytes` are live; mostly small, some of each tier. */
static void rise(check_random *random, size_t bytes) {
    size_t sum = 0;
    while (sum < bytes && held_count < COUNT_MAX) {
        uint64_t kind = check_random_below(random, 20000);
        size_t size = kind < 2    ? 1 + check_random_below(random, 8000000)
                      : kind < 50 ? 1 + check_random_below(random, 300000)
                                  : 1 + check_random_below(random, 1000);
        char *block = hf_malloc(size);
        CHECK(block != NULL);
        for (size_t i = 0; i < size; i += 512)
            block[i] = 1;
        held[held_count++] = block;
        sum += size;
    }
}

static void fall(size_t down_to) {
    while (held_count > down_to)
        hf_free(held[--held_count]);
}

/* A little traffic, as a service at rest has; background mode goes without. */
static void traffic(check_random *random, const char *mode) {
    if (strcmp(mode, "serial") != 0) return;
    for (int i = 0; i < 20000; i++) {
        void *block = hf_malloc(check_random_below(random, i % 500 == 0 ? 100000 : 1000));
        CHECK(block != NULL);
        hf_free(block);
    }
}

int main(int argc, char **argv) {
    CHECK_WATCHDOG(150);
    const char *mode = argc > 1 ? argv[1] : "background";
    if (CHECK_SANITIZED) CHECK_SKIP("a sanitizer's shadow memory is part of the resident memory");
    if (getenv("STRESS_REST") == NULL) {
        /* Options of the default heap come from the environment, before anything else. */
        setenv("STRESS_REST", "1", 1);
        setenv("HOLDFAST_RECLAIM", mode, 1);
        execl("/proc/self/exe", argv[0], mode, (char *)NULL);
        CHECK_FAIL("exec");
    }
    check_random random = {99};
    held = calloc(COUNT_MAX, sizeof *held);
    CHECK(held != NULL);
    for (size_t i = 0; i < COUNT_MAX; i += 512)
        held[i] = NULL;
    memset(held, 0, COUNT_MAX * sizeof *held);
    size_t before = stress_resident();
    rise(&random, LIVE_BYTES);
    size_t keep = held_count;
    for (int spike = 0; spike < 3; spike++) {
        rise(&random, SPIKE_BYTES);
        fall(keep);
    }
    size_t at_fall = stress_resident();
    hf_stats stats = account_stats(hf_heap_default());
    size_t allowed = before + (stats.bytes_in_use + stats.bytes_slack) / 5 * 6;
    double begin = stress_now(), took = -1;
    while (stress_now() - begin < DEADLINE_S) {
        if (stress_resident() <= allowed) {
            took = stress_now() - begin;
            break;
        }
        traffic(&random, mode);
        usleep(50000);
    }
    size_t after = stress_resident();
    printf(
        "%s: live %zu MiB, resident %zu MiB at the fall, %zu MiB after %.1f s (%zu MiB allowed)\n",
        mode, (size_t)stats.bytes_in_use >> 20, at_fall >> 20, after >> 20,
        took >= 0 ? took : stress_now() - begin, allowed >> 20);
    CHECK_SAY(took >= 0, "%zu KiB are still resident, %zu KiB allowed", after / 1024,
              allowed / 1024);
    account_whole(hf_heap_default());
    account_check(hf_heap_default());
    fall(0);
    account_check(hf_heap_default());
    return 0;
}
