/// stack.hpp - guarded stacks as C++ owns them, and as allocators of other fiber libraries.
///
///   hf::StackPool pool{{.stack_size = 256 << 10, .name = "parsers"}};
///   hf::Stack stack = pool.take();                       // given back when it goes out of scope
///   boost::context::fiber f{std::allocator_arg, pool.allocator<boost::context::stack_context>(), fn};
///
/// Caveats
///  - The pool outlives its stacks and allocators. Destroying a pool with taken stacks ends the
///    process: their owners would run on unmapped memory.
/// Talks to    stack.h, error.hpp, stats.hpp.
/// Threads     a pool from any thread; a Stack belongs to one owner at a time.
/// Fails with  OutOfMemory (refused, or a limit), InvalidArgument. Destructors never throw.
/// Source      the StackAllocator concept: Boost.Context, "Stack allocation".
#ifndef HOLDFAST_STACK_HPP
#define HOLDFAST_STACK_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

#include <holdfast/error.hpp>
#include <holdfast/stack.h>
#include <holdfast/stats.hpp>

namespace hf {

using StackPoolInfo = hf_stack_pool_info;

/// What a pool is made with; zeros are the defaults of stack.h.
struct StackPoolOptions {
    std::size_t stack_size = 0;  ///< usable bytes of each stack
    std::size_t guard_size = 0;  ///< bytes that fault below each
    std::uint32_t count_max = 0; ///< stacks at once
    bool paint = false;          ///< exact high water; writes after give are reported
    const char *name = nullptr;  ///< for reports
};

/// One taken stack. Move-only; gives it back.
class Stack {
public:
    Stack() noexcept = default;
    Stack(Stack &&other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), stack_(other.stack_) {}
    Stack &operator=(Stack &&other) noexcept {
        if (this != &other) {
            give();
            pool_ = std::exchange(other.pool_, nullptr);
            stack_ = other.stack_;
        }
        return *this;
    }
    ~Stack() { give(); }

    /// The top, exclusive: frames go below it.
    [[nodiscard]] void *top() const noexcept { return stack_.stack_ptr; }
    /// Usable bytes below the top.
    [[nodiscard]] std::size_t size() const noexcept { return stack_.size; }
    [[nodiscard]] void *guard_low() const noexcept { return stack_.guard_low; }
    [[nodiscard]] void *guard_high() const noexcept { return stack_.guard_high; }
    [[nodiscard]] const hf_stack &native() const noexcept { return stack_; }
    [[nodiscard]] explicit operator bool() const noexcept { return pool_ != nullptr; }

    /// For reports; 31 bytes of it are kept.
    void name(const char *text) { check(hf_stack_name(pool_, &stack_, text)); }
    /// Most bytes in use at once, see hf_stack_high_water.
    [[nodiscard]] std::size_t high_water() const {
        std::size_t bytes = 0;
        check(hf_stack_high_water(pool_, &stack_, &bytes));
        return bytes;
    }
    /// Gives it back before the destructor does.
    void give() noexcept {
        if (pool_ != nullptr) (void)hf_stack_give(pool_, &stack_);
        pool_ = nullptr;
    }

private:
    friend class StackPool;
    Stack(hf_stack_pool *pool, const hf_stack &stack) noexcept : pool_(pool), stack_(stack) {}

