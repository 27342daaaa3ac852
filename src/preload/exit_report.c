/* exit_report.c - the last thing a process does: check its heap and write down what it was.
 *
 *   exit, _exit, quick_exit, exec --> check --> DIR/PID.smaps, DIR/PID.segments --> DIR/PID.json
 *
 * Invariants  one report per process: a forked child writes its own, a vfork child none. PID.json is
 *             renamed into place when all three files are complete, so a reader that sees it sees
 *             everything. Exit status and standard output are untouched whatever happens here.
 * Threads     the first thread to leave writes; others that leave meanwhile wait for it, since the
 *             process dies with the last of them. No lock is held across fork.
 * Fails with  nothing: what cannot be written is left out. A signal handler that leaves from inside
 *             the heap, with a lock held, writes nothing; should anything else not end, the report is
 *             given up after PATIENCE_SECONDS and the exit goes on.
 * Talks to    heap, pages (ranges), interop, base/format.h.   Called by start.c, exec_entry.c, exit_entry.c. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "preload.h"

#include "base/format.h"
#include "base/lock.h"
#include "heap/heap_state.h"
#include "heap/tcache.h"
#include "interop/cpython.h"
#include "os/os.h"
#include "pages/segment.h"
#include <holdfast/heap.h>
#include <holdfast/options.h>
#include <holdfast/stats.h>

enum { PATIENCE_SECONDS = 10 };
enum phase { IDLE, WRITING, DONE };

/* Process id in the upper half, phase in the lower: a forked child finds its parent's id and knows
 * that it has not reported yet, without any handler resetting anything. */
static _Atomic uint64_t state;
static _Atomic uint32_t writer_thread;
static sigjmp_buf give_up;

static char copy_buffer[32 << 10]; /* for the writer only */

static uint64_t state_of(uint32_t process, enum phase phase) {
    return (uint64_t)process << 32 | (uint64_t)phase;
}

