/// handlers.hpp - what the files of holdfast._numpy share.
///
/// Talks to    NumPy 1.26 and newer, array_door.h.
#ifndef HOLDFAST_BINDINGS_NUMPY_HANDLERS_HPP
#define HOLDFAST_BINDINGS_NUMPY_HANDLERS_HPP

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API  NPY_1_25_API_VERSION
#define NPY_TARGET_VERSION     NPY_1_25_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL holdfast_numpy_api
#ifndef HOLDFAST_IMPORT_ARRAY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "../array_door.h"

/// The door behind a handler of ours, the owner's Python object (borrowed), or null for another's.
array_door *door_of_handler(PyObject *handler);
PyObject *owner_of_handler(PyObject *handler);

/// Raises a class of holdfast.errors.
void raise_holdfast(const char *name, const char *sentence);

PyObject *make_handler(PyObject *module, PyObject *arguments);
PyObject *make_maker(PyObject *module, PyObject *handler);

PyObject *patch(PyObject *module, PyObject *door);
PyObject *unpatch(PyObject *module, PyObject *);
PyObject *patched(PyObject *module, PyObject *);
PyObject *patched_owns(PyObject *module, PyObject *address);
PyObject *default_handler_at(PyObject *module, PyObject *);

#endif
