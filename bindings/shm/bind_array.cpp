/// bind_array.cpp - Array and Versioned: memory with a shape, in place or as whole versions.
///
/// Talks to    shm_array.h, shm_versioned.h.   Used by holdfast/shm/array.py, versioned.py.
/// Threads     copies of more than 64 KiB run without the GIL.
#include "handle.hpp"
#include "shape.hpp"

#include <holdfast/shm_array.h>
#include <holdfast/shm_versioned.h>

namespace {

using namespace shm_binding;

constexpr std::size_t worth_a_release = 64 << 10;

struct Array : Handle<hf_shm_array, hf_shm_array_close> {
    using Handle::Handle;
};
struct Versioned : Handle<hf_shm_versioned, hf_shm_versioned_close> {
    using Handle::Handle;
};

/// `shape` None: whatever it is, when it is opened.
Array *array_open(nb::object segment, const std::string &name, unsigned mode, nb::object shape,
                  std::uint64_t element_size, const std::string &format) {
    hf_shm_array_options options;
    hf_shm_array_options_init(&options, element_size, 1);
    options.format = format.c_str();
    if (!shape.is_none()) fill_shape(options, nb::cast<nb::tuple>(shape));
    return open_handle<Array, hf_shm_array>(std::move(segment), [&](hf_shm *shm, auto **out) {
        return hf_shm_array_open(shm, plain(name), static_cast<hf_shm_mode>(mode),
                                 shape.is_none() ? nullptr : &options, out);
    });
}

nb::object array_memory(nb::handle_t<Array> self) {
    Array &array = nb::cast<Array &>(self);
    const Array::Use use(array);
    return array.lend_all(self, hf_shm_array_data(use.get()), hf_shm_array_size(use.get()));
}

/* --- versions --------------------------------------------------------------------------------- */

Versioned *versioned_open(nb::object segment, const std::string &name, unsigned mode,
                          nb::object shape, std::uint64_t element_size, const std::string &format,
                          std::uint32_t buffers) {
    hf_shm_versioned_options options;
    hf_shm_versioned_options_init(&options, element_size, 1);
    options.format = format.c_str();
    options.buffers = buffers;
    if (!shape.is_none()) fill_shape(options, nb::cast<nb::tuple>(shape));
    return open_handle<Versioned, hf_shm_versioned>(
        std::move(segment), [&](hf_shm *shm, auto **out) {
            return hf_shm_versioned_open(shm, plain(name), static_cast<hf_shm_mode>(mode),
                                         shape.is_none() ? nullptr : &options, out);
        });
}

/// Memory of any object, of exactly the array's size.
class Whole {
public:
    Whole(nb::handle object, int flags, std::uint64_t size) {
        if (PyObject_GetBuffer(object.ptr(), &view, flags | PyBUF_C_CONTIGUOUS) != 0)
            throw nb::python_error();
        if (static_cast<std::uint64_t>(view.len) == size) return;
        const std::string sentence =
            "the array has " + std::to_string(size) + " bytes, not " + std::to_string(view.len);
        PyBuffer_Release(&view);
        set_error_text(HF_E_INVALID, sentence.c_str());
        throw nb::python_error();
    }
    ~Whole() { PyBuffer_Release(&view); }
    Whole(const Whole &) = delete;
    Whole &operator=(const Whole &) = delete;

