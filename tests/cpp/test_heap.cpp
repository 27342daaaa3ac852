// test_heap - ownership: moves, owners, exceptions out of constructors, over-aligned types, limits,
// and what a block does that outlives its heap. Every test leaves its heap empty and says so.
#include <cstdint>
#include <cstring>
#include <thread>
#include <type_traits>
#include <vector>

#include "check.hpp"
#include <holdfast/heap.hpp>
#include <holdfast/report.hpp>

namespace {

struct Counted {
    explicit Counted(int start) : value(start) { ++alive; }
    ~Counted() { --alive; }
    int value;
    static inline int alive = 0;
};

struct Base {
    virtual ~Base() = default;
    virtual int id() const { return 1; }
    int payload = 7;
};
struct Other {
    virtual ~Other() = default;
    long payload[5] = {};
};
struct Derived final : Other, Base { /* Base stands behind Other: its address is not the block's */
    ~Derived() override { ++destroyed; }
    int id() const override { return 2; }
    static inline int destroyed = 0;
};

struct Thrower {
    Thrower() { throw std::runtime_error("no"); }
};

struct alignas(64) Line {
    char bytes[64];
};
struct alignas(4096) Page {
    char bytes[4096];
};

std::uint64_t live(const hf::Heap &heap) {
    return heap.stats().blocks_in_use;
}

} // namespace

static_assert(!std::is_copy_constructible_v<hf::Heap> && !std::is_copy_assignable_v<hf::Heap>);
static_assert(std::is_nothrow_move_constructible_v<hf::Heap>);
static_assert(std::is_nothrow_move_assignable_v<hf::Heap>);
static_assert(std::is_nothrow_destructible_v<hf::Heap>);
static_assert(sizeof(hf::Heap) == sizeof(void *));
static_assert(std::is_convertible_v<hf::unique_ptr<Derived>, hf::unique_ptr<Base>>);
static_assert(!std::is_convertible_v<hf::unique_ptr<Counted>, hf::unique_ptr<Base>>);

TEST(heap_move_takes_the_heap_along) {
    hf::Heap a{"moved"};
    const std::uint64_t id = a.id();
    hf::Heap b = std::move(a);
    CHECK(!a); // NOLINT: the state after the move is what is tested
    CHECK_EQ(b.id(), id);
    CHECK_EQ(b.name(), std::string_view("moved"));
    hf::Heap c{"target"};
    c = std::move(b);
    CHECK(!b); // NOLINT
    CHECK_EQ(c.id(), id);
    c = std::move(c); // NOLINT: to itself
    CHECK(static_cast<bool>(c));
}

TEST(heaps_have_different_ids) {
    hf::Heap a, b;
    CHECK(a.id() != b.id());
    CHECK(a.id() != hf::default_heap().id());
    CHECK(a.ref() == a.ref());
    CHECK(!(a.ref() == b.ref()));
}

TEST(allocate_writes_and_gives_back) {
    hf::Heap heap;
    for (const std::size_t size : {1u, 16u, 100u, 5000u, 70000u, 3000000u}) {
        void *block = heap.allocate(size);
        std::memset(block, 0xAB, size);
        CHECK(heap.owns(block));
        CHECK_EQ(hf_usable_size(block), size);
        CHECK(hf::heap_of(block) == heap.ref());
        heap.deallocate(block, size);
    }
    CHECK_EQ(live(heap), 0u);
    CHECK_EQ(heap.check(), 0u);
}

TEST(allocate_zeroed_is_zero_after_reuse) {
    hf::Heap heap;
    for (int round = 0; round < 3; ++round) {
        auto *bytes = static_cast<unsigned char *>(heap.allocate_zeroed(10, 30));
        unsigned sum = 0;
        for (int i = 0; i < 300; ++i)
            sum |= bytes[i];
        CHECK_EQ(sum, 0u);
        std::memset(bytes, 0xFF, 300);
        heap.deallocate(bytes);
    }
}

TEST(reallocate_keeps_the_content) {
    hf::Heap heap;
    auto *text = static_cast<char *>(heap.allocate(6));
    std::memcpy(text, "hello", 6);
    for (const std::size_t size : {50u, 5000u, 500000u, 5000000u, 6u}) {
        text = static_cast<char *>(heap.reallocate(text, size));
        CHECK_EQ(std::strcmp(text, "hello"), 0);
    }
    heap.deallocate(text);
    CHECK_EQ(live(heap), 0u);
}

