/// heap_state.hpp - one heap and how many stand on it.
///
///   users: 0 open and idle │ n > 0 in use by n views or calls │ -1 closed
///
/// Invariants  a heap is destroyed only by the step 0 -> -1, so nobody ever stands on a closed one;
///             borrows <= users; the default heap is never closed.
/// Talks to    heap.hpp.   Used by bind_heap.cpp, bind_buffer.cpp.
/// Threads     any; every transition is one atomic step, no lock is held while memory moves.
/// Fails with  hf::InvalidArgument (HF_E_CLOSED) from HeapPin.
#ifndef HOLDFAST_BINDINGS_HEAP_STATE_HPP
#define HOLDFAST_BINDINGS_HEAP_STATE_HPP

#include "soft_limit.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

class HeapState {
public:
    HeapState(const hf::Options &options, const char *name, int node)
        : owned_(std::make_unique<hf::Heap>(options, name, node)), heap_(owned_->ref()) {}
    explicit HeapState(hf::HeapRef heap) : heap_(heap) {}

    [[nodiscard]] hf::HeapRef heap() const noexcept { return heap_; }
    [[nodiscard]] bool is_default() const noexcept { return owned_ == nullptr && open(); }
    [[nodiscard]] bool open() const noexcept { return users_.load(std::memory_order_acquire) >= 0; }

    [[nodiscard]] bool pin() noexcept {
        long users = users_.load(std::memory_order_relaxed);
        while (users >= 0)
            if (users_.compare_exchange_weak(users, users + 1, std::memory_order_acq_rel))
                return true;
        return false;
    }
    void unpin() noexcept { users_.fetch_sub(1, std::memory_order_acq_rel); }

    /// Destroys the heap if nobody stands on it. True if it is closed now or was before.
    [[nodiscard]] bool close() noexcept {
        long users = 0;
        if (!users_.compare_exchange_strong(users, -1, std::memory_order_acq_rel)) return users < 0;
        owned_.reset();
        return true;
    }

    /// Exported views of blocks: memoryviews, arrays, DLPack tensors.
    std::atomic<long> borrows{0};
    [[nodiscard]] long users() const noexcept { return users_.load(std::memory_order_relaxed); }

    void keep(std::shared_ptr<SoftLimit> watch) {
        const std::lock_guard hold(mutex_);
        watches_.push_back(std::move(watch));
    }

private:
    std::unique_ptr<hf::Heap> owned_; /* null for the default heap */
    hf::HeapRef heap_;
    std::atomic<long> users_{0};
    std::mutex mutex_;
    std::vector<std::shared_ptr<SoftLimit>> watches_; /* guarded by: mutex_ */
};

/// Stands on a heap for the time of one call.
class HeapPin {
public:
    explicit HeapPin(HeapState &state) : state_(state) {
        if (!state.pin()) hf::raise(HF_E_CLOSED, "the heap is closed");
    }
    ~HeapPin() { state_.unpin(); }
    HeapPin(const HeapPin &) = delete;
    HeapPin &operator=(const HeapPin &) = delete;

private:
    HeapState &state_;
};

#endif
