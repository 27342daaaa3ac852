/* test_shm_table.c - bytes under names: found, compared, erased and used again without a loss.
 *
 * Method: a model of the table beside the table, random operations on both; figures that add up to the
 * same sum after each. */
#include <holdfast/shm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "shm/segment_state.h"
#include "shm_help.h"

static hf_shm *make(const char *tag, uint64_t size, uint32_t entries) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, size);
    options.entries_max = entries;
    OK(hf_shm_open(harness_name(tag), HF_SHM_CREATE, &options, &shm));
    return shm;
}

static void test_spans_are_found_listed_and_erased(void) {
    hf_shm *shm = make("spans", 1 << 20, 16);
    hf_shm_span span, other;
    hf_shm_entry entry;
    OK(hf_shm_add(shm, "one", 100, &span));
    CHECK_EQ(span.size, 100);
    CHECK_EQ(span.offset % 64, 0);
    OK(hf_shm_add(shm, "page", 4096, &other));
    CHECK_EQ(other.offset % 4096, 0);
    CHECK_EQ(hf_shm_add(shm, "one", 50, &other), HF_E_EXISTS);
    CHECK(strstr(hf_shm_detail(), "one") != NULL);
    OK(hf_shm_find(shm, "one", &entry));
    CHECK_EQ(entry.span.offset, span.offset);
    CHECK_EQ(entry.kind, HF_SHM_KIND_SPAN);
    CHECK_STR(hf_shm_kind_name(entry.kind), "span");
    CHECK_STR(hf_shm_kind_name(12345), "");
    CHECK_GT(entry.created_ns, UINT64_C(1500000000000000000));
    CHECK_EQ(hf_shm_find(shm, "none", &entry), HF_E_NOT_FOUND);
    OK(hf_shm_erase(shm, "one"));
    CHECK_EQ(hf_shm_erase(shm, "one"), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_find(shm, "one", &entry), HF_E_NOT_FOUND);
    OK(hf_shm_close(shm));
}

