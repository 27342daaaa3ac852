/// bind_segment.cpp - Segment: opening, the table, participants, health; and what needs no segment.
///
/// Talks to    shm.h.   Used by holdfast/shm/segment.py, which gives names and types to the rows.
/// Threads     what may wait for another process runs without the GIL.
#include "shm.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <holdfast/shm_view.h>

using shm_binding::check;
using shm_binding::plain;
using shm_binding::Segment;

namespace shm_binding {

Segment::~Segment() {
    if (shm_ != nullptr) (void)hf_shm_close(shm_); // structures hold this object: none is open
}

hf_shm *Segment::get() const {
    if (shm_ == nullptr) raise_closed("segment");
    return shm_;
}

void Segment::close() {
    if (shm_ == nullptr) return;
    if (users_.load() != 0) {
        set_error_text(HF_E_BUSY, "another thread is inside a call of the segment");
        throw nb::python_error();
    }
    hf_shm *shm = std::exchange(shm_, nullptr); /* for other threads it is closed from here on */
    hf_status status;
    {
        const nb::gil_scoped_release released;
        status = hf_shm_close(shm);
    }
    if (status != HF_OK) shm_ = shm;
    check(status);
}

} // namespace shm_binding

namespace {

nb::str text(const char *bytes) {
    PyObject *decoded = shm_binding::decode(bytes);
    if (decoded == nullptr) throw nb::python_error();
    return nb::steal<nb::str>(decoded);
}

/// Options by name; Python gave every value its type.
struct Options {
    explicit Options(const nb::dict &given) {
        hf_shm_options_init(&options, number<std::uint64_t>(given, "size"));
        options.access = number<std::uint32_t>(given, "access");
        options.group = number<std::int64_t>(given, "group");
        options.owner = number<std::int64_t>(given, "owner");
        options.size_max = number<std::uint64_t>(given, "size_max");
        options.participants_max = number<std::uint32_t>(given, "participants");
        const auto entries = number<std::uint32_t>(given, "entries");
        if (entries != 0) options.entries_max = entries; // else as the size suggests
        options.name_size = number<std::uint32_t>(given, "name_size");
        options.format_size = number<std::uint32_t>(given, "format_size");
        options.stale = number<std::uint32_t>(given, "stale");
        options.persist = number<std::uint32_t>(given, "persist");
        options.huge_pages = number<std::uint32_t>(given, "huge_pages");
        options.prefault = number<std::uint32_t>(given, "prefault");
        options.node = number<std::int32_t>(given, "node");
        options.presence = number<std::uint32_t>(given, "presence");
        options.lock_wait_ns = shm_binding::timeout_ns(given["timeout"]);
        path = string(given, "path");
        role = string(given, "role");
        options.path = path.empty() ? nullptr : plain(path);
        options.role = role.empty() ? nullptr : plain(role);
    }
    template <class T> static T number(const nb::dict &given, const char *key) {
        return as<T>(given, key, "a number in range");
    }
    static std::string string(const nb::dict &given, const char *key) {
        return as<std::string>(given, key, "text");
    }
    template <class T> static T as(const nb::dict &given, const char *key, const char *what) {
        T value{};
        if (nb::try_cast<T>(given[key], value)) return value;
        const std::string sentence = std::string(key) + " must be " + what;
        shm_binding::set_error_text(HF_E_INVALID, sentence.c_str());
        throw nb::python_error();
    }

