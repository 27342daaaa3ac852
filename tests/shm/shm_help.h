/* shm_help.h - what tests of segments say again and again.
 *
 * Contract    everything ends the test with the sentence of hf_shm_detail where it fails. */
#ifndef HF_TESTS_SHM_HELP_H
#define HF_TESTS_SHM_HELP_H

#include <holdfast/shm.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "shm/segment.h"

#define OK(expression) help_ok((expression), #expression, __FILE__, __LINE__)

static inline void help_ok(hf_status status, const char *what, const char *file, int line) {
    CHECK_SAY(status == HF_OK, "%s:%d: %s: %d: %s", file, line, what, (int)status, hf_shm_detail());
}

static inline bool help_is_there(const char *name) {
    char path[300];
    (void)snprintf(path, sizeof path, "/dev/shm/holdfast-%s", name);
    return access(path, F_OK) == 0;
}

/* A new segment; or, if there is one, a participant of it. */
static inline hf_shm *help_make(const char *name, uint64_t size) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, size);
    OK(hf_shm_open(name, HF_SHM_OPEN_OR_CREATE, &options, &shm));
    return shm;
}

static inline hf_shm *help_join(const char *name) {
    hf_shm *shm = NULL;
    OK(hf_shm_open(name, HF_SHM_OPEN, NULL, &shm));
    return shm;
}

/* Runs `body` in a child that has joined the segment; it is expected to end by itself, or is killed. */
static inline pid_t help_run(const char *name, void (*body)(hf_shm *shm)) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(60);
        body(help_join(name));
        _exit(0);
    }
    return child;
}

static inline void help_kill(pid_t child) {
    int status;
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
}

/* Always adds up. */
static inline hf_shm_info help_info(hf_shm *shm) {
    hf_shm_info info;
    OK(hf_shm_info_of(shm, &info));
    CHECK_EQ(info.size, info.bytes_meta + info.bytes_used + info.bytes_free);
    return info;
}

#endif
