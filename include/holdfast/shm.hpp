/// shm.hpp - segments of shared memory as C++ owns them.
///
///   hf::shm::Segment segment{"frames", hf::shm::Options{64 << 20}};      opened, or made
///   hf::shm::Span raw = segment.add("raw", 1 << 20);                      bytes under a name
///   std::span<float> floats = raw.as<float>();                            the same bytes, typed
///   for (const hf::shm::Entry &entry : segment.list()) ...                what lies in it
///
/// Caveats
///  - What shm.h says of who removes a segment and of killed processes.
///  - A span points into the segment and must not outlive it. Erasing its name while it is in use is
///    the caller's business: nothing counts plain spans.
///  - Structures (queue, ring, map ...) must be closed before their segment: a segment that is
///    destroyed with some open stays mapped until the process ends.
///  - OutOfMemory carries no text of its own; hf_shm_detail() has the sentence.
/// Talks to    shm.h, shm_view.h, error.hpp, stats.hpp.
/// Threads     every function from any thread; destruction and moves when no other thread uses it.
/// Fails with  NotFound, Exists, Permission, OutOfMemory (no space, a limit), Mismatch, OwnerDied,
///             InvalidArgument, Timeout, Corruption, Busy.
#ifndef HOLDFAST_SHM_HPP
#define HOLDFAST_SHM_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <holdfast/error.hpp>
#include <holdfast/shm.h>
#include <holdfast/shm_view.h>
#include <holdfast/stats.hpp>

namespace hf::shm {

using Mode = hf_shm_mode;
using Stale = hf_shm_stale;
using Presence = hf_shm_presence;
using DumpInfo = hf_shm_dump_info;
using Info = hf_shm_info;
using Figures = hf_shm_figures;
using Item = hf_shm_view_item;

/// What a segment is made or opened with; every setter returns the options.
class Options {
public:
    /// `size`: of a new segment, everything included. 0 to open: any.
    explicit Options(std::uint64_t size = 0) noexcept { hf_shm_options_init(&options_, size); }

    /// File mode of a new segment, 0600.
    Options &access(std::uint32_t mode) noexcept { return set(options_.access, mode); }
    /// Group of a new segment.
    Options &group(std::int64_t gid) noexcept { return set(options_.group, gid); }
    /// Who may own a segment that is opened: a uid, or anybody. Without either: this user and root.
    Options &owner(std::int64_t uid) noexcept { return set(options_.owner, uid); }
    Options &owned_by_anybody() noexcept { return set(options_.owner, -2); }
    /// Up to which it may grow.
    Options &size_max(std::uint64_t size) noexcept { return set(options_.size_max, size); }
    Options &participants_max(std::uint32_t count) noexcept {
        return set(options_.participants_max, count);
    }
    Options &entries_max(std::uint32_t count) noexcept { return set(options_.entries_max, count); }
    Options &name_size(std::uint32_t size) noexcept { return set(options_.name_size, size); }
    Options &format_size(std::uint32_t size) noexcept { return set(options_.format_size, size); }
    /// What to do with a segment in which nobody lives any more.
    Options &stale(Stale policy) noexcept { return set(options_.stale, policy); }
    /// It stays when the last participant leaves.
    Options &persist(bool on = true) noexcept { return set(options_.persist, on); }
    Options &huge_pages(bool on = true) noexcept { return set(options_.huge_pages, on); }
    Options &prefault(bool on = true) noexcept { return set(options_.prefault, on); }
    /// NUMA node of the pages; interleave() spreads them over all.
    Options &node(std::int32_t node) noexcept { return set(options_.node, node); }
    Options &interleave() noexcept { return set(options_.node, -2); }
    /// As a member, as a guest that leaves what nobody lives in, or only looking on.
    Options &presence(Presence as) noexcept { return set(options_.presence, as); }
    /// Longest wait for another's change of the table.
    Options &lock_wait(std::chrono::nanoseconds limit) noexcept {
        return set(options_.lock_wait_ns, limit.count() > 0 ? limit.count() : 0);
    }
    /// A file instead of shared memory. The text must live until the segment is open.
    Options &path(const char *path) noexcept { return set(options_.path, path); }
    /// Of this participant, shown to others. Likewise.
    Options &role(const char *role) noexcept { return set(options_.role, role); }
    [[nodiscard]] const hf_shm_options *native() const noexcept { return &options_; }

private:
    template <class Field, class Value> Options &set(Field &field, Value value) noexcept {
        field = static_cast<Field>(value);
        return *this;
    }
    hf_shm_options options_;
};

/// What the table says of one structure.
struct Entry {
    std::string name, format, kind;
    hf_shm_span where{};
    std::uint64_t element_size = 0, element_count = 0;
    std::vector<std::uint64_t> shape;
    std::uint32_t layout = 0, users = 0;
    std::uint64_t created_ns = 0;
};

/// One participant.
struct Participant {
    std::uint32_t index = 0, generation = 0, pid = 0;
    hf_shm_life life = HF_SHM_SELF;
    std::uint64_t started = 0, joined_ns = 0;
    std::string role;
};

/// What a check found.
struct Fault {
    std::string name, sentence; // name: of the structure; "" for the segment itself
};

/// Plain bytes of a segment, by offset: means the same wherever the segment is mapped.
class Span {
public:
    Span() noexcept = default;
    Span(hf_shm *segment, hf_shm_span where) noexcept : segment_(segment), where_(where) {}

