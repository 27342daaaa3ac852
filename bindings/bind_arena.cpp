/// bind_arena.cpp - Arena in Python: one ArenaState, its Buffers, scopes and figures.
///
/// Talks to    arena_state.hpp, buffer.hpp.   Used by holdfast/arena.py.
/// Fails with  OutOfMemoryError, InvalidArgumentError; what BusyError needs is returned as a count.
#include "arena_access.hpp"
#include "array_handler.hpp"
#include "buffer.hpp"
#include "core.hpp"
#include "stats_row.hpp"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <string>
#include <vector>

namespace {

struct PyArena {
    std::shared_ptr<ArenaState> state;
};

struct PyScope {
    std::shared_ptr<ArenaState> state;
    Scope *scope; /* null: left */
};

/// A view of the caller's buffer for as long as the arena stands on it.
struct HeldView {
    Py_buffer view{};
    ~HeldView() {
        const PyGILState_STATE gil = PyGILState_Ensure();
        PyBuffer_Release(&view);
        PyGILState_Release(gil);
    }
};

void set_options(hf_arena_options &options, nb::dict given) {
#define FIELD(field)                                                                               \
    if (name == #field) {                                                                          \
        options.field = static_cast<decltype(options.field)>(value);                               \
        fits = fits && static_cast<long long>(options.field) == value;                             \
        known = true;                                                                              \
    }
    for (auto item : given) {
        const auto name = nb::cast<std::string>(item.first);
        long long value = 0;
        bool known = false, fits = nb::try_cast(item.second, value);
        FIELD(capacity)
        FIELD(limit)
        FIELD(reserve)
        FIELD(retain)
        FIELD(decay_ms)
        FIELD(guard)
        FIELD(prefetch)
        FIELD(alignment)
        FIELD(min_size)
        FIELD(node)
        FIELD(zero)
        FIELD(thread_safe)
        FIELD(statistics)
        FIELD(track_allocations)
        FIELD(validate_access)
        FIELD(check_corruption)
        FIELD(log_operations)
        FIELD(huge_pages)
        if (!known) hf::raise(HF_E_INVALID, ("no such option of an arena: " + name).c_str());
        if (!fits) hf::raise(HF_E_INVALID, (name + " is out of range").c_str());
    }
#undef FIELD
}

void create(PyArena *self, int policy, nb::dict given, const std::string &name, nb::handle buffer) {
    hf_arena_options options;
    hf_arena_options_init(&options, static_cast<hf_arena_policy>(policy));
    set_options(options, given);
    options.name = name.c_str();
    char why[160] = "";
    if (const hf_status bad = hf_arena_options_check(&options, why, sizeof why); bad != HF_OK)
        hf::raise(bad, why);
    hf_arena *arena = nullptr;
    std::shared_ptr<void> keep;
    if (buffer.is_none()) {
        hf::check(hf_arena_create(&options, &arena));
    } else {
        auto held = std::make_shared<HeldView>();
        if (PyObject_GetBuffer(buffer.ptr(), &held->view, PyBUF_WRITABLE) != 0)
            throw nb::python_error();
        hf::check(hf_arena_create_on(held->view.buf, static_cast<std::size_t>(held->view.len),
                                     &options, &arena),
                  "the buffer is too small for an arena");
        keep = held;
    }
    new (self) PyArena{std::make_shared<ArenaState>(arena, keep)};
}

Buffer *allocate(const PyArena &arena, std::size_t size, std::size_t align) {
    Ticket ticket;
    void *block = arena.state->bump(size, align, &ticket);
    return new Buffer(arena.state, block, size, align != 0 ? align : HF_ARENA_ALIGNMENT, ticket);
}

nb::list allocate_bulk(const PyArena &arena, std::size_t size, std::size_t align,
                       std::size_t count) {
    Ticket ticket;
    std::vector<void *> blocks(count);
    if (count != 0) arena.state->bump_bulk(size, align, blocks, &ticket);
    nb::list made;
    for (void *block : blocks)
        made.append(nb::cast(
            new Buffer(arena.state, block, size, align != 0 ? align : HF_ARENA_ALIGNMENT, ticket),
            nb::rv_policy::take_ownership));
    return made;
}

PyScope enter(const PyArena &arena) {
    return PyScope{arena.state, arena.state->enter()};
}

long leave(PyScope &self) {
    if (self.scope == nullptr) hf::raise(HF_E_INVALID, "the scope was left already");
    const long lived = self.state->leave(self.scope);
    self.scope = nullptr;
    return lived;
}

struct Tracked {
    std::uintptr_t address;
    std::size_t size;
    std::uint64_t serial;
    std::string site;
};

int collect_block(const hf_arena_block *block, void *context) {
    static_cast<std::vector<Tracked> *>(context)->push_back(
        {reinterpret_cast<std::uintptr_t>(block->address), block->size, block->serial,
         block->site});
    return 0;
}

/// Rows (address, size, serial, site) of the whole arena, or of what a scope made.
nb::list leaks_since(ArenaState &state, const hf_mark *mark) {
    std::vector<Tracked> blocks; /* Python may not run while the arena is locked */
    const hf_status status = state.with([&](hf_arena *arena) {
        return hf_arena_leaks(arena, mark, collect_block, &blocks, nullptr);
    });
    hf::check(status, "leaks() needs an arena with track_allocations");
    nb::list rows;
    for (const Tracked &block : blocks)
        rows.append(nb::make_tuple(block.address, block.size, block.serial,
                                   text_from_c(block.site.c_str())));
    return rows;
}

nb::list scope_leaks(PyScope &self) {
    const hf_mark mark = self.state->mark_of(self.scope);
    return leaks_since(*self.state, &mark);
}

int collect_view(const hf_view_block *block, void *context) {
    static_cast<std::vector<hf_view_block> *>(context)->push_back(*block);
    return 0;
}

nb::list view(const PyArena &self) {
    std::vector<hf_view_block> blocks;
    hf::check(self.state->with(
        [&](hf_arena *arena) { return hf_arena_view(arena, collect_view, &blocks); }));
    static constexpr const char *states[] = {"live", "cached", "free", "quarantined"};
    nb::list rows;
    for (const hf_view_block &block : blocks)
        rows.append(nb::make_tuple(reinterpret_cast<std::uintptr_t>(block.address), block.size,
                                   block.class_size, states[block.state & 3], "arena", "libc",
                                   block.owner));
    return rows;
}

nb::tuple stats(const PyArena &self) {
    hf_stats figures{};
    hf::check(self.state->with([&](hf_arena *arena) { return hf_arena_stats(arena, &figures); }));
    return stats_row(figures);
}

nb::dict figures(const PyArena &self) {
    hf_arena_figures f{};
    f.struct_size = sizeof f;
    hf::check(self.state->with([&](hf_arena *arena) { return hf_arena_figures_of(arena, &f); }));
    nb::dict made;
    made["counted"] = f.counted != 0;
#define FIGURE(name) made[#name] = f.name;
    FIGURE(bytes_in_use)
    FIGURE(bytes_in_use_peak)
    FIGURE(bytes_total)
    FIGURE(bytes_padding)
    FIGURE(bytes_left)
    FIGURE(bytes_usable)
    FIGURE(bytes_reserved)
    FIGURE(bytes_recent)
    FIGURE(blocks)
    FIGURE(blocks_total)
    FIGURE(chunks)
    FIGURE(resets)
    FIGURE(rewinds)
    FIGURE(failures)
    FIGURE(fragmentation)
#undef FIGURE
    return made;
}

std::size_t check(const PyArena &self) {
    std::size_t found = 0;
    const hf_status status =
        self.state->with([&](hf_arena *arena) { return hf_arena_check(arena, &found); });
    if (status != HF_E_CORRUPT) hf::check(status);
    return found;
}

/// Rows (number, time_ns, thread_id, verb, alignment, address, size), oldest first.
nb::list log_of(const PyArena &self) {
    std::vector<hf_arena_operation> operations(HF_ARENA_LOG_MAX);
    operations.resize(self.state->with([&](hf_arena *arena) {
        return hf_arena_log(arena, operations.data(), operations.size());
    }));
    nb::list rows;
    for (const hf_arena_operation &entry : operations)
        rows.append(nb::make_tuple(entry.number, entry.time_ns, entry.thread_id,
                                   hf_arena_verb_name(entry.verb), entry.alignment,
                                   reinterpret_cast<std::uintptr_t>(entry.address), entry.size));
    return rows;
}

bool validate(const PyArena &self, std::uintptr_t address, std::size_t size) {
    return self.state->with([&](hf_arena *arena) {
        return hf_arena_validate(arena, reinterpret_cast<const void *>(address), size);
    }) == HF_OK;
}

void translate(const std::exception_ptr &thrown, void *) {
    try {
        std::rethrow_exception(thrown);
    } catch (const Refused &refused) {
        set_python_error(refused.status, refused.what());
    }
}

} // namespace

