/// shm_wait.hpp - how long to wait for another process, from std::chrono.
///
///   Timeout{}  does not wait      Timeout{50ms}      hf::shm::forever
///
/// Invariants  negative durations do not wait; what does not fit into nanoseconds waits for ever.
/// Talks to    shm.h.   Used by the headers of structures that wait.
/// Threads     values.
/// Fails with  nothing.
#ifndef HOLDFAST_SHM_WAIT_HPP
#define HOLDFAST_SHM_WAIT_HPP

#include <chrono>
#include <cstdint>

#include <holdfast/shm.h>

namespace hf::shm {

class Timeout {
public:
    constexpr Timeout() noexcept = default;
    template <class Rep, class Period>
    constexpr Timeout(std::chrono::duration<Rep, Period> duration) noexcept { // NOLINT: implicit
        const double seconds = std::chrono::duration<double>(duration).count();
        if (seconds >= 9e9)
            ns_ = HF_FOREVER;
        else if (seconds > 0)
            ns_ = static_cast<std::uint64_t>(
                std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
    }
    [[nodiscard]] static constexpr Timeout forever() noexcept {
        Timeout timeout;
        timeout.ns_ = HF_FOREVER;
        return timeout;
    }
    [[nodiscard]] constexpr std::uint64_t ns() const noexcept { return ns_; }

private:
    std::uint64_t ns_ = 0;
};

inline constexpr Timeout forever = Timeout::forever();

} // namespace hf::shm

#endif