    [[nodiscard]] std::uint64_t offset() const noexcept { return where_.offset; }
    [[nodiscard]] std::uint64_t size() const noexcept { return where_.size; }
    /// A part of it; InvalidArgument if it does not lie inside.
    [[nodiscard]] Span part(std::uint64_t offset, std::uint64_t size) const {
        if (offset > where_.size || size > where_.size - offset)
            hf::raise(HF_E_INVALID, "the part does not lie inside its span");
        return {segment_, {where_.offset + offset, size}};
    }
    [[nodiscard]] std::span<std::byte> bytes() const { return as<std::byte>(); }
    /// As many whole elements as fit; InvalidArgument if the span is not aligned for them.
    template <class T>
    requires std::is_trivially_copyable_v<T>
    [[nodiscard]] std::span<T> as() const {
        if (where_.size == 0) return {};
        void *at = hf_shm_at(segment_, where_, 0, where_.size);
        if (at == nullptr) hf::raise(HF_E_INVALID, hf_shm_detail());
        if (where_.offset % alignof(T) != 0)
            hf::raise(HF_E_INVALID, "the span does not begin at a multiple of the alignment");
        return {static_cast<T *>(at), static_cast<std::size_t>(where_.size / sizeof(T))};
    }
    [[nodiscard]] const hf_shm_span &native() const noexcept { return where_; }

private:
    hf_shm *segment_ = nullptr;
    hf_shm_span where_{};
};

namespace detail {

inline void check(Status status) {
    hf::check(status, hf_shm_detail());
}

/// Collects what a visitor of C is called with. Exceptions must not pass through C.
template <class Item> struct Collector {
    std::vector<Item> items;
    std::exception_ptr error;

    template <class Native> int add(Native &&make) noexcept {
        try {
            items.push_back(make());
        } catch (...) {
            error = std::current_exception();
        }
        return error != nullptr;
    }
    std::vector<Item> take() {
        if (error) std::rethrow_exception(error);
        return std::move(items);
    }
};

[[nodiscard]] inline Entry entry_of(const hf_shm_entry &native) {
    Entry entry;
    if (native.name != nullptr) entry.name = native.name;
    if (native.format != nullptr) entry.format = native.format;
    entry.kind = hf_shm_kind_name(native.kind);
    entry.where = native.span;
    entry.element_size = native.element_size;
    entry.element_count = native.element_count;
    entry.shape.assign(native.shape, native.shape + native.dimensions);
    entry.layout = native.layout;
    entry.users = native.users;
    entry.created_ns = native.created_ns;
    return entry;
}

} // namespace detail

/// Owns one participation in a segment: move-only, one pointer wide.
class Segment {
public:
    explicit Segment(const std::string &name, const Options &options = Options(),
                     Mode mode = HF_SHM_OPEN_OR_CREATE) {
        detail::check(hf_shm_open(hf::detail::c_name(name), mode, options.native(), &shm_));
    }
    [[nodiscard]] static Segment open(const std::string &name, const Options &options = Options()) {
        return Segment(name, options, HF_SHM_OPEN);
    }
    [[nodiscard]] static Segment create(const std::string &name, const Options &options) {
        return Segment(name, options, HF_SHM_CREATE);
    }
    /// Without a name: reached by file().
    [[nodiscard]] static Segment anonymous(const Options &options) {
        Segment segment;
        detail::check(hf_shm_create_anonymous(options.native(), &segment.shm_));
        return segment;
    }
    /// What a descriptor refers to, which stays the caller's.
    [[nodiscard]] static Segment from_file(int file, const Options &options = Options()) {
        Segment segment;
        detail::check(hf_shm_open_file(file, options.native(), &segment.shm_));
        return segment;
    }
    /// A new segment with what was dumped.
    [[nodiscard]] static Segment load(const std::string &name, int file,
                                      const Options &options = Options()) {
        Segment segment;
        detail::check(
            hf_shm_load(hf::detail::c_name(name), file, options.native(), nullptr, &segment.shm_));
        return segment;
    }
    Segment(Segment &&other) noexcept : shm_(std::exchange(other.shm_, nullptr)) {}
    Segment &operator=(Segment &&other) noexcept {
        if (this != &other) {
            (void)hf_shm_close(shm_);
            shm_ = std::exchange(other.shm_, nullptr);
        }
        return *this;
    }
    Segment(const Segment &) = delete;
    Segment &operator=(const Segment &) = delete;
    ~Segment() { (void)hf_shm_close(shm_); }

