/// pool.hpp - object pools as C++ owns them.
///
///   hf::Pool<Particle> pool{hf::PoolOptions{}.capacity(1000).wait()};
///   auto particle = pool.make_unique(x, y);            gives its block back when it dies
///   Particle *raw = pool.acquire(x, y);  pool.release(raw);
///
///   hf::BlockPool     the same for blocks of bytes: acquire, release, bulk
///   hf::PoolResource  a std::pmr::memory_resource for node-based containers on one pool
///
/// Caveats
///  - A pool must outlive its objects. Destroying it with some out gives their memory back without
///    running their destructors, as a heap does.
///  - A deleter names its pool: two pointers per unique_ptr, since no block says where it came from.
/// Talks to    pool.h, error.hpp, stats.hpp.
/// Threads     every function from any thread; destruction and moves when no other thread uses it.
/// Fails with  OutOfMemory (exhausted, or the system refused), Timeout, InvalidArgument.
#ifndef HOLDFAST_POOL_HPP
#define HOLDFAST_POOL_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include <holdfast/error.hpp>
#include <holdfast/pool.h>
#include <holdfast/stats.hpp>

namespace hf {

using PoolFigures = hf_pool_figures;

/// What a pool is made with; every setter returns the options.
class PoolOptions {
public:
    explicit PoolOptions(std::size_t block_size = 0) noexcept {
        hf_pool_options_init(&options_, block_size);
    }
    /// Bytes of a block; hf::Pool<T> sets it.
    PoolOptions &block_size(std::size_t size) noexcept { return set(options_.block_size, size); }
    PoolOptions &alignment(std::size_t value) noexcept { return set(options_.alignment, value); }
    /// Blocks that can be out at once; more is OutOfMemory unless wait() or grow() is said, too.
    PoolOptions &capacity(std::uint64_t blocks) noexcept {
        options_.on_exhausted = blocks != 0 ? HF_POOL_FAIL : HF_POOL_GROW;
        return set(options_.capacity, blocks);
    }
    /// An exhausted pool grows.
    PoolOptions &grow() noexcept { return set(options_.on_exhausted, HF_POOL_GROW); }
    /// An exhausted pool lets acquire wait: as long as it takes, or Timeout after `limit`.
    PoolOptions &wait(std::chrono::nanoseconds limit = std::chrono::nanoseconds::zero()) noexcept {
        options_.wait_ns = static_cast<std::uint64_t>(limit.count());
        return set(options_.on_exhausted, HF_POOL_WAIT);
    }
    PoolOptions &sanitize(hf_pool_sanitize how) noexcept { return set(options_.sanitize, how); }
    PoolOptions &node(int node) noexcept { return set(options_.node, node); }
    /// For reports; must live until the pool is made.
    PoolOptions &name(const char *name) noexcept { return set(options_.name, name); }
    [[nodiscard]] const hf_pool_options *native() const noexcept { return &options_; }

private:
    template <class Field, class Value> PoolOptions &set(Field &field, Value value) noexcept {
        field = static_cast<Field>(value);
        return *this;
    }
    hf_pool_options options_;
};

/// Owns one pool of blocks of bytes: move-only, one pointer wide.
class BlockPool {
public:
    explicit BlockPool(const PoolOptions &options) {
        hf::check(hf_pool_create(options.native(), &pool_));
    }
    /// In memory of the caller, which must outlive the pool; as many blocks as fit, or the capacity.
    BlockPool(std::span<std::byte> memory, const PoolOptions &options) {
        hf::check(hf_pool_create_on(memory.data(), memory.size(), options.native(), &pool_),
                  "an option is out of range, or the memory is too small for the pool");
    }
    BlockPool(BlockPool &&other) noexcept : pool_(std::exchange(other.pool_, nullptr)) {}
    BlockPool &operator=(BlockPool &&other) noexcept {
        if (this != &other) {
            destroy();
            pool_ = std::exchange(other.pool_, nullptr);
        }
        return *this;
    }
    BlockPool(const BlockPool &) = delete;
    BlockPool &operator=(const BlockPool &) = delete;
    ~BlockPool() { destroy(); }

