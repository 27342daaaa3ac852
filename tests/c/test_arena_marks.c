/* test_arena_marks.c - marks, rewinding, and borrows that refuse it.
 * Method      nested and broken orders of mark, rewind, leave, reset; depths beyond what is kept exactly;
 *             scopes that end while another thread borrows. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "arena_account.h"
#include "content.h"

static hf_mark mark_of(hf_arena *arena) {
    hf_mark mark;
    CHECK_EQ(hf_arena_mark(arena, &mark), HF_OK);
    return mark;
}

static void test_rewind_frees_what_is_younger_and_keeps_the_rest(void) {
    hf_arena *arena = arena_open(NULL);
    char *old = must(hf_arena_alloc(arena, 500));
    content_fill(old, 500, 1);
    hf_mark mark = mark_of(arena);
    char *young = must(hf_arena_alloc(arena, 500));
    for (int i = 0; i < 2000; i++)
        content_fill(must(hf_arena_alloc(arena, 3000)), 3000, 2);
    CHECK_EQ(hf_arena_rewind(arena, &mark), HF_OK);
    CHECK(content_whole(old, 500, 1));
    CHECK_PTR(must(hf_arena_alloc(arena, 500)), young);
    CHECK_EQ(hf_arena_rewind(arena, &mark), HF_OK); /* good again and again */
    CHECK_PTR(must(hf_arena_alloc(arena, 500)), young);
    CHECK_EQ(hf_arena_leave(arena, &mark), HF_OK);
    CHECK_EQ(hf_arena_rewind(arena, &mark), HF_E_INVALID); /* it ended */
    arena_close(arena);
}

static void test_rewind_over_chunks_comes_back(void) {
    hf_arena_options options;
    hf_arena_options_init(&options, HF_ARENA_DEFAULT);
    options.reserve = 256 << 10;
    hf_arena *arena = arena_open(&options);
    for (int i = 0; i < 300; i++)
        content_fill(must(hf_arena_alloc(arena, 1000)), 1000, 1);
    uint64_t used = arena_figures(arena).bytes_in_use;
    hf_mark mark = mark_of(arena);
    uint64_t chunks = 0;
    for (int cycle = 0; cycle < 4; cycle++) {
        for (int i = 0; i < 2000; i++)
            content_fill(must(hf_arena_alloc(arena, 1000)), 1000, 1);
        if (cycle == 0) chunks = arena_figures(arena).chunks;
        CHECK_EQ(arena_figures(arena).chunks, chunks);
        CHECK_EQ(hf_arena_rewind(arena, &mark), HF_OK);
        CHECK_EQ(arena_figures(arena).bytes_in_use, used);
        arena_account(arena);
    }
    arena_close(arena);
}

static void test_stale_marks_are_refused(void) {
    hf_arena *arena = arena_open(NULL), *other = arena_open(NULL);
    hf_mark outer = mark_of(arena);
    (void)must(hf_arena_alloc(arena, 100));
    hf_mark inner = mark_of(arena);
    (void)must(hf_arena_alloc(arena, 100));
    CHECK_EQ(hf_arena_rewind(arena, &outer), HF_OK);
    CHECK_EQ(hf_arena_rewind(arena, &inner), HF_E_INVALID); /* above the cursor */
    for (int i = 0; i < 10; i++)
        (void)must(hf_arena_alloc(arena, 100));
    CHECK_EQ(hf_arena_rewind(arena, &inner), HF_E_INVALID); /* below it, but of another life */
    hf_mark replaced = mark_of(arena);
    CHECK_EQ(hf_arena_rewind(arena, &inner), HF_E_INVALID); /* its level is taken again */
    CHECK_EQ(hf_arena_rewind(arena, &replaced), HF_OK);
    CHECK_EQ(hf_arena_reset(arena), HF_OK);
    CHECK_EQ(hf_arena_rewind(arena, &replaced), HF_E_INVALID); /* made before a reset */
    CHECK_EQ(hf_arena_rewind(arena, &outer), HF_E_INVALID);
    CHECK_EQ(hf_arena_rewind(arena, NULL), HF_E_INVALID);
    hf_mark foreign = mark_of(other);
    (void)must(hf_arena_alloc(arena, 100));
    CHECK_EQ(hf_arena_rewind(arena, &foreign), HF_E_INVALID);
    hf_mark empty = {0};
    CHECK_EQ(hf_arena_rewind(arena, &empty), HF_E_INVALID);
    arena_close(arena);
    arena_close(other);
}

