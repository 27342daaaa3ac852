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
struct WholePolicy {
    static constexpr std::size_t alignment = 128;
    static constexpr hf_huge_mode huge_pages = HF_HUGE_NEVER;
    static constexpr int node = 0;
    static constexpr bool grows = false;
};

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

TEST(policies_say_pages_node_and_growth) {
    hf::BumpAllocator<WholePolicy> whole(1 << 16);
    hf_arena_options options;
    hf_arena_options_of(whole.native(), &options);
    CHECK_EQ(options.huge_pages, static_cast<std::uint32_t>(HF_HUGE_NEVER));
    CHECK_EQ(options.node, 0);
    CHECK_EQ(options.limit, std::uint64_t{1} << 16);
    CHECK_THROWS(whole.allocate((1 << 16) + 1), std::bad_alloc);
    (void)whole.allocate(1 << 15);
    alignas(64) std::array<std::byte, 4096> memory{};
    hf::BumpAllocator<WholePolicy> on(memory);
    (void)on.allocate(2048);
    CHECK_THROWS(on.allocate(2048), std::bad_alloc);
}

TEST(every_way_to_allocate_keeps_the_policy) {
    hf::BumpAllocator<WholePolicy> whole(1 << 16);
    std::array<void *, 3> blocks{};
    whole.allocate_bulk(blocks, 8);
    for (void *block : {blocks[0], blocks[1], blocks[2], whole.allocate_zeroed(8),
                        whole.try_allocate(8), whole.allocate_simd(8)})
        CHECK_EQ(reinterpret_cast<std::uintptr_t>(block) % 128, 0u);
    hf::BumpAllocator<TinyPolicy> tiny(1 << 16);
    auto *a = static_cast<char *>(tiny.allocate_zeroed(1));
    CHECK_EQ(static_cast<char *>(tiny.try_allocate(1)) - a, 64);
}

} // namespace

int main() {
    return hft::run();
}
