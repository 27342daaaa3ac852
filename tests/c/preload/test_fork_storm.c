/* test_fork_storm.c - a thousand forks while four threads allocate; every child allocates, makes a
 * thread of its own and leaves. Method: a child that hangs is found by the watchdog of the parent,
 * which waits for each; a heap that was forked in the middle of a change fails the child's checks. */
#define _GNU_SOURCE
#include "preload_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { FORKS = 1000, THREADS = 4, LIVE = 256 };

static atomic_bool stop;

static unsigned next_random(unsigned *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void *allocate_until_stopped(void *argument) {
    unsigned random = (unsigned)(uintptr_t)argument;
    unsigned char *blocks[LIVE] = {0};
    size_t sizes[LIVE] = {0};
    /* They are always in the middle of something, but the forks go first. */
    CHECK(setpriority(PRIO_PROCESS, (id_t)gettid(), 19) == 0);
    while (!atomic_load(&stop)) {
        unsigned slot = next_random(&random) % LIVE;
        if (blocks[slot] != NULL) {
            CHECK(blocks[slot][0] == (unsigned char)slot);
            CHECK(blocks[slot][sizes[slot] - 1] == (unsigned char)slot);
            free(blocks[slot]);
        }
        unsigned kind = next_random(&random) % 64;
        sizes[slot] = 1 + next_random(&random) % (kind == 0 ? 300000 : kind < 8 ? 40000 : 700);
        blocks[slot] = malloc(sizes[slot]);
        CHECK(blocks[slot] != NULL);
        blocks[slot][0] = (unsigned char)slot;
        blocks[slot][sizes[slot] - 1] = (unsigned char)slot;
    }
    for (unsigned slot = 0; slot < LIVE; slot++)
        free(blocks[slot]);
    return NULL;
}

static void *allocate_a_little(void *argument) {
    for (unsigned i = 0; i < 20; i++)
        free(calloc(1, 100 + i * 700));
    return argument;
}

static void child(unsigned number) {
    alarm(30);
    char *blocks[64];
    for (unsigned i = 0; i < 64; i++) {
        size_t size = 16u << (i % 15);
        blocks[i] = malloc(size);
        CHECK(blocks[i] != NULL);
        memset(blocks[i], (int)i, size);
    }
    for (unsigned i = 0; i < 64; i++)
        free(blocks[i]);
    if (number % 10 == 0) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, allocate_a_little, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    if (number % 50 == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0) {
            free(malloc(5000));
            _exit(7);
        }
        int status = 0;
        CHECK(waitpid(grandchild, &status, 0) == grandchild);
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 7);
    }
    if (number % 100 == 0) exit(3); /* with all handlers and destructors */
    _exit(3);
}

/* With HOLDFAST_REPORT_DIR every child writes a report; none of them may find damage. */
static int count_files(const char *ending) {
    char command[1200], text[32];
    const char *folder = getenv("HOLDFAST_REPORT_DIR");
    if (folder == NULL) return 0;
    snprintf(command, sizeof command, "ls %s | grep -c '[.]%s$'", folder, ending);
    FILE *stream = popen(command, "r");
    CHECK(fgets(text, sizeof text, stream) == text);
    pclose(stream);
    return atoi(text);
}

int main(void) {
    test_begin(290);
    const char *folder = getenv("HOLDFAST_REPORT_DIR");
    char command[1200];
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir '%s'", folder, folder);
    if (folder != NULL) CHECK(system(command) == 0);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, allocate_until_stopped, (void *)(i + 1)) == 0);
    for (unsigned number = 0; number < FORKS; number++) {
        pid_t forked = fork();
        CHECK(forked >= 0);
        if (forked == 0) child(number);
        int status = 0;
        CHECK(waitpid(forked, &status, 0) == forked);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 3)
            fprintf(stderr, "child %u ended with wait status 0x%x\n", number, (unsigned)status);
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 3);
    }
    atomic_store(&stop, 1);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    if (folder != NULL) CHECK(count_files("json") >= FORKS);
    CHECK(count_files("reports") == 0);
    test_end();
    return 0;
}
