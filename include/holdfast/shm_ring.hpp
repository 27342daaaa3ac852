/// shm_ring.hpp - a ring in shared memory, as C++ owns it.
///
///   hf::shm::Ring<Sample> ring{segment, "samples", {.capacity = 4096}};
///   ring.push(sample);                                 the writer
///   hf::shm::RingReader<Sample> reader{ring};          a reader
///   while (auto sample = reader.pop(1s)) ...           or  for (Sample s : reader.available())
///
/// Caveats
///  - What shm_ring.h says of overwriting, reliable rings and killed processes.
///  - Readers hold their ring open: it must not move or die before them.
///  - Timeouts are std::chrono durations; hf::shm::forever waits without an end.
/// Talks to    shm_ring.h, error.hpp, shm_format.hpp.
/// Threads     one at a time per object.
/// Fails with  Busy (another writes), Mismatch, NotFound, OutOfMemory, InvalidArgument, Corruption.
#ifndef HOLDFAST_SHM_RING_HPP
#define HOLDFAST_SHM_RING_HPP

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <holdfast/error.hpp>
#include <holdfast/shm_format.hpp>
#include <holdfast/shm_ring.h>
#include <holdfast/shm_wait.hpp>

namespace hf::shm {

/// How a ring is made. When opening, zeroes mean any.
struct RingOptions {
    std::uint64_t capacity = 0;
    std::optional<bool> reliable = std::nullopt;
    std::uint32_t readers_max = 16;
};

enum class RingFrom { oldest, newest };

/// What a bulk read brought: the elements are the first `got` of the room that was given.
struct RingGot {
    std::uint64_t got = 0;
    std::uint64_t lost = 0; // overwritten since the read before
};

template <Element T> class RingReader;

/// One handle on a ring: writes, looks, and carries readers.
template <Element T> class Ring {
public:
    using value_type = T;
    static_assert(alignof(T) <= 64, "elements begin at a multiple of 64 bytes");

    Ring(hf_shm *segment, const std::string &name, const RingOptions &options = {},
         hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE) {
        hf_shm_ring_options native;
        hf_shm_ring_options_init(&native, sizeof(T), options.capacity);
        native.readers_max = options.readers_max;
        native.format = format_of<T>();
        const bool open = mode == HF_SHM_OPEN;
        native.reliable = options.reliable ? *options.reliable : open ? 2u : 0u;
        hf::check(hf_shm_ring_open(segment, hf::detail::c_name(name), mode, &native, &ring_),
                  hf_shm_detail());
    }
    /// Whatever ring of this element there is.
    [[nodiscard]] static Ring open(hf_shm *segment, const std::string &name) {
        return Ring(segment, name, {}, HF_SHM_OPEN);
    }
    Ring(Ring &&other) noexcept : ring_(std::exchange(other.ring_, nullptr)) {}
    Ring &operator=(Ring &&other) noexcept {
        if (this != &other) {
            (void)hf_shm_ring_close(ring_);
            ring_ = std::exchange(other.ring_, nullptr);
        }
        return *this;
    }
    ~Ring() { (void)hf_shm_ring_close(ring_); }

    /// Becomes the writer, which the first push does by itself; lets another write.
    void claim() { hf::check(hf_shm_ring_claim(ring_), hf_shm_detail()); }
    void release() { hf::check(hf_shm_ring_release(ring_), hf_shm_detail()); }

    /// False: a reliable ring stayed full. Overwriting ones never are.
    bool push(const T &element, Timeout timeout = {}) {
        return waited(hf_shm_ring_push(ring_, &element, timeout.ns()));
    }
    /// How many of them went in: all, unless a reliable ring stayed full.
    std::uint64_t push_bulk(std::span<const T> elements, Timeout timeout = {}) {
        std::uint64_t pushed = 0;
        if (elements.empty()) return 0;
        (void)waited(
            hf_shm_ring_push_bulk(ring_, elements.data(), elements.size(), timeout.ns(), &pushed));
        return pushed;
    }
    /// Room for up to `count` elements in one run, to be filled in place; empty: full.
    [[nodiscard]] std::span<T> reserve(std::uint64_t count, Timeout timeout = {}) {
        void *run = nullptr;
        std::uint64_t given = 0;
        if (!waited(hf_shm_ring_reserve(ring_, count, timeout.ns(), &run, &given))) return {};
        return {static_cast<T *>(run), static_cast<std::size_t>(given)};
    }
    /// Publishes the first `count` of them and gives up the rest.
    void commit(std::uint64_t count) {
        hf::check(hf_shm_ring_commit(ring_, count), hf_shm_detail());
    }

    /// The newest elements, up to `count`, oldest of them first.
    [[nodiscard]] std::vector<T> latest(std::uint64_t count) {
        std::vector<T> out(static_cast<std::size_t>(std::min(count, capacity())));
        std::uint64_t got = 0;
        if (out.empty()) return out;
        const Status status = hf_shm_ring_latest(ring_, out.data(), out.size(), &got, nullptr);
        if (status != HF_E_EMPTY) hf::check(status, hf_shm_detail());
        out.resize(static_cast<std::size_t>(got));
        return out;
    }
    /// The element at a position, unless it is overwritten or not yet written.
    [[nodiscard]] std::optional<T> at(std::uint64_t position) {
        std::array<std::byte, sizeof(T)> element;
        std::uint64_t got = 0;
        const Status status = hf_shm_ring_read_at(ring_, position, element.data(), 1, &got);
        if (status == HF_E_EMPTY || status == HF_E_STALE) return std::nullopt;
        hf::check(status, hf_shm_detail());
        return std::bit_cast<T>(element);
    }

    [[nodiscard]] std::uint64_t capacity() const noexcept { return hf_shm_ring_capacity(ring_); }
    [[nodiscard]] bool reliable() const noexcept { return hf_shm_ring_reliable(ring_) != 0; }
    [[nodiscard]] std::uint64_t total_written() const noexcept {
        return hf_shm_ring_total_written(ring_);
    }
    [[nodiscard]] std::uint64_t oldest() const noexcept { return hf_shm_ring_oldest(ring_); }
    [[nodiscard]] hf_shm_ring *native() const noexcept { return ring_; }

private:
    static bool waited(Status status) {
        if (status == HF_E_FULL || status == HF_E_TIMEOUT) return false;
        hf::check(status, hf_shm_detail());
        return true;
    }

    hf_shm_ring *ring_ = nullptr;
};

/// One reader: every element once, in order, and a count of those that were overwritten before.
template <Element T> class RingReader {
public:
    using value_type = T;

    explicit RingReader(const Ring<T> &ring, RingFrom from = RingFrom::oldest, bool lossy = false) {
        hf_shm_ring_reader_options native;
        hf_shm_ring_reader_options_init(&native);
        native.from = from == RingFrom::oldest ? HF_SHM_RING_OLDEST : HF_SHM_RING_NEWEST;
        native.lossy = lossy;
        hf::check(hf_shm_ring_reader_open(ring.native(), &native, &reader_), hf_shm_detail());
    }
    /// Goes on from a position; what is gone of it counts as lost.
    RingReader(const Ring<T> &ring, std::uint64_t position, bool lossy = false) {
        hf_shm_ring_reader_options native;
        hf_shm_ring_reader_options_init(&native);
        native.from = HF_SHM_RING_POSITION;
        native.position = position;
        native.lossy = lossy;
        hf::check(hf_shm_ring_reader_open(ring.native(), &native, &reader_), hf_shm_detail());
    }
    RingReader(RingReader &&other) noexcept : reader_(std::exchange(other.reader_, nullptr)) {}
    RingReader &operator=(RingReader &&other) noexcept {
        if (this != &other) {
            hf_shm_ring_reader_close(reader_);
            reader_ = std::exchange(other.reader_, nullptr);
        }
        return *this;
    }
    ~RingReader() { hf_shm_ring_reader_close(reader_); }

    /// The next element; nothing if none came in time.
    [[nodiscard]] std::optional<T> pop(Timeout timeout = {}) {
        std::array<std::byte, sizeof(T)> element;
        if (!waited(hf_shm_ring_pop(reader_, element.data(), timeout.ns()))) return std::nullopt;
        return std::bit_cast<T>(element);
    }
    /// Into the room that is given, at least one unless none came in time.
    [[nodiscard]] RingGot pop_bulk(std::span<T> room, Timeout timeout = {}) {
        RingGot result;
        if (room.empty()) return result;
        (void)waited(hf_shm_ring_pop_bulk(reader_, room.data(), room.size(), timeout.ns(),
                                          &result.got, &result.lost));
        return result;
    }
    /// The next elements, which stay unread. How many there are.
    [[nodiscard]] std::uint64_t peek(std::span<T> room) {
        std::uint64_t got = 0;
        if (!room.empty()) (void)waited(hf_shm_ring_peek(reader_, room.data(), room.size(), &got));
        return got;
    }
    /// The next elements in place; advance says whether they stayed whole.
    [[nodiscard]] std::span<const T> view(std::uint64_t count) {
        const void *run = nullptr;
        std::uint64_t given = 0;
        if (!waited(hf_shm_ring_view(reader_, count, &run, &given))) return {};
        return {static_cast<const T *>(run), static_cast<std::size_t>(given)};
    }
    /// How many of the first of them were overwritten meanwhile: 0 in a reliable ring.
    std::uint64_t advance(std::uint64_t count) {
        std::uint64_t lost = 0;
        const Status status = hf_shm_ring_advance(reader_, count, &lost);
        if (status != HF_E_STALE) hf::check(status, hf_shm_detail());
        return lost;
    }
    /// False: not so many came in time.
    [[nodiscard]] bool wait(std::uint64_t count, Timeout timeout) {
        return waited(hf_shm_ring_wait(reader_, count, timeout.ns()));
    }
    void seek(std::uint64_t position) {
        hf::check(hf_shm_ring_seek(reader_, position), hf_shm_detail());
    }

    [[nodiscard]] std::uint64_t position() const noexcept { return hf_shm_ring_position(reader_); }
    [[nodiscard]] std::uint64_t lag() const noexcept { return hf_shm_ring_lag(reader_); }
    [[nodiscard]] std::uint64_t lost() const noexcept { return hf_shm_ring_lost(reader_); }
    [[nodiscard]] hf_shm_ring_reader *native() const noexcept { return reader_; }

    /// What is there now, one after the other: reading is popping.
    class Available {
    public:
        class iterator {
        public:
            using value_type = T;
            using difference_type = std::ptrdiff_t;
            using iterator_concept = std::input_iterator_tag;

            iterator() = default;
            explicit iterator(RingReader *reader) : reader_(reader) { ++*this; }
            const T &operator*() const noexcept { return *element_; }
            iterator &operator++() {
                element_ = reader_->pop();
                return *this;
            }
            void operator++(int) { ++*this; }
            bool operator==(std::default_sentinel_t) const noexcept { return !element_; }

        private:
            RingReader *reader_ = nullptr;
            std::optional<T> element_;
        };
        explicit Available(RingReader *reader) noexcept : reader_(reader) {}
        [[nodiscard]] iterator begin() const { return iterator(reader_); }
        [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

    private:
        RingReader *reader_;
    };
    [[nodiscard]] Available available() noexcept { return Available(this); }

private:
    static bool waited(Status status) {
        if (status == HF_E_EMPTY || status == HF_E_TIMEOUT) return false;
        hf::check(status, hf_shm_detail());
        return true;
    }

    hf_shm_ring_reader *reader_ = nullptr;
};

} // namespace hf::shm

#endif
