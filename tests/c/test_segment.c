/* test_segment.c - slices of the reservation: disjoint, aligned, zeroed when said so, given back.
 * Method      random takes, gives, extensions and decay ticks against a byte per slice; then the same
 *             from threads, with marks in memory as the witness. */
#include <pages/meta.h>
#include <pages/pagemap.h>
#include <pages/segment.h>
#include <pthread.h>

#include "check.h"

enum { SEGMENTS = 200, THREADS = 3 };

typedef struct segment {
    char *base;
    size_t count;
} segment;

static void mark(const segment *s, unsigned char value) {
    for (size_t i = 0; i < s->count * HFI_SLICE; i += HFI_SLICE / 2)
        s->base[i] = (char)value;
}

static void expect_mark(const segment *s, unsigned char value) {
    for (size_t i = 0; i < s->count * HFI_SLICE; i += HFI_SLICE / 2)
        CHECK_EQ((unsigned char)s->base[i], value);
}

static void expect_zero(const segment *s) {
    for (size_t i = 0; i < s->count * HFI_SLICE; i += HFI_SLICE / 2)
        CHECK_EQ(s->base[i], 0);
}

static void program(uint64_t seed, unsigned home) {
    enum hfi_zone zone = seed % 2 ? HFI_ZONE_SMALL : HFI_ZONE_HUGE;
    check_random random = {seed};
    segment held[SEGMENTS] = {{0}};
    for (int step = 0; step < (CHECK_SANITIZED ? 1500 : 6000); step++) {
        size_t i = check_random_below(&random, SEGMENTS);
        segment *s = &held[i];
        bool zero = false;
        if (s->base == NULL) {
            size_t count =
                1 + check_random_below(&random, check_random_below(&random, 10) ? 9 : 150);
            size_t align = (size_t)1
                           << (check_random_below(&random, 3) ? 0 : check_random_below(&random, 9));
            s->base = hfi_segment_take(zone, count, align, home, &zero);
            CHECK(s->base != NULL);
            s->count = count;
            CHECK_EQ((uintptr_t)s->base % (align * HFI_SLICE), 0);
            CHECK(hfi_segment_owns(s->base) && hfi_segment_owns(s->base + count * HFI_SLICE - 1));
            CHECK(hfi_segment_owns(s->base - 1));
            for (size_t j = 0; j < SEGMENTS; j++) {
                const segment *o = &held[j];
                if (o->base == NULL || j == i) continue;
                CHECK(s->base + count * HFI_SLICE <= o->base ||
                      o->base + o->count * HFI_SLICE <= s->base);
            }
            if (zero) expect_zero(s);
            mark(s, (unsigned char)(seed * 50 + i));
            continue;
        }
        expect_mark(s, (unsigned char)(seed * 50 + i));
        uint64_t verb = check_random_below(&random, 10);
        if (verb < 2) {
            size_t more = 1 + check_random_below(&random, 5);
            if (hfi_segment_extend(s->base + s->count * HFI_SLICE, more, &zero)) {
                segment tail = {s->base + s->count * HFI_SLICE, more};
                if (zero) expect_zero(&tail);
                s->count += more;
                mark(s, (unsigned char)(seed * 50 + i));
            }
        } else if (verb < 3) {
            size_t left = 0;
            (void)hfi_segment_decay(verb == 0, &left);
        } else {
            bool clean = check_random_below(&random, 4) == 0;
            if (clean) hfi_os_purge(s->base, s->count * HFI_SLICE);
            hfi_segment_give(s->base, s->count, !clean);
            s->base = NULL;
        }
    }
    for (size_t i = 0; i < SEGMENTS; i++)
        if (held[i].base != NULL) hfi_segment_give(held[i].base, held[i].count, true);
}

static void test_take_give_extend_random_program(void) {
    for (uint64_t seed = 1; seed <= 5; seed++)
        program(seed, (unsigned)seed % hfi_segment_shards());
}

static void *thread_run(void *argument) {
    program((uintptr_t)argument, (unsigned)(uintptr_t)argument % hfi_segment_shards());
    return NULL;
}

