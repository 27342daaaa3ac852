// test_shm_ring - rings, versioned arrays and arrays as C++ owns them; C writes, C++ reads and back.
#include "check.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <complex>
#include <cstring>
#include <numeric>
#include <ranges>
#include <type_traits>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <holdfast/shm_array.hpp>
#include <holdfast/shm_ring.hpp>
#include <holdfast/shm_versioned.hpp>

using namespace std::chrono_literals;

namespace {

struct Sample {
    std::uint64_t number;
    double value;
    bool operator==(const Sample &) const = default;
};

/// A segment of this test alone, without a name.
class Segment {
public:
    Segment() {
        hf_shm_options options;
        hf_shm_options_init(&options, 1 << 20);
        hf::check(hf_shm_create_anonymous(&options, &shm_), hf_shm_detail());
    }
    Segment(const Segment &) = delete;
    Segment &operator=(const Segment &) = delete;
    ~Segment() { CHECK(hf_shm_close(shm_) == HF_OK); }
    operator hf_shm *() const noexcept { return shm_; }

private:
    hf_shm *shm_ = nullptr;
};

static_assert(!std::is_copy_constructible_v<hf::shm::Ring<Sample>>);
static_assert(std::is_nothrow_move_constructible_v<hf::shm::RingReader<Sample>>);
static_assert(sizeof(hf::shm::Ring<Sample>) == sizeof(void *));
static_assert(sizeof(hf::shm::Versioned<float>) == sizeof(void *));
static_assert(std::ranges::contiguous_range<hf::shm::Array<double>>);
static_assert(!hf::shm::Element<std::vector<int>>);
static_assert(!hf::shm::Element<int *>);

TEST(formats_are_those_of_numpy) {
    CHECK(std::strcmp(hf::shm::format_of<double>(), "<f8") == 0);
    CHECK(std::strcmp(hf::shm::format_of<const float>(), "<f4") == 0);
    CHECK(std::strcmp(hf::shm::format_of<std::uint8_t>(), "|u1") == 0);
    CHECK(std::strcmp(hf::shm::format_of<std::int16_t>(), "<i2") == 0);
    CHECK(std::strcmp(hf::shm::format_of<unsigned long>(), "<u8") == 0);
    CHECK(std::strcmp(hf::shm::format_of<bool>(), "|b1") == 0);
    CHECK(std::strcmp(hf::shm::format_of<std::complex<double>>(), "<c16") == 0);
    CHECK(hf::shm::format_of<Sample>() == nullptr);
}

TEST(ring_brings_every_element_once) {
    Segment segment;
    hf::shm::Ring<Sample> ring{segment, "samples", {.capacity = 16}};
    hf::shm::RingReader<Sample> reader{ring};
    CHECK(!reader.pop());
    CHECK(!reader.pop(1ms));
    CHECK(ring.push({0, 0.5}));
    const std::array<Sample, 3> more{{{1, 1.5}, {2, 2.5}, {3, 3.5}}};
    CHECK(ring.push_bulk(more) == 3);
    auto room = ring.reserve(2);
    CHECK(room.size() == 2);
    room[0] = {4, 4.5};
    ring.commit(1);
    std::uint64_t next = 0;
    for (const Sample &sample : reader.available()) {
        CHECK((sample == Sample{next, static_cast<double>(next) + 0.5}));
        next++;
    }
    CHECK(next == 5);
    CHECK(ring.total_written() == 5);
    CHECK(reader.lag() == 0);
    CHECK(ring.latest(2).size() == 2);
    CHECK(ring.latest(2)[1].number == 4);
    CHECK(ring.at(3)->number == 3);
    CHECK(!ring.at(5));
    reader.seek(1);
    std::array<Sample, 8> got{};
    CHECK(reader.peek(got) == 4);
    CHECK(reader.view(8).size() == 4);
    CHECK(reader.advance(1) == 0);
    const auto result = reader.pop_bulk(got);
    CHECK(result.got == 3 && result.lost == 0);
    CHECK(got[0].number == 2);
}

TEST(elements_need_no_default) {
    struct Tick {
        int number;
        explicit Tick(int n) : number(n) {}
    };
    Segment segment;
    hf::shm::Ring<Tick> ring{segment, "ticks", {.capacity = 4}};
    hf::shm::RingReader<Tick> reader{ring};
    for (int i = 0; i < 3; i++)
        CHECK(ring.push(Tick(i)));
    CHECK(ring.at(1)->number == 1);
    CHECK(reader.pop()->number == 0);
    int next = 1;
    for (const Tick &tick : reader.available())
        CHECK(tick.number == next++);
    CHECK(next == 3);
}

TEST(slow_readers_are_told_what_they_lost) {
    Segment segment;
    hf::shm::Ring<int> ring{segment, "numbers", {.capacity = 8}};
    hf::shm::RingReader<int> reader{ring};
    for (int i = 0; i < 20; i++)
        CHECK(ring.push(i));
    std::array<int, 20> got{};
    const auto result = reader.pop_bulk(got);
    CHECK(result.got == 8 && result.lost == 12);
    CHECK(got[0] == 12);
    CHECK(reader.lost() == 12);
    hf::shm::RingReader<int> late{ring, std::uint64_t{15}};
    CHECK(*late.pop() == 15);
    hf::shm::RingReader<int> newest{ring, hf::shm::RingFrom::newest};
    CHECK(!newest.wait(1, 1ms));
}

TEST(reliable_ring_waits_for_its_reader) {
    Segment segment;
    hf::shm::Ring<int> ring{segment, "numbers", {.capacity = 4, .reliable = true}};
    hf::shm::RingReader<int> reader{ring};
    const std::vector<int> numbers{0, 1, 2, 3, 4, 5};
    CHECK(ring.push_bulk(numbers) == 4);
    CHECK(!ring.push(4));
    CHECK(!ring.push(4, 1ms));
    const pid_t child = fork();
    if (child == 0) {
        alarm(30);
        auto own = hf::shm::Ring<int>::open(segment, "numbers");
        hf::shm::RingReader<int> mine{own, std::uint64_t{0}};
        for (int i = 0; i < 40; i++)
            if (mine.pop(hf::shm::forever) != i) _exit(1);
        _exit(0);
    }
    hf_shm_figures figures{};
    while (figures.readers < 2) // the child has joined: from here on it misses nothing
        hf::check(hf_shm_figures_of(segment, "numbers", &figures));
    for (int i = 0; i < 4; i++)
        CHECK(reader.pop() == i);
    for (int i = 4; i < 40; i++) {
        CHECK(ring.push(i, hf::shm::forever));
        CHECK(reader.pop(hf::shm::forever) == i);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(reader.lost() == 0);
}

TEST(wrong_types_and_second_writers_are_refused) {
    Segment segment;
    hf::shm::Ring<int> ring{segment, "numbers", {.capacity = 8}};
    CHECK_THROWS(hf::shm::Ring<float>::open(segment, "numbers"), hf::Mismatch);
    CHECK_THROWS(hf::shm::Ring<double>::open(segment, "numbers"), hf::Mismatch);
    CHECK_THROWS(hf::shm::Ring<int>::open(segment, "nothing"), hf::NotFound);
    auto second = hf::shm::Ring<int>::open(segment, "numbers");
    ring.claim();
    CHECK_THROWS(second.push(1), hf::Busy);
    ring.release();
    CHECK(second.push(1));
    hf::shm::Ring<int> moved = std::move(second);
    CHECK(moved.push(2));
    CHECK_THROWS(moved.commit(1), hf::InvalidArgument);
}

TEST(c_and_cpp_read_each_other) {
    Segment segment;
    hf::shm::Ring<Sample> ring{segment, "samples", {.capacity = 8}};
    hf_shm_ring *plain = nullptr;
    CHECK(hf_shm_ring_open(segment, "samples", HF_SHM_OPEN, nullptr, &plain) == HF_OK);
    hf_shm_ring_reader *reader = nullptr;
    CHECK(hf_shm_ring_reader_open(plain, nullptr, &reader) == HF_OK);
    CHECK(ring.push({1, 2.0}));
    Sample sample{};
    CHECK(hf_shm_ring_pop(reader, &sample, 0) == HF_OK);
    CHECK((sample == Sample{1, 2.0}));
    ring.release();
    sample = {2, 3.0};
    hf::shm::RingReader<Sample> own{ring, hf::shm::RingFrom::newest};
    CHECK(hf_shm_ring_push(plain, &sample, 0) == HF_OK);
    CHECK(own.pop() == sample);
    hf_shm_ring_reader_close(reader);
    CHECK(hf_shm_ring_close(plain) == HF_OK);
}

TEST(versioned_arrays_are_read_whole) {
    Segment segment;
    hf::shm::Versioned<float> writer{segment, "positions", {.count = 100, .buffers = 3}};
    auto reader = hf::shm::Versioned<float>::open(segment, "positions");
    std::vector<float> in(100), out(100);
    CHECK(reader.read(out) == 0);
    CHECK(std::ranges::all_of(out, [](float x) { return x == 0; }));
    std::iota(in.begin(), in.end(), 1.0F);
    CHECK(writer.write(in) == 1);
    CHECK(reader.read_newer(0, out) == 1);
    CHECK(out == in);
    CHECK(!reader.read_newer(1, out));
    CHECK(!reader.wait(1, 1ms));
    {
        auto next = writer.begin(true);
        next[5] = 555;
        CHECK(next.size() == 100);
        CHECK(next.commit() == 2);
    }
    { auto given_up = writer.begin(); }
    CHECK(reader.wait(1, hf::shm::forever) == 2);
    CHECK(reader.read(out) == 2);
    CHECK(out[5] == 555 && out[6] == 7);
    CHECK(writer.write_range(10, std::span<const float>(in).first(2)) == 3);
    std::array<float, 3> part{};
    CHECK(reader.read_range(9, part) == 3);
    CHECK(part[0] == 10 && part[1] == 1 && part[2] == 2);
    const auto view = reader.view();
    CHECK(view.version == 3 && view.elements[5] == 555 && reader.intact(view.version));
    for (int i = 0; i < 3; i++)
        (void)writer.write(in);
    CHECK(!reader.intact(view.version));
    CHECK_THROWS(writer.write(std::span<const float>(in).first(2)), hf::InvalidArgument);
    CHECK_THROWS(reader.write(in), hf::Busy);
    CHECK_THROWS(hf::shm::Versioned<int>::open(segment, "positions"), hf::Mismatch);
}

TEST(arrays_are_ranges) {
    Segment segment;
    hf::shm::Array<double> field{segment, "field", {3, 4}};
    CHECK(field.size() == 12);
    CHECK(field.shape().size() == 2 && field.shape()[1] == 4);
    std::iota(field.begin(), field.end(), 0.0);
    auto same = hf::shm::Array<double>::open(segment, "field");
    CHECK(same(2, 3) == 11);
    CHECK(same[5] == 5);
    same(0, 0) = -1;
    CHECK(field.elements().front() == -1);
    CHECK(field.run(4, 4)[1] == 5);
    CHECK(std::accumulate(same.begin(), same.end(), 0.0) == 65);
    CHECK_THROWS((void)field(3, 0), hf::InvalidArgument);
    CHECK_THROWS((void)field(1), hf::InvalidArgument);
    CHECK_THROWS((void)field.run(10, 3), hf::InvalidArgument);
    using Other = hf::shm::Array<double>;
    CHECK_THROWS((Other{segment, "field", {4, 3}}), hf::Mismatch);
    CHECK_THROWS((Other{segment, "none", {}}), hf::InvalidArgument);
    CHECK_THROWS((Other{segment, "none", {1 << 20}}), hf::OutOfMemory);
}

} // namespace

int main() {
    return hft::run(60);
}
