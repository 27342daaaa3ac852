/// bump_allocator.hpp - arenas whose alignment, least size and guards are known at compile time.
///
///   hf::BumpAllocator<>                   cache lines, no guards
///   hf::BumpAllocator<hf::SafetyPolicy>   guards, zeroed blocks, every debug switch
///
/// Invariants  an allocation of a constant size at the policy's alignment is the inline path of arena.h.
/// Talks to    arena.hpp.
/// Threads     as the arena.
/// Fails with  OutOfMemory (a std::bad_alloc), InvalidArgument.
#ifndef HOLDFAST_BUMP_ALLOCATOR_HPP
#define HOLDFAST_BUMP_ALLOCATOR_HPP

#include <cstddef>
#include <span>

#include <holdfast/arena.hpp>

namespace hf {

/// Cache lines, no guards: nothing but speed.
struct HighPerformancePolicy {
    static constexpr std::size_t alignment = 64;
    static constexpr bool use_guard_pages = false;
    static constexpr std::size_t min_size = 0;
    static constexpr bool zero = false;
    static constexpr std::size_t prefetch = 0;
    static constexpr hf_arena_policy base = HF_ARENA_HIGH_PERFORMANCE;
};

/// Guards, zeroed blocks and every debug switch.
struct SafetyPolicy {
    static constexpr std::size_t alignment = 16;
    static constexpr bool use_guard_pages = true;
    static constexpr std::size_t min_size = 0;
    static constexpr bool zero = true;
    static constexpr std::size_t prefetch = 0;
    static constexpr hf_arena_policy base = HF_ARENA_SAFETY;
};

namespace detail {
// What a policy does not say has the value it has in the default arena.
template <class P> constexpr std::size_t policy_alignment() {
    if constexpr (requires { P::alignment; })
        return P::alignment;
    else
        return HF_ARENA_ALIGNMENT;
}
template <class P> constexpr std::size_t policy_min_size() {
    if constexpr (requires { P::min_size; })
        return P::min_size;
    else
        return 0;
}
template <class P> constexpr std::size_t policy_prefetch() {
    if constexpr (requires { P::prefetch; })
        return P::prefetch;
    else
        return 0;
}
template <class P> constexpr hf_arena_policy policy_base() {
    if constexpr (requires { P::base; })
        return P::base;
    else
        return HF_ARENA_DEFAULT;
}
} // namespace detail

/// An arena whose policy is a type: alignment and least size are constants of the inline path.
/// A policy has any of: alignment, use_guard_pages, min_size, zero, prefetch, huge_pages (an
/// hf_huge_mode), node, grows (false: `capacity` is all there ever is), base.
template <class Policy = HighPerformancePolicy> class BumpAllocator : public Arena {
public:
    static constexpr std::size_t alignment = detail::policy_alignment<Policy>();
    static constexpr std::size_t min_size = detail::policy_min_size<Policy>();
    static constexpr std::size_t prefetch = detail::policy_prefetch<Policy>();
    static_assert(alignment >= 16 && alignment <= HF_ARENA_ALIGNMENT_MAX &&
                      (alignment & (alignment - 1)) == 0,
                  "alignment is a power of two from 16 to 2 MiB");

    /// `capacity` bytes usable at once; it grows beyond them unless the policy says otherwise.
    explicit BumpAllocator(std::size_t capacity) : Arena(options(capacity)) {}
    /// In memory of the caller.
    explicit BumpAllocator(std::span<std::byte> buffer) : Arena(buffer, options(buffer.size())) {}

    [[nodiscard]] static ArenaOptions options(std::size_t capacity) noexcept {
        ArenaOptions options(detail::policy_base<Policy>());
        options.capacity = capacity;
        if constexpr (requires { Policy::use_guard_pages; }) {
            if (!Policy::use_guard_pages)
                options.guard = 0;
            else if (options.guard == 0)
                options.guard = 4096;
        }
        if constexpr (requires { Policy::zero; }) options.zero = Policy::zero;
        if constexpr (requires { Policy::huge_pages; }) options.huge_pages = Policy::huge_pages;
        if constexpr (requires { Policy::node; }) options.node = Policy::node;
        if constexpr (requires { Policy::grows; })
            if (!Policy::grows) options.limit = capacity;
        return options;
    }

    [[nodiscard]] void *allocate(std::size_t size) const {
        return allocate_aligned(size, alignment);
    }
    [[nodiscard]] void *allocate_aligned(std::size_t size, std::size_t at) const {
        size = sized(size);
        const std::size_t multiple = aligned(at);
        void *block = multiple == HF_ARENA_ALIGNMENT
                          ? hf_arena_alloc(native(), size)
                          : hf_arena_alloc_aligned(native(), size, multiple);
        if (block == nullptr) [[unlikely]]
            detail::arena_refused(native(), multiple);
        if constexpr (prefetch != 0)
            __builtin_prefetch(static_cast<const char *>(block) + size + prefetch, 1);
        return block;
    }
    [[nodiscard]] void *allocate_simd(std::size_t size) const {
        return allocate_aligned(size, HF_ARENA_SIMD);
    }
    /// As in hf::Arena, with the alignment and least size of the policy.
    [[nodiscard]] void *allocate_zeroed(std::size_t size, std::size_t at = alignment) const {
        return Arena::allocate_zeroed(sized(size), aligned(at));
    }
    [[nodiscard]] void *try_allocate(std::size_t size, std::size_t at = alignment) const noexcept {
        return Arena::try_allocate(sized(size), aligned(at));
    }
    void allocate_bulk(std::span<void *> blocks, std::size_t size,
                       std::size_t at = alignment) const {
        Arena::allocate_bulk(blocks, sized(size), aligned(at));
    }

private:
    static constexpr std::size_t sized(std::size_t size) noexcept {
        if constexpr (min_size > 1) return size < min_size ? min_size : size;
        return size;
    }
    static constexpr std::size_t aligned(std::size_t at) noexcept {
        return at < alignment ? alignment : at;
    }
};

} // namespace hf

#endif
