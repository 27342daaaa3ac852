// test_arena_memory.cpp - standard containers on an arena, by std::pmr and by allocator.
// Method  containers grow, move and spill; the arena says whose memory it is.
#include <cstdint>
#include <map>
#include <memory_resource>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <holdfast/arena_memory.hpp>

#include "check.hpp"

namespace {

struct alignas(128) Wide {
    char bytes[128];
};

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

} // namespace

int main() {
    return hft::run();
}
