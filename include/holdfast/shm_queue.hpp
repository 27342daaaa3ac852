/// shm_queue.hpp - queues in shared memory, as C++ owns them.
///
///   hf::shm::Queue<Job> jobs{segment, "jobs", {.capacity = 1024}};
///   jobs.put(job, hf::shm::forever);                 false: it stayed full
///   while (auto job = jobs.get(1s)) ...              nothing: it stayed empty
///   if (auto place = jobs.reserve()) { *place = ...; place.commit(); }
///
///   hf::shm::ByteQueue   the same for items of 0 to so many bytes
///
/// Caveats
///  - What shm_queue.h says of killed processes, of order, and of `single`.
///  - A place that is not committed is given up when it dies, a taken item is released: both die before
///    their queue.
///  - Timeouts are std::chrono durations; without one nothing waits; hf::shm::forever has no end.
/// Talks to    shm_queue.h, error.hpp, shm_format.hpp, shm_wait.hpp.
/// Threads     as the queue; a place or a taken item is used by one at a time.
/// Fails with  Mismatch, NotFound, Exists, OutOfMemory, InvalidArgument, Busy (single), Corruption,
///             Cancelled (wake).
#ifndef HOLDFAST_SHM_QUEUE_HPP
#define HOLDFAST_SHM_QUEUE_HPP

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <holdfast/error.hpp>
#include <holdfast/shm_format.hpp>
#include <holdfast/shm_queue.h>
#include <holdfast/shm_wait.hpp>

namespace hf::shm {

/// How a queue is made; all must agree with one that is there already.
struct QueueOptions {
    std::uint64_t capacity = 1024; // rounded up to a power of two
    bool single = false;           // one producer and one consumer, faster
    bool redeliver = false;        // what a killed consumer had in hand comes again
};

namespace detail {

/// False: full or empty, and it stayed so.
inline bool queue_waited(Status status) {
    if (status == HF_E_FULL || status == HF_E_EMPTY || status == HF_E_TIMEOUT) return false;
    hf::check(status, hf_shm_detail());
    return true;
}

/// Owns one handle: move-only, one pointer wide.
class QueueHandle {
public:
    QueueHandle(hf_shm *segment, const std::string &name, hf_shm_mode mode,
                const hf_shm_queue_options *options) {
        hf::check(hf_shm_queue_open(segment, hf::detail::c_name(name), mode, options, &queue_),
                  hf_shm_detail());
    }
    QueueHandle(QueueHandle &&other) noexcept : queue_(std::exchange(other.queue_, nullptr)) {}
    QueueHandle &operator=(QueueHandle &&other) noexcept {
        if (this != &other) {
            close();
            queue_ = std::exchange(other.queue_, nullptr);
        }
        return *this;
    }
    ~QueueHandle() { close(); }

