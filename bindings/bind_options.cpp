/// bind_options.cpp - options by name; the table and the values come from options.def.
///
/// Talks to    options.hpp.   Used by holdfast/options.py and heap.py.
/// Fails with  InvalidArgumentError, with the sentence of the C parser.
#include "core.hpp"

#include <nanobind/stl/string.h>

#include <string>
#include <string_view>

namespace {

nb::tuple split(std::string_view choices) {
    nb::list parts;
    while (!choices.empty()) {
        const std::size_t end = choices.find('|');
        const std::string_view part = choices.substr(0, end);
        parts.append(nb::str(part.data(), part.size()));
        choices = end == std::string_view::npos ? std::string_view() : choices.substr(end + 1);
    }
    return nb::tuple(parts);
}

/// Rows (name, kind, default, choices, minimum, maximum, sentence).
nb::list options_table() {
    nb::list rows;
    const auto add = [&](auto... row) { rows.append(nb::make_tuple(row...)); };
#define HF_OPTION_ENUM(name, value, choices, sentence)                                             \
    add(#name, "enum", split(choices)[value], split(choices), nb::none(), nb::none(), sentence);
#define HF_OPTION_SIZE(name, value, min, max, sentence)                                            \
    add(#name, "size", std::uint64_t(value), nb::tuple(), std::uint64_t(min), std::uint64_t(max),  \
        sentence);
#define HF_OPTION_NUMBER(name, value, min, max, sentence)                                          \
    add(#name, "number", std::uint64_t(value), nb::tuple(), std::uint64_t(min),                    \
        std::uint64_t(max), sentence);
#include <holdfast/options.def>
#undef HF_OPTION_ENUM
#undef HF_OPTION_SIZE
#undef HF_OPTION_NUMBER
    return rows;
}

/// Every option's value: the word of a choice, an int otherwise.
nb::dict values(const hf::Options &options) {
    nb::dict all;
#define HF_OPTION_ENUM(name, value, choices, sentence)    all[#name] = split(choices)[options.name()];
#define HF_OPTION_SIZE(name, value, min, max, sentence)   all[#name] = options.name();
#define HF_OPTION_NUMBER(name, value, min, max, sentence) all[#name] = options.name();
#include <holdfast/options.def>
#undef HF_OPTION_ENUM
#undef HF_OPTION_SIZE
#undef HF_OPTION_NUMBER
    return all;
}

} // namespace

void bind_options(nb::module_ &module) {
    module.def("options_table", &options_table,
               "Rows (name, kind, default, choices, minimum, maximum, sentence) of options.def.");
    nb::class_<hf::Options>(module, "Options", "What a heap is made with.")
        .def(nb::init<>(), "The defaults; the environment is not read.")
        .def_static("active", &hf::Options::active, "What the process-wide heap runs with.")
        .def(
            "set",
            [](hf::Options &options, const std::string &name, const std::string &text) {
                options.set(name, text);
            },
            nb::arg("name"), nb::arg("text"), "Sets one option from text, as the environment does.")
        .def(
            "check", [](const hf::Options &options) { options.check(); },
            "Refuses options that contradict each other.")
        .def("text", &hf::Options::text, nb::arg("name"), "One option as text that set() takes.")
        .def("values", &values, "Every option by name.");
}