    /// Leaves now; Busy while structures are open on it.
    void close() {
        detail::check(hf_shm_close(shm_));
        shm_ = nullptr;
    }
    /// Structures that are open on it here.
    [[nodiscard]] std::size_t opened() const noexcept { return hf_shm_opened(shm_); }
    [[nodiscard]] int file() const noexcept { return hf_shm_file(shm_); }

    [[nodiscard]] Info info() const {
        Info info{};
        detail::check(hf_shm_info_of(shm_, &info));
        return info;
    }
    [[nodiscard]] Stats stats() const {
        Stats stats{};
        detail::check(hf_shm_stats(shm_, &stats));
        return stats;
    }
    [[nodiscard]] std::vector<Participant> participants() const {
        detail::Collector<Participant> all;
        const auto visit = [](const hf_shm_participant *p, void *context) noexcept {
            return static_cast<detail::Collector<Participant> *>(context)->add([p] {
                return Participant{p->index,   p->generation, p->pid, p->life,
                                   p->started, p->joined_ns,  p->role};
            });
        };
        detail::check(hf_shm_participants(shm_, visit, &all));
        return all.take();
    }
    /// Gives back what killed participants held; returns how many there were.
    std::size_t sweep() const {
        std::size_t recovered = 0;
        detail::check(hf_shm_sweep(shm_, &recovered));
        return recovered;
    }
    /// Adds memory at the end; addresses stay.
    void grow(std::uint64_t size) const { detail::check(hf_shm_grow(shm_, size)); }

    /// Zeroed bytes under a name.
    [[nodiscard]] Span add(const std::string &name, std::uint64_t size) const {
        hf_shm_span where{};
        detail::check(hf_shm_add(shm_, hf::detail::c_name(name), size, &where));
        return {shm_, where};
    }
    /// Bytes under a name, unless there are none.
    [[nodiscard]] std::optional<Span> span(const std::string &name) const {
        const std::optional<Entry> entry = find(name);
        if (!entry) return std::nullopt;
        if (entry->kind != hf_shm_kind_name(HF_SHM_KIND_SPAN))
            hf::raise(HF_E_MISMATCH,
                      ("\"" + name + "\" is of kind " + entry->kind + ", and a span was asked for")
                          .c_str());
        return Span(shm_, entry->where);
    }
    [[nodiscard]] std::optional<Entry> find(const std::string &name) const {
        hf_shm_entry entry{};
        const Status status = hf_shm_find(shm_, hf::detail::c_name(name), &entry);
        if (status == HF_E_NOT_FOUND) return std::nullopt;
        detail::check(status);
        Entry found = detail::entry_of(entry);
        found.name = name;
        return found;
    }
    [[nodiscard]] std::vector<Entry> list() const {
        detail::Collector<Entry> all;
        const auto visit = [](const hf_shm_entry *entry, void *context) noexcept {
            return static_cast<detail::Collector<Entry> *>(context)->add(
                [entry] { return detail::entry_of(*entry); });
        };
        detail::check(hf_shm_list(shm_, visit, &all));
        return all.take();
    }
    /// The name is gone at once, the bytes when nobody uses them any more.
    void erase(const std::string &name) const {
        detail::check(hf_shm_erase(shm_, hf::detail::c_name(name)));
    }

