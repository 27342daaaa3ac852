/// arena_access.hpp - the state behind a Python Arena, for those who lend its memory on.
///
/// Implemented in bind_arena.cpp.   Used by bind_resource.cpp.
#ifndef HOLDFAST_BINDINGS_ARENA_ACCESS_HPP
#define HOLDFAST_BINDINGS_ARENA_ACCESS_HPP

#include "arena_state.hpp"
#include "core.hpp"

/// Throws nb::cast_error (TypeError) if it is none.
std::shared_ptr<ArenaState> arena_state_of(nb::handle arena);

#endif
