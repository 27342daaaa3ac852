/* steps_power_table.c - the table of a segment on a file when the power fails, at every shared access.
 *
 * Method: entries come and go, and images of the medium are made meanwhile (power_medium.h). In each,
 * every entry's bytes are its own or zero, every queue works, and what is new comes zeroed. */
#include <holdfast/shm_queue.h>

#include "power_medium.h"

/* Spans that come and go, each filled with a byte of its own, and queues. */
static int span_check(const hf_shm_entry *entry, void *context) {
    if (entry->kind == HF_SHM_KIND_QUEUE) {
        char item[200] = "";
        hf_shm_queue *one = NULL;
        OK(hf_shm_queue_open(context, entry->name, HF_SHM_OPEN, NULL, &one));
        while (hf_shm_queue_get(one, item, sizeof item, 0, NULL) == HF_OK) {
        }
        OK(hf_shm_queue_put(one, item, entry->element_size, 0));
        OK(hf_shm_queue_get(one, item, sizeof item, 0, NULL));
        OK(hf_shm_queue_close(one));
        return 0;
    }
    const unsigned char *bytes = hf_shm_at(context, entry->span, 0, entry->span.size);
    unsigned own = (unsigned)strtoul(entry->name + 1, NULL, 10) % 250 + 1;
    CHECK(bytes != NULL);
    for (uint64_t i = 0; i < entry->span.size; i++)
        CHECK_SAY(bytes[i] == 0 || bytes[i] == own, "%s: byte %" PRIu64 " is %u's, not %u's",
                  entry->name, i, bytes[i], own);
    return 0;
}

static void table_verify(void) {
    hf_shm *shm = open_at(image_path, HF_SHM_OPEN);
    CHECK_SAY(hf_shm_check(shm, NULL, fault_print, NULL) == HF_OK, "image %" PRIu64, images);
    OK(hf_shm_list(shm, span_check, shm));
    hf_shm_span span;
    OK(hf_shm_add(shm, "new", 777, &span));
    for (unsigned i = 0; i < 777; i++)
        CHECK_EQ(*(unsigned char *)hf_shm_at(shm, span, i, 1), 0);
    OK(hf_shm_erase(shm, "new"));
    OK(hf_shm_close(shm));
    images++;
}

static void test_the_table_after_a_power_cut_at_every_step(void) {
    enum { LIVE = 9 };
    unsigned moments = harness_kills(1500) * effort, number = 0, live[LIVE] = {0};
    hf_shm *shm = begin();
    images = 0;
    verify = table_verify;
    stride = 3;
    while (images < moments) {
        char name[20];
        unsigned at = (unsigned)check_random_below(&draw, LIVE);
        step_phase = (unsigned)check_random_below(&draw, stride);
        hfi_shm_step_hook = power_fails;
        if (live[at] != 0) {
            (void)snprintf(name, sizeof name, "a%u", live[at]);
            OK(hf_shm_erase(shm, name));
        }
        live[at] = ++number;
        (void)snprintf(name, sizeof name, "a%u", number);
        if (number % 2 == 0) {
            hf_shm_queue_options q;
            hf_shm_queue *one = NULL;
            hf_shm_queue_options_init(&q, 8 + check_random_below(&draw, 190),
                                      1 + check_random_below(&draw, 60));
            OK(hf_shm_queue_open(shm, name, HF_SHM_CREATE, &q, &one));
            OK(hf_shm_queue_close(one));
            hfi_shm_step_hook = NULL;
            continue;
        }
        hf_shm_span span;
        uint64_t size = 100 + check_random_below(&draw, 9000);
        OK(hf_shm_add(shm, name, size, &span));
        memset(hf_shm_at(shm, span, 0, size), (int)(number % 250 + 1), size);
        if (number % 3 == 0) OK(hf_shm_persist_span(shm, span));
        hfi_shm_step_hook = NULL;
    }
    printf("  %" PRIu64 " images\n", images);
    OK(hf_shm_close(shm));
    CHECK(unlink(path) == 0);
}

/* --- tests that can fail ---------------------------------------------------------------------- */

static void test_mutants_are_caught(void) {
    expect_caught(POWER_MUTANT_ROW_FIRST, test_the_table_after_a_power_cut_at_every_step);
    expect_caught(POWER_MUTANT_REUSE, test_the_table_after_a_power_cut_at_every_step);
}

int main(void) {
    harness_watchdog(600);
    medium_make();
    CHECK_RUN(test_the_table_after_a_power_cut_at_every_step);
    CHECK_RUN(test_mutants_are_caught);
    medium_drop();
    return 0;
}
