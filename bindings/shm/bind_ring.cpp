/// bind_ring.cpp - Ring and RingReader: a stream that one writes and many read.
///
/// Talks to    shm_ring.h.   Used by holdfast/shm/ring.py.
/// Threads     one at a time on a ring or reader; waits run without the GIL, in pieces.
#include "handle.hpp"

#include <holdfast/shm_ring.h>

#include <vector>

namespace {

using namespace shm_binding;

struct Ring : Handle<hf_shm_ring, hf_shm_ring_close> {
    using Handle::Handle;
};

/// Holds its ring open, which is what it has for a segment.
struct Reader : Handle<hf_shm_ring_reader, hf_shm_ring_reader_close> {
    using Handle::Handle;
    [[nodiscard]] std::uint64_t element_size() const {
        return hf_shm_ring_element_size(Ring::Use(nb::cast<Ring &>(segment())).get());
    }
};

/// Room for, or the bytes of, whole elements.
class Elements {
public:
    Elements(nb::handle object, int flags, std::uint64_t element_size) {
        if (PyObject_GetBuffer(object.ptr(), &view, flags | PyBUF_C_CONTIGUOUS) != 0)
            throw nb::python_error();
        count = static_cast<std::uint64_t>(view.len) / element_size;
        if (count * element_size == static_cast<std::uint64_t>(view.len)) return;
        const std::string sentence = std::to_string(view.len) +
                                     " bytes are no multiple of the element size " +
                                     std::to_string(element_size);
        PyBuffer_Release(&view);
        set_error_text(HF_E_INVALID, sentence.c_str());
        throw nb::python_error();
    }
    ~Elements() { PyBuffer_Release(&view); }
    Elements(const Elements &) = delete;
    Elements &operator=(const Elements &) = delete;

    Py_buffer view{};
    std::uint64_t count = 0;
};

Ring *ring_open(nb::object segment, const std::string &name, unsigned mode,
                std::uint64_t element_size, std::uint64_t capacity, bool reliable,
                std::uint32_t readers, const std::string &format, bool any) {
    hf_shm_ring_options options;
    hf_shm_ring_options_init(&options, element_size, capacity);
    options.reliable = reliable;
    options.readers_max = readers;
    options.format = format.c_str();
    return open_handle<Ring, hf_shm_ring>(std::move(segment), [&](hf_shm *shm, auto **out) {
        return hf_shm_ring_open(shm, plain(name), static_cast<hf_shm_mode>(mode),
                                any ? nullptr : &options, out);
    });
}

/// Elements that went in before the time was over.
std::uint64_t push(Ring &ring, nb::handle data, nb::object timeout) {
    const Ring::Use use(ring);
    const std::uint64_t size = hf_shm_ring_element_size(use.get());
    const Elements elements(data, PyBUF_SIMPLE, size);
    std::uint64_t done = 0;
    const auto attempt = [&](std::uint64_t ns) {
        std::uint64_t now = 0;
        const hf_status status = hf_shm_ring_push_bulk(
            use.get(), static_cast<const char *>(elements.view.buf) + done * size,
            elements.count - done, ns, &now);
        done += now;
        return status;
    };
    if (elements.count != 0) (void)wait_for(timeout, HF_E_FULL, attempt);
    return done;
}

/// (memory of a run to be filled, elements); commit follows.
nb::tuple reserve(nb::handle_t<Ring> self, std::uint64_t count, nb::object timeout) {
    Ring &ring = nb::cast<Ring &>(self);
    const Ring::Use use(ring);
    void *run = nullptr;
    std::uint64_t got = 0;
    if (!wait_for(timeout, HF_E_FULL, [&](std::uint64_t ns) {
            return hf_shm_ring_reserve(use.get(), count, ns, &run, &got);
        })) {
        set_error_text(HF_E_FULL, "the ring is full: a living reader did not keep up");
        throw nb::python_error();
    }
    return nb::make_tuple(ring.lend_all(self, run, got * hf_shm_ring_element_size(use.get())), got);
}

/// Fills `out` with the newest elements: (how many, position of the first).
nb::tuple latest(Ring &ring, nb::handle out) {
    const Ring::Use use(ring);
    const Elements room(out, PyBUF_WRITABLE, hf_shm_ring_element_size(use.get()));
    std::uint64_t got = 0, position = 0;
    if (room.count != 0) {
        const hf_status status =
            hf_shm_ring_latest(use.get(), room.view.buf, room.count, &got, &position);
        if (status != HF_E_EMPTY) check(status);
    }
    return nb::make_tuple(got, position);
}

std::uint64_t read_at(Ring &ring, std::uint64_t position, nb::handle out) {
    const Ring::Use use(ring);
    const Elements room(out, PyBUF_WRITABLE, hf_shm_ring_element_size(use.get()));
    std::uint64_t got = 0;
    if (room.count != 0)
        check(hf_shm_ring_read_at(use.get(), position, room.view.buf, room.count, &got));
    return got;
}

int add_reader(const hf_shm_ring_reader_info *reader, void *context) {
    static_cast<std::vector<hf_shm_ring_reader_info> *>(context)->push_back(*reader);
    return 0;
}

/// Rows (index, participant, position, lag, lost, lossy, alive).
nb::list readers(Ring &ring) {
    const Ring::Use use(ring);
    std::vector<hf_shm_ring_reader_info> found;
    check(hf_shm_ring_readers(use.get(), add_reader, &found));
    nb::list rows;
    for (const hf_shm_ring_reader_info &r : found)
        rows.append(nb::make_tuple(r.index, r.participant, r.position, r.lag, r.lost, r.lossy != 0,
                                   r.alive != 0));
    return rows;
}

nb::object writer(Ring &ring) {
    const Ring::Use use(ring);
    std::uint32_t participant = 0;
    return hf_shm_ring_writer(use.get(), &participant) != 0 ? nb::object(nb::int_(participant))
                                                            : nb::none();
}

Reader *reader_open(nb::object ring, unsigned from, std::uint64_t position, bool lossy) {
    hf_shm_ring_reader_options options;
    hf_shm_ring_reader_options_init(&options);
    options.from = from;
    options.position = position;
    options.lossy = lossy;
    hf_shm_ring_reader *reader = nullptr;
    {
        const Ring::Use use(nb::cast<Ring &>(ring));
        check(hf_shm_ring_reader_open(use.get(), &options, &reader));
    }
    return new Reader(std::move(ring), reader);
}

/// Fills `out`: waits for the first element, takes what is there. (got, lost); got 0: not in time.
nb::tuple pop(Reader &reader, nb::handle out, nb::object timeout) {
    const Reader::Use use(reader);
    const Elements room(out, PyBUF_WRITABLE, reader.element_size());
    std::uint64_t got = 0, lost = 0;
    if (room.count != 0)
        (void)wait_for(timeout, HF_E_EMPTY, [&](std::uint64_t ns) {
            return hf_shm_ring_pop_bulk(use.get(), room.view.buf, room.count, ns, &got, &lost);
        });
    return nb::make_tuple(got, lost);
}

std::uint64_t peek(Reader &reader, nb::handle out) {
    const Reader::Use use(reader);
    const Elements room(out, PyBUF_WRITABLE, reader.element_size());
    std::uint64_t got = 0;
    if (room.count != 0) {
        const hf_status status = hf_shm_ring_peek(use.get(), room.view.buf, room.count, &got);
        if (status != HF_E_EMPTY) check(status);
    }
    return got;
}

bool wait(Reader &reader, std::uint64_t count, nb::object timeout) {
    const Reader::Use use(reader);
    return wait_for(timeout, HF_E_TIMEOUT,
                    [&](std::uint64_t ns) { return hf_shm_ring_wait(use.get(), count, ns); });
}

/// The next elements in place: (memory or None, elements); advance follows.
nb::tuple view(nb::handle_t<Reader> self, std::uint64_t count) {
    Reader &reader = nb::cast<Reader &>(self);
    const Reader::Use use(reader);
    const void *run = nullptr;
    std::uint64_t got = 0;
    const hf_status status = hf_shm_ring_view(use.get(), count, &run, &got);
    if (status == HF_E_EMPTY) return nb::make_tuple(nb::none(), got);
    check(status);
    return nb::make_tuple(reader.lend_read_only(self, run, got * reader.element_size()), got);
}

/// How many of the first of them were overwritten meanwhile.
std::uint64_t advance(Reader &reader, std::uint64_t count) {
    std::uint64_t lost = 0;
    const hf_status status = hf_shm_ring_advance(Reader::Use(reader).get(), count, &lost);
    if (status != HF_E_STALE) check(status);
    return lost;
}

} // namespace

