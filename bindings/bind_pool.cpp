/// bind_pool.cpp - Pool and PoolHandle as plain CPython types: a block costs no more than a call.
///
///   Pool.acquire() ──► handle ──► memoryview, NumPy: counted borrows ──► handle.release()
///
/// Invariants  a handle holds its pool; exports: 0 held │ n > 0 borrowed by n views │ -1 released. The
///             block goes back by the step 0 -> -1 alone, so no view ever shows a released block. A
///             handle that dies unreleased gives its block back.
/// Talks to    pool.hpp, pool_handle.hpp.   Used by holdfast/pool.py, whose class stands on Pool.
/// Threads     with a GIL it is what guards the counts; without one they are atomic, and every call
///             pins the pool. The GIL is given back only to wait, and to check, view and trim.
/// Fails with  OutOfMemoryError, WaitTimeoutError, InvalidArgumentError, BusyError.
/// Why         a nanobind class costs 60 ns to make and 40 ns a method here; a type of its own with a
///             free list costs 15 and 10.
#include "pool_handle.hpp"
#include "stats_row.hpp"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

namespace {

using pool_binding::Count;
using pool_binding::Handle;
using pool_binding::PoolObject;

/* A wait is cut into pieces, so that a signal's handler can run between them. */
constexpr std::uint64_t wait_piece_ns = 100'000'000;

/// Stands on a pool for the time of one call. Where a GIL serialises calls it is free.
class Pin {
public:
    explicit Pin(PoolObject *pool) : pool_(pool->users.step_up() ? pool : nullptr) {
        if (pool_ == nullptr) set_python_error(HF_E_CLOSED, "the pool is closed");
    }
    ~Pin() {
        if (pool_ != nullptr) pool_->users.step_down();
    }
    Pin(const Pin &) = delete;
    Pin &operator=(const Pin &) = delete;
    explicit operator bool() const noexcept { return pool_ != nullptr; }

private:
    PoolObject *pool_;
};

PoolObject *pool_of(PyObject *self) {
    return reinterpret_cast<PoolObject *>(self);
}

PyObject *none() {
    return Py_NewRef(Py_None);
}

/// Fills `blocks` up to `count`: at once, or without the GIL and in pieces until the time is over.
hf_status take_blocks(PoolObject *pool, std::uint64_t wait_ns, void **blocks, std::size_t count) {
    hf_status status = hf_pool_acquire_bulk_within(pool->pool, 0, blocks, count);
    if (status != HF_E_TIMEOUT || wait_ns == 0) return status;
    const auto started = std::chrono::steady_clock::now();
    pool->waiting.step_up(); /* the GIL goes: others may call close */
    for (;;) {
        const auto passed = static_cast<std::uint64_t>(
            std::chrono::nanoseconds(std::chrono::steady_clock::now() - started).count());
        if (passed >= wait_ns) break;
        const std::uint64_t piece = std::min(wait_ns - passed, wait_piece_ns);
        Py_BEGIN_ALLOW_THREADS;
        status = hf_pool_acquire_bulk_within(pool->pool, piece, blocks, count);
        Py_END_ALLOW_THREADS;
        if (status != HF_E_TIMEOUT) break;
        if (PyErr_CheckSignals() != 0) break; /* the exception is set */
    }
    pool->waiting.step_down();
    return status;
}

PyObject *refuse(PoolObject *pool, hf_status status) {
    if (PyErr_Occurred()) return nullptr;
    if (status != HF_E_LIMIT && status != HF_E_TIMEOUT) {
        set_python_error(status, hf_status_text(status));
        return nullptr;
    }
    const std::string name = hf_pool_name(pool->pool);
    std::string text = name.empty() ? "the pool" : "pool '" + name + "'";
    hf_pool_figures figures{};
    (void)hf_pool_figures_of(pool->pool, &figures);
    if (figures.capacity == 0)
        text += " cannot grow: a limit of the process would be exceeded";
    else
        text += ": " + std::to_string(figures.blocks_live) + " of " +
                std::to_string(figures.capacity) + " blocks are out" +
                (status == HF_E_TIMEOUT ? " and none came back in time" : "") +
                "; release one, or make the pool with a larger capacity";
    set_python_error(status, text.c_str());
    return nullptr;
}

/// A pool with a pattern may have found damage: told here, on the thread that met it.
bool settle(PoolObject *pool, std::uint64_t reports_before) {
    if (!pool->watched || hf_report_count() == reports_before) return true;
    PyObject *answer = PyObject_CallNoArgs(pool->settle);
    Py_XDECREF(answer);
    return answer != nullptr;
}

PyObject *acquire_one(PoolObject *pool, std::uint64_t wait_ns) {
    const Pin pin(pool);
    if (!pin) return nullptr;
    const std::uint64_t reports = pool->watched ? hf_report_count() : 0;
    void *block = nullptr;
    hf_status status = hf_pool_acquire_within(pool->pool, 0, &block);
    if (status == HF_E_TIMEOUT) [[unlikely]]
        status = take_blocks(pool, wait_ns, &block, 1);
    if (status != HF_OK) [[unlikely]]
        return refuse(pool, status);
    PyObject *handle = pool_binding::handle_make(pool, block);
    if (handle == nullptr) {
        (void)hf_pool_release(pool->pool, block);
        return nullptr;
    }
    if (!settle(pool, reports)) {
        Py_DECREF(handle);
        return nullptr;
    }
    return handle;
}

PyObject *pool_acquire(PyObject *self, PyObject *) {
    return acquire_one(pool_of(self), pool_of(self)->wait_ns);
}

PyObject *pool_acquire_within(PyObject *self, PyObject *seconds) {
    const double limit = PyFloat_AsDouble(seconds);
    if (limit == -1.0 && PyErr_Occurred()) return nullptr;
    const double wait_ns = limit * 1e9;
    return acquire_one(pool_of(self), !(wait_ns > 0)    ? 0
                                      : wait_ns >= 1e18 ? UINT64_MAX
                                                        : static_cast<std::uint64_t>(wait_ns));
}

PyObject *pool_release(PyObject *self, PyObject *argument) {
    Handle *handle = pool_binding::handle_of(argument);
    if (handle == nullptr) {
        PyErr_Format(PyExc_TypeError, "release takes a PoolHandle, not '%.100s'",
                     Py_TYPE(argument)->tp_name);
        return nullptr;
    }
    if (reinterpret_cast<PyObject *>(handle->pool) != self) {
        set_python_error(HF_E_INVALID, "the handle is of another pool; release it there");
        return nullptr;
    }
    return pool_binding::handle_release(handle) ? none() : nullptr;
}

PyObject *pool_acquire_many(PyObject *self, PyObject *argument) {
    PoolObject *pool = pool_of(self);
    const Py_ssize_t count = PyNumber_AsSsize_t(argument, PyExc_OverflowError);
    if (count == -1 && PyErr_Occurred()) return nullptr;
    if (count < 0) {
        set_python_error(HF_E_INVALID, "count must not be negative");
        return nullptr;
    }
    const Pin pin(pool);
    if (!pin) return nullptr;
    const std::uint64_t reports = pool->watched ? hf_report_count() : 0;
    std::vector<void *> blocks;
    try {
        blocks.resize(static_cast<std::size_t>(count));
    } catch (const std::exception &) {
        return PyErr_NoMemory();
    }
    const hf_status status = take_blocks(pool, pool->wait_ns, blocks.data(), blocks.size());
    if (status != HF_OK) return refuse(pool, status);
    PyObject *handles = PyList_New(count);
    std::size_t made = 0;
    while (handles != nullptr && made < blocks.size()) {
        PyObject *handle = pool_binding::handle_make(pool, blocks[made]);
        if (handle == nullptr) Py_CLEAR(handles);
        if (handle != nullptr) PyList_SET_ITEM(handles, static_cast<Py_ssize_t>(made++), handle);
    }
    /* What has a handle went with it. */
    (void)hf_pool_release_bulk(pool->pool, blocks.data() + made, blocks.size() - made);
    if (handles != nullptr && !settle(pool, reports)) Py_CLEAR(handles);
    return handles;
}

PyObject *pool_release_many(PyObject *self, PyObject *argument) {
    PyObject *items = PySequence_Fast(argument, "release_many takes handles");
    if (items == nullptr) return nullptr;
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(items);
    Py_ssize_t claimed = 0;
    const auto handle_at = [items](Py_ssize_t i) {
        return pool_binding::handle_of(PySequence_Fast_GET_ITEM(items, i));
    };
    /* Nothing is released if anything cannot be; one that is given twice cannot. */
    for (; claimed < count; claimed++) {
        Handle *handle = handle_at(claimed);
        if (handle == nullptr || reinterpret_cast<PyObject *>(handle->pool) != self) {
            set_python_error(HF_E_INVALID, "release_many: not a handle of this pool");
            break;
        }
        if (!pool_binding::handle_claim(handle)) break;
    }
    const bool good = claimed == count;
    for (Py_ssize_t i = 0; i < claimed; i++)
        pool_binding::handle_settle(handle_at(i), good);
    Py_DECREF(items);
    return good ? none() : nullptr;
}

/// Blocks that prevent it, or 0: closed.
PyObject *pool_close(PyObject *self, PyObject *) {
    PoolObject *pool = pool_of(self);
    if (pool->waiting.value() > 0) {
        set_python_error(HF_E_BUSY, "another thread waits for a block of the pool");
        return nullptr;
    }
    if (!pool->users.claim()) {
        if (pool->users.value() < 0) return PyLong_FromLong(0);
        set_python_error(HF_E_BUSY, "another thread is inside a call of the pool");
        return nullptr;
    }
    const std::size_t live = hf_pool_live(pool->pool);
    if (live == 0) {
        (void)hf_pool_destroy(pool->pool);
        pool->pool = nullptr;
        PyBuffer_Release(&pool->memory);
    } else {
        pool->users.unclaim();
    }
    return PyLong_FromSize_t(live);
}

/// Figures in the order of stats_table(), the profile first.
PyObject *pool_stats(PyObject *self, PyObject *) {
    const Pin pin(pool_of(self));
    if (!pin) return nullptr;
    hf_stats figures{};
    (void)hf_pool_stats(pool_of(self)->pool, &figures);
    return stats_row(figures).release().ptr();
}

PyObject *pool_figures(PyObject *self, PyObject *) {
    const Pin pin(pool_of(self));
    if (!pin) return nullptr;
    hf_pool_figures f{};
    (void)hf_pool_figures_of(pool_of(self)->pool, &f);
    return nb::make_tuple(f.block_size, f.stride, f.alignment, f.capacity, f.blocks, f.blocks_live,
                          f.blocks_cached, f.blocks_free, f.blocks_quarantined, f.slab_blocks,
                          f.taken_back, f.waits, f.wait_ns, f.timeouts, f.refusals)
        .release()
        .ptr();
}

int add_row(const hf_view_block *block, void *context) {
    static_cast<std::vector<hf_view_block> *>(context)->push_back(*block);
    return 0;
}

/// Rows (address, size, class_size, state, tier, domain, owner), as Heap.view.
PyObject *pool_view(PyObject *self, PyObject *) {
    static constexpr const char *states[] = {"live", "cached", "free", "quarantined"};
    const Pin pin(pool_of(self));
    if (!pin) return nullptr;
    std::vector<hf_view_block> blocks;
    (void)hf_pool_view(pool_of(self)->pool, add_row, &blocks);
    nb::list rows;
    for (const hf_view_block &block : blocks)
        rows.append(nb::make_tuple(reinterpret_cast<std::uintptr_t>(block.address), block.size,
                                   block.class_size, states[block.state & 3], "small", "libc",
                                   block.owner));
    return rows.release().ptr();
}

/// A call that takes long and touches no Python: without the GIL, with the pool kept open.
template <class Call> PyObject *unlocked(PyObject *self, Call call) {
    PoolObject *pool = pool_of(self);
    const Pin pin(pool);
    if (!pin) return nullptr;
    std::size_t answer = 0;
    pool->waiting.step_up();
    Py_BEGIN_ALLOW_THREADS;
    answer = call(pool->pool);
    Py_END_ALLOW_THREADS;
    pool->waiting.step_down();
    return PyLong_FromSize_t(answer);
}

PyObject *pool_check(PyObject *self, PyObject *) {
    return unlocked(self, [](hf_pool *pool) {
        std::size_t found = 0;
        (void)hf_pool_check(pool, &found);
        return found;
    });
}

PyObject *pool_trim(PyObject *self, PyObject *) {
    return unlocked(self, [](hf_pool *pool) { return hf_pool_trim(pool); });
}

Py_ssize_t pool_length(PyObject *self) {
    const Pin pin(pool_of(self));
    return pin ? static_cast<Py_ssize_t>(hf_pool_live(pool_of(self)->pool)) : -1;
}

int pool_truth(PyObject *) {
    return 1; /* a pool without blocks out is no empty container */
}

/* --- making --------------------------------------------------------------------------------- */

/// (block_size, alignment, capacity, grow, on_exhausted, wait_ns, sanitize, node, name, make_array,
/// make_record, settle, memory); Python checked what is Python's to check.
int pool_init(PyObject *self, PyObject *arguments, PyObject *) {
    PoolObject *pool = pool_of(self);
    unsigned long long block_size, alignment, capacity, grow, wait_ns;
    unsigned on_exhausted, sanitize;
    int node;
    const char *name;
    PyObject *make_array, *make_record, *settler, *memory;
    if (pool->make_array != nullptr) {
        set_python_error(HF_E_INVALID, "the pool was made already");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments, "KKKKIKIisOOOO", &block_size, &alignment, &capacity, &grow,
                          &on_exhausted, &wait_ns, &sanitize, &node, &name, &make_array,
                          &make_record, &settler, &memory))
        return -1;
    hf_pool_options options;
    hf_pool_options_init(&options, block_size);
    options.alignment = alignment;
    options.capacity = capacity;
    options.grow = grow;
    options.on_exhausted = on_exhausted;
    options.sanitize = sanitize;
    options.node = node;
    options.name = name;
    Py_buffer *view = &pool->memory;
    if (memory != Py_None && PyObject_GetBuffer(memory, view, PyBUF_WRITABLE) != 0) return -1;
    const hf_status status = memory == Py_None
                                 ? hf_pool_create(&options, &pool->pool)
                                 : hf_pool_create_on(view->buf, static_cast<std::size_t>(view->len),
                                                     &options, &pool->pool);
    if (status != HF_OK) {
        PyBuffer_Release(view);
        set_python_error(status, status == HF_E_INVALID
                                     ? "a pool has blocks of 1 to 1048576 bytes, an alignment of a "
                                       "power of two up to 4096, a node that exists, and a buffer "
                                       "that holds them"
                                     : hf_status_text(status));
        return -1;
    }
    pool->wait_ns = wait_ns != 0 ? wait_ns : UINT64_MAX;
    if (on_exhausted != HF_POOL_WAIT) pool->wait_ns = 0;
    pool->watched = sanitize == HF_POOL_PATTERN;
    pool->block_size = static_cast<Py_ssize_t>(block_size);
    pool->make_array = Py_NewRef(make_array);
    pool->make_record = Py_NewRef(make_record);
    pool->settle = Py_NewRef(settler);
    pool->users.unclaim();
    return 0;
}

