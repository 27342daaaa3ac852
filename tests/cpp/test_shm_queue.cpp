// test_shm_queue - queues as C++ owns them; C puts, C++ gets and back.
#include "check.hpp"

#include <array>
#include <chrono>
#include <cstring>
#include <thread>
#include <type_traits>

#include <sys/wait.h>
#include <unistd.h>

#include <holdfast/shm.hpp>
#include <holdfast/shm_queue.hpp>

using namespace std::chrono_literals;

namespace {

struct Job {
    std::uint64_t number;
    double weight;
    explicit Job(std::uint64_t n = 0) : number(n), weight(static_cast<double>(n) / 2) {}
    bool operator==(const Job &) const = default;
};

hf::shm::Segment segment_make() {
    return hf::shm::Segment::anonymous(hf::shm::Options(1 << 20));
}

using Jobs = hf::shm::Queue<Job>;
using hf::shm::ByteQueue;

static_assert(std::is_nothrow_move_constructible_v<Jobs> && !std::is_copy_constructible_v<Jobs>);
static_assert(sizeof(Jobs) == sizeof(void *));
static_assert(!std::is_copy_constructible_v<hf::shm::Place<Job>>);

std::span<const std::byte> bytes_of(const char *text) {
    return std::as_bytes(std::span(text, std::strlen(text)));
}

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char *>(bytes.data()), bytes.size()};
}

TEST(records_come_out_in_order_until_it_is_empty) {
    auto segment = segment_make();
    Jobs jobs{segment.native(), "jobs", {.capacity = 3}};
    CHECK_EQ(jobs.capacity(), 4u);
    CHECK(!jobs.get());
    for (std::uint64_t i = 0; i < 4; ++i)
        CHECK(jobs.put(Job(i)));
    CHECK(!jobs.put(Job(9)));
    CHECK(!jobs.put(Job(9), 1ms));
    CHECK_EQ(jobs.length(), 4u);
    for (std::uint64_t i = 0; i < 4; ++i)
        CHECK(jobs.get() == Job(i));
    CHECK(!jobs.get(1ms));
}

TEST(many_records_at_once) {
    auto segment = segment_make();
    Jobs jobs{segment.native(), "jobs", {.capacity = 8}};
    std::array<Job, 12> in, out;
    for (std::uint64_t i = 0; i < in.size(); ++i)
        in[i] = Job(i);
    CHECK_EQ(jobs.put_bulk(in), 8u);
    CHECK_EQ(jobs.get_bulk(std::span(out).first(5)), 5u);
    CHECK_EQ(jobs.put_bulk(std::span(in).subspan(8)), 4u);
    CHECK_EQ(jobs.get_bulk(std::span(out).subspan(5)), 7u);
    CHECK(in == out);
    CHECK_EQ(jobs.get_bulk(out), 0u);
    CHECK_EQ(jobs.put_bulk({}), 0u);
}

TEST(a_place_is_committed_or_given_up) {
    auto segment = segment_make();
    Jobs jobs{segment.native(), "jobs", {.capacity = 4}};
    {
        auto place = jobs.reserve();
        CHECK(static_cast<bool>(place));
        *place = Job(1);
    }
    CHECK(!jobs.get());
    auto place = jobs.reserve();
    place->number = 7;
    place->weight = 3.5;
    place.commit();
    CHECK(!place);
    auto taken = jobs.take();
    CHECK(*taken == Job(7));
    auto moved = std::move(taken);
    CHECK(!taken && moved->number == 7);
    moved.release();
    CHECK(!moved);
    CHECK(!jobs.take());
}

TEST(bytes_keep_their_length) {
    auto segment = segment_make();
    ByteQueue queue{segment.native(), "bytes", 100, {.capacity = 4}};
    CHECK_EQ(queue.size_max(), 100u);
    CHECK(queue.put(bytes_of("hello")));
    const std::array<hf_shm_bytes, 2> parts{{{"two ", 4}, {"parts", 5}}};
    CHECK(queue.put(parts));
    auto place = queue.reserve(10);
    CHECK_EQ(place.bytes().size(), 10u);
    std::memcpy(place.bytes().data(), "in place", 8);
    place.commit(8);
    CHECK_EQ(text_of(*queue.get()), "hello");
    CHECK_EQ(text_of(*queue.get()), "two parts");
    {
        auto taken = queue.take();
        CHECK_EQ(text_of(taken.bytes()), "in place");
    }
    CHECK(!queue.get());
    const std::vector<std::byte> large(101);
    CHECK_THROWS(queue.put(large), hf::InvalidArgument);
}

TEST(a_commit_that_is_refused_leaves_the_place_in_hand) {
    auto segment = segment_make();
    ByteQueue queue{segment.native(), "bytes", 100, {.capacity = 4}};
    auto place = queue.reserve(10);
    CHECK_THROWS(place.commit(101), hf::InvalidArgument);
    CHECK(static_cast<bool>(place));
    place.bytes()[0] = std::byte{'x'};
    place.commit(1);
    CHECK(!place);
    CHECK_THROWS(place.commit(1), hf::InvalidArgument);
    CHECK_EQ(text_of(*queue.get()), "x");
    {
        auto given_up = queue.reserve(10);
        CHECK_THROWS(given_up.commit(101), hf::InvalidArgument);
    }
    CHECK(queue.put(bytes_of("behind")));
    CHECK_EQ(text_of(*queue.get()), "behind");
}

