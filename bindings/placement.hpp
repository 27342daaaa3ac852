/// placement.hpp - pages of a range to a NUMA node, those there are and those to come.
///
/// Invariants  only pages that lie wholly inside the range are touched: neighbours stay where they are.
/// Used by     bind_array.cpp, resources.hpp.
/// Threads     any.
/// Source      Linux man-page mbind(2).
#ifndef HOLDFAST_BINDINGS_PLACEMENT_HPP
#define HOLDFAST_BINDINGS_PLACEMENT_HPP

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <sys/syscall.h>
#include <unistd.h>

struct Placed {
    std::size_t pages; /* that were asked to move    */
    int error;         /* errno of the kernel, or 0  */
};

inline Placed place_pages(void *address, std::size_t bytes, unsigned node) noexcept {
    constexpr std::uintptr_t page = 4096;
    constexpr int preferred = 1, move_pages = 2; /* MPOL_PREFERRED, MPOL_MF_MOVE */
    const auto begin = reinterpret_cast<std::uintptr_t>(address);
    const std::uintptr_t from = (begin + page - 1) & ~(page - 1);
    const std::uintptr_t to = (begin + bytes) & ~(page - 1);
    if (to <= from) return {0, 0};
    if (node >= 64) return {0, EINVAL};
    const unsigned long mask = 1UL << node;
    const long done = syscall(SYS_mbind, from, to - from, preferred, &mask, 65UL, move_pages);
    return {(to - from) / page, done == 0 ? 0 : errno};
}

#endif
