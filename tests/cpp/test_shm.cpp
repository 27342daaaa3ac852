// test_shm - segments as objects: what the calls of C do, with exceptions, values and spans.
#include <concepts>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>

#include "check.hpp"
#include <holdfast/shm.hpp>
#include <holdfast/shm_queue.hpp>

using hf::shm::Options;
using hf::shm::Segment;
using hf::shm::Span;

static_assert(!std::is_copy_constructible_v<Segment> && !std::is_default_constructible_v<Segment>);
static_assert(std::is_nothrow_move_constructible_v<Segment>);
static_assert(std::is_convertible_v<Segment &, hf_shm *>);

namespace {

/// Removed when the test is left, whichever way.
struct Named {
    explicit Named(const char *tag)
        : name(std::string("t-") + tag + "-" + std::to_string(getpid())) {}
    ~Named() { hf::shm::remove(name); }
    std::string name;
};

bool exists(const std::string &name) {
    return access(("/dev/shm/holdfast-" + name).c_str(), F_OK) == 0;
}

struct Mixed {
    double number;
    std::uint32_t index;
};

} // namespace

TEST(segment_goes_with_its_last_owner) {
    const Named named("cppown");
    {
        Segment one{named.name, Options(1 << 20).role("first")};
        Segment two = Segment::open(named.name, Options().role("second"));
        const auto people = two.participants();
        CHECK_EQ(people.size(), 2u);
        CHECK_EQ(people[0].role, std::string("first"));
        CHECK_EQ(people[0].life, HF_SHM_LIVE);
        CHECK_EQ(people[1].life, HF_SHM_SELF);
        CHECK_EQ(people[0].pid, static_cast<std::uint32_t>(getpid()));
        Segment three = std::move(one);
        CHECK(three && !one);
        three = std::move(two);
        CHECK_EQ(three.info().participants_live, 1u);
        CHECK(exists(named.name));
        three.close();
        CHECK(!three);
        CHECK(!exists(named.name));
    }
    CHECK(!hf::shm::remove(named.name));
    CHECK(!hf::shm::collect(named.name));
}

TEST(errors_say_what_was_asked_and_what_was_found) {
    const Named named("cpperr");
    CHECK_THROWS(Segment::open(named.name), hf::NotFound);
    CHECK_THROWS(Segment("a/b", Options(1 << 20)), hf::InvalidArgument);
    Segment segment{named.name, Options(1 << 20)};
    CHECK_THROWS(Segment::create(named.name, Options(1 << 20)), hf::Exists);
    CHECK_THROWS(Segment(named.name, Options(2 << 20)), hf::Mismatch);
    CHECK_THROWS(segment.grow(std::uint64_t{1} << 40), hf::OutOfMemory);
    CHECK_THROWS(segment.persist(), hf::Unsupported);
    CHECK_THROWS(segment.erase("nothing"), hf::NotFound);
    const std::string cut = named.name + std::string("\0x", 2); // C would see the name alone
    CHECK_THROWS(Segment::open(cut), hf::InvalidArgument);
    CHECK_THROWS((void)hf::shm::remove(cut), hf::InvalidArgument);
    CHECK_THROWS((void)segment.add(std::string("a\0b", 3), 64), hf::InvalidArgument);
    CHECK_THROWS((void)segment.check(std::string("a\0b", 3)), hf::InvalidArgument);
    CHECK(segment.list().empty());
    CHECK_THROWS((void)segment.add("large", 2 << 20), hf::OutOfMemory);
    try {
        (void)Segment(named.name, Options(2 << 20));
    } catch (const hf::Mismatch &error) {
        const std::string sentence = error.what();
        CHECK(sentence.find("1048576") != std::string::npos);
        CHECK(sentence.find("2097152") != std::string::npos);
    }
}

TEST(spans_are_typed_bounded_and_the_same_for_all) {
    const Named named("cppspan");
    Segment one{named.name, Options(1 << 20)}, two = Segment::open(named.name);
    Span span = one.add("numbers", 100 * sizeof(Mixed));
    CHECK_EQ(span.as<Mixed>().size(), 100u);
    span.as<Mixed>()[99] = {1.5, 7};
    const auto other = two.span("numbers");
    CHECK(other.has_value());
    CHECK_EQ(other->offset(), span.offset());
    CHECK(other->as<Mixed>().data() != span.as<Mixed>().data());
    CHECK_EQ(other->as<Mixed>()[99].index, 7u);
    CHECK_EQ(other->part(8, 16).bytes().size(), 16u);
    CHECK_EQ(other->part(span.size(), 0).bytes().size(), 0u);
    CHECK_THROWS((void)other->part(8, span.size()), hf::InvalidArgument);
    CHECK_THROWS((void)other->part(1, 16).as<double>(), hf::InvalidArgument);
    CHECK_THROWS((void)Span(one, {4096, 16}).bytes(), hf::InvalidArgument);
    CHECK_THROWS((void)Span(one, {1 << 20, 16}).bytes(), hf::InvalidArgument);
    CHECK(!two.span("none"));
    two.erase("numbers");
    CHECK(!one.find("numbers"));
}

