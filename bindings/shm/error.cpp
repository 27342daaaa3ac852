/// error.cpp - from a status to the exception of holdfast.errors, and timeouts from Python.
///
/// Talks to    holdfast.errors, by import.
#include "shm.hpp"

#include <cmath>
#include <cstring>

namespace shm_binding {

PyObject *decode(const char *bytes) noexcept {
    return PyUnicode_DecodeUTF8(bytes, static_cast<Py_ssize_t>(std::strlen(bytes)), "replace");
}

void set_error_text(hf_status status, const char *sentence) noexcept {
    PyObject *errors = PyImport_ImportModule("holdfast.errors");
    if (errors == nullptr) return;
    PyObject *error = PyObject_CallMethod(errors, "from_status", "iN", static_cast<int>(status),
                                          decode(sentence));
    Py_DECREF(errors);
    if (error == nullptr) return;
    PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(error)), error);
    Py_DECREF(error);
}

void set_error(hf_status status) noexcept {
    const char *sentence = hf_shm_detail();
    set_error_text(status, *sentence != '\0' ? sentence : hf_status_text(status));
}

void raise(hf_status status) {
    set_error(status);
    throw nb::python_error();
}

const char *plain(const std::string &text) {
    if (text.find('\0') == std::string::npos) return text.c_str();
    set_error_text(HF_E_INVALID, "a name has no zero bytes");
    throw nb::python_error();
}

void raise_closed(const char *what) {
    const std::string sentence = std::string("the ") + what + " is closed";
    set_error_text(HF_E_CLOSED, sentence.c_str());
    throw nb::python_error();
}

void Structure::expect_no_borrows() const {
    const long count = borrows();
    if (count == 0) return;
    const std::string sentence =
        std::to_string(count) + " arrays or views on its memory are alive; delete them first";
    set_error_text(HF_E_BUSY, sentence.c_str());
    throw nb::python_error();
}

nb::object Structure::lend(nb::handle self, void *base, std::size_t size, bool readonly) {
    PyObject *bytes = bytes_make(self.ptr(), &borrows_, base, size, readonly);
    if (bytes == nullptr) throw nb::python_error();
    return nb::steal(bytes);
}

std::uint64_t timeout_ns(nb::handle seconds) {
    if (seconds.is_none()) return HF_FOREVER;
    const double value = PyFloat_AsDouble(seconds.ptr());
    if (value == -1.0 && PyErr_Occurred() != nullptr) throw nb::python_error();
    if (std::isnan(value) || value < 0) {
        set_error_text(HF_E_INVALID, "timeout must be None or not negative [s]");
        throw nb::python_error();
    }
    return value >= 1e9 ? HF_FOREVER : static_cast<std::uint64_t>(value * 1e9);
}

} // namespace shm_binding
