/// bind_queue.cpp - Queue as a plain CPython type: bytes in, bytes out, a call per message.
///
///   put(data) ──► one try with the GIL ──► full: without it, in pieces, until there is room
///
/// Invariants  what was taken out of the queue is returned: room for it is made before it is taken.
/// Talks to    shm_queue.h, queue_object.hpp.   Used by holdfast/shm/queue.py, whose classes stand on it.
/// Threads     any, but for `single` queues: one at a time on each side.
#include "queue_object.hpp"

#include <cstring>
#include <new>
#include <vector>

namespace shm_binding {

Pin::Pin(QueueObject *queue) noexcept : queue_(queue) {
    queue->users.fetch_add(1);
    open_ = queue->queue != nullptr;
    if (!open_) set_error_text(HF_E_CLOSED, "the queue is closed");
}

namespace {

constexpr std::size_t small_max = 2048; /* bytes that go through the stack */

PyObject *none() {
    return Py_NewRef(Py_None);
}

/// Memory of any object with the buffer protocol.
class Input {
public:
    explicit Input(PyObject *object) noexcept {
        if (PyBytes_CheckExact(object)) {
            data = PyBytes_AS_STRING(object);
            size = static_cast<std::uint64_t>(PyBytes_GET_SIZE(object));
            good = true;
        } else if (PyObject_GetBuffer(object, &view_, PyBUF_C_CONTIGUOUS) == 0) {
            data = view_.buf;
            size = static_cast<std::uint64_t>(view_.len);
            good = held_ = true;
        }
    }
    ~Input() {
        if (held_) PyBuffer_Release(&view_);
    }
    Input(const Input &) = delete;
    Input &operator=(const Input &) = delete;

    const void *data = nullptr;
    std::uint64_t size = 0;
    bool good = false;

private:
    Py_buffer view_{};
    bool held_ = false;
};

/// `timeout` of a fast call: positional at `position`, or by name. False with an exception.
bool parse_timeout(PyObject *const *arguments, Py_ssize_t count, PyObject *names,
                   Py_ssize_t position, const char *method, std::uint64_t *timeout_out) {
    PyObject *given = Py_None;
    const Py_ssize_t named = names != nullptr ? PyTuple_GET_SIZE(names) : 0;
    if (count < position || count > position + 1 || named > 1 || (named == 1 && count > position)) {
        PyErr_Format(PyExc_TypeError, "%s takes %zd arguments and timeout", method, position);
        return false;
    }
    if (count == position + 1) given = arguments[position];
    if (named == 1) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout") != 0) {
            PyErr_Format(PyExc_TypeError, "%s has no argument %R", method,
                         PyTuple_GET_ITEM(names, 0));
            return false;
        }
        given = arguments[count];
    }
    try {
        *timeout_out = timeout_ns(given);
        return true;
    } catch (nb::python_error &error) {
        error.restore();
        return false;
    }
}

/// Tries once, then waits. False when the time is over, with Full or Empty as an exception unless
/// `late_out` is there to say so, or for another reason, with its exception.
template <class Attempt>
bool carry_out(hf_shm_queue *queue, std::uint64_t timeout, hf_status not_yet, Attempt attempt,
               bool *late_out = nullptr) {
    hf_status status = attempt(0);
    if (status == not_yet && timeout != 0) {
        /* A wake between two pieces of the wait is for this one, too. */
        const std::uint32_t wakes = hf_shm_queue_wakes(queue);
        const auto piece = [&](std::uint64_t ns) {
            const hf_status got = attempt(ns);
            const bool over = got == HF_E_TIMEOUT || got == not_yet;
            return over && hf_shm_queue_wakes(queue) != wakes ? HF_E_CANCELLED : got;
        };
        try {
            status = wait_in_pieces(timeout, not_yet, piece);
        } catch (nb::python_error &error) {
            error.restore();
            return false;
        }
    }
    if (status == HF_OK) [[likely]]
        return true;
    if (status == not_yet || status == HF_E_TIMEOUT) {
        if (late_out != nullptr)
            *late_out = true;
        else
            set_error_text(not_yet,
                           not_yet == HF_E_FULL ? "the queue is full" : "the queue is empty");
    } else if (status == HF_E_CANCELLED) {
        set_error_text(status, "wake ended the wait in the queue");
    } else {
        set_error(status);
    }
    return false;
}