    /// Never more than the capacity; of a moment that is over.
    [[nodiscard]] std::uint64_t length() const noexcept { return hf_shm_queue_length(queue_); }
    [[nodiscard]] std::uint64_t capacity() const noexcept { return hf_shm_queue_capacity(queue_); }
    /// Everyone who waits in this queue, in any process, gets Cancelled.
    void wake() noexcept { hf_shm_queue_wake(queue_); }
    [[nodiscard]] hf_shm_queue *native() const noexcept { return queue_; }

private:
    void close() noexcept {
        if (queue_ != nullptr) (void)hf_shm_queue_close(queue_);
    }
    hf_shm_queue *queue_ = nullptr;
};

inline hf_shm_queue_options queue_options(std::uint64_t size, const QueueOptions &options,
                                          hf_shm_queue_items items, const char *format) {
    hf_shm_queue_options native;
    hf_shm_queue_options_init(&native, size, options.capacity);
    native.items = items;
    native.single = options.single;
    native.redeliver = options.redeliver;
    native.format = format;
    return native;
}

/// A slot in hand; given back in the gentler way when it dies.
template <hf_status (*GiveBack)(hf_shm_queue *, const hf_shm_slot *)> class Slot {
public:
    Slot() noexcept = default;
    Slot(hf_shm_queue *queue, const hf_shm_slot &slot) noexcept : queue_(queue), slot_(slot) {}
    Slot(Slot &&other) noexcept
        : queue_(std::exchange(other.queue_, nullptr)), slot_(other.slot_) {}
    Slot &operator=(Slot &&other) noexcept {
        if (this != &other) {
            give_back();
            queue_ = std::exchange(other.queue_, nullptr);
            slot_ = other.slot_;
        }
        return *this;
    }
    ~Slot() { give_back(); }

    /// False: there was none, or it was given back.
    [[nodiscard]] explicit operator bool() const noexcept { return queue_ != nullptr; }

protected:
    void give_back() noexcept {
        if (queue_ != nullptr) (void)GiveBack(std::exchange(queue_, nullptr), &slot_);
    }
    /// Commits it with `size` bytes. What is refused stays in hand.
    void put(std::uint64_t size) {
        hf_shm_slot slot = slot_;
        slot.size = size;
        hf::check(hf_shm_queue_commit(queue_, &slot), hf_shm_detail());
        queue_ = nullptr;
    }
    hf_shm_queue *queue_ = nullptr;
    hf_shm_slot slot_{};
};

} // namespace detail

/// Room for one item; abandoned unless committed.
template <class T> class Place : public detail::Slot<hf_shm_queue_abandon> {
public:
    using Slot::Slot;
    [[nodiscard]] T &operator*() const noexcept { return *static_cast<T *>(slot_.data); }
    [[nodiscard]] T *operator->() const noexcept { return static_cast<T *>(slot_.data); }
    void commit() { put(slot_.size); }
};

/// Room for some bytes.
template <> class Place<std::byte> : public detail::Slot<hf_shm_queue_abandon> {
public:
    using Slot::Slot;
    [[nodiscard]] std::span<std::byte> bytes() const noexcept {
        return {static_cast<std::byte *>(slot_.data), static_cast<std::size_t>(slot_.size)};
    }
    /// Puts the first `size` of them.
    void commit(std::size_t size) { put(size); }
    void commit() { put(slot_.size); }
};

/// The oldest item where it lies; released when this dies.
template <class T> class Taken : public detail::Slot<hf_shm_queue_release> {
public:
    using Slot::Slot;
    [[nodiscard]] const T &operator*() const noexcept {
        return *static_cast<const T *>(slot_.data);
    }
    [[nodiscard]] const T *operator->() const noexcept {
        return static_cast<const T *>(slot_.data);
    }
    void release() noexcept { give_back(); }
};

template <> class Taken<std::byte> : public detail::Slot<hf_shm_queue_release> {
public:
    using Slot::Slot;
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
        return {static_cast<const std::byte *>(slot_.data), static_cast<std::size_t>(slot_.size)};
    }
    void release() noexcept { give_back(); }
};

/// A queue of records of one type.
template <Element T> class Queue : public detail::QueueHandle {
public:
    using value_type = T;
    static_assert(alignof(T) <= 64, "items lie at multiples of 64 bytes at most");
    /// Whether reserve and take are there: items of up to 48 bytes share a line with their state, at
    /// multiples of 16.
    static constexpr bool in_place = alignof(T) <= 16 || sizeof(T) > 48;

    Queue(hf_shm *segment, const std::string &name, const QueueOptions &options = {},
          hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE)
        : Queue(segment, name, mode,
                detail::queue_options(sizeof(T), options, HF_SHM_QUEUE_RECORDS, format_of<T>())) {}
    /// Whatever queue of this record there is.
    [[nodiscard]] static Queue open(hf_shm *segment, const std::string &name) {
        return Queue(segment, name, {.capacity = 0}, HF_SHM_OPEN);
    }

    /// False: it stayed full.
    bool put(const T &item, Timeout timeout = {}) {
        return detail::queue_waited(hf_shm_queue_put(native(), &item, sizeof item, timeout.ns()));
    }
    /// The oldest item; nothing if it stayed empty.
    [[nodiscard]] std::optional<T> get(Timeout timeout = {}) {
        std::array<std::byte, sizeof(T)> item;
        if (!detail::queue_waited(
                hf_shm_queue_get(native(), item.data(), item.size(), timeout.ns(), nullptr)))
            return std::nullopt;
        return std::bit_cast<T>(item);
    }
    /// How many of them went in: all, unless it stayed full.
    std::uint64_t put_bulk(std::span<const T> items, Timeout timeout = {}) {
        std::uint64_t done = 0;
        if (!items.empty())
            (void)detail::queue_waited(hf_shm_queue_put_bulk(native(), items.data(), nullptr,
                                                             items.size(), timeout.ns(), &done));
        return done;
    }
    /// How many came out: at least one, unless it stayed empty.
    std::uint64_t get_bulk(std::span<T> room, Timeout timeout = {}) {
        std::uint64_t done = 0;
        if (!room.empty())
            (void)detail::queue_waited(hf_shm_queue_get_bulk(native(), room.data(), nullptr,
                                                             room.size(), timeout.ns(), &done));
        return done;
    }
    /// Room to write an item in place; false if it stayed full.
    [[nodiscard]] Place<T> reserve(Timeout timeout = {}) requires(in_place) {
        hf_shm_slot slot;
        if (!detail::queue_waited(hf_shm_queue_reserve(native(), 0, timeout.ns(), &slot)))
            return {};
        return {native(), slot};
    }
    /// The oldest item in place; false if it stayed empty.
    [[nodiscard]] Taken<T> take(Timeout timeout = {}) requires(in_place) {
        hf_shm_slot slot;
        if (!detail::queue_waited(hf_shm_queue_peek(native(), timeout.ns(), &slot))) return {};
        return {native(), slot};
    }

private:
    Queue(hf_shm *segment, const std::string &name, hf_shm_mode mode,
          const hf_shm_queue_options &options)
        : QueueHandle(segment, name, mode, &options) {}
};

