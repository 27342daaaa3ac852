/* test_shm_view_ends - views that end early: the visitor has enough, or there is nothing to look at.
 *
 * Method: a visitor that stops, structures that are erased under the one who looks, names that are not
 * there and headers that are overwritten; calls are counted. */
#include "view_world.h"

static int stop_at_three(const hf_shm_view_item *item, void *context) {
    (void)item;
    return ++*(int *)context == 3;
}

static void test_visitor_that_has_enough_stops(void) {
    struct parts parts = parts_make("view-stop");
    static const char *const many[] = {"cells", "map",  "pool",    "queue",
                                       "ring",  "held", "barrier", "versioned"};
    for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
        int calls = 0;
        OK(hf_shm_view(parts.shm, many[i], stop_at_three, &calls));
        CHECK_SAY(calls == 3, "%s: %d calls", many[i], calls);
    }
    parts_close(&parts);
}

struct erasing {
    hf_shm *shm;
    int calls;
};

static int erase_it(const hf_shm_view_item *item, void *context) {
    struct erasing *erasing = context;
    (void)item;
    if (++erasing->calls == 2) OK(hf_shm_erase(erasing->shm, "cells"));
    return 0;
}

static void test_structure_that_is_erased_while_it_is_looked_at(void) {
    hf_shm_cells_options options;
    hf_shm_cells *cells = NULL;
    hf_shm *shm = help_make(harness_name("view-erased"), VIEW_SIZE);
    hf_shm *watcher = watcher_open("view-erased");
    hf_shm_cells_options_init(&options, HF_SHM_CELL_U64, 4);
    for (int watches = 0; watches < 2; watches++) {
        OK(hf_shm_cells_open(shm, "cells", HF_SHM_CREATE, &options, &cells));
        hf_shm_cells_close(cells);
        struct erasing erasing = {.shm = shm};
        hf_status status = hf_shm_view(watches ? watcher : shm, "cells", erase_it, &erasing);
        /* A participant holds it to the end; a watcher cannot. */
        CHECK_EQ(status, watches ? HF_E_NOT_FOUND : HF_OK);
        CHECK_EQ(erasing.calls, watches ? 2 : 4);
        CHECK_EQ(hf_shm_view(shm, "cells", erase_it, &erasing), HF_E_NOT_FOUND);
    }
    OK(hf_shm_close(watcher));
    OK(hf_shm_close(shm));
}

static void test_what_cannot_be_looked_at_is_an_error(void) {
    struct parts parts = parts_make("view-errors");
    int calls = 0;
    CHECK_EQ(hf_shm_view(parts.shm, "nothing", stop_at_three, &calls), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_view(parts.shm, "", stop_at_three, &calls), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_view(parts.shm, NULL, stop_at_three, &calls), HF_E_INVALID);
    CHECK_EQ(hf_shm_view(parts.shm, "queue", NULL, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_view(NULL, "queue", stop_at_three, &calls), HF_E_INVALID);
    static const char *const headed[] = {"barrier", "cells", "map",     "pool",
                                         "queue",   "ring",  "counted", "versioned"};
    for (size_t i = 0; i < sizeof headed / sizeof *headed; i++) {
        hf_shm_entry entry;
        OK(hf_shm_find(parts.shm, headed[i], &entry));
        memset(hf_shm_at(parts.shm, entry.span, 0, 64), 0xA5, 64);
        CHECK_EQ(hf_shm_view(parts.shm, headed[i], stop_at_three, &calls), HF_E_CORRUPT);
        CHECK(hf_shm_detail()[0] != '\0');
    }
    CHECK_EQ(calls, 0);
    CHECK(strcmp(hf_shm_state_name(HF_SHM_STATE_IN_DOUBT), "in doubt") == 0);
    CHECK(strcmp(hf_shm_piece_name(HF_SHM_PIECE_SEAT), "seat") == 0);
    CHECK(hf_shm_state_name(HF_SHM_STATE_COUNT)[0] == '\0');
    CHECK(hf_shm_piece_name(UINT32_MAX)[0] == '\0');
    parts_close(&parts);
}

int main(void) {
    CHECK_WATCHDOG(120);
    CHECK_RUN(test_visitor_that_has_enough_stops);
    CHECK_RUN(test_structure_that_is_erased_while_it_is_looked_at);
    CHECK_RUN(test_what_cannot_be_looked_at_is_an_error);
    return 0;
}