    hf_shm_options options;
    std::string path, role;
};

template <class Open> Segment *opened(Open open) {
    hf_shm *shm = nullptr;
    hf_status status;
    {
        const nb::gil_scoped_release released;
        status = open(&shm);
    }
    check(status);
    return new Segment(shm);
}

Segment *segment_open(const std::string &name, unsigned mode, const nb::dict &given) {
    const Options options(given);
    const char *plain_name = plain(name);
    return opened([&](hf_shm **out) {
        return hf_shm_open(plain_name, static_cast<hf_shm_mode>(mode), &options.options, out);
    });
}

Segment *segment_anonymous(const nb::dict &given) {
    const Options options(given);
    return opened([&](hf_shm **out) { return hf_shm_create_anonymous(&options.options, out); });
}

Segment *segment_from_file(int file, const nb::dict &given) {
    const Options options(given);
    return opened([&](hf_shm **out) { return hf_shm_open_file(file, &options.options, out); });
}

nb::dict info(const Segment &segment) {
    hf_shm_info f{};
    check(hf_shm_info_of(segment.get(), &f));
    nb::dict row;
    row["name"] = text(f.name);
    row["id"] = text(f.id);
    row["size"] = f.size;
    row["size_max"] = f.size_max;
    row["bytes_used"] = f.bytes_used;
    row["bytes_free"] = f.bytes_free;
    row["largest_free"] = f.largest_free;
    row["bytes_meta"] = f.bytes_meta;
    row["created_ns"] = f.created_ns;
    row["layout"] = f.layout;
    row["participants_max"] = f.participants_max;
    row["participants_live"] = f.participants_live;
    row["participants_dead"] = f.participants_dead;
    row["entries_max"] = f.entries_max;
    row["entries"] = f.entries;
    row["self"] = f.self;
    row["persist"] = f.persist != 0;
    row["access"] = f.access;
    row["on_file"] = f.on_file != 0;
    row["recoveries"] = f.recoveries;
    row["power_cuts"] = f.power_cuts;
    return row;
}

int add_participant(const hf_shm_participant *participant, void *context) {
    static_cast<std::vector<hf_shm_participant> *>(context)->push_back(*participant);
    return 0;
}

/// Rows (index, generation, pid, life, started, joined_ns, role).
nb::list participants(const Segment &segment) {
    static constexpr const char *lives[] = {"self", "live", "dead"};
    std::vector<hf_shm_participant> found;
    check(hf_shm_participants(segment.get(), add_participant, &found));
    nb::list rows;
    for (const hf_shm_participant &p : found)
        rows.append(nb::make_tuple(p.index, p.generation, p.pid, lives[p.life % 3], p.started,
                                   p.joined_ns, text(p.role)));
    return rows;
}

nb::tuple entry_row(const hf_shm_entry &entry, const char *name, const char *format) {
    nb::list shape;
    for (unsigned i = 0; i < entry.dimensions && i < HF_SHM_DIMENSIONS_MAX; i++)
        shape.append(entry.shape[i]);
    return nb::make_tuple(text(name), text(hf_shm_kind_name(entry.kind)), text(format),
                          entry.layout, entry.span.offset, entry.span.size, entry.element_size,
                          entry.element_count, nb::tuple(shape), entry.users, entry.created_ns);
}

struct EntryCopy {
    hf_shm_entry entry;
    std::string name, format;
};

int add_entry(const hf_shm_entry *entry, void *context) {
    static_cast<std::vector<EntryCopy> *>(context)->push_back(
        {*entry, entry->name ? entry->name : "", entry->format ? entry->format : ""});
    return 0;
}

/// Rows (name, kind, format, layout, offset, size, element_size, element_count, shape, users, created).
nb::list entries(const Segment &segment) {
    std::vector<EntryCopy> found;
    check(hf_shm_list(segment.get(), add_entry, &found));
    nb::list rows;
    for (const EntryCopy &copy : found)
        rows.append(entry_row(copy.entry, copy.name.c_str(), copy.format.c_str()));
    return rows;
}

std::size_t sweep(Segment &segment) {
    std::size_t recovered = 0;
    segment.without_gil([&](hf_shm *shm) { return hf_shm_sweep(shm, &recovered); });
    return recovered;
}

/// (capacity, count, written, read, lost, waits, recovered, readers, writers).
nb::tuple figures(const Segment &segment, const std::string &name) {
    hf_shm_figures f{};
    check(hf_shm_figures_of(segment.get(), plain(name), &f));
    return nb::make_tuple(f.capacity, f.count, f.written, f.read, f.lost, f.waits, f.recovered,
                          f.readers, f.writers);
}

int add_fault(const char *name, const char *fault, void *context) {
    static_cast<std::vector<std::pair<std::string, std::string>> *>(context)->emplace_back(name,
                                                                                           fault);
    return 0;
}

/// What is wrong, as (structure, sentence); `name` "" for everything.
nb::list faults(Segment &segment, const std::string &name) {
    std::vector<std::pair<std::string, std::string>> found;
    const char *plain_name = name.empty() ? nullptr : plain(name);
    segment.without_gil(
        [&](hf_shm *shm) { return hf_shm_check(shm, plain_name, add_fault, &found); },
        HF_E_CORRUPT);
    nb::list rows;
    for (const auto &[where, fault] : found)
        rows.append(nb::make_tuple(text(where.c_str()), text(fault.c_str())));
    return rows;
}

/// What is kept of a view: what somebody has before the rest, and how many there are in each state.
struct Seen {
    using Items = std::vector<std::pair<std::size_t, hf_shm_view_item>>; // with their places

