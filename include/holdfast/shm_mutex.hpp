/// shm_mutex.hpp - a mutex between processes for std::lock_guard, std::unique_lock, std::scoped_lock.
///
///   hf::shm::Mutex mutex{segment, "state"};
///   mutex.on_owner_died([&] { mend(data); });          runs with the lock held, then it is consistent
///   { std::lock_guard lock{mutex}; ... }
///   if (mutex.lock_for(50ms) == hf::shm::Locked::owner_died) { mend(data); mutex.consistent(); }
///
/// Caveats
///  - Without a function for it, lock() unlocks again and throws OwnerDied when its owner was killed: a
///    guard that was never made cannot unlock. The next one is told the same.
///  - Belongs to a thread; not recursive.
/// Talks to    shm_mutex.h, error.hpp.
/// Threads     every function from any thread; on_owner_died before others lock.
/// Fails with  OwnerDied, Busy (this thread has it), InvalidArgument (it has not), NotFound, Mismatch.
#ifndef HOLDFAST_SHM_MUTEX_HPP
#define HOLDFAST_SHM_MUTEX_HPP

#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include <holdfast/error.hpp>
#include <holdfast/shm_mutex.h>
#include <holdfast/shm_owned.hpp>
#include <holdfast/shm_wait.hpp>

namespace hf::shm {

enum class Locked { no, yes, owner_died };

class Mutex : public detail::Owned<hf_shm_mutex, &hf_shm_mutex_close> {
public:
    Mutex(hf_shm *segment, const std::string &name, hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE) {
        hf::check(hf_shm_mutex_open(segment, hf::detail::c_name(name), mode, &native_),
                  hf_shm_detail());
    }
    /// What mends the data after a death; an exception of it unlocks, and the doubt stays.
    void on_owner_died(std::function<void()> mend) { mend_ = std::move(mend); }

    void lock() { (void)take(forever); }
    [[nodiscard]] bool try_lock() { return take(Timeout{}); }
    template <class Rep, class Period>
    [[nodiscard]] bool try_lock_for(std::chrono::duration<Rep, Period> limit) {
        return take(Timeout{limit});
    }
    template <class Clock, class Duration>
    [[nodiscard]] bool try_lock_until(std::chrono::time_point<Clock, Duration> until) {
        return take(Timeout{until - Clock::now()});
    }
    void unlock() { hf::check(hf_shm_mutex_unlock(native_), hf_shm_detail()); }

    /// The lock as the C function gives it: mends nothing, throws nothing for a death.
    [[nodiscard]] Locked lock_for(Timeout timeout = forever) {
        const hf::Status status = hf_shm_mutex_lock(native_, timeout.ns());
        if (status == HF_E_TIMEOUT) return Locked::no;
        if (status == HF_E_OWNER_DIED) return Locked::owner_died;
        hf::check(status, hf_shm_detail());
        return Locked::yes;
    }
    void consistent() { hf::check(hf_shm_mutex_consistent(native_), hf_shm_detail()); }
    [[nodiscard]] bool is_inconsistent() const noexcept {
        return hf_shm_mutex_is_inconsistent(native_) != 0;
    }

private:
    bool take(Timeout timeout) {
        const Locked locked = lock_for(timeout);
        if (locked != Locked::owner_died) return locked == Locked::yes;
        const std::string sentence = hf_shm_detail();
        try {
            if (!mend_) hf::raise(HF_E_OWNER_DIED, sentence.c_str());
            mend_();
            consistent();
        } catch (...) {
            (void)hf_shm_mutex_unlock(native_);
            throw;
        }
        return true;
    }

    std::function<void()> mend_;
};

} // namespace hf::shm

#endif
