/* test_arena_debug.c - the debug switches: canaries, records, validation, leaks, the log; damaged edges.
 * Method      each sin is committed and the report compared field by field; a report is made once. */
#include <base/hooks.h>
#include <errno.h>
#include <os/os.h>

#include "arena_account.h"
#include "content.h"

static hf_report last;
static int reports;

static void note(const hf_report *report, void *context) {
    (void)context;
    last = *report;
    reports++;
}

static hf_arena *open_with(uint32_t track, uint32_t validate, uint32_t corruption, uint32_t log) {
    hf_arena_options options;
    hf_arena_options_init(&options, HF_ARENA_DEFAULT);
    options.track_allocations = track;
    options.validate_access = validate;
    options.check_corruption = corruption;
    options.log_operations = log;
    options.name = "debugged";
    reports = 0;
    return arena_open(&options);
}

/* Writing where no block is would end a program under AddressSanitizer, and rightly. */
#define SINS_ALLOWED (!CHECK_ASAN)

static void test_overflow_is_reported_with_exact_place_and_size(void) {
    if (!SINS_ALLOWED) return;
    for (size_t size = 1; size < 70; size++) {
        hf_arena *arena = open_with(1, 0, 1, 0);
        char *block = must(hf_arena_alloc(arena, size)), *next = must(hf_arena_alloc(arena, 10));
        CHECK_GE(next - block, (ptrdiff_t)size + 16);
        block[size] ^= 0x55;
        block[size + 2] ^= 0x55;
        size_t found = 0;
        CHECK_EQ(hf_arena_check(arena, &found), HF_E_CORRUPT);
        CHECK_EQ(found, 1);
        CHECK_EQ(reports, 1);
        CHECK_EQ(last.kind, HF_REPORT_OVERFLOW);
        CHECK_PTR(last.block, block);
        CHECK_EQ(last.block_size, size);
        CHECK_EQ(last.damage_offset, (ptrdiff_t)size);
        CHECK_EQ(last.damage_length, 3);
        CHECK_STR(last.owner, "debugged");
        CHECK_STR(last.found_by, "arena_check");
        CHECK(last.expected != last.found);
        CHECK_EQ(hf_arena_check(arena, &found), HF_E_CORRUPT); /* still damaged, not news */
        CHECK_EQ(reports, 1);
        CHECK_EQ(hf_arena_reset(arena), HF_OK);
        CHECK_EQ(reports, 1);
        CHECK_EQ(hf_arena_check(arena, &found), HF_OK);
        CHECK_EQ(hf_arena_destroy(arena), HF_OK);
    }
}

static void test_terminator_behind_a_block_is_always_found(void) {
    if (!SINS_ALLOWED) return;
    /* The canary is drawn anew for each arena: a byte that was 0 in one of 256 would show here. */
    for (int i = 0; i < 3000; i++) {
        hf_arena *arena = open_with(0, 0, 1, 0);
        char *text = must(hf_arena_alloc(arena, 5));
        memcpy(text, "hello", sizeof "hello");
        CHECK_EQ(hf_arena_check(arena, NULL), HF_E_CORRUPT);
        CHECK_EQ(reports, 1);
        CHECK_EQ(last.damage_offset, 5);
        CHECK_EQ(hf_arena_destroy(arena), HF_OK);
    }
}

static void test_overflow_is_found_by_rewind_reset_free_and_destroy(void) {
    if (!SINS_ALLOWED) return;
    const char *const finders[] = {"arena_rewind", "arena_reset", "arena_free", "arena_destroy"};
    for (int way = 0; way < 4; way++) {
        hf_arena *arena = open_with(0, 0, 1, 0);
        hf_mark mark;
        CHECK_EQ(hf_arena_mark(arena, &mark), HF_OK);
        char *block = must(hf_arena_alloc(arena, 40));
        block[47] ^= 1; /* the last byte a rounding to 16 would have hidden */
        if (way == 0) CHECK_EQ(hf_arena_rewind(arena, &mark), HF_OK);
        if (way == 1) CHECK_EQ(hf_arena_reset(arena), HF_OK);
        if (way == 2) hf_arena_free(arena, block, 40);
        CHECK_EQ(hf_arena_destroy(arena), HF_OK);
        CHECK_EQ(reports, 1);
        CHECK_EQ(last.kind, HF_REPORT_OVERFLOW);
        CHECK_EQ(last.damage_offset, 47);
        CHECK_STR(last.found_by, finders[way]);
    }
}

