/// arena_state.cpp - scopes of an arena and what lives in them.
///
/// Talks to    arena_state.hpp, arena.h.
#include "arena_state.hpp"

#include <algorithm>
#include <climits>
#include <string>

namespace {

/// A tracked arena must see every free, and must not see a block twice: nothing is recycled then.
std::size_t recycle_max_of(const hf_arena *arena) {
    hf_arena_options options;
    hf_arena_options_of(arena, &options);
    const bool exact = options.track_allocations != 0 || options.validate_access != 0 ||
                       options.check_corruption != 0;
    return exact ? 0 : SIZE_MAX;
}

const char *name_of(const hf_arena *arena) {
    const char *name = hf_arena_name(arena);
    return name != nullptr ? name : "";
}

} // namespace

ArenaState::ArenaState(hf_arena *arena, std::shared_ptr<void> keep)
    : Store(recycle_max_of(arena), UINT_MAX), arena_(arena), keep_(std::move(keep)),
      name_(name_of(arena)), id_(hf_arena_id(arena)) {}

ArenaState::~ArenaState() {
    close_down();
    if (arena_ != nullptr) (void)hf_arena_destroy(arena_);
}

/// Says what is wrong with an allocation that failed. Lock held.
void ArenaState::refuse(std::size_t size, std::size_t alignment) const {
    if ((alignment & (alignment - 1)) != 0 || alignment > HF_ARENA_ALIGNMENT_MAX)
        hf::raise(HF_E_INVALID, "align must be a power of two, at most 2 MiB");
    throw Refused(refusal(size));
}

void *ArenaState::bump(std::size_t size, std::size_t alignment, Ticket *ticket_out) {
    const std::lock_guard hold(lock_);
    require_open();
    void *block = hf_arena_allocate(arena_, size, alignment);
    if (block == nullptr) refuse(size, alignment);
    *ticket_out = {top_, top_->generation};
    return block;
}

void ArenaState::bump_bulk(std::size_t size, std::size_t alignment, std::vector<void *> &blocks_out,
                           Ticket *ticket_out) {
    const std::lock_guard hold(lock_);
    require_open();
    std::size_t made =
        hf_arena_alloc_bulk(arena_, size, alignment, blocks_out.size(), blocks_out.data());
    if (made < blocks_out.size()) {
        while (made-- > 0) /* all or none: the youngest first, which is then reused */
            hf_arena_free(arena_, blocks_out[made], size);
        refuse(size, alignment);
    }
    *ticket_out = {top_, top_->generation};
}

Scope *ArenaState::enter() {
    const std::lock_guard hold(lock_);
    require_open();
    if (spare_.empty()) {
        scopes_.push_back(std::make_unique<Scope>());
        spare_.reserve(scopes_.size());
        spare_.push_back(scopes_.back().get());
    }
    levels_.reserve(levels_.size() + 1);
    Level level{spare_.back(), {}};
    hf::check(hf_arena_mark(arena_, &level.mark));
    spare_.pop_back();
    level.scope->store = this;
    level.scope->below = top_;
    levels_.push_back(level);
    top_ = level.scope;
    return level.scope;
}

/// Its memory is gone: tickets on it and on what was merged into it are void.
void ArenaState::forget(Scope &scope) {
    drop_lists(scope);
    scope.generation++;
    for (Scope *merged : scope.merged) {
        forget(*merged);
        merged->merged_into = nullptr;
        spare_.push_back(merged);
    }
    scope.merged.clear();
}

