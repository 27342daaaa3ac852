/// shm_versioned.hpp - an array that is replaced as a whole, as C++ owns it.
///
///   hf::shm::Versioned<float> positions{segment, "positions", {.count = 300000}};
///   positions.write(data);                                     the writer
///   { auto next = positions.begin();  next[0] = 1;  next.commit(); }     in place
///   std::uint64_t seen = positions.read(data);                 a reader: the version it got
///   positions.wait(seen, 1s);
///
/// Caveats
///  - What shm_versioned.h says of snapshots, versions and killed writers.
/// Talks to    shm_versioned.h, error.hpp, shm_format.hpp.
/// Threads     one at a time per object.
/// Fails with  Busy (another writes; the writer laps the reader), Mismatch, NotFound, OutOfMemory,
///             InvalidArgument, Corruption.
#ifndef HOLDFAST_SHM_VERSIONED_HPP
#define HOLDFAST_SHM_VERSIONED_HPP

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <holdfast/error.hpp>
#include <holdfast/shm_format.hpp>
#include <holdfast/shm_versioned.h>
#include <holdfast/shm_wait.hpp>

namespace hf::shm {

/// How a versioned array is made. When opening, zeroes mean any.
struct VersionedOptions {
    std::uint64_t count = 0;   // elements
    std::uint32_t buffers = 0; // 0: 2 when it is made
};

template <Element T> class Versioned {
public:
    using value_type = T;
    static_assert(alignof(T) <= 64, "elements begin at a multiple of 64 bytes");

    /// The memory of the next version. Dies uncommitted: as if it had never begun.
    class Next {
    public:
        Next(Next &&other) noexcept
            : array_(std::exchange(other.array_, nullptr)), elements_(other.elements_) {}
        Next &operator=(Next &&) = delete;
        ~Next() {
            if (array_ != nullptr) (void)hf_shm_versioned_cancel(array_);
        }
        [[nodiscard]] std::span<T> elements() const noexcept { return elements_; }
        [[nodiscard]] T &operator[](std::size_t index) const noexcept { return elements_[index]; }
        [[nodiscard]] T *data() const noexcept { return elements_.data(); }
        [[nodiscard]] std::size_t size() const noexcept { return elements_.size(); }
        /// Readers see it from now on. Returns its version.
        std::uint64_t commit() {
            std::uint64_t version = 0;
            hf::check(hf_shm_versioned_commit(std::exchange(array_, nullptr), &version),
                      hf_shm_detail());
            return version;
        }

    private:
        friend class Versioned;
        Next(hf_shm_versioned *array, std::span<T> elements) noexcept
            : array_(array), elements_(elements) {}

        hf_shm_versioned *array_;
        std::span<T> elements_;
    };

    /// The newest version in place, until `intact` says no.
    struct View {
        std::span<const T> elements;
        std::uint64_t version;
    };

    Versioned(hf_shm *segment, const std::string &name, const VersionedOptions &options = {},
              hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE) {
        hf_shm_versioned_options native;
        hf_shm_versioned_options_init(&native, sizeof(T), options.count);
        if (options.buffers != 0 || mode == HF_SHM_OPEN) native.buffers = options.buffers;
        native.format = format_of<T>();
        hf::check(hf_shm_versioned_open(segment, hf::detail::c_name(name), mode, &native, &array_),
                  hf_shm_detail());
    }
    /// Whatever versioned array of this element there is.
    [[nodiscard]] static Versioned open(hf_shm *segment, const std::string &name) {
        return Versioned(segment, name, {}, HF_SHM_OPEN);
    }
    Versioned(Versioned &&other) noexcept : array_(std::exchange(other.array_, nullptr)) {}
    Versioned &operator=(Versioned &&other) noexcept {
        if (this != &other) {
            (void)hf_shm_versioned_close(array_);
            array_ = std::exchange(other.array_, nullptr);
        }
        return *this;
    }
    ~Versioned() { (void)hf_shm_versioned_close(array_); }

    void claim() { hf::check(hf_shm_versioned_claim(array_), hf_shm_detail()); }
    void release() { hf::check(hf_shm_versioned_release(array_), hf_shm_detail()); }

    /// Replaces everything; `elements` has size(). Returns the new version.
    std::uint64_t write(std::span<const T> elements) {
        std::uint64_t version = 0;
        expect_size(elements.size());
        hf::check(hf_shm_versioned_write(array_, elements.data(), &version), hf_shm_detail());
        return version;
    }
    /// Replaces the elements from `first` on; the rest is that of the last version.
    std::uint64_t write_range(std::uint64_t first, std::span<const T> elements) {
        std::uint64_t version = 0;
        hf::check(hf_shm_versioned_write_range(array_, first * sizeof(T), elements.data(),
                                               elements.size_bytes(), &version),
                  hf_shm_detail());
        return version;
    }
    /// The next version, to be filled in place; `keep`: with the content of the last one.
    [[nodiscard]] Next begin(bool keep = false) {
        void *data = nullptr;
        hf::check(hf_shm_versioned_begin(array_, keep, &data), hf_shm_detail());
        return Next(array_, {static_cast<T *>(data), size()});
    }

    /// The newest whole version into `out`, which has size(). Returns which.
    std::uint64_t read(std::span<T> out) {
        std::uint64_t version = 0;
        expect_size(out.size());
        hf::check(hf_shm_versioned_read(array_, out.data(), &version), hf_shm_detail());
        return version;
    }
    /// A part of it, from element `first` on.
    std::uint64_t read_range(std::uint64_t first, std::span<T> out) {
        std::uint64_t version = 0;
        hf::check(hf_shm_versioned_read_range(array_, first * sizeof(T), out.data(),
                                              out.size_bytes(), &version),
                  hf_shm_detail());
        return version;
    }
    /// The same as read, unless the newest is still `version`.
    [[nodiscard]] std::optional<std::uint64_t> read_newer(std::uint64_t version, std::span<T> out) {
        std::uint64_t got = 0;
        expect_size(out.size());
        const Status status = hf_shm_versioned_read_newer(array_, version, out.data(), &got);
        if (status == HF_E_EMPTY) return std::nullopt;
        hf::check(status, hf_shm_detail());
        return got;
    }
    /// The version that came after `version`; nothing if none did in time.
    [[nodiscard]] std::optional<std::uint64_t> wait(std::uint64_t version, Timeout timeout) {
        std::uint64_t newest = 0;
        const Status status = hf_shm_versioned_wait(array_, version, timeout.ns(), &newest);
        if (status == HF_E_TIMEOUT) return std::nullopt;
        hf::check(status, hf_shm_detail());
        return newest;
    }
    [[nodiscard]] View view() {
        const void *data = nullptr;
        std::uint64_t version = 0;
        hf::check(hf_shm_versioned_view(array_, &data, &version), hf_shm_detail());
        return {{static_cast<const T *>(data), size()}, version};
    }
    /// Whether what was read of a view so far is whole.
    [[nodiscard]] bool intact(std::uint64_t version) {
        return hf_shm_versioned_intact(array_, version) == HF_OK;
    }

    /// Elements.
    [[nodiscard]] std::size_t size() const noexcept {
        return static_cast<std::size_t>(hf_shm_versioned_element_count(array_));
    }
    [[nodiscard]] std::uint64_t version() const noexcept {
        return hf_shm_versioned_version(array_);
    }
    [[nodiscard]] hf_shm_versioned *native() const noexcept { return array_; }

private:
    void expect_size(std::size_t given) const {
        if (given != size())
            hf::check(HF_E_INVALID, "a versioned array is read and written as a whole: give a span "
                                    "of size() elements, or use read_range and write_range");
    }

    hf_shm_versioned *array_ = nullptr;
};

} // namespace hf::shm

#endif
