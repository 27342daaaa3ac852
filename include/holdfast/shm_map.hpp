/// shm_map.hpp - a map in shared memory as C++ owns it.
///
///   hf::shm::Map<Id, Quote> quotes{segment, "quotes", 100'000};      made, or opened if it is there
///   quotes.put(id, quote);                      std::optional<Quote> now = quotes.get(id);
///   quotes.update(id, [](std::optional<Quote> old) { ... return quote; });      atomic
///   for (auto [id, quote] : quotes) ...         a copy of each; nothing is locked
///
///   hf::shm::BytesMap       keys and values are bytes of any length up to a bound
///
/// Caveats
///  - Keys are compared byte by byte, so a key type must have no padding and one representation per
///    value: integers, enums, arrays and structs of them.
///  - A handle must die before the segment is closed.
/// Talks to    shm_map.h, shm_format.hpp, error.hpp.
/// Threads     every function from any thread; destruction and moves when no other thread uses it.
/// Fails with  Full, Mismatch, NotFound, Exists, Timeout, InvalidArgument, Corruption.
#ifndef HOLDFAST_SHM_MAP_HPP
#define HOLDFAST_SHM_MAP_HPP

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <holdfast/error.hpp>
#include <holdfast/shm_format.hpp>
#include <holdfast/shm_map.h>

namespace hf::shm {

using MapFigures = hf_shm_map_figures;

/// A value and the version that replace_if and erase_if ask for.
template <class V> struct VersionedValue {
    V value;
    std::uint64_t version;
};

namespace detail {

/// The handle, and what does not depend on types.
class MapHandle {
public:
    MapHandle(hf_shm *segment, const std::string &name, hf_shm_mode mode,
              const hf_shm_map_options *options) {
        hf::check(hf_shm_map_open(segment, hf::detail::c_name(name), mode, options, &map_),
                  hf_shm_detail());
    }
    MapHandle(MapHandle &&other) noexcept : map_(std::exchange(other.map_, nullptr)) {}
    MapHandle &operator=(MapHandle &&other) noexcept {
        if (this != &other) {
            hf_shm_map_close(map_);
            map_ = std::exchange(other.map_, nullptr);
        }
        return *this;
    }
    MapHandle(const MapHandle &) = delete;
    MapHandle &operator=(const MapHandle &) = delete;
    ~MapHandle() { hf_shm_map_close(map_); }

