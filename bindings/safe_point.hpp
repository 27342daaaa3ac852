/// safe_point.hpp - from the inside of an allocator to a place where Python may run.
///
/// What happens inside free (a report, a limit crossed) is noted without touching Python; `request`
/// asks the interpreter to call the deliverer at its next safe point, on the main thread.
/// Used by     bind_safe_point.cpp, bind_limit.cpp.
#ifndef HOLDFAST_BINDINGS_SAFE_POINT_HPP
#define HOLDFAST_BINDINGS_SAFE_POINT_HPP

namespace safe_point {

/// Any thread, with or without the GIL, under no lock of ours. Allocates nothing.
void request() noexcept;

} // namespace safe_point

#endif
