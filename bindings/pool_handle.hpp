/// pool_handle.hpp - what the files about pools share: the two objects and a count.
///
/// Invariants  see bind_pool.cpp.
/// Talks to    core.hpp, pool.hpp.   Used by bind_pool.cpp, bind_pool_handle.cpp, bind_resource.cpp.
/// Threads     Count is plain where the GIL serialises its steps, atomic where there is none.
#ifndef HOLDFAST_BINDINGS_POOL_HANDLE_HPP
#define HOLDFAST_BINDINGS_POOL_HANDLE_HPP

#include "core.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pool_binding {

/// How many stand on something; -1: it is gone.
class Count {
public:
    /// One more, unless it is gone.
    [[nodiscard]] bool step_up() noexcept {
#ifdef Py_GIL_DISABLED
        long count = count_.load(std::memory_order_relaxed);
        while (count >= 0)
            if (count_.compare_exchange_weak(count, count + 1, std::memory_order_acq_rel))
                return true;
        return false;
#else
        if (count_ < 0) return false;
        ++count_;
        return true;
#endif
    }
#ifdef Py_GIL_DISABLED
    void step_down() noexcept {
        count_.fetch_sub(1, std::memory_order_acq_rel);
    }
    [[nodiscard]] bool claim() noexcept {
        long idle = 0;
        return count_.compare_exchange_strong(idle, -1, std::memory_order_acq_rel);
    }
    void unclaim() noexcept {
        count_.store(0, std::memory_order_release);
    }
    [[nodiscard]] long value() const noexcept {
        return count_.load(std::memory_order_acquire);
    }

private:
    std::atomic<long> count_{0};
#else
    void step_down() noexcept {
        --count_;
    }
    /// 0 -> -1; false if somebody stands on it or it is gone.
    [[nodiscard]] bool claim() noexcept {
        if (count_ != 0) return false;
        count_ = -1;
        return true;
    }
    void unclaim() noexcept {
        count_ = 0;
    }
    [[nodiscard]] long value() const noexcept {
        return count_;
    }

private:
    long count_ = 0;
#endif
};

struct PoolObject {
    PyObject_HEAD;
    hf_pool *pool;         /* null before init and after close              */
    std::uint64_t wait_ns; /* of acquire; 0: it does not wait               */
    Py_ssize_t block_size;
    PyObject *make_array;  /* handle -> ndarray; None without a dtype       */
    PyObject *make_record; /* handle -> numpy.void; None without fields     */
    PyObject *settle;      /* tells what the last call met                  */
    PyObject *weak_references;
    Py_buffer memory; /* of the caller, which the blocks lie in; obj null: none */
    bool watched;     /* acquire may find damage                       */
    Count users;      /* calls inside the pool; -1: closed, or not made */
    Count waiting;    /* of them, those that gave the GIL back         */
};

struct Handle {
    PyObject_HEAD;
    PoolObject *pool; /* owned                                        */
    void *block;
    Count exports; /* living views; -1: released                   */
};

/// Null if the object is no Pool.
PoolObject *pool_of_object(PyObject *object) noexcept;
/// A block that is out; the pool is not closed before it came back.
void block_give_back(PoolObject *pool, void *block) noexcept;
/// Takes the block along; null with an exception if there is no memory.
PyObject *handle_make(PoolObject *pool, void *block) noexcept;
/// Null if the object is no handle.
Handle *handle_of(PyObject *object) noexcept;
/// The first half of a release; false with an exception if it cannot be released now.
bool handle_claim(Handle *handle) noexcept;
/// The second: the block goes, or the handle is as it was.
void handle_settle(Handle *handle, bool give) noexcept;
bool handle_release(Handle *handle) noexcept;
void handle_type_add(nb::module_ &module, PyTypeObject *pool_type);

} // namespace pool_binding

#endif
