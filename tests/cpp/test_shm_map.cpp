// test_shm_map - maps in shared memory from C++: types, optionals, atomic updates, walks, moves, and what
// becomes an exception. What killed processes leave is in tests/shm.
#include <array>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include <holdfast/shm.hpp>
#include <holdfast/shm_map.hpp>
#include <holdfast/shm_versioned.hpp> // names that do not meet

namespace {

struct Quote {
    double price;
    int size;
};

enum class Symbol : std::uint32_t {};

} // namespace

using Quotes = hf::shm::Map<std::uint64_t, Quote>;

static_assert(!std::is_copy_constructible_v<Quotes>);
static_assert(std::is_nothrow_move_constructible_v<Quotes>);
static_assert(sizeof(Quotes) == sizeof(void *));
static_assert(sizeof(hf::shm::BytesMap) == sizeof(void *));
static_assert(std::input_iterator<Quotes::iterator>);

static hf::shm::Segment segment_of_4_mib() {
    return hf::shm::Segment::anonymous(hf::shm::Options{4 << 20});
}

TEST(put_get_erase) {
    const auto segment = segment_of_4_mib();
    Quotes quotes(segment, "quotes", 100);
    CHECK(!quotes.get(1));
    const auto first = quotes.put(1, {1.5, 10});
    const auto second = quotes.put(1, {2.5, 20});
    CHECK(first != second);
    const auto now = quotes.get_versioned(1);
    CHECK(now.has_value());
    CHECK_EQ(now->value.price, 2.5);
    CHECK_EQ(now->version, second);
    CHECK_EQ(quotes.count(), std::uint64_t{1});
    CHECK(quotes.contains(1));
    CHECK(quotes.erase(1));
    CHECK(!quotes.erase(1));
    CHECK(!quotes.contains(1));
}

TEST(conditional_changes_say_whether_they_were_done) {
    const auto segment = segment_of_4_mib();
    Quotes quotes(segment, "quotes", 100);
    CHECK(quotes.put_if_absent(7, {1, 1}));
    CHECK(!quotes.put_if_absent(7, {2, 2}));
    const auto version = quotes.get_versioned(7)->version;
    CHECK(quotes.replace_if(7, {3, 3}, version));
    CHECK(!quotes.replace_if(7, {4, 4}, version));
    CHECK(!quotes.replace_if(7, {4, 4}, 0));
    CHECK(!quotes.replace_if(8, {4, 4}, version));
    CHECK(quotes.replace_if(8, {4, 4}, 0));
    CHECK(!quotes.erase_if(7, version));
    CHECK(quotes.erase_if(7, quotes.get_versioned(7)->version));
}

TEST(update_is_atomic_among_threads) {
    const auto segment = segment_of_4_mib();
    hf::shm::Map<Symbol, std::uint64_t> counts(segment, "counts", 10);
    constexpr int threads = 3, rounds = 5000;
    std::vector<std::thread> crew;
    for (int i = 0; i < threads; ++i)
        crew.emplace_back([&] {
            for (int n = 0; n < rounds; ++n)
                counts.update(Symbol{5},
                              [](std::optional<std::uint64_t> old) { return old.value_or(0) + 1; });
        });
    for (auto &thread : crew)
        thread.join();
    CHECK_EQ(counts.get(Symbol{5}).value_or(0), std::uint64_t{threads * rounds});
}

TEST(walk_sees_every_key_once) {
    const auto segment = segment_of_4_mib();
    hf::shm::Map<std::uint64_t, std::array<std::uint64_t, 3>> map(segment, "m", 1000);
    for (std::uint64_t key = 0; key < 1000; ++key)
        map.put(key, {key, key + 1, key + 2});
    std::map<std::uint64_t, int> seen;
    for (const auto &[key, value] : map) {
        ++seen[key];
        CHECK_EQ(value[2], key + 2);
    }
    CHECK_EQ(seen.size(), std::size_t{1000});
    CHECK_EQ(map.figures().count, std::uint64_t{1000});
    map.clear();
    CHECK(map.begin() == map.end());
    CHECK_EQ(map.count(), std::uint64_t{0});
}

