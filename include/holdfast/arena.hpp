/// arena.hpp - arenas as C++ owns them.
///
///   hf::Arena                 owns one arena: move-only, one pointer wide; its blocks die with it
///   hf::ArenaRef              names one without owning it
///   hf::BumpAllocator<Policy> an arena whose alignment, least size and guards are known at compile time
///   hf::ArenaScope            mark, and rewind when it is left
///   hf::ScopedAllocation      one block that goes back when its scope ends
///   hf::MemoryPool            equal blocks on an arena, each given back and taken again
///   hf::LeakDetector          what lived past its scope
///   hf::ArenaResource, hf::ArenaAllocator<T>   std::pmr and STL containers on an arena
///
/// Caveats
///  - Destructors of objects in an arena are not run; array and create therefore want types that
///    need none. make_unique runs them.
///  - An arena must outlive everything that stands on it.
/// Talks to    arena.h, error.hpp, options.hpp (statuses, vocabulary).
/// Threads     as the arena: one at a time, or any number with ArenaOptions::thread_safe.
/// Fails with  OutOfMemory (a std::bad_alloc), InvalidArgument, Busy. Destructors never throw.
#ifndef HOLDFAST_ARENA_HPP
#define HOLDFAST_ARENA_HPP

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <memory_resource>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <holdfast/arena.h>
#include <holdfast/error.hpp>
#include <holdfast/stats.hpp>

namespace hf {

/// Total, peak, count, padding, fragmentation and more of one arena.
using AllocationStats = hf_arena_figures;
using Mark = hf_mark;

/// Options of an arena; the defaults, or one of the ready-made policies.
struct ArenaOptions : hf_arena_options {
    ArenaOptions() noexcept : ArenaOptions(HF_ARENA_DEFAULT) {}
    explicit ArenaOptions(hf_arena_policy policy) noexcept : hf_arena_options() {
        hf_arena_options_init(this, policy);
    }
    [[nodiscard]] static ArenaOptions high_performance() noexcept {
        return ArenaOptions(HF_ARENA_HIGH_PERFORMANCE);
    }
    [[nodiscard]] static ArenaOptions safety() noexcept { return ArenaOptions(HF_ARENA_SAFETY); }
    /// Never more than `size` bytes of blocks.
    [[nodiscard]] static ArenaOptions fixed(std::uint64_t size) noexcept {
        ArenaOptions options;
        options.capacity = options.limit = size;
        return options;
    }
    /// Throws InvalidArgument with a sentence that says what is wrong.
    void check() const {
        char why[160] = "";
        const Status status = hf_arena_options_check(this, why, sizeof why);
        hf::check(status, why);
    }
};

namespace detail {

[[noreturn]] inline void arena_refused(std::size_t alignment) {
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > HF_ARENA_ALIGNMENT_MAX)
        raise(HF_E_INVALID, "alignment must be a power of two up to 2 MiB");
    throw OutOfMemory::refused();
}

[[nodiscard]] inline std::size_t product(std::size_t count, std::size_t size) {
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes)) [[unlikely]]
        throw std::bad_array_new_length();
    return bytes;
}

} // namespace detail

/// Names an arena without owning it. Equal if they name the same arena.
class ArenaRef {
public:
    explicit ArenaRef(hf_arena *arena) noexcept : arena_(arena) {}
    [[nodiscard]] hf_arena *native() const noexcept { return arena_; }

    /// Bytes at a multiple of 16, inline. Throws OutOfMemory.
    [[nodiscard]] void *allocate(std::size_t size) const {
        void *block = hf_arena_alloc(arena_, size);
        if (block == nullptr) [[unlikely]]
            detail::arena_refused(HF_ARENA_ALIGNMENT);
        return block;
    }
    /// Bytes at a multiple of `alignment`, a power of two up to 2 MiB.
    [[nodiscard]] void *allocate_aligned(std::size_t size, std::size_t alignment) const {
        void *block = hf_arena_alloc_aligned(arena_, size, alignment);
        if (block == nullptr) [[unlikely]]
            detail::arena_refused(alignment);
        return block;
    }
    /// Bytes at a cache line, for vector loads of any width.
    [[nodiscard]] void *allocate_simd(std::size_t size) const {
        return allocate_aligned(size, HF_ARENA_SIMD);
    }
    /// The same as allocate_aligned, all bytes zero.
    [[nodiscard]] void *allocate_zeroed(std::size_t size,
                                        std::size_t alignment = HF_ARENA_ALIGNMENT) const {
        void *block = hf_arena_allocate_zeroed(arena_, size, alignment);
        if (block == nullptr) [[unlikely]]
            detail::arena_refused(alignment);
        return block;
    }
    /// Null instead of an exception.
    [[nodiscard]] void *try_allocate(std::size_t size,
                                     std::size_t alignment = HF_ARENA_ALIGNMENT) const noexcept {
        return hf_arena_alloc_aligned(arena_, size, alignment);
    }
    /// Fills `blocks`, each of `size` bytes. On OutOfMemory those that were made stay in the arena.
    void allocate_bulk(std::span<void *> blocks, std::size_t size,
                       std::size_t alignment = HF_ARENA_ALIGNMENT) const {
        if (hf_arena_alloc_bulk(arena_, size, alignment, blocks.size(), blocks.data()) !=
            blocks.size())
            detail::arena_refused(alignment);
    }

