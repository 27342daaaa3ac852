/* test_leave.c - every way out of a process: its status is what the program said, its output is whole,
 * and its report is written exactly when it should be.
 * Method: the program starts itself with the name of a way out and HOLDFAST_REPORT_DIR set to a
 * fresh folder, and looks at the status, the output and the files. */
#define _GNU_SOURCE
#include "preload_test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

static char folder[64];
static char self_path[4096];

/* -- ways out: the child ------------------------------------------------------------------------- */

static void out_exit(void) {
    exit(11);
}

static void out_underscore(void) {
    fflush(stdout);
    _exit(12);
}

static void out_quick(void) {
    fflush(stdout);
    quick_exit(13);
}

static void out_capital(void) {
    fflush(stdout);
    _Exit(14);
}

static void leave_now(int signal) {
    (void)signal;
    _exit(15);
}

/* From a handler that interrupts the allocator: it must not hang, and say 15. */
static void out_handler(void) {
    fflush(stdout);
    signal(SIGPROF, leave_now);
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGPROF};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &(struct itimerspec){.it_value = pause}, NULL) == 0);
    void *blocks[64] = {0};
    for (unsigned i = 0;; i = i * 5 + 1) {
        free(blocks[i % 64]);
        blocks[i % 64] = malloc(i % 70000);
    }
}

static void *leave_from_thread(void *argument) {
    exit(16);
    return argument;
}

static void out_thread(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, leave_from_thread, NULL) == 0);
    for (;;)
        free(malloc(1000));
}

static void out_exec(void) {
    fflush(stdout);
    unsetenv("LD_PRELOAD");
    execl("/bin/sh", "sh", "-c", "exit 17", (char *)NULL);
}

static void out_exec_path(void) {
    fflush(stdout);
    char *arguments[] = {"sh", "-c", "exit 18", NULL};
    char *environment[] = {"PATH=/bin:/usr/bin", NULL};
    execvpe("sh", arguments, environment);
}

static void out_failed_exec(void) {
    char *arguments[] = {"nothing", NULL};
    errno = 0;
    CHECK(execv("/does/not/exist", arguments) == -1);
    CHECK(errno == ENOENT);
    CHECK(execvp("does-not-exist-anywhere", arguments) == -1);
    CHECK(execlp("does-not-exist-anywhere", "nothing", (char *)NULL) == -1);
    /* Executable, but no program: the report is written, taken back, and written again. */
    char path[128];
    snprintf(path, sizeof path, "%s/broken", folder);
    int file = open(path, O_WRONLY | O_CREAT, 0755);
    CHECK(file >= 0);
    CHECK(write(file,
                "\x7f"
                "ELF",
                4) == 4);
    close(file);
    CHECK(execle(path, "broken", (char *)NULL, environ) == -1);
    CHECK(errno == ENOEXEC);
    unlink(path);
    exit(19);
}

static void out_vfork(void) {
    fflush(stdout);
    pid_t child = vfork();
    if (child == 0) _exit(1);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WEXITSTATUS(status) == 1);
    child = vfork();
    if (child == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(2);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WEXITSTATUS(status) == 0);
    exit(20);
}

static void out_fork(void) {
    fflush(stdout);
    for (unsigned i = 0; i < 3; i++) {
        pid_t child = fork();
        if (child == 0) _exit(5);
        int status = 0;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WEXITSTATUS(status) == 5);
    }
    exit(21);
}

static void out_small_files(void) {
    struct rlimit {
        unsigned long current, maximum;
    } limit = {4096, 4096};
    extern int setrlimit(int resource, const void *limit);
    CHECK(setrlimit(1 /* RLIMIT_FSIZE */, &limit) == 0);
    exit(22);
}

static void out_moved(void) {
    CHECK(chdir("/") == 0);
    CHECK(setenv("HOLDFAST_REPORT_DIR", "/elsewhere", 1) == 0);
    exit(23);
}

static const struct way {
    const char *name;
    void (*leave)(void);
    int status;
    const char *exit_text; /* in the report of the process; NULL: there is none */
    int reports;           /* files ending in .json afterwards                   */
} ways[] = {
    {"exit", out_exit, 11, "\"exit\":\"exit\"", 1},
    {"_exit", out_underscore, 12, "\"exit\":\"_exit\"", 1},
    {"quick_exit", out_quick, 13, "\"exit\":\"quick_exit\"", 1},
    {"_Exit", out_capital, 14, "\"exit\":\"_exit\"", 1},
    {"handler", out_handler, 15, NULL, -1},
    {"thread", out_thread, 16, "\"exit\":\"exit\"", 1},
    {"exec", out_exec, 17, "\"exit\":\"exec\"", 1},
    {"exec_path", out_exec_path, 18, "\"exit\":\"exec\"", 1},
    {"failed_exec", out_failed_exec, 19, "\"exit\":\"exit\"", 1},
    {"vfork", out_vfork, 20, "\"exit\":\"exit\"", 2}, /* itself and /bin/true */
    {"fork", out_fork, 21, "\"exit\":\"exit\"", 4},
    {"small_files", out_small_files, 22, NULL, 0},
    {"moved", out_moved, 23, "\"exit\":\"exit\"", 1},
};