    hf_stack_pool *pool_ = nullptr;
    hf_stack stack_{};
};

/// What an allocator hands out where the other library does not say what it wants.
struct StackContext {
    std::size_t size = 0;
    void *sp = nullptr;
};

/// Boost.Context's StackAllocator concept on a pool: copyable, one pointer wide, does not own it.
template <class Context = StackContext> class BasicStackAllocator {
public:
    struct traits_type {
        [[nodiscard]] static bool is_unbounded() noexcept { return true; }
        [[nodiscard]] static std::size_t page_size() noexcept { return 4096; }
        [[nodiscard]] static std::size_t default_size() noexcept { return std::size_t{64} << 10; }
        [[nodiscard]] static std::size_t minimum_size() noexcept { return 4096; }
        [[nodiscard]] static std::size_t maximum_size() noexcept { return std::size_t{1} << 40; }
    };

    /// The process-wide pool of 64 KiB stacks.
    BasicStackAllocator() : pool_(hf_stack_pool_default()) {
        if (pool_ == nullptr) throw OutOfMemory();
    }
    explicit BasicStackAllocator(hf_stack_pool *pool) noexcept : pool_(pool) {}
    template <class Other>
    BasicStackAllocator(const BasicStackAllocator<Other> &other) noexcept : pool_(other.pool()) {}

    [[nodiscard]] Context allocate() {
        hf_stack stack;
        check(hf_stack_take(pool_, &stack));
        Context context;
        context.size = stack.size;
        context.sp = stack.stack_ptr;
        return context;
    }
    /// A context that is no stack of the pool, or not taken, is reported and not followed.
    void deallocate(Context &context) noexcept {
        hf_stack stack{};
        const auto inside = reinterpret_cast<std::uintptr_t>(context.sp) - 1;
        if (hf_stack_find(pool_, reinterpret_cast<const void *>(inside), &stack) != HF_OK)
            stack.index = UINT32_MAX;
        stack.stack_ptr = context.sp; // what give compares
        (void)hf_stack_give(pool_, &stack);
        context.sp = nullptr;
        context.size = 0;
    }
    [[nodiscard]] hf_stack_pool *pool() const noexcept { return pool_; }

private:
    hf_stack_pool *pool_;
};

using stack_allocator = BasicStackAllocator<>;

/// Owns one pool: move-only, one pointer wide.
class StackPool {
public:
    explicit StackPool(const StackPoolOptions &options = {}) {
        hf_stack_pool_options native;
        hf_stack_pool_options_init(&native);
        if (options.stack_size != 0) native.stack_size = options.stack_size;
        if (options.guard_size != 0) native.guard_size = options.guard_size;
        if (options.count_max != 0) native.count_max = options.count_max;
        if (options.name != nullptr) native.name = options.name;
        native.paint = options.paint;
        check(hf_stack_pool_create(&native, &pool_));
    }
    /// With every option of the C API.
    [[nodiscard]] static StackPool make(const hf_stack_pool_options &options) {
        StackPool pool(nullptr);
        check(hf_stack_pool_create(&options, &pool.pool_));
        return pool;
    }
    StackPool(StackPool &&other) noexcept : pool_(std::exchange(other.pool_, nullptr)) {}
    StackPool &operator=(StackPool &&other) noexcept {
        std::swap(pool_, other.pool_);
        return *this;
    }
    ~StackPool() {
        if (hf_stack_pool_destroy(pool_) != HF_OK) std::terminate();
    }

    [[nodiscard]] Stack take() {
        hf_stack stack;
        check(hf_stack_take(pool_, &stack));
        return Stack(pool_, stack);
    }
    /// For boost::context: allocator<boost::context::stack_context>().
    template <class Context = StackContext>
    [[nodiscard]] BasicStackAllocator<Context> allocator() const noexcept {
        return BasicStackAllocator<Context>(pool_);
    }
    /// Memory of free stacks goes back; returns the bytes.
    std::size_t trim() noexcept { return hf_stack_pool_trim(pool_); }
    [[nodiscard]] Stats stats() const {
        Stats stats{};
        check(hf_stack_pool_stats(pool_, &stats));
        return stats;
    }
    [[nodiscard]] StackPoolInfo info() const {
        StackPoolInfo info{};
        check(hf_stack_pool_info_get(pool_, &info));
        return info;
    }
    [[nodiscard]] const char *name() const noexcept { return hf_stack_pool_name(pool_); }
    [[nodiscard]] hf_stack_pool *native() const noexcept { return pool_; }

private:
    explicit StackPool(std::nullptr_t) noexcept {}

    hf_stack_pool *pool_ = nullptr;
};

} // namespace hf

#endif
