/// heap_access.hpp - the state behind a Python Heap, for those who lend its memory on.
///
/// Implemented in bind_heap.cpp.   Used by bind_array.cpp, bind_resource.cpp.
#ifndef HOLDFAST_BINDINGS_HEAP_ACCESS_HPP
#define HOLDFAST_BINDINGS_HEAP_ACCESS_HPP

#include "core.hpp"
#include "heap_state.hpp"

#include <memory>

/// Throws nb::cast_error (TypeError) if it is none.
std::shared_ptr<HeapState> heap_state_of(nb::handle heap);

#endif