PyObject *queue_put(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names) {
    std::uint64_t timeout;
    if (!parse_timeout(arguments, count, names, 1, "put", &timeout)) return nullptr;
    const Pin pin(queue_of(self));
    if (!pin) return nullptr;
    const Input input(arguments[0]);
    if (!input.good) return nullptr;
    hf_shm_queue *queue = queue_of(self)->queue;
    return carry_out(queue, timeout, HF_E_FULL,
                     [&](std::uint64_t ns) {
                         return hf_shm_queue_put(queue, input.data, input.size, ns);
                     })
               ? none()
               : nullptr;
}

PyObject *queue_try_put(PyObject *self, PyObject *item) {
    const Pin pin(queue_of(self));
    if (!pin) return nullptr;
    const Input input(item);
    if (!input.good) return nullptr;
    const hf_status status = hf_shm_queue_put(queue_of(self)->queue, input.data, input.size, 0);
    if (status == HF_OK) return Py_NewRef(Py_True);
    if (status == HF_E_FULL) return Py_NewRef(Py_False);
    set_error(status);
    return nullptr;
}

/// The next item as bytes; *nothing_out instead of an exception if there is none and it is not null.
PyObject *take(QueueObject *object, std::uint64_t timeout, bool *nothing_out) {
    const Pin pin(object);
    if (!pin) return nullptr;
    hf_shm_queue *queue = object->queue;
    char small[small_max];
    PyObject *bytes = nullptr;
    char *room = small;
    std::uint64_t room_size = sizeof small, size = 0;
    /* Room for a large one at once; for bytes as large as the last was, if there is one. */
    const Py_ssize_t large = object->records ? object->element_size : object->large;
    if (large > static_cast<Py_ssize_t>(sizeof small) &&
        (object->records || hf_shm_queue_length(queue) > 0)) {
        room_size = static_cast<std::uint64_t>(large);
        bytes = PyBytes_FromStringAndSize(nullptr, large);
        if (bytes == nullptr) return nullptr;
        room = PyBytes_AS_STRING(bytes);
    }
    const auto attempt = [&](std::uint64_t ns) {
        size = 0;
        const hf_status status = hf_shm_queue_get(queue, room, room_size, ns, &size);
        /* It is longer than there is room for, and stays: the caller makes room. */
        return status == HF_E_INVALID && size > room_size ? HF_OK : status;
    };
    for (;;) {
        if (nothing_out != nullptr) {
            const hf_status status = attempt(0);
            *nothing_out = status == HF_E_EMPTY;
            if (status != HF_OK) {
                if (status != HF_E_EMPTY) set_error(status);
                Py_XDECREF(bytes);
                return nullptr;
            }
        } else if (!carry_out(queue, timeout, HF_E_EMPTY, attempt)) {
            Py_XDECREF(bytes);
            return nullptr;
        }
        if (size <= room_size) break;
        Py_XDECREF(bytes);
        bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size));
        if (bytes == nullptr) return nullptr;
        room = PyBytes_AS_STRING(bytes);
        room_size = size;
    }
    object->large = static_cast<Py_ssize_t>(size);
    if (room == small) return PyBytes_FromStringAndSize(small, static_cast<Py_ssize_t>(size));
    if (size < room_size) (void)_PyBytes_Resize(&bytes, static_cast<Py_ssize_t>(size));
    return bytes;
}

PyObject *queue_get(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names) {
    std::uint64_t timeout;
    if (!parse_timeout(arguments, count, names, 0, "get", &timeout)) return nullptr;
    return take(queue_of(self), timeout, nullptr);
}

