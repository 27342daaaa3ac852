/* test_report.c - reports: their text, their JSON, who is told, what is kept, what policy does.
 * Method  expected texts are literal; abort runs in a child with fd 2 in a pipe; concurrent emitters
 *         stamp every byte of a report, so a torn copy cannot look whole. */
#include "base/report.h"

#include <errno.h>
#include <holdfast/heap.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "check.h"

static hf_report make_report(hf_report_kind kind) {
    hf_report report = {.kind = kind, .found_by = "free", .thread_id = 4711, .time_ns = 17};
    return report;
}

static hf_report make_overflow(void) {
    hf_report report = make_report(HF_REPORT_OVERFLOW);
    report.address = report.block = (const void *)0x7f1200000040;
    report.block_size = 24;
    report.class_size = 48;
    report.owner = "small";
    report.heap_id = 1;
    report.damage_offset = 24;
    report.damage_length = 3;
    memcpy(report.bytes, "AA\x01", 3);
    report.bytes_count = 3;
    report.expected = 0x1122334455667788;
    report.found = 0x1122334455014141;
    return report;
}

static const char *text_of(const hf_report *report) {
    static char text[8192];
    size_t wanted = hf_report_format(report, text, sizeof text);
    CHECK_EQ(wanted, strlen(text));
    return text;
}

/* ---- text ---- */

static void test_overflow_with_sites_reads_well(void) {
    hf_report report = make_overflow();
    strcpy(report.site_noticed, "app.py:20 in <module>\napp.py:12 in main\n");
    strcpy(report.site_allocated, "app.py:9 in make");
    strcpy(report.site_freed, "app.py:11 in drop");
    CHECK_STR(text_of(&report),
              "holdfast: OVERFLOW: bytes after the end of the block were overwritten\n"
              "  block 0x7f1200000040 of 24 bytes (class 48, small, heap 1, domain libc)\n"
              "  3 bytes past the end overwritten, from offset 24: 41 41 01  |AA.|\n"
              "  expected 0x1122334455667788, found 0x1122334455014141\n"
              "  noticed in free on thread 4711, at:\n"
              "    app.py:20 in <module>\n"
              "    app.py:12 in main\n"
              "  allocated at:\n"
              "    app.py:9 in make\n"
              "  freed at:\n"
              "    app.py:11 in drop\n"
              "  see docs/failure-modes.md#overflow\n");
}

static void test_unrecorded_site_says_what_to_do(void) {
    hf_report report = make_report(HF_REPORT_DOUBLE_FREE);
    report.address = report.block = (const void *)0x1000;
    CHECK_STR(text_of(&report),
              "holdfast: DOUBLE_FREE: the block was freed twice\n"
              "  block 0x1000 (domain libc)\n"
              "  noticed in free on thread 4711\n"
              "  call sites were not recorded for this block: run with --sites=all\n"
              "  see docs/failure-modes.md#double-free\n");
}

