/// lender.hpp - who stands behind a Buffer: a heap, an arena, a resource.
///
/// Invariants  between pin and unpin the memory of the ticket stays where it is.
/// Implemented by heap_state.hpp, arena_state.hpp, resource_lender.hpp.   Used by buffer.hpp.
/// Threads     any.
#ifndef HOLDFAST_BINDINGS_LENDER_HPP
#define HOLDFAST_BINDINGS_LENDER_HPP

#include <cstddef>
#include <cstdint>

struct Scope;

/// What an arena needs to know if a block of it still exists.
struct Ticket {
    Scope *scope = nullptr;
    std::uint64_t generation = 0;
};

class Lender {
public:
    virtual ~Lender() = default;
    /// A view begins. False: the memory is gone.
    [[nodiscard]] virtual bool pin_view(const Ticket &ticket) noexcept = 0;
    virtual void unpin_view(const Ticket &ticket) noexcept = 0;
    [[nodiscard]] virtual bool has(const Ticket &ticket) const noexcept = 0;
    /// The block is given up; nothing if it is gone with its owner.
    virtual void free_block(void *address, std::size_t size, std::size_t align) noexcept = 0;
    /// The same, because the program says so and not because nobody refers to the block any more.
    virtual void release_block(const Ticket &, void *address, std::size_t size,
                               std::size_t align) noexcept {
        free_block(address, size, align);
    }
    /// Another size, content kept; throws hf::Error.
    [[nodiscard]] virtual void *move_block(void *address, std::size_t size, std::size_t fresh,
                                           std::size_t align) = 0;
    /// One sentence: why pin_view said no.
    [[nodiscard]] virtual const char *gone() const noexcept = 0;
};

#endif
