// test_memory - the standard library on our heaps: pmr and STL containers do real work, then the
// heap is empty again and no report was made (sizes and heaps that containers give back are right).
#include <array>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory_resource>
#include <numeric>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "check.hpp"
#include <holdfast/memory.hpp>
#include <holdfast/report.hpp>

namespace {

struct alignas(128) Wide {
    int value = 0;
};

// Runs `work` on a fresh heap and checks that it left nothing and broke nothing.
template <class Work> void on_fresh_heap(Work &&work) {
    hf::Heap heap{"containers"};
    const std::uint64_t before = hf::report_count();
    work(heap);
    const hf::Stats stats = heap.stats();
    CHECK(stats.allocs > 0);
    CHECK_EQ(stats.blocks_in_use, 0u);
    CHECK_EQ(stats.bytes_in_use, 0u);
    CHECK_EQ(heap.check(), 0u);
    CHECK_EQ(hf::report_count(), before);
}

template <class T> using Vector = std::vector<T, hf::Allocator<T>>;

} // namespace

static_assert(sizeof(hf::Allocator<int>) == sizeof(void *));

TEST(pmr_vector_grows_and_shrinks) {
    on_fresh_heap([](hf::Heap &heap) {
        hf::MemoryResource resource{heap};
        std::pmr::vector<long> numbers{&resource};
        for (long i = 0; i < 100000; ++i)
            numbers.push_back(i);
        CHECK_EQ(std::accumulate(numbers.begin(), numbers.end(), 0L), 4999950000L);
        CHECK(heap.owns(numbers.data()));
        numbers.resize(10);
        numbers.shrink_to_fit();
        CHECK_EQ(numbers.back(), 9);
    });
}

TEST(pmr_nested_containers_use_one_heap) {
    on_fresh_heap([](hf::Heap &heap) {
        hf::MemoryResource resource{heap};
        std::pmr::unordered_map<std::pmr::string, std::pmr::vector<std::pmr::string>> index{
            &resource};
        for (int i = 0; i < 500; ++i) {
            const std::pmr::string key{
                "a key that is too long for the small buffer " + std::to_string(i % 50), &resource};
            index[key].emplace_back("a value that is too long for the small buffer");
        }
        CHECK_EQ(index.size(), 50u);
        CHECK(heap.owns(index.begin()->second.front().data()));
        for (int i = 0; i < 25; ++i)
            index.erase(index.begin());
        CHECK_EQ(index.size(), 25u);
    });
}

TEST(pmr_monotonic_and_pool_resources_stand_on_it) {
    on_fresh_heap([](hf::Heap &heap) {
        hf::MemoryResource resource{heap};
        std::pmr::monotonic_buffer_resource bump{&resource};
        std::pmr::unsynchronized_pool_resource pools{&resource};
        std::pmr::list<int> a{&bump};
        std::pmr::set<int> b{&pools};
        for (int i = 0; i < 3000; ++i) {
            a.push_back(i);
            b.insert(i);
        }
        CHECK_EQ(a.size(), b.size());
    });
}

TEST(pmr_over_aligned_elements_are_aligned) {
    on_fresh_heap([](hf::Heap &heap) {
        hf::MemoryResource resource{heap};
        std::pmr::vector<Wide> wide(33, &resource);
        CHECK_EQ(reinterpret_cast<std::uintptr_t>(wide.data()) % 128, 0u);
    });
}

TEST(memory_resource_equality_is_the_heap) {
    hf::Heap a, b;
    const hf::MemoryResource first{a}, again{a}, second{b}, fallback;
    CHECK(first == again);
    CHECK(first != second);
    CHECK(fallback.heap() == hf::default_heap());
    CHECK(!first.is_equal(*std::pmr::new_delete_resource()));
    CHECK(!first.is_equal(*std::pmr::null_memory_resource()));
}

