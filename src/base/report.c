/* report.c - what happens to a report: kept, counted, delivered, and followed by the policy.
 *
 *   ticket t --> slot t % 64     sequence: 2t + 1 while t is written, 2t + 2 when it is there
 *
 * Invariants  a slot's sequence only grows; a reader keeps a copy only if the sequence was the same
 *             even number before and after it.
 * Threads     the ring is a seqlock per slot. A writer that meets another one in its slot (64
 *             reports later, or in a signal handler) does not wait: its report is counted, handled
 *             and not kept.
 * Source      seqlock with atomic payload: Boehm 2012, doi:10.1145/2247684.2247688. */
#include "report.h"

#include <errno.h>
#include <holdfast/heap.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "assert.h"
#include "os/os.h"

enum { KEPT = 64, WORDS = sizeof(hf_report) / sizeof(uint64_t), HANDLER_TRIES = 1000 };
_Static_assert(sizeof(hf_report) % sizeof(uint64_t) == 0, "a report is copied word by word");

typedef struct slot {
    _Atomic uint64_t sequence;
    _Atomic uint64_t
        pending; /* ticket + 1 of a report that waits for hf_report_take_pending, or 0 */
    _Atomic uint64_t words[WORDS];
} slot;

static slot slots[KEPT];
static _Atomic uint64_t tickets; /* reports so far */
static _Atomic uint32_t policy;
static _Atomic(hfi_report_sink) sink_function;
static _Atomic(hf_site_capture) capture_function;
static _Atomic(hf_site_render) render_function;

/* Handler and context change together: version is odd while they do. */
static struct {
    _Atomic uint32_t version;
    _Atomic(hf_report_handler) function;
    _Atomic(void *) context;
} handler;

/* Initial-exec: reaching it must never call the allocator this library may be. */
static __thread __attribute__((tls_model("initial-exec"))) bool in_handler, in_sink;

/* ---- the ring ---- */

static bool ring_keep(uint64_t ticket, const hf_report *report) {
    slot *place = &slots[ticket % KEPT];
    /* relaxed: the compare-and-swap below decides. */
    uint64_t sequence = atomic_load_explicit(&place->sequence, memory_order_relaxed);
    if ((sequence & 1) != 0 || sequence > 2 * ticket) return false;
    /* SYNC(slot.sequence): the words of the last writer come before ours; pairs with its release. */
    if (!atomic_compare_exchange_strong_explicit(&place->sequence, &sequence, 2 * ticket + 1,
                                                 memory_order_acq_rel, memory_order_relaxed))
        return false;
    /* relaxed: the sequence is odd, nobody acts on it. */
    atomic_store_explicit(&place->pending, 0, memory_order_relaxed);
    const char *from = (const char *)report;
    for (size_t i = 0; i < WORDS; i++) {
        uint64_t word;
        memcpy(&word, from + i * sizeof word, sizeof word);
        /* SYNC(slot.words): a reader that sees this word sees the odd sequence before it. */
        atomic_store_explicit(&place->words[i], word, memory_order_release);
    }
    /* SYNC(slot.sequence): publishes the words; pairs with the acquire in ring_read. */
    atomic_store_explicit(&place->sequence, 2 * ticket + 2, memory_order_release);
    return true;
}

/* Copies the report with this ticket; false if it is not there (any more). */
static bool ring_read(uint64_t ticket, hf_report *report_out) {
    slot *place = &slots[ticket % KEPT];
    uint64_t whole = 2 * ticket + 2;
    /* SYNC(slot.sequence): pairs with the release in ring_keep. */
    if (atomic_load_explicit(&place->sequence, memory_order_acquire) != whole) return false;
    char *to = (char *)report_out;
    for (size_t i = 0; i < WORDS; i++) {
        /* SYNC(slot.words): pairs with the release in ring_keep. */
        uint64_t word = atomic_load_explicit(&place->words[i], memory_order_acquire);
        memcpy(to + i * sizeof word, &word, sizeof word);
    }
    /* relaxed: ordered behind the words by their acquire. */
    return atomic_load_explicit(&place->sequence, memory_order_relaxed) == whole;
}

