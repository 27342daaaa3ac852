/// module.cpp - the module holdfast._core: one line per concept.
///
/// Talks to    core.hpp.   Called by the import of holdfast._core.
/// Threads     runs once, under the import lock.
#include "core.hpp"

namespace {

bool owns(std::uintptr_t address) {
    return hf_owns(reinterpret_cast<const void *>(address)) != 0;
}

} // namespace

NB_MODULE(_core, module) {
    /* Heaps and buffers in module globals are alive at exit, and may be. */
    nb::set_leak_warnings(false);
    module.doc() = "The C++ door of holdfast, as Python objects. Use the package `holdfast`.";
    bind_status(module);
    bind_options(module);
    bind_stats(module);
    bind_report(module);
    bind_safe_point(module);
    bind_limit(module);
    bind_buffer(module);
    bind_heap(module);
    bind_array(module);
    bind_pool(module);
    bind_arena(module);
    bind_owner(module);
    bind_resource(module);

    module.def(
        "version", [] { return hf_version(); }, "Version of the loaded library.");
    module.def("is_active", &hf::is_active, "True where malloc is this library's.");
    module.def(
        "thread_flush", [] { hf_thread_flush(); }, "Empties this thread's cache.");
    module.def("owns", &owns, nb::arg("address"), "True if a heap manages the address.");
    module.def(
        "node_count", [] { return hf_node_count(); }, "NUMA nodes the library sees.");
    module.def(
        "node_current", [] { return hf_node_current(); }, "Node of the calling thread.");
}