void bind_ring(nb::module_ &module) {
    nb::class_<Ring> ring(module, "Ring", nb::is_weak_referenceable());
    Ring::bind(ring);
    ring.def("push", &push, nb::arg("data"), nb::arg("timeout").none() = nb::none())
        .def("reserve", &reserve, nb::arg("count"), nb::arg("timeout").none() = nb::none())
        .def("commit",
             [](Ring &r, std::uint64_t count) {
                 check(hf_shm_ring_commit(Ring::Use(r).get(), count));
             })
        .def("claim", [](Ring &r) { check(hf_shm_ring_claim(Ring::Use(r).get())); })
        .def("release", [](Ring &r) { check(hf_shm_ring_release(Ring::Use(r).get())); })
        .def("latest", &latest)
        .def("read_at", &read_at)
        .def("readers", &readers)
        .def("writer", &writer)
        .def_prop_ro("element_size",
                     [](Ring &r) { return hf_shm_ring_element_size(Ring::Use(r).get()); })
        .def_prop_ro("capacity", [](Ring &r) { return hf_shm_ring_capacity(Ring::Use(r).get()); })
        .def_prop_ro("reliable",
                     [](Ring &r) { return hf_shm_ring_reliable(Ring::Use(r).get()) != 0; })
        .def_prop_ro("total_written",
                     [](Ring &r) { return hf_shm_ring_total_written(Ring::Use(r).get()); })
        .def_prop_ro("oldest", [](Ring &r) { return hf_shm_ring_oldest(Ring::Use(r).get()); });
    module.def("ring_open", &ring_open, nb::rv_policy::take_ownership);

    nb::class_<Reader> reader(module, "RingReader", nb::is_weak_referenceable());
    Reader::bind(reader);
    reader.def("pop", &pop, nb::arg("out"), nb::arg("timeout").none() = nb::none())
        .def("peek", &peek)
        .def("view", &view)
        .def("advance", &advance)
        .def("wait", &wait, nb::arg("count"), nb::arg("timeout").none() = nb::none())
        .def("seek",
             [](Reader &r, std::uint64_t position) {
                 check(hf_shm_ring_seek(Reader::Use(r).get(), position));
             })
        .def_prop_ro("position",
                     [](Reader &r) { return hf_shm_ring_position(Reader::Use(r).get()); })
        .def_prop_ro("lag", [](Reader &r) { return hf_shm_ring_lag(Reader::Use(r).get()); })
        .def_prop_ro("lost", [](Reader &r) { return hf_shm_ring_lost(Reader::Use(r).get()); });
    module.def("reader_open", &reader_open, nb::rv_policy::take_ownership);
}