/* Ticket of the oldest report that can still be in the ring. */
static uint64_t ring_first(uint64_t count, size_t at_most) {
    uint64_t kept = at_most < KEPT ? at_most : KEPT;
    return count > kept ? count - kept : 0;
}

uint64_t hf_report_count(void) {
    /* relaxed: a counter. */
    return atomic_load_explicit(&tickets, memory_order_relaxed);
}

size_t hf_report_recent(hf_report *reports_out, size_t capacity) {
    uint64_t count = hf_report_count();
    size_t copied = 0;
    for (uint64_t ticket = ring_first(count, capacity); ticket < count; ticket++)
        if (ring_read(ticket, &reports_out[copied])) copied++;
    return copied;
}

int hf_report_take_pending(hf_report *report_out) {
    uint64_t count = hf_report_count();
    for (uint64_t ticket = ring_first(count, KEPT); ticket < count; ticket++) {
        _Atomic uint64_t *pending = &slots[ticket % KEPT].pending;
        uint64_t mark = ticket + 1;
        /* SYNC(slot.pending): the report was kept before; pairs with the release in hfi_report_emit. */
        if (atomic_load_explicit(pending, memory_order_acquire) != mark) continue;
        if (!ring_read(ticket, report_out)) continue;
        /* Whoever clears the mark has the report. relaxed: the copy is complete already. */
        if (atomic_compare_exchange_strong_explicit(pending, &mark, 0, memory_order_relaxed,
                                                    memory_order_relaxed))
            return 1;
    }
    return 0;
}

void hfi_report_fork_child(void) {
    for (size_t i = 0; i < KEPT; i++) {
        /* relaxed: the child has one thread. An odd sequence belongs to a thread that is gone; the
         * even number below its own makes the slot usable and its torn words unreadable. */
        uint64_t sequence = atomic_load_explicit(&slots[i].sequence, memory_order_relaxed);
        if ((sequence & 1) != 0)
            atomic_store_explicit(&slots[i].sequence, sequence - 1, memory_order_relaxed);
    }
    in_handler = in_sink = false;
}

/* ---- handler, sink, policy ---- */

hf_report_handler hf_report_handler_set(hf_report_handler function, void *context) {
    uint32_t version = atomic_load_explicit(&handler.version, memory_order_relaxed);
    for (;;) {
        version &= ~1u;
        /* SYNC(handler.version): one setter at a time; pairs with the release below. */
        if (atomic_compare_exchange_weak_explicit(&handler.version, &version, version + 1,
                                                  memory_order_acq_rel, memory_order_relaxed))
            break;
    }
    hf_report_handler previous = atomic_load_explicit(&handler.function, memory_order_relaxed);
    /* SYNC(handler.fields): a reader that sees a new field sees the odd version before it. */
    atomic_store_explicit(&handler.function, function, memory_order_release);
    atomic_store_explicit(&handler.context, context, memory_order_release);
    /* SYNC(handler.version): publishes both; pairs with the acquire in handler_call. */
    atomic_store_explicit(&handler.version, version + 2, memory_order_release);
    return previous;
}

/* Bounded: a report inside a signal that interrupted hf_report_handler_set must not wait for it. */
static void handler_call(const hf_report *report) {
    for (unsigned i = 0; i < HANDLER_TRIES; i++) {
        /* SYNC(handler.version): pairs with the release in hf_report_handler_set. */
        uint32_t version = atomic_load_explicit(&handler.version, memory_order_acquire);
        /* SYNC(handler.fields): pairs with the releases in hf_report_handler_set. */
        hf_report_handler function = atomic_load_explicit(&handler.function, memory_order_acquire);
        void *context = atomic_load_explicit(&handler.context, memory_order_acquire);
        /* relaxed: ordered behind the fields by their acquire. */
        if ((version & 1) != 0 ||
            atomic_load_explicit(&handler.version, memory_order_relaxed) != version)
            continue;
        if (function != NULL) function(report, context);
        return;
    }
}

