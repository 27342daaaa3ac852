/// arena_memory.hpp - arenas behind the standard library's two doors: std::pmr and STL allocators.
///
///   hf::ArenaResource resource{arena};  std::pmr::vector<int> v{&resource};
///   std::vector<int, hf::ArenaAllocator<int>> w{hf::ArenaAllocator<int>{arena}};
///
/// Invariants  two of a kind are equal exactly if they name the same arena (and upstream).
/// Talks to    arena.hpp.
/// Threads     as the arena.
/// Fails with  OutOfMemory (a std::bad_alloc), std::bad_array_new_length. Giving back never throws.
#ifndef HOLDFAST_ARENA_MEMORY_HPP
#define HOLDFAST_ARENA_MEMORY_HPP

#include <cstddef>
#include <memory_resource>
#include <type_traits>

#include <holdfast/arena.hpp>

namespace hf {

/// A std::pmr::memory_resource on an arena. Does not own it. With an upstream, what the arena refuses
/// is asked for there, and given back there.
class ArenaResource final : public std::pmr::memory_resource {
public:
    explicit ArenaResource(ArenaRef arena, std::pmr::memory_resource *upstream = nullptr) noexcept
        : arena_(arena), upstream_(upstream) {}
    [[nodiscard]] ArenaRef arena() const noexcept { return arena_; }
    [[nodiscard]] std::pmr::memory_resource *upstream() const noexcept { return upstream_; }

private:
    void *do_allocate(std::size_t size, std::size_t alignment) override {
        void *block = alignment <= HF_ARENA_ALIGNMENT ? hf_arena_alloc(arena_.native(), size)
                                                      : arena_.try_allocate(size, alignment);
        if (block != nullptr) [[likely]]
            return block;
        if (upstream_ != nullptr) return upstream_->allocate(size, alignment);
        detail::arena_refused(arena_.native(), alignment);
    }
    void do_deallocate(void *block, std::size_t size, std::size_t alignment) override {
        if (upstream_ != nullptr && !arena_.owns(block))
            upstream_->deallocate(block, size, alignment);
        else
            arena_.deallocate(block, size);
    }
    [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override {
        const auto *peer = dynamic_cast<const ArenaResource *>(&other);
        return peer != nullptr && peer->arena_ == arena_ && peer->upstream_ == upstream_;
    }

    ArenaRef arena_;
    std::pmr::memory_resource *upstream_;
};

/// An STL allocator on an arena: one pointer wide.
template <class T> class ArenaAllocator {
public:
    using value_type = T;
    using propagate_on_container_move_assignment = std::true_type;
    using propagate_on_container_swap = std::true_type;
    using is_always_equal = std::false_type;

    explicit ArenaAllocator(ArenaRef arena) noexcept : arena_(arena) {}
    template <class U>
    ArenaAllocator(const ArenaAllocator<U> &other) noexcept : arena_(other.arena()) {}

    [[nodiscard]] T *allocate(std::size_t count) {
        const std::size_t bytes = detail::product(count, sizeof(T));
        if constexpr (alignof(T) <= HF_ARENA_ALIGNMENT)
            return static_cast<T *>(arena_.allocate(bytes));
        else
            return static_cast<T *>(arena_.allocate_aligned(bytes, alignof(T)));
    }
    void deallocate(T *first, std::size_t count) noexcept {
        arena_.deallocate(first, count * sizeof(T));
    }
    [[nodiscard]] ArenaRef arena() const noexcept { return arena_; }

    template <class U>
    [[nodiscard]] friend bool operator==(const ArenaAllocator &a,
                                         const ArenaAllocator<U> &b) noexcept {
        return a.arena() == b.arena();
    }

private:
    ArenaRef arena_;
};

} // namespace hf

#endif
