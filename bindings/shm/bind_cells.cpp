/// bind_cells.cpp - Cells: numbers that any process changes in one step.
///
/// Talks to    shm_cells.h.   Used by holdfast/shm/cells.py.
#include "handle.hpp"

#include <holdfast/shm_cells.h>

namespace {

using namespace shm_binding;

struct Cells : Handle<hf_shm_cells, hf_shm_cells_close> {
    using Handle::Handle;
};

/// As Python's own numbers go: what has __index__ (integers) or __float__, in the cell's range.
template <class T> T number(nb::handle value) {
    if constexpr (std::is_floating_point_v<T>) {
        const double found = PyFloat_AsDouble(value.ptr());
        if (found == -1.0 && PyErr_Occurred() != nullptr) throw nb::python_error();
        return found;
    } else {
        const nb::object index = nb::steal(PyNumber_Index(value.ptr()));
        if (!index.is_valid()) throw nb::python_error();
        T found;
        if (nb::try_cast(index, found)) return found;
        PyErr_Format(PyExc_OverflowError, "%R does not fit into a cell", value.ptr());
        throw nb::python_error();
    }
}

hf_shm_cell from_python(hf_shm_cell_type type, nb::handle value) {
    hf_shm_cell cell{};
    switch (type) {
    case HF_SHM_CELL_I64: cell.i64 = number<std::int64_t>(value); break;
    case HF_SHM_CELL_U64: cell.u64 = number<std::uint64_t>(value); break;
    case HF_SHM_CELL_I32: cell.i32 = number<std::int32_t>(value); break;
    case HF_SHM_CELL_U32: cell.u32 = number<std::uint32_t>(value); break;
    case HF_SHM_CELL_F64: cell.f64 = number<double>(value); break;
    }
    return cell;
}

nb::object to_python(hf_shm_cell_type type, hf_shm_cell cell) {
    switch (type) {
    case HF_SHM_CELL_I64: return nb::int_(cell.i64);
    case HF_SHM_CELL_U64: return nb::int_(cell.u64);
    case HF_SHM_CELL_I32: return nb::int_(cell.i32);
    case HF_SHM_CELL_U32: return nb::int_(cell.u32);
    case HF_SHM_CELL_F64: return nb::float_(cell.f64);
    }
    return nb::none();
}

/// `type` 0: any, when they are opened.
Cells *cells_open(nb::object segment, const std::string &name, unsigned mode, unsigned type,
                  std::uint64_t count, bool packed) {
    hf_shm_cells_options options;
    hf_shm_cells_options_init(
        &options, type == 0 ? HF_SHM_CELL_I64 : static_cast<hf_shm_cell_type>(type), count);
    options.packed = packed;
    return open_handle<Cells, hf_shm_cells>(std::move(segment), [&](hf_shm *shm, auto **out) {
        return hf_shm_cells_open(shm, plain(name), static_cast<hf_shm_mode>(mode),
                                 type == 0 ? nullptr : &options, out);
    });
}

using Change = hf_status (*)(hf_shm_cells *, std::uint64_t, hf_shm_cell, hf_shm_cell *);

template <Change change> nb::object changed(Cells &cells, std::uint64_t index, nb::handle value) {
    const Cells::Use use(cells);
    const hf_shm_cell_type type = hf_shm_cells_type(use.get());
    hf_shm_cell before{};
    check(change(use.get(), index, from_python(type, value), &before));
    return to_python(type, before);
}

nb::object load(Cells &cells, std::uint64_t index) {
    const Cells::Use use(cells);
    hf_shm_cell found{};
    check(hf_shm_cells_load(use.get(), index, &found));
    return to_python(hf_shm_cells_type(use.get()), found);
}

void store(Cells &cells, std::uint64_t index, nb::handle value) {
    const Cells::Use use(cells);
    check(hf_shm_cells_store(use.get(), index, from_python(hf_shm_cells_type(use.get()), value)));
}

/// (done, what was there)
nb::tuple compare_exchange(Cells &cells, std::uint64_t index, nb::handle expected,
                           nb::handle value) {
    const Cells::Use use(cells);
    const hf_shm_cell_type type = hf_shm_cells_type(use.get());
    hf_shm_cell there = from_python(type, expected);
    int done = 0;
    check(hf_shm_cells_compare_exchange(use.get(), index, &there, from_python(type, value), &done));
    return nb::make_tuple(done != 0, to_python(type, there));
}

bool wait(Cells &cells, std::uint64_t index, nb::handle value, nb::object timeout) {
    const Cells::Use use(cells);
    const hf_shm_cell from = from_python(hf_shm_cells_type(use.get()), value);
    return wait_for(timeout, HF_E_TIMEOUT, [&](std::uint64_t ns) {
        return hf_shm_cells_wait(use.get(), index, from, ns);
    });
}

/// The cells in place, `stride` bytes apart.
nb::object memory(nb::handle_t<Cells> self) {
    Cells &cells = nb::cast<Cells &>(self);
    const Cells::Use use(cells);
    return cells.lend_all(self, hf_shm_cells_at(use.get(), 0),
                          hf_shm_cells_count(use.get()) * hf_shm_cells_stride(use.get()));
}

} // namespace

void bind_cells(nb::module_ &module) {
    nb::class_<Cells> cells(module, "Cells", nb::is_weak_referenceable());
    Cells::bind(cells);
    cells.def("load", &load)
        .def("store", &store)
        .def("exchange", &changed<hf_shm_cells_exchange>)
        .def("add", &changed<hf_shm_cells_add>)
        .def("min", &changed<hf_shm_cells_min>)
        .def("max", &changed<hf_shm_cells_max>)
        .def("compare_exchange", &compare_exchange)
        .def("wait", &wait, nb::arg("index"), nb::arg("value"),
             nb::arg("timeout").none() = nb::none())
        .def("notify",
             [](Cells &c, std::uint64_t index, std::uint32_t count) {
                 check(hf_shm_cells_notify(Cells::Use(c).get(), index, count));
             })
        .def("memory", &memory)
        .def_prop_ro(
            "type",
            [](Cells &c) { return static_cast<unsigned>(hf_shm_cells_type(Cells::Use(c).get())); })
        .def_prop_ro("count", [](Cells &c) { return hf_shm_cells_count(Cells::Use(c).get()); })
        .def_prop_ro("stride", [](Cells &c) { return hf_shm_cells_stride(Cells::Use(c).get()); });
    module.def("cells_open", &cells_open, nb::rv_policy::take_ownership);
}
