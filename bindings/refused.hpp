/// refused.hpp - an allocation that failed, with a sentence: who refused, what was asked, what is left.
///
/// Becomes OutOfMemoryError in bind_arena.cpp.
#ifndef HOLDFAST_BINDINGS_REFUSED_HPP
#define HOLDFAST_BINDINGS_REFUSED_HPP

#include <new>
#include <string>

#include <holdfast/status.h>

struct Refused : std::bad_alloc {
    explicit Refused(std::string text, hf_status why = HF_E_NO_MEMORY)
        : sentence(std::move(text)), status(why) {}
    [[nodiscard]] const char *what() const noexcept override { return sentence.c_str(); }

    std::string sentence;
    hf_status status;
};

#endif
