/// soft_limit.hpp - what a heap tells when its soft limit is crossed.
#ifndef HOLDFAST_BINDINGS_SOFT_LIMIT_HPP
#define HOLDFAST_BINDINGS_SOFT_LIMIT_HPP

#include "core.hpp"
#include "safe_point.hpp"

#include <atomic>
#include <cstdint>

struct SoftLimit {
    std::atomic<std::uint64_t> crossed{0}; /* bytes mapped at the last crossing; 0: none */

    void operator()(hf::HeapRef, std::uint64_t bytes_mapped) noexcept {
        crossed.store(bytes_mapped != 0 ? bytes_mapped : 1, std::memory_order_release);
        safe_point::request();
    }
};

#endif