PyObject *queue_try_get(PyObject *self, PyObject *) {
    bool nothing = false;
    PyObject *bytes = take(queue_of(self), 0, &nothing);
    return nothing ? none() : bytes;
}

PyObject *queue_get_into(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names) {
    std::uint64_t timeout, size = 0;
    if (!parse_timeout(arguments, count, names, 1, "get_into", &timeout)) return nullptr;
    const Pin pin(queue_of(self));
    if (!pin) return nullptr;
    Py_buffer view;
    if (PyObject_GetBuffer(arguments[0], &view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) != 0)
        return nullptr;
    hf_shm_queue *queue = queue_of(self)->queue;
    const bool done = carry_out(queue, timeout, HF_E_EMPTY, [&](std::uint64_t ns) {
        return hf_shm_queue_get(queue, view.buf, static_cast<std::uint64_t>(view.len), ns, &size);
    });
    PyBuffer_Release(&view);
    return done ? PyLong_FromUnsignedLongLong(size) : nullptr;
}

/// One item of several parts.
PyObject *queue_put_parts(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                          PyObject *names) {
    std::uint64_t timeout;
    if (!parse_timeout(arguments, count, names, 1, "put_parts", &timeout)) return nullptr;
    const Pin pin(queue_of(self));
    if (!pin) return nullptr;
    PyObject *items = PySequence_Fast(arguments[0], "put_parts takes a sequence of buffers");
    if (items == nullptr) return nullptr;
    const auto number = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(items));
    std::vector<Py_buffer> views;
    std::vector<hf_shm_bytes> parts;
    bool done = true;
    try {
        views.reserve(number);
        parts.reserve(number);
        for (std::size_t i = 0; done && i < number; i++) {
            Py_buffer view;
            PyObject *item = PySequence_Fast_GET_ITEM(items, static_cast<Py_ssize_t>(i));
            done = PyObject_GetBuffer(item, &view, PyBUF_ANY_CONTIGUOUS) == 0;
            if (!done) break;
            views.push_back(view);
            parts.push_back({view.buf, static_cast<std::uint64_t>(view.len)});
        }
    } catch (const std::bad_alloc &) {
        PyErr_NoMemory();
        done = false;
    }
    hf_shm_queue *queue = queue_of(self)->queue;
    done = done && carry_out(queue, timeout, HF_E_FULL, [&](std::uint64_t ns) {
               return hf_shm_queue_put_segmented(queue, parts.data(), parts.size(), ns);
           });
    for (Py_buffer &view : views)
        PyBuffer_Release(&view);
    Py_DECREF(items);
    return done ? none() : nullptr;
}

/// Records one behind another in a buffer; returns how many went in before the time was over.
PyObject *queue_put_block(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                          PyObject *names) {
    std::uint64_t timeout;
    if (!parse_timeout(arguments, count, names, 1, "put_block", &timeout)) return nullptr;
    const Pin pin(queue_of(self));
    if (!pin) return nullptr;
    const Input input(arguments[0]);
    if (!input.good) return nullptr;
    const auto step = static_cast<std::uint64_t>(queue_of(self)->element_size);
    if (input.size % step != 0) {
        PyErr_Format(PyExc_ValueError, "%llu bytes are no multiple of the element size %llu",
                     static_cast<unsigned long long>(input.size),
                     static_cast<unsigned long long>(step));
        return nullptr;
    }
    const std::uint64_t number = input.size / step;
    std::uint64_t done = 0;
    hf_shm_queue *queue = queue_of(self)->queue;
    const auto attempt = [&](std::uint64_t ns) {
        std::uint64_t now = 0;
        const hf_status status =
            hf_shm_queue_put_bulk(queue, static_cast<const char *>(input.data) + done * step,
                                  nullptr, number - done, ns, &now);
        done += now;
        return status;
    };
    bool late = false;
    if (number == 0 || carry_out(queue, timeout, HF_E_FULL, attempt, &late) || late)
        return PyLong_FromUnsignedLongLong(done);
    /* Some went in: that is an answer, not an error. */
    if (done > 0 && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
        return PyLong_FromUnsignedLongLong(done);
    }
    return nullptr;
}

