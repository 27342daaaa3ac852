/// patch.cpp - NumPy's default handler, served from a door: process-wide, for every thread.
///
///   malloc, calloc: the door, else NumPy     realloc, free: whose address is it?
///
/// The handler is a structure in NumPy's writable data that every array without another handler points
/// at. Its functions are exchanged in place; the old ones are chained for addresses that are not ours,
/// for ever: arrays may be freed long after unpatch.
/// Invariants  a door that was installed once is never given up.
/// Talks to    handlers.hpp.   holdfast/numpy.py checks the version and the mapping before it calls.
/// Threads     each pointer is exchanged by itself and each pair works with each other.
#include "handlers.hpp"

#include <atomic>
#include <cstring>

namespace {

constexpr int doors_max = 32;

PyDataMemAllocator original;                /* written once, before anything is exchanged */
std::atomic<array_door *> active{nullptr};  /* serves new arrays                       */
std::atomic<array_door *> doors[doors_max]; /* every door there ever was               */
std::atomic<int> door_count{0};

array_door *owner_of_address(const void *address) {
    /* SYNC(patch.doors): the entry was written before the count. */
    const int count = door_count.load(std::memory_order_acquire);
    for (int i = 0; i < count; i++) {
        array_door *door = doors[i].load(std::memory_order_relaxed);
        if (door->owns(door->context, address)) return door;
    }
    return nullptr;
}

void *patched_malloc(void *, std::size_t size) {
    if (array_door *door = active.load(std::memory_order_acquire))
        if (void *data = door->allocate(door->context, size)) return data;
    return original.malloc(original.ctx, size);
}

void *patched_calloc(void *, std::size_t count, std::size_t size) {
    if (array_door *door = active.load(std::memory_order_acquire))
        if (void *data = door->zeroed(door->context, count, size)) return data;
    return original.calloc(original.ctx, count, size);
}

void *patched_realloc(void *, void *data, std::size_t size) {
    if (data == nullptr) return patched_malloc(nullptr, size);
    if (array_door *door = owner_of_address(data)) return door->resize(door->context, data, size);
    return original.realloc(original.ctx, data, size);
}

void patched_free(void *, void *data, std::size_t size) {
    if (data == nullptr) return;
    if (array_door *door = owner_of_address(data))
        door->give(door->context, data, size);
    else
        original.free(original.ctx, data, size);
}

PyDataMem_Handler *default_handler() {
    return static_cast<PyDataMem_Handler *>(
        PyCapsule_GetPointer(PyDataMem_DefaultHandler, "mem_handler"));
}

} // namespace

PyObject *patch(PyObject *, PyObject *capsule) {
    auto *door = static_cast<array_door *>(PyCapsule_GetPointer(capsule, ARRAY_DOOR));
    PyDataMem_Handler *handler = default_handler();
    if (door == nullptr || handler == nullptr) return nullptr;
    if (std::strcmp(handler->name, "default_allocator") != 0 || handler->version != 1) {
        raise_holdfast("UnsupportedError", "NumPy's default handler is not the one known");
        return nullptr;
    }
    int index = 0;
    const int count = door_count.load(std::memory_order_relaxed);
    while (index < count && doors[index].load(std::memory_order_relaxed)->context != door->context)
        index++;
    if (index == doors_max) {
        raise_holdfast("UnsupportedError", "32 different owners were installed already");
        return nullptr;
    }
    if (index == count) {
        Py_INCREF(capsule); /* for ever */
        doors[index].store(door, std::memory_order_relaxed);
        /* SYNC(patch.doors): pairs with owner_of_address. */
        door_count.store(count + 1, std::memory_order_release);
    }
    if (handler->allocator.free != patched_free) {
        original = handler->allocator;
        std::atomic_thread_fence(std::memory_order_release);
        handler->allocator.free = patched_free;
        handler->allocator.realloc = patched_realloc;
        handler->allocator.malloc = patched_malloc;
        handler->allocator.calloc = patched_calloc;
    }
    active.store(doors[index].load(std::memory_order_relaxed), std::memory_order_release);
    Py_RETURN_NONE;
}

PyObject *unpatch(PyObject *, PyObject *) {
    active.store(nullptr, std::memory_order_release);
    Py_RETURN_NONE;
}

PyObject *patched(PyObject *, PyObject *) {
    return PyBool_FromLong(active.load(std::memory_order_acquire) != nullptr);
}

PyObject *patched_owns(PyObject *, PyObject *number) {
    void *address = PyLong_AsVoidPtr(number);
    if (address == nullptr && PyErr_Occurred()) return nullptr;
    const array_door *door = owner_of_address(address);
    for (int i = 0; i < door_count.load(std::memory_order_acquire); i++)
        if (door != nullptr && doors[i].load(std::memory_order_relaxed) == door)
            return PyLong_FromLong(i);
    return PyLong_FromLong(-1);
}

PyObject *default_handler_at(PyObject *, PyObject *) {
    return PyLong_FromVoidPtr(default_handler());
}
