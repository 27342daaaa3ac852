/// dlpack.hpp - a Buffer as a DLPack tensor: one dimension of bytes on the CPU, writable.
///
/// Both capsules are made: "dltensor" for consumers that do not say what they understand, and
/// "dltensor_versioned" (DLPack 1.0) for those that do. The tensor is a borrow.
/// Used by     bind_buffer.cpp.
/// Threads     the consumer may call the deleter on any thread; it takes the GIL.
/// Source      DLPack specification 1.0, dmlc/dlpack, structures dlpack.h.
#ifndef HOLDFAST_BINDINGS_DLPACK_HPP
#define HOLDFAST_BINDINGS_DLPACK_HPP

#include "buffer.hpp"

#include <cstdint>

namespace dlpack {

struct Device {
    std::int32_t type;
    std::int32_t id;
};
inline constexpr std::int32_t device_cpu = 1;

struct DataType {
    std::uint8_t code; /* 1: unsigned integer */
    std::uint8_t bits;
    std::uint16_t lanes;
};

struct Tensor {
    void *data;
    Device device;
    std::int32_t ndim;
    DataType dtype;
    std::int64_t *shape;
    std::int64_t *strides;
    std::uint64_t byte_offset;
};

struct Managed {
    Tensor tensor;
    void *context;
    void (*deleter)(Managed *);
};

struct Version {
    std::uint32_t major, minor;
};

struct ManagedVersioned {
    Version version;
    void *context;
    void (*deleter)(ManagedVersioned *);
    std::uint64_t flags;
    Tensor tensor;
};

/// A tensor with what it points at. `owner` is a Python reference.
template <class Header> struct Lent {
    static constexpr bool versioned = std::is_same_v<Header, ManagedVersioned>;
    static constexpr const char *name = versioned ? "dltensor_versioned" : "dltensor";

    Header header{};
    std::int64_t shape[1];
    std::int64_t strides[1] = {1};
    PyObject *owner;
    Buffer *buffer;

    static void give_back(Header *header) {
        auto *lent = static_cast<Lent *>(header->context);
        const PyGILState_STATE state = PyGILState_Ensure();
        lent->buffer->give_back();
        Py_DECREF(lent->owner);
        delete lent;
        PyGILState_Release(state);
    }

    /// A capsule nobody consumed still owns the tensor.
    static void drop(PyObject *capsule) {
        if (!PyCapsule_IsValid(capsule, name)) return; /* consumed: its name was changed */
        auto *header = static_cast<Header *>(PyCapsule_GetPointer(capsule, name));
        header->deleter(header);
    }

    static nb::object capsule(nb::handle owner, Buffer &buffer) {
        buffer.borrow();
        auto *lent = new Lent;
        lent->shape[0] = static_cast<std::int64_t>(buffer.size());
        lent->owner = owner.inc_ref().ptr();
        lent->buffer = &buffer;
        lent->header.context = lent;
        lent->header.deleter = give_back;
        lent->header.tensor = {buffer.address(), {device_cpu, 0}, 1, {1, 8, 1},
                               lent->shape,      lent->strides,   0};
        if constexpr (versioned) lent->header.version = {1, 0};
        PyObject *made = PyCapsule_New(&lent->header, name, drop);
        if (made == nullptr) {
            give_back(&lent->header);
            throw nb::python_error();
        }
        return nb::steal(made);
    }
};

} // namespace dlpack

#endif
