/// array_handler.hpp - one way into a store: open while its `with` block runs, then the heap instead.
///
///   with-block ──open──► store        a task that was started inside and outlives the block still
///        └── ended ────► fallback     holds the handler: its arrays come from the default heap
///
/// Invariants  a block knows its store, so every handler frees blocks of every other.
/// Talks to    store.hpp, array_door.h.   Used by bind_array.cpp, bind_arena.cpp.
/// Threads     any.
#ifndef HOLDFAST_BINDINGS_ARRAY_HANDLER_HPP
#define HOLDFAST_BINDINGS_ARRAY_HANDLER_HPP

#include "array_door.h"
#include "store.hpp"

#include <atomic>
#include <memory>

class ArrayHandler {
public:
    explicit ArrayHandler(std::shared_ptr<Store> store) : store_(std::move(store)) {}

    [[nodiscard]] Store &store() const noexcept { return *store_; }
    [[nodiscard]] bool open() const noexcept { return open_.load(std::memory_order_relaxed); }
    /// From now on late callers are served by the default heap.
    void close() noexcept {
        open_.store(false, std::memory_order_relaxed);
        store_->flush();
    }
    /// Arrays that came too late, or after the owner was closed.
    [[nodiscard]] long late() const noexcept { return late_.load(std::memory_order_relaxed); }

    [[nodiscard]] void *allocate(std::size_t size) noexcept;
    [[nodiscard]] void *zeroed(std::size_t size) noexcept;
    [[nodiscard]] void *resize(void *data, std::size_t size) noexcept;

    /// The store on the default heap; never destroyed.
    static Store &fallback();
    /// Keeps `self` alive in a capsule named ARRAY_DOOR; a new reference, or null with an error.
    static void *door_capsule(const std::shared_ptr<ArrayHandler> &self);

private:
    std::shared_ptr<Store> store_;
    std::atomic<bool> open_{true};
    std::atomic<long> late_{0};
};

#endif