static void test_each_kind_says_what_it_knows(void) {
    hf_report report = make_report(HF_REPORT_INVALID_FREE);
    report.address = (const void *)0xdead;
    CHECK_STR(text_of(&report),
              "holdfast: INVALID_FREE: the pointer does not belong to any block of this heap\n"
              "  pointer 0xdead was given to free\n"
              "  noticed in free on thread 4711\n"
              "  see docs/failure-modes.md#invalid-free\n");

    report = make_report(HF_REPORT_INTERIOR_FREE);
    report.block = (const void *)0x1000;
    report.address = (const void *)0x1010;
    CHECK(strstr(text_of(&report), "\n  pointer 0x1010 is 16 bytes into the block\n") != NULL);

    report = make_report(HF_REPORT_SIZE_MISMATCH);
    report.address = report.block = (const void *)0x1000;
    report.block_size = 24;
    report.given_size = 1;
    CHECK(strstr(text_of(&report), "\n  the caller said 1 byte, it asked for 24\n") != NULL);

    report = make_report(HF_REPORT_DOMAIN_MISMATCH);
    report.address = report.block = (const void *)0x1000;
    report.domain = HF_DOMAIN_PY_MEM;
    report.freed_as = HF_DOMAIN_LIBC;
    CHECK(strstr(text_of(&report),
                 "domain py_mem)\n  allocated by PyMem_*, freed by malloc and its "
                 "family\n") != NULL);

    report = make_report(HF_REPORT_UNDERFLOW);
    report.block = report.address = (const void *)0x1000;
    report.block_size = 24;
    report.damage_offset = -8;
    report.damage_length = 8;
    CHECK(strstr(text_of(&report), "\n  8 bytes before the start overwritten, from offset -8\n") !=
          NULL);

    report = make_report(HF_REPORT_USE_AFTER_FREE);
    report.block = report.address = (const void *)0x1000;
    report.damage_length = 40;
    report.bytes_count = 1000; /* a damaged count must not read past the field */
    CHECK(strstr(text_of(&report), "\n  40 bytes overwritten, from offset 0: 00 00 ") != NULL);
    CHECK(strstr(text_of(&report), " 00 ...  |................................|\n") != NULL);

    report = make_report((hf_report_kind)99);
    CHECK(strstr(text_of(&report), "holdfast: UNKNOWN: ") != NULL);
}

