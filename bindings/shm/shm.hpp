/// shm.hpp - what the files of holdfast._shm share: errors, the segment, and memory that is lent.
///
///   Segment ◄── structure (holds it) ◄── Bytes (holds the structure) ◄── memoryview, ndarray
///
/// Invariants  a structure is closed when its object dies or by close(), which is refused while Bytes
///             on it live: an array never shows memory that is no longer this structure's.
/// Talks to    the C++ headers, nanobind.   Used by bind_*.cpp in this folder.
/// Threads     counts are atomic. Calls hold the GIL; what waits gives it back, in pieces, so that
///             signal handlers run.
#ifndef HOLDFAST_BINDINGS_SHM_HPP
#define HOLDFAST_BINDINGS_SHM_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <holdfast/shm.h>

namespace nb = nanobind;

namespace shm_binding {

/// Sets the exception that holdfast.errors chooses, with the sentence of hf_shm_detail. For slots.
void set_error(hf_status status) noexcept;
/// The same with a sentence of the binding's own.
void set_error_text(hf_status status, const char *sentence) noexcept;
/// The same as a C++ exception, which nanobind turns back.
[[noreturn]] void raise(hf_status status);
inline void check(hf_status status) {
    if (status != HF_OK) [[unlikely]]
        raise(status);
}

/// Text of C, of which somebody else may have written parts: what is no UTF-8 is replaced.
PyObject *decode(const char *bytes) noexcept;

/// One participant's segment. Closed by close(), which is refused while a call is inside, or with the
/// object.
class Segment {
public:
    explicit Segment(hf_shm *shm) noexcept : shm_(shm) {}
    ~Segment();
    Segment(const Segment &) = delete;
    Segment &operator=(const Segment &) = delete;

    /// The C handle; raises if it was closed.
    [[nodiscard]] hf_shm *get() const;
    [[nodiscard]] bool closed() const noexcept { return shm_ == nullptr; }
    void close();

    /// `call(shm)` without the GIL; raises what is wrong but for `allowed`.
    template <class Call> void without_gil(Call call, hf_status allowed = HF_OK) {
        hf_shm *shm = get();
        users_.fetch_add(1);
        hf_status status;
        {
            const nb::gil_scoped_release released;
            status = call(shm);
        }
        users_.fetch_sub(1);
        if (status != allowed) check(status);
    }

private:
    hf_shm *shm_;
    std::atomic<long> users_{0};
};

/// Text for C; raises InvalidArgumentError if it has a zero byte, which would end it there.
[[nodiscard]] const char *plain(const std::string &text);

/// How many Bytes stand on a structure.
using Borrows = std::atomic<long>;

/// An object with the buffer protocol over [base, base + size) of a structure, which it keeps alive
/// and counted. Null with an exception if there is no memory.
PyObject *bytes_make(PyObject *owner, Borrows *borrows, void *base, std::size_t size,
                     bool readonly) noexcept;

/// A timeout in seconds as Python gives it: None is for ever; negative is an error.
[[nodiscard]] std::uint64_t timeout_ns(nb::handle seconds);

/// Longest time between two looks at signals [ns]. A wait that holds something while it waits gives it
/// back after each piece and begins again, so its pieces are long.
inline constexpr std::uint64_t piece_short = 100'000'000, piece_long = 1'000'000'000;

/// Waits without the GIL in pieces: `attempt(ns)` is tried until it says something else than `not_yet` or
/// HF_E_TIMEOUT, the time is over, or a signal handler raised (then it throws).
template <class Attempt>
hf_status wait_in_pieces(std::uint64_t timeout, hf_status not_yet, Attempt attempt,
                         std::uint64_t piece = piece_short) {
    for (;;) {
        const std::uint64_t now = timeout < piece ? timeout : piece;
        hf_status status;
        {
            const nb::gil_scoped_release released;
            status = attempt(now);
        }
        if (status != not_yet && status != HF_E_TIMEOUT) return status;
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
        if (timeout != HF_FOREVER) timeout -= now;
        if (timeout == 0) return status;
    }
}

/// Part of every structure's class: what holds the segment open, and who borrows.
class Structure {
public:
    explicit Structure(nb::object segment) noexcept : segment_(std::move(segment)) {}
    Structure(const Structure &) = delete;
    Structure &operator=(const Structure &) = delete;

    [[nodiscard]] long borrows() const noexcept { return borrows_.load(); }
    [[nodiscard]] nb::object segment() const { return segment_; }

protected:
    ~Structure() = default;
    void release_segment() { segment_ = nb::none(); }
    /// Raises BusyError while memory of it is lent.
    void expect_no_borrows() const;
    [[nodiscard]] nb::object lend(nb::handle self, void *base, std::size_t size, bool readonly);

private:
    nb::object segment_;
    Borrows borrows_{0};
};

[[noreturn]] void raise_closed(const char *what);

} // namespace shm_binding

void bind_segment(nb::module_ &module);
void bind_bytes(nb::module_ &module);
void bind_queue(nb::module_ &module);
void bind_array(nb::module_ &module);
void bind_ring(nb::module_ &module);
void bind_sync(nb::module_ &module);
void bind_cells(nb::module_ &module);
void bind_map(nb::module_ &module);
void bind_pool(nb::module_ &module);

#endif