void hfi_report_sink_set(hfi_report_sink sink) {
    /* SYNC(sink): what the sink needs is there; pairs with the acquire in hfi_report_emit. */
    atomic_store_explicit(&sink_function, sink, memory_order_release);
}

bool hfi_report_has_sink(void) {
    /* relaxed: only asked whether. */
    return atomic_load_explicit(&sink_function, memory_order_relaxed) != NULL;
}

hf_status hf_policy_set(hf_policy wanted) {
    if ((unsigned)wanted > HF_POLICY_RAISE) return HF_E_INVALID;
    /* relaxed: one value that nothing else depends on. */
    atomic_store_explicit(&policy, (uint32_t)wanted, memory_order_relaxed);
    return HF_OK;
}

hf_policy hfi_policy(void) {
    /* relaxed: see hf_policy_set. */
    return (hf_policy)atomic_load_explicit(&policy, memory_order_relaxed);
}

/* Its own frame: the buffer must not burden the stack of reports that do not abort. */
static __attribute__((noinline)) void report_print(const hf_report *report) {
    char text[6 * HF_SITE_TEXT];
    size_t length = hf_report_format(report, text, sizeof text);
    hfi_os_write(2, text, length < sizeof text ? length : sizeof text - 1);
}

static __attribute__((noinline)) void report_fill(hf_report *report) {
    enum { FRAMES_MAX = 64 };
    uintptr_t frames[FRAMES_MAX];
    report->struct_size = sizeof *report;
    if (report->time_ns == 0) report->time_ns = hfi_os_realtime_ns();
    if (report->thread_id == 0) report->thread_id = hfi_os_thread_id();
    if (report->site_noticed[0] != '\0') return;
    size_t count = hfi_site_capture_now(frames, FRAMES_MAX);
    if (count > 0)
        (void)hfi_site_render_to(frames, count, report->site_noticed, sizeof report->site_noticed);
}

void hfi_report_emit(hf_report *report) {
    HF_EXPECT(report != NULL);
    int saved = errno;
    report_fill(report);
    /* relaxed: the ticket orders nothing; the slot it names does. */
    uint64_t ticket = atomic_fetch_add_explicit(&tickets, 1, memory_order_relaxed);
    bool kept = ring_keep(ticket, report);
    hf_policy now = hfi_policy();
    if (kept && now == HF_POLICY_RAISE) {
        /* SYNC(slot.pending): the report is kept; pairs with the acquire in hf_report_take_pending. */
        atomic_store_explicit(&slots[ticket % KEPT].pending, ticket + 1, memory_order_release);
    }
    if (!in_handler) {
        in_handler = true;
        handler_call(report);
        in_handler = false;
    }
    /* SYNC(sink): pairs with the release in hfi_report_sink_set. */
    hfi_report_sink sink = atomic_load_explicit(&sink_function, memory_order_acquire);
    if (sink != NULL && !in_sink) {
        in_sink = true;
        sink(report);
        in_sink = false;
    }
    if (now == HF_POLICY_ABORT) {
        if (sink == NULL) report_print(report);
        abort();
    }
    errno = saved;
}

/* ---- call sites ---- */

void hf_site_functions_set(hf_site_capture capture, hf_site_render render) {
    /* SYNC(sites): what the functions need is there; pairs with the acquires below. Words are only
     * ever rendered after they were captured, hence render first. */
    atomic_store_explicit(&render_function, render, memory_order_release);
    atomic_store_explicit(&capture_function, capture, memory_order_release);
}

size_t hfi_site_capture_now(uintptr_t *frames, size_t capacity) {
    /* SYNC(sites): pairs with the release in hf_site_functions_set. */
    hf_site_capture capture = atomic_load_explicit(&capture_function, memory_order_acquire);
    return capture != NULL ? capture(frames, capacity) : 0;
}

size_t hfi_site_render_to(const uintptr_t *frames, size_t count, char *buffer, size_t size) {
    /* SYNC(sites): pairs with the release in hf_site_functions_set. */
    hf_site_render render = atomic_load_explicit(&render_function, memory_order_acquire);
    if (size > 0) buffer[0] = '\0';
    return render != NULL && count > 0 ? render(frames, count, buffer, size) : 0;
}
