/// store.hpp - array memory: 64-byte aligned blocks over any source, with free lists by size class.
///
///   source --obtain--> | header 64 | data ... |     data is a multiple of 64
///   root scope <- scope <- scope (top)              a free block waits in the scope it came from
///
/// A bump arena cannot take `r = a + b` in a loop: each new r lies above the old one. So blocks that
/// die go to the free list of their size class and the next array takes them.
///
/// Invariants  a block counts as live in exactly one scope; leaving a scope forgets its free blocks, so
///             it needs live == 0. The header of a live block names its scope and thereby its store:
///             whoever frees it needs no other context. The source is pinned while blocks live.
/// Talks to    heap_state.hpp, std::pmr.   Used by array_handler.hpp, arena_state.hpp, resources.hpp.
/// Threads     any; one lock, never held while Python may run. NumPy calls with the GIL held.
/// Fails with  null; the caller says why.
#ifndef HOLDFAST_BINDINGS_STORE_HPP
#define HOLDFAST_BINDINGS_STORE_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

class Store;

namespace array_class {

/// Up to 1 KiB in steps of 64 bytes, then eight classes per doubling.
inline constexpr std::size_t step = 64, linear_max = 1024, linear = linear_max / step;
inline constexpr std::size_t count = linear + 8 * 37;

inline std::size_t of(std::size_t bytes) noexcept {
    if (bytes <= linear_max) return (bytes + step - 1) / step - 1;
    const unsigned top = 63U - static_cast<unsigned>(__builtin_clzll(bytes - 1));
    return linear + (top - 10) * 8 + (((bytes - 1) >> (top - 3)) & 7);
}
inline std::size_t size(std::size_t index) noexcept {
    if (index < linear) return (index + 1) * step;
    const std::size_t over = index - linear;
    return (std::size_t{9} + over % 8) << (over / 8 + 7);
}

} // namespace array_class

struct Scope;

/// Stands before the data of every block. The first line of the cache line is all that a free needs.
struct alignas(64) BlockHeader {
    Scope *scope;       /* it counts there             */
    std::size_t size;   /* bytes asked for             */
    void *base;         /* what the source gave        */
    std::size_t extent; /* bytes the source gave       */
    BlockHeader *next;  /* free list                   */
    std::uint32_t index;
    std::uint32_t state; /* live_mark or free_mark     */

    static constexpr std::uint32_t live_mark = 0x4c495645, free_mark = 0x46524545;
    [[nodiscard]] void *data() noexcept { return this + 1; }
    static BlockHeader *of(void *data) noexcept { return static_cast<BlockHeader *>(data) - 1; }
    /// Bytes behind the header.
    [[nodiscard]] std::size_t room() noexcept {
        return static_cast<std::size_t>(static_cast<char *>(base) + extent -
                                        static_cast<char *>(data()));
    }
};
static_assert(sizeof(BlockHeader) == 64);

/// One level of a store. Only arenas have more than the root.
struct Scope {
    Store *store = nullptr;
    Scope *merged_into = nullptr; /* it was left with live blocks: they count there now */
    Scope *below = nullptr;       /* towards the root                                  */
    long live = 0;                /* blocks and views that are alive                    */
    std::uint64_t generation = 0; /* grows when its memory is taken back                */
    std::uint64_t filled[(array_class::count + 63) / 64] = {}; /* lists that are not empty */
    std::size_t cached = 0;      /* bytes in the lists                                 */
    std::vector<Scope *> merged; /* scopes that were merged into this one             */
    BlockHeader *lists[array_class::count] = {};

    [[nodiscard]] Scope *resolved() noexcept {
        Scope *scope = this;
        while (scope->merged_into != nullptr)
            scope = scope->merged_into;
        return scope;
    }
};

class SpinLock {
public:
    void lock() noexcept {
        while (held_.exchange(true, std::memory_order_acquire))
            wait();
    }
    void unlock() noexcept { held_.store(false, std::memory_order_release); }

private:
    static void wait() noexcept;
    std::atomic<bool> held_{false};
};

/// Figures of one store at one moment.
struct StoreFigures {
    std::string kind, name;
    std::uint64_t owner = 0;
    long arrays = 0;            /* live blocks                              */
    std::size_t bytes = 0;      /* asked for by them                        */
    std::size_t bytes_peak = 0; /* largest `bytes` so far                   */
    std::size_t cached = 0;     /* bytes in free lists                      */
    std::uint64_t allocs = 0;   /* so far                                   */
    std::uint64_t recycled = 0; /* of these, served from a free list        */
    struct Class {
        std::size_t size;
        long arrays;
        std::uint64_t allocs;
    };
    std::vector<Class> classes; /* those that were used */
};