static void test_nested_scopes_far_deeper_than_kept(void) {
    enum { DEPTH = 300 };
    hf_arena *arena = arena_open(NULL);
    static hf_mark marks[DEPTH];
    static char *blocks[DEPTH];
    for (size_t i = 0; i < DEPTH; i++) {
        blocks[i] = must(hf_arena_alloc(arena, 64));
        content_fill(blocks[i], 64, i);
        marks[i] = mark_of(arena);
    }
    for (size_t i = DEPTH; i-- > 0;) {
        (void)must(hf_arena_alloc(arena, 128));
        CHECK_SAY(hf_arena_leave(arena, &marks[i]) == HF_OK, "level %zu", i);
        for (size_t j = 0; j <= i; j += 37)
            CHECK(content_whole(blocks[j], 64, j));
    }
    CHECK_EQ(arena_figures(arena).bytes_in_use, (size_t)64 * 1); /* the first block alone */
    hf_mark again = mark_of(arena);
    CHECK_EQ(hf_arena_leave(arena, &again), HF_OK);
    arena_close(arena);
}

static void test_many_scopes_beside_each_other_do_not_age_the_outer_one(void) {
    hf_arena *arena = arena_open(NULL);
    uint64_t kept = hf_arena_borrow(arena); /* below every mark */
    hf_mark outer = mark_of(arena);
    for (int i = 0; i < 1000; i++) {
        (void)must(hf_arena_alloc(arena, 16));
        hf_mark inner = mark_of(arena);
        (void)must(hf_arena_alloc(arena, 100));
        CHECK_EQ(hf_arena_leave(arena, &inner), HF_OK);
    }
    CHECK_EQ(arena_figures(arena).bytes_in_use, 16000);
    CHECK_EQ(hf_arena_leave(arena, &outer), HF_OK);
    CHECK_EQ(arena_figures(arena).bytes_in_use, 0);
    hf_arena_give_back(arena, kept);
    arena_close(arena);
}

static void test_rewind_below_a_borrow_is_busy_above_it_is_not(void) {
    hf_arena *arena = arena_open(NULL);
    hf_mark outer = mark_of(arena);
    char *held = must(hf_arena_alloc(arena, 100));
    content_fill(held, 100, 1);
    uint64_t ticket = hf_arena_borrow(arena);
    hf_mark inner = mark_of(arena);
    (void)must(hf_arena_alloc(arena, 100));
    CHECK_EQ(hf_arena_rewind(arena, &outer), HF_E_BUSY);
    CHECK_EQ(hf_arena_rewind(arena, &inner), HF_OK); /* the borrow is older */
    uint64_t young = hf_arena_borrow(arena);
    CHECK_EQ(hf_arena_leave(arena, &inner), HF_E_BUSY);
    hf_arena_give_back(arena, ticket); /* the other one: what counts is whose */
    CHECK_EQ(hf_arena_leave(arena, &inner), HF_E_BUSY);
    CHECK_EQ(hf_arena_leave(arena, &outer), HF_E_BUSY);
    hf_arena_give_back(arena, young);
    CHECK_EQ(hf_arena_leave(arena, &inner), HF_OK);
    CHECK_EQ(hf_arena_leave(arena, &outer), HF_OK);
    CHECK_EQ(hf_arena_borrows(arena), 0);
    arena_close(arena);
}

static void test_borrows_survive_the_forgetting_of_levels(void) {
    enum { DEPTH = 200 };
    hf_arena *arena = arena_open(NULL);
    static hf_mark marks[DEPTH];
    static uint64_t tickets[DEPTH];
    for (size_t i = 0; i < DEPTH; i++) {
        marks[i] = mark_of(arena);
        (void)must(hf_arena_alloc(arena, 16));
        tickets[i] = hf_arena_borrow(arena);
    }
    CHECK_EQ(hf_arena_borrows(arena), DEPTH);
    for (size_t i = 0; i < DEPTH; i += 20)
        CHECK_EQ(hf_arena_rewind(arena, &marks[i]), HF_E_BUSY);
    /* Given back in any order; the account of borrows comes out even. */
    for (size_t i = 0; i < DEPTH; i++)
        hf_arena_give_back(arena, tickets[(i * 77) % DEPTH]);
    CHECK_EQ(hf_arena_borrows(arena), 0);
    for (size_t i = DEPTH; i-- > 0;)
        CHECK_EQ(hf_arena_leave(arena, &marks[i]), HF_OK);
    arena_close(arena);
}