static void test_wrong_frees_are_reported(void) {
    hf_arena *arena = open_with(0, 1, 0, 0);
    char *a = must(hf_arena_alloc(arena, 100)), *b = must(hf_arena_alloc(arena, 100));
    hf_arena_free(arena, a + 16, 84);
    CHECK_EQ(reports, 1);
    CHECK_EQ(last.kind, HF_REPORT_INTERIOR_FREE);
    CHECK_PTR(last.block, a);
    hf_arena_free(arena, a, 100);
    CHECK_EQ(reports, 1);
    hf_arena_free(arena, a, 100);
    CHECK_EQ(reports, 2);
    CHECK_EQ(last.kind, HF_REPORT_DOUBLE_FREE);
    int local = 0;
    hf_arena_free(arena, &local, sizeof local);
    CHECK_EQ(reports, 3);
    CHECK_EQ(last.kind, HF_REPORT_INVALID_FREE);
    CHECK_PTR(last.address, &local);
    hf_arena_free(arena, b, 100);
    CHECK_EQ(reports, 3);
    CHECK_PTR(must(hf_arena_alloc(arena, 5)), b);
    CHECK_EQ(arena_stats(arena).reports, 3);
    arena_close(arena);
}

static void test_every_damaged_edge_is_reported_once(void) {
    if (!SINS_ALLOWED) return;
    enum { CHUNKS = 8 };
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.reserve = 64 << 10;
    for (int way = 0; way < 4; way++) {
        hf_arena *arena = arena_open(&options);
        reports = 0;
        for (int i = 0; i < CHUNKS; i++) {
            char *first = must(hf_arena_alloc(arena, 60000));
            first[-1] ^= 1; /* its chunk's header */
        }
        CHECK_EQ(arena_figures(arena).chunks, CHUNKS);
        size_t found = 0;
        if (way == 1) CHECK_EQ(hf_arena_reset(arena), HF_OK);
        if (way == 2) CHECK_EQ(hf_arena_release(arena), HF_OK);
        if (way == 3) CHECK_EQ(hf_arena_check(arena, &found), HF_E_CORRUPT);
        if (way == 3) CHECK_EQ(found, CHUNKS);
        if (way != 0) {
            CHECK_EQ(reports, CHUNKS);
            CHECK_EQ(arena_stats(arena).reports, CHUNKS);
            CHECK_EQ(hf_arena_check(arena, NULL), HF_E_CORRUPT); /* still damaged, not news */
            CHECK_EQ(hf_arena_reset(arena), HF_OK);
            CHECK_EQ(arena_stats(arena).reports, CHUNKS);
        }
        CHECK_EQ(hf_arena_destroy(arena), HF_OK);
        CHECK_EQ(reports, CHUNKS);
    }
}

static void test_damage_of_an_edge_that_moves_is_not_lost(void) {
    if (!SINS_ALLOWED) return;
    for (int way = 0; way < 3; way++) {
        hf_arena *arena = open_with(0, 0, 0, 0);
        (void)must(hf_arena_alloc(arena, 1 << 20));
        CHECK_EQ(hf_arena_reset(arena), HF_OK);
        size_t size = arena_figures(arena).bytes_left;
        char *block = must(hf_arena_alloc(arena, way == 0 ? size : 16));
        block[size] ^= 1;                                         /* the footer */
        if (way == 0) (void)must(hf_arena_alloc(arena, 1 << 20)); /* moves up   */
        if (way == 1) (void)hfi_hooks_run(hfi_os_clock_ns(), 1);  /* moves down */
        CHECK_EQ(reports, 0);
        if (way != 2) CHECK(arena_figures(arena).bytes_usable != size);
        size_t found = 0;
        CHECK_EQ(hf_arena_check(arena, &found), HF_E_CORRUPT);
        CHECK_EQ(found, 1);
        CHECK_EQ(reports, 1);
        CHECK_EQ(last.kind, HF_REPORT_OVERFLOW);
        CHECK_EQ(last.damage_offset, (ptrdiff_t)size);
        CHECK_EQ(last.damage_length, 1);
        CHECK_EQ(hf_arena_check(arena, NULL), way == 2 ? HF_E_CORRUPT : HF_OK);
        CHECK_EQ(hf_arena_destroy(arena), HF_OK);
        CHECK_EQ(reports, 1);
    }
}