/// Fills a buffer with records: waits for the first; returns how many.
PyObject *queue_get_block(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                          PyObject *names) {
    std::uint64_t timeout, done = 0;
    if (!parse_timeout(arguments, count, names, 1, "get_block", &timeout)) return nullptr;
    const Pin pin(queue_of(self));
    if (!pin) return nullptr;
    Py_buffer view;
    if (PyObject_GetBuffer(arguments[0], &view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) != 0)
        return nullptr;
    const auto number = static_cast<std::uint64_t>(view.len / queue_of(self)->element_size);
    hf_shm_queue *queue = queue_of(self)->queue;
    const bool good = number == 0 || carry_out(queue, timeout, HF_E_EMPTY, [&](std::uint64_t ns) {
                          return hf_shm_queue_get_bulk(queue, view.buf, nullptr, number, ns, &done);
                      });
    PyBuffer_Release(&view);
    return good ? PyLong_FromUnsignedLongLong(done) : nullptr;
}

/// Up to `count` items as a list of bytes: waits for the first.
PyObject *queue_get_many(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names) {
    std::uint64_t timeout;
    if (!parse_timeout(arguments, count, names, 1, "get_many", &timeout)) return nullptr;
    const Py_ssize_t most = PyNumber_AsSsize_t(arguments[0], PyExc_OverflowError);
    if (most == -1 && PyErr_Occurred() != nullptr) return nullptr;
    PyObject *list = PyList_New(0);
    while (list != nullptr && PyList_GET_SIZE(list) < most) {
        bool nothing = false;
        const bool first = PyList_GET_SIZE(list) == 0;
        PyObject *bytes = take(queue_of(self), timeout, first ? nullptr : &nothing);
        if (bytes == nullptr && nothing) break;
        if (bytes == nullptr && !first) {
            /* What was taken is not thrown away: the error comes again at the next call. */
            PyErr_Clear();
            break;
        }
        if (bytes == nullptr || PyList_Append(list, bytes) != 0) Py_CLEAR(list);
        Py_XDECREF(bytes);
    }
    return list;
}

PyObject *queue_reserve(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                        PyObject *names) {
    std::uint64_t timeout;
    if (!parse_timeout(arguments, count, names, 1, "reserve", &timeout)) return nullptr;
    const Py_ssize_t size = PyNumber_AsSsize_t(arguments[0], PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred() != nullptr) return nullptr;
    if (size < 0) {
        set_error_text(HF_E_INVALID, "size must not be negative");
        return nullptr;
    }
    const Pin pin(queue_of(self));
    if (!pin) return nullptr;
    hf_shm_queue *queue = queue_of(self)->queue;
    hf_shm_slot slot{};
    return carry_out(queue, timeout, HF_E_FULL,
                     [&](std::uint64_t ns) {
                         return hf_shm_queue_reserve(queue, static_cast<std::uint64_t>(size), ns,
                                                     &slot);
                     })
               ? slot_make(queue_of(self), slot, true)
               : nullptr;
}

PyObject *queue_peek(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                     PyObject *names) {
    std::uint64_t timeout;
    if (!parse_timeout(arguments, count, names, 0, "peek", &timeout)) return nullptr;
    const Pin pin(queue_of(self));
    if (!pin) return nullptr;
    hf_shm_queue *queue = queue_of(self)->queue;
    hf_shm_slot slot{};
    return carry_out(queue, timeout, HF_E_EMPTY,
                     [&](std::uint64_t ns) { return hf_shm_queue_peek(queue, ns, &slot); })
               ? slot_make(queue_of(self), slot, false)
               : nullptr;
}

/* --- the object ------------------------------------------------------------------------------- */

PyObject *queue_wake(PyObject *self, PyObject *) {
    const Pin pin(queue_of(self));
    if (!pin) return nullptr;
    hf_shm_queue_wake(queue_of(self)->queue);
    return none();
}

