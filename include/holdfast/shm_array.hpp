/// shm_array.hpp - a typed array in shared memory, as C++ owns it: a range like any other.
///
///   hf::shm::Array<double> field{segment, "field", {480, 640}};
///   field(3, 5) = 1.0;   std::ranges::fill(field, 0.0);   std::span<double> row = field.run(640, 640);
///
/// Caveats
///  - What shm_array.h says: elements of up to 8 bytes are never torn, the rest is between its users.
/// Talks to    shm_array.h, error.hpp, shm_format.hpp.
/// Threads     any, as for memory; close when no other thread uses it.
/// Fails with  Mismatch, NotFound, OutOfMemory, InvalidArgument (also an index out of range).
#ifndef HOLDFAST_SHM_ARRAY_HPP
#define HOLDFAST_SHM_ARRAY_HPP

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>

#include <holdfast/error.hpp>
#include <holdfast/shm_array.h>
#include <holdfast/shm_format.hpp>

namespace hf::shm {

template <Element T> class Array {
public:
    using value_type = T;
    static_assert(alignof(T) <= 64, "elements begin at a multiple of 64 bytes");
    using iterator = T *;
    using const_iterator = const T *;

    /// An empty shape opens whatever array of this element there is, and makes none.
    Array(hf_shm *segment, const std::string &name, std::span<const std::uint64_t> shape,
          hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE) {
        hf_shm_array_options native;
        hf_shm_array_options_init(&native, sizeof(T), 0);
        native.format = format_of<T>();
        if (shape.size() > HF_SHM_DIMENSIONS_MAX)
            hf::check(HF_E_INVALID, "an array in shared memory has at most 8 dimensions");
        native.dimensions = static_cast<std::uint32_t>(shape.size());
        for (std::size_t i = 0; i < shape.size(); i++)
            native.shape[i] = shape[i];
        hf::check(hf_shm_array_open(segment, hf::detail::c_name(name), mode, &native, &array_),
                  hf_shm_detail());
    }
    Array(hf_shm *segment, const std::string &name, std::initializer_list<std::uint64_t> shape,
          hf_shm_mode mode = HF_SHM_OPEN_OR_CREATE)
        : Array(segment, name, std::span<const std::uint64_t>(shape.begin(), shape.size()), mode) {}
    /// Whatever array of this element there is.
    [[nodiscard]] static Array open(hf_shm *segment, const std::string &name) {
        return Array(segment, name, std::span<const std::uint64_t>(), HF_SHM_OPEN);
    }
    Array(Array &&other) noexcept : array_(std::exchange(other.array_, nullptr)) {}
    Array &operator=(Array &&other) noexcept {
        if (this != &other) {
            hf_shm_array_close(array_);
            array_ = std::exchange(other.array_, nullptr);
        }
        return *this;
    }
    ~Array() { hf_shm_array_close(array_); }

    [[nodiscard]] T *data() const noexcept { return static_cast<T *>(hf_shm_array_data(array_)); }
    /// Elements of all dimensions.
    [[nodiscard]] std::size_t size() const noexcept {
        return static_cast<std::size_t>(hf_shm_array_element_count(array_));
    }
    [[nodiscard]] std::span<T> elements() const noexcept { return {data(), size()}; }
    [[nodiscard]] T *begin() const noexcept { return data(); }
    [[nodiscard]] T *end() const noexcept { return data() + size(); }
    [[nodiscard]] std::span<const std::uint64_t> shape() const noexcept {
        return {hf_shm_array_shape(array_), hf_shm_array_dimensions(array_)};
    }
    /// By flat index, unchecked.
    [[nodiscard]] T &operator[](std::size_t index) const noexcept { return data()[index]; }
    /// By one index for each dimension, checked.
    template <class... Index> [[nodiscard]] T &operator()(Index... index) const {
        const std::uint64_t indices[] = {static_cast<std::uint64_t>(index)...};
        if (sizeof...(index) != hf_shm_array_dimensions(array_))
            hf::check(HF_E_INVALID, "give one index for each dimension of the array");
        void *element = hf_shm_array_at(array_, indices);
        if (element == nullptr) hf::check(HF_E_INVALID, "an index lies outside of the array");
        return *static_cast<T *>(element);
    }
    /// `count` elements from a flat index on, checked.
    [[nodiscard]] std::span<T> run(std::uint64_t first, std::uint64_t count) const {
        void *start = hf_shm_array_run(array_, first, count);
        if (start == nullptr) hf::check(HF_E_INVALID, "the run does not lie inside the array");
        return {static_cast<T *>(start), static_cast<std::size_t>(count)};
    }
    [[nodiscard]] hf_shm_array *native() const noexcept { return array_; }

private:
    hf_shm_array *array_ = nullptr;
};

} // namespace hf::shm

#endif
