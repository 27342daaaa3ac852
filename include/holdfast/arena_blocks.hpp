/// arena_blocks.hpp - single blocks of an arena: given back, taken again, left over, inside or not.
///
///   hf::ScopedAllocation         one block that goes back when its scope ends
///   hf::MemoryPool               equal blocks, each given back and taken again
///   hf::LeakDetector             what lived past its scope
///   hf::validate_memory_region   is this memory of the arena that may be used?
///
/// Talks to    arena.hpp.
/// Threads     one at a time, whatever the arena allows.
/// Fails with  OutOfMemory (a std::bad_alloc), InvalidArgument, Unsupported. Destructors never throw.
#ifndef HOLDFAST_ARENA_BLOCKS_HPP
#define HOLDFAST_ARENA_BLOCKS_HPP

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <holdfast/arena.hpp>

namespace hf {

/// One block, given back when its scope ends: reused if it is the youngest then, noted if not.
class ScopedAllocation {
public:
    ScopedAllocation(ArenaRef arena, std::size_t size, std::size_t alignment = HF_ARENA_ALIGNMENT)
        : arena_(arena), size_(size), block_(arena.allocate_aligned(size, alignment)) {}
    ScopedAllocation(ScopedAllocation &&other) noexcept
        : arena_(other.arena_), size_(other.size_), block_(std::exchange(other.block_, nullptr)) {}
    ScopedAllocation(const ScopedAllocation &) = delete;
    ScopedAllocation &operator=(const ScopedAllocation &) = delete;
    ScopedAllocation &operator=(ScopedAllocation &&) = delete;
    ~ScopedAllocation() { arena_.deallocate(block_, size_); }

    [[nodiscard]] void *get() const noexcept { return block_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::span<std::byte> bytes() const noexcept {
        return {static_cast<std::byte *>(block_), size_};
    }

private:
    ArenaRef arena_;
    std::size_t size_;
    void *block_;
};

/// Equal blocks on an arena. Free ones are linked through their first bytes; a reset of the arena ends
/// the pool: call forget() then.
class MemoryPool {
public:
    MemoryPool(ArenaRef arena, std::size_t block_size, std::size_t alignment = HF_ARENA_ALIGNMENT)
        : arena_(arena), size_(block_size < sizeof(Link) ? sizeof(Link) : block_size),
          alignment_(alignment) {}

    [[nodiscard]] void *take() {
        ++live_;
        if (Link *block = free_; block != nullptr) {
            free_ = block->next;
            --idle_;
            return block;
        }
        try {
            return arena_.allocate_aligned(size_, alignment_);
        } catch (...) {
            --live_;
            throw;
        }
    }
    void give(void *block) noexcept {
        if (block == nullptr) return;
        free_ = ::new (block) Link{free_};
        --live_;
        ++idle_;
    }
    /// The arena was reset or rewound below the pool's blocks: there are none any more.
    void forget() noexcept {
        free_ = nullptr;
        live_ = idle_ = 0;
    }
    [[nodiscard]] std::size_t block_size() const noexcept { return size_; }
    [[nodiscard]] std::size_t live() const noexcept { return live_; }
    [[nodiscard]] std::size_t idle() const noexcept { return idle_; }

private:
    struct Link {
        Link *next;
    };
    ArenaRef arena_;
    std::size_t size_, alignment_;
    Link *free_ = nullptr;
    std::size_t live_ = 0, idle_ = 0;
};

/// What was allocated since it was made, is not given back, and is about to die with its scope.
/// Needs ArenaOptions::track_allocations; throws Unsupported without.
class LeakDetector {
public:
    struct Leak {
        const void *address;
        std::size_t size;
        std::uint64_t serial;
        std::string site; ///< call stack, outermost first; empty if none was captured
    };

    explicit LeakDetector(ArenaRef arena) : arena_(arena), mark_{} {
        hf_arena_options options;
        hf_arena_options_of(arena.native(), &options);
        if (options.track_allocations == 0)
            raise(HF_E_UNSUPPORTED, "leaks are found in arenas with track_allocations");
        mark_ = arena.mark();
        arena.leave(mark_); /* a place in the records is all it needs */
    }
    [[nodiscard]] std::size_t count() const {
        std::size_t count = 0;
        hf::check(hf_arena_leaks(arena_.native(), &mark_, nullptr, nullptr, &count));
        return count;
    }
    [[nodiscard]] std::vector<Leak> leaks() const {
        std::vector<Leak> found;
        const auto visit = [](const hf_arena_block *block, void *context) -> int {
            static_cast<std::vector<Leak> *>(context)->push_back(
                {block->address, block->size, block->serial, block->site});
            return 0;
        };
        hf::check(hf_arena_leaks(arena_.native(), &mark_, visit, &found, nullptr));
        return found;
    }

private:
    ArenaRef arena_;
    Mark mark_;
};

/// Throws InvalidArgument unless [start, start + size) is memory of the arena that may be used.
inline void validate_memory_region(ArenaRef arena, const void *start, std::size_t size) {
    hf::check(hf_arena_validate(arena.native(), start, size),
              "the region is not inside live memory of the arena");
}

} // namespace hf

#endif