    Py_buffer view{};
};

template <class Copy> hf_status copying(std::uint64_t size, Copy copy) {
    if (size < worth_a_release) return copy();
    const nb::gil_scoped_release released;
    return copy();
}

std::uint64_t versioned_write(Versioned &versioned, nb::handle data) {
    const Versioned::Use use(versioned);
    const std::uint64_t size = hf_shm_versioned_size(use.get());
    const Whole whole(data, PyBUF_SIMPLE, size);
    std::uint64_t version = 0;
    check(
        copying(size, [&] { return hf_shm_versioned_write(use.get(), whole.view.buf, &version); }));
    return version;
}

/// The version that was read; None: it is still the one that is known (0: any).
nb::object versioned_read(Versioned &versioned, nb::handle out, std::uint64_t known) {
    const Versioned::Use use(versioned);
    const std::uint64_t size = hf_shm_versioned_size(use.get());
    const Whole whole(out, PyBUF_WRITABLE, size);
    std::uint64_t version = 0;
    const hf_status status = copying(size, [&] {
        return known == 0 ? hf_shm_versioned_read(use.get(), whole.view.buf, &version)
                          : hf_shm_versioned_read_newer(use.get(), known, whole.view.buf, &version);
    });
    if (status == HF_E_EMPTY) return nb::none();
    check(status);
    return nb::int_(version);
}

/// Memory of the next version; `keep`: with the content of the last.
nb::object versioned_begin(nb::handle_t<Versioned> self, bool keep) {
    Versioned &versioned = nb::cast<Versioned &>(self);
    const Versioned::Use use(versioned);
    void *data = nullptr;
    const std::uint64_t size = hf_shm_versioned_size(use.get());
    check(copying(keep ? size : 0, [&] { return hf_shm_versioned_begin(use.get(), keep, &data); }));
    return versioned.lend_all(self, data, size);
}

/// The newest version in place: (memory, version).
nb::tuple versioned_view(nb::handle_t<Versioned> self) {
    Versioned &versioned = nb::cast<Versioned &>(self);
    const Versioned::Use use(versioned);
    const void *data = nullptr;
    std::uint64_t version = 0;
    check(hf_shm_versioned_view(use.get(), &data, &version));
    return nb::make_tuple(versioned.lend_read_only(self, data, hf_shm_versioned_size(use.get())),
                          version);
}

bool versioned_intact(Versioned &versioned, std::uint64_t version) {
    const Versioned::Use use(versioned);
    const hf_status status = hf_shm_versioned_intact(use.get(), version);
    if (status != HF_E_STALE) check(status);
    return status == HF_OK;
}

/// The newest version, later than `version`; None: there was none in time.
nb::object versioned_wait(Versioned &versioned, std::uint64_t version, nb::object timeout) {
    const Versioned::Use use(versioned);
    std::uint64_t newest = 0;
    if (!wait_for(timeout, HF_E_TIMEOUT, [&](std::uint64_t ns) {
            return hf_shm_versioned_wait(use.get(), version, ns, &newest);
        }))
        return nb::none();
    return nb::int_(newest);
}

nb::object versioned_writer(Versioned &versioned) {
    const Versioned::Use use(versioned);
    std::uint32_t participant = 0;
    return hf_shm_versioned_writer(use.get(), &participant) != 0 ? nb::object(nb::int_(participant))
                                                                 : nb::none();
}

} // namespace

void bind_array(nb::module_ &module) {
    nb::class_<Array> array(module, "Array", nb::is_weak_referenceable());
    Array::bind(array);
    array.def("memory", &array_memory);
    module.def("array_open", &array_open, nb::rv_policy::take_ownership, nb::arg(), nb::arg(),
               nb::arg(), nb::arg().none(), nb::arg(), nb::arg());

    nb::class_<Versioned> versioned(module, "Versioned", nb::is_weak_referenceable());
    Versioned::bind(versioned);
    versioned.def("write", &versioned_write)
        .def("read", &versioned_read)
        .def("begin", &versioned_begin)
        .def("commit",
             [](Versioned &v) {
                 std::uint64_t version = 0;
                 check(hf_shm_versioned_commit(Versioned::Use(v).get(), &version));
                 return version;
             })
        .def("cancel",
             [](Versioned &v) { check(hf_shm_versioned_cancel(Versioned::Use(v).get())); })
        .def("claim", [](Versioned &v) { check(hf_shm_versioned_claim(Versioned::Use(v).get())); })
        .def("release",
             [](Versioned &v) { check(hf_shm_versioned_release(Versioned::Use(v).get())); })
        .def("view", &versioned_view)
        .def("intact", &versioned_intact)
        .def("wait", &versioned_wait, nb::arg("version"), nb::arg("timeout").none() = nb::none())
        .def("writer", &versioned_writer)
        .def_prop_ro("version",
                     [](Versioned &v) { return hf_shm_versioned_version(Versioned::Use(v).get()); })
        .def_prop_ro("buffers", [](Versioned &v) {
            return hf_shm_versioned_buffers(Versioned::Use(v).get());
        });
    module.def("versioned_open", &versioned_open, nb::rv_policy::take_ownership, nb::arg(),
               nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg());
}
