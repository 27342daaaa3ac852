/// shm_pool.hpp - objects of one type in a segment, as C++ owns them.
///
///   hf::shm::Pool<Frame> pool{segment, "frames", {.capacity = 64}};
///   { auto frame = pool.acquire(); frame->index = 1; }         given back when it dies
///   auto frame = pool.acquire();  queue.put(frame.handle());  frame.pass();         sender
///   auto slot = queue.peek();  auto mine = pool.adopt(slot.handle);  slot.release();  receiver
///
/// Caveats
///  - No constructors or destructors run: an object is what its last user left, or zeroes (sanitize).
///  - Objects must not outlive their pool. What shm_pool.h says of handles and killed processes.
/// Talks to    shm_pool.h, error.hpp, shm_format.hpp.
/// Threads     every function from any thread.
/// Fails with  Empty, Timeout, Stale, InvalidArgument, NotFound, Exists, Mismatch, OutOfMemory.
#ifndef HOLDFAST_SHM_POOL_HPP
#define HOLDFAST_SHM_POOL_HPP

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <holdfast/error.hpp>
#include <holdfast/shm_format.hpp>
#include <holdfast/shm_owned.hpp>
#include <holdfast/shm_pool.h>
#include <holdfast/shm_wait.hpp>

namespace hf::shm {

struct PoolOptions {
    std::uint64_t capacity = 0;
    bool sanitize = false;       // given back objects are zeroed
    std::uint64_t alignment = 0; // 8 to 4096 [bytes]; 0: that of T, 64 at least
};

template <Element T> class Pool : public detail::Owned<hf_shm_pool, &hf_shm_pool_close> {
public:
    using value_type = T;

    /// An object of this participant; given back when it dies, unless it was passed on or kept.
    class Object {
    public:
        Object(Object &&other) noexcept
            : pool_(std::exchange(other.pool_, nullptr)), at_(other.at_), handle_(other.handle_) {}
        Object &operator=(Object &&other) noexcept {
            if (this != &other) {
                give();
                pool_ = std::exchange(other.pool_, nullptr);
                at_ = other.at_;
                handle_ = other.handle_;
            }
            return *this;
        }
        ~Object() { give(); }
        [[nodiscard]] T &operator*() const noexcept { return *at_; }
        [[nodiscard]] T *operator->() const noexcept { return at_; }
        [[nodiscard]] T *get() const noexcept { return at_; }
        [[nodiscard]] hf_shm_handle handle() const noexcept { return handle_; }
        /// After the handle was handed over: it is the receiver's now.
        void pass() {
            hf_shm_pool *pool = std::exchange(pool_, nullptr);
            hf::check(hf_shm_pool_pass(pool, handle_), hf_shm_detail());
        }
        /// Stays this participant's; give it back by its handle.
        hf_shm_handle keep() noexcept {
            pool_ = nullptr;
            return handle_;
        }

    private:
        friend class Pool;
        Object(hf_shm_pool *pool, hf_shm_handle handle)
            : pool_(pool), at_(static_cast<T *>(hf_shm_pool_at(pool, handle))), handle_(handle) {}
        void give() noexcept {
            if (pool_ != nullptr) (void)hf_shm_pool_release(pool_, handle_);
        }
        hf_shm_pool *pool_;
        T *at_;
        hf_shm_handle handle_;
    };

    Pool(hf_shm *segment, const std::string &name, const PoolOptions &options,
         hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE) {
        hf_shm_pool_options native;
        hf_shm_pool_options_init(&native, options.capacity, sizeof(T));
        native.sanitize = options.sanitize ? 1 : 0;
        native.alignment =
            options.alignment ? options.alignment : std::max<std::uint64_t>(64, alignof(T));
        if (native.alignment < alignof(T))
            hf::raise(HF_E_INVALID, "alignment is less than that of the pool's type");
        native.format = format_of<T>();
        hf::check(hf_shm_pool_open(segment, hf::detail::c_name(name), mode, &native, &native_),
                  hf_shm_detail());
    }

    /// One object; Empty or Timeout if there is none.
    [[nodiscard]] Object acquire(Timeout timeout = forever) const {
        hf_shm_handle handle = HF_SHM_HANDLE_NONE;
        hf::check(hf_shm_pool_acquire(native_, timeout.ns(), &handle), hf_shm_detail());
        return {native_, handle};
    }
    [[nodiscard]] std::optional<Object> try_acquire(Timeout timeout = {}) const {
        hf_shm_handle handle = HF_SHM_HANDLE_NONE;
        const hf::Status status = hf_shm_pool_acquire(native_, timeout.ns(), &handle);
        if (status == HF_E_EMPTY || status == HF_E_TIMEOUT) return std::nullopt;
        hf::check(status, hf_shm_detail());
        return Object{native_, handle};
    }
    /// Takes over an object whose handle was received; Stale if another has it, or it is gone.
    [[nodiscard]] Object adopt(hf_shm_handle handle) const {
        hf::check(hf_shm_pool_adopt(native_, handle, &handle), hf_shm_detail());
        return {native_, handle};
    }
    void release(hf_shm_handle handle) const {
        hf::check(hf_shm_pool_release(native_, handle), hf_shm_detail());
    }
    /// Null if the handle is stale.
    [[nodiscard]] T *at(hf_shm_handle handle) const noexcept {
        return static_cast<T *>(hf_shm_pool_at(native_, handle));
    }
    /// Index of the participant that has it, or HF_SHM_POOL_PASSED.
    [[nodiscard]] std::uint32_t owner(hf_shm_handle handle) const {
        std::uint32_t participant = 0;
        hf::check(hf_shm_pool_owner(native_, handle, &participant), hf_shm_detail());
        return participant;
    }
    [[nodiscard]] std::uint64_t capacity() const noexcept { return hf_shm_pool_capacity(native_); }
    [[nodiscard]] std::uint64_t live() const noexcept { return hf_shm_pool_live(native_); }
};

} // namespace hf::shm

#endif
