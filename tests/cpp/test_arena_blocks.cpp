// test_arena_blocks.cpp - single blocks of an arena: scoped, pooled, leaked.
// Method  each class does what its comment says, and fails the way it says.
#include <new>
#include <set>
#include <utility>

#include <holdfast/arena_blocks.hpp>

#include "check.hpp"

namespace {

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

} // namespace

int main() {
    return hft::run();
}
