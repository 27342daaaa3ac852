/* semaphore.c - permits: borrowed by participants (held), or a bare number (counted).
 *
 *   header 128 | posted: turn, waiters 128 | value 64, collecting 64 | slots, one per permit (held)
 *
 * Contract    holdfast/shm_semaphore.h.   Talks to slots.h, segment.h, handle.h.
 * Invariants  held: a permit is a slot whose word names its holder, so taking and owning are one step
 *             and value = permits - taken slots without a counter that could be wrong. A counter beside
 *             counts per participant would have an instruction between the two, at which a death leaves
 *             them apart; nobody could tell which one is right.
 * Killed      recover frees the slots of the dead, and the lock of the one who collects several.
 * Threads     every function from any thread of any process.
 * Fails with  HF_E_TIMEOUT, HF_E_INVALID, HF_E_FULL. */
#include "handle.h"
#include "slots.h"

#include <holdfast/shm_semaphore.h>

struct semaphore_header {
    uint64_t permits; /* held: all there are; counted: 0          */
    uint64_t most;    /* counted: the largest value; held: permits */
    uint32_t counted, spare;
};
struct semaphore_state {
    _Atomic uint64_t value; /* counted */
    uint64_t spare[7];
    struct hfi_shm_lock collecting; /* who takes several permits, one by one */
};
struct semaphore_view {
    struct hfi_shm_event *posted;
    struct semaphore_state *state;
    struct hfi_shm_slots slots; /* held */
    uint64_t most;
    bool counted;
};
struct hf_shm_semaphore {
    struct hfi_shm_part part;
    struct semaphore_view view;
    _Atomic uint64_t look_next; /* as of a pool */
};

#define SLOTS_AT (3 * HFI_SHM_LINE)

extern const struct hfi_shm_kind hfi_shm_semaphore_kind;

void hf_shm_semaphore_options_init(hf_shm_semaphore_options *options, uint64_t permits) {
    *options = (hf_shm_semaphore_options){.struct_size = sizeof *options, .permits = permits};
}

/* --- open and close --------------------------------------------------------------------------- */

static bool semaphore_view(const struct hfi_shm_part *part, struct semaphore_view *view) {
    if (part->size < SLOTS_AT) return false;
    const struct semaphore_header *shared = (const void *)part->base;
    const struct semaphore_header header = *shared;
    if (header.counted > 1) return false;
    view->counted = header.counted == 1;
    view->posted = (struct hfi_shm_event *)(void *)(part->base + HFI_SHM_LINE);
    view->state = (struct semaphore_state *)(void *)(part->base + 2 * HFI_SHM_LINE);
    view->most = view->counted ? header.most : header.permits;
    if (view->counted) return view->most > 0 && view->most <= HF_SHM_SEMAPHORE_VALUE_MAX;
    if (header.permits == 0 || header.permits > HF_SHM_SEMAPHORE_PERMITS_MAX) return false;
    if (header.permits != part->element_count) return false;
    if (part->size < SLOTS_AT + hfi_shm_slots_size((uint32_t)header.permits)) return false;
    hfi_shm_slots_view(&view->slots, part->base + SLOTS_AT, (uint32_t)header.permits);
    return true;
}

static void semaphore_init(struct hfi_shm_part *part, const void *raw) {
    const hf_shm_semaphore_options *options = raw;
    struct semaphore_header *header = (struct semaphore_header *)(void *)part->base;
    struct semaphore_view view;
    header->counted = options->counted;
    header->permits = options->counted ? 0 : options->permits;
    header->most = options->counted ? options->most : options->permits;
    if (!semaphore_view(part, &view)) return;
    if (view.counted)
        hfi_shm_store64(&view.state->value, options->permits);
    else
        hfi_shm_slots_init(&view.slots);
}