PyObject *queue_close(PyObject *self, PyObject *) {
    QueueObject *object = queue_of(self);
    if (object->queue == nullptr) return none();
    if (object->users.load() != 0) {
        set_error_text(HF_E_BUSY, "slots of the queue are in hand, or another thread is inside it");
        return nullptr;
    }
    const hf_status status = hf_shm_queue_close(object->queue);
    if (status != HF_OK) {
        set_error(status);
        return nullptr;
    }
    object->queue = nullptr;
    Py_CLEAR(object->segment);
    return none();
}

Py_ssize_t queue_length(PyObject *self) {
    const Pin pin(queue_of(self));
    return pin ? static_cast<Py_ssize_t>(hf_shm_queue_length(queue_of(self)->queue)) : -1;
}

int queue_truth(PyObject *) {
    return 1; /* an empty queue is one all the same */
}

/// (segment, name, mode, items, element_size, capacity, single, redeliver, format or None)
int queue_init(PyObject *self, PyObject *arguments, PyObject *) {
    PyObject *segment;
    const char *name, *format;
    unsigned mode, items, single, redeliver;
    unsigned long long element_size, capacity;
    if (queue_of(self)->queue != nullptr) {
        set_error_text(HF_E_INVALID, "the queue was opened already");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments, "OsIIKKIIz", &segment, &name, &mode, &items, &element_size,
                          &capacity, &single, &redeliver, &format))
        return -1;
    hf_shm_queue_options options;
    hf_shm_queue_options_init(&options, element_size, capacity);
    options.items = items;
    options.single = single;
    options.redeliver = redeliver;
    options.format = format;
    try {
        const Segment &core = nb::cast<Segment &>(nb::handle(segment));
        const bool any = mode == HF_SHM_OPEN && element_size == 0 && capacity == 0;
        const hf_status status =
            hf_shm_queue_open(core.get(), name, static_cast<hf_shm_mode>(mode),
                              any ? nullptr : &options, &queue_of(self)->queue);
        if (status != HF_OK) {
            set_error(status);
            return -1;
        }
    } catch (nb::python_error &error) {
        error.restore();
        return -1;
    } catch (const std::exception &error) {
        PyErr_SetString(PyExc_TypeError, error.what());
        return -1;
    }
    hf_shm_queue_options_of(queue_of(self)->queue, &options);
    queue_of(self)->element_size = static_cast<Py_ssize_t>(options.element_size);
    queue_of(self)->records = options.items == HF_SHM_QUEUE_RECORDS;
    queue_of(self)->segment = Py_NewRef(segment);
    return 0;
}

PyObject *queue_new(PyTypeObject *type, PyObject *, PyObject *) {
    PyObject *self = type->tp_alloc(type, 0);
    if (self != nullptr) new (&queue_of(self)->users) std::atomic<long>(0);
    return self;
}

void queue_dealloc(PyObject *self) {
    if (queue_of(self)->weak_references != nullptr) PyObject_ClearWeakRefs(self);
    if (queue_of(self)->queue != nullptr) (void)hf_shm_queue_close(queue_of(self)->queue);
    Py_CLEAR(queue_of(self)->segment);
    Py_TYPE(self)->tp_free(self);
}

PyObject *queue_get_closed(PyObject *self, void *) {
    return PyBool_FromLong(queue_of(self)->queue == nullptr);
}

/// (items, element_size, capacity, single, redeliver)
PyObject *queue_get_options(PyObject *self, void *) {
    const Pin pin(queue_of(self));
    if (!pin) return nullptr;
    hf_shm_queue_options options{};
    options.struct_size = sizeof options;
    hf_shm_queue_options_of(queue_of(self)->queue, &options);
    return Py_BuildValue(
        "(IKKII)", options.items, static_cast<unsigned long long>(options.element_size),
        static_cast<unsigned long long>(options.capacity), options.single, options.redeliver);
}

