/* test_shm_segment.c - segments come and go: create, open, close, forks, kills of their makers.
 *
 * Method: processes of this test do to each other what programs do; afterwards counts are exact and
 * nothing is left in /dev/shm. */
#include <errno.h>
#include <fcntl.h>
#include <holdfast/shm.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "harness.h"
#include "shm/segment.h"

#define OK(expression) check_ok((expression), #expression, __LINE__)
static void check_ok(hf_status status, const char *what, int line) {
    CHECK_SAY(status == HF_OK, "line %d: %s: %d: %s", line, what, (int)status, hf_shm_detail());
}

static bool is_there(const char *name) {
    char path[300];
    snprintf(path, sizeof path, "/dev/shm/holdfast-%s", name);
    return access(path, F_OK) == 0;
}

static hf_shm *make(const char *name, hf_shm_mode mode) {
    hf_shm_options options;
    hf_shm_options_init(&options, 1 << 20);
    hf_shm *shm = NULL;
    OK(hf_shm_open(name, mode, &options, &shm));
    return shm;
}

static hf_shm *join(const char *name) {
    hf_shm *shm = NULL;
    OK(hf_shm_open(name, HF_SHM_OPEN, NULL, &shm));
    return shm;
}

static hf_shm_info info_of(hf_shm *shm) {
    hf_shm_info info;
    OK(hf_shm_info_of(shm, &info));
    CHECK_EQ(info.size, info.bytes_meta + info.bytes_used + info.bytes_free);
    return info;
}

static void test_last_one_out_removes_the_segment(void) {
    const char *name = harness_name("last");
    hf_shm *one = make(name, HF_SHM_CREATE);
    CHECK(is_there(name));
    hf_shm *two = join(name);
    CHECK_NE(hfi_shm_self(one), hfi_shm_self(two));
    CHECK_EQ(info_of(one).participants_live, 2);
    CHECK_EQ(info_of(two).participants_dead, 0);
    OK(hf_shm_close(one));
    CHECK(is_there(name));
    CHECK_EQ(info_of(two).participants_live, 1);
    OK(hf_shm_close(two));
    CHECK(!is_there(name));
    CHECK_EQ(hf_shm_open(name, HF_SHM_OPEN, NULL, &one), HF_E_NOT_FOUND);
}

static void test_killed_participant_is_seen_and_recovered(void) {
    const char *name = harness_name("killed");
    hf_shm *shm = make(name, HF_SHM_CREATE);
    int ready[2];
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        hf_shm *own = join(name);
        (void)own;
        CHECK(write(ready[1], "x", 1) == 1);
        pause();
        _exit(0);
    }
    char byte;
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK_EQ(info_of(shm).participants_live, 3); /* this, the child of the fork, its own opening */
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK_EQ(info_of(shm).participants_live, 1);
    CHECK_EQ(info_of(shm).participants_dead, 2);
    size_t recovered = 0;
    OK(hf_shm_sweep(shm, &recovered));
    CHECK_EQ(recovered, 2);
    CHECK_EQ(info_of(shm).participants_dead, 0);
    CHECK_EQ(info_of(shm).recoveries, 2);
    OK(hf_shm_close(shm));
    CHECK(!is_there(name));
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_last_one_out_removes_the_segment);
    CHECK_RUN(test_killed_participant_is_seen_and_recovered);
    return 0;
}
