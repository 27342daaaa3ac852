/// heap.hpp - heaps as C++ owns them.
///
///   hf::Heap       owns one heap: move-only, one pointer wide; its blocks die with it
///   hf::HeapRef    names a heap without owning it: copyable, one pointer wide
///   hf::unique_ptr owns one object on any heap: one pointer wide, the deleter has no state
///
/// Caveats
///  - A heap must outlive every block, owner, Allocator and MemoryResource that stands on it. What
///    outlives it all the same is reported (INVALID_FREE) when it is freed, not followed.
///  - allocate throws OutOfMemory (a std::bad_alloc); try_allocate returns null.
/// Talks to    heap.h, options.hpp, stats.hpp, error.hpp.
/// Threads     every function may be called from any thread; a heap may be destroyed once no other
///             thread uses it.
/// Fails with  OutOfMemory, InvalidArgument. Destructors and deallocate never throw.
#ifndef HOLDFAST_HEAP_HPP
#define HOLDFAST_HEAP_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <holdfast/error.hpp>
#include <holdfast/heap.h>
#include <holdfast/options.hpp>
#include <holdfast/stats.hpp>

namespace hf {

/// Alignment of every block that does not ask for more [bytes].
inline constexpr std::size_t default_alignment = 16;

/// Destroys an object and gives its block back, whatever heap it came from.
template <class T> struct Delete {
    constexpr Delete() noexcept = default;
    /// A derived object may be owned through its base if the base can destroy it.
    template <class U>
    requires(std::is_convertible_v<U *, T *> &&std::has_virtual_destructor_v<T>) constexpr Delete(
        const Delete<U> &) noexcept {}

    void operator()(T *object) const noexcept {
        void *block = const_cast<std::remove_cv_t<T> *>(object);
        /* A base of a larger object may stand in the middle of the block: ask for its start. */
        if constexpr (std::is_polymorphic_v<T>)
            block = const_cast<void *>(dynamic_cast<const volatile void *>(object));
        std::destroy_at(object);
        hf_free(block);
    }
};

/// Arrays: destructors of elements are not run, hence the constraint.
template <class T> struct Delete<T[]> {
    static_assert(std::is_trivially_destructible_v<T>, "the count of elements is not kept");
    void operator()(T *first) const noexcept { hf_free(const_cast<std::remove_cv_t<T> *>(first)); }
};

template <class T> using unique_ptr = std::unique_ptr<T, Delete<T>>;

namespace detail {

/// Everything that can be done with a heap, for those who hold its pointer.
template <class Self> class HeapOperations {
public:
    /// Bytes at a multiple of `alignment` (a power of two). Throws OutOfMemory or InvalidArgument.
    [[nodiscard]] void *allocate(std::size_t size,
                                 std::size_t alignment = default_alignment) const {
        void *block = try_allocate(size, alignment);
        if (block == nullptr) [[unlikely]] {
            if (!is_alignment(alignment)) raise(HF_E_INVALID, "alignment must be a power of two");
            throw OutOfMemory::refused();
        }
        return block;
    }

    /// The same; null instead of an exception.
    [[nodiscard]] void *try_allocate(std::size_t size,
                                     std::size_t alignment = default_alignment) const noexcept {
        return alignment <= default_alignment && is_alignment(alignment)
                   ? hf_heap_malloc(native(), size)
                   : hf_heap_aligned_alloc(native(), alignment, size);
    }

    /// `count` times `size` bytes, all zero.
    [[nodiscard]] void *allocate_zeroed(std::size_t count, std::size_t size) const {
        void *block = hf_heap_calloc(native(), count, size);
        if (block == nullptr) [[unlikely]]
            throw OutOfMemory::refused();
        return block;
    }

    /// Grows or shrinks a block; it may move. On OutOfMemory the old block is as it was. Size 0 keeps
    /// a block of its own, unlike realloc's, which frees.
    [[nodiscard]] void *reallocate(void *block, std::size_t size) const {
        void *moved = hf_heap_realloc(native(), block, size != 0 ? size : 1);
        if (moved == nullptr) [[unlikely]]
            throw OutOfMemory::refused();
        return moved;
    }

    /// Gives a block back; one of another heap is a FOREIGN_FREE report.
    void deallocate(void *block) const noexcept { hf_heap_free(native(), block); }

    /// The same, with the size that was asked for; another size is a SIZE_MISMATCH report.
    void deallocate(void *block, std::size_t size) const noexcept {
        if (block == nullptr) return;
        if (hf_heap_of(block) == native())
            hf_free_sized(block, size);
        else
            hf_heap_free(native(), block); /* not ours: this is the call that says so */
    }

    /// One object on this heap.
    template <class T, class... Args>
    requires(!std::is_array_v<T>) [[nodiscard]] unique_ptr<T> make_unique(Args &&...args) const {
        void *block = allocate(sizeof(T), alignof(T));
        try {
            return unique_ptr<T>(::new (block) T(std::forward<Args>(args)...));
        } catch (...) {
            deallocate(block);
            throw;
        }
    }

    /// `count` elements on this heap, value-initialised.
    template <class T>
    requires(
        std::is_unbounded_array_v<T> &&std::is_trivially_destructible_v<std::remove_extent_t<T>>)
        [[nodiscard]] unique_ptr<T> make_unique(std::size_t count) const {
        using Element = std::remove_extent_t<T>;
        std::size_t size = 0;
        if (__builtin_mul_overflow(count, sizeof(Element), &size)) [[unlikely]]
            throw OutOfMemory::refused();
        auto *first = static_cast<Element *>(allocate(size, alignof(Element)));
        try {
            std::uninitialized_value_construct_n(first, count);
        } catch (...) {
            deallocate(first);
            throw;
        }
        return unique_ptr<T>(first);
    }

    /// True if `block` is a block of this heap.
    [[nodiscard]] bool owns(const void *block) const noexcept {
        return hf_heap_of(block) == native();
    }

    [[nodiscard]] Stats stats() const {
        Stats stats{};
        check_status(hf_heap_stats(native(), &stats));
        return stats;
    }

    /// One element per size class of the small tier.
    [[nodiscard]] std::vector<ClassStats> class_stats() const {
        std::size_t count = 0;
        check_status(hf_heap_class_stats(native(), nullptr, 0, &count));
        std::vector<ClassStats> classes(count);
        check_status(hf_heap_class_stats(native(), classes.data(), classes.size(), &count));
        return classes;
    }

    /// Verifies every block; damage is reported. Returns the number of damaged blocks.
    [[nodiscard]] std::size_t check() const {
        std::size_t found = 0;
        const Status status = hf_heap_check(native(), &found);
        if (status != HF_E_CORRUPT) check_status(status);
        return found;
    }

    /// Gives free memory back to the system. Returns the bytes given back.
    std::size_t reclaim() const noexcept { return hf_heap_reclaim(native()); }

    /// Bytes the heap may map: never more than `hard`; above `soft` it reclaims. 0 is no limit.
    void limit(std::uint64_t hard, std::uint64_t soft = 0) const {
        check_status(hf_heap_limit(native(), hard, soft, nullptr, nullptr));
    }

    /// The same; `on_soft(HeapRef, bytes_mapped)` runs each time the soft limit is crossed, on the
    /// thread that crossed it. It must outlive the limit and must not throw.
    template <class Callback>
    requires(!std::is_const_v<Callback>) void limit(std::uint64_t hard, std::uint64_t soft,
                                                    Callback &on_soft) const;

    [[nodiscard]] std::uint64_t id() const noexcept { return hf_heap_id(native()); }
    [[nodiscard]] std::string_view name() const noexcept {
        const char *text = hf_heap_name(native());
        return text ? text : "";
    }

private:
    static constexpr bool is_alignment(std::size_t alignment) noexcept {
        return alignment != 0 && (alignment & (alignment - 1)) == 0;
    }
    static void check_status(Status status) { hf::check(status); }
    [[nodiscard]] hf_heap *native() const noexcept {
        return static_cast<const Self *>(this)->native();
    }
};

} // namespace detail

/// Names a heap without owning it. Equal if they name the same heap.
class HeapRef : public detail::HeapOperations<HeapRef> {
public:
    explicit HeapRef(hf_heap *heap) noexcept : heap_(heap) {}
    [[nodiscard]] hf_heap *native() const noexcept { return heap_; }
    [[nodiscard]] friend bool operator==(HeapRef a, HeapRef b) noexcept {
        return a.heap_ == b.heap_;
    }

private:
    hf_heap *heap_;
};

/// The heap of the whole process; what malloc uses where the library is preloaded.
[[nodiscard]] inline HeapRef default_heap() noexcept {
    return HeapRef(hf_heap_default());
}

/// Owns one heap. Its blocks die with it; destructors of objects in them are not run.
class Heap : public detail::HeapOperations<Heap> {
public:
    static constexpr int any_node = -1;

