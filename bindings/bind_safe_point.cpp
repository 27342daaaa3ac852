/// bind_safe_point.cpp - reports wait here until Python may run.
///
///   C handler: report --> slot[0..63] --> request() ... interpreter's eval loop --> deliver()
///
/// Invariants  a slot goes EMPTY -> WRITING -> FULL -> READING -> EMPTY; whoever moved it owns it.
///             With all slots taken, a report is not delivered but stays in recent_reports().
/// Talks to    report.hpp, Py_AddPendingCall.   Used by holdfast/safe_point.py.
/// Threads     the handler runs on any thread, possibly inside PyObject_Free, with or without the
///             GIL; it copies and asks. The deliverer runs under the GIL.
/// Fails with  nothing: what cannot be queued now is asked for again by the next report or the next
///             call of the library.
#include "core.hpp"
#include "report_dict.hpp"
#include "safe_point.hpp"

#include <array>
#include <atomic>
#include <memory>

namespace {

enum SlotState : unsigned { EMPTY, WRITING, FULL, READING };

struct Slot {
    std::atomic<unsigned> state{EMPTY};
    std::uint64_t number = 0; /* order of arrival */
    hf::Report report{};
};

struct Queue {
    std::array<Slot, 64> slots;
    std::atomic<std::uint64_t> next{0};
    std::atomic<std::uint64_t> waiting{0};

    void put(const hf::Report &report) noexcept {
        const std::uint64_t number = next.fetch_add(1, std::memory_order_relaxed);
        for (Slot &slot : slots) {
            unsigned seen = EMPTY;
            if (!slot.state.compare_exchange_strong(seen, WRITING, std::memory_order_acquire))
                continue;
            slot.number = number;
            slot.report = report;
            /* SYNC(slot.full): publishes the report; pairs with the acquire in take. */
            slot.state.store(FULL, std::memory_order_release);
            waiting.fetch_add(1, std::memory_order_release);
            return;
        }
    }

    /// Copies the oldest report out. False if there is none.
    bool take(hf::Report &report_out) noexcept {
        for (;;) {
            Slot *oldest = nullptr;
            for (Slot &slot : slots) {
                /* SYNC(slot.full) */
                if (slot.state.load(std::memory_order_acquire) == FULL &&
                    (oldest == nullptr || slot.number < oldest->number))
                    oldest = &slot;
            }
            if (oldest == nullptr) return false;
            unsigned seen = FULL;
            if (!oldest->state.compare_exchange_strong(seen, READING, std::memory_order_acquire))
                continue; /* another thread was faster: look again */
            report_out = oldest->report;
            oldest->state.store(EMPTY, std::memory_order_release);
            waiting.fetch_sub(1, std::memory_order_relaxed);
            return true;
        }
    }
};

/* Made at the first watch and kept until the process ends: a handler may be in it at any time. */
std::atomic<Queue *> queue{nullptr};
/* Called without arguments at a safe point; owned. */
std::atomic<PyObject *> deliverer{nullptr};
/* A pending call is on its way. */
std::atomic<bool> requested{false};
/* Something happened that nobody was told yet. */
std::atomic<bool> noted{false};

int run_deliverer(void *) {
    requested.store(false, std::memory_order_seq_cst);
    PyObject *function = deliverer.load(std::memory_order_acquire);
    if (function == nullptr) return 0;
    PyObject *answer = PyObject_CallNoArgs(function);
    if (answer == nullptr) return -1; /* raised where the main thread stands */
    Py_DECREF(answer);
    return 0;
}

void on_report(const hf::Report &report) noexcept {
    if (Queue *to = queue.load(std::memory_order_acquire)) to->put(report);
    safe_point::request();
}

/// The handler lives as long as the process once somebody watched: see report.hpp.
void install_handler() {
    static const auto handler = hf::on_corruption(&on_report);
    (void)handler;
}

void watch(nb::callable function) {
    PyObject *before = deliverer.exchange(function.release().ptr(), std::memory_order_acq_rel);
    Py_XDECREF(before);
    if (queue.load(std::memory_order_acquire) == nullptr) {
        auto fresh = std::make_unique<Queue>();
        Queue *none = nullptr;
        if (queue.compare_exchange_strong(none, fresh.get(), std::memory_order_acq_rel))
            (void)fresh.release();
    }
}

void watch_reports() {
    install_handler();
}

/// At exit: nothing may call into a dying interpreter.
void unwatch() {
    PyObject *before = deliverer.exchange(nullptr, std::memory_order_acq_rel);
    Py_XDECREF(before);
}

nb::object take_report() {
    Queue *from = queue.load(std::memory_order_acquire);
    if (from == nullptr || from->waiting.load(std::memory_order_acquire) == 0) return nb::none();
    auto report = std::make_unique<hf::Report>();
    if (!from->take(*report)) return nb::none();
    return report_dict(*report);
}

/// Calls function(argument); what it raises goes to sys.unraisablehook.
void call_quietly(nb::callable function, nb::object argument) {
    PyObject *answer = PyObject_CallOneArg(function.ptr(), argument.ptr());
    if (answer == nullptr)
        PyErr_WriteUnraisable(function.ptr());
    else
        Py_DECREF(answer);
}

} // namespace

void safe_point::request() noexcept {
    if (deliverer.load(std::memory_order_acquire) == nullptr) return;
    noted.store(true, std::memory_order_release);
    if (requested.exchange(true, std::memory_order_seq_cst)) return;
    if (Py_AddPendingCall(run_deliverer, nullptr) != 0)
        requested.store(false, std::memory_order_seq_cst); /* the next one asks again */
}

void bind_safe_point(nb::module_ &module) {
    module.def("watch", &watch, nb::arg("deliver"),
               "Sets the function that is called at safe points.");
    module.def("watch_reports", &watch_reports, "From now on reports are queued for take_report.");
    module.def("unwatch", &unwatch, "Stops calling at safe points.");
    module.def("take_report", &take_report, "The oldest queued report, or None.");
    module.def("request", &safe_point::request, "Asks for a call at the next safe point.");
    module.def(
        "has_noted", [] { return noted.load(std::memory_order_acquire); },
        "True if something happened that nobody was told yet.");
    module.def(
        "noted", [] { noted.store(false, std::memory_order_release); },
        "Whoever calls this is about to look.");
    module.def("call_quietly", &call_quietly, nb::arg("function"), nb::arg("argument"),
               "Calls; an exception goes to sys.unraisablehook.");
}
