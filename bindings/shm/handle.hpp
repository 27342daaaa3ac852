/// handle.hpp - a C handle of a structure as a member of a Python class: open, in use, closed.
///
///   class Event : public Handle<hf_shm_event, hf_shm_event_close>     Use use(*this); hf_..(use.get())
///
/// Invariants  a handle is not closed while a call is inside it or its memory is lent.
/// Threads     calls that wait run without the GIL and hold the handle open by their Use.
#ifndef HOLDFAST_BINDINGS_SHM_HANDLE_HPP
#define HOLDFAST_BINDINGS_SHM_HANDLE_HPP

#include "shm.hpp"

#include <type_traits>
#include <utility>

namespace shm_binding {

template <class C, auto Close> class Handle : public Structure {
public:
    Handle(nb::object segment, C *handle) noexcept
        : Structure(std::move(segment)), handle_(handle) {}
    ~Handle() {
        if (handle_ != nullptr) (void)Close(handle_);
    }

    /// One call inside; raises if the handle is closed.
    class Use {
    public:
        explicit Use(Handle &handle) : handle_(handle) {
            handle.users_.fetch_add(1);
            if (handle.handle_ != nullptr) return;
            handle.users_.fetch_sub(1);
            raise_closed("structure");
        }
        ~Use() { handle_.users_.fetch_sub(1); }
        Use(const Use &) = delete;
        Use &operator=(const Use &) = delete;
        [[nodiscard]] C *get() const noexcept { return handle_.handle_; }

    private:
        Handle &handle_;
    };

    [[nodiscard]] bool closed() const noexcept { return handle_ == nullptr; }

    void close() {
        if (handle_ == nullptr) return;
        expect_no_borrows();
        if (users_.load() != 0) {
            set_error_text(HF_E_BUSY, "another thread is inside a call of it");
            throw nb::python_error();
        }
        if constexpr (std::is_void_v<decltype(Close(handle_))>)
            Close(handle_);
        else
            check(Close(handle_));
        handle_ = nullptr;
        release_segment();
    }

    /// Memory of it as a Bytes; `self` is the Python object of this.
    [[nodiscard]] nb::object lend_all(nb::handle self, void *base, std::size_t size) {
        return lend(self, base, size, false);
    }
    [[nodiscard]] nb::object lend_read_only(nb::handle self, const void *base, std::size_t size) {
        return lend(self, const_cast<void *>(base), size, true);
    }

    /// The members that every structure's class has.
    template <class Class> static void bind(Class &made) {
        made.def_prop_ro("closed", &Handle::closed)
            .def_prop_ro("borrows", &Handle::borrows)
            .def("close", &Handle::close);
    }

private:
    C *handle_;
    std::atomic<long> users_{0};
};

/// Opens a structure with `open(shm, &handle)`, raising what is wrong.
template <class Made, class C, class Open> Made *open_handle(nb::object segment, Open open) {
    hf_shm *shm = nb::cast<Segment &>(segment).get();
    C *handle = nullptr;
    check(open(shm, &handle));
    return new Made(std::move(segment), handle);
}

/// A call that may wait: at once with the GIL, then without, in pieces. False: the time is over.
template <class Attempt>
bool wait_for(nb::handle timeout, hf_status not_yet, Attempt attempt,
              std::uint64_t piece = piece_short) {
    const std::uint64_t limit = timeout_ns(timeout);
    hf_status status = attempt(0);
    if ((status == not_yet || status == HF_E_TIMEOUT) && limit != 0)
        status = wait_in_pieces(limit, not_yet, attempt, piece);
    if (status == not_yet || status == HF_E_TIMEOUT) return false;
    check(status);
    return true;
}

} // namespace shm_binding

#endif