PyObject *pool_new(PyTypeObject *type, PyObject *, PyObject *) {
    PyObject *self = type->tp_alloc(type, 0);
    if (self != nullptr) {
        new (&pool_of(self)->users) Count;
        new (&pool_of(self)->waiting) Count;
        (void)pool_of(self)->users.claim(); /* closed until it is made */
    }
    return self;
}

int pool_clear(PyObject *self) {
    Py_CLEAR(pool_of(self)->make_array);
    Py_CLEAR(pool_of(self)->make_record);
    Py_CLEAR(pool_of(self)->settle);
    return 0;
}

int pool_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(pool_of(self)->make_array);
    Py_VISIT(pool_of(self)->make_record);
    Py_VISIT(pool_of(self)->settle);
    return 0;
}

void pool_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    if (pool_of(self)->weak_references != nullptr) PyObject_ClearWeakRefs(self);
    (void)pool_clear(self);
    /* No handle is left, they hold the pool; what they held came back. */
    if (pool_of(self)->pool != nullptr) (void)hf_pool_destroy_forced(pool_of(self)->pool);
    PyBuffer_Release(&pool_of(self)->memory);
    Py_TYPE(self)->tp_free(self);
}

PyObject *pool_get_name(PyObject *self, void *) {
    const Pin pin(pool_of(self));
    return pin ? text_from_c(hf_pool_name(pool_of(self)->pool)).release().ptr() : nullptr;
}

