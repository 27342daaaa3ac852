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

#include "lender.hpp"
#include "soft_limit.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

/// A store of arrays that stands on the heap.
class HeapLodger {
public:
    virtual ~HeapLodger() = default;
    /// Gives up what is only cached; returns the arrays that live.
    virtual long settle() noexcept = 0;
};

class HeapState final : public Lender {
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
        (void)lodged();
        long users = 0;
        if (!users_.compare_exchange_strong(users, -1, std::memory_order_acq_rel)) return users < 0;
        owned_.reset();
        return true;
    }

    /// Exported views of blocks: memoryviews, arrays, DLPack tensors.
    [[nodiscard]] long borrows() noexcept {
        return views_.load(std::memory_order_relaxed) + lodged();
    }
    [[nodiscard]] long users() const noexcept { return users_.load(std::memory_order_relaxed); }

    void keep(std::shared_ptr<SoftLimit> watch) {
        const std::lock_guard hold(mutex_);
        watches_.push_back(std::move(watch));
    }

    void move_in(HeapLodger *lodger) {
        const std::lock_guard hold(mutex_);
        lodgers_.push_back(lodger);
    }
    void move_out(HeapLodger *lodger) noexcept {
        const std::lock_guard hold(mutex_);
        std::erase(lodgers_, lodger);
    }

    /// What stands on the heap and is shared by those who ask again; made by `make` if it is gone.
    template <class T, class Make> std::shared_ptr<T> shared(Make make) {
        const std::lock_guard hold(shared_mutex_);
        auto found = std::static_pointer_cast<T>(shared_.lock());
        if (found == nullptr) shared_ = found = make();
        return found;
    }

    bool pin_view(const Ticket &) noexcept override {
        if (!pin()) return false;
        views_.fetch_add(1, std::memory_order_relaxed);
        return true;
    }
    void unpin_view(const Ticket &) noexcept override {
        views_.fetch_sub(1, std::memory_order_relaxed);
        unpin();
    }
    bool has(const Ticket &) const noexcept override { return open(); }
    void free_block(void *address, std::size_t, std::size_t) noexcept override {
        /* A closed heap took its blocks along. */
        if (!pin()) return;
        heap_.deallocate(address);
        unpin();
    }
    void *move_block(void *address, std::size_t size, std::size_t fresh,
                     std::size_t align) override {
        /* realloc keeps an alignment of 16 only, and to size 0 it is a free. */
        if (align <= hf::default_alignment && fresh != 0) return heap_.reallocate(address, fresh);
        void *moved = heap_.allocate(fresh, align);
        std::memcpy(moved, address, std::min(size, fresh));
        heap_.deallocate(address);
        return moved;
    }
    const char *gone() const noexcept override { return "the heap of this buffer is closed"; }

private:
    /// Arrays that live in stores on this heap.
    long lodged() noexcept {
        const std::lock_guard hold(mutex_);
        long arrays = 0;
        for (HeapLodger *lodger : lodgers_)
            arrays += lodger->settle();
        return arrays;
    }

    std::mutex shared_mutex_;
    std::weak_ptr<void> shared_; /* guarded by: shared_mutex_ */
    std::atomic<long> views_{0};
    std::vector<HeapLodger *> lodgers_; /* guarded by: mutex_ */
    std::unique_ptr<hf::Heap> owned_;   /* null for the default heap */
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
