/// view.hpp - every block of a heap, seen without owning any.
///
///   hf::for_each_block(heap, [&](const hf::Block &block) { bytes += block.size; });
///   for (const hf::Block &block : hf::blocks(heap)) ...      the same as a snapshot
///
/// Invariants  blocks come in address order within an owner (slab, middle pool, mapping).
/// Talks to    view.h, heap.hpp.
/// Threads     others may allocate meanwhile: each element was true when its slab was read.
/// Fails with  what the visitor throws (the walk stops, the exception arrives at the caller);
///             std::bad_alloc from blocks().
#ifndef HOLDFAST_VIEW_HPP
#define HOLDFAST_VIEW_HPP

#include <exception>
#include <memory>
#include <type_traits>
#include <vector>

#include <holdfast/heap.hpp>
#include <holdfast/view.h>

namespace hf {

using Block = hf_view_block;

/// Calls `visit(block)` for every block; a visitor that returns bool stops the walk with false.
template <class Visit>
requires std::is_invocable_v<Visit &, const Block &>
void for_each_block(HeapRef heap, Visit &&visit) {
    struct Walk {
        std::remove_reference_t<Visit> *visit;
        std::exception_ptr thrown; /* must not cross the C library */
    } walk{std::addressof(visit), nullptr};

    const hf_visitor call = [](const hf_view_block *block, void *context) noexcept -> int {
        auto *state = static_cast<Walk *>(context);
        try {
            if constexpr (std::is_same_v<std::invoke_result_t<Visit &, const Block &>, bool>)
                return (*state->visit)(*block) ? 0 : 1;
            else
                (*state->visit)(*block);
            return 0;
        } catch (...) {
            state->thrown = std::current_exception();
            return 1;
        }
    };
    const Status status = hf_heap_view(heap.native(), call, &walk);
    if (walk.thrown) std::rethrow_exception(walk.thrown);
    check(status);
}

/// A snapshot of every block, as a range.
[[nodiscard]] inline std::vector<Block> blocks(HeapRef heap) {
    std::vector<Block> seen;
    for_each_block(heap, [&](const Block &block) { seen.push_back(block); });
    return seen;
}

} // namespace hf

#endif
