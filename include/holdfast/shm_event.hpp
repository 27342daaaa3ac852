/// shm_event.hpp - events between processes, as C++ owns them.
///
///   hf::shm::Event ready{segment, "ready"};                    stays set until it is cleared
///   hf::shm::Event next{segment, "next", {.automatic = true}};     lets one wait pass
///   ready.set();      if (!ready.wait(50ms)) ...
///
/// Caveats
///  - What shm_event.h says of killed processes.
/// Talks to    shm_event.h, error.hpp.
/// Threads     every function from any thread.
/// Fails with  NotFound, Exists, Mismatch, OutOfMemory, InvalidArgument.
#ifndef HOLDFAST_SHM_EVENT_HPP
#define HOLDFAST_SHM_EVENT_HPP

#include <string>

#include <holdfast/error.hpp>
#include <holdfast/shm_event.h>
#include <holdfast/shm_owned.hpp>
#include <holdfast/shm_wait.hpp>

namespace hf::shm {

struct EventOptions {
    bool automatic = false; // a wait clears it
    bool set = false;       // a new one is set from the beginning
};

class Event : public detail::Owned<hf_shm_event, &hf_shm_event_close> {
public:
    Event(hf_shm *segment, const std::string &name, const EventOptions &options = {},
          hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE) {
        hf_shm_event_options native;
        hf_shm_event_options_init(&native);
        native.automatic = options.automatic ? 1 : 0;
        native.set = options.set ? 1 : 0;
        hf::check(hf_shm_event_open(segment, hf::detail::c_name(name), mode, &native, &native_),
                  hf_shm_detail());
    }
    void set() const { hf::check(hf_shm_event_set(native_), hf_shm_detail()); }
    void clear() const { hf::check(hf_shm_event_clear(native_), hf_shm_detail()); }
    [[nodiscard]] bool is_set() const noexcept { return hf_shm_event_is_set(native_) != 0; }
    /// True if it was set within the time.
    bool wait(Timeout timeout = forever) const {
        const hf::Status status = hf_shm_event_wait(native_, timeout.ns());
        if (status == HF_E_TIMEOUT) return false;
        hf::check(status, hf_shm_detail());
        return true;
    }
};

} // namespace hf::shm

#endif