/// A queue of items of 0 to `size_max` bytes.
class ByteQueue : public detail::QueueHandle {
public:
    ByteQueue(hf_shm *segment, const std::string &name, std::uint64_t size_max,
              const QueueOptions &options = {}, hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE)
        : ByteQueue(segment, name, mode,
                    detail::queue_options(size_max, options, HF_SHM_QUEUE_BYTES, nullptr)) {}
    /// Whatever queue of bytes there is.
    [[nodiscard]] static ByteQueue open(hf_shm *segment, const std::string &name) {
        ByteQueue queue(QueueHandle(segment, name, HF_SHM_OPEN, nullptr));
        hf_shm_queue_options options;
        hf_shm_queue_options_of(queue.native(), &options);
        if (options.items != HF_SHM_QUEUE_BYTES)
            hf::raise(HF_E_MISMATCH, "the queue holds records, not bytes");
        return queue;
    }
    [[nodiscard]] std::uint64_t size_max() const noexcept {
        return hf_shm_queue_element_size(native());
    }

    bool put(std::span<const std::byte> item, Timeout timeout = {}) {
        return detail::queue_waited(
            hf_shm_queue_put(native(), item.data(), item.size(), timeout.ns()));
    }
    /// One item of several parts, without a copy in between.
    bool put(std::span<const hf_shm_bytes> parts, Timeout timeout = {}) {
        return detail::queue_waited(
            hf_shm_queue_put_segmented(native(), parts.data(), parts.size(), timeout.ns()));
    }
    [[nodiscard]] std::optional<std::vector<std::byte>> get(Timeout timeout = {}) {
        auto taken = take(timeout);
        if (!taken) return std::nullopt;
        return std::vector<std::byte>(taken.bytes().begin(), taken.bytes().end());
    }
    /// Room for `size` bytes (0: size_max).
    [[nodiscard]] Place<std::byte> reserve(std::uint64_t size = 0, Timeout timeout = {}) {
        hf_shm_slot slot;
        if (!detail::queue_waited(hf_shm_queue_reserve(native(), size, timeout.ns(), &slot)))
            return {};
        return {native(), slot};
    }
    [[nodiscard]] Taken<std::byte> take(Timeout timeout = {}) {
        hf_shm_slot slot;
        if (!detail::queue_waited(hf_shm_queue_peek(native(), timeout.ns(), &slot))) return {};
        return {native(), slot};
    }

private:
    ByteQueue(hf_shm *segment, const std::string &name, hf_shm_mode mode,
              const hf_shm_queue_options &options)
        : QueueHandle(segment, name, mode, &options) {}
    explicit ByteQueue(QueueHandle handle) noexcept : QueueHandle(std::move(handle)) {}
};

} // namespace hf::shm

#endif