    std::size_t limit;
    bool free; // keeps those, too
    Items had, rest;
    std::array<std::size_t, HF_SHM_STATE_COUNT> states{};
    std::size_t count = 0;
    bool no_memory = false;

    /// As many as are wanted, in the order in which they came.
    Items take() {
        rest.resize(std::min(rest.size(), limit - had.size()));
        Items all(had.size() + rest.size());
        std::merge(had.begin(), had.end(), rest.begin(), rest.end(), all.begin(),
                   [](const auto &a, const auto &b) { return a.first < b.first; });
        return all;
    }
};

int add_item(const hf_shm_view_item *item, void *context) noexcept {
    auto *seen = static_cast<Seen *>(context);
    Seen::Items &kept = item->participant != HF_SHM_NOBODY ? seen->had : seen->rest;
    seen->count++;
    if (item->state < seen->states.size()) seen->states[item->state]++;
    if (kept.size() >= seen->limit || (item->state == HF_SHM_STATE_FREE && !seen->free)) return 0;
    try {
        kept.emplace_back(seen->count, *item);
    } catch (const std::bad_alloc &) {
        seen->no_memory = true;
    }
    return seen->no_memory;
}

nb::tuple item_row(const hf_shm_view_item &item) {
    const bool has = item.participant != HF_SHM_NOBODY;
    return nb::make_tuple(item.index, hf_shm_piece_name(item.piece), hf_shm_state_name(item.state),
                          item.number, item.value, has ? nb::cast(item.participant) : nb::none(),
                          has ? nb::cast(item.pid) : nb::none(), item.dead != 0, item.span.offset,
                          item.span.size);
}

/// (rows (index, piece, state, number, value, participant, pid, dead, offset, size), {state: how many}).
/// At most `limit` rows, of what somebody has before the rest, free ones only if asked for; all are
/// counted.
nb::tuple view(Segment &segment, const std::string &name, std::size_t limit, bool free) {
    Seen seen{limit, free, {}, {}};
    const char *plain_name = plain(name);
    segment.without_gil([&](hf_shm *shm) { return hf_shm_view(shm, plain_name, add_item, &seen); });
    if (seen.no_memory) throw std::bad_alloc();
    nb::list rows;
    for (const auto &[place, item] : seen.take())
        rows.append(item_row(item));
    nb::dict states;
    for (std::uint32_t i = 0; i < seen.states.size(); i++)
        if (seen.states[i] != 0) states[hf_shm_state_name(i)] = seen.states[i];
    return nb::make_tuple(rows, states);
}

std::size_t repair(Segment &segment, const std::string &name) {
    std::size_t repaired = 0;
    const char *plain_name = name.empty() ? nullptr : plain(name);
    segment.without_gil([&](hf_shm *shm) { return hf_shm_repair(shm, plain_name, &repaired); });
    return repaired;
}

void persist_span(Segment &segment, std::uint64_t offset, std::uint64_t size) {
    segment.without_gil([&](hf_shm *shm) {
        return hf_shm_persist_span(shm, hf_shm_span{offset, size});
    });
}

int add_name(const char *name, std::uint64_t size, void *context) {
    static_cast<std::vector<std::pair<std::string, std::uint64_t>> *>(context)->emplace_back(name,
                                                                                             size);
    return 0;
}

nb::list names() {
    std::vector<std::pair<std::string, std::uint64_t>> found;
    check(hf_shm_names(add_name, &found));
    nb::list rows;
    for (const auto &[name, size] : found)
        rows.append(nb::make_tuple(text(plain(name)), size));
    return rows;
}

nb::dict dump_row(const hf_shm_dump_info &info) {
    nb::dict row;
    row["name"] = text(info.name);
    row["size"] = info.size;
    row["size_max"] = info.size_max;
    row["bytes_stored"] = info.bytes_stored;
    row["created_ns"] = info.created_ns;
    row["dumped_ns"] = info.dumped_ns;
    row["entries"] = info.entries;
    row["live"] = info.live;
    return row;
}

nb::dict dump(Segment &segment, int file, bool while_live) {
    hf_shm_dump_info info{};
    segment.without_gil([&](hf_shm *shm) { return hf_shm_dump(shm, file, while_live, &info); });
    return dump_row(info);
}

nb::dict dump_look(int file) {
    hf_shm_dump_info info{};
    check(hf_shm_dump_look(file, &info));
    return dump_row(info);
}

nb::tuple segment_load(nb::handle name, int file, const nb::dict &given) {
    const Options options(given);
    const std::string text = name.is_none() ? std::string() : nb::cast<std::string>(name);
    const char *plain_name = name.is_none() ? nullptr : plain(text);
    hf_shm_dump_info info{};
    Segment *loaded = opened(
        [&](hf_shm **out) { return hf_shm_load(plain_name, file, &options.options, &info, out); });
    return nb::make_tuple(nb::cast(loaded, nb::rv_policy::take_ownership), dump_row(info));
}

bool collect(const std::string &name) {
    int removed = 0;
    check(hf_shm_collect(plain(name), &removed));
    return removed != 0;
}

} // namespace

