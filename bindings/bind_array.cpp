/// bind_array.cpp - handlers of array memory in Python, figures of all stores, placement of pages.
///
/// Talks to    array_handler.hpp, heap_store.hpp.   Used by holdfast/numpy.py.
/// Fails with  InvalidArgumentError for an owner that is closed.
#include "array_handler.hpp"
#include "core.hpp"
#include "heap_access.hpp"
#include "heap_store.hpp"
#include "placement.hpp"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

namespace {

using Handler = std::shared_ptr<ArrayHandler>;

nb::tuple row_of(const StoreFigures &figures) {
    nb::list classes;
    for (const StoreFigures::Class &entry : figures.classes)
        classes.append(nb::make_tuple(entry.size, entry.arrays, entry.allocs));
    return nb::make_tuple(figures.kind, figures.name, figures.owner, figures.arrays, figures.bytes,
                          figures.bytes_peak, figures.cached, figures.allocs, figures.recycled,
                          nb::tuple(classes));
}

nb::list all_stores() {
    nb::list rows;
    for (const StoreFigures &figures : Store::all())
        rows.append(row_of(figures));
    return rows;
}

nb::object door(const Handler &handler) {
    auto *capsule = static_cast<PyObject *>(ArrayHandler::door_capsule(handler));
    if (capsule == nullptr) throw nb::python_error();
    return nb::steal(capsule);
}

Handler heap_handler(nb::handle heap) {
    const std::shared_ptr<HeapState> state = heap_state_of(heap);
    if (!state->open()) hf::raise(HF_E_CLOSED, "the heap is closed");
    return std::make_shared<ArrayHandler>(
        state->shared<HeapStore>([&] { return std::make_shared<HeapStore>(state); }));
}

/// (kind, name, id) of the store that the data of an array made through a handler is in.
nb::tuple store_of(std::uintptr_t data) {
    const Store &store = Store::of(reinterpret_cast<void *>(data));
    return nb::make_tuple(store.kind(), store.name(), store.id());
}

/// (pages asked to move, errno or 0)
nb::tuple place(std::uintptr_t address, std::size_t bytes, unsigned node) {
    const Placed placed = place_pages(reinterpret_cast<void *>(address), bytes, node);
    return nb::make_tuple(placed.pages, placed.error);
}

} // namespace

void bind_array(nb::module_ &module) {
    nb::class_<ArrayHandler>(module, "ArrayHandler", "One way into a store of array memory.")
        .def("door", &door, "The capsule that holdfast._numpy takes.")
        .def("close", &ArrayHandler::close, "Late callers get memory of the default heap.")
        .def("flush", [](const Handler &handler) { handler->store().flush(); })
        .def("figures", [](const Handler &handler) { return row_of(handler->store().figures()); })
        .def_prop_ro("open", &ArrayHandler::open)
        .def_prop_ro("late", &ArrayHandler::late, "Arrays that the default heap had to serve.")
        .def_prop_ro("live", [](const Handler &handler) { return handler->store().live(); })
        .def_prop_ro("can_tell", [](const Handler &handler) { return handler->store().can_tell(); })
        .def("owns", [](const Handler &handler, std::uintptr_t address) {
            return handler->store().owns(reinterpret_cast<const void *>(address));
        });
    module.def("heap_handler", &heap_handler, nb::arg("heap"), "A handler on a _core.Heap.");
    module.def("array_store_of", &store_of, nb::arg("address"),
               "Kind, name and id behind the data of an array of a handler; nothing else.");
    module.def("array_stores", &all_stores, "Figures of every store, as tuples.");
    module.def("place_pages", &place, nb::arg("address"), nb::arg("bytes"), nb::arg("node"),
               "Moves the pages wholly inside to a node; (pages, errno).");
}
