/// numpy_module.cpp - the module holdfast._numpy: array doors as NumPy data handlers (NEP 49).
///
///   array ──mem_handler──► capsule ──► door ──► store ──► arena, heap
///
/// Invariants  an array holds its handler's capsule and with it the memory, whatever becomes of the
///             block or the object it was made in. Nothing here allocates array memory itself.
/// Talks to    NumPy's C API, array_door.h.   Called by holdfast/numpy.py.
/// Threads     the GIL is held; a build without GIL takes it for this module.
/// Fails with  ImportError without NumPy.
#define HOLDFAST_IMPORT_ARRAY
#include "handlers.hpp"

namespace {

/// The array that owns the data `object` looks at, or null: not an array's.
PyArrayObject *root_of(PyObject *object) {
    while (object != nullptr && PyArray_Check(object)) {
        auto *array = reinterpret_cast<PyArrayObject *>(object);
        PyObject *base = PyArray_BASE(array);
        if (base == nullptr) return array;
        object = base;
    }
    return nullptr;
}

/// (handler's owner, its address, bytes) of the array at the root; owner None: NumPy's own memory or
/// nobody's. None if the root is no array that owns its data.
PyObject *root(PyObject *, PyObject *object) {
    if (!PyArray_Check(object)) return PyErr_Format(PyExc_TypeError, "an ndarray is needed");
    PyArrayObject *array = root_of(object);
    if (array == nullptr || !PyArray_CHKFLAGS(array, NPY_ARRAY_OWNDATA)) Py_RETURN_NONE;
    PyObject *handler = PyArray_HANDLER(array);
    PyObject *owner = owner_of_handler(handler);
    return Py_BuildValue("(OKn)", owner != nullptr ? owner : Py_None,
                         reinterpret_cast<unsigned long long>(PyArray_DATA(array)),
                         static_cast<Py_ssize_t>(PyArray_NBYTES(array)));
}

/// The object at the end of an array's chain of bases: the array that owns its data, a memoryview ...
PyObject *last_base(PyObject *, PyObject *object) {
    while (PyArray_Check(object)) {
        PyObject *base = PyArray_BASE(reinterpret_cast<PyArrayObject *>(object));
        if (base == nullptr) break;
        object = base;
    }
    return Py_NewRef(object);
}

PyObject *set_handler(PyObject *, PyObject *handler) {
    if (handler == Py_None) handler = nullptr;
    if (handler != nullptr && !PyCapsule_IsValid(handler, "mem_handler"))
        return PyErr_Format(PyExc_TypeError, "a capsule named mem_handler is needed");
    return PyDataMem_SetHandler(handler);
}

PyObject *get_handler(PyObject *, PyObject *) {
    return PyDataMem_GetHandler();
}

PyMethodDef methods[] = {
    {"handler", make_handler, METH_VARARGS, "(door, owner): a data handler for set_handler."},
    {"maker", make_maker, METH_O, "A function array(shape, dtype='f8', *, align, zero)."},
    {"set_handler", set_handler, METH_O, "Handler of this context; returns the one before."},
    {"get_handler", get_handler, METH_NOARGS, "Handler of this context."},
    {"root", root, METH_O, "(owner, address, bytes) of the memory behind an array, or None."},
    {"last_base", last_base, METH_O, "The object at the end of an array's chain of bases."},
    {"patch", patch, METH_O, "Serves NumPy's default handler from a door."},
    {"unpatch", unpatch, METH_NOARGS, "NumPy serves itself again; what was served is still freed."},
    {"patched", patched, METH_NOARGS, "True while a door serves the default handler."},
    {"patched_owns", patched_owns, METH_O, "Index of the installed door the address is of, or -1."},
    {"default_handler_at", default_handler_at, METH_NOARGS, "Address of NumPy's own handler."},
    {nullptr, nullptr, 0, nullptr},
};

int execute(PyObject *module) {
    import_array1(-1);
    return PyModule_AddStringConstant(module, "built_for", NPY_FEATURE_VERSION_STRING);
}

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void *>(execute)},
    {0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "_numpy",
    "NumPy's door of holdfast. Use holdfast.numpy.",
    0,
    methods,
    slots,
    nullptr,
    nullptr,
    nullptr,
};

} // namespace

PyMODINIT_FUNC PyInit__numpy() {
    return PyModuleDef_Init(&definition);
}
