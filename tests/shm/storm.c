/* storm.c - workers under load, killed and stopped at random, and an account at the end.
 *
 * Invariants  a worker is reaped before it starts again: an incarnation that was killed does nothing
 *             more when `killed` looks at what it left. */
#include "harness.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define WORKERS_MAX 32

static void nap(uint64_t ns) {
    struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    nanosleep(&time, NULL);
}

static pid_t worker_start(const struct harness_storm *storm, void *world, unsigned worker,
                          unsigned incarnation, volatile int *stop) {
    fflush(stdout);
    pid_t parent = getpid(), child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        /* A test that fails leaves no load behind. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        harness_watchdog(300);
        _exit(storm->work(world, worker, incarnation, stop));
    }
    return child;
}

void harness_storm(const struct harness_storm *storm, void *world) {
    CHECK(storm->workers >= 1 && storm->workers <= WORKERS_MAX);
    check_random random = {harness_seed()};
    volatile int *stop = harness_shared(sizeof *stop);
    pid_t workers[WORKERS_MAX];
    unsigned incarnations[WORKERS_MAX] = {0};
    for (unsigned i = 0; i < storm->workers; i++)
        workers[i] = worker_start(storm, world, i, 0, stop);
    unsigned pace = storm->pace_us ? storm->pace_us : 2000, kills = 0, stops = 0;
    bool any = false;
    for (unsigned i = 0; i < storm->workers; i++)
        any |= !(storm->spare_mask >> i & 1);
    CHECK(any || (storm->kills == 0 && storm->stops == 0));
    while (kills < storm->kills || stops < storm->stops) {
        nap(check_random_below(&random, 2 * (uint64_t)pace) * 1000);
        unsigned victim = (unsigned)check_random_below(&random, storm->workers);
        if (storm->spare_mask >> victim & 1) continue;
        bool kill_it =
            kills < storm->kills && (stops >= storm->stops || check_random_below(&random, 2) == 0);
        if (!kill_it) {
            kill(workers[victim], SIGSTOP);
            nap((uint64_t)(storm->stop_ms ? storm->stop_ms : 20) * 1000000);
            kill(workers[victim], SIGCONT);
            stops++;
            continue;
        }
        kill(workers[victim], SIGKILL);
        int status = 0;
        CHECK(waitpid(workers[victim], &status, 0) == workers[victim]);
        CHECK_SAY(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                  "%s: worker %u ended by itself, status 0x%x", storm->name, victim, status);
        if (storm->killed) storm->killed(world, victim, incarnations[victim]);
        kills++;
        workers[victim] = worker_start(storm, world, victim, ++incarnations[victim], stop);
    }
    if (storm->kills == 0 && storm->stops == 0) nap((uint64_t)pace * 1000);
    *stop = 1;
    for (unsigned i = 0; i < storm->workers; i++) {
        char who[96];
        snprintf(who, sizeof who, "%s: worker %u, life %u", storm->name, i, incarnations[i]);
        harness_expect_ok(workers[i], who);
    }
    printf("  %s: %u kills, %u stops\n", storm->name, kills, stops);
    fflush(stdout);
}
