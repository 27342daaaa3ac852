/* power_medium.h - a file of which only what was flushed is sure: images of it as a power cut leaves them.
 *
 * Method      msync is replaced by one that notes which bytes reached the medium. An image is the file
 *             after a restart of the machine: each page (or sector, or line) is either what was flushed
 *             last or what is in memory now, as drawn.
 * Contract    one source file of a program includes this: it defines msync and fsync. medium_make comes
 *             first, medium_drop last; begin makes the segment under test. While power_fails is the
 *             step hook, `verify` sees an image at every `stride`-th step.
 * Talks to    shm_help.h.   Called by steps_power*.c. */
#ifndef HF_TESTS_SHM_POWER_MEDIUM_H
#define HF_TESTS_SHM_POWER_MEDIUM_H

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "shm/layout.h"
#include "shm/segment_state.h"
#include "shm_help.h"

enum { SIZE = 384 << 10 };

static char folder[200], path[256], image_path[256];
static char *medium, *image; /* [SIZE] */
static char *memory;         /* where the segment under test is mapped; NULL: not yet */
static bool learns;          /* the first flush of an opener is that of the header */
static check_random draw;

/* --- the medium ------------------------------------------------------------------------------- */

/* Instead of the C library's: nothing is written, but what would be on the medium is noted. */
int msync(void *address, size_t size, int flags) {
    (void)flags;
    if (learns) memory = address;
    learns = false;
    uintptr_t at = (uintptr_t)address, base = (uintptr_t)memory;
    if (memory == NULL || at < base || at - base >= SIZE) return 0;
    if (size > SIZE - (at - base)) size = SIZE - (at - base);
    memcpy(medium + (at - base), address, size);
    return 0;
}

int fsync(int file) {
    (void)file;
    return 0;
}

enum mix { MIX_OLD, MIX_NEW, MIX_ONE_OLD, MIX_ONE_NEW, MIX_DRAWN, MIXES };

static inline void image_make(enum mix mix, size_t grain) {
    size_t one = check_random_below(&draw, SIZE / grain) * grain;
    for (size_t at = 0; at < SIZE; at += grain) {
        bool new = mix == MIX_NEW || (mix == MIX_ONE_NEW && at == one) ||
                   (mix == MIX_ONE_OLD && at != one) ||
                   (mix == MIX_DRAWN && check_random_below(&draw, 2) == 0);
        memcpy(image + at, (new ? memory : medium) + at, grain);
    }
    /* The machine has started again. */
    struct hfi_shm_header *header = (struct hfi_shm_header *)image;
    if (header->boot != 0) header->boot ^= 2;
}

static inline void image_write(void) {
    int file = open(image_path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    CHECK(file >= 0 && write(file, image, SIZE) == SIZE);
    close(file);
}

static inline hf_shm *open_at(const char *at, hf_shm_mode mode) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, mode == HF_SHM_OPEN ? 0 : SIZE);
    options.path = at;
    options.participants_max = 40; /* rows do not end where pages do */
    OK(hf_shm_open(NULL, mode, &options, &shm));
    return shm;
}

static inline int fault_print(const char *name, const char *fault, void *context) {
    (void)context;
    fprintf(stderr, "%s: %s\n", name, fault);
    return 0;
}

/* --- the cuts --------------------------------------------------------------------------------- */

static void (*verify)(void); /* looks at the image of a cut */
static uint64_t images;      /* that it has seen */
static unsigned stride, steps, step_phase, effort = 1;

static inline void *run_verify(void *nothing) {
    verify();
    return nothing;
}

static inline void power_fails(void) {
    static const size_t grains[] = {4096, 4096, 512, 64};
    if (++steps % stride != step_phase) return;
    void (*hook)(void) = hfi_shm_step_hook;
    hfi_shm_step_hook = NULL;
    image_make((enum mix)check_random_below(&draw, MIXES),
               grains[check_random_below(&draw, sizeof grains / sizeof *grains)]);
    image_write();
    /* On a thread of its own: the script's may hold locks that rank above those of opening. */
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, run_verify, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    images++;
    hfi_shm_step_hook = hook;
}

static inline hf_shm *begin(void) {
    memory = NULL;
    memset(medium, 0, SIZE);
    hf_shm *shm = open_at(path, HF_SHM_CREATE);
    memory = shm->base;
    memcpy(medium, memory, SIZE); /* making a file ends with all of it on the medium */
    return shm;
}

static inline void expect_caught(unsigned mutant, void (*test)(void)) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int nowhere = open("/dev/null", O_WRONLY);
        (void)dup2(nowhere, 1), (void)dup2(nowhere, 2);
        (void)unlink(path);
        CHECK_WATCHDOG(60); /* a hang is caught as well */
        hfi_shm_mutant = mutant;
        effort = CHECK_SANITIZED ? 300 : 30; /* it ends when it is caught */
        test();
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    (void)unlink(path);
    CHECK_SAY(!WIFEXITED(status) || WEXITSTATUS(status) != 0, "mutant %u is not caught", mutant);
}

static inline void medium_make(void) {
    const char *place = getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/holdfast-t-XXXXXX", place && *place ? place : "/tmp");
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/segment", folder);
    (void)snprintf(image_path, sizeof image_path, "%s/image", folder);
    medium = harness_shared(SIZE);
    image = harness_shared(SIZE);
    draw = (check_random){harness_seed()};
}

static inline void medium_drop(void) {
    (void)unlink(image_path);
    (void)rmdir(folder);
}

#endif