static hf_status semaphore_accept(struct hfi_shm_part *part, const void *raw) {
    const hf_shm_semaphore_options *options = raw;
    struct semaphore_view view;
    if (!semaphore_view(part, &view))
        return hfi_shm_say(HF_E_CORRUPT, "the semaphore's header contradicts its entry; erase it "
                                         "and make it again");
    if (options && (options->counted == 1) != view.counted)
        return hfi_shm_say(HF_E_MISMATCH, "the semaphore's permits are %s, asked for was %s",
                           view.counted ? "counted" : "held",
                           options->counted ? "counted" : "held");
    if (options && view.counted && options->most != 0 && options->most != view.most)
        return hfi_shm_say(HF_E_MISMATCH,
                           "the semaphore counts to %" PRIu64 ", asked for was %" PRIu64, view.most,
                           options->most);
    return HF_OK;
}

static bool semaphore_options_right(const hf_shm_semaphore_options *options) {
    if (options->struct_size != sizeof *options || options->counted > 1) return false;
    if (!options->counted)
        return options->permits <= HF_SHM_SEMAPHORE_PERMITS_MAX &&
               (options->most == 0 || options->most == options->permits);
    const uint64_t most = options->most ? options->most : HF_SHM_SEMAPHORE_VALUE_MAX;
    return most <= HF_SHM_SEMAPHORE_VALUE_MAX && options->permits <= most;
}

hf_status hf_shm_semaphore_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                const hf_shm_semaphore_options *options,
                                hf_shm_semaphore **semaphore_out) {
    if (!shm || !name || !semaphore_out || (!options && mode != HF_SHM_OPEN))
        return hfi_shm_say(HF_E_INVALID, "hf_shm_semaphore_open: segment, name, semaphore_out and, "
                                         "but for HF_SHM_OPEN, options must not be NULL");
    if (options && (!semaphore_options_right(options) ||
                    (mode != HF_SHM_OPEN && !options->counted && options->permits == 0)))
        return hfi_shm_say(HF_E_INVALID,
                           "semaphore \"%s\": held permits are 1 to %" PRIu32
                           ", a counted value is 0 to `most`, which is at most 2^62",
                           name, HF_SHM_SEMAPHORE_PERMITS_MAX);
    hf_shm_semaphore_options asked = options ? *options : (hf_shm_semaphore_options){0};
    struct hfi_shm_request request = {.name = name,
                                      .kind = HF_SHM_KIND_SEMAPHORE,
                                      .layout = hfi_shm_semaphore_kind.layout,
                                      .size = 0, /* any */
                                      .element_size = options ? 8 : 0,
                                      .options = options ? &asked : NULL,
                                      .init = semaphore_init,
                                      .accept = semaphore_accept};
    if (asked.counted) {
        request.element_count = 1;
        request.size = SLOTS_AT;
    } else if (asked.permits != 0) {
        request.element_count = asked.permits;
        request.size = SLOTS_AT + hfi_shm_slots_size((uint32_t)asked.permits);
    }
    if (mode != HF_SHM_OPEN && asked.counted && asked.most == 0)
        asked.most = HF_SHM_SEMAPHORE_VALUE_MAX;
    hf_status status = HF_OK;
    hf_shm_semaphore *semaphore =
        hfi_shm_handle_open(shm, mode, &request, sizeof *semaphore, &status);
    if (!semaphore) return status;
    if (!semaphore_view(&semaphore->part, &semaphore->view)) {
        hfi_shm_handle_close(semaphore, sizeof *semaphore);
        return hfi_shm_say(HF_E_CORRUPT, "semaphore \"%s\": its header changed while it was opened",
                           name);
    }
    *semaphore_out = semaphore;
    return HF_OK;
}

void hf_shm_semaphore_close(hf_shm_semaphore *semaphore) {
    hfi_shm_handle_close(semaphore, sizeof *semaphore);
}

/* --- take ------------------------------------------------------------------------------------- */

/* Counted: all at once. Tries as often as others get in between, within reason. */
static bool counted_take(struct semaphore_view *view, uint32_t count) {
    uint64_t value = hfi_shm_load64(&view->state->value);
    for (int tries = 0; tries < 1 << 20; tries++) {
        if (value < count || value > view->most) return false;
        if (hfi_shm_swap64(&view->state->value, &value, value - count)) return true;
    }
    return false;
}

