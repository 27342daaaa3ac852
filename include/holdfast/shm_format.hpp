/// shm_format.hpp - the name that NumPy gives an element type, for those that have one.
///
///   hf::shm::format_of<double>()    "<f8"        format_of<Particle>()    nullptr: any
///
/// Invariants  specialise ElementFormat<T> with a static `value` to name a record of your own.
/// Talks to    nothing.   Used by shm_array.hpp, shm_ring.hpp, shm_versioned.hpp.
/// Threads     constants.
/// Fails with  nothing.
#ifndef HOLDFAST_SHM_FORMAT_HPP
#define HOLDFAST_SHM_FORMAT_HPP

#include <bit>
#include <complex>
#include <cstddef>
#include <type_traits>

namespace hf::shm {

/// What can lie in shared memory: bytes that mean the same in every process.
template <class T>
concept Element = std::is_trivially_copyable_v<T> && std::is_object_v<T> && !std::is_pointer_v<T>;

namespace detail {

template <class T> constexpr const char *arithmetic_format() noexcept {
    constexpr bool little = std::endian::native == std::endian::little;
    constexpr auto pick = [](const char *low, const char *high) { return little ? low : high; };
    if constexpr (std::is_same_v<T, bool>) return "|b1";
    if constexpr (std::is_same_v<T, std::complex<float>>) return pick("<c8", ">c8");
    if constexpr (std::is_same_v<T, std::complex<double>>) return pick("<c16", ">c16");
    if constexpr (std::is_floating_point_v<T> && sizeof(T) == 4) return pick("<f4", ">f4");
    if constexpr (std::is_floating_point_v<T> && sizeof(T) == 8) return pick("<f8", ">f8");
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
        constexpr bool sign = std::is_signed_v<T>;
        if constexpr (sizeof(T) == 1) return sign ? "|i1" : "|u1";
        if constexpr (sizeof(T) == 2) return sign ? pick("<i2", ">i2") : pick("<u2", ">u2");
        if constexpr (sizeof(T) == 4) return sign ? pick("<i4", ">i4") : pick("<u4", ">u4");
        if constexpr (sizeof(T) == 8) return sign ? pick("<i8", ">i8") : pick("<u8", ">u8");
    }
    return nullptr;
}

} // namespace detail

/// nullptr: no name, which agrees with any of the same size.
template <class T> struct ElementFormat {
    static constexpr const char *value = detail::arithmetic_format<T>();
};

template <Element T> [[nodiscard]] constexpr const char *format_of() noexcept {
    return ElementFormat<std::remove_cv_t<T>>::value;
}

} // namespace hf::shm

#endif