void bind_segment(nb::module_ &module) {
    nb::class_<Segment>(module, "Segment", nb::is_weak_referenceable())
        .def_prop_ro("closed", &Segment::closed)
        .def_prop_ro("file", [](const Segment &s) { return hf_shm_file(s.get()); })
        .def("close", &Segment::close)
        .def("info", &info)
        .def("participants", &participants)
        .def("entries", &entries)
        .def("sweep", &sweep)
        .def("figures", &figures)
        .def("faults", &faults)
        .def("view", &view)
        .def("repair", &repair)
        .def("erase", [](const Segment &s,
                         const std::string &name) { check(hf_shm_erase(s.get(), plain(name))); })
        .def("grow",
             [](const Segment &s, std::uint64_t size) { check(hf_shm_grow(s.get(), size)); })
        .def("dump", &dump)
        .def("persist", [](Segment &s) { s.without_gil(hf_shm_persist); })
        .def("persist_span", &persist_span);
    module.def("segment_open", &segment_open, nb::rv_policy::take_ownership);
    module.def("segment_anonymous", &segment_anonymous, nb::rv_policy::take_ownership);
    module.def("segment_from_file", &segment_from_file, nb::rv_policy::take_ownership);
    module.def("segment_dump_look", &dump_look);
    module.def("segment_load", &segment_load, nb::arg().none(), nb::arg(), nb::arg());
    module.def("segment_remove",
               [](const std::string &name) { check(hf_shm_remove(plain(name))); });
    module.def("segment_leave_all", [] { hf_shm_leave_all(); });
    module.def("segment_names", &names);
    module.def("segment_collect", &collect);
}
