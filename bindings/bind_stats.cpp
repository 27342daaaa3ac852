/// bind_stats.cpp - the table of figures, and the whole process as JSON.
///
/// The figures of one heap travel as a tuple in the order of stats.def (bind_heap.cpp).
/// Talks to    stats.hpp.   Used by holdfast/stats.py.
#include "core.hpp"

#include <holdfast/python.h>

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

/// Text of a C writer. Figures grow while we ask: until what is announced fits.
template <class Write> std::string text_of(Write write) {
    std::string text(write(nullptr, std::size_t{0}), '\0');
    for (;;) {
        const std::size_t wanted = write(text.data(), text.size() + 1);
        if (wanted <= text.size()) {
            text.resize(wanted);
            return text;
        }
        text.resize(wanted + 256);
    }
}

std::string process_json() {
    const nb::gil_scoped_release released; /* it looks at every block, twice */
    return text_of(hf_process_json);
}

std::string python_json() {
    return hf_python_json != nullptr ? text_of(hf_python_json) : "null";
}

/// Pools of pymalloc first, which needs the GIL; then everything else, which does not.
std::uint64_t reclaim_process() {
    std::uint64_t given = hf_python_reclaim != nullptr ? hf_python_reclaim() : 0;
    const nb::gil_scoped_release released;
    return given + hf::reclaim();
}

} // namespace

void bind_stats(nb::module_ &module) {
    module.def("stats_table", &stats_table, "Rows (name, unit, sentence) of stats.def.");
    module.def("process_json", &process_json, "Everything of the default heap as JSON.");
    module.def("python_json", &python_json, "How CPython is served, as JSON; null if it is not.");
    module.def("reclaim", &reclaim_process, "Gives free memory of every heap back. Returns bytes.");
}
