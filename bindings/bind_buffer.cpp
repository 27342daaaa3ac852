/// bind_buffer.cpp - Buffer in Python: buffer protocol and DLPack, both as counted borrows.
///
/// Talks to    buffer.hpp, dlpack.hpp.   Used by holdfast/heap.py.
/// Fails with  InvalidArgumentError after release, BusyError while borrowed, BufferError from DLPack
///             for a device or a copy that cannot be served.
#include "buffer.hpp"
#include "core.hpp"
#include "dlpack.hpp"

#include <nanobind/stl/string.h>

#include <string>

namespace {

int get_buffer(PyObject *self, Py_buffer *view, int flags) {
    view->obj = nullptr;
    if (!nb::inst_ready(self)) { /* Buffer.__new__(Buffer) has no block */
        set_python_error(HF_E_INVALID, "the buffer was made by nobody: a Heap makes them");
        return -1;
    }
    Buffer &buffer = *nb::inst_ptr<Buffer>(self);
    try {
        buffer.borrow();
    } catch (const hf::Error &error) {
        set_python_error(error.status(), error.what());
        return -1;
    }
    if (PyBuffer_FillInfo(view, self, buffer.address(), static_cast<Py_ssize_t>(buffer.size()), 0,
                          flags) != 0) {
        buffer.give_back();
        return -1;
    }
    return 0;
}

void release_buffer(PyObject *self, Py_buffer *) {
    nb::inst_ptr<Buffer>(self)->give_back();
}

PyType_Slot buffer_slots[] = {
    {Py_bf_getbuffer, reinterpret_cast<void *>(get_buffer)},
    {Py_bf_releasebuffer, reinterpret_cast<void *>(release_buffer)},
    {0, nullptr},
};

nb::object to_dlpack(nb::handle self, nb::handle, nb::handle max_version, nb::handle device,
                     nb::handle copy) {
    if (copy.is(Py_True))
        throw nb::buffer_error("holdfast.Buffer lends its memory and does not copy it");
    if (!device.is_none() && nb::cast<int>(device[0]) != dlpack::device_cpu)
        throw nb::buffer_error("holdfast.Buffer is CPU memory");
    Buffer &buffer = nb::cast<Buffer &>(self);
    if (!max_version.is_none() && nb::cast<int>(max_version[0]) >= 1)
        return dlpack::Lent<dlpack::ManagedVersioned>::capsule(self, buffer);
    return dlpack::Lent<dlpack::Managed>::capsule(self, buffer);
}

std::uintptr_t address_of(Buffer &buffer) {
    const Borrow borrow(buffer);
    return reinterpret_cast<std::uintptr_t>(buffer.address());
}

void release(Buffer &buffer) {
    if (!buffer.release())
        hf::raise(HF_E_BUSY, "the buffer is borrowed by a view; let the view die first");
}

/// The end of a `with` block. An error on its way is not hidden by BusyError: the block then goes with
/// the last view.
void leave(Buffer &buffer, nb::handle kind, nb::handle, nb::handle) {
    if (!buffer.release() && kind.is_none())
        hf::raise(HF_E_BUSY, "the buffer is borrowed by a view; let the view die first");
}

std::string describe(const Buffer &buffer) {
    const std::string size = std::to_string(buffer.size());
    if (!buffer.live()) return "<holdfast.Buffer of " + size + " bytes, released>";
    char text[96];
    std::snprintf(text, sizeof text, "<holdfast.Buffer of %s bytes at %p, %ld borrows>",
                  size.c_str(), buffer.address(), buffer.exports());
    return text;
}

} // namespace

void bind_buffer(nb::module_ &module) {
    nb::class_<Buffer>(
        module, "Buffer", nb::type_slots(buffer_slots),
        "One block of a heap. Freed by release(), at the end of `with`, by Heap.free(),\n"
        "or when the last borrow of it dies. `memoryview(buffer)`, `numpy.frombuffer(buffer)` and\n"
        "`numpy.from_dlpack(buffer)` borrow it without a copy.")
        .def_prop_ro("size", &Buffer::size, "Bytes that were asked for.")
        .def_prop_ro("align", &Buffer::align, "Alignment that was asked for [bytes].")
        .def_prop_ro("address", &address_of,
                     "Address of the first byte; InvalidArgumentError after release.")
        .def_prop_ro(
            "released", [](const Buffer &buffer) { return !buffer.live(); },
            "True once the block is freed or its heap is closed.")
        .def_prop_ro("borrows", &Buffer::exports, "Living views of the block.")
        .def("release", &release, "Frees the block; again does nothing. BusyError while borrowed.")
        .def("__enter__", [](nb::handle self) { return nb::borrow(self); })
        .def("__exit__", &leave, nb::arg("kind").none(), nb::arg("value").none(),
             nb::arg("traceback").none(), "release(); an error is not hidden by BusyError.")
        .def("__len__", &Buffer::size)
        .def("__repr__", &describe)
        .def("__dlpack__", &to_dlpack, nb::kw_only(), nb::arg("stream") = nb::none(),
             nb::arg("max_version") = nb::none(), nb::arg("dl_device") = nb::none(),
             nb::arg("copy") = nb::none(), "A DLPack capsule that borrows the block.")
        .def(
            "__dlpack_device__",
            [](const Buffer &) { return nb::make_tuple(dlpack::device_cpu, 0); },
            "(1, 0): the CPU.");
}