static void test_marks_of_every_kind_of_arena(void) {
    for (unsigned kind = 0; kind < 16; kind++) {
        hf_arena_options options;
        hf_arena_options_init(&options, kind & 1 ? HF_ARENA_SAFETY : HF_ARENA_DEFAULT);
        options.thread_safe = (kind & 2) != 0;
        options.statistics = (kind & 4) != 0;
        if (kind & 8) options.reserve = 64 << 10;
        hf_arena *arena = arena_open(&options);
        char *old = must(hf_arena_alloc(arena, 100));
        content_fill(old, 100, kind);
        for (int round = 0; round < 20; round++) {
            hf_mark mark = mark_of(arena);
            for (int i = 0; i < 100; i++)
                content_fill(must(hf_arena_alloc(arena, (size_t)i * 31)), (size_t)i * 31, 1);
            CHECK_EQ(hf_arena_leave(arena, &mark), HF_OK);
            arena_account(arena);
        }
        CHECK(content_whole(old, 100, kind));
        CHECK_EQ(hf_arena_reset(arena), HF_OK);
        arena_close(arena);
    }
}

/* A borrow that meets the end of a scope counts, whichever of the two was first. */
enum { AT_REST, TO_BORROW, BORROWED, TO_GIVE_BACK, THE_END };
static hf_arena *met_arena;
static _Atomic int met_phase;

static void *borrower(void *unused) {
    (void)unused;
    for (unsigned round = 0;; round++) {
        while (atomic_load(&met_phase) != TO_BORROW) {
            if (atomic_load(&met_phase) == THE_END) return NULL;
            sched_yield();
        }
        for (volatile unsigned wait = round % 97; wait != 0;)
            wait = wait - 1;
        uint64_t ticket = hf_arena_borrow(met_arena);
        atomic_store(&met_phase, BORROWED);
        while (atomic_load(&met_phase) != TO_GIVE_BACK)
            sched_yield();
        hf_arena_give_back(met_arena, ticket);
        atomic_store(&met_phase, AT_REST);
    }
}

static void test_borrow_that_meets_the_end_of_a_scope_counts(void) {
    met_arena = arena_open(NULL);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, borrower, NULL), 0);
    for (int round = 0; round < (CHECK_SANITIZED ? 2000 : 10000); round++) {
        hf_mark outer = mark_of(met_arena);
        atomic_store(&met_phase, TO_BORROW);
        while (atomic_load(&met_phase) != BORROWED) {
            hf_mark inner = mark_of(met_arena);
            hf_status status = hf_arena_leave(met_arena, &inner);
            CHECK(status == HF_OK || status == HF_E_BUSY);
        }
        CHECK_EQ(hf_arena_rewind(met_arena, &outer), HF_E_BUSY);
        atomic_store(&met_phase, TO_GIVE_BACK);
        while (atomic_load(&met_phase) != AT_REST)
            sched_yield();
        CHECK_EQ(hf_arena_leave(met_arena, &outer), HF_OK);
    }
    atomic_store(&met_phase, THE_END);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    arena_close(met_arena);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_rewind_frees_what_is_younger_and_keeps_the_rest);
    CHECK_RUN(test_rewind_over_chunks_comes_back);
    CHECK_RUN(test_stale_marks_are_refused);
    CHECK_RUN(test_nested_scopes_far_deeper_than_kept);
    CHECK_RUN(test_many_scopes_beside_each_other_do_not_age_the_outer_one);
    CHECK_RUN(test_rewind_below_a_borrow_is_busy_above_it_is_not);
    CHECK_RUN(test_borrows_survive_the_forgetting_of_levels);
    CHECK_RUN(test_marks_of_every_kind_of_arena);
    CHECK_RUN(test_borrow_that_meets_the_end_of_a_scope_counts);
    return 0;
}
