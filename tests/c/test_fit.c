/* test_fit.c - blocks of any size in one range: first, next and best fit against a model.
 *
 *   test_fit [SEED]
 *
 * Method      the model is one byte per unit (who owns it) and a list of blocks; after every step the
 *             structure checks itself, at intervals the walk must show exactly the model's blocks. */
#include <blocks/fit.h>

#include "check.h"

enum { UNITS_MAX = 4096, BLOCKS_MAX = 600 };

typedef struct model {
    uint32_t units;
    uint16_t owner[UNITS_MAX]; /* block number + 1, 0 is free */
    uint32_t start[BLOCKS_MAX], count[BLOCKS_MAX];
} model;

static struct hfi_fit fit;
static model m;

static void *make(uint32_t units, enum hfi_fit_order order) {
    void *tables = calloc(1, hfi_fit_meta_size(units));
    CHECK(tables != NULL);
    hfi_fit_init(&fit, units, order, tables);
    CHECK(hfi_fit_check(&fit));
    CHECK_EQ(fit.free_units, units);
    memset(&m, 0, sizeof m);
    m.units = units;
    return tables;
}

static void model_set(uint32_t start, uint32_t count, unsigned owner) {
    for (uint32_t i = start; i < start + count; i++)
        m.owner[i] = (uint16_t)owner;
}

/* First unit of the run of free units the model would choose; NONE if there is none. */
static uint32_t model_search(enum hfi_fit_order order, uint32_t count, uint32_t align,
                             uint32_t offset) {
    uint32_t best = HFI_FIT_NONE, best_length = UINT32_MAX;
    for (uint32_t i = 0; i < m.units;) {
        uint32_t end = i;
        while (end < m.units && m.owner[end] == 0)
            end++;
        for (uint32_t at = i; at + count <= end; at++)
            if ((at + offset) % align == 0) {
                if (order != HFI_FIT_ORDER_BEST) return at;
                if (end - i < best_length) best = at, best_length = end - i;
                break;
            }
        i = end + 1;
    }
    return best;
}

static void walk_matches(void) {
    uint32_t at = 0, length, free_units = 0, blocks = 0, expected = 0;
    bool used;
    while (hfi_fit_next(&fit, at, &length, &used)) {
        for (uint32_t i = at; i < at + length; i++) {
            CHECK_EQ(m.owner[i] != 0, used);
            bool found_used;
            CHECK_EQ(hfi_fit_find(&fit, i, &found_used), at);
            CHECK_EQ(found_used, used);
        }
        if (used) {
            unsigned owner = m.owner[at] - 1u;
            CHECK_EQ(m.start[owner], at);
            CHECK_EQ(m.count[owner], length);
            CHECK(hfi_fit_is_used(&fit, at) && !hfi_fit_is_free(&fit, at));
            blocks++;
        } else {
            free_units += length;
            CHECK(hfi_fit_is_free(&fit, at) && !hfi_fit_is_used(&fit, at));
        }
        at += length;
    }
    CHECK_EQ(at, m.units);
    CHECK_EQ(free_units, fit.free_units);
    for (unsigned b = 0; b < BLOCKS_MAX; b++)
        expected += m.count[b] != 0;
    CHECK_EQ(blocks, expected);
}

static void step_take(check_random *random, unsigned b, enum hfi_fit_order order) {
    uint32_t count =
        1 + (uint32_t)check_random_below(random, check_random_below(random, 8) ? 12 : 200);
    uint32_t align = 1u << (check_random_below(random, 4) ? 0 : check_random_below(random, 8));
    uint32_t offset = align == 1 ? 0 : (uint32_t)check_random_below(random, align);
    uint32_t expected = model_search(order, count, align, offset);
    uint32_t start = hfi_fit_take(&fit, count, align, offset);
    if (order == HFI_FIT_ORDER_NEXT)
        CHECK_EQ(start == HFI_FIT_NONE, expected == HFI_FIT_NONE);
    else
        CHECK_EQ(start, expected);
    if (start == HFI_FIT_NONE) return;
    CHECK_EQ((start + offset) % align, 0);
    CHECK_LE(start + count, m.units);
    for (uint32_t i = start; i < start + count; i++)
        CHECK_EQ(m.owner[i], 0);
    model_set(start, count, b + 1);
    m.start[b] = start;
    m.count[b] = count;
}

static void step_give(unsigned b) {
    uint32_t first = hfi_fit_give(&fit, m.start[b]);
    CHECK_LE(first, m.start[b]);
    model_set(m.start[b], m.count[b], 0);
    for (uint32_t i = first; i < m.start[b]; i++)
        CHECK_EQ(m.owner[i], 0);
    CHECK(first == 0 || m.owner[first - 1] != 0);
    m.count[b] = 0;
}