static void test_names_and_sizes_that_cannot_be_are_refused(void) {
    hf_shm *shm = make("names", 1 << 20, 16);
    hf_shm_span span;
    hf_shm_entry entry;
    char name[100];
    memset(name, 'n', sizeof name);
    name[63] = '\0';
    OK(hf_shm_add(shm, name, 1, &span));
    OK(hf_shm_find(shm, name, &entry));
    name[63] = 'n', name[64] = '\0';
    CHECK_EQ(hf_shm_add(shm, name, 1, &span), HF_E_INVALID);
    CHECK_EQ(hf_shm_find(shm, name, &entry), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_add(shm, "", 1, &span), HF_E_INVALID);
    CHECK_EQ(hf_shm_add(shm, NULL, 1, &span), HF_E_INVALID);
    CHECK_EQ(hf_shm_add(shm, "x", 0, &span), HF_E_INVALID);
    CHECK_EQ(hf_shm_add(shm, "x", UINT64_MAX, &span), HF_E_INVALID);
    CHECK_EQ(hf_shm_add(shm, "x", HF_SHM_SIZE_MAX, &span), HF_E_NO_SPACE);
    CHECK_EQ(hf_shm_add(NULL, "x", 1, &span), HF_E_INVALID);
    CHECK_EQ(hf_shm_erase(shm, NULL), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_find(shm, "x", NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_list(shm, NULL, NULL), HF_E_INVALID);
    OK(hf_shm_add(shm, "any byte \xff\x01 / ..", 1, NULL)); /* a name in a table is no path */
    OK(hf_shm_find(shm, "any byte \xff\x01 / ..", &entry));
    OK(hf_shm_close(shm));
}

static void test_parts_of_spans_are_inside_or_null(void) {
    hf_shm *shm = make("at", 1 << 20, 16);
    hf_shm_span span;
    OK(hf_shm_add(shm, "x", 1000, &span));
    char *base = hf_shm_at(shm, span, 0, 1000);
    CHECK(base != NULL && hf_shm_at(shm, span, 1000, 0) == base + 1000);
    CHECK(hf_shm_at(shm, span, 999, 1) == base + 999);
    struct {
        uint64_t offset, size;
    } bad[] = {{0, 1001}, {1000, 1}, {1001, 0}, {UINT64_MAX, 1}, {1, UINT64_MAX}, {500, 501}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(hf_shm_at(shm, span, bad[i].offset, bad[i].size) == NULL);
    hf_shm_span lies[] = {{0, 64},
                          {span.offset, 2 << 20},
                          {UINT64_MAX, 2},
                          {(1 << 20) - 8, 16},
                          {span.offset, UINT64_MAX}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++)
        CHECK(hf_shm_at(shm, lies[i], 0, 1) == NULL);
    CHECK(strstr(hf_shm_detail(), "do not lie inside") != NULL);
    OK(hf_shm_close(shm));
}

static void test_full_table_and_full_segment_are_told_apart(void) {
    hf_shm *shm = make("full", 1 << 20, 4);
    hf_shm_span span;
    char name[8];
    for (unsigned i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        OK(hf_shm_add(shm, name, 128, &span));
    }
    CHECK_EQ(hf_shm_add(shm, "4", 128, &span), HF_E_LIMIT);
    CHECK(strstr(hf_shm_detail(), "entries_max") != NULL);
    OK(hf_shm_erase(shm, "2"));
    uint64_t largest = help_info(shm).largest_free;
    CHECK_EQ(hf_shm_add(shm, "4", largest + 4096, &span), HF_E_NO_SPACE);
    CHECK(strstr(hf_shm_detail(), "in a row") != NULL);
    OK(hf_shm_add(shm, "4", largest & ~UINT64_C(4095), &span));
    OK(hf_shm_close(shm));
}

/* --- what is asked and what is there ---------------------------------------------------------- */

static hf_status refuse(struct hfi_shm_part *part, const void *options) {
    (void)part;
    return hfi_shm_say(HF_E_MISMATCH, "%s", (const char *)options);
}

static void expect_mismatch(hf_shm *shm, struct hfi_shm_request request, hf_status status,
                            const char *one, const char *two) {
    struct hfi_shm_part part;
    CHECK_EQ(hfi_shm_attach(shm, HF_SHM_OPEN, &request, &part), status);
    CHECK_SAY(strstr(hf_shm_detail(), one) != NULL && strstr(hf_shm_detail(), two) != NULL,
              "\"%s\" and \"%s\" in: %s", one, two, hf_shm_detail());
    CHECK_EQ(hf_shm_opened(shm), 0);
}

static void test_whoever_asks_for_something_else_is_told_both(void) {
    hf_shm *shm = make("both", 1 << 20, 16);
    struct hfi_shm_request made = {.name = "a",
                                   .kind = HF_SHM_KIND_SPAN,
                                   .layout = 1,
                                   .size = 480,
                                   .element_size = 8,
                                   .element_count = 60,
                                   .dimensions = 2,
                                   .shape = {6, 10},
                                   .format = "<f8"};
    struct hfi_shm_part part, again;
    OK(hfi_shm_attach(shm, HF_SHM_CREATE, &made, &part));
    OK(hfi_shm_attach(shm, HF_SHM_OPEN_OR_CREATE, &made, &again));
    CHECK(part.base == again.base && again.element_count == 60);
    hfi_shm_detach(&again);
    struct hfi_shm_request any = {.name = "a", .kind = HF_SHM_KIND_SPAN, .layout = 1};
    OK(hfi_shm_attach(shm, HF_SHM_OPEN, &any, &again));
    CHECK_EQ(hf_shm_close(shm), HF_E_BUSY);
    CHECK(strstr(hf_shm_detail(), "2 structures") != NULL);
    hfi_shm_detach(&again);
    hfi_shm_detach(&part);
    hfi_shm_detach(&part); /* once is enough */

    struct hfi_shm_request other = made;
    other.kind = HF_SHM_KIND_QUEUE;
    expect_mismatch(shm, other, HF_E_MISMATCH, "span", "queue");
    other = made, other.layout = 9;
    expect_mismatch(shm, other, HF_E_LAYOUT, "version 1", "9");
    other = made, other.element_size = 4;
    expect_mismatch(shm, other, HF_E_MISMATCH, "8", "4");
    other = made, other.element_count = 61;
    expect_mismatch(shm, other, HF_E_MISMATCH, "60", "61");
    other = made, other.dimensions = 1;
    expect_mismatch(shm, other, HF_E_MISMATCH, "2", "1");
    other = made, other.shape[1] = 11;
    expect_mismatch(shm, other, HF_E_MISMATCH, "10", "11");
    other = made, other.format = "<i8";
    expect_mismatch(shm, other, HF_E_MISMATCH, "<f8", "<i8");
    other = made, other.format = "<f4", other.element_size = 4;
    expect_mismatch(shm, other, HF_E_MISMATCH, "<f8", "<f4");
    other = made, other.size = 488;
    expect_mismatch(shm, other, HF_E_MISMATCH, "480", "488");
    other = any, other.accept = refuse, other.options = "of its own accord";
    expect_mismatch(shm, other, HF_E_MISMATCH, "own", "accord");
    char format[400];
    memset(format, 'f', sizeof format);
    format[399] = '\0';
    other = made, other.format = format, other.name = "b";
    CHECK_EQ(hfi_shm_attach(shm, HF_SHM_CREATE, &other, &part), HF_E_INVALID);
    other = made, other.dimensions = 9;
    CHECK_EQ(hfi_shm_attach(shm, HF_SHM_OPEN, &other, &part), HF_E_INVALID);
    OK(hf_shm_close(shm));
}

/* --- the model -------------------------------------------------------------------------------- */

enum { NAMES = 12 };

struct model {
    bool there[NAMES];
    uint64_t size[NAMES];
    unsigned opens[NAMES];
    hf_shm_span span[NAMES];
};

static uint64_t footprint(uint64_t size) {
    return size < 4096 ? (size + 127) / 128 * 128 : (size + 4095) / 4096 * 4096;
}

static void model_check(hf_shm *shm, const struct model *model, uint64_t data) {
    uint64_t used = 0, entries = 0;
    for (unsigned i = 0; i < NAMES; i++) {
        if (!model->there[i]) continue;
        used += footprint(model->size[i]);
        entries++;
        const char *bytes = hf_shm_at(shm, model->span[i], 0, model->size[i]);
        CHECK(bytes != NULL && bytes[0] == (char)(i + 1) &&
              bytes[model->size[i] - 1] == (char)(i + 1));
    }
    hf_shm_info info = help_info(shm);
    CHECK_EQ(info.entries, entries);
    CHECK_EQ(info.bytes_used, used);
    CHECK_EQ(info.bytes_free, data - used);
    CHECK_LE(info.largest_free, info.bytes_free);
    hf_stats stats;
    OK(hf_shm_stats(shm, &stats));
    CHECK_EQ(stats.bytes_mapped,
             stats.bytes_in_use + stats.bytes_slack + stats.bytes_free + stats.bytes_meta);
}

static void test_random_adds_and_erases_agree_with_a_model(void) {
    check_random random = {harness_seed()};
    hf_shm *shm = make("model", 256 << 10, NAMES);
    struct model model = {.there = {false}};
    uint64_t data = help_info(shm).bytes_free;
    unsigned refused = 0, added = 0;
    for (unsigned step = 0; step < (CHECK_SANITIZED ? 2000 : 20000); step++) {
        unsigned i = (unsigned)check_random_below(&random, NAMES);
        char name[16];
        (void)snprintf(name, sizeof name, "n%u", i);
        if (model.there[i]) {
            OK(hf_shm_erase(shm, name));
            model.there[i] = false;
        } else {
            uint64_t size =
                1 + check_random_below(&random, check_random_below(&random, 2) ? 60000 : 900);
            hf_status status = hf_shm_add(shm, name, size, &model.span[i]);
            if (status == HF_E_NO_SPACE) {
                CHECK_LT(help_info(shm).largest_free, footprint(size) + 4096);
                refused++;
                continue;
            }
            OK(status);
            char *bytes = hf_shm_at(shm, model.span[i], 0, size);
            for (uint64_t k = 0; k < size; k++)
                CHECK_EQ(bytes[k], 0);
            memset(bytes, (int)i + 1, size);
            model.there[i] = true;
            model.size[i] = size;
            added++;
        }
        if (step % 16 == 0) model_check(shm, &model, data);
    }
    model_check(shm, &model, data);
    OK(hf_shm_check(shm, NULL, NULL, NULL));
    printf("  %u added, %u had no room\n", added, refused);
    CHECK(refused > 0 && added > 0);
    OK(hf_shm_close(shm));
}

static void test_erased_bytes_stay_with_those_who_have_them(void) {
    hf_shm *one = make("users", 256 << 10, 16), *two = help_join(harness_name("users"));
    uint64_t data = help_info(one).bytes_free;
    struct hfi_shm_request request = {
        .name = "a", .kind = HF_SHM_KIND_SPAN, .layout = 1, .size = data};
    struct hfi_shm_part first, second, third;
    OK(hfi_shm_attach(one, HF_SHM_CREATE, &request, &first));
    OK(hfi_shm_attach(two, HF_SHM_OPEN, &request, &second));
    OK(hfi_shm_attach(two, HF_SHM_OPEN, &request, &third));
    CHECK(first.base != second.base && second.base == third.base);
    first.base[data - 1] = 5;
    OK(hf_shm_erase(two, "a"));
    struct hfi_shm_part none;
    CHECK_EQ(hfi_shm_attach(two, HF_SHM_OPEN, &request, &none), HF_E_NOT_FOUND);
    hf_shm_span span;
    CHECK_EQ(hf_shm_add(one, "b", 128, &span), HF_E_NO_SPACE);
    hfi_shm_detach(&first);
    CHECK_EQ(hf_shm_add(one, "b", 128, &span), HF_E_NO_SPACE);
    CHECK_EQ(second.base[data - 1], 5);
    hfi_shm_detach(&second);
    CHECK_EQ(hf_shm_opened(one), 0);
    CHECK_EQ(hf_shm_opened(two), 1); /* the third opening */
    CHECK_EQ(hf_shm_add(one, "b", 128, &span), HF_E_NO_SPACE);
    hfi_shm_detach(&third);
    OK(hf_shm_add(one, "b", 128, &span));
    CHECK_EQ(*(char *)hf_shm_at(one, span, 0, 1), 0);
    OK(hf_shm_close(two));
    OK(hf_shm_close(one));
}

/* --- threads ---------------------------------------------------------------------------------- */

struct shared {
    hf_shm *shm;
    _Atomic uint32_t stop;
    _Atomic uint64_t seen;
};

static void *look(void *raw) {
    struct shared *shared = raw;
    while (!atomic_load(&shared->stop)) {
        for (unsigned i = 0; i < 4; i++) {
            hf_shm_entry entry;
            char name[16];
            (void)snprintf(name, sizeof name, "n%u", i);
            hf_status status = hf_shm_find(shared->shm, name, &entry);
            CHECK_SAY(status == HF_OK || status == HF_E_NOT_FOUND, "%s", hf_shm_detail());
            if (status != HF_OK) continue;
            /* Never half of one row and half of another: the size says whose it is. */
            CHECK_EQ(entry.span.size, 100 + i);
            CHECK_EQ(entry.element_count, 100 + i);
            atomic_fetch_add(&shared->seen, 1);
        }
    }
    return NULL;
}

static void *change(void *raw) {
    struct shared *shared = raw;
    const unsigned rounds = CHECK_SANITIZED ? 1000 : 5000;
    for (unsigned round = 0; round < rounds || atomic_load(&shared->seen) == 0; round++) {
        char name[16];
        (void)snprintf(name, sizeof name, "n%u", round % 4);
        hf_shm_span span;
        hf_status status = hf_shm_add(shared->shm, name, 100 + round % 4, &span);
        CHECK_SAY(status == HF_OK || status == HF_E_EXISTS, "%s", hf_shm_detail());
        (void)snprintf(name, sizeof name, "n%u", (round + 2) % 4); /* half of them stay a while */
        status = hf_shm_erase(shared->shm, name);
        CHECK_SAY(status == HF_OK || status == HF_E_NOT_FOUND, "%s", hf_shm_detail());
    }
    return NULL;
}

static void test_threads_look_while_others_change(void) {
    hf_shm *shm = make("threads", 256 << 10, 16);
    struct shared shared = {.shm = shm};
    pthread_t looking[2], changing[2];
    for (unsigned i = 0; i < 2; i++) {
        CHECK(pthread_create(&looking[i], NULL, look, &shared) == 0);
        CHECK(pthread_create(&changing[i], NULL, change, &shared) == 0);
    }
    for (unsigned i = 0; i < 2; i++)
        CHECK(pthread_join(changing[i], NULL) == 0);
    atomic_store(&shared.stop, 1);
    for (unsigned i = 0; i < 2; i++)
        CHECK(pthread_join(looking[i], NULL) == 0);
    printf("  %" PRIu64 " looks found something\n", (uint64_t)shared.seen);
    for (unsigned i = 0; i < 4; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "n%u", i);
        (void)hf_shm_erase(shm, name);
    }
    CHECK_EQ(help_info(shm).bytes_used, 0);
    OK(hf_shm_close(shm));
}

int main(void) {
    CHECK_WATCHDOG(120);
    CHECK_RUN(test_spans_are_found_listed_and_erased);
    CHECK_RUN(test_names_and_sizes_that_cannot_be_are_refused);
    CHECK_RUN(test_parts_of_spans_are_inside_or_null);
    CHECK_RUN(test_full_table_and_full_segment_are_told_apart);
    CHECK_RUN(test_whoever_asks_for_something_else_is_told_both);
    CHECK_RUN(test_random_adds_and_erases_agree_with_a_model);
    CHECK_RUN(test_erased_bytes_stay_with_those_who_have_them);
    CHECK_RUN(test_threads_look_while_others_change);
    return 0;
}