TEST(another_handle_sees_the_same) {
    const auto segment = segment_of_4_mib();
    Quotes one(segment, "quotes", 100);
    Quotes two(segment, "quotes");
    one.put(3, {3, 3});
    CHECK_EQ(two.get(3)->size, 3);
    Quotes three = std::move(two);
    CHECK(!two);
    CHECK_EQ(three.get(3)->size, 3);
    one = std::move(three);
    CHECK_EQ(one.get(3)->size, 3);
}

TEST(bytes_of_any_length) {
    const auto segment = segment_of_4_mib();
    hf::shm::BytesMap map(segment, "names", 64, 256, 50);
    for (std::size_t size = 0; size <= 64; size += 4)
        map.put(std::string(size, 'k'), std::string(size * 4, 'v'));
    hf::shm::BytesMap other(segment, "names");
    for (std::size_t size = 0; size <= 64; size += 4)
        CHECK_EQ(other.get(std::string(size, 'k')).value_or("none"), std::string(size * 4, 'v'));
    CHECK(!other.get("x"));
    std::size_t count = 0;
    other.each([&](std::string_view key, std::string_view value) {
        CHECK_EQ(value.size(), key.size() * 4);
        ++count;
        return false;
    });
    CHECK_EQ(count, std::size_t{17});
    CHECK(map.put_if_absent("x", "1"));
    CHECK(map.replace_if("x", "2", map.get_versioned("x")->version));
    CHECK(!map.erase_if("x", 1000));
    CHECK(map.erase("x"));
    CHECK_THROWS(map.put(std::string(65, 'k'), ""), hf::InvalidArgument);
    CHECK_THROWS(map.put("k", std::string(257, 'v')), hf::InvalidArgument);
}

TEST(long_bytes_are_found_and_updated) {
    const auto segment = segment_of_4_mib();
    hf::shm::BytesMap map(segment, "names", 64, 1 << 20, 2);
    for (std::size_t size : {0, 511, 512, 513, 70'000, 1 << 20}) {
        map.put("k", std::string(size, 'v'));
        CHECK(map.get("k") == std::string(size, 'v'));
    }
    CHECK(map.contains("k") && !map.contains("x"));
    const auto longer = [](std::optional<std::string> old) { return old.value_or("") + "!"; };
    CHECK_EQ(map.update("x", longer), std::string("!"));
    CHECK_EQ(map.update("x", longer), std::string("!!"));
    CHECK_EQ(map.get("x").value_or(""), std::string("!!"));
    CHECK_THROWS(map.get(std::string(65, 'k')), hf::InvalidArgument);
}

TEST(value_of_another_size_is_a_mismatch) {
    const auto segment = segment_of_4_mib();
    Quotes quotes(segment, "quotes", 10);
    const std::uint64_t key = 1;
    CHECK_EQ(hf_shm_map_put(quotes.native(), &key, sizeof key, "short", 5, nullptr), HF_OK);
    CHECK_THROWS(quotes.get(1), hf::Mismatch);
    CHECK_THROWS(quotes.begin(), hf::Mismatch);
}

TEST(failures_are_exceptions) {
    const auto segment = segment_of_4_mib();
    Quotes quotes(segment, "quotes", 2);
    quotes.put(1, {});
    quotes.put(2, {});
    CHECK_THROWS(quotes.put(3, {}), hf::Full);
    quotes.put(2, {5, 5});
    CHECK_THROWS(Quotes(segment, "quotes", 3), hf::Mismatch);
    CHECK_THROWS((hf::shm::Map<std::uint64_t, char>(segment, "quotes")), hf::Mismatch);
    CHECK_THROWS((hf::shm::Map<std::int64_t, Quote>(segment, "quotes")), hf::Mismatch);
    CHECK_THROWS(Quotes(segment, "nothing"), hf::NotFound);
    CHECK_THROWS(Quotes(segment, "quotes", 2, HF_SHM_CREATE), hf::Exists);
    CHECK_THROWS(Quotes(segment, "other", 0), hf::InvalidArgument);
}

int main() {
    return hft::run();
}
