/* view_help.h - views of structures, collected and looked through.
 *
 * Contract    help_view keeps the items of one structure, in the order in which they came; each lies in
 *             the bytes of its entry, has a state and a piece with a name, and is nobody's or somebody's.
 *             help_view_garbage is for bytes that may be anything: an error, or the same. */
#ifndef HF_TESTS_SHM_VIEW_HELP_H
#define HF_TESTS_SHM_VIEW_HELP_H

#include <holdfast/shm_view.h>

#include "harness.h"

#define VIEW_MAX 4096

struct help_items {
    hf_shm_view_item items[VIEW_MAX];
    size_t count;
    hf_shm_span span; /* of the entry */
};

static inline int help_item(const hf_shm_view_item *shown, void *context) {
    struct help_items *seen = context;
    CHECK_SAY(seen->count < VIEW_MAX, "a view without end");
    CHECK(hf_shm_piece_name(shown->piece)[0] != '\0' && hf_shm_state_name(shown->state)[0] != '\0');
    uint64_t at = shown->span.offset - seen->span.offset;
    CHECK_SAY(at <= seen->span.size && shown->span.size <= seen->span.size - at,
              "%s %" PRIu64 ": %" PRIu64 " bytes at %" PRIu64 " of %" PRIu64,
              hf_shm_piece_name(shown->piece), shown->index, shown->span.size, at, seen->span.size);
    if (shown->participant == HF_SHM_NOBODY) CHECK(shown->pid == 0 && shown->dead == 0);
    seen->items[seen->count++] = *shown;
    return 0;
}

static inline hf_status help_view_status(hf_shm *shm, const char *name, struct help_items *seen) {
    hf_shm_entry entry;
    seen->count = 0;
    hf_status status = hf_shm_find(shm, name, &entry);
    if (status != HF_OK) return status;
    seen->span = entry.span;
    return hf_shm_view(shm, name, help_item, seen);
}

/* Static storage. */
static inline const struct help_items *help_view(hf_shm *shm, const char *name) {
    static struct help_items seen;
    hf_status status = help_view_status(shm, name, &seen);
    CHECK_SAY(status == HF_OK, "view of \"%s\": %d: %s", name, (int)status, hf_shm_detail());
    return &seen;
}

static inline void help_view_garbage(hf_shm *shm, const char *name) {
    static struct help_items seen;
    hf_status status = help_view_status(shm, name, &seen);
    CHECK_SAY(status == HF_OK || (status == HF_E_CORRUPT && hf_shm_detail()[0] != '\0') ||
                  status == HF_E_NOT_FOUND || status == HF_E_LAYOUT,
              "view of \"%s\": %d: %s", name, (int)status, hf_shm_detail());
}

/* The items of a piece in a state. */
static inline size_t help_count(const struct help_items *seen, uint32_t piece, uint32_t state) {
    size_t count = 0;
    for (size_t i = 0; i < seen->count; i++)
        count += seen->items[i].piece == piece && seen->items[i].state == state;
    return count;
}

/* The one with this index; fails if there is none, or two. */
static inline const hf_shm_view_item *help_find(const struct help_items *seen, uint32_t piece,
                                                uint64_t index) {
    const hf_shm_view_item *found = NULL;
    for (size_t i = 0; i < seen->count; i++) {
        if (seen->items[i].piece != piece || seen->items[i].index != index) continue;
        CHECK_SAY(found == NULL, "%s %" PRIu64 " twice", hf_shm_piece_name(piece), index);
        found = &seen->items[i];
    }
    CHECK_SAY(found != NULL, "no %s %" PRIu64, hf_shm_piece_name(piece), index);
    return found;
}

#endif