class Store {
public:
    Store(const Store &) = delete;
    Store &operator=(const Store &) = delete;
    virtual ~Store();

    /// Null if the source has no more or is gone. `alignment` is a power of two.
    [[nodiscard]] void *allocate(std::size_t size, std::size_t alignment = 64) noexcept;
    [[nodiscard]] void *zeroed(std::size_t size) noexcept;
    /// Another size for a live block, content kept; on null the block is as it was. `to` is where a block
    /// that must move goes; usually its own store.
    [[nodiscard]] static void *resize(Store &to, void *data, std::size_t size) noexcept;
    /// Any live block of any store.
    static void give(void *data) noexcept;
    static Store &of(void *data) noexcept {
        return *BlockHeader::of(data)->scope->resolved()->store;
    }

    /// Free blocks go back to the source.
    void flush() noexcept;
    /// True if the address can only be a block of this store. Never reads the address.
    [[nodiscard]] virtual bool owns(const void *address) const noexcept = 0;
    [[nodiscard]] virtual bool can_tell() const noexcept { return true; }
    /// The owner was closed: there will be no more.
    [[nodiscard]] virtual bool closed() const noexcept { return false; }
    [[nodiscard]] virtual const char *kind() const noexcept = 0;
    [[nodiscard]] virtual std::string name() const = 0;
    [[nodiscard]] virtual std::uint64_t id() const noexcept { return 0; }
    /// Why an allocation of `size` failed, as one sentence.
    [[nodiscard]] virtual std::string refusal(std::size_t size) const;

    [[nodiscard]] StoreFigures figures();
    [[nodiscard]] long live() noexcept;
    /// All stores of the process.
    static std::vector<StoreFigures> all();

protected:
    /// Blocks of at most `recycle_max` bytes wait in free lists, at most `keep` of each class. A source
    /// that may run Python is called without the lock; then nothing is recycled and pin is not asked.
    Store(std::size_t recycle_max, unsigned keep, bool source_runs_python = false);

    /* The source. Null: no more. */
    virtual void *obtain(std::size_t bytes) noexcept = 0; /* a multiple of 64 */
    virtual void give_back(void *base, std::size_t bytes) noexcept = 0;
    virtual void *obtain_zeroed(std::size_t) noexcept { return nullptr; } /* null: cannot */
    /// Another extent for what obtain gave, perhaps elsewhere, content kept; null: cannot.
    virtual void *move(void *, std::size_t, std::size_t) noexcept { return nullptr; }
    /// False: free blocks are simply forgotten, the source takes them back by itself.
    [[nodiscard]] virtual bool wants_back() const noexcept { return true; }
    /// Before the first block lives, and in flush when none does. False: the source is gone.
    virtual bool pin() noexcept { return true; }
    virtual void unpin() noexcept {}

    /// Before its members go, a subclass empties the lists and leaves the list of all stores.
    void close_down() noexcept;
    void drop_lists(Scope &scope) noexcept;
    bool enter_live() noexcept; /* one more lives; false: the source is gone */
    void leave_live() noexcept { live_--; }

    SpinLock lock_;
    Scope root_;
    Scope *top_ = &root_;
    long live_ = 0; /* over all scopes */
    bool pinned_ = false;

private:
    struct Count {
        long live = 0;
        unsigned kept = 0;
        std::uint64_t allocs = 0;
    };

    BlockHeader *take_from_lists(std::size_t index) noexcept;
    BlockHeader *dress(void *base, std::size_t extent, std::size_t alignment) noexcept;
    void *hand_out(BlockHeader *block, std::size_t size) noexcept;
    bool keep_block(BlockHeader *block) noexcept;
    void account_free(BlockHeader *block) noexcept;
    void *grow_in_place(BlockHeader *block, std::size_t size) noexcept;

    const std::size_t recycle_max_;
    const unsigned keep_;
    const bool source_runs_python_;
    bool listed_ = true;
    std::size_t bytes_ = 0, bytes_peak_ = 0;
    std::uint64_t recycled_ = 0;
    Count counts_[array_class::count];
};

#endif