static void test_take_give_from_threads(void) {
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, thread_run, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void test_decay_needs_two_ticks_and_then_all_is_gone(void) {
    size_t left = 1;
    (void)hfi_segment_decay(true, &left);
    CHECK_EQ(left, 0);
    bool zero;
    segment s = {hfi_segment_take(HFI_ZONE_SMALL, 10, 1, 0, &zero), 10};
    CHECK(s.base != NULL);
    mark(&s, 7);
    hfi_segment_give(s.base, 10, true);
    CHECK_EQ(hfi_segment_dirty(HFI_ZONE_SMALL), 10 * HFI_SLICE);
    CHECK_EQ(hfi_segment_decay(false, &left), 0);
    CHECK_EQ(left, 10 * HFI_SLICE);
    CHECK_EQ(hfi_segment_decay(false, &left), 10 * HFI_SLICE);
    CHECK_EQ(left, 0);
    CHECK_EQ(hfi_segment_dirty(HFI_ZONE_SMALL), 0);
    CHECK_EQ(hfi_os_resident(s.base, 10 * HFI_SLICE), 0);
}

static void test_take_more_than_the_reservation_gives_null(void) {
    bool zero;
    CHECK(hfi_segment_take(HFI_ZONE_SMALL, hfi_reservation_size / HFI_SLICE + 1, 1, 0, &zero) ==
          NULL);
    CHECK(hfi_segment_take(HFI_ZONE_SMALL, SIZE_MAX / HFI_SLICE, 1, 0, &zero) == NULL);
    void *base = hfi_segment_take(HFI_ZONE_SMALL, 1, 1, 0, &zero);
    CHECK(base != NULL);
    hfi_segment_give(base, 1, false);
}

static void test_os_refuses_take_gives_null_and_works_again(void) {
    bool zero;
    unsigned shards = hfi_segment_shards();
    void *held[64];
    /* Ask for whole chunks until a call needs the OS; each call may be refused once. */
    for (unsigned i = 0; i < 64; i++) {
        hfi_os_fail_after(1);
        held[i] = hfi_segment_take(HFI_ZONE_SMALL, 64 * 40, 1, i % shards, &zero);
        hfi_os_fail_after(0);
        if (held[i] == NULL)
            held[i] = hfi_segment_take(HFI_ZONE_SMALL, 64 * 40, 1, i % shards, &zero);
        CHECK(held[i] != NULL);
        *(volatile char *)held[i] = 1;
    }
    CHECK_GT(hfi_os_map_failures(), 0);
    for (unsigned i = 0; i < 64; i++)
        hfi_segment_give(held[i], 64 * 40, true);
}

static void count_slices(uintptr_t start, uintptr_t end, void *context) {
    CHECK_LT(start, end);
    *(size_t *)context += (end - start) / HFI_SLICE;
}

static void test_visit_shows_what_is_taken(void) {
    size_t before = 0, during = 0, after = 0;
    bool zero;
    hfi_segment_visit(count_slices, &before);
    void *a = hfi_segment_take(HFI_ZONE_SMALL, 3, 1, 0, &zero),
         *b = hfi_segment_take(HFI_ZONE_SMALL, 77, 4, 0, &zero);
    hfi_segment_visit(count_slices, &during);
    CHECK_EQ(during - before, 80);
    hfi_segment_give(a, 3, false);
    hfi_segment_give(b, 77, false);
    hfi_segment_visit(count_slices, &after);
    CHECK_EQ(after, before);
}

static void test_pagemap_knows_owners_of_taken_slices_only(void) {
    struct hfi_owner owner = {HFI_OWNER_LARGE};
    bool zero;
    char *base = hfi_segment_take(HFI_ZONE_SMALL, 5, 1, 0, &zero);
    hfi_pagemap_set(base, 5, &owner, 64);
    for (size_t at = 0; at < 5 * HFI_SLICE; at += 1000)
        CHECK_PTR(hfi_pagemap_owner(base + at), &owner);
    CHECK_PTR(hfi_pagemap_owner(base - 1), NULL);
    CHECK_PTR(hfi_pagemap_owner(base + 5 * HFI_SLICE), NULL);
    hfi_pagemap_set(base, 5, NULL, 0);
    CHECK_PTR(hfi_pagemap_owner(base), NULL);
    hfi_segment_give(base, 5, false);
    const uintptr_t wild[] = {0,
                              1,
                              4096,
                              (uintptr_t)&owner,
                              UINTPTR_MAX,
                              (uintptr_t)1 << 63,
                              hfi_reservation_base - 1,
                              hfi_reservation_base + hfi_reservation_size};
    for (size_t i = 0; i < sizeof wild / sizeof wild[0]; i++)
        CHECK_PTR(hfi_pagemap_owner((void *)wild[i]), NULL);
}

static void test_meta_pieces_are_zeroed_disjoint_and_recycled(void) {
    static const size_t sizes[] = {1, 64, 65, 700, 1024, 1025, 5000, 70000, 300000};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    size_t used_before, used_after;
    (void)hfi_meta_mapped(&used_before);
    for (int round = 0; round < 4; round++) {
        unsigned char *pieces[COUNT][3];
        for (int k = 0; k < COUNT; k++)
            for (int i = 0; i < 3; i++) {
                pieces[k][i] = hfi_meta_alloc(sizes[k]);
                CHECK(pieces[k][i] != NULL);
                for (size_t b = 0; b < sizes[k]; b++)
                    CHECK_EQ(pieces[k][i][b], 0);
                memset(pieces[k][i], k * 3 + i + 1, sizes[k]);
            }
        for (int k = 0; k < COUNT; k++)
            for (int i = 0; i < 3; i++) {
                for (size_t b = 0; b < sizes[k]; b++)
                    CHECK_EQ(pieces[k][i][b], k * 3 + i + 1);
                hfi_meta_free(pieces[k][i], sizes[k]);
            }
    }
    size_t mapped = hfi_meta_mapped(&used_after);
    CHECK_EQ(used_after, used_before);
    CHECK_GE(mapped, used_after);
}

int main(void) {
    CHECK_WATCHDOG(90);
    hfi_meta_start(false);
    CHECK_EQ(hfi_segment_start(4, true), 0);
    CHECK_EQ(hfi_pagemap_start(), 0);
    CHECK_RUN(test_decay_needs_two_ticks_and_then_all_is_gone);
    CHECK_RUN(test_take_give_extend_random_program);
    CHECK_RUN(test_take_give_from_threads);
    CHECK_RUN(test_take_more_than_the_reservation_gives_null);
    CHECK_RUN(test_os_refuses_take_gives_null_and_works_again);
    CHECK_RUN(test_visit_shows_what_is_taken);
    CHECK_RUN(test_pagemap_knows_owners_of_taken_slices_only);
    CHECK_RUN(test_meta_pieces_are_zeroed_disjoint_and_recycled);
    return 0;
}
