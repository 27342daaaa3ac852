/* event.c - one bit that processes set and wait for.
 *
 *   header 128 | state: set | turn, waiters        set 0 -> 1: set;   1 -> 0: clear, or an automatic wait
 *
 * Contract    holdfast/shm_event.h.   Talks to segment.h (waiting), handle.h.
 * Invariants  the bit is the truth and changes by one instruction; the waiters' words only wake.
 * Killed      between the bit and the wake-up: sleepers look again within 50 ms. Nothing is owned, so
 *             there is nothing to recover.
 * Threads     every function from any thread of any process.
 * Fails with  HF_E_TIMEOUT, HF_E_INVALID, HF_E_MISMATCH. */
#include "handle.h"

#include <holdfast/shm_event.h>

#define EVENT_SIZE 256u

struct event_header {
    uint32_t automatic;
};
struct event_state {
    _Atomic uint32_t set;
    uint32_t spare;
    struct hfi_shm_event waiters;
};

struct hf_shm_event {
    struct hfi_shm_part part;
    struct event_state *state;
    bool automatic;
};

extern const struct hfi_shm_kind hfi_shm_event_kind;

static struct event_header *event_header(const struct hfi_shm_part *part) {
    return (struct event_header *)(void *)part->base;
}
static struct event_state *event_state(const struct hfi_shm_part *part) {
    return (struct event_state *)(void *)(part->base + HFI_SHM_LINE);
}

void hf_shm_event_options_init(hf_shm_event_options *options) {
    *options = (hf_shm_event_options){.struct_size = sizeof *options};
}

static void event_init(struct hfi_shm_part *part, const void *raw) {
    const hf_shm_event_options *options = raw;
    event_header(part)->automatic = options->automatic;
    hfi_shm_store32(&event_state(part)->set, options->set);
}

static hf_status event_accept(struct hfi_shm_part *part, const void *raw) {
    const hf_shm_event_options *options = raw;
    const uint32_t automatic = event_header(part)->automatic;
    if (part->size < EVENT_SIZE || automatic > 1)
        return hfi_shm_say(HF_E_CORRUPT, "the event's header is none; repair puts it right");
    if (options && options->automatic != automatic)
        return hfi_shm_say(HF_E_MISMATCH, "the event is %s, asked for was %s",
                           automatic ? "automatic" : "manual",
                           options->automatic ? "automatic" : "manual");
    return HF_OK;
}

hf_status hf_shm_event_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                            const hf_shm_event_options *options, hf_shm_event **event_out) {
    if (!shm || !name || !event_out || (!options && mode != HF_SHM_OPEN))
        return hfi_shm_say(HF_E_INVALID, "hf_shm_event_open: segment, name, event_out and, but for "
                                         "HF_SHM_OPEN, options must not be NULL");
    if (options &&
        (options->struct_size != sizeof *options || options->automatic > 1 || options->set > 1))
        return hfi_shm_say(HF_E_INVALID, "hf_shm_event_open: the options were not set by "
                                         "hf_shm_event_options_init, or a flag is not 0 or 1");
    const struct hfi_shm_request request = {.name = name,
                                            .kind = HF_SHM_KIND_EVENT,
                                            .layout = hfi_shm_event_kind.layout,
                                            .size = EVENT_SIZE,
                                            .element_size = 1,
                                            .element_count = 1,
                                            .options = options,
                                            .init = event_init,
                                            .accept = event_accept};
    hf_status status = HF_OK;
    hf_shm_event *event = hfi_shm_handle_open(shm, mode, &request, sizeof *event, &status);
    if (!event) return status;
    event->state = event_state(&event->part);
    event->automatic = event_header(&event->part)->automatic == 1;
    *event_out = event;
    return HF_OK;
}

void hf_shm_event_close(hf_shm_event *event) {
    hfi_shm_handle_close(event, sizeof *event);
}

hf_status hf_shm_event_set(hf_shm_event *event) {
    if (!event) return hfi_shm_say(HF_E_INVALID, "hf_shm_event_set: event is NULL");
    (void)hfi_shm_or32(&event->state->set, 1);
    hfi_shm_signal(&event->state->waiters, event->automatic ? 1 : INT32_MAX);
    return HF_OK;
}

