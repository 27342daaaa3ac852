/// buffer.hpp - one block of a lender as a Python object; freed when the last borrow dies.
///
///   exports: 0 held │ n > 0 held and borrowed by n views │ -1 released │ -2 being moved
///
/// Invariants  a view pins its lender and its buffer: neither the block nor the lender goes before it.
///             The block is freed once, by the step 0 -> -1.
/// Talks to    lender.hpp.   Used by bind_buffer.cpp, bind_heap.cpp, bind_arena.cpp, dlpack.hpp.
/// Threads     any; address and size change only between the steps 0 -> -2 and -2 -> 0.
/// Fails with  hf::InvalidArgument after release or close, hf::Busy while borrowed.
#ifndef HOLDFAST_BINDINGS_BUFFER_HPP
#define HOLDFAST_BINDINGS_BUFFER_HPP

#include "lender.hpp"

#include <holdfast/error.hpp>

#include <algorithm>
#include <atomic>
#include <memory>

class Buffer {
public:
    Buffer(std::shared_ptr<Lender> lender, void *address, std::size_t size, std::size_t align,
           const Ticket &ticket = {})
        : lender_(std::move(lender)), address_(address), size_(size), align_(align),
          ticket_(ticket) {}
    ~Buffer() {
        if (give_up() == 0) lender_->free_block(address_, size_, align_);
    }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;

    /// A view begins: fails if the block is gone or on the move.
    void borrow() {
        if (!lender_->pin_view(ticket_)) hf::raise(HF_E_CLOSED, lender_->gone());
        long exports = exports_.load(std::memory_order_relaxed);
        while (exports >= 0)
            if (exports_.compare_exchange_weak(exports, exports + 1, std::memory_order_acq_rel))
                return;
        lender_->unpin_view(ticket_);
        refuse(exports);
    }
    void give_back() noexcept {
        exports_.fetch_sub(1, std::memory_order_acq_rel);
        lender_->unpin_view(ticket_);
    }

    /// Frees the block unless it is borrowed. True if it is released now or was before.
    [[nodiscard]] bool release() noexcept {
        const long exports = give_up();
        if (exports == 0) lender_->release_block(ticket_, address_, size_, align_);
        return exports == 0 || exports == released;
    }

    /// Another size, perhaps at another address; the common part of the content stays.
    void resize(std::size_t size) {
        if (!lender_->pin_view(ticket_)) hf::raise(HF_E_CLOSED, lender_->gone());
        long exports = 0;
        if (!exports_.compare_exchange_strong(exports, moving, std::memory_order_acq_rel)) {
            lender_->unpin_view(ticket_);
            refuse(exports);
        }
        try {
            address_ = lender_->move_block(address_, size_, size, align_);
            size_ = size;
        } catch (...) {
            exports_.store(0, std::memory_order_release);
            lender_->unpin_view(ticket_);
            throw;
        }
        exports_.store(0, std::memory_order_release);
        lender_->unpin_view(ticket_);
    }

    [[nodiscard]] bool live() const noexcept {
        return exports_.load(std::memory_order_acquire) >= 0 && lender_->has(ticket_);
    }
    [[nodiscard]] long exports() const noexcept {
        return std::max(exports_.load(std::memory_order_relaxed), 0L);
    }
    [[nodiscard]] void *address() const noexcept { return address_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t align() const noexcept { return align_; }
    [[nodiscard]] const std::shared_ptr<Lender> &lender() const noexcept { return lender_; }

private:
    static constexpr long released = -1, moving = -2;

    /// The step 0 -> -1; what `exports` was.
    [[nodiscard]] long give_up() noexcept {
        long exports = 0;
        (void)exports_.compare_exchange_strong(exports, released, std::memory_order_acq_rel);
        return exports;
    }

    [[noreturn]] static void refuse(long exports) {
        if (exports == released) hf::raise(HF_E_CLOSED, "the buffer was already released");
        if (exports == moving) hf::raise(HF_E_BUSY, "another thread resizes the buffer");
        hf::raise(HF_E_BUSY, "the buffer is borrowed by a view; let the view die first");
    }

    std::shared_ptr<Lender> lender_;
    void *address_;
    std::size_t size_;
    std::size_t align_;
    Ticket ticket_; /* of arenas */
    std::atomic<long> exports_{0};
};

/// A borrow for the time of one call.
class Borrow {
public:
    explicit Borrow(Buffer &buffer) : buffer_(buffer) { buffer.borrow(); }
    ~Borrow() { buffer_.give_back(); }
    Borrow(const Borrow &) = delete;
    Borrow &operator=(const Borrow &) = delete;

private:
    Buffer &buffer_;
};

#endif
