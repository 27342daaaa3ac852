/// bind_status.cpp - the table of statuses, and how an hf::Error becomes a Python exception.
///
/// The class is not chosen here: holdfast.errors builds its table from `status_table`, and
/// `holdfast.errors.from_status(status, sentence)` is asked for the exception.
/// Talks to    error.hpp, status.def, holdfast.errors.
/// Fails with  MemoryError if even the exception cannot be made.
#include "core.hpp"

namespace {

nb::list status_table() {
    nb::list rows;
#define HF_STATUS(name, value, python, sentence)                                                   \
    rows.append(nb::make_tuple("HF_" #name, value, python, sentence));
#include <holdfast/status.def>
#undef HF_STATUS
    return rows;
}

void translate(const std::exception_ptr &thrown, void *) {
    try {
        std::rethrow_exception(thrown);
    } catch (const hf::Error &error) {
        set_python_error(error.status(), error.what());
    }
}

} // namespace

void set_python_error(hf::Status status, const char *sentence) noexcept {
    PyObject *module = PyImport_ImportModule("holdfast.errors");
    if (module == nullptr) return; /* the import error is set and says why */
    PyObject *error =
        PyObject_CallMethod(module, "from_status", "is", static_cast<int>(status), sentence);
    if (error != nullptr) {
        PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(error)), error);
        Py_DECREF(error);
    }
    Py_DECREF(module);
}

void bind_status(nb::module_ &module) {
    nb::register_exception_translator(translate);
    module.def("status_table", &status_table,
               "Rows (name, value, Python class, sentence) of status.def.");
}