TEST(allocate_honours_alignment) {
    hf::Heap heap;
    for (std::size_t alignment = 1; alignment <= 65536; alignment *= 2) {
        void *block = heap.allocate(24, alignment);
        CHECK_EQ(reinterpret_cast<std::uintptr_t>(block) % alignment, 0u);
        heap.deallocate(block, 24);
    }
    CHECK_THROWS(heap.allocate(24, 24), hf::InvalidArgument);
    CHECK_THROWS(heap.allocate(24, 3), hf::InvalidArgument);
    CHECK_THROWS(heap.allocate(24, 0), hf::InvalidArgument);
    CHECK(heap.try_allocate(24, 48) == nullptr);
}

TEST(make_unique_destroys_and_frees) {
    hf::Heap heap;
    {
        auto one = heap.make_unique<Counted>(5);
        CHECK_EQ(one->value, 5);
        CHECK_EQ(Counted::alive, 1);
        CHECK(heap.owns(one.get()));
        hf::unique_ptr<Counted> two = std::move(one);
        CHECK(one == nullptr); // NOLINT
        CHECK_EQ(two->value, 5);
    }
    CHECK_EQ(Counted::alive, 0);
    CHECK_EQ(live(heap), 0u);
}

TEST(make_unique_over_aligned_is_aligned) {
    hf::Heap heap;
    auto line = heap.make_unique<Line>();
    auto page = heap.make_unique<Page>();
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(line.get()) % 64, 0u);
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(page.get()) % 4096, 0u);
}

TEST(make_unique_array_is_value_initialised) {
    hf::Heap heap;
    auto numbers = heap.make_unique<double[]>(1000);
    double sum = 0;
    for (int i = 0; i < 1000; ++i)
        sum += numbers[i];
    CHECK_EQ(sum, 0.0);
    CHECK_EQ(hf_usable_size(numbers.get()), 8000u);
    CHECK_THROWS(heap.make_unique<double[]>(SIZE_MAX / 4), std::bad_alloc);
}

TEST(make_unique_constructor_throws_leaks_nothing) {
    hf::Heap heap;
    CHECK_THROWS(heap.make_unique<Thrower>(), std::runtime_error);
    CHECK_EQ(live(heap), 0u);
}

TEST(unique_ptr_to_base_frees_the_whole_block) {
    hf::Heap heap;
    const std::uint64_t before = hf::report_count();
    {
        auto derived = heap.make_unique<Derived>();
        const void *start = derived.get();
        hf::unique_ptr<Base> base = std::move(derived);
        CHECK(static_cast<const void *>(base.get()) != start);
        CHECK_EQ(base->id(), 2);
    }
    CHECK_EQ(Derived::destroyed, 1);
    CHECK_EQ(live(heap), 0u);
    CHECK_EQ(hf::report_count(), before);
}

TEST(unique_ptr_on_the_default_heap) {
    auto one = hf::make_unique<Counted>(9);
    CHECK(hf::default_heap().owns(one.get()));
    auto many = hf::make_unique<int[]>(10u);
    CHECK_EQ(many[9], 0);
}

TEST(deallocate_on_another_thread) {
    hf::Heap heap;
    auto one = heap.make_unique<Counted>(3);
    std::thread([moved = std::move(one)]() mutable { moved.reset(); }).join();
    CHECK_EQ(Counted::alive, 0);
    CHECK_EQ(live(heap), 0u);
}

TEST(limit_turns_into_bad_alloc) {
    hf::Heap heap{hf::Options{}.limit_block(1 << 20)};
    CHECK_THROWS(heap.allocate(2 << 20), std::bad_alloc);
    CHECK_THROWS(heap.allocate(2 << 20), hf::OutOfMemory);
    CHECK(heap.try_allocate(2 << 20) == nullptr);
    void *block = heap.allocate(1000);
    CHECK_THROWS(heap.reallocate(block, 2 << 20), std::bad_alloc);
    CHECK(heap.owns(block)); // the old block is as it was
    heap.deallocate(block);
    CHECK(heap.stats().failures >= 4);
}

