/// arena_state.hpp - one arena, its scopes, and the arrays and views that live in each.
///
///   root <- scope <- scope (top)     scope() pushes with a mark; leaving rewinds if nothing lives there
///
/// Invariants  memory of a scope is taken back only with live == 0; a scope that is left with live
///             blocks is merged into the one below. A Buffer's ticket names scope and generation, so
///             one that was rewound says so instead of showing what came after.
/// Talks to    store.hpp, lender.hpp, arena.h.   Used by bind_arena.cpp.
/// Threads     any; the store's lock guards the arena too.
/// Fails with  hf::Error; Busy by the count that enter, leave, reset and close return.
#ifndef HOLDFAST_BINDINGS_ARENA_STATE_HPP
#define HOLDFAST_BINDINGS_ARENA_STATE_HPP

#include "lender.hpp"
#include "refused.hpp"
#include "store.hpp"

#include <holdfast/arena.h>
#include <holdfast/error.hpp>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

class ArenaState final : public Store, public Lender {
public:
    /// `keep` is what the memory of a caller's buffer needs to stay.
    ArenaState(hf_arena *arena, std::shared_ptr<void> keep);
    ~ArenaState() override;

    /// Blocks for Buffers: no header, not recycled. Throws OutOfMemory, InvalidArgument.
    [[nodiscard]] void *bump(std::size_t size, std::size_t alignment, Ticket *ticket_out);
    void bump_bulk(std::size_t size, std::size_t alignment, std::vector<void *> &blocks_out,
                   Ticket *ticket_out);

    [[nodiscard]] Scope *enter();
    /// Rewinds; or, if anything made inside lives, leaves its memory to the scope below and returns how
    /// many live.
    [[nodiscard]] long leave(Scope *scope);
    [[nodiscard]] long live_in(Scope *scope) noexcept;
    [[nodiscard]] std::size_t depth() noexcept;
    /// Living arrays and views that prevent it, or 0.
    [[nodiscard]] long reset(bool release);
    [[nodiscard]] long close() noexcept;

    /// What `use` does with the arena, which is open and locked meanwhile.
    template <class Use> auto with(Use use) {
        const std::lock_guard hold(lock_);
        require_open();
        return use(arena_);
    }
    [[nodiscard]] hf_mark mark_of(Scope *scope);

    bool owns(const void *address) const noexcept override;
    bool closed() const noexcept override { return closed_.load(std::memory_order_acquire); }
    const char *kind() const noexcept override { return "arena"; }
    std::string name() const override { return name_; }
    std::uint64_t id() const noexcept override { return id_; }
    std::string refusal(std::size_t size) const override;

    bool pin_view(const Ticket &ticket) noexcept override;
    void unpin_view(const Ticket &ticket) noexcept override;
    bool has(const Ticket &ticket) const noexcept override;
    void free_block(void *, std::size_t, std::size_t) noexcept override {}
    void release_block(const Ticket &ticket, void *address, std::size_t size,
                       std::size_t align) noexcept override;
    void *move_block(void *, std::size_t, std::size_t, std::size_t) override {
        hf::raise(HF_E_UNSUPPORTED, "blocks of an arena keep their size");
    }
    const char *gone() const noexcept override {
        return closed() ? "the arena of this buffer is closed"
                        : "the arena was reset or rewound: this buffer is gone";
    }

private:
    struct Level {
        Scope *scope;
        hf_mark mark;
    };

    void require_open() const {
        if (arena_ == nullptr) hf::raise(HF_E_CLOSED, "the arena is closed");
    }
    [[noreturn]] void refuse(std::size_t size, std::size_t alignment) const;
    void forget(Scope &scope);

    void *obtain(std::size_t bytes) noexcept override;
    void *obtain_zeroed(std::size_t bytes) noexcept override;
    void give_back(void *base, std::size_t bytes) noexcept override;
    bool wants_back() const noexcept override { return false; }
    bool pin() noexcept override { return arena_ != nullptr; }

    hf_arena *arena_; /* null: closed */
    std::shared_ptr<void> keep_;
    const std::string name_;
    const std::uint64_t id_;
    std::atomic<bool> closed_{false};
    std::vector<Level> levels_;                  /* scopes above the root, bottom first */
    std::vector<std::unique_ptr<Scope>> scopes_; /* all there ever were                 */
    std::vector<Scope *> spare_;                 /* of these, those not in use          */
};

#endif