#define FAST(name) reinterpret_cast<PyCFunction>(reinterpret_cast<void *>(name))
PyMethodDef queue_methods[] = {
    {"put", FAST(queue_put), METH_FASTCALL | METH_KEYWORDS,
     "put($self, data, /, timeout=None)\n--\n\nPut one item; wait up to `timeout` seconds."},
    {"try_put", queue_try_put, METH_O,
     "try_put($self, data, /)\n--\n\nPut one item if there is room now; says whether."},
    {"get", FAST(queue_get), METH_FASTCALL | METH_KEYWORDS,
     "get($self, timeout=None)\n--\n\nTake the oldest item; wait up to `timeout` seconds."},
    {"try_get", queue_try_get, METH_NOARGS,
     "try_get($self, /)\n--\n\nTake the oldest item, or None if there is none now."},
    {"get_into", FAST(queue_get_into), METH_FASTCALL | METH_KEYWORDS,
     "get_into($self, buffer, /, timeout=None)\n--\n\nCopy the oldest item into a buffer; returns "
     "its size."},
    {"put_parts", FAST(queue_put_parts), METH_FASTCALL | METH_KEYWORDS,
     "put_parts($self, parts, /, timeout=None)\n--\n\nPut one item made of several buffers."},
    {"put_block", FAST(queue_put_block), METH_FASTCALL | METH_KEYWORDS,
     "put_block($self, records, /, timeout=None)\n--\n\nPut every record of a buffer; returns how "
     "many went in in time."},
    {"get_block", FAST(queue_get_block), METH_FASTCALL | METH_KEYWORDS,
     "get_block($self, buffer, /, timeout=None)\n--\n\nFill a buffer with records: wait for the "
     "first, take what is there; returns how many."},
    {"get_many", FAST(queue_get_many), METH_FASTCALL | METH_KEYWORDS,
     "get_many($self, count, /, timeout=None)\n--\n\nTake up to `count` items: wait for the first; "
     "a list of bytes."},
    {"reserve", FAST(queue_reserve), METH_FASTCALL | METH_KEYWORDS,
     "reserve($self, size, /, timeout=None)\n--\n\nGet the next slot, to be written in place; 0: "
     "of the whole element size."},
    {"peek", FAST(queue_peek), METH_FASTCALL | METH_KEYWORDS,
     "peek($self, timeout=None)\n--\n\nGet the oldest item where it lies; it is this process's "
     "until released."},
    {"wake", queue_wake, METH_NOARGS,
     "wake($self, /)\n--\n\nEveryone who waits in this queue, anywhere, gets CancelledError."},
    {"close", queue_close, METH_NOARGS,
     "close($self, /)\n--\n\nClose it in this process.\n\nRaises\n------\nBusyError\n"
     "    Slots are in hand."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef queue_getset[] = {
    {"closed", queue_get_closed, nullptr, "True after `close`.", nullptr},
    {"_options", queue_get_options, nullptr, "What it was made with.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PySequenceMethods queue_sequence = {};
PyNumberMethods queue_number = {};
PyTypeObject queue_type = {PyVarObject_HEAD_INIT(nullptr, 0)};

} // namespace

} // namespace shm_binding

void bind_queue(nb::module_ &module) {
    using namespace shm_binding;
    queue_sequence.sq_length = queue_length;
    queue_number.nb_bool = queue_truth;
    queue_type.tp_name = "holdfast._shm.Queue";
    queue_type.tp_doc = "One queue, of bytes; see holdfast.shm.Queue.";
    queue_type.tp_basicsize = sizeof(QueueObject);
    queue_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE;
    queue_type.tp_weaklistoffset = offsetof(QueueObject, weak_references);
    queue_type.tp_new = queue_new;
    queue_type.tp_init = queue_init;
    queue_type.tp_dealloc = queue_dealloc;
    queue_type.tp_methods = queue_methods;
    queue_type.tp_getset = queue_getset;
    queue_type.tp_as_sequence = &queue_sequence;
    queue_type.tp_as_number = &queue_number;
    if (PyModule_AddType(module.ptr(), &queue_type) != 0) throw nb::python_error();
    slot_type_add(module);
}
