// test_bump_allocator.cpp - policies at compile time: alignment, least size, guards, what is left out.
// Method  each policy does what its constants say.
#include <array>
#include <cstddef>
#include <cstdint>
#include <new>

#include <holdfast/arena_blocks.hpp>
#include <holdfast/bump_allocator.hpp>

#include "check.hpp"

namespace {

struct TinyPolicy {
    static constexpr std::size_t alignment = 32;
    static constexpr bool use_guard_pages = true;
    static constexpr std::size_t min_size = 64;
};
struct EmptyPolicy {};

TEST(policies_hold_at_compile_time) {
    hf::BumpAllocator<> fast(1 << 20);
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(fast.allocate(8)) % 64, 0u);
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(fast.allocate(8)) % 64, 0u);
    hf::BumpAllocator<TinyPolicy> tiny(1 << 16);
    auto *a = static_cast<char *>(tiny.allocate(1));
    auto *b = static_cast<char *>(tiny.allocate(1));
    CHECK_EQ(b - a, 64);
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(tiny.allocate_aligned(1, 1024)) % 1024, 0u);
    hf::BumpAllocator<hf::SafetyPolicy> safe(1 << 16);
    auto *zeroed = static_cast<char *>(safe.allocate(50));
    CHECK_EQ(zeroed[49], 0);
    hf::validate_memory_region(safe, zeroed, 50);
    CHECK_THROWS(hf::validate_memory_region(safe, zeroed, 51), hf::InvalidArgument);
    hf::BumpAllocator<EmptyPolicy> plain(4096);
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(plain.allocate(1)) % 16, 0u);
    alignas(64) std::array<std::byte, 2048> memory{};
    hf::BumpAllocator<> on(memory);
    CHECK_THROWS(on.allocate(4096), std::bad_alloc);
}

} // namespace

int main() {
    return hft::run();
}
