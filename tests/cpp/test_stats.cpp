// test_stats - figures of a heap with a known load: counts are exact at rest, the account adds up,
// and every row of the table is visited once.
#include <set>
#include <string>
#include <vector>

#include "check.hpp"
#include <holdfast/heap.hpp>

TEST(counts_are_exact_at_rest) {
    hf::Heap heap;
    std::vector<void *> blocks;
    for (int i = 0; i < 1000; ++i)
        blocks.push_back(heap.allocate(100));
    void *middle = heap.allocate(200000);
    void *large = heap.allocate(4 << 20);
    hf::Stats stats = heap.stats();
    CHECK_EQ(stats.allocs, 1002u);
    CHECK_EQ(stats.small_allocs, 1000u);
    CHECK_EQ(stats.middle_allocs, 1u);
    CHECK_EQ(stats.large_allocs, 1u);
    CHECK_EQ(stats.blocks_in_use, 1002u);
    CHECK_EQ(stats.bytes_in_use, 1000u * 100 + 200000 + (4 << 20));
    CHECK(stats.bytes_slack > 0);
    CHECK(stats.hit_rate() > 0.5 && stats.hit_rate() <= 1.0);
    for (void *block : blocks)
        heap.deallocate(block);
    heap.deallocate(middle);
    heap.deallocate(large);
    stats = heap.stats();
    CHECK_EQ(stats.frees, 1002u);
    CHECK_EQ(stats.blocks_in_use, 0u);
    CHECK_EQ(stats.bytes_in_use, 0u);
}

TEST(adds_up_at_rest) {
    hf::Heap heap;
    std::vector<void *> blocks;
    for (std::size_t size = 1; size < 3000000; size += size / 3 + 1)
        blocks.push_back(heap.allocate(size));
    const auto check_account = [&] {
        const hf::Stats stats = heap.stats();
        CHECK_EQ(stats.bytes_mapped, stats.bytes_accounted());
        CHECK(stats.adds_up());
    };
    check_account();
    for (std::size_t i = 0; i < blocks.size(); i += 2)
        heap.deallocate(blocks[i]);
    check_account();
    heap.reclaim();
    check_account();
    for (std::size_t i = 1; i < blocks.size(); i += 2)
        heap.deallocate(blocks[i]);
    heap.reclaim();
    check_account();
}

TEST(for_each_visits_every_row_once) {
    hf::Heap heap;
    void *block = heap.allocate(1234);
    std::set<std::string> names;
    std::uint64_t in_use = 0;
    heap.stats().for_each(
        [&](const char *name, const char *unit, const char *sentence, std::uint64_t value) {
            CHECK(names.insert(name).second);
            CHECK(*unit != '\0' && *sentence != '\0');
            if (std::string(name) == "bytes_in_use") in_use = value;
        });
    CHECK_EQ(in_use, 1234u);
    CHECK_EQ(names.size(), (sizeof(hf_stats) - 2 * sizeof(std::uint32_t)) / 8);
    heap.deallocate(block);
}

TEST(class_stats_show_the_class_of_a_block) {
    hf::Heap heap;
    std::vector<void *> blocks;
    for (int i = 0; i < 50; ++i)
        blocks.push_back(heap.allocate(500));
    std::uint64_t blocks_live = 0, sizes_that_fit = 0;
    for (const hf::ClassStats &one : heap.class_stats()) {
        blocks_live += one.blocks;
        if (one.blocks == 50 && one.size >= 500 && one.size <= 600) ++sizes_that_fit;
    }
    CHECK_EQ(blocks_live, 50u);
    CHECK_EQ(sizes_that_fit, 1u);
    for (void *block : blocks)
        heap.deallocate(block);
}

TEST(json_has_every_name) {
    const std::string json = hf::default_heap().stats().json();
    CHECK(json.front() == '{' && json.back() == '}');
#define HF_STAT(name, unit, sentence) CHECK(json.find("\"" #name "\"") != std::string::npos);
#include <holdfast/stats.def>
#undef HF_STAT
}

TEST(reclaim_gives_back) {
    hf::Heap heap;
    const std::uint64_t before = hf::default_heap().stats().bytes_returned; // of the process
    std::vector<void *> blocks;
    for (int i = 0; i < 20000; ++i)
        blocks.push_back(heap.allocate(1000));
    for (void *block : blocks)
        heap.deallocate(block);
    const std::size_t given = heap.reclaim();
    CHECK(given > 10u << 20);
    CHECK(heap.stats().bytes_mapped < 10u << 20);
    CHECK(hf::default_heap().stats().bytes_returned >= before + (10u << 20));
}

int main() {
    return hft::run();
}
