/// module.cpp - the module holdfast._shm: one line per concept. Imported by holdfast.shm alone, so
/// that who shares no memory does not load it.
#include "shm.hpp"

NB_MODULE(_shm, module) {
    nb::set_leak_warnings(false); // segments in module globals are alive at exit, and may be
    module.doc() = "Shared memory of holdfast, as Python objects. Use the package `holdfast.shm`.";
    bind_segment(module);
    bind_bytes(module);
    bind_queue(module);
    bind_array(module);
    bind_ring(module);
    bind_sync(module);
    bind_cells(module);
    bind_map(module);
    bind_pool(module);
}