/* Held: as many as there are; dead holders' permits included, if there were none. */
static uint32_t held_take(hf_shm_semaphore *semaphore, uint32_t wanted, bool search) {
    struct hfi_shm_slots *slots = &semaphore->view.slots;
    const uint32_t self = hfi_shm_self(semaphore->part.shm);
    uint32_t taken = 0;
    do {
        uint64_t handles[64];
        uint32_t most = wanted - taken < 64 ? wanted - taken : 64;
        uint32_t got = hfi_shm_slots_acquire_many(slots, self, handles, most);
        if (got == 0) {
            if (!search || !hfi_shm_slots_search(semaphore->part.shm, slots, &semaphore->look_next))
                break;
            search = false;
        }
        taken += got;
    } while (taken < wanted);
    return taken;
}

/* Gives back up to `count` of this participant's permits, whichever they are. */
static uint32_t held_give(hf_shm_semaphore *semaphore, uint32_t count) {
    const struct hfi_shm_slots *slots = &semaphore->view.slots;
    const uint32_t self = hfi_shm_self(semaphore->part.shm), words = slots->words[0];
    /* relaxed: a habit of this process; the permit taken last is most likely there. */
    const uint32_t start = atomic_load_explicit(&slots->start, memory_order_relaxed) % words;
    uint32_t given = 0;
    /* First where hints say that slots are taken; then everywhere: hints may be wrong. */
    for (int pass = 0; pass < 2 && given < count; pass++) {
        for (uint32_t i = 0; i < words && given < count; i++) {
            const uint32_t word = (start + i) % words;
            uint64_t maybe = pass == 0 ? ~hfi_shm_load64(&slots->hints[0][word]) : ~(uint64_t)0;
            for (; maybe != 0 && given < count; maybe &= maybe - 1) {
                const uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(maybe);
                const uint64_t own = hfi_shm_slots_word(slots, index);
                if (hfi_shm_slot_owner(own) != self) continue;
                given +=
                    hfi_shm_slots_release(slots, self, hfi_shm_slot_handle(own, index)) == HF_OK;
            }
        }
    }
    return given;
}

/* Takes what it can towards `count`; *taken_out goes up. True: that is all. */
static bool semaphore_take(hf_shm_semaphore *semaphore, uint32_t count, bool search,
                           uint32_t *taken) {
    if (semaphore->view.counted) {
        if (counted_take(&semaphore->view, count)) *taken = count;
    } else {
        *taken += held_take(semaphore, count - *taken, search);
    }
    return *taken == count;
}

static hf_status semaphore_collect(hf_shm_semaphore *semaphore, uint32_t count, uint64_t timeout_ns,
                                   uint64_t deadline) {
    struct hfi_shm_event *posted = semaphore->view.posted;
    struct hfi_shm_spin spin = {0};
    uint32_t taken = 0;
    if (semaphore_take(semaphore, count, true, &taken)) return HF_OK;
    while (timeout_ns != 0 && hfi_shm_spin(&spin))
        if (semaphore_take(semaphore, count, false, &taken)) return HF_OK;
    while (timeout_ns != 0) {
        const uint32_t turn = hfi_shm_event_turn(posted);
        if (semaphore_take(semaphore, count, true, &taken)) return HF_OK;
        if (hfi_shm_wait(posted, turn, deadline) == HF_E_TIMEOUT) break;
    }
    if (!semaphore->view.counted && taken != 0) {
        (void)held_give(semaphore, taken);
        hfi_shm_signal(posted, taken);
    }
    return hfi_shm_say(HF_E_TIMEOUT, "%" PRIu32 " permit(s) were not to be had for %" PRIu64 " ms",
                       count, timeout_ns / 1000000);
}