    /// One block; OutOfMemory or Timeout as the options say.
    [[nodiscard]] void *acquire() const {
        void *block = nullptr;
        hf::check(hf_pool_acquire(pool_, &block));
        return block;
    }
    /// The same; null instead of an exception, and never waits.
    [[nodiscard]] void *try_acquire() const noexcept {
        void *block = nullptr;
        return hf_pool_acquire_within(pool_, 0, &block) == HF_OK ? block : nullptr;
    }
    /// Waits at most `limit`; null if that was not enough.
    [[nodiscard]] void *acquire_within(std::chrono::nanoseconds limit) const {
        void *block = nullptr;
        const auto wait = static_cast<std::uint64_t>(limit.count() > 0 ? limit.count() : 0);
        const Status status = hf_pool_acquire_within(pool_, wait, &block);
        if (status != HF_E_TIMEOUT) hf::check(status);
        return block;
    }
    /// Fills the span or throws and fills nothing.
    void acquire(std::span<void *> blocks) const {
        hf::check(hf_pool_acquire_bulk(pool_, blocks.data(), blocks.size()));
    }
    /// Gives a block back; what is none of this pool, or not out, is a report and false.
    bool release(void *block) const noexcept { return hf_pool_release(pool_, block) == HF_OK; }
    bool release(std::span<void *const> blocks) const noexcept {
        return hf_pool_release_bulk(pool_, blocks.data(), blocks.size()) == HF_OK;
    }

    [[nodiscard]] bool owns(const void *address) const noexcept {
        return hf_pool_owns(pool_, address) != 0;
    }
    /// Blocks that are out; exact at rest.
    [[nodiscard]] std::size_t live() const noexcept { return hf_pool_live(pool_); }
    [[nodiscard]] std::size_t block_size() const noexcept { return hf_pool_block_size(pool_); }
    [[nodiscard]] std::string_view name() const noexcept { return hf_pool_name(pool_); }
    [[nodiscard]] std::uint64_t id() const noexcept { return hf_pool_id(pool_); }

    [[nodiscard]] Stats stats() const {
        Stats stats{};
        hf::check(hf_pool_stats(pool_, &stats));
        return stats;
    }
    [[nodiscard]] PoolFigures figures() const {
        PoolFigures figures{};
        hf::check(hf_pool_figures_of(pool_, &figures));
        return figures;
    }
    /// Verifies the pool; damage is reported. Returns how much was found.
    [[nodiscard]] std::size_t check() const {
        std::size_t found = 0;
        const Status status = hf_pool_check(pool_, &found);
        if (status != HF_E_CORRUPT) hf::check(status);
        return found;
    }
    /// Gives the memory of empty slabs back now. Returns the bytes.
    std::size_t trim() const noexcept { return hf_pool_trim(pool_); }

    /// False after it was moved from.
    [[nodiscard]] explicit operator bool() const noexcept { return pool_ != nullptr; }
    [[nodiscard]] hf_pool *native() const noexcept { return pool_; }

private:
    void destroy() noexcept {
        if (pool_ != nullptr) (void)hf_pool_destroy_forced(pool_);
    }

