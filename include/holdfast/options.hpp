/// options.hpp - what a heap is made with, as a builder.
///
///   hf::Heap heap{hf::Options{}.profile(HF_PROFILE_HARDENED).limit(64 << 20), "parser"};
///
/// One setter and one getter per row of options.def, under the row's name.
/// Invariants  a value that a setter took from text is in range; combinations are judged by check().
/// Talks to    options.h, error.hpp.   Used by heap.hpp.
/// Threads     a plain value.
/// Fails with  InvalidArgument: a name that is no option, a text out of range, a contradiction.
#ifndef HOLDFAST_OPTIONS_HPP
#define HOLDFAST_OPTIONS_HPP

#include <cstddef>
#include <cstdint>
#include <string>

#include <holdfast/error.hpp>
#include <holdfast/options.h>

namespace hf {

using Profile = hf_profile;
using Policy = hf_policy;

class Options {
public:
    /// The defaults of options.def; the environment is not read.
    Options() noexcept { hf_options_init(&value_); }
    explicit Options(const hf_options &value) noexcept : value_(value) {}

    /// What the process-wide heap runs with: defaults and environment.
    [[nodiscard]] static Options active() noexcept { return Options(*hf_options_active()); }

#define HF_OPTION_ENUM(name, value, choices, sentence)                                             \
    Options &name(std::uint32_t choice) noexcept {                                                 \
        value_.name = choice;                                                                      \
        return *this;                                                                              \
    }                                                                                              \
    [[nodiscard]] std::uint32_t name() const noexcept {                                            \
        return value_.name;                                                                        \
    }
#define HF_OPTION_SIZE(name, value, min, max, sentence)                                            \
    Options &name(std::uint64_t bytes) noexcept {                                                  \
        value_.name = bytes;                                                                       \
        return *this;                                                                              \
    }                                                                                              \
    [[nodiscard]] std::uint64_t name() const noexcept {                                            \
        return value_.name;                                                                        \
    }
#define HF_OPTION_NUMBER(name, value, min, max, sentence)                                          \
    Options &name(std::uint64_t number) noexcept {                                                 \
        value_.name = number;                                                                      \
        return *this;                                                                              \
    }                                                                                              \
    [[nodiscard]] std::uint64_t name() const noexcept {                                            \
        return value_.name;                                                                        \
    }
#include <holdfast/options.def>
#undef HF_OPTION_ENUM
#undef HF_OPTION_SIZE
#undef HF_OPTION_NUMBER

    /// Sets one option by name from text, as the environment does: set("limit", "64M").
    Options &set(const std::string &name, const std::string &text) {
        char why[why_size] = "";
        const hf_status status =
            hf_options_parse(&value_, name.c_str(), text.c_str(), why, sizeof why);
        /* Not in one call: `why` must be written first. */
        hf::check(status, why[0] ? why : nullptr);
        return *this;
    }

    /// The value of one option as text that set() would take.
    [[nodiscard]] std::string text(const std::string &name) const {
        char buffer[64] = "";
        const std::size_t wanted = hf_options_text(&value_, name.c_str(), buffer, sizeof buffer);
        return std::string(buffer, wanted < sizeof buffer ? wanted : sizeof buffer - 1);
    }

    /// Throws InvalidArgument with a sentence if two options contradict each other.
    const Options &check() const {
        char why[why_size] = "";
        const hf_status status = hf_options_check(&value_, why, sizeof why);
        hf::check(status, why[0] ? why : nullptr);
        return *this;
    }

    [[nodiscard]] const hf_options *native() const noexcept {
        return &value_;
    }

private:
    static constexpr std::size_t why_size = 256;
    hf_options value_;
};

} // namespace hf

#endif