/* True if the caller is to write; false if somebody did, does (then it is waited for), or must not. */
static bool claim(uint32_t process) {
    for (unsigned waited_ms = 0; waited_ms < PATIENCE_SECONDS * 1000; waited_ms++) {
        /* SYNC(exit.state): sees the writer's thread id; pairs with the release below. */
        uint64_t now = atomic_load_explicit(&state, memory_order_acquire);
        if (now == state_of(process, DONE)) return false;
        if (now != state_of(process, WRITING)) {
            /* SYNC(exit.state): one writer; pairs with the acquire above. */
            if (!atomic_compare_exchange_strong_explicit(&state, &now, state_of(process, WRITING),
                                                         memory_order_acq_rel,
                                                         memory_order_relaxed))
                continue;
            /* relaxed: read by the same thread, or by one that waits either way. */
            atomic_store_explicit(&writer_thread, hfi_os_thread_id(), memory_order_relaxed);
            return true;
        }
        /* A signal handler that leaves while this very thread writes. relaxed: its own value. */
        if (atomic_load_explicit(&writer_thread, memory_order_relaxed) == hfi_os_thread_id())
            return false;
        struct timespec pause = {.tv_nsec = 1000 * 1000};
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

/* -- patience ------------------------------------------------------------------------------------ */

static void patience_lost(int signal) {
    /* relaxed: set before the timer was. */
    uint32_t writer = atomic_load_explicit(&writer_thread, memory_order_relaxed);
    if (writer == hfi_os_thread_id())
        siglongjmp(give_up, 1);
    else
        (void)syscall(SYS_tgkill, hfi_os_process_id(), writer, signal);
}

struct patience {
    struct sigaction action;
    struct itimerval timer;
    sigset_t mask;
};

static void patience_begin(struct patience *was) {
    struct sigaction action = {.sa_handler = patience_lost};
    struct itimerval timer = {.it_value = {.tv_sec = PATIENCE_SECONDS}};
    sigset_t alarm;
    (void)sigemptyset(&alarm);
    (void)sigaddset(&alarm, SIGALRM);
    (void)setitimer(ITIMER_REAL, &(struct itimerval){0}, &was->timer);
    (void)sigaction(SIGALRM, &action, &was->action);
    (void)pthread_sigmask(SIG_UNBLOCK, &alarm, &was->mask);
    (void)setitimer(ITIMER_REAL, &timer, NULL);
}

static void patience_end(const struct patience *was) {
    (void)setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &was->mask, NULL);
    (void)sigaction(SIGALRM, &was->action, NULL);
    (void)setitimer(ITIMER_REAL, &was->timer, NULL);
}

/* -- files --------------------------------------------------------------------------------------- */

static int create(const char *extension) {
    char path[HFI_PATH_SIZE];
    if (!hfi_preload_path(extension, path)) return -1;
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
}

static void copy_smaps(void) {
    int from = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
    if (from < 0) return;
    int to = create("smaps");
    for (ssize_t got; to >= 0 && (got = read(from, copy_buffer, sizeof copy_buffer)) > 0;)
        hfi_os_write(to, copy_buffer, (size_t)got);
    if (to >= 0) (void)close(to);
    (void)close(from);
}

struct segments_file {
    int file;
    hfi_writer writer;
};

static void write_range(uintptr_t start, uintptr_t end, const char *kind, void *context) {
    struct segments_file *out = context;
    char line[96];
    hfi_writer writer = hfi_writer_make(line, sizeof line);
    hfi_write_hex(&writer, start, 0);
    hfi_write_char(&writer, ' ');
    hfi_write_hex(&writer, end, 0);
    hfi_write_char(&writer, ' ');
    hfi_write_text(&writer, kind);
    hfi_write_char(&writer, '\n');
    size_t length = hfi_writer_finish(&writer);
    size_t used = (size_t)(out->writer.at - out->writer.begin);
    if (used + length >= sizeof copy_buffer) {
        hfi_os_write(out->file, copy_buffer, used);
        out->writer = hfi_writer_make(copy_buffer, sizeof copy_buffer);
    }
    hfi_write_bytes(&out->writer, line, length);
}

static void write_segment(uintptr_t start, uintptr_t end, void *context) {
    write_range(start, end, "segment", context);
}

/* The reservation first, then every run of slices in use within it, then what is held for Python. */
static void write_segments(void) {
    struct segments_file out = {.file = create("segments")};
    if (out.file < 0) return;
    out.writer = hfi_writer_make(copy_buffer, sizeof copy_buffer);
    write_range(hfi_reservation_base, hfi_reservation_base + hfi_reservation_size, "reservation",
                &out);
    hfi_segment_visit(write_segment, &out);
    hfi_python_ranges(write_range, &out);
    hfi_os_write(out.file, copy_buffer, (size_t)(out.writer.at - out.writer.begin));
    (void)close(out.file);
}

/* -- JSON ---------------------------------------------------------------------------------------- */

/* The kernel's copy: what `ps` shows, also where the program wrote over its arguments. */
static void write_arguments(hfi_writer *writer) {
    hfi_json_key(writer, "argv");
    hfi_json_open(writer, '[');
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t got = 0;
    while (file >= 0 && used + 1 < sizeof copy_buffer &&
           (got = read(file, copy_buffer + used, sizeof copy_buffer - 1 - used)) > 0)
        used += (size_t)got;
    if (file >= 0) (void)close(file);
    copy_buffer[used] = '\0';
    for (size_t at = 0; at < used; at++) {
        hfi_json_text(writer, copy_buffer + at);
        while (copy_buffer[at] != '\0')
            at++;
    }
    hfi_json_close(writer, ']');
}

/* Peak of this image. getrusage's figure survives exec: it would be that of whoever started us. */
static uint64_t peak_resident_kb(const struct rusage *usage) {
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t got = file >= 0 ? read(file, copy_buffer, sizeof copy_buffer - 1) : -1;
    if (file >= 0) (void)close(file);
    copy_buffer[got > 0 ? got : 0] = '\0';
    const char *line = strstr(copy_buffer, "VmHWM:");
    if (line == NULL) return (uint64_t)usage->ru_maxrss;
    uint64_t kilobytes = 0;
    for (line += strcspn(line, "0123456789"); *line >= '0' && *line <= '9'; line++)
        kilobytes = kilobytes * 10 + (uint64_t)(*line - '0');
    return kilobytes;
}

static uint64_t nanoseconds(struct timeval time) {
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_usec * 1000u;
}

static void write_process(hfi_writer *writer, const char *how) {
    struct rusage usage = {0};
    (void)getrusage(RUSAGE_SELF, &usage);
    hfi_json_pair_u64(writer, "pid", hfi_preload.process);
    hfi_json_pair_u64(writer, "ppid", (uint64_t)getppid());
    write_arguments(writer);
    hfi_json_pair_text(writer, "exit", how);
    hfi_json_pair_u64(writer, "wall_ns", hfi_os_clock_ns() - hfi_preload.started_ns);
    hfi_json_pair_u64(writer, "user_ns", nanoseconds(usage.ru_utime));
    hfi_json_pair_u64(writer, "sys_ns", nanoseconds(usage.ru_stime));
    hfi_json_pair_u64(writer, "maxrss_kb", peak_resident_kb(&usage));
    hfi_json_pair_u64(writer, "minflt", (uint64_t)usage.ru_minflt);
    hfi_json_pair_u64(writer, "majflt", (uint64_t)usage.ru_majflt);
}

/* One of the texts that others make. Each costs a walk over the heap, so it is made at once in room
 * that mostly suffices; what did not fit is made again, with room for what may have come meanwhile. */
struct made {
    char *text;
    size_t length, size;
};

static struct made make_text(size_t (*make)(char *, size_t)) {
    enum { FIRST = 512 << 10, GROWTH = 32 << 10, ATTEMPTS = 3 };
    struct made made = {.size = FIRST};
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        made.text = hfi_os_map(made.size);
        made.length = made.text != NULL ? make(made.text, made.size) : 0;
        if (made.length < made.size) return made;
        hfi_os_unmap(made.text, made.size);
        made.size = (made.length + GROWTH + HFI_PAGE - 1) & ~(HFI_PAGE - 1);
    }
    return (struct made){0};
}