hf_status hf_shm_semaphore_wait(hf_shm_semaphore *semaphore, uint32_t count, uint64_t timeout_ns) {
    if (!semaphore || count == 0 || count > semaphore->view.most)
        return hfi_shm_say(HF_E_INVALID,
                           "hf_shm_semaphore_wait: the semaphore is NULL, or count is 0 or more "
                           "than its %" PRIu64 " permits",
                           semaphore ? semaphore->view.most : 0);
    hf_shm *shm = semaphore->part.shm;
    if (hfi_shm_self(shm) == 0) return hfi_shm_closed(shm);
    const uint64_t deadline = hfi_shm_deadline(timeout_ns);
    if (semaphore->view.counted || count == 1)
        return semaphore_collect(semaphore, count, timeout_ns, deadline);
    struct hfi_shm_lock *collecting = &semaphore->view.state->collecting;
    uint32_t died = 0; /* its permits come back by themselves */
    if (hfi_shm_lock_acquire(shm, collecting, deadline, &died) != HF_OK)
        return hfi_shm_say(HF_E_TIMEOUT, "another wait for several permits came first");
    hf_status status = semaphore_collect(semaphore, count, timeout_ns, deadline);
    hfi_shm_lock_release(shm, collecting);
    return status;
}

/* --- give back -------------------------------------------------------------------------------- */

uint64_t hf_shm_semaphore_held(hf_shm_semaphore *semaphore) {
    if (!semaphore || semaphore->view.counted) return 0;
    const uint32_t self = hfi_shm_self(semaphore->part.shm);
    uint64_t held = 0;
    for (uint32_t i = 0; i < semaphore->view.slots.count; i++)
        held +=
            self != 0 && hfi_shm_slot_owner(hfi_shm_slots_word(&semaphore->view.slots, i)) == self;
    return held;
}

static hf_status counted_post(struct semaphore_view *view, uint32_t count) {
    uint64_t value = hfi_shm_load64(&view->state->value);
    for (int tries = 0; tries < 1 << 20; tries++) {
        if (value > view->most || view->most - value < count)
            return hfi_shm_say(HF_E_FULL, "the semaphore is at %" PRIu64 " and counts to %" PRIu64,
                               value, view->most);
        if (hfi_shm_swap64(&view->state->value, &value, value + count)) return HF_OK;
    }
    return hfi_shm_say(HF_E_BUSY, "the semaphore's value changes without end");
}

hf_status hf_shm_semaphore_post(hf_shm_semaphore *semaphore, uint32_t count) {
    if (!semaphore || count == 0)
        return hfi_shm_say(HF_E_INVALID, "hf_shm_semaphore_post: the semaphore is NULL or count 0");
    if (hfi_shm_self(semaphore->part.shm) == 0) return hfi_shm_closed(semaphore->part.shm);
    if (semaphore->view.counted) {
        hf_status status = counted_post(&semaphore->view, count);
        if (status != HF_OK) return status;
    } else {
        const uint64_t held = count == 1 ? 1 : hf_shm_semaphore_held(semaphore);
        const uint32_t given = held < count ? 0 : held_give(semaphore, count);
        if (given == 0)
            return hfi_shm_say(HF_E_INVALID,
                               "hf_shm_semaphore_post: this participant holds %" PRIu64
                               " permit(s), not %" PRIu32,
                               hf_shm_semaphore_held(semaphore), count);
    }
    hfi_shm_signal(semaphore->view.posted, count);
    return HF_OK;
}

static uint64_t view_value(const struct semaphore_view *view) {
    if (!view->counted) return view->slots.count - hfi_shm_slots_taken(&view->slots);
    const uint64_t value = hfi_shm_load64(&view->state->value);
    return value <= view->most ? value : 0;
}

uint64_t hf_shm_semaphore_value(hf_shm_semaphore *semaphore) {
    return semaphore ? view_value(&semaphore->view) : 0;
}

/* --- as its segment sees it ------------------------------------------------------------------- */

