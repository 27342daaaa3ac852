// test_view - the walk against a known set of blocks; visitors that stop, throw and allocate.
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include <holdfast/heap.hpp>
#include <holdfast/view.hpp>

TEST(view_shows_every_live_block_with_its_size) {
    hf::Heap heap;
    std::map<const void *, std::size_t> expected;
    for (const std::size_t size : {1u, 24u, 100u, 1000u, 30000u, 100000u, 500000u, 2000000u})
        for (int i = 0; i < 3; ++i)
            expected[heap.allocate(size)] = size;
    std::map<const void *, std::size_t> seen;
    hf::for_each_block(heap, [&](const hf::Block &block) {
        if (block.state != HF_BLOCK_LIVE) return;
        CHECK(seen.emplace(block.address, block.size).second);
        CHECK(block.class_size >= block.size);
    });
    CHECK(seen == expected);
    for (const auto &[block, size] : expected)
        heap.deallocate(const_cast<void *>(block), size);
    std::size_t live = 0;
    for (const hf::Block &block : hf::blocks(heap))
        live += block.state == HF_BLOCK_LIVE;
    CHECK_EQ(live, 0u);
}

TEST(view_tells_the_tiers_apart) {
    hf::Heap heap;
    void *small = heap.allocate(64), *middle = heap.allocate(200000),
         *large = heap.allocate(4 << 20);
    for (const hf::Block &block : hf::blocks(heap)) {
        if (block.address == small) CHECK_EQ(block.tier, HF_TIER_SMALL);
        if (block.address == middle) CHECK_EQ(block.tier, HF_TIER_MIDDLE);
        if (block.address == large) CHECK_EQ(block.tier, HF_TIER_LARGE);
    }
    heap.deallocate(small);
    heap.deallocate(middle);
    heap.deallocate(large);
}

TEST(visitor_false_stops_the_walk) {
    hf::Heap heap;
    std::vector<void *> blocks;
    for (int i = 0; i < 100; ++i)
        blocks.push_back(heap.allocate(64));
    int visited = 0;
    hf::for_each_block(heap, [&](const hf::Block &) { return ++visited < 5; });
    CHECK_EQ(visited, 5);
    for (void *block : blocks)
        heap.deallocate(block);
}

TEST(visitor_exception_arrives_at_the_caller) {
    hf::Heap heap;
    void *block = heap.allocate(64);
    int visited = 0;
    const auto walk = [&] {
        hf::for_each_block(heap, [&](const hf::Block &) {
            ++visited;
            throw std::runtime_error("stop");
        });
    };
    CHECK_THROWS(walk(), std::runtime_error);
    CHECK_EQ(visited, 1);
    heap.deallocate(block);
    CHECK_EQ(heap.check(), 0u);
}

TEST(visitor_may_allocate_on_the_heap_it_walks) {
    hf::Heap heap;
    std::vector<void *> blocks;
    for (int i = 0; i < 200; ++i)
        blocks.push_back(heap.allocate(96));
    std::size_t seen = 0;
    hf::for_each_block(heap, [&](const hf::Block &block) {
        void *scratch = heap.allocate(96);
        for (void *one : blocks)
            seen += one == block.address && block.state == HF_BLOCK_LIVE;
        heap.deallocate(scratch);
    });
    CHECK_EQ(seen, blocks.size());
    for (void *block : blocks)
        heap.deallocate(block);
}

int main() {
    return hft::run();
}
