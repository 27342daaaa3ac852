/// shm_barrier.hpp - barriers between processes, as C++ owns them.
///
///   hf::shm::Barrier step{segment, "step", {.parties = 4}};
///   for (;;) { simulate(); step.arrive_and_wait(); }
///
/// Caveats
///  - What shm_barrier.h says of who takes part, and of killed ones.
/// Talks to    shm_barrier.h, error.hpp.
/// Threads     every function from any thread.
/// Fails with  OwnerDied (the round was broken by a death: come again), NotFound, Exists, Mismatch.
#ifndef HOLDFAST_SHM_BARRIER_HPP
#define HOLDFAST_SHM_BARRIER_HPP

#include <cstdint>
#include <optional>
#include <string>

#include <holdfast/error.hpp>
#include <holdfast/shm_barrier.h>
#include <holdfast/shm_owned.hpp>
#include <holdfast/shm_wait.hpp>

namespace hf::shm {

struct BarrierOptions {
    std::uint32_t parties = 0;
    hf_shm_barrier_death on_death = HF_SHM_BARRIER_BREAK;
};

class Barrier : public detail::Owned<hf_shm_barrier, &hf_shm_barrier_close> {
public:
    Barrier(hf_shm *segment, const std::string &name, const BarrierOptions &options,
            hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE) {
        hf_shm_barrier_options native;
        hf_shm_barrier_options_init(&native, options.parties);
        native.on_death = options.on_death;
        hf::check(hf_shm_barrier_open(segment, hf::detail::c_name(name), mode, &native, &native_),
                  hf_shm_detail());
    }
    /// The place in the round: 0 to parties - 1, each at most once.
    std::uint32_t arrive_and_wait() const { return *arrive_for(forever); }
    /// Empty if not all came in time; then this one has not come either.
    [[nodiscard]] std::optional<std::uint32_t> arrive_for(Timeout timeout) const {
        std::uint32_t place = 0;
        const hf::Status status = hf_shm_barrier_wait(native_, timeout.ns(), &place);
        if (status == HF_E_TIMEOUT) return std::nullopt;
        hf::check(status, hf_shm_detail());
        return place;
    }
    [[nodiscard]] std::uint32_t parties() const noexcept { return hf_shm_barrier_parties(native_); }
    [[nodiscard]] std::uint32_t waiting() const noexcept { return hf_shm_barrier_waiting(native_); }
    [[nodiscard]] std::uint32_t round() const noexcept { return hf_shm_barrier_round(native_); }
};

} // namespace hf::shm

#endif