    /// Keys there are now; exact at rest.
    [[nodiscard]] std::uint64_t count() const noexcept { return hf_shm_map_count(map_); }
    /// Erases every key, shard by shard.
    void clear() const { hf::check(hf_shm_map_clear(map_), hf_shm_detail()); }
    [[nodiscard]] MapFigures figures() const {
        MapFigures figures{};
        hf::check(hf_shm_map_figures_of(map_, &figures), hf_shm_detail());
        return figures;
    }
    [[nodiscard]] hf_shm_map_options options() const noexcept {
        hf_shm_map_options options{};
        hf_shm_map_options_of(map_, &options);
        return options;
    }
    /// False after it was moved from.
    [[nodiscard]] explicit operator bool() const noexcept { return map_ != nullptr; }
    [[nodiscard]] hf_shm_map *native() const noexcept { return map_; }

protected:
    /// Lives until the end of the call that it is made in.
    struct Options {
        hf_shm_map_options value{};
        operator hf_shm_map_options *() noexcept { return &value; } // NOLINT: it is one
    };
    /// True for HF_OK, false for the answer that `no` is; everything else throws.
    static bool yes(Status status, Status no) {
        if (status == no) return false;
        hf::check(status, hf_shm_detail());
        return true;
    }
    static bool yes(Status status, Status no, Status no_either) {
        return status == no_either ? false : yes(status, no);
    }

private:
    hf_shm_map *map_ = nullptr;
};

} // namespace detail

/// Keys and values of fixed types.
template <class K, class V>
requires(std::is_trivially_copyable_v<K> &&std::has_unique_object_representations_v<K>
             &&std::is_trivially_copyable_v<V> &&
         sizeof(K) <= HF_SHM_MAP_KEY_MAX) class Map : public detail::MapHandle {
public:
    using key_type = K;
    using mapped_type = V;
    using value_type = std::pair<K, V>;

    /// Made if it is not there; Mismatch if it is another one.
    Map(hf_shm *segment, const std::string &name, std::uint64_t capacity,
        hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE)
        : MapHandle(segment, name, mode, fitted(capacity)) {}
    /// Opens one that is there.
    Map(hf_shm *segment, const std::string &name)
        : MapHandle(segment, name, HF_SHM_OPEN, fitted(0)) {}

    [[nodiscard]] std::optional<V> get(const K &key) const {
        auto found = get_versioned(key);
        if (!found) return std::nullopt;
        return found->value;
    }
    [[nodiscard]] std::optional<VersionedValue<V>> get_versioned(const K &key) const {
        Room room;
        std::size_t size = 0;
        std::uint64_t version = 0;
        if (!yes(hf_shm_map_get(native(), &key, sizeof key, room.bytes, sizeof(V), &size, &version),
                 HF_E_NOT_FOUND))
            return std::nullopt;
        if (size != sizeof(V)) hf::raise(HF_E_MISMATCH, "a value of another size");
        return VersionedValue<V>{*room.value(), version};
    }
    [[nodiscard]] bool contains(const K &key) const { return get_versioned(key).has_value(); }

    /// Returns the new version of the key. Full if it is new and there is no room.
    std::uint64_t put(const K &key, const V &value) const {
        std::uint64_t version = 0;
        hf::check(hf_shm_map_put(native(), &key, sizeof key, &value, sizeof value, &version),
                  hf_shm_detail());
        return version;
    }
    /// False if there is one.
    bool put_if_absent(const K &key, const V &value) const {
        return yes(
            hf_shm_map_put_if_absent(native(), &key, sizeof key, &value, sizeof value, nullptr),
            HF_E_EXISTS);
    }
    /// Only if the key's version is `version`.
    bool replace_if(const K &key, const V &value, std::uint64_t version) const {
        return yes(hf_shm_map_replace_if(native(), &key, sizeof key, &value, sizeof value, version,
                                         nullptr),
                   version == 0 ? HF_E_EXISTS : HF_E_STALE, HF_E_NOT_FOUND);
    }
    /// Puts what `function` makes of the present value (none if there is no key), and returns it: as if
    /// nobody else did anything meanwhile. `function` may run more than once.
    template <class Function> V update(const K &key, Function &&function) const {
        for (;;) {
            auto found = get_versioned(key);
            V value = function(found ? std::optional<V>(found->value) : std::optional<V>());
            if (replace_if(key, value, found ? found->version : 0)) return value;
        }
    }
    /// False if there is none.
    bool erase(const K &key) const {
        return yes(hf_shm_map_erase(native(), &key, sizeof key), HF_E_NOT_FOUND);
    }
    bool erase_if(const K &key, std::uint64_t version) const {
        return yes(hf_shm_map_erase_if(native(), &key, sizeof key, version), HF_E_STALE,
                   HF_E_NOT_FOUND);
    }

    /// A key that is there throughout a walk is seen once.
    class iterator {
    public:
        using iterator_concept = std::input_iterator_tag;
        using iterator_category = std::input_iterator_tag;
        using value_type = std::pair<K, V>;
        using difference_type = std::ptrdiff_t;
        using pointer = const value_type *;
        using reference = const value_type &;

        iterator() = default;
        explicit iterator(hf_shm_map *map) : map_(map) { ++*this; }
        [[nodiscard]] reference operator*() const { return *now_; }
        [[nodiscard]] pointer operator->() const { return &*now_; }
        iterator &operator++() {
            KeyRoom key;
            Room value;
            std::size_t size = 0;
            now_.reset();
            if (!yes(hf_shm_map_next(map_, &cursor_, key.bytes, sizeof(K), nullptr, value.bytes,
                                     sizeof(V), &size, nullptr),
                     HF_E_EMPTY))
                return *this;
            if (size != sizeof(V)) hf::raise(HF_E_MISMATCH, "a value of another size");
            now_.emplace(*key.value(), *value.value());
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator &it, std::default_sentinel_t) { return !it.now_; }

    private:
        hf_shm_map *map_ = nullptr;
        hf_shm_map_cursor cursor_{};
        std::optional<value_type> now_;
    };
    [[nodiscard]] iterator begin() const { return iterator(native()); }
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return std::default_sentinel; }

private:
    /// Bytes that become an object by being copied into.
    template <class T> struct Bytes {
        alignas(T) std::byte bytes[sizeof(T)];
        [[nodiscard]] const T *value() const noexcept {
            return std::launder(reinterpret_cast<const T *>(bytes));
        }
    };
    using Room = Bytes<V>;
    using KeyRoom = Bytes<K>;

