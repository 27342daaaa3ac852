/* steps.c - crash points: the victim dies at its k-th access to shared memory, for every k.
 *
 * A child arms the hook after `prepare` and kills itself with SIGKILL when its count is reached, so
 * the kernel drops its locks as it would for any death. The test's process, which is no participant
 * of its own making but what `setup` opened, then verifies. */
#include "harness.h"

#include <signal.h>
#include <stdio_ext.h>
#include <sys/wait.h>

#include "shm/access.h"

void (*hfi_shm_step_hook)(void);
bool (*hfi_shm_sleep_hook)(void);
unsigned hfi_shm_mutant;

static unsigned step_now, step_fatal;
static unsigned *steps_seen; /* shared: how far the victim came */

static void step_count(void) {
    *steps_seen = ++step_now;
    if (step_now == step_fatal) kill(getpid(), SIGKILL);
}

/* True if `operation` came to its end before step `fatal`. */
static bool victim_run(const struct harness_steps *steps, void *world, void (*operation)(void *),
                       unsigned fatal, const char *who) {
    *steps_seen = 0;
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(60);
        if (steps->prepare) steps->prepare(world);
        step_now = 0;
        step_fatal = fatal;
        hfi_shm_step_hook = step_count;
        operation(world);
        hfi_shm_step_hook = NULL;
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) {
        CHECK_SAY(WTERMSIG(status) == SIGKILL, "%s: %s at step %u: signal %d", steps->name, who,
                  *steps_seen, WTERMSIG(status));
        CHECK_SAY(*steps_seen == fatal, "%s: %s died at step %u instead of %u", steps->name, who,
                  *steps_seen, fatal);
        return false;
    }
    CHECK_SAY(WEXITSTATUS(status) == 0, "%s: %s, fatal step %u: ended with %d", steps->name, who,
              fatal, WEXITSTATUS(status));
    return true;
}

static void steps_verify(const struct harness_steps *steps, void *world, bool finished,
                         unsigned first, unsigned second) {
    /* A failing check flushes this; otherwise it is never seen. */
    fflush(stdout);
    printf("  %s: victim killed at step %u, rescuer at %u\n", steps->name, first, second);
    steps->verify(world, finished);
    __fpurge(stdout);
    if (steps->teardown) steps->teardown(world);
}

unsigned harness_crash_points(const struct harness_steps *steps, void *world, unsigned stride) {
    if (!steps_seen) steps_seen = harness_shared(sizeof *steps_seen);
    if (stride == 0) stride = 1;
    unsigned count = 0;
    for (unsigned fatal = 1;; fatal++) {
        steps->setup(world);
        bool finished = victim_run(steps, world, steps->victim, fatal, "victim");
        if (finished) count = *steps_seen;
        steps_verify(steps, world, finished, fatal, 0);
        if (finished) break;
        if (!steps->rescuer) continue;
        for (unsigned second = 1;; second += stride) {
            steps->setup(world);
            CHECK(!victim_run(steps, world, steps->victim, fatal, "victim"));
            bool rescued = victim_run(steps, world, steps->rescuer, second, "rescuer");
            steps_verify(steps, world, false, fatal, second);
            if (rescued) break;
        }
    }
    CHECK_SAY(count > 0, "%s: no step was seen", steps->name);
    printf("  %s: %u steps\n", steps->name, count);
    fflush(stdout);
    return count;
}

/* Runs `test` in a child that is expected to fail or to hang for `seconds`. */
static void mutant_run(void (*test)(const void *, void *), const void *what, void *world,
                       const char *name, unsigned mutant, unsigned seconds) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(freopen("/dev/null", "w", stderr) != NULL);
        CHECK(freopen("/dev/null", "w", stdout) != NULL);
        hfi_shm_mutant = mutant;
        alarm(seconds); /* a hang is a way of being caught */
        test(what, world);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_SAY(status != 0, "%s: mutant %u was not caught", name, mutant);
    printf("  %s: mutant %u is caught\n", name, mutant);
    fflush(stdout);
}

static void steps_test(const void *steps, void *world) {
    harness_crash_points(steps, world, 1);
}

void harness_mutant_is_caught(const struct harness_steps *steps, void *world, unsigned mutant) {
    mutant_run(steps_test, steps, world, steps->name, mutant, 20);
}

static void weave_test(const void *weave, void *world) {
    harness_weave(weave, world);
}

void harness_weave_mutant_is_caught(const struct harness_weave *weave, void *world,
                                    unsigned mutant) {
    mutant_run(weave_test, weave, world, weave->name, mutant, 60);
}