    /// `count` elements at a cache line, value-initialised where T is no implicit-lifetime byte soup.
    template <class T>
    requires std::is_trivially_destructible_v<T>
    [[nodiscard]] std::span<T> array(std::size_t count) const {
        constexpr std::size_t alignment = alignof(T) > HF_ARENA_SIMD ? alignof(T) : HF_ARENA_SIMD;
        auto *first =
            static_cast<T *>(allocate_aligned(detail::product(count, sizeof(T)), alignment));
        if constexpr (std::is_trivially_default_constructible_v<T>)
            std::uninitialized_default_construct_n(first, count);
        else
            std::uninitialized_value_construct_n(first, count);
        return {first, count};
    }
    /// One object whose destructor nobody will run.
    template <class T, class... Args>
    requires std::is_trivially_destructible_v<T>
    [[nodiscard]] T *create(Args &&...args) const {
        return ::new (place<T>()) T(std::forward<Args>(args)...);
    }
    /// One object whose destructor runs when the pointer dies; the bytes go with the arena.
    struct Destroy {
        template <class T> void operator()(T *object) const noexcept { std::destroy_at(object); }
    };
    template <class T, class... Args>
    [[nodiscard]] std::unique_ptr<T, Destroy> make_unique(Args &&...args) const {
        return std::unique_ptr<T, Destroy>(::new (place<T>()) T(std::forward<Args>(args)...));
    }
    /// A copy of the text, terminated.
    [[nodiscard]] std::string_view copy(std::string_view text) const {
        auto *bytes = static_cast<char *>(allocate(text.size() + 1));
        text.copy(bytes, text.size());
        bytes[text.size()] = '\0';
        return {bytes, text.size()};
    }

    /// The block is no longer needed; the youngest one is reused, any other only noted.
    void deallocate(void *block, std::size_t size) const noexcept {
        hf_arena_free(arena_, block, size);
    }
    /// Changes the size of the youngest block where it stands; false if that cannot be.
    [[nodiscard]] bool resize(void *block, std::size_t old_size,
                              std::size_t new_size) const noexcept {
        return hf_arena_resize(arena_, block, old_size, new_size) != 0;
    }

    /// Every block dies; the memory stays. Throws Busy while something is borrowed.
    void reset() const { check_status(hf_arena_reset(arena_)); }
    /// Reset, and the memory goes back to the system.
    void release() const { check_status(hf_arena_release(arena_)); }
    [[nodiscard]] Mark mark() const {
        Mark mark{};
        check_status(hf_arena_mark(arena_, &mark));
        return mark;
    }
    /// Throws InvalidArgument for a mark that ended, Busy below a borrow.
    void rewind(const Mark &mark) const { check_status(hf_arena_rewind(arena_, &mark)); }
    /// The same, and the mark ends.
    void leave(const Mark &mark) const { check_status(hf_arena_leave(arena_, &mark)); }

    [[nodiscard]] bool owns(const void *address) const noexcept {
        return hf_arena_owns(arena_, address) != 0;
    }
    [[nodiscard]] Stats stats() const {
        Stats stats{};
        check_status(hf_arena_stats(arena_, &stats));
        return stats;
    }
    [[nodiscard]] AllocationStats figures() const {
        AllocationStats figures{};
        check_status(hf_arena_figures_of(arena_, &figures));
        return figures;
    }
    /// Verifies header, footer and canaries; returns the number of damaged places.
    [[nodiscard]] std::size_t check() const {
        std::size_t found = 0;
        const Status status = hf_arena_check(arena_, &found);
        if (status != HF_E_CORRUPT) check_status(status);
        return found;
    }
    /// The last operations, oldest first; empty without log_operations.
    [[nodiscard]] std::vector<hf_arena_operation> log() const {
        std::vector<hf_arena_operation> operations(HF_ARENA_LOG_MAX);
        operations.resize(hf_arena_log(arena_, operations.data(), operations.size()));
        return operations;
    }
    [[nodiscard]] std::uint64_t borrows() const noexcept { return hf_arena_borrows(arena_); }
    [[nodiscard]] std::uint64_t id() const noexcept { return hf_arena_id(arena_); }
    [[nodiscard]] std::string_view name() const noexcept { return hf_arena_name(arena_); }

    [[nodiscard]] friend bool operator==(ArenaRef a, ArenaRef b) noexcept {
        return a.arena_ == b.arena_;
    }

private:
    template <class T> [[nodiscard]] void *place() const {
        if constexpr (alignof(T) <= HF_ARENA_ALIGNMENT)
            return allocate(sizeof(T));
        else
            return allocate_aligned(sizeof(T), alignof(T));
    }
    static void check_status(Status status) { hf::check(status); }

    hf_arena *arena_;
};

