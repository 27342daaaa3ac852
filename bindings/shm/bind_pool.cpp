/// bind_pool.cpp - Pool: objects by handle; memory of one that is out, as a buffer.
///
/// Invariants  the memory is lent with the pool: releasing an object whose views live is Python's to
///             refuse (holdfast/shm/pool.py counts them).
/// Talks to    shm_pool.h.   Used by holdfast/shm/pool.py.
#include "handle.hpp"

#include <holdfast/shm_pool.h>

#include <vector>

namespace {

using namespace shm_binding;

struct Pool : Handle<hf_shm_pool, hf_shm_pool_close> {
    using Handle::Handle;
};

/// `capacity` and `object_size` 0: any, when it is opened.
Pool *pool_open(nb::object segment, const std::string &name, unsigned mode, std::uint64_t capacity,
                std::uint64_t object_size, std::uint64_t alignment, bool sanitize,
                nb::object format) {
    hf_shm_pool_options options;
    hf_shm_pool_options_init(&options, capacity, object_size);
    options.alignment = alignment;
    options.sanitize = sanitize;
    const std::string text = format.is_none() ? "" : nb::cast<std::string>(format);
    options.format = format.is_none() ? nullptr : text.c_str();
    return open_handle<Pool, hf_shm_pool>(std::move(segment), [&](hf_shm *shm, auto **out) {
        return hf_shm_pool_open(shm, plain(name), static_cast<hf_shm_mode>(mode), &options, out);
    });
}

/// A handle; EmptyError if none came free in time.
std::uint64_t acquire(Pool &pool, nb::object timeout) {
    const Pool::Use use(pool);
    hf_shm_handle handle = 0;
    if (!wait_for(timeout, HF_E_EMPTY,
                  [&](std::uint64_t ns) { return hf_shm_pool_acquire(use.get(), ns, &handle); })) {
        set_error_text(HF_E_EMPTY, "every object of the pool is taken");
        throw nb::python_error();
    }
    return handle;
}

nb::list acquire_many(Pool &pool, std::size_t count, nb::object timeout) {
    const Pool::Use use(pool);
    if (count > hf_shm_pool_capacity(use.get())) count = hf_shm_pool_capacity(use.get());
    std::vector<hf_shm_handle> handles(count);
    std::size_t acquired = 0;
    if (count != 0 && !wait_for(timeout, HF_E_EMPTY, [&](std::uint64_t ns) {
            return hf_shm_pool_acquire_bulk(use.get(), ns, handles.data(), count, &acquired);
        })) {
        set_error_text(HF_E_EMPTY, "every object of the pool is taken");
        throw nb::python_error();
    }
    nb::list row;
    for (std::size_t i = 0; i < acquired; i++)
        row.append(handles[i]);
    return row;
}

std::uint64_t adopt(Pool &pool, std::uint64_t handle) {
    const Pool::Use use(pool);
    hf_shm_handle own = 0;
    check(hf_shm_pool_adopt(use.get(), handle, &own));
    return own;
}

/// Index of the participant that has it; None: it is on its way.
nb::object owner(Pool &pool, std::uint64_t handle) {
    const Pool::Use use(pool);
    std::uint32_t participant = 0;
    check(hf_shm_pool_owner(use.get(), handle, &participant));
    return participant == HF_SHM_POOL_PASSED ? nb::none() : nb::object(nb::int_(participant));
}

/// The object's bytes; None if the handle is stale.
nb::object memory(nb::handle_t<Pool> self, std::uint64_t handle) {
    Pool &pool = nb::cast<Pool &>(self);
    const Pool::Use use(pool);
    void *there = hf_shm_pool_at(use.get(), handle);
    if (there == nullptr) return nb::none();
    return pool.lend_all(self, there, hf_shm_pool_object_size(use.get()));
}

int add_object(const hf_shm_pool_object *object, void *context) {
    static_cast<std::vector<hf_shm_pool_object> *>(context)->push_back(*object);
    return 0;
}

/// Rows (handle, participant or None).
nb::list objects(Pool &pool) {
    const Pool::Use use(pool);
    std::vector<hf_shm_pool_object> found;
    check(hf_shm_pool_visit(use.get(), add_object, &found));
    nb::list rows;
    for (const hf_shm_pool_object &object : found)
        rows.append(nb::make_tuple(object.handle, object.participant == HF_SHM_POOL_PASSED
                                                      ? nb::none()
                                                      : nb::object(nb::int_(object.participant))));
    return rows;
}

} // namespace

void bind_pool(nb::module_ &module) {
    nb::class_<Pool> pool(module, "Pool", nb::is_weak_referenceable());
    Pool::bind(pool);
    pool.def("acquire", &acquire, nb::arg("timeout").none() = nb::none())
        .def("acquire_many", &acquire_many, nb::arg("count"),
             nb::arg("timeout").none() = nb::none())
        .def("release",
             [](Pool &p, std::uint64_t handle) {
                 check(hf_shm_pool_release(Pool::Use(p).get(), handle));
             })
        .def("pass_on",
             [](Pool &p, std::uint64_t handle) {
                 check(hf_shm_pool_pass(Pool::Use(p).get(), handle));
             })
        .def("adopt", &adopt)
        .def("owner", &owner)
        .def("memory", &memory)
        .def("objects", &objects)
        .def_prop_ro("capacity", [](Pool &p) { return hf_shm_pool_capacity(Pool::Use(p).get()); })
        .def_prop_ro("object_size",
                     [](Pool &p) { return hf_shm_pool_object_size(Pool::Use(p).get()); })
        .def_prop_ro("live", [](Pool &p) { return hf_shm_pool_live(Pool::Use(p).get()); });
    module.def("pool_open", &pool_open, nb::rv_policy::take_ownership, nb::arg(), nb::arg(),
               nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none());
}
