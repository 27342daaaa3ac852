/// arena.hpp - arenas as C++ owns them.
///
///   hf::Arena                 owns one arena: move-only, one pointer wide; its blocks die with it
///   hf::ArenaRef              names one without owning it
///   hf::ArenaScope            mark, and rewind when it is left
///
/// Caveats
///  - Destructors of objects in an arena are not run; array and create therefore want types that
///    need none. make_unique runs them.
///  - An arena must outlive everything that stands on it.
/// Talks to    arena.h, error.hpp, stats.hpp.   Used by bump_allocator.hpp, arena_blocks.hpp, arena_memory.hpp.
/// Threads     as the arena: one at a time, or any number with ArenaOptions::thread_safe.
/// Fails with  ArenaFull (an OutOfMemory, a std::bad_alloc), InvalidArgument, Busy. Destructors never throw.
#ifndef HOLDFAST_ARENA_HPP
#define HOLDFAST_ARENA_HPP

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <span>
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

/// An arena said no: what was asked for, and what was left for it without growth [bytes].
class ArenaFull final : public OutOfMemory {
public:
    explicit ArenaFull(const hf_arena *arena) noexcept {
        hf_arena_last_refusal(arena, &asked_, &left_);
        /* No allocation here. */
        std::snprintf(text_, sizeof text_,
                      "arena '%s' is full: %zu bytes were asked for, %zu are left",
                      hf_arena_name(arena), asked_, left_);
    }
    [[nodiscard]] std::size_t asked() const noexcept { return asked_; }
    [[nodiscard]] std::size_t left() const noexcept { return left_; }
    [[nodiscard]] const char *what() const noexcept override { return text_; }

private:
    std::size_t asked_ = 0, left_ = 0;
    char text_[128];
};

namespace detail {

[[noreturn]] inline void arena_refused(const hf_arena *arena, std::size_t alignment) {
    /* 0 is the arena's own. */
    if ((alignment & (alignment - 1)) != 0 || alignment > HF_ARENA_ALIGNMENT_MAX)
        raise(HF_E_INVALID, "alignment must be a power of two up to 2 MiB");
    throw ArenaFull(arena);
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
            detail::arena_refused(arena_, HF_ARENA_ALIGNMENT);
        return block;
    }
    /// Bytes at a multiple of `alignment`, a power of two up to 2 MiB.
    [[nodiscard]] void *allocate_aligned(std::size_t size, std::size_t alignment) const {
        void *block = hf_arena_alloc_aligned(arena_, size, alignment);
        if (block == nullptr) [[unlikely]]
            detail::arena_refused(arena_, alignment);
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
            detail::arena_refused(arena_, alignment);
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
            detail::arena_refused(arena_, alignment);
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

} // namespace hf

#endif
