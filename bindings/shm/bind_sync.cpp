/// bind_sync.cpp - Event, Semaphore, Mutex, Barrier.
///
/// Talks to    shm_event.h, shm_semaphore.h, shm_mutex.h, shm_barrier.h.   Used by holdfast/shm/sync.py.
/// Threads     waits run without the GIL, in pieces, so that signal handlers run.
#include "handle.hpp"

#include <holdfast/shm_barrier.h>
#include <holdfast/shm_event.h>
#include <holdfast/shm_mutex.h>
#include <holdfast/shm_semaphore.h>

namespace {

using namespace shm_binding;

struct Event : Handle<hf_shm_event, hf_shm_event_close> {
    using Handle::Handle;
};
struct Semaphore : Handle<hf_shm_semaphore, hf_shm_semaphore_close> {
    using Handle::Handle;
};
struct Mutex : Handle<hf_shm_mutex, hf_shm_mutex_close> {
    using Handle::Handle;
};
struct Barrier : Handle<hf_shm_barrier, hf_shm_barrier_close> {
    using Handle::Handle;
};

/// `automatic` None: any, when it is opened.
Event *event_open(nb::object segment, const std::string &name, unsigned mode, nb::object automatic,
                  bool set) {
    hf_shm_event_options options;
    hf_shm_event_options_init(&options);
    const bool any = automatic.is_none() && mode == HF_SHM_OPEN;
    options.automatic = !automatic.is_none() && nb::cast<bool>(automatic);
    options.set = set;
    return open_handle<Event, hf_shm_event>(std::move(segment), [&](hf_shm *shm, auto **out) {
        return hf_shm_event_open(shm, plain(name), static_cast<hf_shm_mode>(mode),
                                 any ? nullptr : &options, out);
    });
}

bool event_wait(Event &event, nb::object timeout) {
    const Event::Use use(event);
    return wait_for(timeout, HF_E_TIMEOUT,
                    [&](std::uint64_t ns) { return hf_shm_event_wait(use.get(), ns); });
}

Semaphore *semaphore_open(nb::object segment, const std::string &name, unsigned mode,
                          std::uint64_t permits, bool counted, std::uint64_t most, bool any) {
    hf_shm_semaphore_options options;
    hf_shm_semaphore_options_init(&options, permits);
    options.counted = counted;
    options.most = most;
    return open_handle<Semaphore, hf_shm_semaphore>(
        std::move(segment), [&](hf_shm *shm, auto **out) {
            return hf_shm_semaphore_open(shm, plain(name), static_cast<hf_shm_mode>(mode),
                                         any ? nullptr : &options, out);
        });
}

bool semaphore_wait(Semaphore &semaphore, std::uint32_t count, nb::object timeout) {
    const Semaphore::Use use(semaphore);
    return wait_for(
        timeout, HF_E_TIMEOUT,
        [&](std::uint64_t ns) { return hf_shm_semaphore_wait(use.get(), count, ns); },
        count > 1 ? piece_long : piece_short); /* holds what it has collected so far */
}

Mutex *mutex_open(nb::object segment, const std::string &name, unsigned mode) {
    return open_handle<Mutex, hf_shm_mutex>(std::move(segment), [&](hf_shm *shm, auto **out) {
        return hf_shm_mutex_open(shm, plain(name), static_cast<hf_shm_mode>(mode), out);
    });
}

/// 0: not in time. 1: locked. 2: locked, and its last owner was killed with it.
int mutex_lock(Mutex &mutex, nb::object timeout) {
    const Mutex::Use use(mutex);
    bool doubtful = false;
    const bool locked = wait_for(timeout, HF_E_TIMEOUT, [&](std::uint64_t ns) {
        const hf_status status = hf_shm_mutex_lock(use.get(), ns);
        doubtful = status == HF_E_OWNER_DIED;
        return doubtful ? HF_OK : status;
    });
    return !locked ? 0 : doubtful ? 2 : 1;
}

/// (participant, thread), or None.
nb::object mutex_owner(Mutex &mutex) {
    const Mutex::Use use(mutex);
    std::uint32_t participant = 0, thread = 0;
    const hf_status status = hf_shm_mutex_owner(use.get(), &participant, &thread);
    if (status == HF_E_EMPTY) return nb::none();
    check(status);
    return nb::make_tuple(participant, thread);
}

Barrier *barrier_open(nb::object segment, const std::string &name, unsigned mode,
                      std::uint32_t parties, unsigned on_death, bool any) {
    hf_shm_barrier_options options;
    hf_shm_barrier_options_init(&options, parties);
    options.on_death = on_death;
    return open_handle<Barrier, hf_shm_barrier>(std::move(segment), [&](hf_shm *shm, auto **out) {
        return hf_shm_barrier_open(shm, plain(name), static_cast<hf_shm_mode>(mode),
                                   any ? nullptr : &options, out);
    });
}

/// The place, or None: not all came in time.
nb::object barrier_wait(Barrier &barrier, nb::object timeout) {
    const Barrier::Use use(barrier);
    std::uint32_t place = 0;
    /* Not tried with the GIL before: who gives up takes its arrival back. */
    const hf_status status = wait_in_pieces(
        timeout_ns(timeout), HF_E_TIMEOUT,
        [&](std::uint64_t ns) { return hf_shm_barrier_wait(use.get(), ns, &place); }, piece_long);
    if (status == HF_E_TIMEOUT) return nb::none();
    check(status);
    return nb::int_(place);
}

} // namespace