static void step_resize(check_random *random, unsigned b) {
    uint32_t count = 1 + (uint32_t)check_random_below(random, m.count[b] * 2 + 3);
    uint32_t end = m.start[b] + m.count[b], room = m.count[b];
    while (end < m.units && m.owner[end] == 0)
        end++, room++;
    CHECK_EQ(hfi_fit_resize(&fit, m.start[b], count), count <= room);
    if (count > room) return;
    model_set(m.start[b], m.count[b], 0);
    model_set(m.start[b], count, b + 1);
    m.count[b] = count;
}

static void play(uint64_t seed, uint32_t units, enum hfi_fit_order order) {
    check_random random = {seed};
    void *tables = make(units, order);
    printf("test_fit %" PRIu64 ": %u units, order %d\n", seed, units, (int)order);
    for (int step = 0; step < 3000; step++) {
        unsigned b = (unsigned)check_random_below(&random, BLOCKS_MAX);
        if (m.count[b] == 0)
            step_take(&random, b, order);
        else if (check_random_below(&random, 3) == 0)
            step_resize(&random, b);
        else
            step_give(b);
        if (step % 16 == 0) CHECK(hfi_fit_check(&fit));
        if (step % 200 == 0) walk_matches();
    }
    walk_matches();
    for (unsigned b = 0; b < BLOCKS_MAX; b++)
        if (m.count[b] != 0) step_give(b);
    CHECK(hfi_fit_check(&fit));
    CHECK_EQ(fit.free_units, units);
    CHECK_EQ(fit.largest, units);
    uint32_t length;
    bool used;
    CHECK(hfi_fit_next(&fit, 0, &length, &used));
    CHECK(!used);
    CHECK_EQ(length, units);
    free(tables);
}

static void test_take_more_than_there_is_gives_none(void) {
    void *tables = make(100, HFI_FIT_ORDER_FIRST);
    CHECK_EQ(hfi_fit_take(&fit, 101, 1, 0), HFI_FIT_NONE);
    CHECK_EQ(hfi_fit_take(&fit, 0, 1, 0), HFI_FIT_NONE);
    CHECK_EQ(hfi_fit_take(&fit, 100, 1, 0), 0);
    CHECK_EQ(hfi_fit_take(&fit, 1, 1, 0), HFI_FIT_NONE);
    hfi_fit_give(&fit, 0);
    CHECK_EQ(hfi_fit_take(&fit, 100, 1, 0), 0);
    free(tables);
}

static void test_give_joins_both_neighbours(void) {
    void *tables = make(64, HFI_FIT_ORDER_FIRST);
    uint32_t a = hfi_fit_take(&fit, 10, 1, 0), b = hfi_fit_take(&fit, 10, 1, 0);
    uint32_t c = hfi_fit_take(&fit, 10, 1, 0), d = hfi_fit_take(&fit, 10, 1, 0);
    hfi_fit_give(&fit, a);
    hfi_fit_give(&fit, c);
    uint64_t before = fit.coalesces;
    CHECK_EQ(hfi_fit_give(&fit, b), 0);
    CHECK_EQ(fit.coalesces - before, 2);
    uint32_t length;
    bool used;
    CHECK(hfi_fit_next(&fit, 0, &length, &used));
    CHECK_EQ(length, 30);
    CHECK(!used);
    CHECK(hfi_fit_is_used(&fit, d));
    free(tables);
}

static void test_check_notices_every_flipped_bit_of_the_maps(void) {
    void *tables = make(128, HFI_FIT_ORDER_FIRST);
    for (int i = 0; i < 9; i++)
        (void)hfi_fit_take(&fit, (uint32_t)i + 3, 1, 0);
    hfi_fit_give(&fit, 3);
    uint32_t at = 0, length;
    bool used;
    while (hfi_fit_next(&fit, at, &length, &used)) {
        uint64_t *map = used ? fit.used : fit.free;
        map[at / 64] ^= UINT64_C(1) << (at % 64);
        CHECK_SAY(!hfi_fit_check(&fit), "unit %u", at);
        map[at / 64] ^= UINT64_C(1) << (at % 64);
        at += length;
    }
    CHECK(hfi_fit_check(&fit));
    free(tables);
}

int main(int argc, char **argv) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_take_more_than_there_is_gives_none);
    CHECK_RUN(test_give_joins_both_neighbours);
    CHECK_RUN(test_check_notices_every_flipped_bit_of_the_maps);
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    for (uint64_t seed = first; seed < first + (argc > 1 ? 1 : 8); seed++)
        for (int order = 0; order < 3; order++) {
            play(seed, 64, (enum hfi_fit_order)order);
            play(seed, 1000, (enum hfi_fit_order)order);
            play(seed, UNITS_MAX, (enum hfi_fit_order)order);
        }
    return 0;
}