/* 32 bytes at a multiple of 32 do not fit beside the state of a slot: these are copied only. */
struct alignas(32) Vector {
    std::array<float, 8> lanes;
};
template <class Q> constexpr bool reserves = requires(Q &queue) {
    queue.reserve();
};
template <class Q> constexpr bool takes = requires(Q &queue) {
    queue.take();
};
static_assert(reserves<Jobs> && takes<Jobs>);
static_assert(!reserves<hf::shm::Queue<Vector>> && !takes<hf::shm::Queue<Vector>>);
static_assert(reserves<hf::shm::Queue<std::array<Vector, 2>>>);

TEST(items_lie_aligned_in_place) {
    auto segment = segment_make();
    hf::shm::Queue<Vector> copied{segment.native(), "copied", {.capacity = 4}};
    CHECK(copied.put(Vector{{1, 2, 3}}));
    CHECK(copied.get()->lanes[2] == 3);
    hf::shm::Queue<std::array<Vector, 2>> placed{segment.native(), "placed", {.capacity = 4}};
    for (int i = 0; i < 4; ++i) {
        auto place = placed.reserve();
        CHECK_EQ(reinterpret_cast<std::uintptr_t>(&*place) % alignof(Vector), 0u);
        place.commit();
    }
}

TEST(what_does_not_agree_is_refused) {
    auto segment = segment_make();
    Jobs jobs{segment.native(), "jobs", {.capacity = 4}};
    CHECK_THROWS((hf::shm::Queue<std::array<double, 9>>{segment.native(), "jobs", {.capacity = 4}}),
                 hf::Mismatch);
    CHECK_THROWS((Jobs{segment.native(), "jobs", {.capacity = 8}}), hf::Mismatch);
    CHECK_THROWS((Jobs{segment.native(), "jobs", {.capacity = 4, .single = true}}), hf::Mismatch);
    CHECK_THROWS(ByteQueue::open(segment.native(), "jobs"), hf::Mismatch);
    CHECK_THROWS(Jobs::open(segment.native(), "absent"), hf::NotFound);
    CHECK_THROWS((Jobs{segment.native(), "none", {.capacity = 0}}), hf::InvalidArgument);
    auto same = Jobs::open(segment.native(), "jobs");
    CHECK(same.put(Job(3)));
    CHECK(jobs.get() == Job(3));
}

TEST(a_second_producer_of_a_single_one_is_busy) {
    auto segment = segment_make();
    Jobs first{segment.native(), "jobs", {.capacity = 4, .single = true}};
    auto second = Jobs::open(segment.native(), "jobs");
    CHECK(first.put(Job(1)));
    CHECK_THROWS(second.put(Job(2)), hf::Busy);
    CHECK(second.get() == Job(1)); /* the other side is free */
}

TEST(wake_ends_a_wait_with_cancelled) {
    auto segment = segment_make();
    Jobs jobs{segment.native(), "jobs", {.capacity = 4}};
    bool cancelled = false;
    std::thread waiter([&] {
        try {
            (void)jobs.get(hf::shm::forever);
        } catch (const hf::Cancelled &) {
            cancelled = true;
        }
    });
    hf_shm_figures figures{};
    while (figures.waits == 0)
        hf::check(hf_shm_figures_of(segment.native(), "jobs", &figures));
    jobs.wake();
    waiter.join();
    CHECK(cancelled);
}

TEST(c_and_cpp_read_each_other_across_processes) {
    auto segment = segment_make();
    Jobs there{segment.native(), "there", {.capacity = 4}};
    Jobs back{segment.native(), "back", {.capacity = 4}};
    const pid_t child = fork();
    if (child == 0) {
        hf_shm_queue *in = nullptr, *out = nullptr;
        if (hf_shm_queue_open(segment.native(), "there", HF_SHM_OPEN, nullptr, &in) != HF_OK ||
            hf_shm_queue_open(segment.native(), "back", HF_SHM_OPEN, nullptr, &out) != HF_OK)
            _exit(1);
        for (int i = 0; i < 1000; ++i) {
            Job job;
            if (hf_shm_queue_get(in, &job, sizeof job, HF_FOREVER, nullptr) != HF_OK) _exit(2);
            job.number += 1;
            if (hf_shm_queue_put(out, &job, sizeof job, HF_FOREVER) != HF_OK) _exit(3);
        }
        _exit(0);
    }
    bool right = true;
    for (std::uint64_t i = 0; right && i < 1000; ++i) {
        right = there.put(Job(i), 10s);
        const auto job = back.get(10s);
        right = right && job && job->number == i + 1;
    }
    CHECK(right);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

} // namespace

int main() {
    return hft::run(60);
}