TEST(everything_of_a_segment_is_listed) {
    const Named named("cpplist");
    Segment segment{named.name, Options(1 << 20).size_max(2 << 20)};
    (void)segment.add("a", 10);
    (void)segment.add("b", 5000);
    const auto entries = segment.list();
    CHECK_EQ(entries.size(), 2u);
    CHECK_EQ(entries[1].name, std::string("b"));
    CHECK_EQ(entries[1].kind, std::string("span"));
    CHECK_EQ(entries[1].where.size, 5000u);
    CHECK_EQ(entries[1].where.offset % 4096, 0u);
    CHECK_EQ(segment.find("a")->name, std::string("a"));
    bool seen = false;
    for (const auto &[name, size] : hf::shm::names())
        seen |= name == named.name && size == 1 << 20;
    CHECK(seen);
    CHECK(segment.check().empty());
    CHECK_EQ(segment.repair(), 0u);
    CHECK_EQ(segment.sweep(), 0u);
    segment.grow(2 << 20);
    CHECK_EQ(segment.info().size, 2u << 20);
    CHECK(segment.stats().adds_up());
    /* Damage is found, said and put right. */
    auto *header = static_cast<std::uint8_t *>(hf_shm_at(segment, entries[0].where, 0, 1)) -
                   entries[0].where.offset;
    header[0] ^= 1;
    const auto faults = segment.check();
    CHECK_EQ(faults.size(), 1u);
    CHECK(!faults[0].sentence.empty());
    CHECK_EQ(segment.repair(), 1u);
    CHECK(segment.check().empty());
}

TEST(structures_are_viewed) {
    const Named named("cppview");
    Segment segment{named.name, Options(1 << 20)};
    hf::shm::Queue<Mixed> queue{segment, "queue", {.capacity = 8}};
    queue.put({1.5, 7});
    hf::shm::Place<Mixed> place = queue.reserve();
    const std::vector<hf::shm::Item> items = segment.view("queue");
    CHECK_EQ(items.size(), 8u);
    CHECK_EQ(items[0].state, static_cast<std::uint32_t>(HF_SHM_STATE_FULL));
    CHECK_EQ(items[0].participant, HF_SHM_NOBODY);
    const auto *value =
        static_cast<const Mixed *>(hf_shm_at(segment, items[0].span, 0, sizeof(Mixed)));
    CHECK(value != nullptr && value->number == 1.5 && value->index == 7);
    CHECK_EQ(items[1].state, static_cast<std::uint32_t>(HF_SHM_STATE_WRITING));
    CHECK_EQ(items[1].pid, static_cast<std::uint32_t>(getpid()));
    CHECK(std::string(hf_shm_state_name(items[1].state)) == "writing");
    /* Every item; until it has enough; until it throws. */
    std::size_t calls = 0;
    segment.view("queue", [&](const hf::shm::Item &item) {
        CHECK_EQ(item.number, calls);
        calls++;
    });
    CHECK_EQ(calls, 8u);
    calls = 0;
    segment.view("queue", [&](const hf::shm::Item &) { return ++calls < 3; });
    CHECK_EQ(calls, 3u);
    const auto refuse = [](const hf::shm::Item &) { throw std::out_of_range("enough"); };
    CHECK_THROWS(segment.view("queue", refuse), std::out_of_range);
    CHECK_THROWS((void)segment.view("nothing"), hf::NotFound);
}

TEST(watchers_look_and_dumps_are_loaded) {
    const Named named("cppdump"), other("cppload");
    char path[] = "/tmp/holdfast-t-dump-XXXXXX";
    const int file = mkstemp(path);
    CHECK(file >= 0);
    unlink(path);
    {
        Segment segment{named.name, Options(1 << 20)};
        segment.add("numbers", 80).as<int>()[19] = 7;
        Segment watcher = Segment::open(named.name, Options().presence(HF_SHM_WATCHER));
        CHECK_EQ(watcher.find("numbers")->where.size, 80u);
        CHECK_EQ(segment.info().participants_live, 1u);
        watcher.close();
        CHECK_EQ(segment.dump(file).entries, 1u);
    }
    CHECK_EQ(lseek(file, 0, SEEK_SET), 0);
    Segment loaded = Segment::load(other.name, file);
    CHECK_EQ(loaded.span("numbers")->as<int>()[19], 7);
    close(file);
}

TEST(anonymous_segment_is_reached_by_its_descriptor) {
    Segment one = Segment::anonymous(Options(1 << 20));
    Segment two = Segment::from_file(one.file());
    std::memset(one.add("x", 64).bytes().data(), 9, 64);
    CHECK(two.span("x")->bytes()[63] == std::byte{9});
    CHECK_THROWS((void)Segment::from_file(-1), hf::Error);
}

int main() {
    return hft::run();
}
