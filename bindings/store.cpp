/// store.cpp - blocks of array memory: taken from a list or the source, given back to the list.
///
/// Talks to    store.hpp.
/// Threads     lock_ guards everything; the list of all stores has a mutex of its own.
#include "store.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sched.h>

namespace {

struct Registry {
    std::mutex mutex;
    std::vector<Store *> stores; /* guarded by: mutex */
};

/// Never destroyed: arrays in module globals die after static destructors ran.
Registry &registry() {
    static Registry *const made = new Registry;
    return *made;
}

class Hold {
public:
    explicit Hold(SpinLock &lock) noexcept : lock_(lock) { lock.lock(); }
    ~Hold() { lock_.unlock(); }
    Hold(const Hold &) = delete;
    Hold &operator=(const Hold &) = delete;

private:
    SpinLock &lock_;
};

constexpr std::size_t size_max = std::size_t{1} << 46;
/* From here on the source is asked for zeroed or moved memory: it may have a cheaper way than we. */
constexpr std::size_t worth_asking = std::size_t{128} << 10;

[[noreturn]] void not_a_block(const void *data, std::uint32_t state) {
    std::fprintf(stderr, "holdfast: array memory at %p is freed %s\n", data,
                 state == BlockHeader::free_mark ? "twice" : "but its header was overwritten");
    std::abort();
}

} // namespace

void SpinLock::wait() noexcept {
    sched_yield();
}

Store::Store(std::size_t recycle_max, unsigned keep, bool source_runs_python)
    : recycle_max_(recycle_max), keep_(keep), source_runs_python_(source_runs_python) {
    root_.store = this;
    const std::lock_guard hold(registry().mutex);
    registry().stores.push_back(this);
}

Store::~Store() = default;

void Store::close_down() noexcept {
    if (!listed_) return;
    {
        const std::lock_guard hold(registry().mutex);
        std::erase(registry().stores, this);
    }
    listed_ = false;
    flush();
}

bool Store::enter_live() noexcept {
    if (!pinned_) [[unlikely]] {
        if (!pin()) return false;
        pinned_ = true;
    }
    live_++;
    return true;
}

BlockHeader *Store::take_from_lists(std::size_t index) noexcept {
    for (Scope *scope = top_; scope != nullptr; scope = scope->below) {
        BlockHeader *block = scope->lists[index];
        if (block == nullptr) continue;
        scope->lists[index] = block->next;
        if (block->next == nullptr) scope->filled[index / 64] &= ~(1ULL << index % 64);
        scope->live++;
        scope->cached -= block->extent;
        counts_[index].kept--;
        recycled_++;
        return block;
    }
    return nullptr;
}

/// Writes the header into what the source gave.
BlockHeader *Store::dress(void *base, std::size_t extent, std::size_t alignment) noexcept {
    const auto first = reinterpret_cast<std::uintptr_t>(base) + sizeof(BlockHeader);
    const std::uintptr_t mask = alignment > 64 ? alignment - 1 : 63;
    auto *block = BlockHeader::of(reinterpret_cast<void *>((first + mask) & ~mask));
    block->base = base;
    block->extent = extent;
    block->scope = top_;
    top_->live++;
    return block;
}

void *Store::hand_out(BlockHeader *block, std::size_t size) noexcept {
    block->size = size;
    block->state = BlockHeader::live_mark;
    bytes_ += size;
    bytes_peak_ = std::max(bytes_peak_, bytes_);
    counts_[block->index].live++;
    counts_[block->index].allocs++;
    return block->data();
}