/* -- the parent ---------------------------------------------------------------------------------- */

static size_t read_file(const char *path, char *text, size_t size) {
    int file = open(path, O_RDONLY);
    ssize_t got = file >= 0 ? read(file, text, size - 1) : 0;
    if (file >= 0) close(file);
    text[got > 0 ? got : 0] = '\0';
    return (size_t)(got > 0 ? got : 0);
}

static int count_files(const char *ending) {
    char command[160], text[32];
    snprintf(command, sizeof command, "ls %s | grep -c '[.]%s$'", folder, ending);
    FILE *stream = popen(command, "r");
    CHECK(fgets(text, sizeof text, stream) == text);
    pclose(stream);
    return atoi(text);
}

static void check_files(const struct way *way, pid_t child) {
    static char text[1 << 20];
    char path[128];
    if (way->reports >= 0) CHECK(count_files("json") == way->reports);
    CHECK(count_files("reports") == 0); /* nobody corrupts anything here */
    if (way->exit_text == NULL) return;
    snprintf(path, sizeof path, "%s/%d.json", folder, (int)child);
    CHECK(read_file(path, text, sizeof text) > 0);
    CHECK(strstr(text, way->exit_text) != NULL);
    CHECK(strstr(text, "\"process\":{") != NULL);
    CHECK(strstr(text, way->name) != NULL); /* argv */
    CHECK(text[strlen(text) - 2] == '}');
    snprintf(path, sizeof path, "%s/%d.smaps", folder, (int)child);
    CHECK(read_file(path, text, sizeof text) > 1000);
    CHECK(strstr(text, "Rss:") != NULL);
    snprintf(path, sizeof path, "%s/%d.segments", folder, (int)child);
    CHECK(read_file(path, text, sizeof text) > 0);
    CHECK(strstr(text, " reservation\n") != NULL);
    CHECK(strstr(text, " segment\n") != NULL);
    snprintf(path, sizeof path, "%s/%d.json.part", folder, (int)child);
    CHECK(access(path, F_OK) != 0);
}

static void run(const struct way *way) {
    char out_path[128], command[160], text[64];
    CHECK(mkdir(folder, 0700) == 0);
    snprintf(out_path, sizeof out_path, "%s/out", folder);
    posix_spawn_file_actions_t actions;
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_addopen(&actions, 1, out_path, O_WRONLY | O_CREAT | O_APPEND,
                                           0600) == 0);
    char *arguments[] = {self_path, (char *)(uintptr_t)way->name, NULL};
    pid_t child = 0;
    CHECK(posix_spawn(&child, self_path, &actions, NULL, arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != way->status)
        fprintf(stderr, "way %s: wait status 0x%x\n", way->name, (unsigned)status);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == way->status);
    CHECK(read_file(out_path, text, sizeof text) == 8);
    CHECK(strcmp(text, "leaving\n") == 0);
    check_files(way, child);
    snprintf(command, sizeof command, "rm -r %s", folder);
    CHECK(system(command) == 0);
}

int main(int count, char **arguments) {
    enum { WAYS = sizeof ways / sizeof ways[0] };
    if (count == 2) {
        test_begin(60);
        snprintf(folder, sizeof folder, "%s", getenv("HOLDFAST_REPORT_DIR"));
        printf("leaving\n"); /* standard output is a file: this waits in a buffer */
        for (unsigned i = 0; i < WAYS; i++)
            if (strcmp(arguments[1], ways[i].name) == 0) ways[i].leave();
        return 1;
    }
    test_begin(170);
    CHECK(readlink("/proc/self/exe", self_path, sizeof self_path - 1) > 0);
    char parent[] = "/tmp/holdfast-leave-XXXXXX";
    CHECK(mkdtemp(parent) == parent);
    snprintf(folder, sizeof folder, "%s/run", parent);
    CHECK(setenv("HOLDFAST_REPORT_DIR", folder, 1) == 0);
    for (unsigned i = 0; i < WAYS; i++)
        run(&ways[i]);
    CHECK(rmdir(parent) == 0);
    return 0;
}
