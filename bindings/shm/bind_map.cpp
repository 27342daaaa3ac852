/// bind_map.cpp - Map: bytes to bytes; Python's layer knows what they mean.
///
/// Talks to    shm_map.h.   Used by holdfast/shm/map.py.
/// Threads     reads keep the GIL, they never wait; changes may wait for another writer and give it back.
#include "handle.hpp"

#include <holdfast/shm_map.h>

#include <vector>

namespace {

using namespace shm_binding;

struct Map : Handle<hf_shm_map, hf_shm_map_close> {
    using Handle::Handle;
};

/// A key or a value: any object with the buffer protocol.
class Input {
public:
    explicit Input(nb::handle object) {
        if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_C_CONTIGUOUS) != 0)
            throw nb::python_error();
    }
    ~Input() { PyBuffer_Release(&view_); }
    Input(const Input &) = delete;
    Input &operator=(const Input &) = delete;
    [[nodiscard]] const void *data() const { return view_.buf; }
    [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(view_.len); }

private:
    Py_buffer view_{};
};

Map *map_open(nb::object segment, const std::string &name, unsigned mode, std::uint64_t key_size,
              bool bytes, std::uint64_t value_size, std::uint64_t capacity,
              const std::string &key_format, const std::string &value_format, bool any) {
    hf_shm_map_options options;
    hf_shm_map_options_init(&options, key_size, value_size, capacity);
    options.bytes = bytes;
    options.key_format = any ? nullptr : key_format.c_str();
    options.value_format = any ? nullptr : value_format.c_str();
    return open_handle<Map, hf_shm_map>(std::move(segment), [&](hf_shm *shm, auto **out) {
        return hf_shm_map_open(shm, plain(name), static_cast<hf_shm_mode>(mode),
                               any ? nullptr : &options, out);
    });
}

/// (key_size, bytes, value_size, capacity, key_format, value_format)
nb::tuple options_of(Map &map) {
    const Map::Use use(map);
    hf_shm_map_options options;
    hf_shm_map_options_of(use.get(), &options);
    return nb::make_tuple(options.key_size, options.bytes != 0, options.value_size,
                          options.capacity, options.key_format ? options.key_format : "",
                          options.value_format ? options.value_format : "");
}

/// Room for what is copied out: most is short, and the longest that may be can be a gigabyte.
class Room {
public:
    [[nodiscard]] char *data() { return large_.empty() ? small_ : large_.data(); }
    [[nodiscard]] std::size_t size() const {
        return large_.empty() ? sizeof small_ : large_.size();
    }
    /// True if it had to become larger.
    bool fit(std::size_t wanted) {
        if (wanted <= size()) return false;
        large_.resize(wanted);
        return true;
    }

private:
    char small_[1024];
    std::vector<char> large_;
};

/// (value, version), or None.
nb::object get(Map &map, nb::handle key) {
    const Map::Use use(map);
    const Input input(key);
    Room room;
    std::size_t size = 0;
    std::uint64_t version = 0;
    hf_status status;
    do
        status = hf_shm_map_get(use.get(), input.data(), input.size(), room.data(), room.size(),
                                &size, &version);
    while (status == HF_E_INVALID && room.fit(size));
    if (status == HF_E_NOT_FOUND) return nb::none();
    check(status);
    return nb::make_tuple(nb::bytes(room.data(), size), version);
}

template <class Change> std::uint64_t change(Map &map, nb::handle key, Change call) {
    const Map::Use use(map);
    const Input input(key);
    std::uint64_t version = 0;
    hf_status status;
    {
        const nb::gil_scoped_release released;
        status = call(use.get(), input.data(), input.size(), &version);
    }
    check(status);
    return version;
}

std::uint64_t put(Map &map, nb::handle key, nb::handle value) {
    const Input data(value);
    return change(map, key, [&](hf_shm_map *m, const void *k, std::size_t n, std::uint64_t *out) {
        return hf_shm_map_put(m, k, n, data.data(), data.size(), out);
    });
}

std::uint64_t put_if_absent(Map &map, nb::handle key, nb::handle value) {
    const Input data(value);
    return change(map, key, [&](hf_shm_map *m, const void *k, std::size_t n, std::uint64_t *out) {
        return hf_shm_map_put_if_absent(m, k, n, data.data(), data.size(), out);
    });
}

std::uint64_t replace_if(Map &map, nb::handle key, nb::handle value, std::uint64_t version) {
    const Input data(value);
    return change(map, key, [&](hf_shm_map *m, const void *k, std::size_t n, std::uint64_t *out) {
        return hf_shm_map_replace_if(m, k, n, data.data(), data.size(), version, out);
    });
}

void erase(Map &map, nb::handle key) {
    (void)change(map, key, [](hf_shm_map *m, const void *k, std::size_t n, std::uint64_t *) {
        return hf_shm_map_erase(m, k, n);
    });
}

void erase_if(Map &map, nb::handle key, std::uint64_t version) {
    (void)change(map, key, [&](hf_shm_map *m, const void *k, std::size_t n, std::uint64_t *) {
        return hf_shm_map_erase_if(m, k, n, version);
    });
}

void clear(Map &map) {
    const Map::Use use(map);
    hf_status status;
    {
        const nb::gil_scoped_release released;
        status = hf_shm_map_clear(use.get());
    }
    check(status);
}

/// (place of the next, key, value, version), or None at the end; starts at place 0.
nb::object next(Map &map, std::uint64_t place) {
    const Map::Use use(map);
    Room key, value;
    hf_shm_map_cursor cursor{};
    cursor.place = place;
    std::size_t key_size = 0, value_size = 0;
    std::uint64_t version = 0;
    hf_status status;
    bool larger = true;
    do {
        status = hf_shm_map_next(use.get(), &cursor, key.data(), key.size(), &key_size,
                                 value.data(), value.size(), &value_size, &version);
        larger = key.fit(key_size);
        larger = value.fit(value_size) || larger;
    } while (status == HF_E_INVALID && larger);
    if (status == HF_E_EMPTY) return nb::none();
    check(status);
    return nb::make_tuple(cursor.place, nb::bytes(key.data(), key_size),
                          nb::bytes(value.data(), value_size), version);
}

nb::dict figures(Map &map) {
    const Map::Use use(map);
    hf_shm_map_figures f{};
    check(hf_shm_map_figures_of(use.get(), &f));
    nb::dict row;
    row["capacity"] = f.capacity;
    row["count"] = f.count;
    row["cells"] = f.cells;
    row["cells_active"] = f.cells_active;
    row["changes"] = f.changes;
    row["recovered"] = f.recovered;
    row["bytes"] = f.bytes;
    row["lines_hit"] = f.lines_hit;
    row["lines_hit_max"] = f.lines_hit_max;
    row["lines_miss_max"] = f.lines_miss_max;
    row["shards"] = f.shards;
    row["levels"] = f.levels;
    return row;
}

} // namespace

void bind_map(nb::module_ &module) {
    nb::class_<Map> map(module, "Map", nb::is_weak_referenceable());
    Map::bind(map);
    map.def("get", &get)
        .def("put", &put)
        .def("put_if_absent", &put_if_absent)
        .def("replace_if", &replace_if)
        .def("erase", &erase)
        .def("erase_if", &erase_if)
        .def("clear", &clear)
        .def("next", &next)
        .def("figures", &figures)
        .def("options", &options_of)
        .def_prop_ro("count", [](Map &m) { return hf_shm_map_count(Map::Use(m).get()); });
    module.def("map_open", &map_open, nb::rv_policy::take_ownership);
}
