/// shm_semaphore.hpp - permits between processes, as C++ owns them.
///
///   hf::shm::Semaphore licences{segment, "licences", {.permits = 4}};
///   { auto permit = licences.hold(); ... }                     given back when it dies
///   licences.acquire();  ...  licences.release();              as std::counting_semaphore
///
/// Caveats
///  - Held permits are the process's, and come back when it is killed; counted ones are a number.
/// Talks to    shm_semaphore.h, error.hpp.
/// Threads     every function from any thread.
/// Fails with  Timeout (hold), InvalidArgument (more given back than taken), Full (counted, at its
///             bound), NotFound, Exists, Mismatch, OutOfMemory.
#ifndef HOLDFAST_SHM_SEMAPHORE_HPP
#define HOLDFAST_SHM_SEMAPHORE_HPP

#include <cstdint>
#include <string>
#include <utility>

#include <holdfast/error.hpp>
#include <holdfast/shm_owned.hpp>
#include <holdfast/shm_semaphore.h>
#include <holdfast/shm_wait.hpp>

namespace hf::shm {

struct SemaphoreOptions {
    std::uint64_t permits = 0; // held: all there are; counted: the first value
    bool counted = false;      // a bare number; who gives need not have taken
    std::uint64_t most = 0;    // counted: the largest value
};

class Semaphore : public detail::Owned<hf_shm_semaphore, &hf_shm_semaphore_close> {
public:
    /// Permits that are given back when it dies. Must not outlive the semaphore.
    class Permit {
    public:
        Permit(Permit &&other) noexcept
            : native_(std::exchange(other.native_, nullptr)), count_(other.count_) {}
        Permit &operator=(Permit &&) = delete;
        ~Permit() {
            if (native_ != nullptr) (void)hf_shm_semaphore_post(native_, count_);
        }

    private:
        friend class Semaphore;
        Permit(hf_shm_semaphore *native, std::uint32_t count) noexcept
            : native_(native), count_(count) {}
        hf_shm_semaphore *native_;
        std::uint32_t count_;
    };

    Semaphore(hf_shm *segment, const std::string &name, const SemaphoreOptions &options,
              hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE) {
        hf_shm_semaphore_options native;
        hf_shm_semaphore_options_init(&native, options.permits);
        native.counted = options.counted ? 1 : 0;
        native.most = options.most;
        hf::check(hf_shm_semaphore_open(segment, hf::detail::c_name(name), mode, &native, &native_),
                  hf_shm_detail());
    }
    /// Whatever semaphore of this name there is.
    Semaphore(hf_shm *segment, const std::string &name) {
        hf::check(hf_shm_semaphore_open(segment, hf::detail::c_name(name), HF_SHM_OPEN, nullptr,
                                        &native_),
                  hf_shm_detail());
    }

    /// Takes permits until they die; Timeout if they were not to be had.
    [[nodiscard]] Permit hold(std::uint32_t count = 1, Timeout timeout = forever) const {
        hf::check(hf_shm_semaphore_wait(native_, count, timeout.ns()), hf_shm_detail());
        return {native_, count};
    }
    void acquire() const {
        hf::check(hf_shm_semaphore_wait(native_, 1, HF_FOREVER), hf_shm_detail());
    }
    [[nodiscard]] bool try_acquire() const { return try_acquire_for(Timeout{}); }
    [[nodiscard]] bool try_acquire_for(Timeout timeout, std::uint32_t count = 1) const {
        const hf::Status status = hf_shm_semaphore_wait(native_, count, timeout.ns());
        if (status == HF_E_TIMEOUT) return false;
        hf::check(status, hf_shm_detail());
        return true;
    }
    void release(std::uint32_t count = 1) const {
        hf::check(hf_shm_semaphore_post(native_, count), hf_shm_detail());
    }
    /// Permits that are free, of a moment that is over.
    [[nodiscard]] std::uint64_t value() const noexcept { return hf_shm_semaphore_value(native_); }
    /// Those of this participant.
    [[nodiscard]] std::uint64_t held() const noexcept { return hf_shm_semaphore_held(native_); }
};

} // namespace hf::shm

#endif