hf_status hf_shm_event_clear(hf_shm_event *event) {
    if (!event) return hfi_shm_say(HF_E_INVALID, "hf_shm_event_clear: event is NULL");
    (void)hfi_shm_and32(&event->state->set, 0);
    return HF_OK;
}

static bool event_take(hf_shm_event *event) {
    if ((hfi_shm_load32(&event->state->set) & 1) == 0) return false;
    if (!event->automatic) return true;
    if (HFI_SHM_MUTANT(522)) {
        hfi_shm_store32(&event->state->set, 0);
        return true;
    }
    return (hfi_shm_and32(&event->state->set, 0) & 1) != 0;
}

hf_status hf_shm_event_wait(hf_shm_event *event, uint64_t timeout_ns) {
    if (!event) return hfi_shm_say(HF_E_INVALID, "hf_shm_event_wait: event is NULL");
    if (event_take(event)) return HF_OK;
    const uint64_t deadline = hfi_shm_deadline(timeout_ns);
    struct hfi_shm_spin spin = {0};
    while (timeout_ns != 0 && hfi_shm_spin(&spin))
        if (event_take(event)) return HF_OK;
    while (timeout_ns != 0) {
        const uint32_t turn = hfi_shm_event_turn(&event->state->waiters);
        if (event_take(event)) return HF_OK;
        if (hfi_shm_wait(&event->state->waiters, turn, deadline) == HF_E_TIMEOUT) break;
    }
    return hfi_shm_say(HF_E_TIMEOUT, "the event was not set for %" PRIu64 " ms",
                       timeout_ns / 1000000);
}

int hf_shm_event_is_set(const hf_shm_event *event) {
    return event && (hfi_shm_load32(&event->state->set) & 1) != 0;
}
int hf_shm_event_is_automatic(const hf_shm_event *event) {
    return event && event->automatic;
}

/* --- as its segment sees it ------------------------------------------------------------------- */

static void event_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding) {
    if (part->size < EVENT_SIZE) {
        hfi_shm_fault(finding, "an event of %" PRIu64 " bytes", part->size);
        return;
    }
    const uint32_t automatic = event_header(part)->automatic;
    const uint32_t set = hfi_shm_load32(&event_state(part)->set);
    if (automatic > 1) hfi_shm_fault(finding, "automatic is %" PRIu32, automatic);
    if (set > 1) hfi_shm_fault(finding, "its bit is %" PRIu32, set);
}

static size_t event_repair(const struct hfi_shm_part *part) {
    if (part->size < EVENT_SIZE) return 0;
    size_t repaired = 0;
    if (event_header(part)->automatic > 1) {
        event_header(part)->automatic = 0;
        repaired++;
    }
    if (hfi_shm_load32(&event_state(part)->set) > 1) {
        (void)hfi_shm_and32(&event_state(part)->set, 1);
        repaired++;
    }
    return repaired;
}

static void event_figures(const struct hfi_shm_part *part, hf_shm_figures *figures_out) {
    if (part->size < EVENT_SIZE) return;
    figures_out->capacity = 1;
    figures_out->count = hfi_shm_load32(&event_state(part)->set) & 1;
}

static hf_status event_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    if (part->size < EVENT_SIZE)
        return hfi_shm_say(HF_E_CORRUPT, "an event of %" PRIu64 " bytes", part->size);
    const struct event_state *state = event_state(part);
    const uint32_t automatic = event_header(part)->automatic, set = hfi_shm_load32(&state->set);
    hf_shm_view_item item = {.piece = HF_SHM_PIECE_BIT,
                             .value = automatic,
                             .state = set > 1 || automatic > 1 ? HF_SHM_STATE_DAMAGED
                                      : set == 1               ? HF_SHM_STATE_SET
                                                               : HF_SHM_STATE_CLEAR};
    hfi_shm_show_owner(part->shm, &item, 0);
    (void)hfi_shm_show(showing, &item, &state->set, sizeof state->set);
    return HF_OK;
}

const struct hfi_shm_kind hfi_shm_event_kind = {.layout = 1,
                                                .check = event_check,
                                                .repair = event_repair,
                                                .figures = event_figures,
                                                .show = event_show};
