/// bind_pool_handle.cpp - PoolHandle: one block that is out, with its views.
///
/// Contract    see bind_pool.cpp and pool_handle.hpp.
/// Talks to    pool_handle.hpp.   Used by bind_pool.cpp.
/// Threads     see bind_pool.cpp. The free list exists where a GIL guards it.
/// Fails with  InvalidArgumentError after release, BusyError while borrowed.
#include "pool_handle.hpp"

#include <cstdio>
#include <new>
#include <thread>

namespace pool_binding {
namespace {

PyTypeObject handle_type = {PyVarObject_HEAD_INIT(nullptr, 0)};

#ifndef Py_GIL_DISABLED
/* Guarded by the GIL. */
constexpr int spare_most = 256;
Handle *spare[spare_most];
int spare_count = 0;
#endif

Handle *cast(PyObject *self) {
    return reinterpret_cast<Handle *>(self);
}

/// The step 0 -> -1 was made: the block goes.
void give_back(Handle *handle) noexcept {
    block_give_back(handle->pool, handle->block);
}

void refuse(Handle *handle) noexcept {
    const long exports = handle->exports.value();
    if (exports < 0) {
        set_python_error(HF_E_CLOSED, "the handle was already released");
        return;
    }
    char text[120];
    std::snprintf(text, sizeof text,
                  "the block is borrowed by %ld view%s: drop them, then release it", exports,
                  exports == 1 ? "" : "s");
    set_python_error(HF_E_BUSY, text);
}

void handle_dealloc(PyObject *self) {
    Handle *handle = cast(self);
    PyObject_GC_UnTrack(self);
    /* A view would hold the handle: nothing is borrowed here. */
    if (handle->exports.claim()) give_back(handle);
    Py_DECREF(handle->pool);
#ifndef Py_GIL_DISABLED
    if (spare_count < spare_most) {
        spare[spare_count++] = handle;
        return;
    }
#endif
    PyObject_GC_Del(self);
}

int handle_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(cast(self)->pool);
    return 0;
}

/* --- views ---------------------------------------------------------------------------------- */

int get_buffer(PyObject *self, Py_buffer *view, int flags) {
    Handle *handle = cast(self);
    view->obj = nullptr;
    if (!handle->exports.step_up()) {
        refuse(handle);
        return -1;
    }
    if (PyBuffer_FillInfo(view, self, handle->block, handle->pool->block_size, 0, flags) != 0) {
        handle->exports.step_down();
        return -1;
    }
    return 0;
}

void release_buffer(PyObject *self, Py_buffer *) {
    cast(self)->exports.step_down();
}

PyObject *view_by(PyObject *self, PyObject *maker, const char *missing) {
    if (maker == Py_None) {
        set_python_error(HF_E_INVALID, missing);
        return nullptr;
    }
    return PyObject_CallOneArg(maker, self);
}

PyObject *get_array(PyObject *self, void *) {
    return view_by(self, cast(self)->pool->make_array,
                   "the pool was made with a block_size: use memoryview(handle), or make it with a "
                   "dtype");
}

PyObject *get_record(PyObject *self, void *) {
    return view_by(self, cast(self)->pool->make_record,
                   "only a pool with a structured dtype has records; use array");
}

/* --- the rest ------------------------------------------------------------------------------- */

PyObject *release(PyObject *self, PyObject *) {
    return handle_release(cast(self)) ? Py_NewRef(Py_None) : nullptr;
}

PyObject *enter(PyObject *self, PyObject *) {
    return Py_NewRef(self);
}

/// A handle that was released inside is left alone. An error on its way is not hidden by BusyError:
/// then the block goes with the last view.
PyObject *leave(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    Handle *handle = cast(self);
    const bool failed = count > 0 && arguments[0] != Py_None;
    if (handle->exports.value() >= 0 && !handle_release(handle)) {
        if (!failed) return nullptr;
        PyErr_Clear();
    }
    return Py_NewRef(Py_None);
}

PyObject *get_address(PyObject *self, void *) {
    if (cast(self)->exports.value() < 0) {
        refuse(cast(self));
        return nullptr;
    }
    return PyLong_FromVoidPtr(cast(self)->block);
}

PyObject *get_released(PyObject *self, void *) {
    return PyBool_FromLong(cast(self)->exports.value() < 0);
}

PyObject *get_borrows(PyObject *self, void *) {
    const long exports = cast(self)->exports.value();
    return PyLong_FromLong(exports < 0 ? 0 : exports);
}

PyObject *get_pool(PyObject *self, void *) {
    return Py_NewRef(reinterpret_cast<PyObject *>(cast(self)->pool));
}

Py_ssize_t length(PyObject *self) {
    return cast(self)->pool->block_size;
}

PyObject *describe(PyObject *self) {
    Handle *handle = cast(self);
    const long exports = handle->exports.value();
    if (exports < 0)
        return PyUnicode_FromFormat("<holdfast.PoolHandle of %zd bytes, released>",
                                    handle->pool->block_size);
    return PyUnicode_FromFormat("<holdfast.PoolHandle of %zd bytes at %p, %ld borrows>",
                                handle->pool->block_size, handle->block, exports);
}

PyMethodDef methods[] = {
    {"release", release, METH_NOARGS,
     "release($self, /)\n--\n\nGive the block back; InvalidArgumentError if it was, BusyError "
     "while "
     "a view lives."},
    {"__enter__", enter, METH_NOARGS, nullptr},
    {"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(leave)), METH_FASTCALL,
     nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef getset[] = {
    {"array", get_array, nullptr,
     "The block as a NumPy array of the pool's dtype; it borrows the block.", nullptr},
    {"record", get_record, nullptr,
     "The block as a structured NumPy record; what is assigned to its fields is in the block.",
     nullptr},
    {"address", get_address, nullptr, "Address of the first byte.", nullptr},
    {"released", get_released, nullptr, "True once the block was given back.", nullptr},
    {"borrows", get_borrows, nullptr, "Living views of the block.", nullptr},
    {"pool", get_pool, nullptr, "The pool it is of.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyBufferProcs buffer_procs = {get_buffer, release_buffer};
PySequenceMethods sequence = {};

} // namespace

void block_give_back(PoolObject *pool, void *block) noexcept {
#ifdef Py_GIL_DISABLED
    /* close claims the pool, sees that this block is out, and lets go again. */
    while (!pool->users.step_up())
        std::this_thread::yield();
#endif
    (void)hf_pool_release(pool->pool, block);
#ifdef Py_GIL_DISABLED
    pool->users.step_down();
#endif
}

PyObject *handle_make(PoolObject *pool, void *block) noexcept {
    Handle *handle;
#ifndef Py_GIL_DISABLED
    if (spare_count > 0) {
        handle = spare[--spare_count];
        (void)PyObject_Init(reinterpret_cast<PyObject *>(handle), &handle_type);
    } else
#endif
    {
        handle = PyObject_GC_New(Handle, &handle_type);
        if (handle == nullptr) return nullptr;
    }
    handle->pool = reinterpret_cast<PoolObject *>(Py_NewRef(reinterpret_cast<PyObject *>(pool)));
    handle->block = block;
    new (&handle->exports) Count;
    PyObject_GC_Track(handle);
    return reinterpret_cast<PyObject *>(handle);
}

Handle *handle_of(PyObject *object) noexcept {
    return Py_IS_TYPE(object, &handle_type) ? cast(object) : nullptr;
}

bool handle_claim(Handle *handle) noexcept {
    if (handle->exports.claim()) [[likely]]
        return true;
    refuse(handle);
    return false;
}

void handle_settle(Handle *handle, bool give) noexcept {
    if (give)
        give_back(handle);
    else
        handle->exports.unclaim();
}

bool handle_release(Handle *handle) noexcept {
    if (!handle_claim(handle)) return false;
    give_back(handle);
    return true;
}

void handle_type_add(nb::module_ &module, PyTypeObject *) {
    sequence.sq_length = length;
    handle_type.tp_name = "holdfast._core.PoolHandle";
    handle_type.tp_doc =
        "One block that is out of a pool.\n\n"
        "`memoryview(handle)`, `handle.array` and `handle.record` borrow it without "
        "a copy.\nReleased by release(), by Pool.release(), at the end of `with`, "
        "or when it dies.";
    handle_type.tp_basicsize = sizeof(Handle);
    handle_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC;
    handle_type.tp_dealloc = handle_dealloc;
    handle_type.tp_traverse = handle_traverse;
    handle_type.tp_repr = describe;
    handle_type.tp_methods = methods;
    handle_type.tp_getset = getset;
    handle_type.tp_as_buffer = &buffer_procs;
    handle_type.tp_as_sequence = &sequence;
    handle_type.tp_free = PyObject_GC_Del;
    if (PyModule_AddType(module.ptr(), &handle_type) != 0) throw nb::python_error();
    /* Made by pools alone. */
    handle_type.tp_new = nullptr;
}

} // namespace pool_binding
