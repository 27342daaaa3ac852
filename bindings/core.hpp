/// core.hpp - what the binding files share: their entry points and the way to Python's exceptions.
///
/// Talks to    the C++ headers and nanobind alone. Policy lives in Python, decisions in C.
/// Threads     the GIL is held unless a comment says otherwise; shared state is atomic, so that
///             free-threaded builds need no lock.
#ifndef HOLDFAST_BINDINGS_CORE_HPP
#define HOLDFAST_BINDINGS_CORE_HPP

#include <cstring>

#include <nanobind/nanobind.h>

#include <holdfast/holdfast.hpp>

namespace nb = nanobind;

void bind_status(nb::module_ &module);
void bind_options(nb::module_ &module);
void bind_stats(nb::module_ &module);
void bind_report(nb::module_ &module);
void bind_safe_point(nb::module_ &module);
void bind_limit(nb::module_ &module);
void bind_buffer(nb::module_ &module);
void bind_heap(nb::module_ &module);
void bind_array(nb::module_ &module);
void bind_pool(nb::module_ &module);
void bind_arena(nb::module_ &module);
void bind_resource(nb::module_ &module);
void bind_owner(nb::module_ &module);

/// Sets the Python exception that holdfast.errors chooses for a status. For slots and callbacks;
/// everywhere else throw an hf::Error and the translator of bind_status.cpp does it.
void set_python_error(hf::Status status, const char *sentence) noexcept;

/// Text from C; bytes that are no UTF-8 are replaced.
inline nb::str text_from_c(const char *text) {
    PyObject *decoded =
        PyUnicode_DecodeUTF8(text, static_cast<Py_ssize_t>(std::strlen(text)), "replace");
    if (decoded == nullptr) throw nb::python_error();
    return nb::steal<nb::str>(decoded);
}

#endif