long ArenaState::leave(Scope *scope) {
    const std::lock_guard hold(lock_);
    require_open();
    if (levels_.empty() || levels_.back().scope != scope)
        hf::raise(HF_E_INVALID, "scopes of an arena are left in the order they were entered, "
                                "the last one first");
    const Level level = levels_.back();
    if (scope->live == 0) hf::check(hf_arena_leave(arena_, &level.mark));
    levels_.pop_back();
    top_ = scope->below;
    if (scope->live == 0) {
        forget(*scope);
        spare_.push_back(scope);
        return 0;
    }
    top_->live += scope->live;
    top_->cached += scope->cached;
    top_->merged.push_back(scope);
    for (std::size_t word = 0; word < std::size(scope->filled); word++)
        for (; scope->filled[word] != 0; scope->filled[word] &= scope->filled[word] - 1) {
            const auto bit = static_cast<unsigned>(__builtin_ctzll(scope->filled[word]));
            BlockHeader **last = &scope->lists[word * 64 + bit];
            BlockHeader *const first = *last;
            while (*last != nullptr)
                last = &(*last)->next;
            *last = top_->lists[word * 64 + bit];
            top_->lists[word * 64 + bit] = first;
            top_->filled[word] |= 1ULL << bit;
            scope->lists[word * 64 + bit] = nullptr;
        }
    scope->cached = 0;
    scope->merged_into = top_;
    const long lived = scope->live;
    scope->live = 0;
    return lived;
}

long ArenaState::live_in(Scope *scope) noexcept {
    const std::lock_guard hold(lock_);
    return scope->live;
}

std::size_t ArenaState::depth() noexcept {
    const std::lock_guard hold(lock_);
    return levels_.size();
}

hf_mark ArenaState::mark_of(Scope *scope) {
    const std::lock_guard hold(lock_);
    for (const Level &level : levels_)
        if (level.scope == scope) return level.mark;
    hf::raise(HF_E_INVALID, "the scope was left");
}

long ArenaState::reset(bool release) {
    const std::lock_guard hold(lock_);
    require_open();
    if (!levels_.empty()) hf::raise(HF_E_INVALID, "a scope is open: leave it, then reset");
    if (live_ != 0) return live_;
    forget(root_);
    hf::check(release ? hf_arena_release(arena_) : hf_arena_reset(arena_));
    return 0;
}

long ArenaState::close() noexcept {
    std::shared_ptr<void> keep; /* goes last, without the lock: what it gives back may run Python */
    const std::lock_guard hold(lock_);
    if (arena_ == nullptr) return 0;
    if (live_ != 0) return live_;
    if (hf_arena_destroy(arena_) != HF_OK) return 1;
    arena_ = nullptr;
    pinned_ = false;
    closed_.store(true, std::memory_order_release);
    drop_lists(root_);
    for (const Level &level : levels_)
        drop_lists(*level.scope);
    keep.swap(keep_);
    return 0;
}

bool ArenaState::owns(const void *address) const noexcept {
    return arena_ != nullptr && hf_arena_owns(arena_, address) != 0;
}

std::string ArenaState::refusal(std::size_t size) const {
    std::size_t asked = 0, left = 0;
    if (arena_ != nullptr) hf_arena_last_refusal(arena_, &asked, &left);
    return "arena '" + name_ + "' is full: " + std::to_string(size) + " bytes were asked for, " +
           std::to_string(left) + " are left";
}

bool ArenaState::pin_view(const Ticket &ticket) noexcept {
    const std::lock_guard hold(lock_);
    if (arena_ == nullptr || ticket.scope->generation != ticket.generation) return false;
    if (!enter_live()) return false;
    ticket.scope->resolved()->live++;
    return true;
}

void ArenaState::unpin_view(const Ticket &ticket) noexcept {
    const std::lock_guard hold(lock_);
    ticket.scope->resolved()->live--;
    leave_live();
}

void ArenaState::release_block(const Ticket &ticket, void *address, std::size_t size,
                               std::size_t) noexcept {
    const std::lock_guard hold(lock_);
    if (arena_ == nullptr || ticket.scope->generation != ticket.generation) return;
    hf_arena_free(arena_, address, size);
}

bool ArenaState::has(const Ticket &ticket) const noexcept {
    return !closed() && ticket.scope->generation == ticket.generation;
}

void *ArenaState::obtain(std::size_t bytes) noexcept {
    return hf_arena_alloc_aligned(arena_, bytes, 64);
}

void *ArenaState::obtain_zeroed(std::size_t bytes) noexcept {
    return hf_arena_allocate_zeroed(arena_, bytes, 64);
}

void ArenaState::give_back(void *base, std::size_t bytes) noexcept {
    hf_arena_free(arena_, base, bytes);
}