    explicit Heap(const Options &options = Options(), const char *name = nullptr,
                  int node = any_node) {
        options.check();
        hf::check(hf_heap_create(options.native(), name, node, &heap_));
    }
    explicit Heap(const char *name) : Heap(Options(), name) {}

    Heap(Heap &&other) noexcept : heap_(std::exchange(other.heap_, nullptr)) {}
    Heap &operator=(Heap &&other) noexcept {
        if (this != &other) {
            destroy();
            heap_ = std::exchange(other.heap_, nullptr);
        }
        return *this;
    }
    Heap(const Heap &) = delete;
    Heap &operator=(const Heap &) = delete;
    ~Heap() { destroy(); }

    /// False after it was moved from; then nothing but assignment and destruction is allowed.
    [[nodiscard]] explicit operator bool() const noexcept { return heap_ != nullptr; }
    [[nodiscard]] hf_heap *native() const noexcept { return heap_; }
    [[nodiscard]] HeapRef ref() const noexcept { return HeapRef(heap_); }
    operator HeapRef() const noexcept { return ref(); }

private:
    void destroy() noexcept {
        /* E_INVALID would mean a pointer that is no heap: then nothing is ours to give back. */
        if (heap_ != nullptr) (void)hf_heap_destroy(heap_);
    }

