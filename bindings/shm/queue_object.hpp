/// queue_object.hpp - what bind_queue.cpp and bind_slot.cpp share: the two objects.
///
/// Invariants  a slot holds its queue; a queue with slots in hand cannot be closed.
/// Why         plain CPython types: a call of a nanobind class costs 40 ns more, a message is 100.
#ifndef HOLDFAST_BINDINGS_SHM_QUEUE_OBJECT_HPP
#define HOLDFAST_BINDINGS_SHM_QUEUE_OBJECT_HPP

#include "shm.hpp"

#include <holdfast/shm_queue.h>

namespace shm_binding {

struct QueueObject {
    PyObject_HEAD;
    hf_shm_queue *queue; /* null after close          */
    PyObject *segment;   /* owned: _shm.Segment       */
    Py_ssize_t element_size;
    PyObject *weak_references;
    std::atomic<long> users; /* calls inside, slots in hand */
    bool records;            /* not bytes of any length    */
    Py_ssize_t large;        /* of the last item: a guess  */
};

inline QueueObject *queue_of(PyObject *self) {
    return reinterpret_cast<QueueObject *>(self);
}

/// Stands on a queue for the time of one call; false with an exception if it is closed.
class Pin {
public:
    explicit Pin(QueueObject *queue) noexcept;
    ~Pin() { queue_->users.fetch_sub(1); }
    Pin(const Pin &) = delete;
    Pin &operator=(const Pin &) = delete;
    explicit operator bool() const noexcept { return open_; }

private:
    QueueObject *queue_;
    bool open_;
};

/// A slot in hand; `writing`: reserved, else peeked at. Null with an exception; then it was given back.
PyObject *slot_make(QueueObject *queue, const hf_shm_slot &slot, bool writing) noexcept;
void slot_type_add(nb::module_ &module);

} // namespace shm_binding

#endif
