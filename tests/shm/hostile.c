/* hostile.c - garbage in the segment: a clear error or no harm; never a signal, never a hang.
 *
 * Source      values that break arithmetic more often than random ones: zeros, ones, powers of two and
 *             their neighbours, and what already stands there, off by one. */
#include "harness.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static uint64_t strange(check_random *random, uint64_t there) {
    switch (check_random_below(random, 8)) {
    case 0: return 0;
    case 1: return UINT64_MAX;
    case 2: return there + 1;
    case 3: return there - 1;
    case 4: return UINT64_C(1) << check_random_below(random, 64);
    case 5: return (UINT64_C(1) << check_random_below(random, 64)) - 1;
    case 6: return there ^ UINT64_C(1) << check_random_below(random, 64);
    default: return check_random_next(random);
    }
}

static void damage(check_random *random, char *bytes, size_t size, unsigned places) {
    static const size_t widths[] = {1, 2, 4, 8};
    for (unsigned i = 0; i < places; i++) {
        size_t width = widths[check_random_below(random, 4)];
        if (size < width) width = 1;
        size_t at = (size_t)check_random_below(random, size - width + 1);
        if (check_random_below(random, 4) != 0) at -= at % width;
        uint64_t value = 0;
        memcpy(&value, bytes + at, width);
        value = strange(random, value);
        memcpy(bytes + at, &value, width);
    }
}

void harness_hostile(const struct harness_hostile *hostile, void *world) {
    uint64_t seed = harness_seed();
    for (unsigned round = 0; round < hostile->rounds; round++) {
        check_random random = {seed + round};
        hostile->setup(world);
        char *bytes = NULL;
        size_t size = 0;
        hostile->target(world, &bytes, &size);
        CHECK(bytes != NULL && size > 0);
        unsigned most = hostile->flips_max ? hostile->flips_max : 8;
        if (!hostile->meanwhile)
            damage(&random, bytes, size, 1 + (unsigned)check_random_below(&random, most));
        fflush(stdout);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK_WATCHDOG(20);
            hostile->use(world);
            _exit(0);
        }
        int status = 0;
        pid_t done = 0;
        while (hostile->meanwhile && (done = waitpid(child, &status, WNOHANG)) == 0) {
            damage(&random, bytes, size, 1);
            struct timespec pause = {0, 20000};
            nanosleep(&pause, NULL);
        }
        if (!hostile->meanwhile) done = waitpid(child, &status, 0);
        CHECK(done == child);
        CHECK_SAY(!WIFSIGNALED(status), "%s: round %u of seed %" PRIu64 ": signal %d%s",
                  hostile->name, round, seed, WTERMSIG(status),
                  WTERMSIG(status) == SIGALRM ? " (a hang)" : "");
        CHECK_SAY(WEXITSTATUS(status) == 0, "%s: round %u of seed %" PRIu64 ": ended with %d",
                  hostile->name, round, seed, WEXITSTATUS(status));
        if (hostile->teardown) hostile->teardown(world);
    }
    printf("  %s: %u rounds\n", hostile->name, hostile->rounds);
    fflush(stdout);
}
