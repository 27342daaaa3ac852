// test_arena.cpp - the C++ side of arenas: ownership, policies, scopes, pools, leaks, pmr and STL.
// Method  each class does what its comment says, and fails the way it says.
#include <array>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <holdfast/arena.hpp>

#include "check.hpp"

namespace {

struct alignas(128) Wide {
    char bytes[128];
};

struct Counted {
    explicit Counted(int *count) : count_(count) { ++*count_; }
    ~Counted() { --*count_; }
    int *count_;
};

struct TinyPolicy {
    static constexpr std::size_t alignment = 32;
    static constexpr bool use_guard_pages = true;
    static constexpr std::size_t min_size = 64;
};
struct EmptyPolicy {};

TEST(arena_owns_and_moves) {
    hf::Arena a;
    CHECK(bool(a));
    void *block = a.allocate(100);
    CHECK(a.owns(block));
    hf::Arena b = std::move(a);
    CHECK(!a);
    CHECK(b.owns(block));
    a = hf::Arena(HF_ARENA_SAFETY);
    CHECK(a.native() != b.native());
    CHECK(!a.owns(block));
    CHECK(!(a.ref() == b.ref()));
}

TEST(fixed_arena_throws_bad_alloc_when_full) {
    hf::Arena arena(hf::ArenaOptions::fixed(1024));
    (void)arena.allocate(1000);
    CHECK_THROWS(arena.allocate(64), std::bad_alloc);
    CHECK_THROWS(arena.allocate(64), hf::OutOfMemory);
    CHECK(arena.try_allocate(64) == nullptr);
    CHECK_THROWS(arena.allocate_aligned(8, 48), hf::InvalidArgument);
    CHECK_THROWS(arena.array<double>(static_cast<std::size_t>(-1) / 4), std::bad_array_new_length);
    arena.reset();
    (void)arena.allocate(1024);
}

TEST(wrong_options_say_what_is_wrong) {
    hf::ArenaOptions options;
    options.alignment = 17;
    try {
        hf::Arena arena(options);
        CHECK(false);
    } catch (const hf::InvalidArgument &error) {
        CHECK(std::strstr(error.what(), "alignment") != nullptr);
    }
    std::array<std::byte, 64> small{};
    CHECK_THROWS(hf::Arena(std::span<std::byte>(small)), hf::InvalidArgument);
}

TEST(arrays_objects_and_text) {
    hf::Arena arena;
    std::span<double> numbers = arena.array<double>(1000);
    CHECK_EQ(numbers.size(), 1000u);
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(numbers.data()) % 64, 0u);
    std::span<Wide> wide = arena.array<Wide>(3);
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(wide.data()) % 128, 0u);
    auto *pair = arena.create<std::pair<int, int>>(3, 4);
    CHECK_EQ(pair->second, 4);
    int count = 0;
    {
        auto owned = arena.make_unique<Counted>(&count);
        CHECK_EQ(count, 1);
    }
    CHECK_EQ(count, 0);
    std::string_view text = arena.copy("hello");
    CHECK_EQ(text, "hello");
    CHECK_EQ(text.data()[5], '\0');
    std::array<void *, 10> blocks{};
    arena.allocate_bulk(blocks, 24);
    CHECK(blocks[9] != nullptr);
    const auto *zeros = static_cast<const char *>(arena.allocate_zeroed(100));
    CHECK_EQ(zeros[99], 0);
}

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

TEST(scopes_nest_and_rewind) {
    hf::Arena arena;
    (void)arena.allocate(64);
    void *first = nullptr;
    for (int round = 0; round < 3; ++round) {
        hf::ArenaScope outer(arena);
        void *block = arena.allocate(100);
        if (round == 0) first = block;
        CHECK(block == first);
        {
            hf::ArenaScope inner(arena);
            (void)arena.allocate(1 << 20);
            inner.rewind();
            (void)arena.allocate(1 << 20);
        }
        CHECK_EQ(arena.figures().bytes_in_use, 64u + 112u);
    }
    CHECK_EQ(arena.figures().bytes_in_use, 64u);
    hf::ArenaScope kept(arena);
    (void)arena.allocate(100);
    kept.keep();
    hf::ArenaScope scope(arena);
    const std::uint64_t ticket = hf_arena_borrow(arena.native());
    CHECK_THROWS(scope.leave(), hf::Busy);
    CHECK_THROWS(arena.reset(), hf::Busy);
    hf_arena_give_back(arena.native(), ticket);
    scope.leave();
    scope.leave();
    CHECK_THROWS(arena.rewind(scope.mark()), hf::InvalidArgument);
}