static void test_a_free_that_nobody_asked_about_is_no_report(void) {
    hf_arena *arena = open_with(0, 0, 1, 0); /* knows its blocks, and validates nothing */
    int local = 0;
    hf_arena_free(arena, &local, sizeof local);
    CHECK_EQ(reports, 0);
    CHECK_EQ(arena_stats(arena).reports, 0);
    arena_close(arena);
}

static void test_validate_knows_blocks_to_the_byte(void) {
    hf_arena *arena = open_with(0, 1, 0, 0);
    char *a = must(hf_arena_alloc(arena, 33)), *b = must(hf_arena_alloc(arena, 100));
    CHECK_EQ(hf_arena_validate(arena, a, 33), HF_OK);
    CHECK_EQ(hf_arena_validate(arena, a + 30, 3), HF_OK);
    CHECK_EQ(hf_arena_validate(arena, a, 34), HF_E_INVALID);
    CHECK_EQ(hf_arena_validate(arena, a + 40, 1), HF_E_INVALID);
    CHECK_EQ(hf_arena_validate(arena, a - 1, 1), HF_E_INVALID);
    CHECK_EQ(hf_arena_validate(arena, &arena, 1), HF_E_INVALID);
    CHECK_EQ(hf_arena_validate(arena, b, SIZE_MAX), HF_E_INVALID);
    hf_arena_free(arena, a, 33);
    CHECK_EQ(hf_arena_validate(arena, a, 1), HF_E_INVALID);
    arena_close(arena);
    arena = open_with(0, 0, 0, 0); /* coarser without the switch */
    a = must(hf_arena_alloc(arena, 33));
    CHECK_EQ(hf_arena_validate(arena, a, 48), HF_OK);
    CHECK_EQ(hf_arena_validate(arena, a, 49), HF_E_INVALID);
    arena_close(arena);
}

static int collect(const hf_arena_block *block, void *context) {
    size_t *sum = context;
    *sum += block->size;
    CHECK(block->site != NULL);
    return 0;
}

static size_t capture(uintptr_t *frames, size_t capacity) {
    CHECK_GE(capacity, 1);
    frames[0] = 42;
    return 1;
}

static size_t render(const uintptr_t *frames, size_t count, char *buffer, size_t size) {
    return (size_t)snprintf(buffer, size, "%zu frame, first %zu", count, (size_t)frames[0]);
}

static int show_site(const hf_arena_block *block, void *context) {
    snprintf(context, 64, "%s", block->site);
    return 1;
}

