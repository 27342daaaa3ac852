/// shm_owned.hpp - a handle of a structure with one owner: moved, never copied, closed when it dies.
///
///   class Event : public detail::Owned<hf_shm_event, &hf_shm_event_close> { ... };
///
/// Invariants  one pointer wide; null after it was moved from.
/// Talks to    nothing.   Used by the headers of structures whose close cannot fail.
/// Threads     moves and destruction when no other thread uses it.
/// Fails with  nothing.
#ifndef HOLDFAST_SHM_OWNED_HPP
#define HOLDFAST_SHM_OWNED_HPP

#include <utility>

namespace hf::shm::detail {

template <class Native, void (*Close)(Native *)> class Owned {
public:
    Owned(Owned &&other) noexcept : native_(std::exchange(other.native_, nullptr)) {}
    Owned &operator=(Owned &&other) noexcept {
        if (this != &other) {
            Close(native_);
            native_ = std::exchange(other.native_, nullptr);
        }
        return *this;
    }
    Owned(const Owned &) = delete;
    Owned &operator=(const Owned &) = delete;
    ~Owned() { Close(native_); }

    /// False after it was moved from.
    [[nodiscard]] explicit operator bool() const noexcept { return native_ != nullptr; }
    [[nodiscard]] Native *native() const noexcept { return native_; }

protected:
    Owned() noexcept = default;
    Native *native_ = nullptr;
};

} // namespace hf::shm::detail

#endif