static void test_names_match_the_table(void) {
#define HF_REPORT(name, python, anchor, sentence)                                                  \
    CHECK_STR(hf_report_kind_name(HF_REPORT_##name), #name);                                       \
    CHECK_STR(hf_report_kind_sentence(HF_REPORT_##name), sentence);                                \
    CHECK_STR(hf_report_kind_anchor(HF_REPORT_##name), anchor);
#include <holdfast/report.def>
#undef HF_REPORT
    CHECK_STR(hf_report_kind_name(HF_REPORT_KIND_COUNT), "UNKNOWN");
}

static void test_format_cut_short_is_terminated(void) {
    hf_report report = make_overflow();
    char text[40];
    memset(text, 'x', sizeof text);
    size_t wanted = hf_report_format(&report, text, 20);
    CHECK_EQ(wanted, strlen(text_of(&report)));
    CHECK_STR(text, "holdfast: OVERFLOW:");
    CHECK_EQ(text[20], 'x');
}

static void test_json_holds_every_field(void) {
    hf_report report = make_overflow();
    strcpy(report.site_allocated, "a \"b\".py:9 in make\nc.py:1 in f");
    char text[4096];
    CHECK_LT(hf_report_json(&report, text, sizeof text), sizeof text);
    CHECK_STR(
        text,
        "{\"kind\":\"OVERFLOW\",\"sentence\":\"bytes after the end of the block were overwritten\","
        "\"anchor\":\"overflow\",\"exception\":\"OverflowedBlockError\",\"time_ns\":17,"
        "\"thread_id\":4711,\"found_by\":\"free\",\"address\":\"0x7f1200000040\","
        "\"block\":\"0x7f1200000040\",\"block_size\":24,\"class_size\":48,\"damage_offset\":24,"
        "\"damage_length\":3,\"expected\":\"0x1122334455667788\",\"found\":\"0x1122334455014141\","
        "\"bytes\":\"41 41 01\",\"domain\":\"libc\",\"freed_as\":\"libc\",\"given_size\":0,"
        "\"owner\":\"small\",\"heap_id\":1,\"site_noticed\":\"\","
        "\"site_allocated\":\"a \\\"b\\\".py:9 in make\\nc.py:1 in f\",\"site_freed\":\"\"}");
}

/* ---- delivery ---- */

static unsigned handled, sunk;
static hf_report handler_saw;
static void *handler_context;

static void count_handler(const hf_report *report, void *context) {
    handled++;
    handler_saw = *report;
    handler_context = context;
    errno = EDOM;
}

static void nested_handler(const hf_report *report, void *context) {
    (void)report, (void)context;
    handled++;
    hf_report inner = make_report(HF_REPORT_METADATA);
    hfi_report_emit(&inner);
}

static void count_sink(const hf_report *report) {
    (void)report;
    sunk++;
}

static void nested_sink(const hf_report *report) {
    (void)report;
    sunk++;
    hf_report inner = make_report(HF_REPORT_METADATA);
    hfi_report_emit(&inner);
}

static void test_emit_fills_delivers_and_keeps_errno(void) {
    int context;
    handled = sunk = 0;
    CHECK(hf_report_handler_set(count_handler, &context) == NULL);
    hfi_report_sink_set(count_sink);
    uint64_t before = hf_report_count();
    hf_report report = {.kind = HF_REPORT_OVERFLOW};
    errno = ENOENT;
    hfi_report_emit(&report);
    CHECK_EQ(errno, ENOENT);
    CHECK_EQ(hf_report_count(), before + 1);
    CHECK_EQ(handled, 1);
    CHECK_EQ(sunk, 1);
    CHECK_PTR(handler_context, &context);
    CHECK_EQ(handler_saw.struct_size, sizeof report);
    CHECK_GT(handler_saw.time_ns, UINT64_C(1500000000) * 1000000000u);
    CHECK_EQ(handler_saw.thread_id, getpid()); /* the main thread's id */
    hf_report kept;
    CHECK_EQ(hf_report_recent(&kept, 1), 1);
    CHECK_EQ(memcmp(&kept, &report, sizeof kept), 0);
    CHECK(hf_report_handler_set(NULL, NULL) == count_handler);
    hfi_report_sink_set(NULL);
    hfi_report_emit(&report);
    CHECK_EQ(handled, 1);
    CHECK_EQ(sunk, 1);
}

static void test_report_inside_the_handler_is_counted_not_delivered(void) {
    handled = sunk = 0;
    uint64_t before = hf_report_count();
    (void)hf_report_handler_set(nested_handler, NULL);
    hfi_report_sink_set(count_sink);
    hf_report report = make_report(HF_REPORT_OVERFLOW);
    hfi_report_emit(&report);
    CHECK_EQ(handled, 1);
    CHECK_EQ(sunk, 2); /* it is corruption all the same: written */
    CHECK_EQ(hf_report_count(), before + 2);

    handled = sunk = 0;
    (void)hf_report_handler_set(NULL, NULL);
    hfi_report_sink_set(nested_sink);
    hfi_report_emit(&report);
    CHECK_EQ(sunk, 1);
    CHECK_EQ(hf_report_count(), before + 4);
    hfi_report_sink_set(NULL);
}

static void test_recent_keeps_the_last_64_in_order(void) {
    static hf_report kept[80];
    for (unsigned i = 0; i < 100; i++) {
        hf_report report = make_report(HF_REPORT_OVERFLOW);
        report.given_size = i;
        hfi_report_emit(&report);
    }
    CHECK_EQ(hf_report_recent(kept, 80), 64);
    for (unsigned i = 0; i < 64; i++)
        CHECK_EQ(kept[i].given_size, 36 + i);
    CHECK_EQ(hf_report_recent(kept, 3), 3);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(kept[i].given_size, 97 + i);
    CHECK_EQ(hf_report_recent(kept, 0), 0);
}

/* ---- policy ---- */

static void test_policy_raise_hands_each_report_over_once(void) {
    hf_report report = make_report(HF_REPORT_OVERFLOW), taken;
    CHECK_EQ(hf_report_take_pending(&taken), 0); /* under policy `report` none waits */
    CHECK_EQ(hf_policy_set(HF_POLICY_RAISE), HF_OK);
    for (unsigned i = 0; i < 3; i++) {
        report.given_size = 1000 + i;
        hfi_report_emit(&report);
    }
    CHECK_EQ(hf_policy_set(HF_POLICY_REPORT), HF_OK);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(hf_report_take_pending(&taken), 1);
        CHECK_EQ(taken.given_size, 1000 + i);
    }
    CHECK_EQ(hf_report_take_pending(&taken), 0);
    CHECK_EQ(hf_policy_set((hf_policy)3), HF_E_INVALID);
    CHECK_EQ(hfi_policy(), HF_POLICY_REPORT);
}

/* Emits under policy abort in a child; returns what it wrote to fd 2. */
static const char *abort_in_child(hfi_report_sink sink) {
    static char text[8192];
    int ends[2], status;
    CHECK_EQ(pipe(ends), 0);
    pid_t child = fork();
    CHECK_NE(child, -1);
    if (child == 0) {
        (void)dup2(ends[1], 2);
        hfi_report_sink_set(sink);
        (void)hf_policy_set(HF_POLICY_ABORT);
        hf_report report = make_overflow();
        hfi_report_emit(&report);
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t got;
    while ((got = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    close(ends[0]);
    text[length] = '\0';
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGABRT);
    return text;
}

static void test_policy_abort_writes_the_report_and_ends(void) {
    hf_report report = make_overflow();
    char expected[4096];
    (void)hf_report_format(&report, expected, sizeof expected);
    CHECK_STR(abort_in_child(NULL), expected);
    CHECK_STR(abort_in_child(count_sink), ""); /* the sink has written it, wherever it wants */
}

/* ---- call sites ---- */

static size_t fake_capture(uintptr_t *frames, size_t capacity) {
    CHECK_GE(capacity, 2);
    frames[0] = 7;
    frames[1] = 8;
    return 2;
}

static size_t fake_render(const uintptr_t *frames, size_t count, char *buffer, size_t size) {
    return (size_t)snprintf(buffer, size, "%zu frames, %d and %d", count, (int)frames[0],
                            (int)frames[1]);
}

static void test_installed_site_functions_fill_where_it_was_noticed(void) {
    uintptr_t frames[4];
    char text[64] = "left over";
    CHECK_EQ(hfi_site_capture_now(frames, 4), 0);
    CHECK_EQ(hfi_site_render_to(frames, 2, text, sizeof text), 0);
    CHECK_STR(text, "");
    hf_site_functions_set(fake_capture, fake_render);
    CHECK_EQ(hfi_site_capture_now(frames, 4), 2);
    CHECK_EQ(hfi_site_render_to(frames, 2, text, sizeof text), strlen(text));
    CHECK_STR(text, "2 frames, 7 and 8");
    hf_report report = make_report(HF_REPORT_OVERFLOW);
    hfi_report_emit(&report);
    CHECK_STR(report.site_noticed, "2 frames, 7 and 8");
    strcpy(report.site_noticed, "known already");
    hfi_report_emit(&report);
    CHECK_STR(report.site_noticed, "known already");
    hf_site_functions_set(NULL, NULL);
}

/* ---- threads ---- */

enum { EMITTERS = 4, EMITS = CHECK_TSAN ? 3000 : 25000 };
static _Atomic int emitters_running;

/* Every field a reader compares carries the same number. */
static void stamp(hf_report *report, uint64_t number) {
    *report = make_report(HF_REPORT_USE_AFTER_FREE);
    report->expected = report->found = number;
    report->given_size = (size_t)number;
    memset(report->bytes, (int)(number & 0xff), sizeof report->bytes);
    memset(report->site_noticed, 'a' + (int)(number % 26), sizeof report->site_noticed - 1);
    memset(report->site_freed, 'a' + (int)(number % 26), sizeof report->site_freed - 1);
}

static void check_stamp(const hf_report *report) {
    hf_report expected;
    stamp(&expected, report->expected);
    expected.struct_size = report->struct_size;
    CHECK_EQ(memcmp(report, &expected, sizeof expected), 0);
}

static void *emit_many(void *argument) {
    uint64_t base = (uint64_t)(uintptr_t)argument * EMITS;
    for (unsigned i = 0; i < EMITS; i++) {
        hf_report report;
        stamp(&report, base + i);
        hfi_report_emit(&report);
    }
    atomic_fetch_sub(&emitters_running, 1);
    return NULL;
}

static _Atomic uint8_t taken_once[EMITTERS * EMITS];

static void *take_many(void *argument) {
    static _Thread_local hf_report report;
    uint64_t *count = argument;
    for (bool last = false; !last;) {
        last = atomic_load(&emitters_running) == 0;
        while (hf_report_take_pending(&report)) {
            check_stamp(&report);
            CHECK_EQ(atomic_fetch_add(&taken_once[report.expected], 1), 0);
            ++*count;
        }
    }
    return NULL;
}

static void test_concurrent_emitters_and_readers_never_see_a_torn_report(void) {
    static hf_report kept[64];
    pthread_t emitters[EMITTERS], takers[2];
    uint64_t taken[2] = {0, 0}, before = hf_report_count();
    /* Drop the reports of earlier tests out of the ring: they have no stamp. */
    for (unsigned i = 0; i < 64; i++) {
        stamp(&kept[0], i);
        hfi_report_emit(&kept[0]);
    }
    CHECK_EQ(hf_policy_set(HF_POLICY_RAISE), HF_OK);
    atomic_store(&emitters_running, EMITTERS);
    for (uintptr_t i = 0; i < EMITTERS; i++)
        CHECK_EQ(pthread_create(&emitters[i], NULL, emit_many, (void *)i), 0);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&takers[i], NULL, take_many, &taken[i]), 0);
    while (atomic_load(&emitters_running) > 0) {
        size_t count = hf_report_recent(kept, 64);
        for (size_t i = 0; i < count; i++)
            check_stamp(&kept[i]);
    }
    for (unsigned i = 0; i < EMITTERS; i++)
        CHECK_EQ(pthread_join(emitters[i], NULL), 0);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(takers[i], NULL), 0);
    CHECK_EQ(hf_policy_set(HF_POLICY_REPORT), HF_OK);
    CHECK_EQ(hf_report_count(), before + 64 + EMITTERS * EMITS);
    CHECK_GT(taken[0] + taken[1], 0);
    /* A report that met a writer in its slot was not kept; no slot is lost for good. */
    for (unsigned i = 0; i < 64; i++) {
        stamp(&kept[0], i);
        hfi_report_emit(&kept[0]);
    }
    CHECK_EQ(hf_report_recent(kept, 64), 64);
    for (unsigned i = 0; i < 64; i++)
        CHECK_EQ(kept[i].expected, i);
}

static int context_a, context_b;
static void handler_a(const hf_report *report, void *context) {
    (void)report;
    CHECK_PTR(context, &context_a);
}
static void handler_b(const hf_report *report, void *context) {
    (void)report;
    CHECK_PTR(context, &context_b);
}

static void test_handler_and_context_change_together(void) {
    pthread_t emitters[EMITTERS];
    atomic_store(&emitters_running, EMITTERS);
    for (uintptr_t i = 0; i < EMITTERS; i++)
        CHECK_EQ(pthread_create(&emitters[i], NULL, emit_many, (void *)i), 0);
    for (unsigned i = 0; atomic_load(&emitters_running) > 0; i++)
        (void)hf_report_handler_set(i & 1 ? handler_a : handler_b, i & 1 ? &context_a : &context_b);
    for (unsigned i = 0; i < EMITTERS; i++)
        CHECK_EQ(pthread_join(emitters[i], NULL), 0);
    (void)hf_report_handler_set(NULL, NULL);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_overflow_with_sites_reads_well);
    CHECK_RUN(test_unrecorded_site_says_what_to_do);
    CHECK_RUN(test_each_kind_says_what_it_knows);
    CHECK_RUN(test_names_match_the_table);
    CHECK_RUN(test_format_cut_short_is_terminated);
    CHECK_RUN(test_json_holds_every_field);
    CHECK_RUN(test_emit_fills_delivers_and_keeps_errno);
    CHECK_RUN(test_report_inside_the_handler_is_counted_not_delivered);
    CHECK_RUN(test_recent_keeps_the_last_64_in_order);
    CHECK_RUN(test_policy_raise_hands_each_report_over_once);
    CHECK_RUN(test_policy_abort_writes_the_report_and_ends);
    CHECK_RUN(test_installed_site_functions_fill_where_it_was_noticed);
    CHECK_RUN(test_concurrent_emitters_and_readers_never_see_a_torn_report);
    CHECK_RUN(test_handler_and_context_change_together);
    return 0;
}