TEST(limit_soft_tells_the_callback) {
    hf::Heap heap{"soft"};
    std::uint64_t told = 0;
    hf_heap *who = nullptr;
    auto on_soft = [&](hf::HeapRef crossed, std::uint64_t bytes) {
        told = bytes;
        who = crossed.native();
    };
    heap.limit(0, 16 << 20, on_soft);
    void *small = heap.allocate(1 << 20);
    CHECK_EQ(told, 0u);
    void *big = heap.allocate(40 << 20);
    CHECK(told > 16u << 20);
    CHECK(who == heap.native());
    heap.deallocate(big);
    heap.deallocate(small);
    heap.limit(0);
}

TEST(deallocate_foreign_block_is_reported_and_kept) {
    hf::Heap a, b;
    hf_report_kind seen = HF_REPORT_NONE;
    auto watch = hf::on_corruption([&](const hf::Report &report) { seen = report.kind; });
    void *block = a.allocate(100);
    b.deallocate(block);
    CHECK_EQ(seen, HF_REPORT_FOREIGN_FREE);
}

TEST(deallocate_wrong_size_is_reported) {
    hf::Heap heap;
    hf_report_kind seen = HF_REPORT_NONE;
    std::size_t asked = 0, said = 0;
    auto watch = hf::on_corruption([&](const hf::Report &report) {
        seen = report.kind;
        asked = report.block_size;
        said = report.given_size;
    });
    heap.deallocate(heap.allocate(100), 96);
    CHECK_EQ(seen, HF_REPORT_SIZE_MISMATCH);
    CHECK_EQ(asked, 100u);
    CHECK_EQ(said, 96u);
}

TEST(block_that_outlives_its_heap_is_reported_not_followed) {
    hf_report_kind seen = HF_REPORT_NONE;
    auto watch = hf::on_corruption([&](const hf::Report &report) { seen = report.kind; });
    void *orphan = nullptr;
    {
        hf::Heap heap{"short-lived"};
        orphan = heap.allocate(64);
    }
    hf_free(orphan);
    CHECK_EQ(seen, HF_REPORT_INVALID_FREE);
}

// Fills many blocks with a secret, frees them, and counts what is left of it in the next owners'.
std::size_t secrets_seen(const hf::Options &options) {
    constexpr std::size_t count = 500, size = 200, head = 8; // the head of a free block is checked
    hf::Heap heap{options};
    std::vector<void *> blocks;
    for (std::size_t i = 0; i < count; ++i)
        std::memset(blocks.emplace_back(heap.allocate(size)), 0x5E, size);
    for (void *block : blocks)
        heap.deallocate(block);
    std::size_t seen = 0;
    for (std::size_t i = 0; i < count; ++i) {
        blocks[i] = heap.allocate(size);
        const auto *bytes = static_cast<const unsigned char *>(blocks[i]);
        for (std::size_t at = head; at < size; ++at)
            seen += bytes[at] == 0x5E;
    }
    for (void *block : blocks)
        heap.deallocate(block);
    return seen;
}

TEST(zero_on_free_shows_nothing_to_the_next_owner) {
    CHECK(secrets_seen(hf::Options{}) > 0); // the question can be answered with yes
    CHECK_EQ(secrets_seen(hf::Options{}.zero_on_free(1)), 0u);
    CHECK_EQ(secrets_seen(hf::Options{}.profile(HF_PROFILE_HARDENED)), 0u);
}

TEST(hardened_hands_no_block_out_at_once) {
    hf::Heap heap{hf::Options{}.profile(HF_PROFILE_HARDENED)};
    hf::Heap plain;
    int reused = 0, reused_plain = 0;
    for (int i = 0; i < 300; ++i) {
        void *freed = heap.allocate(64);
        heap.deallocate(freed);
        void *next = heap.allocate(64);
        reused += next == freed;
        heap.deallocate(next);
        void *freed_plain = plain.allocate(64);
        plain.deallocate(freed_plain);
        void *next_plain = plain.allocate(64);
        reused_plain += next_plain == freed_plain;
        plain.deallocate(next_plain);
    }
    CHECK_EQ(reused, 0);
    CHECK(reused_plain > 0);
}

TEST(options_that_contradict_are_refused) {
    CHECK_THROWS(hf::Heap(hf::Options{}.profile(99)), hf::InvalidArgument);
}

int main() {
    return hft::run();
}