    [[nodiscard]] Figures figures(const std::string &name) const {
        Figures figures{};
        detail::check(hf_shm_figures_of(shm_, hf::detail::c_name(name), &figures));
        return figures;
    }
    /// What is wrong with everything in it, or with one structure; empty: nothing.
    [[nodiscard]] std::vector<Fault> check(const std::optional<std::string> &name = {}) const {
        detail::Collector<Fault> all;
        const auto visit = [](const char *of, const char *fault, void *context) noexcept {
            return static_cast<detail::Collector<Fault> *>(context)->add([of, fault] {
                return Fault{of, fault};
            });
        };
        const Status status =
            hf_shm_check(shm_, name ? hf::detail::c_name(*name) : nullptr, visit, &all);
        if (status != HF_E_CORRUPT) detail::check(status);
        return all.take();
    }
    /// Calls `visit(item)` for every piece of a structure, without owning any; a visitor that returns
    /// bool stops with false. Each item was true when it was read.
    template <class Visit>
    requires std::is_invocable_v<Visit &, const Item &>
    void view(const std::string &name, Visit &&visit) const {
        struct Walk {
            std::remove_reference_t<Visit> *visit;
            std::exception_ptr thrown; // must not cross the C library
        } walk{std::addressof(visit), nullptr};
        const auto call = [](const hf_shm_view_item *item, void *context) noexcept -> int {
            auto *state = static_cast<Walk *>(context);
            try {
                if constexpr (std::is_same_v<std::invoke_result_t<Visit &, const Item &>, bool>)
                    return (*state->visit)(*item) ? 0 : 1;
                else
                    (*state->visit)(*item);
                return 0;
            } catch (...) {
                state->thrown = std::current_exception();
                return 1;
            }
        };
        const Status status = hf_shm_view(shm_, hf::detail::c_name(name), call, &walk);
        if (walk.thrown) std::rethrow_exception(walk.thrown);
        detail::check(status);
    }
    /// A snapshot of them.
    [[nodiscard]] std::vector<Item> view(const std::string &name) const {
        std::vector<Item> seen;
        view(name, [&seen](const Item &item) { seen.push_back(item); });
        return seen;
    }
    /// Puts right what can be; returns how many things were.
    std::size_t repair(const std::optional<std::string> &name = {}) const {
        std::size_t repaired = 0;
        detail::check(hf_shm_repair(shm_, name ? hf::detail::c_name(*name) : nullptr, &repaired));
        return repaired;
    }

    /// Writes the whole segment to a file, for load(). Busy if others live in it, unless `while_live`.
    DumpInfo dump(int file, bool while_live = false) const {
        DumpInfo info{};
        detail::check(hf_shm_dump(shm_, file, while_live, &info));
        return info;
    }

    /// What was written before is on the medium when it returns (options.path).
    void persist() const { detail::check(hf_shm_persist(shm_)); }
    void persist(const Span &span) const {
        detail::check(hf_shm_persist_span(shm_, span.native()));
    }

    /// False after it was moved from or closed.
    [[nodiscard]] explicit operator bool() const noexcept { return shm_ != nullptr; }
    [[nodiscard]] hf_shm *native() const noexcept { return shm_; }
    /// So that structures take a segment as well as what C gives.
    operator hf_shm *() const noexcept { return shm_; } // NOLINT: implicit

private:
    Segment() noexcept = default;

    hf_shm *shm_ = nullptr;
};

static_assert(sizeof(Segment) == sizeof(void *));

/// Takes the name away; those who have it open go on. False: there is none.
inline bool remove(const std::string &name) {
    const Status status = hf_shm_remove(hf::detail::c_name(name));
    if (status != HF_E_NOT_FOUND) detail::check(status);
    return status == HF_OK;
}

/// Removes the segment if nobody lives in it and it does not persist; true if it did.
inline bool collect(const std::string &name) {
    int removed = 0;
    const Status status = hf_shm_collect(hf::detail::c_name(name), &removed);
    if (status != HF_E_NOT_FOUND) detail::check(status);
    return removed != 0;
}

/// Segments of this machine that have a name, and their sizes.
[[nodiscard]] inline std::vector<std::pair<std::string, std::uint64_t>> names() {
    using Named = std::pair<std::string, std::uint64_t>;
    detail::Collector<Named> all;
    const auto visit = [](const char *name, std::uint64_t size, void *context) noexcept {
        return static_cast<detail::Collector<Named> *>(context)->add(
            [name, size] { return Named(name, size); });
    };
    detail::check(hf_shm_names(visit, &all));
    return all.take();
}

} // namespace hf::shm

#endif