    hf_pool *pool_ = nullptr;
};

static_assert(sizeof(BlockPool) == sizeof(void *));

/// Destroys an object and gives its block back to its pool.
template <class T> class PoolDelete {
public:
    PoolDelete() noexcept = default;
    explicit PoolDelete(hf_pool *pool) noexcept : pool_(pool) {}
    void operator()(T *object) const noexcept {
        std::destroy_at(object);
        (void)hf_pool_release(pool_, const_cast<std::remove_cv_t<T> *>(object));
    }

private:
    hf_pool *pool_ = nullptr;
};

/// Owns one pool of objects of one type.
template <class T>
requires(std::is_object_v<T> && !std::is_array_v<T> && sizeof(T) <= HF_POOL_BLOCK_MAX &&
         alignof(T) <= HF_POOL_ALIGNMENT_MAX) class Pool {
public:
    using value_type = T;
    using unique_ptr = std::unique_ptr<T, PoolDelete<T>>;

    /// block_size and a smaller alignment in `options` are replaced by those of T.
    explicit Pool(PoolOptions options = PoolOptions()) : blocks_(fitted(options)) {}
    /// In memory of the caller, as BlockPool.
    explicit Pool(std::span<std::byte> memory, PoolOptions options = PoolOptions())
        : blocks_(memory, fitted(options)) {}

    /// An object that gives its block back when it dies.
    template <class... Args> [[nodiscard]] unique_ptr make_unique(Args &&...args) const {
        return unique_ptr(acquire(std::forward<Args>(args)...), PoolDelete<T>(blocks_.native()));
    }
    /// An object that release() ends.
    template <class... Args> [[nodiscard]] T *acquire(Args &&...args) const {
        void *block = blocks_.acquire();
        try {
            return ::new (block) T(std::forward<Args>(args)...);
        } catch (...) {
            (void)blocks_.release(block);
            throw;
        }
    }
    /// Runs the destructor and gives the block back. What is not out is a report and false; then no
    /// destructor runs.
    bool release(T *object) const noexcept {
        void *block = const_cast<std::remove_cv_t<T> *>(object);
        if (hf_pool_state(blocks_.native(), block) == HF_BLOCK_LIVE) std::destroy_at(object);
        return blocks_.release(block);
    }

    /// Figures, check, trim and blocks without objects.
    [[nodiscard]] const BlockPool &blocks() const noexcept { return blocks_; }
    [[nodiscard]] std::size_t live() const noexcept { return blocks_.live(); }

private:
    static PoolOptions &fitted(PoolOptions &options) noexcept {
        if (options.native()->alignment < alignof(T)) options.alignment(alignof(T));
        return options.block_size(sizeof(T));
    }

    BlockPool blocks_;
};

/// A std::pmr::memory_resource: what fits a block comes from the pool, the rest from `upstream`. Made
/// for std::pmr::list, map, set: their nodes are of one size. Owns neither.
class PoolResource final : public std::pmr::memory_resource {
public:
    explicit PoolResource(const BlockPool &pool, std::pmr::memory_resource *upstream =
                                                     std::pmr::get_default_resource()) noexcept
        : pool_(pool.native()), upstream_(upstream) {
        hf_pool_figures figures{};
        (void)hf_pool_figures_of(pool_, &figures);
        size_ = figures.block_size;
        alignment_ = figures.alignment;
    }
    [[nodiscard]] std::pmr::memory_resource *upstream() const noexcept { return upstream_; }

private:
    [[nodiscard]] bool fits(std::size_t size, std::size_t alignment) const noexcept {
        return size <= size_ && alignment <= alignment_;
    }
    void *do_allocate(std::size_t size, std::size_t alignment) override {
        if (!fits(size, alignment)) return upstream_->allocate(size, alignment);
        void *block = nullptr;
        hf::check(hf_pool_acquire(pool_, &block));
        return block;
    }
    void do_deallocate(void *block, std::size_t size, std::size_t alignment) override {
        if (!fits(size, alignment))
            upstream_->deallocate(block, size, alignment);
        else
            (void)hf_pool_release(pool_, block);
    }
    [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override {
        const auto *peer = dynamic_cast<const PoolResource *>(&other);
        return peer != nullptr && peer->pool_ == pool_ && *peer->upstream_ == *upstream_;
    }

    hf_pool *pool_;
    std::pmr::memory_resource *upstream_;
    std::size_t size_ = 0, alignment_ = 0;
};

} // namespace hf

#endif
