/* shm_help.h - what tests of segments say again and again.
 *
 * Contract    everything ends the test with the sentence of hf_shm_detail where it fails. */
#ifndef HF_TESTS_SHM_HELP_H
#define HF_TESTS_SHM_HELP_H

#include <holdfast/shm.h>
#include <stdio.h>
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

/* Always adds up. */
static inline hf_shm_info help_info(hf_shm *shm) {
    hf_shm_info info;
    OK(hf_shm_info_of(shm, &info));
    CHECK_EQ(info.size, info.bytes_meta + info.bytes_used + info.bytes_free);
    return info;
}

#endif