PyObject *pool_get_id(PyObject *self, void *) {
    const Pin pin(pool_of(self));
    return pin ? PyLong_FromUnsignedLongLong(hf_pool_id(pool_of(self)->pool)) : nullptr;
}

PyObject *pool_get_closed(PyObject *self, void *) {
    return PyBool_FromLong(pool_of(self)->users.value() < 0 || pool_of(self)->pool == nullptr);
}

PyObject *pool_get_block_size(PyObject *self, void *) {
    return PyLong_FromSsize_t(pool_of(self)->block_size);
}

PyMethodDef pool_methods[] = {
    {"acquire", pool_acquire, METH_NOARGS,
     "acquire($self, /)\n--\n\nTake a block.\n\n"
     "Returns\n-------\nPoolHandle\n"
     "    Of the block, whose content is what its last user left unless the pool sanitises.\n\n"
     "Raises\n------\nOutOfMemoryError\n"
     "    All blocks are out (``on_exhausted='raise'``), or the system refused.\n"
     "WaitTimeoutError\n    None came back within ``timeout``."},
    {"acquire_within", pool_acquire_within, METH_O,
     "acquire_within($self, seconds, /)\n--\n\nTake a block of a pool that waits; wait at most "
     "`seconds`, whatever its\ntimeout is; 0: not at all."},
    {"acquire_many", pool_acquire_many, METH_O,
     "acquire_many($self, count, /)\n--\n\nTake `count` blocks, all or none; a list of handles."},
    {"release", pool_release, METH_O,
     "release($self, handle, /)\n--\n\nGive the block of a handle of this pool back.\n\n"
     "Raises\n------\nInvalidArgumentError\n    It was released before, or is of another pool.\n"
     "BusyError\n    A view of it lives."},
    {"release_many", pool_release_many, METH_O,
     "release_many($self, handles, /)\n--\n\nRelease all, or none if one of them cannot be."},
    {"_close", pool_close, METH_NOARGS, "Closes; returns the blocks that prevent it, or 0."},
    {"_stats", pool_stats, METH_NOARGS, "Profile, then the figures in the order of stats_table()."},
    {"_figures", pool_figures, METH_NOARGS, "The figures of hf_pool_figures, in their order."},
    {"_view", pool_view, METH_NOARGS, "Every block, as tuples."},
    {"_check", pool_check, METH_NOARGS, "Verifies the pool; returns how much damage was found."},
    {"trim", pool_trim, METH_NOARGS,
     "trim($self, /)\n--\n\nGive the memory of empty slabs back to the system now; returns bytes."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef pool_getset[] = {
    {"name", pool_get_name, nullptr, "As given, for reports.", nullptr},
    {"id", pool_get_id, nullptr, "Number of the pool in reports and among the owners.", nullptr},
    {"closed", pool_get_closed, nullptr, "True after `close`.", nullptr},
    {"block_size", pool_get_block_size, nullptr, "Bytes of a block.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PySequenceMethods pool_sequence = {};
PyNumberMethods pool_number = {};
PyTypeObject pool_type = {PyVarObject_HEAD_INIT(nullptr, 0)};

} // namespace

PoolObject *pool_binding::pool_of_object(PyObject *object) noexcept {
    return PyObject_TypeCheck(object, &pool_type) ? pool_of(object) : nullptr;
}

void bind_pool(nb::module_ &module) {
    pool_sequence.sq_length = pool_length;
    pool_number.nb_bool = pool_truth;
    pool_type.tp_name = "holdfast._core.Pool";
    pool_type.tp_doc = "One object pool; see holdfast.Pool.";
    pool_type.tp_basicsize = sizeof(PoolObject);
    pool_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC;
    pool_type.tp_weaklistoffset = offsetof(PoolObject, weak_references);
    pool_type.tp_new = pool_new;
    pool_type.tp_init = pool_init;
    pool_type.tp_dealloc = pool_dealloc;
    pool_type.tp_traverse = pool_traverse;
    pool_type.tp_clear = pool_clear;
    pool_type.tp_methods = pool_methods;
    pool_type.tp_getset = pool_getset;
    pool_type.tp_as_sequence = &pool_sequence;
    pool_type.tp_as_number = &pool_number;
    if (PyModule_AddType(module.ptr(), &pool_type) != 0) throw nb::python_error();
    pool_binding::handle_type_add(module, &pool_type);
    module.def("pool_buffer_size", [](std::size_t block_size, std::size_t alignment,
                                      std::size_t capacity, std::size_t grow) {
        hf_pool_options options;
        hf_pool_options_init(&options, block_size);
        options.alignment = alignment;
        options.capacity = capacity;
        options.grow = grow;
        return hf_pool_buffer_size(&options);
    });
}
