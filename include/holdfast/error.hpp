/// error.hpp - statuses become exceptions here and nowhere else.
///
///   catch (const hf::Error &)        everything the headers throw on their own account
///   catch (const std::bad_alloc &)   hf::OutOfMemory as well
///   catch (const std::exception &)   all of them: each class has exactly one standard base
///
/// Invariants  hf::Error is no std::exception itself, so that no class inherits one twice (a type
///             with two std::exception bases is caught by neither handler).
/// Talks to    status.h.   Used by every other .hpp.
/// Threads     values; no shared state.
/// Fails with  nothing: building OutOfMemory allocates nothing, the others copy one sentence.
#ifndef HOLDFAST_ERROR_HPP
#define HOLDFAST_ERROR_HPP

#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>

#include <holdfast/status.h>

namespace hf {

using Status = hf_status;

/// What all exceptions of the library have in common. Thrown only as one of the classes below.
class Error {
public:
    virtual ~Error() = default;
    /// The status that was turned into this exception.
    [[nodiscard]] Status status() const noexcept { return status_; }
    /// One English sentence.
    [[nodiscard]] virtual const char *what() const noexcept = 0;

protected:
    explicit Error(Status status) noexcept : status_(status) {}
    Error(const Error &) = default;
    Error &operator=(const Error &) = default;

private:
    Status status_;
};

/// The system refused memory, or a limit did. Carries no text of its own: it must not allocate.
class OutOfMemory : public Error, public std::bad_alloc {
public:
    explicit OutOfMemory(Status status = HF_E_NO_MEMORY) noexcept
        : Error(status), sentence_(hf_status_text(status)) {}
    /// A malloc-shaped function said no: it does not tell who refused.
    [[nodiscard]] static OutOfMemory refused() noexcept {
        OutOfMemory error;
        error.sentence_ = "the operating system or a limit of the heap refused memory";
        return error;
    }
    [[nodiscard]] const char *what() const noexcept override { return sentence_; }

private:
    const char *sentence_; // static storage
};

namespace detail {

/// An Error whose standard base keeps the sentence.
template <class Standard> class ErrorWithText : public Error, public Standard {
public:
    explicit ErrorWithText(Status status) : Error(status), Standard(hf_status_text(status)) {}
    ErrorWithText(Status status, const std::string &sentence) : Error(status), Standard(sentence) {}
    [[nodiscard]] const char *what() const noexcept override { return Standard::what(); }
};

} // namespace detail

/// An argument or an option is out of range, or two options contradict each other.
class InvalidArgument : public detail::ErrorWithText<std::invalid_argument> {
    using ErrorWithText::ErrorWithText;
};

/// This machine, kernel or build cannot do it.
class Unsupported : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};

/// Memory is still borrowed.
class Busy : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};

/// A check found memory that was overwritten.
class Corruption : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};

/// What was waited for did not happen in time.
class Timeout : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};

/// A call of the operating system failed unexpectedly.
class SystemFailure : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};

/// The fiber or task is to clean up and end.
class Cancelled : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};

/// There is no segment or structure of this name, or there is one already.
class NotFound : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};
class Exists : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};

/// The system does not allow it, or the owner is not trusted.
class Permission : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};

/// Another version, kind, size or element type than asked for.
class Mismatch : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};

/// The process that held it was killed.
class OwnerDied : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};

/// There is no room, or there is nothing, now.
class Full : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};
class Empty : public detail::ErrorWithText<std::runtime_error> {
    using ErrorWithText::ErrorWithText;
};

/// The handle is of a former use.
class Stale : public detail::ErrorWithText<std::logic_error> {
    using ErrorWithText::ErrorWithText;
};

/// Throws what `status` stands for. `sentence` (may be null) says more than the status's own text.
[[noreturn]] inline void raise(Status status, const char *sentence = nullptr) {
    const auto say = [&] { return std::string(sentence ? sentence : hf_status_text(status)); };
    switch (status) {
    case HF_E_NO_MEMORY:
    case HF_E_LIMIT:
    case HF_E_NO_SPACE: throw OutOfMemory(status);
    case HF_E_INVALID:
    case HF_E_CLOSED:
    case HF_E_CONFLICT: throw InvalidArgument(status, say());
    case HF_E_UNSUPPORTED: throw Unsupported(status, say());
    case HF_E_BUSY: throw Busy(status, say());
    case HF_E_CORRUPT: throw Corruption(status, say());
    case HF_E_TIMEOUT: throw Timeout(status, say());
    case HF_E_CANCELLED: throw Cancelled(status, say());
    case HF_E_NOT_FOUND: throw NotFound(status, say());
    case HF_E_EXISTS: throw Exists(status, say());
    case HF_E_PERMISSION: throw Permission(status, say());
    case HF_E_LAYOUT:
    case HF_E_MISMATCH: throw Mismatch(status, say());
    case HF_E_OWNER_DIED: throw OwnerDied(status, say());
    case HF_E_FULL: throw Full(status, say());
    case HF_E_EMPTY: throw Empty(status, say());
    case HF_E_STALE: throw Stale(status, say());
    case HF_OK:
    case HF_E_SYSTEM: break;
    }
    throw SystemFailure(status, say());
}

/// The one place where a status becomes an exception: HF_OK returns, everything else throws.
inline void check(Status status, const char *sentence = nullptr) {
    if (status != HF_OK) [[unlikely]]
        raise(status, sentence);
}

namespace detail {

/// Bytes of an array.
[[nodiscard]] inline std::size_t product(std::size_t count, std::size_t size) {
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes)) [[unlikely]]
        throw std::bad_array_new_length();
    return bytes;
}

/// A name for C, where a zero byte would end it: "a" is not what "a\0b" was to open.
[[nodiscard]] inline const char *c_name(const std::string &name) {
    if (name.find('\0') != std::string::npos) [[unlikely]]
        raise(HF_E_INVALID, "a name has no zero bytes");
    return name.c_str();
}

} // namespace detail

} // namespace hf

#endif