    hf_heap *heap_ = nullptr;
};

static_assert(sizeof(Heap) == sizeof(void *) && sizeof(HeapRef) == sizeof(void *));
static_assert(sizeof(unique_ptr<int>) == sizeof(void *), "the deleter has no state");

template <class Self> template <class Callback>
requires(!std::is_const_v<Callback>) void detail::HeapOperations<Self>::limit(
    std::uint64_t hard, std::uint64_t soft, Callback &on_soft) const {
    static_assert(std::is_invocable_v<Callback &, HeapRef, std::uint64_t>);
    const hf_limit_callback call = [](hf_heap *heap, std::uint64_t bytes, void *context) noexcept {
        (*static_cast<Callback *>(context))(HeapRef(heap), bytes);
    };
    check_status(hf_heap_limit(native(), hard, soft, call, std::addressof(on_soft)));
}

/// One object, or an array, on the default heap.
template <class T, class... Args> [[nodiscard]] unique_ptr<T> make_unique(Args &&...args) {
    return default_heap().make_unique<T>(std::forward<Args>(args)...);
}

/// The heap a block lives in; a reference that names none (native() is null) if there is none.
[[nodiscard]] inline HeapRef heap_of(const void *block) noexcept {
    return HeapRef(hf_heap_of(block));
}

/// Gives back to the system whatever is free in any heap. Returns the bytes given back.
inline std::size_t reclaim() noexcept {
    return hf_reclaim();
}

/// True in a process whose malloc is this library's.
[[nodiscard]] inline bool is_active() noexcept {
    return hf_is_active() != 0;
}

} // namespace hf

#endif