void bind_sync(nb::module_ &module) {
    nb::class_<Event> event(module, "Event", nb::is_weak_referenceable());
    Event::bind(event);
    event.def("set", [](Event &e) { check(hf_shm_event_set(Event::Use(e).get())); })
        .def("clear", [](Event &e) { check(hf_shm_event_clear(Event::Use(e).get())); })
        .def("wait", &event_wait, nb::arg("timeout").none() = nb::none())
        .def("is_set", [](Event &e) { return hf_shm_event_is_set(Event::Use(e).get()) != 0; })
        .def_prop_ro("automatic",
                     [](Event &e) { return hf_shm_event_is_automatic(Event::Use(e).get()) != 0; });
    module.def("event_open", &event_open, nb::rv_policy::take_ownership, nb::arg(), nb::arg(),
               nb::arg(), nb::arg().none(), nb::arg());

    nb::class_<Semaphore> semaphore(module, "Semaphore", nb::is_weak_referenceable());
    Semaphore::bind(semaphore);
    semaphore.def("wait", &semaphore_wait, nb::arg("count"), nb::arg("timeout").none() = nb::none())
        .def("post",
             [](Semaphore &s, std::uint32_t count) {
                 check(hf_shm_semaphore_post(Semaphore::Use(s).get(), count));
             })
        .def_prop_ro("value",
                     [](Semaphore &s) { return hf_shm_semaphore_value(Semaphore::Use(s).get()); })
        .def_prop_ro("held",
                     [](Semaphore &s) { return hf_shm_semaphore_held(Semaphore::Use(s).get()); });
    module.def("semaphore_open", &semaphore_open, nb::rv_policy::take_ownership);

    nb::class_<Mutex> mutex(module, "Mutex", nb::is_weak_referenceable());
    Mutex::bind(mutex);
    mutex.def("lock", &mutex_lock, nb::arg("timeout").none() = nb::none())
        .def("unlock", [](Mutex &m) { check(hf_shm_mutex_unlock(Mutex::Use(m).get())); })
        .def("consistent", [](Mutex &m) { check(hf_shm_mutex_consistent(Mutex::Use(m).get())); })
        .def("owner", &mutex_owner)
        .def_prop_ro("inconsistent", [](Mutex &m) {
            return hf_shm_mutex_is_inconsistent(Mutex::Use(m).get()) != 0;
        });
    module.def("mutex_open", &mutex_open, nb::rv_policy::take_ownership);

    nb::class_<Barrier> barrier(module, "Barrier", nb::is_weak_referenceable());
    Barrier::bind(barrier);
    barrier.def("wait", &barrier_wait, nb::arg("timeout").none() = nb::none())
        .def_prop_ro("parties",
                     [](Barrier &b) { return hf_shm_barrier_parties(Barrier::Use(b).get()); })
        .def_prop_ro("waiting",
                     [](Barrier &b) { return hf_shm_barrier_waiting(Barrier::Use(b).get()); })
        .def_prop_ro("round",
                     [](Barrier &b) { return hf_shm_barrier_round(Barrier::Use(b).get()); });
    module.def("barrier_open", &barrier_open, nb::rv_policy::take_ownership);
}