TEST(stl_vector_map_list_deque_unordered) {
    on_fresh_heap([](hf::Heap &heap) {
        const hf::Allocator<int> ints{heap};
        Vector<int> numbers{ints};
        std::list<int, hf::Allocator<int>> chain{ints};
        std::deque<int, hf::Allocator<int>> queue{ints};
        using Pair = std::pair<const int, std::string>;
        std::map<int, std::string, std::less<>, hf::Allocator<Pair>> tree{
            hf::Allocator<Pair>{heap}};
        std::unordered_map<int, std::string, std::hash<int>, std::equal_to<>, hf::Allocator<Pair>>
            table{8, std::hash<int>{}, std::equal_to<>{}, hf::Allocator<Pair>{heap}};
        for (int i = 0; i < 2000; ++i) {
            numbers.push_back(i);
            chain.push_front(i);
            queue.push_back(i);
            if (i % 3 == 0) queue.pop_front();
            tree[i * 7919 % 2000] = std::to_string(i);
            table[i] = std::to_string(i);
        }
        chain.remove_if([](int i) { return i % 2 == 0; });
        chain.sort();
        CHECK_EQ(numbers.size(), 2000u);
        CHECK_EQ(chain.front(), 1);
        CHECK_EQ(tree.size(), 2000u);
        CHECK_EQ(table.at(1999), std::string("1999"));
        CHECK(heap.stats().blocks_in_use > 5000u); // a node each in chain, tree and table
    });
}

TEST(stl_move_keeps_the_buffer_and_the_heap) {
    on_fresh_heap([](hf::Heap &heap) {
        Vector<int> source(1000, 7, hf::Allocator<int>{heap});
        const int *const buffer = source.data();
        Vector<int> target; // default heap
        target = std::move(source);
        CHECK(target.data() == buffer);
        CHECK(target.get_allocator().heap() == heap.ref());
    });
}

TEST(stl_copy_assignment_keeps_the_targets_heap) {
    on_fresh_heap([](hf::Heap &heap) {
        const Vector<int> source(1000, 7); // default heap
        Vector<int> target{hf::Allocator<int>{heap}};
        target = source;
        CHECK(target.get_allocator().heap() == heap.ref());
        CHECK(heap.owns(target.data()));
        CHECK(hf::default_heap().owns(source.data()));
    });
}

TEST(stl_swap_takes_the_heaps_along) {
    hf::Heap a, b;
    {
        Vector<int> left(100, 1, hf::Allocator<int>{a}), right(200, 2, hf::Allocator<int>{b});
        left.swap(right);
        CHECK(left.get_allocator().heap() == b.ref());
        CHECK_EQ(left.size(), 200u);
    }
    CHECK_EQ(a.stats().blocks_in_use + b.stats().blocks_in_use, 0u);
}

TEST(allocator_equality_crosses_types) {
    hf::Heap a, b;
    CHECK(hf::Allocator<int>(a) == hf::Allocator<double>(a));
    CHECK(!(hf::Allocator<int>(a) == hf::Allocator<int>(b)));
    CHECK(hf::Allocator<int>() == hf::Allocator<char>(hf::default_heap()));
}

TEST(allocator_refuses_impossible_counts) {
    hf::Heap heap;
    hf::Allocator<std::array<char, 64>> wide{heap};
    CHECK_THROWS(wide.allocate(SIZE_MAX / 32), std::bad_array_new_length);
    CHECK_THROWS(wide.allocate(SIZE_MAX / 128), std::bad_alloc);
    CHECK_EQ(heap.stats().blocks_in_use, 0u);
}

TEST(resource_wrong_size_is_reported) {
    hf::Heap heap;
    hf::MemoryResource resource{heap};
    hf_report_kind seen = HF_REPORT_NONE;
    auto watch = hf::on_corruption([&](const hf::Report &report) { seen = report.kind; });
    resource.deallocate(resource.allocate(100, 8), 104, 8);
    CHECK_EQ(seen, HF_REPORT_SIZE_MISMATCH);
}

TEST(resource_wrong_heap_is_reported) {
    hf::Heap a, b;
    hf::MemoryResource one{a}, other{b};
    hf_report_kind seen = HF_REPORT_NONE;
    auto watch = hf::on_corruption([&](const hf::Report &report) { seen = report.kind; });
    void *block = one.allocate(100, 8);
    other.deallocate(block, 100, 8);
    CHECK_EQ(seen, HF_REPORT_FOREIGN_FREE);
}

TEST(limit_reaches_a_container_as_bad_alloc) {
    hf::Heap heap{hf::Options{}.limit_block(4096)};
    hf::MemoryResource resource{heap};
    std::pmr::vector<char> bytes{&resource};
    CHECK_THROWS(bytes.resize(1 << 20), std::bad_alloc);
    CHECK(bytes.empty());
    bytes.resize(1000);
    CHECK_EQ(bytes.size(), 1000u);
}

int main() {
    return hft::run();
}
