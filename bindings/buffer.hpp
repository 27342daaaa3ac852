/// buffer.hpp - one block of a heap as a Python object; freed when the last borrow dies.
///
///   exports: 0 held │ n > 0 held and borrowed by n views │ -1 released │ -2 being moved
///
/// Invariants  a view pins its heap and its buffer: neither the block nor the heap goes before it.
///             The block is freed once, by the step 0 -> -1.
/// Talks to    heap_state.hpp.   Used by bind_buffer.cpp, bind_heap.cpp, dlpack.hpp.
/// Threads     any; address and size change only between the steps 0 -> -2 and -2 -> 0.
/// Fails with  hf::InvalidArgument after release or close, hf::Busy while borrowed.
#ifndef HOLDFAST_BINDINGS_BUFFER_HPP
#define HOLDFAST_BINDINGS_BUFFER_HPP

#include "heap_state.hpp"

#include <algorithm>
#include <cstring>

class Buffer {
public:
    Buffer(std::shared_ptr<HeapState> heap, std::size_t size, std::size_t align)
        : heap_(std::move(heap)), size_(size), align_(align) {
        const HeapPin pin(*heap_);
        address_ = heap_->heap().allocate(size, align);
    }
    ~Buffer() { (void)release(); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;

    /// A view begins: fails if the block is gone or on the move.
    void borrow() {
        if (!heap_->pin()) hf::raise(HF_E_CLOSED, "the heap of this buffer is closed");
        long exports = exports_.load(std::memory_order_relaxed);
        while (exports >= 0)
            if (exports_.compare_exchange_weak(exports, exports + 1, std::memory_order_acq_rel)) {
                heap_->borrows.fetch_add(1, std::memory_order_relaxed);
                return;
            }
        heap_->unpin();
        refuse(exports);
    }
    void give_back() noexcept {
        exports_.fetch_sub(1, std::memory_order_acq_rel);
        heap_->borrows.fetch_sub(1, std::memory_order_relaxed);
        heap_->unpin();
    }

    /// Frees the block unless it is borrowed. True if it is released now or was before.
    [[nodiscard]] bool release() noexcept {
        long exports = 0;
        if (!exports_.compare_exchange_strong(exports, released, std::memory_order_acq_rel))
            return exports == released;
        /* A closed heap took its blocks along. */
        if (heap_->pin()) {
            heap_->heap().deallocate(address_);
            heap_->unpin();
        }
        return true;
    }

    /// Another size, perhaps at another address; the common part of the content stays.
    void resize(std::size_t size) {
        const HeapPin pin(*heap_);
        long exports = 0;
        if (!exports_.compare_exchange_strong(exports, moving, std::memory_order_acq_rel))
            refuse(exports);
        try {
            address_ = moved(size);
            size_ = size;
        } catch (...) {
            exports_.store(0, std::memory_order_release);
            throw;
        }
        exports_.store(0, std::memory_order_release);
    }

    [[nodiscard]] bool live() const noexcept {
        return exports_.load(std::memory_order_acquire) >= 0 && heap_->open();
    }
    [[nodiscard]] long exports() const noexcept {
        return std::max(exports_.load(std::memory_order_relaxed), 0L);
    }
    [[nodiscard]] void *address() const noexcept { return address_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t align() const noexcept { return align_; }
    [[nodiscard]] const std::shared_ptr<HeapState> &heap() const noexcept { return heap_; }

private:
    static constexpr long released = -1, moving = -2;

    [[noreturn]] static void refuse(long exports) {
        if (exports == released) hf::raise(HF_E_CLOSED, "the buffer was already released");
        if (exports == moving) hf::raise(HF_E_BUSY, "another thread resizes the buffer");
        hf::raise(HF_E_BUSY, "the buffer is borrowed by a view; let the view die first");
    }

    [[nodiscard]] void *moved(std::size_t size) const {
        /* realloc keeps an alignment of 16 only, and to size 0 it is a free. */
        if (align_ <= hf::default_alignment && size != 0)
            return heap_->heap().reallocate(address_, size);
        void *fresh = heap_->heap().allocate(size, align_);
        std::memcpy(fresh, address_, std::min(size, size_));
        heap_->heap().deallocate(address_);
        return fresh;
    }

    std::shared_ptr<HeapState> heap_;
    void *address_ = nullptr;
    std::size_t size_;
    std::size_t align_;
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