static void test_leaks_are_what_lived_past_the_scope(void) {
    hf_arena *arena = open_with(1, 0, 0, 0);
    char site[64] = "";
    size_t count = 99, sum = 0;
    (void)must(hf_arena_alloc(arena, 7));
    hf_mark mark;
    CHECK_EQ(hf_arena_mark(arena, &mark), HF_OK);
    hf_site_functions_set(capture, render);
    char *noted = must(hf_arena_alloc(arena, 1000));
    (void)must(hf_arena_alloc(arena, 20));
    (void)must(hf_arena_alloc(arena, 3));
    hf_site_functions_set(NULL, NULL);
    hf_arena_free(arena, noted, 1000);
    CHECK_EQ(hf_arena_leaks(arena, &mark, collect, &sum, &count), HF_OK);
    CHECK_EQ(count, 2);
    CHECK_EQ(sum, 23);
    hf_site_functions_set(capture, render);
    CHECK_EQ(hf_arena_leaks(arena, &mark, show_site, site, &count), HF_OK);
    hf_site_functions_set(NULL, NULL);
    CHECK_STR(site, "1 frame, first 42");
    CHECK_EQ(count, 2);
    CHECK_EQ(hf_arena_leaks(arena, NULL, NULL, NULL, &count), HF_OK);
    CHECK_EQ(count, 3);
    CHECK_EQ(hf_arena_rewind(arena, &mark), HF_OK);
    CHECK_EQ(hf_arena_leaks(arena, NULL, NULL, NULL, &count), HF_OK);
    CHECK_EQ(count, 1);
    arena_close(arena);
    arena = open_with(0, 1, 1, 1);
    CHECK_EQ(hf_arena_leaks(arena, NULL, NULL, NULL, &count), HF_E_UNSUPPORTED);
    arena_close(arena);
}

typedef struct seen {
    size_t count, bytes;
} seen;

static int see(const hf_view_block *block, void *context) {
    seen *s = context;
    CHECK_EQ(block->tier, HF_TIER_ARENA);
    CHECK_GE(block->owner, 1);
    if (block->state == HF_BLOCK_LIVE) {
        s->count++;
        s->bytes += block->size;
    }
    return 0;
}

static void test_view_shows_every_live_block(void) {
    hf_arena *arena = open_with(1, 0, 0, 0);
    size_t bytes = 0;
    for (size_t size = 1; size < 500; size++, bytes += size - 1)
        (void)must(hf_arena_alloc(arena, size));
    seen s = {0};
    CHECK_EQ(hf_arena_view(arena, see, &s), HF_OK);
    CHECK_EQ(s.count, 499);
    CHECK_EQ(s.bytes, bytes);
    CHECK_EQ(arena_stats(arena).bytes_in_use, bytes);
    arena_close(arena);
    arena = open_with(0, 0, 0, 0); /* without records: what each chunk has handed out */
    (void)must(hf_arena_alloc(arena, 1000));
    s = (seen){0};
    CHECK_EQ(hf_arena_view(arena, see, &s), HF_OK);
    CHECK_EQ(s.count, 1);
    CHECK_EQ(s.bytes, 1008);
    arena_close(arena);
}

static void test_log_keeps_the_last_operations_in_order(void) {
    hf_arena *arena = open_with(0, 0, 0, 1);
    static hf_arena_operation log[HF_ARENA_LOG_MAX + 10];
    hf_mark mark;
    char *block = must(hf_arena_alloc_aligned(arena, 24, 64));
    CHECK_EQ(hf_arena_mark(arena, &mark), HF_OK);
    CHECK(hf_arena_resize(arena, block, 24, 24) == 0); /* older than the mark: not logged */
    CHECK_EQ(hf_arena_rewind(arena, &mark), HF_OK);
    CHECK(hf_arena_alloc(arena, SIZE_MAX) == NULL);
    hf_arena_free(arena, block, 24);
    CHECK_EQ(hf_arena_reset(arena), HF_OK);
    CHECK_EQ(hf_arena_release(arena), HF_OK);
    size_t count = hf_arena_log(arena, log, HF_ARENA_LOG_MAX + 10);
    const char *const story[] = {"create", "alloc", "mark",  "rewind",
                                 "refuse", "free",  "reset", "release"};
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(log[i].number, i + 1);
        if (i > 0) CHECK_GE(log[i].time_ns, log[i - 1].time_ns);
        if (log[i].verb == HF_ARENA_OP_GROW) continue;
        CHECK_LT(at, 8);
        CHECK_STR(hf_arena_verb_name(log[i].verb), story[at++]);
        if (log[i].verb == HF_ARENA_OP_ALLOC) {
            CHECK_PTR(log[i].address, block);
            CHECK_EQ(log[i].size, 24);
            CHECK_EQ(log[i].alignment, 64);
            CHECK_EQ(log[i].thread_id, (uint64_t)gettid());
        }
    }
    CHECK_EQ(at, 8);
    for (int i = 0; i < 1000; i++)
        (void)must(hf_arena_alloc(arena, 16));
    CHECK_EQ(hf_arena_log(arena, log, 3), 3);
    CHECK_EQ(log[2].number, log[0].number + 2);
    CHECK_EQ(hf_arena_log(arena, log, sizeof log / sizeof log[0]), HF_ARENA_LOG_MAX);
    arena_close(arena);
    arena = open_with(1, 1, 1, 0);
    CHECK_EQ(hf_arena_log(arena, log, 10), 0);
    arena_close(arena);
}

