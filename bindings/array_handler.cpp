/// array_handler.cpp - the functions behind an array door.
///
/// Talks to    array_handler.hpp, heap_store.hpp.
/// Fails with  null, which NumPy turns into MemoryError.
#include "array_handler.hpp"
#include "core.hpp"
#include "heap_store.hpp"

namespace {

struct Held {
    array_door door;
    std::shared_ptr<ArrayHandler> handler;
};

ArrayHandler &handler_of(void *context) {
    return *static_cast<ArrayHandler *>(context);
}

void *door_allocate(void *context, std::size_t size) {
    return handler_of(context).allocate(size);
}

void *door_zeroed(void *context, std::size_t count, std::size_t size) {
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes)) return nullptr;
    return handler_of(context).zeroed(bytes);
}

void *door_resize(void *context, void *data, std::size_t size) {
    return handler_of(context).resize(data, size);
}

void door_give(void *, void *data, std::size_t) {
    if (data != nullptr) Store::give(data);
}

void *door_aligned(void *context, std::size_t size, std::size_t alignment) {
    return handler_of(context).store().allocate(size, alignment);
}

int door_owns(void *context, const void *address) {
    return handler_of(context).store().owns(address) ? 1 : 0;
}

void door_refuse(void *context, std::size_t size) {
    try {
        const Store &store = handler_of(context).store();
        if (store.closed())
            set_python_error(HF_E_CLOSED, "the owner of the memory is closed");
        else
            set_python_error(HF_E_NO_MEMORY, store.refusal(size).c_str());
    } catch (const std::bad_alloc &) {
        PyErr_NoMemory();
    }
}

void drop(PyObject *capsule) {
    auto *door = static_cast<array_door *>(PyCapsule_GetPointer(capsule, ARRAY_DOOR));
    delete reinterpret_cast<Held *>(door);
}

} // namespace

void *ResourceStore::obtain(std::size_t bytes) noexcept {
    const PyGILState_STATE state = PyGILState_Ensure();
    void *base = nullptr;
    try {
        base = resource_->allocate(bytes, 64);
    } catch (nb::python_error &error) {
        error.restore(); /* from a callback of the resource */
        PyErr_WriteUnraisable(nullptr);
    } catch (...) {
        /* Refused: null says so, and NumPy raises MemoryError. */
    }
    PyGILState_Release(state);
    return base;
}

Store &ArrayHandler::fallback() {
    static Store *const made = new HeapStore(std::make_shared<HeapState>(hf::default_heap()));
    return *made;
}

void *ArrayHandler::allocate(std::size_t size) noexcept {
    if (open()) [[likely]] {
        void *data = store_->allocate(size);
        if (data != nullptr || !store_->closed()) return data;
    }
    late_.fetch_add(1, std::memory_order_relaxed);
    return fallback().allocate(size);
}

void *ArrayHandler::zeroed(std::size_t size) noexcept {
    if (open()) {
        void *data = store_->zeroed(size);
        if (data != nullptr || !store_->closed()) return data;
    }
    late_.fetch_add(1, std::memory_order_relaxed);
    return fallback().zeroed(size);
}

void *ArrayHandler::resize(void *data, std::size_t size) noexcept {
    if (data == nullptr) return allocate(size);
    return Store::resize(Store::of(data), data, size); /* it stays with its owner */
}

void *ArrayHandler::door_capsule(const std::shared_ptr<ArrayHandler> &self) {
    auto *held = new Held{{self.get(), door_allocate, door_zeroed, door_resize, door_give,
                           door_aligned, door_owns, door_refuse},
                          self};
    PyObject *capsule = PyCapsule_New(&held->door, ARRAY_DOOR, drop);
    if (capsule == nullptr) delete held;
    return capsule;
}