std::shared_ptr<ArenaState> arena_state_of(nb::handle arena) {
    return nb::cast<const PyArena &>(arena).state;
}

void bind_arena(nb::module_ &module) {
    nb::register_exception_translator(translate);
    nb::class_<PyScope>(module, "ArenaScope", "An open scope of an arena.")
        .def("leave", &leave, "Rewinds, or returns how many arrays and views live.")
        .def("leaks", &scope_leaks, "Tracked blocks made since it was entered, as tuples.")
        .def_prop_ro("live", [](PyScope &self) {
            return self.scope != nullptr ? self.state->live_in(self.scope) : 0;
        });
    nb::class_<PyArena>(module, "Arena", "One arena; see holdfast.Arena.",
                        nb::is_weak_referenceable())
        .def("__init__", &create, nb::arg("policy"), nb::arg("options"), nb::arg("name"),
             nb::arg("buffer").none())
        .def("allocate", &allocate, nb::arg("size"), nb::arg("align"),
             nb::rv_policy::take_ownership)
        .def("bulk", &allocate_bulk, nb::arg("size"), nb::arg("align"), nb::arg("count"))
        .def("enter", &enter, "Opens a scope.")
        .def(
            "reset", [](PyArena &self, bool release) { return self.state->reset(release); },
            nb::arg("release"), "Resets; or returns how many arrays and views live.")
        .def(
            "close", [](PyArena &self) { return self.state->close(); },
            "Closes; or returns how many arrays and views live.")
        .def(
            "handler", [](PyArena &self) { return std::make_shared<ArrayHandler>(self.state); },
            "A handler of array memory.")
        .def("leaks", [](PyArena &self) { return leaks_since(*self.state, nullptr); })
        .def("view", &view)
        .def("stats", &stats)
        .def("figures", &figures)
        .def("check", &check)
        .def("log", &log_of)
        .def("validate", &validate, nb::arg("address"), nb::arg("size"))
        .def("owns",
             [](PyArena &self, std::uintptr_t address) {
                 return self.state->owns(reinterpret_cast<const void *>(address));
             })
        .def_prop_ro("borrows", [](PyArena &self) { return self.state->live(); })
        .def_prop_ro("depth", [](PyArena &self) { return self.state->depth(); })
        .def_prop_ro("closed", [](PyArena &self) { return self.state->closed(); })
        .def_prop_ro("name", [](PyArena &self) { return self.state->name(); })
        .def_prop_ro("id", [](PyArena &self) { return self.state->id(); });
}