static void test_damaged_header_and_footer_are_reported_once(void) {
    if (!SINS_ALLOWED) return;
    static char memory[8192];
    for (int end = 0; end < 2; end++) {
        hf_arena_options options;
        hf_arena_options_init(&options, HF_ARENA_DEFAULT);
        options.name = "buffer";
        hf_arena *arena = NULL;
        CHECK_EQ(hf_arena_create_on(memory, sizeof memory, &options, &arena), HF_OK);
        char *block = must(hf_arena_alloc(arena, 16)), *last_block = block;
        for (char *more; (more = hf_arena_alloc(arena, 16)) != NULL;)
            last_block = more;
        reports = 0;
        char *victim = end == 0 ? block - 9 : last_block + 16 + 3;
        char was = *victim;
        *victim ^= 0x10;
        size_t found = 0;
        CHECK_EQ(hf_arena_check(arena, &found), HF_E_CORRUPT);
        CHECK_EQ(found, 1);
        CHECK_EQ(hf_arena_reset(arena), HF_OK);
        CHECK_EQ(reports, 1);
        CHECK_EQ(last.kind, end == 0 ? HF_REPORT_UNDERFLOW : HF_REPORT_OVERFLOW);
        CHECK_PTR((const char *)last.block + last.damage_offset, victim);
        CHECK_EQ(last.damage_length, 1);
        CHECK_EQ(last.bytes[0], (uint8_t)*victim);
        CHECK_STR(last.owner, "buffer");
        *victim = was;
        CHECK_EQ(hf_arena_check(arena, NULL), HF_OK);
        CHECK_EQ(hf_arena_destroy(arena), HF_OK);
        CHECK_EQ(reports, 1);
    }
}

static void test_records_grow_past_their_first_step(void) {
    hf_arena *arena = open_with(1, 1, 1, 1);
    for (size_t i = 0; i < 20000; i++)
        content_fill(must(hf_arena_alloc(arena, i % 50)), i % 50, i);
    CHECK_EQ(arena_figures(arena).blocks, 20000);
    arena_account(arena);
    CHECK_EQ(hf_arena_reset(arena), HF_OK);
    CHECK_EQ(arena_figures(arena).blocks, 0);
    CHECK_EQ(reports, 0);
    arena_close(arena);
}

int main(void) {
    CHECK_WATCHDOG(60);
    hf_report_handler_set(note, NULL);
    CHECK_EQ(hf_policy_set(HF_POLICY_REPORT), HF_OK);
    CHECK_RUN(test_overflow_is_reported_with_exact_place_and_size);
    CHECK_RUN(test_terminator_behind_a_block_is_always_found);
    CHECK_RUN(test_overflow_is_found_by_rewind_reset_free_and_destroy);
    CHECK_RUN(test_wrong_frees_are_reported);
    CHECK_RUN(test_every_damaged_edge_is_reported_once);
    CHECK_RUN(test_damage_of_an_edge_that_moves_is_not_lost);
    CHECK_RUN(test_a_free_that_nobody_asked_about_is_no_report);
    CHECK_RUN(test_validate_knows_blocks_to_the_byte);
    CHECK_RUN(test_leaks_are_what_lived_past_the_scope);
    CHECK_RUN(test_view_shows_every_live_block);
    CHECK_RUN(test_log_keeps_the_last_operations_in_order);
    CHECK_RUN(test_damaged_header_and_footer_are_reported_once);
    CHECK_RUN(test_records_grow_past_their_first_step);
    return 0;
}