static void semaphore_recover(const struct hfi_shm_part *part, uint32_t owner) {
    struct semaphore_view view;
    if (!semaphore_view(part, &view) || view.counted) return;
    size_t freed = hfi_shm_slots_recover(&view.slots, owner, hfi_shm_self(part->shm), NULL, NULL);
    if (hfi_shm_lock_seize(part->shm, &view.state->collecting, owner))
        hfi_shm_lock_release(part->shm, &view.state->collecting);
    if (freed != 0) hfi_shm_signal(view.posted, INT32_MAX);
}

static void semaphore_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding) {
    struct semaphore_view view;
    if (!semaphore_view(part, &view)) {
        hfi_shm_fault(finding, "the header contradicts the entry");
        return;
    }
    if (view.counted) {
        const uint64_t value = hfi_shm_load64(&view.state->value);
        if (value > view.most)
            hfi_shm_fault(finding, "its value is %" PRIu64 " of %" PRIu64, value, view.most);
        return;
    }
    for (uint32_t i = 0; i < view.slots.count; i++) {
        const uint64_t own = hfi_shm_slots_word(&view.slots, i);
        if (hfi_shm_slots_wrong(own))
            hfi_shm_fault(finding, "permit %" PRIu32 ": its owner word 0x%" PRIx64 " is none", i,
                          own);
    }
}

static size_t semaphore_repair(const struct hfi_shm_part *part) {
    struct semaphore_view view;
    if (!semaphore_view(part, &view)) return 0;
    if (!view.counted) return hfi_shm_slots_repair(&view.slots);
    uint64_t value = hfi_shm_load64(&view.state->value);
    return value > view.most && hfi_shm_swap64(&view.state->value, &value, 0);
}

static void semaphore_figures(const struct hfi_shm_part *part, hf_shm_figures *figures_out) {
    struct semaphore_view view;
    if (!semaphore_view(part, &view)) return;
    figures_out->capacity = view.most;
    figures_out->count = view_value(&view);
}

/* Who takes several permits, while somebody does. False: enough. */
static bool collecting_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing,
                            const struct hfi_shm_lock *lock) {
    hf_shm_view_item item = {.piece = HF_SHM_PIECE_LOCK, .state = HF_SHM_STATE_HELD};
    for (unsigned looks = 0; looks < HFI_SHM_LOOKS; looks++) {
        const uint32_t owner = hfi_shm_lock_owner(lock);
        if (owner == 0) return true;
        hfi_shm_show_owner(part->shm, &item, owner);
        if (hfi_shm_lock_owner(lock) == owner) break;
    }
    return hfi_shm_show(showing, &item, lock, sizeof *lock);
}

static hf_status semaphore_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    struct semaphore_view view;
    if (!semaphore_view(part, &view))
        return hfi_shm_say(HF_E_CORRUPT, "the header of the semaphore contradicts the entry");
    if (view.counted) {
        const uint64_t value = hfi_shm_load64(&view.state->value);
        hf_shm_view_item item = {.piece = HF_SHM_PIECE_PERMITS,
                                 .number = view.most,
                                 .value = value,
                                 .state = value > view.most ? HF_SHM_STATE_DAMAGED
                                          : value != 0      ? HF_SHM_STATE_FREE
                                                            : HF_SHM_STATE_TAKEN};
        hfi_shm_show_owner(part->shm, &item, 0);
        (void)hfi_shm_show(showing, &item, &view.state->value, sizeof view.state->value);
        return HF_OK;
    }
    if (!collecting_show(part, showing, &view.state->collecting)) return HF_OK;
    const struct hfi_shm_slots_shown as = {.piece = HF_SHM_PIECE_PERMIT,
                                           .taken = HF_SHM_STATE_HELD};
    hfi_shm_slots_show(&view.slots, part->shm, &as, showing);
    return HF_OK;
}

const struct hfi_shm_kind hfi_shm_semaphore_kind = {.layout = 1,
                                                    .recover = semaphore_recover,
                                                    .check = semaphore_check,
                                                    .repair = semaphore_repair,
                                                    .figures = semaphore_figures,
                                                    .show = semaphore_show};