static void write_made(hfi_writer *writer, const char *key, const struct made *made) {
    hfi_json_key(writer, key);
    if (made->length > 0)
        hfi_write_bytes(writer, made->text, made->length);
    else
        hfi_json_null(writer);
    if (made->text != NULL) hfi_os_unmap(made->text, made->size);
}

static void write_json(const char *how) {
    enum { OWN = 256 << 10 }; /* arguments at their longest, escaped, and the figures above */
    struct made process = make_text(hf_process_json), python = make_text(hfi_python_json);
    size_t size = (process.length + python.length + OWN + HFI_PAGE - 1) & ~(HFI_PAGE - 1);
    char *text = hfi_os_map(size);
    hfi_writer writer = hfi_writer_make(text, text != NULL ? size : 0);
    hfi_json_open(&writer, '{');
    write_process(&writer, how);
    write_made(&writer, "process", &process);
    write_made(&writer, "python", &python);
    hfi_json_close(&writer, '}');
    hfi_write_char(&writer, '\n');
    size_t length = hfi_writer_finish(&writer);
    int file = text != NULL && length < size ? create("json.part") : -1;
    if (file >= 0) {
        char part[HFI_PATH_SIZE], path[HFI_PATH_SIZE];
        hfi_os_write(file, text, length);
        (void)close(file);
        if (hfi_preload_path("json.part", part) && hfi_preload_path("json", path))
            (void)rename(part, path);
    }
    if (text != NULL) hfi_os_unmap(text, size);
}

/* -- the report ---------------------------------------------------------------------------------- */

/* Writing past a file size limit would kill the program with SIGXFSZ. */
static bool files_may_be_large(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur >= (rlim_t)64 << 20;
}

/* A handler runs with its signal blocked. One that interrupted malloc sees a block half made, which
 * is not damage. */
static bool maybe_in_handler(void) {
    sigset_t blocked;
    if (pthread_sigmask(SIG_SETMASK, NULL, &blocked) != 0) return true;
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigismember(&blocked, number) != 1 || sigaction(number, NULL, &action) != 0) continue;
        if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) return true;
    }
    return false;
}

/* Damage nobody has met so far. A forked child's heap is mostly its parent's, which the parent
 * checks, and _exit may come from anywhere: both walk the heap only where a report was asked for. */
static void check(bool asked_for, const char *how) {
    if (hf_options_active()->profile == HF_PROFILE_FAST) return;
    if (!asked_for && (hfi_preload.forked || strcmp(how, "_exit") == 0)) return;
    /* What a thread was in the middle of when its process forked stays half done in the child. */
    if (hfi_threads_lost || maybe_in_handler()) return;
    hfi_found_by = "exit";
    (void)hf_heap_check(hf_heap_default(), NULL);
    hfi_found_by = NULL;
}

static void write_all(const char *how) {
    struct patience was;
    patience_begin(&was);
    if (sigsetjmp(give_up, 0) == 0) {
        check(true, how);
        if (files_may_be_large()) {
            copy_smaps();
            write_segments();
            write_json(how);
        }
    }
    patience_end(&was);
}

void hfi_exit_report(const char *how) {
    int saved = errno;
    bool can = hfi_locks_taken == 0; /* else a signal handler leaves from inside the heap */
    if (can && hfi_preload_is_own_process() && claim(hfi_preload.process)) {
        if (hfi_preload.directory[0] != '\0')
            write_all(how);
        else
            check(false, how);
        /* SYNC(exit.state): those who wait in claim may go; pairs with the acquire there. */
        atomic_store_explicit(&state, state_of(hfi_preload.process, DONE), memory_order_release);
    }
    errno = saved;
}

void hfi_exit_report_undo(void) {
    /* SYNC(exit.state): the next to leave writes again; pairs with the acquire in claim. */
    atomic_store_explicit(&state, state_of(0, IDLE), memory_order_release);
}
