/* harness.c - names, seeds, children: what the four methods of harness.h share.
 *
 * Talks to    the file system of shared memory, directly: a test that died must not leave segments. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#define FOLDER "/dev/shm/"
#define PREFIX "holdfast-t-"

static char names[64][64];
static unsigned name_count;
static pid_t name_owner;

static void names_remove(void) {
    if (getpid() != name_owner) return;
    for (unsigned i = 0; i < name_count; i++) {
        char path[128];
        snprintf(path, sizeof path, FOLDER "holdfast-%s", names[i]);
        unlink(path);
    }
}

/* Of test processes that are gone. */
static void names_sweep(void) {
    DIR *folder = opendir(FOLDER);
    if (!folder) return;
    for (struct dirent *file; (file = readdir(folder)) != NULL;) {
        if (strncmp(file->d_name, PREFIX, strlen(PREFIX)) != 0) continue;
        const char *dash = strrchr(file->d_name, '-');
        long pid = strtol(dash + 1, NULL, 10);
        if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH) {
            char path[512];
            snprintf(path, sizeof path, FOLDER "%s", file->d_name);
            unlink(path);
        }
    }
    closedir(folder);
}

const char *harness_name(const char *tag) {
    if (name_owner == 0) {
        name_owner = getpid();
        names_sweep();
        atexit(names_remove);
    }
    char name[64];
    snprintf(name, sizeof name, "t-%s-%d", tag, (int)name_owner);
    for (unsigned i = 0; i < name_count; i++)
        if (strcmp(names[i], name) == 0) return names[i];
    CHECK(name_count < sizeof names / sizeof *names);
    return strcpy(names[name_count++], name);
}

void *harness_shared(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

unsigned harness_kills(unsigned usual) {
    const char *asked = getenv("HOLDFAST_TEST_KILLS");
    unsigned kills = asked && *asked ? (unsigned)strtoul(asked, NULL, 10) : usual;
    return CHECK_SANITIZED && kills >= 10 ? kills / 10 : kills;
}

void harness_watchdog(unsigned seconds) {
    CHECK_WATCHDOG(getenv("HOLDFAST_TEST_KILLS") != NULL ? 1800 : seconds);
}

uint64_t harness_seed(void) {
    static uint64_t seed;
    if (seed == 0) {
        const char *asked = getenv("HOLDFAST_TEST_SEED");
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        seed = asked && *asked ? strtoull(asked, NULL, 10)
                               : (uint64_t)now.tv_nsec * 1000003u + (uint64_t)getpid();
        printf("seed %" PRIu64 "\n", seed);
        fflush(stdout);
    }
    return seed;
}

void harness_expect_ok(pid_t child, const char *who) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        CHECK_SAY(errno == EINTR, "%s: waitpid: %s", who, strerror(errno));
    CHECK_SAY(!WIFSIGNALED(status), "%s: killed by signal %d", who, WTERMSIG(status));
    CHECK_SAY(WEXITSTATUS(status) == 0, "%s: ended with %d", who, WEXITSTATUS(status));
}
