/// bind_slot.cpp - Slot: an item of a queue in place, to be written and committed, or read and released.
///
///   reserve() ──► Slot ──► memoryview, ndarray ──► commit() │ abandon()
///   peek()    ──► Slot ──► memoryview, ndarray ──► release()
///
/// Invariants  it goes back once: with views alive that is refused, so none shows another's item. One
///             that dies in hand is abandoned (reserved) or released (peeked at).
#include "queue_object.hpp"

namespace shm_binding {

namespace {

struct SlotObject {
    PyObject_HEAD;
    QueueObject *queue; /* owned; null once it went back */
    hf_shm_slot slot;
    long exports;
    bool writing;
};

SlotObject *slot_of(PyObject *self) {
    return reinterpret_cast<SlotObject *>(self);
}

/// In hand, and no view shows it: else false with an exception.
bool expect_in_hand(SlotObject *slot, bool writing, const char *method) {
    if (slot->queue == nullptr) {
        set_error_text(HF_E_STALE, "the slot went back already");
        return false;
    }
    if (slot->writing != writing) {
        PyErr_Format(PyExc_TypeError, "%s is for slots of %s", method,
                     writing ? "reserve" : "peek");
        return false;
    }
    if (slot->exports > 0) {
        set_error_text(HF_E_BUSY, "views of the slot are alive; delete them first");
        return false;
    }
    return true;
}

void let_go(SlotObject *slot) {
    QueueObject *queue = slot->queue;
    slot->queue = nullptr;
    queue->users.fetch_sub(1);
    Py_DECREF(reinterpret_cast<PyObject *>(queue));
}

PyObject *finish(SlotObject *slot, hf_status status) {
    if (status != HF_OK) set_error(status);
    if (status == HF_OK || status == HF_E_STALE) let_go(slot);
    return status == HF_OK ? Py_NewRef(Py_None) : nullptr;
}

PyObject *slot_commit(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    SlotObject *slot = slot_of(self);
    if (count > 1) {
        PyErr_SetString(PyExc_TypeError, "commit takes the size at most");
        return nullptr;
    }
    if (!expect_in_hand(slot, true, "commit")) return nullptr;
    hf_shm_slot done = slot->slot;
    if (count == 1 && arguments[0] != Py_None) {
        const unsigned long long size = PyLong_AsUnsignedLongLong(arguments[0]);
        if (size == static_cast<unsigned long long>(-1) && PyErr_Occurred() != nullptr)
            return nullptr;
        done.size = size;
    }
    return finish(slot, hf_shm_queue_commit(slot->queue->queue, &done));
}

PyObject *slot_abandon(PyObject *self, PyObject *) {
    SlotObject *slot = slot_of(self);
    if (!expect_in_hand(slot, true, "abandon")) return nullptr;
    return finish(slot, hf_shm_queue_abandon(slot->queue->queue, &slot->slot));
}

PyObject *slot_release(PyObject *self, PyObject *) {
    SlotObject *slot = slot_of(self);
    if (!expect_in_hand(slot, false, "release")) return nullptr;
    return finish(slot, hf_shm_queue_release(slot->queue->queue, &slot->slot));
}

/// Back in any case: what was written is not put unless commit was called.
void give_back(SlotObject *slot) {
    if (slot->queue == nullptr) return;
    if (slot->writing)
        (void)hf_shm_queue_abandon(slot->queue->queue, &slot->slot);
    else
        (void)hf_shm_queue_release(slot->queue->queue, &slot->slot);
    let_go(slot);
}

PyObject *slot_enter(PyObject *self, PyObject *) {
    return Py_NewRef(self);
}

/// Reserved: committed, or abandoned if the block raised. Peeked at: released.
PyObject *slot_exit(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    SlotObject *slot = slot_of(self);
    if (slot->queue == nullptr) return Py_NewRef(Py_None);
    const bool raised = count > 0 && arguments[0] != Py_None;
    if (raised) {
        if (slot->exports == 0) give_back(slot);
        return Py_NewRef(Py_None);
    }
    return slot->writing ? slot_commit(self, nullptr, 0) : slot_release(self, nullptr);
}

int slot_get_buffer(PyObject *self, Py_buffer *view, int flags) {
    SlotObject *slot = slot_of(self);
    if (slot->queue == nullptr) {
        PyErr_SetString(PyExc_BufferError, "the slot went back already");
        view->obj = nullptr;
        return -1;
    }
    const int answer = PyBuffer_FillInfo(view, self, slot->slot.data,
                                         static_cast<Py_ssize_t>(slot->slot.size), 0, flags);
    if (answer == 0) slot->exports++;
    return answer;
}

void slot_release_buffer(PyObject *self, Py_buffer *) {
    slot_of(self)->exports--;
}

Py_ssize_t slot_length(PyObject *self) {
    return static_cast<Py_ssize_t>(slot_of(self)->slot.size);
}

void slot_dealloc(PyObject *self) {
    give_back(slot_of(self));
    Py_TYPE(self)->tp_free(self);
}

PyMethodDef slot_methods[] = {
    {"commit", reinterpret_cast<PyCFunction>(reinterpret_cast<void *>(slot_commit)), METH_FASTCALL,
     "commit($self, size=None, /)\n--\n\nPut what was written: the first `size` bytes, or all."},
    {"abandon", slot_abandon, METH_NOARGS, "abandon($self, /)\n--\n\nPut nothing."},
    {"release", slot_release, METH_NOARGS,
     "release($self, /)\n--\n\nGive the room of an item that was read back to the producers."},
    {"__enter__", slot_enter, METH_NOARGS, nullptr},
    {"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void *>(slot_exit)), METH_FASTCALL,
     nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyBufferProcs slot_buffer = {slot_get_buffer, slot_release_buffer};
PySequenceMethods slot_sequence = {};
PyTypeObject slot_type = {PyVarObject_HEAD_INIT(nullptr, 0)};

} // namespace

PyObject *slot_make(QueueObject *queue, const hf_shm_slot &slot, bool writing) noexcept {
    SlotObject *made = PyObject_New(SlotObject, &slot_type);
    if (made == nullptr) {
        if (writing)
            (void)hf_shm_queue_abandon(queue->queue, &slot);
        else
            (void)hf_shm_queue_release(queue->queue, &slot);
        return nullptr;
    }
    made->queue = queue;
    Py_INCREF(reinterpret_cast<PyObject *>(queue));
    queue->users.fetch_add(1);
    made->slot = slot;
    made->exports = 0;
    made->writing = writing;
    return reinterpret_cast<PyObject *>(made);
}

void slot_type_add(nb::module_ &module) {
    slot_sequence.sq_length = slot_length;
    slot_type.tp_name = "holdfast._shm.Slot";
    slot_type.tp_doc = "An item of a queue in place, as a buffer.";
    slot_type.tp_basicsize = sizeof(SlotObject);
    slot_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
    slot_type.tp_dealloc = slot_dealloc;
    slot_type.tp_methods = slot_methods;
    slot_type.tp_as_buffer = &slot_buffer;
    slot_type.tp_as_sequence = &slot_sequence;
    if (PyModule_AddType(module.ptr(), &slot_type) != 0) throw nb::python_error();
}

} // namespace shm_binding
