/// bind_limit.cpp - a soft limit's crossing, noted inside the allocator and told at a safe point.
///
/// Invariants  a SoftLimit outlives the limit it was given to: the heap's state keeps it.
/// Talks to    soft_limit.hpp.   Used by holdfast/limits.py and heap.py.
#include "core.hpp"
#include "soft_limit.hpp"

#include <nanobind/stl/shared_ptr.h>

namespace {

nb::object take(SoftLimit &soft) {
    const std::uint64_t bytes = soft.crossed.exchange(0, std::memory_order_acq_rel);
    if (bytes == 0) return nb::none();
    return nb::int_(bytes);
}

} // namespace

void bind_limit(nb::module_ &module) {
    nb::class_<SoftLimit>(module, "SoftLimit", "Remembers that a soft limit was crossed.")
        .def(nb::init<>())
        .def("take", &take, "Bytes mapped when it was last crossed, once; None if it was not.");
}