void *Store::allocate(std::size_t size, std::size_t alignment) noexcept {
    if (size > size_max || alignment > size_max) return nullptr;
    const std::size_t asked = size + sizeof(BlockHeader);
    const std::size_t index = array_class::of(asked);
    const bool recycled = asked <= recycle_max_;
    const std::size_t extent = (recycled ? array_class::size(index) : (asked + 63) & ~63UL) +
                               (alignment > 64 ? alignment : 0);
    void *early = nullptr;
    if (source_runs_python_ && (early = obtain(extent)) == nullptr) return nullptr;
    const Hold hold(lock_);
    if (!enter_live()) return nullptr;
    if (recycled && alignment <= 64)
        if (BlockHeader *found = take_from_lists(index)) return hand_out(found, size);
    void *base = early != nullptr ? early : obtain(extent);
    if (base == nullptr) {
        leave_live();
        return nullptr;
    }
    BlockHeader *block = dress(base, extent, alignment);
    block->index = static_cast<std::uint32_t>(index);
    return hand_out(block, size);
}

void *Store::zeroed(std::size_t size) noexcept {
    const std::size_t index = array_class::of(size + sizeof(BlockHeader));
    if (size >= worth_asking && size <= size_max) {
        const Hold hold(lock_);
        if (top_->lists[index] == nullptr) {
            if (!enter_live()) return nullptr;
            const bool recycled = size + sizeof(BlockHeader) <= recycle_max_;
            const std::size_t extent =
                recycled ? array_class::size(index) : size + 2 * sizeof(BlockHeader);
            if (void *base = obtain_zeroed(extent)) {
                BlockHeader *block = dress(base, extent, 64);
                block->index = static_cast<std::uint32_t>(index);
                return hand_out(block, size);
            }
            leave_live();
        }
    }
    void *data = allocate(size);
    if (data != nullptr) std::memset(data, 0, size);
    return data;
}

void Store::account_free(BlockHeader *block) noexcept {
    block->scope->resolved()->live--;
    block->state = BlockHeader::free_mark;
    counts_[block->index].live--;
    bytes_ -= block->size;
}

/// Puts a free block on the list of the class it can hold. False: it goes back to the source.
bool Store::keep_block(BlockHeader *block) noexcept {
    std::size_t index = block->index;
    if (block->extent != array_class::size(index)) {
        /* It was aligned further or stretched: from now on it is a plain block. */
        if (block->extent > recycle_max_ || block->extent < 2 * sizeof(BlockHeader)) return false;
        auto *plain = static_cast<BlockHeader *>(block->base);
        const std::size_t extent = block->extent & ~std::size_t{63};
        index = array_class::of(extent);
        if (array_class::size(index) > extent) index--;
        Scope *const scope = block->scope;
        *plain = BlockHeader{scope, 0, plain, block->extent, nullptr, 0, BlockHeader::free_mark};
        block = plain;
    }
    if (array_class::size(index) > recycle_max_ || counts_[index].kept >= keep_) return false;
    Scope *scope = block->scope->resolved();
    block->index = static_cast<std::uint32_t>(index);
    counts_[index].kept++;
    scope->cached += block->extent;
    block->next = scope->lists[index];
    scope->lists[index] = block;
    scope->filled[index / 64] |= 1ULL << index % 64;
    return true;
}

void Store::give(void *data) noexcept {
    BlockHeader *block = BlockHeader::of(data);
    if (block->state != BlockHeader::live_mark) not_a_block(data, block->state);
    Store &store = *block->scope->store;
    void *const base = block->base;
    const std::size_t extent = block->extent;
    {
        const Hold hold(store.lock_);
        store.account_free(block);
        if (!store.source_runs_python_ && !store.keep_block(block)) store.give_back(base, extent);
        store.leave_live();
    }
    if (store.source_runs_python_) store.give_back(base, extent);
}

