/// bind_report.cpp - reports of corruption as dictionaries, and the table of their kinds.
///
/// Talks to    report.hpp.   Used by holdfast/report.py, which makes dataclasses of them.
/// Threads     any; recent_reports and take_pending are safe on every thread.
#include "core.hpp"
#include "report_dict.hpp"

namespace {

nb::list report_table() {
    nb::list rows;
#define HF_REPORT(name, python, anchor, sentence)                                                  \
    rows.append(nb::make_tuple(#name, python, anchor, sentence));
#include <holdfast/report.def>
#undef HF_REPORT
    return rows;
}

nb::list recent_reports() {
    nb::list reports;
    for (const hf::Report &report : hf::recent_reports())
        reports.append(report_dict(report));
    return reports;
}

nb::object take_pending() {
    if (const auto report = hf::take_pending_report()) return report_dict(*report);
    return nb::none();
}

void set_policy(unsigned policy) {
    hf::policy(static_cast<hf::Policy>(policy));
}

} // namespace

void bind_report(nb::module_ &module) {
    module.def("report_table", &report_table,
               "Rows (name, Python class, anchor, sentence) of report.def.");
    module.def("report_count", &hf::report_count, "Reports of this process so far.");
    module.def("recent_reports", &recent_reports, "The most recent reports, oldest first.");
    module.def("take_pending", &take_pending,
               "Policy raise: the oldest report nobody took, or None.");
    module.def("set_policy", &set_policy, nb::arg("policy"),
               "What happens after a report: index into the choices of on_corruption.");
}
