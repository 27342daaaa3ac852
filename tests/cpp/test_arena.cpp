// test_arena.cpp - the C++ side of arenas: ownership, options, objects, scopes, log.
// Method  each class does what its comment says, and fails the way it says.
#include <array>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <holdfast/arena.hpp>

#include "check.hpp"

#if defined(HOLDFAST_BUMP_ALLOCATOR_HPP) || defined(HOLDFAST_ARENA_BLOCKS_HPP) ||                  \
    defined(HOLDFAST_ARENA_MEMORY_HPP)
#error "arena.hpp brings headers it does not need"
#endif

namespace {

struct alignas(128) Wide {
    char bytes[128];
};

struct Counted {
    explicit Counted(int *count) : count_(count) { ++*count_; }
    ~Counted() { --*count_; }
    int *count_;
};

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
    try {
        (void)arena.allocate(500);
        CHECK(false);
    } catch (const hf::ArenaFull &full) {
        CHECK_EQ(full.asked(), std::size_t{500});
        CHECK_EQ(full.left(), std::size_t{16});
        CHECK_EQ(std::string(full.what()),
                 "arena '' is full: 500 bytes were asked for, 16 are left");
    }
    CHECK_THROWS(arena.allocate_aligned(8, 48), hf::InvalidArgument);
    CHECK_THROWS(arena.allocate_aligned(64, 0), hf::OutOfMemory);
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