/// The same block with another size if it holds that or its source can stretch it. Lock held.
void *Store::grow_in_place(BlockHeader *block, std::size_t size) noexcept {
    const std::size_t room = block->room();
    const auto offset = static_cast<std::size_t>(reinterpret_cast<char *>(block) -
                                                 static_cast<char *>(block->base));
    if (size > room || (size < room / 2 && room > 4096)) {
        if (source_runs_python_ || size < worth_asking || room < worth_asking) return nullptr;
        const std::size_t extent = size + 2 * sizeof(BlockHeader) + offset;
        auto *base = static_cast<char *>(move(block->base, block->extent, extent));
        if (base == nullptr) return nullptr;
        auto *where = reinterpret_cast<BlockHeader *>(
            (reinterpret_cast<std::uintptr_t>(base) + 63) & ~std::uintptr_t{63});
        auto *was = reinterpret_cast<BlockHeader *>(base + offset);
        if (was != where)
            std::memmove(static_cast<void *>(where), static_cast<void *>(was),
                         sizeof(BlockHeader) + std::min(room, size));
        block = where;
        block->base = base;
        block->extent = extent;
    }
    const std::size_t index = array_class::of(size + sizeof(BlockHeader));
    if (recycle_max_ < size + sizeof(BlockHeader) ||
        block->extent != array_class::size(block->index)) {
        counts_[block->index].live--;
        block->index = static_cast<std::uint32_t>(index);
        counts_[block->index].live++;
    }
    bytes_ = bytes_ - block->size + size;
    bytes_peak_ = std::max(bytes_peak_, bytes_);
    block->size = size;
    return block->data();
}

void *Store::resize(Store &to, void *data, std::size_t size) noexcept {
    BlockHeader *block = BlockHeader::of(data);
    if (block->state != BlockHeader::live_mark) not_a_block(data, block->state);
    if (size > size_max) return nullptr;
    Store &store = *block->scope->store;
    {
        const Hold hold(store.lock_);
        if (void *same = store.grow_in_place(block, size)) return same;
    }
    void *fresh = to.allocate(size);
    if (fresh == nullptr) return nullptr;
    std::memcpy(fresh, data, std::min(size, block->size));
    give(data);
    return fresh;
}

void Store::drop_lists(Scope &scope) noexcept {
    for (std::size_t word = 0; word < std::size(scope.filled); word++)
        for (; scope.filled[word] != 0; scope.filled[word] &= scope.filled[word] - 1) {
            const auto index =
                word * 64 + static_cast<unsigned>(__builtin_ctzll(scope.filled[word]));
            for (BlockHeader *block = scope.lists[index]; block != nullptr && wants_back();) {
                BlockHeader *const next = block->next;
                counts_[index].kept--;
                give_back(block->base, block->extent);
                block = next;
            }
            scope.lists[index] = nullptr;
        }
    scope.cached = 0;
}

void Store::flush() noexcept {
    const Hold hold(lock_);
    if (!pinned_ || !wants_back()) return;
    drop_lists(root_);
    if (live_ != 0) return;
    unpin();
    pinned_ = false;
}

std::string Store::refusal(std::size_t size) const {
    return "array of " + std::to_string(size) + " bytes: " + kind() + " '" + name() +
           "' has no more memory";
}

long Store::live() noexcept {
    const Hold hold(lock_);
    return live_;
}

StoreFigures Store::figures() {
    StoreFigures made;
    made.kind = kind();
    made.name = name();
    made.owner = id();
    made.classes.reserve(array_class::count);
    const Hold hold(lock_);
    made.arrays = live_;
    made.bytes = bytes_;
    made.bytes_peak = bytes_peak_;
    for (const Scope *scope = top_; scope != nullptr; scope = scope->below)
        made.cached += scope->cached;
    made.recycled = recycled_;
    for (std::size_t index = 0; index < array_class::count; index++) {
        made.allocs += counts_[index].allocs;
        if (counts_[index].allocs != 0)
            made.classes.push_back(
                {array_class::size(index), counts_[index].live, counts_[index].allocs});
    }
    return made;
}

std::vector<StoreFigures> Store::all() {
    std::vector<StoreFigures> made;
    const std::lock_guard hold(registry().mutex);
    for (Store *store : registry().stores)
        made.push_back(store->figures());
    return made;
}