/// Owns one arena. Destroying it while something is borrowed ends the program: whoever borrowed would
/// look into memory that is gone.
class Arena : public ArenaRef {
public:
    explicit Arena(const ArenaOptions &options = ArenaOptions()) : ArenaRef(open(options)) {}
    explicit Arena(hf_arena_policy policy) : Arena(ArenaOptions(policy)) {}
    /// In memory of the caller, which must outlive the arena.
    explicit Arena(std::span<std::byte> buffer, const ArenaOptions &options = ArenaOptions())
        : ArenaRef(open_on(buffer, options)) {}

    Arena(Arena &&other) noexcept : ArenaRef(std::exchange(other.self(), ArenaRef(nullptr))) {}
    Arena &operator=(Arena &&other) noexcept {
        if (this != &other) {
            destroy();
            self() = std::exchange(other.self(), ArenaRef(nullptr));
        }
        return *this;
    }
    Arena(const Arena &) = delete;
    Arena &operator=(const Arena &) = delete;
    ~Arena() { destroy(); }

    /// False after it was moved from.
    [[nodiscard]] explicit operator bool() const noexcept { return native() != nullptr; }
    [[nodiscard]] ArenaRef ref() const noexcept { return *this; }

private:
    ArenaRef &self() noexcept { return *this; }
    static hf_arena *open(const ArenaOptions &options) {
        options.check();
        hf_arena *arena = nullptr;
        hf::check(hf_arena_create(&options, &arena));
        return arena;
    }
    static hf_arena *open_on(std::span<std::byte> buffer, const ArenaOptions &options) {
        options.check();
        hf_arena *arena = nullptr;
        hf::check(hf_arena_create_on(buffer.data(), buffer.size(), &options, &arena),
                  "the buffer is too small for an arena");
        return arena;
    }
    void destroy() noexcept {
        if (native() != nullptr && hf_arena_destroy(native()) == HF_E_BUSY) std::terminate();
    }
};

static_assert(sizeof(Arena) == sizeof(void *) && sizeof(ArenaRef) == sizeof(void *));

// --- policies at compile time ----------------------------------------------------------------

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
/// A policy has any of: alignment, use_guard_pages, min_size, zero, prefetch, base.
template <class Policy = HighPerformancePolicy> class BumpAllocator : public Arena {
public:
    static constexpr std::size_t alignment = detail::policy_alignment<Policy>();
    static constexpr std::size_t min_size = detail::policy_min_size<Policy>();
    static constexpr std::size_t prefetch = detail::policy_prefetch<Policy>();
    static_assert(alignment >= 16 && alignment <= HF_ARENA_ALIGNMENT_MAX &&
                      (alignment & (alignment - 1)) == 0,
                  "alignment is a power of two from 16 to 2 MiB");

    /// `capacity` bytes usable at once; it grows beyond them.
    explicit BumpAllocator(std::size_t capacity) : Arena(options(capacity)) {}
    /// In memory of the caller.
    explicit BumpAllocator(std::span<std::byte> buffer) : Arena(buffer, options(65536)) {}

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
        return options;
    }

    [[nodiscard]] void *allocate(std::size_t size) const {
        return allocate_aligned(size, alignment);
    }
    [[nodiscard]] void *allocate_aligned(std::size_t size, std::size_t at) const {
        if constexpr (min_size > 1) size = size < min_size ? min_size : size;
        const std::size_t multiple = at < alignment ? alignment : at;
        void *block = multiple == HF_ARENA_ALIGNMENT
                          ? hf_arena_alloc(native(), size)
                          : hf_arena_alloc_aligned(native(), size, multiple);
        if (block == nullptr) [[unlikely]]
            detail::arena_refused(multiple);
        if constexpr (prefetch != 0)
            __builtin_prefetch(static_cast<const char *>(block) + size + prefetch, 1);
        return block;
    }
    [[nodiscard]] void *allocate_simd(std::size_t size) const {
        return allocate_aligned(size, HF_ARENA_SIMD);
    }
};

// --- scopes ----------------------------------------------------------------------------------

/// Marks the arena and rewinds it when left. Scopes nest; leaving one twice does nothing. A scope that
/// cannot rewind because something is borrowed leaves its blocks to the next reset.
class ArenaScope {
public:
    explicit ArenaScope(ArenaRef arena) : arena_(arena), mark_(arena.mark()) {}
    ArenaScope(const ArenaScope &) = delete;
    ArenaScope &operator=(const ArenaScope &) = delete;
    ~ArenaScope() {
        if (open_) (void)hf_arena_leave(arena_.native(), &mark_);
    }
    /// Rewinds now. Throws Busy or InvalidArgument where the destructor would be silent.
    void leave() {
        if (!open_) return;
        arena_.leave(mark_);
        open_ = false;
    }
    /// Back to the mark; the scope goes on.
    void rewind() const { arena_.rewind(mark_); }
    /// The blocks of the scope stay.
    void keep() noexcept { open_ = false; }
    [[nodiscard]] ArenaRef arena() const noexcept { return arena_; }
    [[nodiscard]] const Mark &mark() const noexcept { return mark_; }

private:
    ArenaRef arena_;
    Mark mark_;
    bool open_ = true;
};

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

// --- the standard library's two doors ----------------------------------------------------------

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
        detail::arena_refused(alignment);
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
