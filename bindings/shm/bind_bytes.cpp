/// bind_bytes.cpp - Bytes: memory of a structure with the buffer protocol, counted while it lives.
///
/// Invariants  the structure outlives every view: Bytes holds it, views hold Bytes.
/// Why         a plain CPython type: one is made for every array and every slot.
#include "shm.hpp"

namespace shm_binding {

namespace {

struct Bytes {
    PyObject_HEAD;
    PyObject *owner; /* the structure */
    Borrows *borrows;
    void *base;
    Py_ssize_t size;
    PyObject *weak_references; /* whoever lent it sees whether it lives */
    bool readonly;
};

Bytes *bytes_of(PyObject *self) {
    return reinterpret_cast<Bytes *>(self);
}

int bytes_get_buffer(PyObject *self, Py_buffer *view, int flags) {
    return PyBuffer_FillInfo(view, self, bytes_of(self)->base, bytes_of(self)->size,
                             bytes_of(self)->readonly ? 1 : 0, flags);
}

void bytes_dealloc(PyObject *self) {
    if (bytes_of(self)->weak_references != nullptr) PyObject_ClearWeakRefs(self);
    bytes_of(self)->borrows->fetch_sub(1);
    Py_DECREF(bytes_of(self)->owner);
    Py_TYPE(self)->tp_free(self);
}

Py_ssize_t bytes_length(PyObject *self) {
    return bytes_of(self)->size;
}

PyBufferProcs bytes_buffer = {bytes_get_buffer, nullptr};
PySequenceMethods bytes_sequence = {};
PyTypeObject bytes_type = {PyVarObject_HEAD_INIT(nullptr, 0)};

} // namespace

PyObject *bytes_make(PyObject *owner, Borrows *borrows, void *base, std::size_t size,
                     bool readonly) noexcept {
    Bytes *bytes = PyObject_New(Bytes, &bytes_type);
    if (bytes == nullptr) return nullptr;
    bytes->owner = Py_NewRef(owner);
    bytes->borrows = borrows;
    borrows->fetch_add(1);
    bytes->base = base;
    bytes->size = static_cast<Py_ssize_t>(size);
    bytes->weak_references = nullptr;
    bytes->readonly = readonly;
    return reinterpret_cast<PyObject *>(bytes);
}

} // namespace shm_binding

void bind_bytes(nb::module_ &module) {
    using namespace shm_binding;
    bytes_sequence.sq_length = bytes_length;
    bytes_type.tp_name = "holdfast._shm.Bytes";
    bytes_type.tp_doc = "Memory of a structure in shared memory, as a buffer.";
    bytes_type.tp_basicsize = sizeof(Bytes);
    bytes_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
    bytes_type.tp_weaklistoffset = offsetof(Bytes, weak_references);
    bytes_type.tp_dealloc = bytes_dealloc;
    bytes_type.tp_as_buffer = &bytes_buffer;
    bytes_type.tp_as_sequence = &bytes_sequence;
    if (PyModule_AddType(module.ptr(), &bytes_type) != 0) throw nb::python_error();
}
