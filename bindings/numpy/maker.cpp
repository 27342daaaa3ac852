/// maker.cpp - array(shape, dtype): an ndarray on a given owner, as fast as numpy.empty.
///
/// The array owns its data through the owner's handler, as one made inside `allocator` does, so that
/// views, resize and pickling behave as everywhere; there is no second kind of borrow.
/// Talks to    handlers.hpp.
/// Fails with  OutOfMemoryError, InvalidArgumentError; see Arena.array.
#include "handlers.hpp"

#include <cstring>

namespace {

constexpr Py_ssize_t dimensions_max = 32; /* NumPy 1 has no more */
constexpr std::size_t align_max = std::size_t{2} << 20;

struct Asked {
    npy_intp lengths[dimensions_max];
    int dimensions = 0;
    std::size_t align = 64;
    int zero = 0;
    PyArray_Descr *dtype = nullptr; /* owned */
};

bool refuse(const char *sentence) {
    raise_holdfast("InvalidArgumentError", sentence);
    return false;
}

bool read_shape(PyObject *shape, Asked &asked) {
    if (PyLong_Check(shape)) {
        asked.lengths[0] = PyLong_AsSsize_t(shape);
        asked.dimensions = 1;
        if (asked.lengths[0] == -1 && PyErr_Occurred()) return false;
    } else if (PyIndex_Check(shape)) {
        asked.lengths[0] = PyNumber_AsSsize_t(shape, PyExc_OverflowError);
        asked.dimensions = 1;
        if (asked.lengths[0] == -1 && PyErr_Occurred()) return false;
    } else {
        PyObject *parts = PySequence_Fast(shape, "shape must be an int or a sequence of int");
        if (parts == nullptr) return false;
        const Py_ssize_t count = PySequence_Fast_GET_SIZE(parts);
        bool good = count <= dimensions_max || refuse("shape has too many dimensions");
        for (Py_ssize_t i = 0; good && i < count; i++) {
            PyObject *part = PySequence_Fast_GET_ITEM(parts, i);
            asked.lengths[i] = PyNumber_AsSsize_t(part, PyExc_OverflowError);
            good = asked.lengths[i] != -1 || !PyErr_Occurred();
        }
        asked.dimensions = static_cast<int>(count);
        Py_DECREF(parts);
        if (!good) return false;
    }
    for (int i = 0; i < asked.dimensions; i++)
        if (asked.lengths[i] < 0) return refuse("shape must not be negative");
    return true;
}

bool read_dtype(PyObject *given, Asked &asked) {
    if (!PyArray_DescrConverter(given, &asked.dtype)) return false;
    if (PyDataType_FLAGCHK(asked.dtype, NPY_ITEM_REFCOUNT) ||
        PyDataType_FLAGCHK(asked.dtype, NPY_NEEDS_INIT))
        return refuse("the dtype holds Python objects; use plain data");
    return true;
}

bool read_align(PyObject *given, Asked &asked) {
    const Py_ssize_t align = PyNumber_AsSsize_t(given, PyExc_OverflowError);
    if (align == -1 && PyErr_Occurred()) return false;
    asked.align = static_cast<std::size_t>(align);
    if (align < 1 || asked.align > align_max || (asked.align & (asked.align - 1)) != 0)
        return refuse("align must be a power of two, at most 2 MiB");
    return true;
}

/// Positional: shape, dtype. By name: these, align, zero.
bool read(PyObject *const *values, Py_ssize_t positional, PyObject *names, Asked &asked) {
    PyObject *shape = positional > 0 ? values[0] : nullptr;
    PyObject *dtype = positional > 1 ? values[1] : nullptr;
    if (positional > 2) {
        PyErr_SetString(PyExc_TypeError, "array() takes shape and dtype; name the others");
        return false;
    }
    const Py_ssize_t named = names != nullptr ? PyTuple_GET_SIZE(names) : 0;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        PyObject *value = values[positional + i];
        const auto is = [name](const char *word) {
            return PyUnicode_CompareWithASCIIString(name, word) == 0;
        };
        if (is("dtype") && dtype == nullptr)
            dtype = value;
        else if (is("shape") && shape == nullptr)
            shape = value;
        else if (is("align")) {
            if (!read_align(value, asked)) return false;
        } else if (is("zero")) {
            if ((asked.zero = PyObject_IsTrue(value)) < 0) return false;
        } else {
            PyErr_Format(PyExc_TypeError, "array() got an unexpected argument %R", name);
            return false;
        }
    }
    if (shape == nullptr) {
        PyErr_SetString(PyExc_TypeError, "array() needs a shape");
        return false;
    }
    if (!read_shape(shape, asked)) return false;
    if (dtype != nullptr) return read_dtype(dtype, asked);
    asked.dtype = PyArray_DescrFromType(NPY_DOUBLE);
    return true;
}

bool bytes_of(const Asked &asked, std::size_t *bytes_out) {
    const auto item = static_cast<std::size_t>(PyDataType_ELSIZE(asked.dtype));
    if (item == 0) return refuse("the dtype has no size; say how long, as in 'S8'");
    std::size_t bytes = item;
    bool empty = false;
    for (int i = 0; i < asked.dimensions; i++) {
        if (asked.lengths[i] == 0)
            empty = true;
        else if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(asked.lengths[i]), &bytes))
            return refuse("shape and dtype are larger than the address space");
    }
    *bytes_out = empty ? 1 : bytes;
    return true;
}

PyObject *array(PyObject *handler, PyObject *const *values, Py_ssize_t positional,
                PyObject *names) {
    Asked asked;
    std::size_t bytes = 0;
    if (!read(values, positional, names, asked) || !bytes_of(asked, &bytes)) {
        Py_XDECREF(asked.dtype);
        return nullptr;
    }
    array_door *door = door_of_handler(handler);
    void *data = door->allocate_aligned(door->context, bytes, asked.align);
    if (data == nullptr) {
        Py_DECREF(asked.dtype);
        door->refuse(door->context, bytes);
        return nullptr;
    }
    if (asked.zero) std::memset(data, 0, bytes);
    PyObject *made = PyArray_NewFromDescr(&PyArray_Type, asked.dtype, asked.dimensions,
                                          asked.lengths, nullptr, data, NPY_ARRAY_CARRAY, nullptr);
    if (made == nullptr) {
        door->give(door->context, data, bytes);
        return nullptr;
    }
    PyArray_ENABLEFLAGS(reinterpret_cast<PyArrayObject *>(made), NPY_ARRAY_OWNDATA);
    reinterpret_cast<PyArrayObject_fields *>(made)->mem_handler = Py_NewRef(handler);
    return made;
}

PyMethodDef array_method = {
    "array", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(array)),
    METH_FASTCALL | METH_KEYWORDS, "array(shape, dtype='f8', *, align=64, zero=False)"};

} // namespace

PyObject *make_maker(PyObject *, PyObject *handler) {
    if (door_of_handler(handler) == nullptr) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a handler of holdfast is needed");
        return nullptr;
    }
    return PyCFunction_NewEx(&array_method, handler, nullptr);
}
