/// bind_stats.cpp - the table of figures, and the whole process as JSON.
///
/// The figures of one heap travel as a tuple in the order of stats.def (bind_heap.cpp).
/// Talks to    stats.hpp.   Used by holdfast/stats.py.
#include "core.hpp"

#include <nanobind/stl/string.h>

#include <string>

namespace {

nb::list stats_table() {
    nb::list rows;
#define HF_STAT(name, unit, sentence) rows.append(nb::make_tuple(#name, unit, sentence));
#include <holdfast/stats.def>
#undef HF_STAT
    return rows;
}

std::string process_json() {
    std::string text(hf_process_json(nullptr, 0), '\0');
    /* Figures grow while we ask: take as much as was announced plus what came since. */
    for (;;) {
        const std::size_t wanted = hf_process_json(text.data(), text.size() + 1);
        if (wanted <= text.size()) {
            text.resize(wanted);
            return text;
        }
        text.resize(wanted + 256);
    }
}

} // namespace

void bind_stats(nb::module_ &module) {
    module.def("stats_table", &stats_table, "Rows (name, unit, sentence) of stats.def.");
    module.def("process_json", &process_json, "Everything of the default heap as JSON.");
}
