/// memory.hpp - heaps behind the standard library's two doors: std::pmr and STL allocators.
///
///   hf::MemoryResource resource{heap};  std::pmr::vector<int> v{&resource};
///   std::vector<int, hf::Allocator<int>> w{hf::Allocator<int>{heap}};
///
/// Invariants  two of a kind are equal exactly if they name the same heap.
/// Talks to    heap.hpp, error.hpp.
/// Threads     as the heap: any thread.
/// Fails with  OutOfMemory (a std::bad_alloc), std::bad_array_new_length. Giving back never throws;
///             a wrong size is a SIZE_MISMATCH report, a wrong heap a FOREIGN_FREE report.
#ifndef HOLDFAST_MEMORY_HPP
#define HOLDFAST_MEMORY_HPP

#include <cstddef>
#include <memory_resource>
#include <type_traits>

#include <holdfast/error.hpp>
#include <holdfast/heap.hpp>

namespace hf {

/// A std::pmr::memory_resource on a heap. Does not own the heap.
class MemoryResource final : public std::pmr::memory_resource {
public:
    MemoryResource() noexcept : heap_(default_heap()) {}
    explicit MemoryResource(HeapRef heap) noexcept : heap_(heap) {}

    [[nodiscard]] HeapRef heap() const noexcept { return heap_; }

private:
    void *do_allocate(std::size_t size, std::size_t alignment) override {
        return heap_.allocate(size, alignment);
    }
    void do_deallocate(void *block, std::size_t size, std::size_t) override {
        heap_.deallocate(block, size);
    }
    [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override {
        const auto *peer = dynamic_cast<const MemoryResource *>(&other);
        return peer != nullptr && peer->heap_ == heap_;
    }

    HeapRef heap_;
};

/// An STL allocator on a heap: one pointer wide. Containers take it along when they are moved,
/// swapped or copied-constructed; copy assignment keeps the heap of the target.
template <class T> class Allocator {
public:
    using value_type = T;
    using propagate_on_container_move_assignment = std::true_type;
    using propagate_on_container_swap = std::true_type;
    using is_always_equal = std::false_type;

    Allocator() noexcept : heap_(default_heap()) {}
    explicit Allocator(HeapRef heap) noexcept : heap_(heap) {}
    template <class U> Allocator(const Allocator<U> &other) noexcept : heap_(other.heap()) {}

    [[nodiscard]] T *allocate(std::size_t count) {
        return static_cast<T *>(heap_.allocate(detail::product(count, sizeof(T)), alignof(T)));
    }
    void deallocate(T *first, std::size_t count) noexcept {
        heap_.deallocate(first, count * sizeof(T));
    }

    [[nodiscard]] HeapRef heap() const noexcept { return heap_; }

    template <class U>
    [[nodiscard]] friend bool operator==(const Allocator &a, const Allocator<U> &b) noexcept {
        return a.heap() == b.heap();
    }

private:
    HeapRef heap_;
};

} // namespace hf

#endif
