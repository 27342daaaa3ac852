/// bind_heap.cpp - Heap in Python: one HeapState, its blocks, figures and walks.
///
/// Figures travel as tuples in the order of their tables; Python names them.
/// Talks to    heap_state.hpp, buffer.hpp, view.hpp.   Used by holdfast/heap.py.
/// Threads     stats, check, view, reclaim and close give the GIL back while they work; the pin keeps
///             the heap alive meanwhile.
/// Fails with  OutOfMemoryError, InvalidArgumentError; see status.def.
#include "buffer.hpp"
#include "core.hpp"
#include "heap_access.hpp"
#include "stats_row.hpp"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <string>
#include <vector>

namespace {

using State = std::shared_ptr<HeapState>;

struct PyHeap {
    State state;
};

PyHeap default_heap() {
    static const State state = std::make_shared<HeapState>(hf::default_heap());
    return PyHeap{state};
}

Buffer *allocate(const PyHeap &heap, std::size_t size, std::size_t align) {
    const HeapPin pin(*heap.state);
    return new Buffer(heap.state, heap.state->heap().allocate(size, align), size, align);
}

void free_buffer(const PyHeap &heap, Buffer &buffer) {
    if (buffer.lender() != heap.state)
        hf::raise(HF_E_INVALID, "the buffer belongs to another heap; free it there");
    if (!buffer.live()) hf::raise(HF_E_CLOSED, "the buffer was already released");
    if (!buffer.release())
        hf::raise(HF_E_BUSY, "the buffer is borrowed by a view; let the view die first");
}

void resize(const PyHeap &heap, Buffer &buffer, std::size_t size) {
    if (buffer.lender() != heap.state)
        hf::raise(HF_E_INVALID, "the buffer belongs to another heap; resize it there");
    buffer.resize(size);
}

/// Living borrows that keep the heap open; 0 if it is closed now.
long close_heap(const PyHeap &heap) {
    if (heap.state->is_default()) hf::raise(HF_E_INVALID, "the default heap cannot be closed");
    {
        const nb::gil_scoped_release released;
        if (heap.state->close()) return 0;
    }
    const long borrows = heap.state->borrows();
    return borrows > 0 ? borrows : 1; /* at least the call of another thread */
}

nb::tuple stats(const PyHeap &heap) {
    hf::Stats figures{};
    {
        const HeapPin pin(*heap.state);
        const nb::gil_scoped_release released; /* it looks at every block */
        figures = heap.state->heap().stats();
    }
    return stats_row(figures);
}

std::string stats_json(const PyHeap &heap) {
    const HeapPin pin(*heap.state);
    return heap.state->heap().stats().json();
}

nb::list classes(const PyHeap &heap) {
    const HeapPin pin(*heap.state);
    nb::list rows;
    for (const hf::ClassStats &row : heap.state->heap().class_stats())
        rows.append(nb::make_tuple(row.size, row.alignment, row.allocs, row.blocks, row.cached,
                                   row.free, row.slabs, row.misses, row.lock_waits));
    return rows;
}

std::size_t check(const PyHeap &heap) {
    const HeapPin pin(*heap.state);
    const nb::gil_scoped_release released;
    return heap.state->heap().check();
}

std::size_t reclaim(const PyHeap &heap) {
    const HeapPin pin(*heap.state);
    const nb::gil_scoped_release released;
    return heap.state->heap().reclaim();
}

/// Rows (address, size, class_size, state, tier, domain, owner); words for the middle three.
nb::list view(const PyHeap &heap) {
    static constexpr const char *states[] = {"live", "cached", "free", "quarantined"};
    static constexpr const char *tiers[] = {"small", "middle", "large"};
    static constexpr const char *domains[] = {"libc", "raw", "mem", "obj"};
    std::vector<hf::Block> blocks;
    {
        const HeapPin pin(*heap.state);
        const nb::gil_scoped_release released;
        blocks = hf::blocks(heap.state->heap());
    }
    nb::list rows;
    for (const hf::Block &block : blocks)
        rows.append(nb::make_tuple(reinterpret_cast<std::uintptr_t>(block.address), block.size,
                                   block.class_size, states[block.state & 3],
                                   tiers[block.tier < 3 ? block.tier : 2],
                                   domains[block.domain & 3], block.owner));
    return rows;
}

void limit(const PyHeap &heap, std::uint64_t hard, std::uint64_t soft,
           const std::shared_ptr<SoftLimit> &watch) {
    const HeapPin pin(*heap.state);
    if (watch == nullptr) {
        heap.state->heap().limit(hard, soft);
        return;
    }
    heap.state->keep(watch); /* a crossing may be under way when the next limit is set */
    heap.state->heap().limit(hard, soft, *watch);
}

std::string name(const PyHeap &heap) {
    const HeapPin pin(*heap.state);
    return std::string(heap.state->heap().name());
}

std::uint64_t id(const PyHeap &heap) {
    const HeapPin pin(*heap.state);
    return heap.state->heap().id();
}

} // namespace

std::shared_ptr<HeapState> heap_state_of(nb::handle heap) {
    return nb::cast<const PyHeap &>(heap).state;
}

void bind_heap(nb::module_ &module) {
    nb::class_<PyHeap>(module, "Heap", "One heap; see holdfast.Heap.", nb::is_weak_referenceable())
        .def(
            "__init__",
            [](PyHeap *self, const hf::Options &options, const std::string &name, int node) {
                new (self) PyHeap{std::make_shared<HeapState>(
                    options, name.empty() ? nullptr : name.c_str(), node)};
            },
            nb::arg("options"), nb::arg("name"), nb::arg("node"))
        .def("allocate", &allocate, nb::arg("size"), nb::arg("align"),
             nb::rv_policy::take_ownership, "A block as a Buffer.")
        .def("free", &free_buffer, nb::arg("buffer"), "Frees a buffer of this heap.")
        .def("resize", &resize, nb::arg("buffer"), nb::arg("size"), "Another size, content kept.")
        .def("close", &close_heap, "Closes; returns the living borrows that prevent it, or 0.")
        .def_prop_ro("closed", [](const PyHeap &heap) { return !heap.state->open(); })
        .def_prop_ro("borrows", [](const PyHeap &heap) { return heap.state->borrows(); })
        .def_prop_ro("name", &name)
        .def_prop_ro("id", &id)
        .def("stats", &stats, "Profile, then the figures in the order of stats_table().")
        .def("stats_json", &stats_json, "The same as JSON, with ratios.")
        .def("classes", &classes, "Figures of every size class, as tuples.")
        .def("check", &check, "Verifies every block; returns how many are damaged.")
        .def("reclaim", &reclaim, "Gives free memory back; returns bytes.")
        .def("view", &view, "Every block, as tuples.")
        .def("limit", &limit, nb::arg("hard"), nb::arg("soft"), nb::arg("watch").none(),
             "Limits of this heap; 0 is none.");
    module.def("default_heap", &default_heap, "The process-wide heap.");
}
