/// handlers.cpp - a door as NumPy's PyDataMem_Handler, in a capsule that keeps both alive.
///
/// Talks to    handlers.hpp.
#include "handlers.hpp"

#include <cstring>

namespace {

constexpr const char *capsule_name = "mem_handler"; /* NumPy insists on it */
constexpr const char *handler_name = "holdfast";

struct Handler {
    PyDataMem_Handler numpy;
    PyObject *door;  /* capsule */
    PyObject *owner; /* what owner_of says */
};

Handler *ours(PyObject *capsule) {
    if (capsule == nullptr || !PyCapsule_IsValid(capsule, capsule_name)) return nullptr;
    auto *handler = static_cast<PyDataMem_Handler *>(PyCapsule_GetPointer(capsule, capsule_name));
    if (std::strcmp(handler->name, handler_name) != 0) return nullptr;
    return reinterpret_cast<Handler *>(handler);
}

void drop(PyObject *capsule) {
    Handler *handler = ours(capsule);
    Py_DECREF(handler->owner);
    Py_DECREF(handler->door);
    delete handler;
}

} // namespace

void raise_holdfast(const char *name, const char *sentence) {
    PyObject *module = PyImport_ImportModule("holdfast.errors");
    if (module == nullptr) return;
    PyObject *kind = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    if (kind == nullptr) return;
    PyErr_SetString(kind, sentence);
    Py_DECREF(kind);
}

array_door *door_of_handler(PyObject *capsule) {
    Handler *handler = ours(capsule);
    if (handler == nullptr) return nullptr;
    return static_cast<array_door *>(PyCapsule_GetPointer(handler->door, ARRAY_DOOR));
}

PyObject *owner_of_handler(PyObject *capsule) {
    Handler *handler = ours(capsule);
    return handler != nullptr ? handler->owner : nullptr;
}

PyObject *make_handler(PyObject *, PyObject *arguments) {
    PyObject *door_capsule, *owner;
    if (!PyArg_ParseTuple(arguments, "OO", &door_capsule, &owner)) return nullptr;
    auto *door = static_cast<array_door *>(PyCapsule_GetPointer(door_capsule, ARRAY_DOOR));
    if (door == nullptr) return nullptr;
    auto *handler = new Handler{};
    std::strcpy(handler->numpy.name, handler_name);
    handler->numpy.version = 1;
    handler->numpy.allocator = {door->context, door->allocate, door->zeroed, door->resize,
                                door->give};
    PyObject *capsule = PyCapsule_New(&handler->numpy, capsule_name, drop);
    if (capsule == nullptr) {
        delete handler;
        return nullptr;
    }
    handler->door = Py_NewRef(door_capsule);
    handler->owner = Py_NewRef(owner);
    return capsule;
}