TEST(scoped_allocation_goes_back) {
    hf::Arena arena;
    void *first = nullptr;
    for (int round = 0; round < 3; ++round) {
        hf::ScopedAllocation block(arena, 1000, 64);
        if (round == 0) first = block.get();
        CHECK(block.get() == first);
        CHECK_EQ(block.bytes().size(), 1000u);
        hf::ScopedAllocation moved(std::move(block));
        CHECK(moved.get() == first && block.get() == nullptr);
    }
}

TEST(memory_pool_reuses_blocks) {
    hf::Arena arena;
    hf::MemoryPool pool(arena, 40, 64);
    std::set<void *> seen;
    for (int i = 0; i < 100; ++i)
        seen.insert(pool.take());
    CHECK_EQ(seen.size(), 100u);
    CHECK_EQ(pool.live(), 100u);
    for (void *block : seen)
        pool.give(block);
    CHECK_EQ(pool.idle(), 100u);
    const auto used = arena.figures().bytes_in_use;
    for (int i = 0; i < 100; ++i)
        CHECK(seen.count(pool.take()) == 1);
    CHECK_EQ(arena.figures().bytes_in_use, used);
    pool.forget();
    arena.reset();
    CHECK_EQ(pool.live(), 0u);
    hf::Arena full(hf::ArenaOptions::fixed(128));
    hf::MemoryPool small(full, 64, 64);
    (void)small.take();
    (void)small.take();
    CHECK_THROWS(small.take(), std::bad_alloc);
    CHECK_EQ(small.live(), 2u);
}

TEST(leak_detector_names_what_is_left) {
    hf::ArenaOptions options;
    options.track_allocations = 1;
    hf::Arena arena(options);
    (void)arena.allocate(5);
    {
        hf::LeakDetector detector(arena);
        void *kept = arena.allocate(123);
        {
            hf::ScopedAllocation gone(arena, 456);
            CHECK_EQ(detector.count(), 2u);
        }
        const auto leaks = detector.leaks();
        CHECK_EQ(leaks.size(), 1u);
        CHECK(leaks[0].address == kept);
        CHECK_EQ(leaks[0].size, 123u);
        CHECK_EQ(leaks[0].serial, 2u);
    }
    hf::Arena blind;
    CHECK_THROWS(hf::LeakDetector(blind), hf::Unsupported);
}

TEST(pmr_containers_live_on_an_arena) {
    hf::Arena arena;
    hf::ArenaResource resource(arena), same(arena);
    CHECK(resource.is_equal(same));
    {
        std::pmr::map<int, std::pmr::string> map(&resource);
        for (int i = 0; i < 1000; ++i)
            map.emplace(i, std::string(static_cast<std::size_t>(i % 50), 'x'));
        for (int i = 0; i < 1000; ++i)
            CHECK_EQ(map.at(i).size(), static_cast<std::size_t>(i % 50));
        std::pmr::vector<int> vector(&resource);
        for (int i = 0; i < 100000; ++i)
            vector.push_back(i);
        CHECK_EQ(vector[99999], 99999);
        CHECK(arena.owns(vector.data()));
    }
    arena.reset();
    hf::Arena tiny(hf::ArenaOptions::fixed(256));
    hf::ArenaResource spills(tiny, std::pmr::new_delete_resource());
    std::pmr::vector<char> big(10000, 'y', &spills);
    CHECK(!tiny.owns(big.data()));
    hf::ArenaResource strict(tiny);
    CHECK_THROWS(std::pmr::vector<char>(10000, 'y', &strict), std::bad_alloc);
}

TEST(stl_allocator_travels_with_the_container) {
    hf::Arena a, b;
    std::vector<int, hf::ArenaAllocator<int>> one({1, 2, 3}, hf::ArenaAllocator<int>(a));
    std::vector<int, hf::ArenaAllocator<int>> two(hf::ArenaAllocator<int>{b});
    two = std::move(one);
    CHECK_EQ(two.size(), 3u);
    CHECK(a.owns(two.data()));
    std::vector<Wide, hf::ArenaAllocator<Wide>> wide(5, Wide{}, hf::ArenaAllocator<Wide>(a));
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(wide.data()) % 128, 0u);
}

TEST(log_and_check_tell_the_story) {
    hf::Arena arena(HF_ARENA_SAFETY);
    (void)arena.allocate(10);
    arena.reset();
    const auto log = arena.log();
    CHECK(log.size() >= 3);
    CHECK_EQ(std::string(hf_arena_verb_name(log.back().verb)), "reset");
    CHECK_EQ(arena.check(), 0u);
    CHECK_EQ(arena.stats().allocs, 1u);
}

} // namespace

int main() {
    return hft::run();
}
