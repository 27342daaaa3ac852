/// report.hpp - corruption reports as values, and a handler for as long as an object lives.
///
///   hf::CorruptionHandler watch{[](const hf::Report &report) { log(report.text()); }};
///
/// The handler runs on the thread that noticed, without locks held; it may allocate and free. It
/// must not throw: there is C between it and the code that noticed (std::terminate is called).
/// Invariants  the newest living handler is the one that is called; when it goes, the one before
///             it is called again.
/// Talks to    report.h, error.hpp.
/// Threads     create and destroy handlers while no other thread may meet corruption, as a rule at
///             start and end of the program.
/// Fails with  throw_pending_report: ReportedCorruption.
#ifndef HOLDFAST_REPORT_HPP
#define HOLDFAST_REPORT_HPP

#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <holdfast/error.hpp>
#include <holdfast/heap.h>
#include <holdfast/options.h>
#include <holdfast/report.h>

namespace hf {

using ReportKind = hf_report_kind;

struct Report : hf_report {
    /// "OVERFLOW" and the like.
    [[nodiscard]] const char *kind_name() const noexcept { return hf_report_kind_name(kind); }
    /// One English sentence.
    [[nodiscard]] const char *sentence() const noexcept { return hf_report_kind_sentence(kind); }
    /// Section of failure-modes that explains the kind.
    [[nodiscard]] const char *anchor() const noexcept { return hf_report_kind_anchor(kind); }

    /// As it is printed.
    [[nodiscard]] std::string text() const {
        std::string text(hf_report_format(this, nullptr, 0), '\0');
        hf_report_format(this, text.data(), text.size() + 1);
        return text;
    }
    /// As one JSON object.
    [[nodiscard]] std::string json() const {
        std::string text(hf_report_json(this, nullptr, 0), '\0');
        hf_report_json(this, text.data(), text.size() + 1);
        return text;
    }
};
static_assert(sizeof(Report) == sizeof(hf_report), "a report is the C struct with functions");

namespace detail {

/// The stack of living handlers, newest first.
class HandlerLink {
public:
    HandlerLink(const HandlerLink &) = delete;
    HandlerLink &operator=(const HandlerLink &) = delete;

protected:
    using Call = void (*)(HandlerLink *, const Report &);

    explicit HandlerLink(Call call) : call_(call) {
        const std::lock_guard hold(mutex());
        before_ = newest();
        newest() = this;
        hf_report_handler_set(dispatch, this);
    }
    ~HandlerLink() {
        const std::lock_guard hold(mutex());
        HandlerLink **link = &newest();
        while (*link != this)
            link = &(*link)->before_;
        *link = before_;
        HandlerLink *now = newest();
        hf_report_handler_set(now ? dispatch : nullptr, now);
    }

private:
    static void dispatch(const hf_report *report, void *context) noexcept {
        auto *link = static_cast<HandlerLink *>(context);
        link->call_(link, static_cast<const Report &>(*report));
    }
    static HandlerLink *&newest() {
        static HandlerLink *link = nullptr;
        return link;
    }
    static std::mutex &mutex() {
        static std::mutex one;
        return one;
    }

    Call call_;
    HandlerLink *before_ = nullptr;
};

} // namespace detail

/// Calls `function(const Report &)` for every report while it lives. It stays where it was made.
template <class Function> class [[nodiscard]] CorruptionHandler : detail::HandlerLink {
public:
    explicit CorruptionHandler(Function function)
        : HandlerLink(call), function_(std::move(function)) {}

private:
    static void call(HandlerLink *link, const Report &report) {
        static_cast<CorruptionHandler *>(link)->function_(report);
    }
    Function function_;
};

/// The same as a function: `auto watch = hf::on_corruption([](const hf::Report &) { ... });`
template <class Function>
[[nodiscard]] CorruptionHandler<Function> on_corruption(Function function) {
    return CorruptionHandler<Function>(std::move(function));
}

/// Corruption that policy `raise` turned into an exception.
class ReportedCorruption : public Corruption {
public:
    explicit ReportedCorruption(const Report &report)
        : Corruption(HF_E_CORRUPT, report.text()), report_(report) {}
    [[nodiscard]] const Report &report() const noexcept { return report_; }

private:
    Report report_;
};

/// Reports of this process so far.
[[nodiscard]] inline std::uint64_t report_count() noexcept {
    return hf_report_count();
}

/// The most recent reports, at most 64, oldest first.
[[nodiscard]] inline std::vector<Report> recent_reports() {
    constexpr std::size_t kept_max = 64;
    std::vector<hf_report> raw(kept_max);
    raw.resize(hf_report_recent(raw.data(), raw.size()));
    std::vector<Report> reports;
    reports.reserve(raw.size());
    for (const hf_report &report : raw)
        reports.push_back(Report{report});
    return reports;
}

/// Policy `raise`: the oldest report that nobody took yet.
[[nodiscard]] inline std::optional<Report> take_pending_report() {
    Report report{};
    if (hf_report_take_pending(&report) == 0) return std::nullopt;
    return report;
}

/// Policy `raise`: throws ReportedCorruption if a report is waiting. Call it at a safe point.
inline void throw_pending_report() {
    if (const std::optional<Report> report = take_pending_report())
        throw ReportedCorruption(*report);
}

/// What happens after a report, for the whole process.
inline void policy(hf_policy policy) {
    check(hf_policy_set(policy));
}

} // namespace hf

#endif
