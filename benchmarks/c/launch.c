/* launch.c - starts a program and says what it cost, from a parent too small to blur the
 * figures.
 * Contract    launch PROGRAM ARGS...: BENCH_PRELOAD, if set, becomes LD_PRELOAD of the program
 *             only. One JSON line on descriptor 3: wall, user and system time [ns], peak RSS
 *             [KiB] of the program and the children it waited for, faults, wait status. Exits as
 *             the program did.
 * Why         peak RSS is inherited over fork and exec: measured from Python it is at least
 *             Python's. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    const char *preload = getenv("BENCH_PRELOAD");
    long long start = nanoseconds();
    pid_t child = fork();
    if (child == 0) {
        if (preload != NULL && preload[0] != '\0') setenv("LD_PRELOAD", preload, 1);
        unsetenv("BENCH_PRELOAD");
        close(3);
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        perror("launch");
        return 1;
    }
    long long wall = nanoseconds() - start;
    dprintf(3,
            "{\"wall_ns\": %lld, \"user_ns\": %lld, \"sys_ns\": %lld, \"maxrss_kb\": %ld, "
            "\"minflt\": %ld, \"majflt\": %ld, \"switches\": %ld, \"status\": %d}\n",
            wall, usage.ru_utime.tv_sec * 1000000000LL + usage.ru_utime.tv_usec * 1000LL,
            usage.ru_stime.tv_sec * 1000000000LL + usage.ru_stime.tv_usec * 1000LL, usage.ru_maxrss,
            usage.ru_minflt, usage.ru_majflt, usage.ru_nvcsw + usage.ru_nivcsw, status);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
