/// stats_row.hpp - the figures of an owner as Python takes them: profile, then the order of stats.def.
///
/// Used by     bind_arena.cpp, bind_heap.cpp, bind_owner.cpp, bind_pool.cpp.
#ifndef HOLDFAST_BINDINGS_STATS_ROW_HPP
#define HOLDFAST_BINDINGS_STATS_ROW_HPP

#include "core.hpp"

inline nb::tuple stats_row(const hf_stats &figures) {
    nb::list row;
    row.append(static_cast<unsigned>(figures.profile));
#define HF_STAT(name, unit, sentence) row.append(figures.name);
#include <holdfast/stats.def>
#undef HF_STAT
    return nb::tuple(row);
}

#endif