    static Options fitted(std::uint64_t capacity) noexcept {
        Options options;
        hf_shm_map_options_init(options, sizeof(K), sizeof(V), capacity);
        options.value.key_format = format_of<K>();
        options.value.value_format = format_of<V>();
        return options;
    }
};

/// Keys and values of bytes, up to the lengths it was made with.
class BytesMap : public detail::MapHandle {
public:
    BytesMap(hf_shm *segment, const std::string &name, std::size_t key_size, std::size_t value_size,
             std::uint64_t capacity, hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE)
        : MapHandle(segment, name, mode, fitted(key_size, value_size, capacity)) {}
    /// Opens one that is there.
    BytesMap(hf_shm *segment, const std::string &name)
        : MapHandle(segment, name, HF_SHM_OPEN, nullptr) {}

    [[nodiscard]] std::optional<std::string> get(std::string_view key) const {
        auto found = get_versioned(key);
        if (!found) return std::nullopt;
        return std::move(found->value);
    }
    [[nodiscard]] std::optional<VersionedValue<std::string>>
    get_versioned(std::string_view key) const {
        std::string value(room_first, '\0');
        std::size_t size = 0;
        std::uint64_t version = 0;
        for (;;) {
            const Status status = hf_shm_map_get(native(), key.data(), key.size(), value.data(),
                                                 value.size(), &size, &version);
            const bool longer = status == HF_E_INVALID && size > value.size();
            if (!longer && !yes(status, HF_E_NOT_FOUND)) return std::nullopt;
            value.resize(size);
            if (!longer) return VersionedValue<std::string>{std::move(value), version};
        }
    }
    [[nodiscard]] bool contains(std::string_view key) const {
        return get_versioned(key).has_value();
    }
    std::uint64_t put(std::string_view key, std::string_view value) const {
        std::uint64_t version = 0;
        hf::check(
            hf_shm_map_put(native(), key.data(), key.size(), value.data(), value.size(), &version),
            hf_shm_detail());
        return version;
    }
    bool put_if_absent(std::string_view key, std::string_view value) const {
        return yes(hf_shm_map_put_if_absent(native(), key.data(), key.size(), value.data(),
                                            value.size(), nullptr),
                   HF_E_EXISTS);
    }
    bool replace_if(std::string_view key, std::string_view value, std::uint64_t version) const {
        return yes(hf_shm_map_replace_if(native(), key.data(), key.size(), value.data(),
                                         value.size(), version, nullptr),
                   version == 0 ? HF_E_EXISTS : HF_E_STALE, HF_E_NOT_FOUND);
    }
    /// As Map::update; `function` takes and returns a string (optional: none if there is no key).
    template <class Function> std::string update(std::string_view key, Function &&function) const {
        for (;;) {
            auto found = get_versioned(key);
            const std::uint64_t version = found ? found->version : 0;
            std::string value = function(found ? std::optional<std::string>(std::move(found->value))
                                               : std::optional<std::string>());
            if (replace_if(key, value, version)) return value;
        }
    }
    bool erase(std::string_view key) const {
        return yes(hf_shm_map_erase(native(), key.data(), key.size()), HF_E_NOT_FOUND);
    }
    bool erase_if(std::string_view key, std::uint64_t version) const {
        return yes(hf_shm_map_erase_if(native(), key.data(), key.size(), version), HF_E_STALE,
                   HF_E_NOT_FOUND);
    }
    /// Calls function(key, value) for each; true from it stops.
    template <class Function> void each(Function &&function) const {
        const hf_shm_map_options most = options();
        std::string key(most.key_size, '\0'), value(most.value_size, '\0');
        hf_shm_map_cursor cursor{};
        std::size_t key_size = 0, value_size = 0;
        while (yes(hf_shm_map_next(native(), &cursor, key.data(), key.size(), &key_size,
                                   value.data(), value.size(), &value_size, nullptr),
                   HF_E_EMPTY))
            if (function(std::string_view(key.data(), key_size),
                         std::string_view(value.data(), value_size)))
                return;
    }

private:
    /// Tried first: the longest value there may be can be a gigabyte.
    static constexpr std::size_t room_first = 512;

    static Options fitted(std::size_t key_size, std::size_t value_size,
                          std::uint64_t capacity) noexcept {
        Options options;
        hf_shm_map_options_init(options, key_size, value_size, capacity);
        options.value.bytes = 1;
        return options;
    }
};

} // namespace hf::shm

#endif
