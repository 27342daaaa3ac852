// test_shm_sync - pools, events, semaphores, mutexes, barriers and cells as C++ owns them: standard
// locks and atomics on them, owners that give back when they die. Kills are in tests/shm.
#include "check.hpp"

#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <holdfast/shm.hpp>
#include <holdfast/shm_barrier.hpp>
#include <holdfast/shm_cells.hpp>
#include <holdfast/shm_event.hpp>
#include <holdfast/shm_mutex.hpp>
#include <holdfast/shm_pool.hpp>
#include <holdfast/shm_semaphore.hpp>

using namespace std::chrono_literals;
namespace shm = hf::shm;

namespace {

struct alignas(128) Frame {
    std::uint64_t index;
    float pixels[40];
};

shm::Segment segment_make() {
    return shm::Segment::anonymous(shm::Options(1 << 20));
}

static_assert(!std::is_copy_constructible_v<shm::Pool<Frame>>);
static_assert(std::is_nothrow_move_constructible_v<shm::Pool<Frame>>);
static_assert(sizeof(shm::Pool<Frame>) == sizeof(void *));
static_assert(sizeof(shm::Event) == sizeof(void *));
static_assert(!std::is_copy_constructible_v<shm::Pool<Frame>::Object>);
static_assert(!shm::Cell<float> && shm::Cell<double>);

} // namespace

TEST(pool_objects_are_given_back_when_they_die) {
    auto segment = segment_make();
    shm::Pool<Frame> pool{segment.native(), "frames", {.capacity = 2, .sanitize = true}};
    hf_shm_handle stale = 0;
    {
        auto one = pool.acquire();
        CHECK_EQ(reinterpret_cast<std::uintptr_t>(one.get()) % 128, std::uintptr_t{0});
        one->index = 7;
        stale = one.handle();
        auto two = pool.try_acquire();
        CHECK(two.has_value());
        CHECK(!pool.try_acquire().has_value());
        CHECK(!pool.try_acquire(1ms).has_value());
        CHECK_THROWS(pool.acquire(shm::Timeout{}), hf::Empty);
        CHECK_EQ(pool.at(stale)->index, std::uint64_t{7});
        CHECK_EQ(pool.live(), std::uint64_t{2});
    }
    CHECK_EQ(pool.live(), std::uint64_t{0});
    CHECK(pool.at(stale) == nullptr);
    CHECK_THROWS(pool.release(stale), hf::Stale);
    CHECK_EQ(pool.acquire()->index, std::uint64_t{0});
}

TEST(pool_objects_are_passed_on_by_handle) {
    auto segment = segment_make();
    shm::Pool<Frame> pool{segment.native(), "frames", {.capacity = 2}};
    auto sent = pool.acquire();
    sent->index = 11;
    const hf_shm_handle handle = sent.handle();
    sent.pass();
    CHECK_EQ(pool.owner(handle), HF_SHM_POOL_PASSED);
    auto mine = pool.adopt(handle);
    CHECK_EQ(mine->index, std::uint64_t{11});
    CHECK_THROWS(pool.adopt(handle), hf::Stale);
    const hf_shm_handle kept = mine.keep();
    pool.release(kept);
    CHECK_EQ(pool.live(), std::uint64_t{0});
    shm::Pool<Frame> moved = std::move(pool);
    CHECK(!pool);
    CHECK_EQ(moved.capacity(), std::uint64_t{2});
    CHECK_THROWS((shm::Pool<int>{segment.native(), "frames", {.capacity = 2}}), hf::Mismatch);
    shm::Pool<int> paged{segment.native(), "paged", {.capacity = 2, .alignment = 4096}};
    CHECK_EQ(reinterpret_cast<std::uintptr_t>(paged.acquire().get()) % 4096, std::uintptr_t{0});
    CHECK_THROWS((shm::Pool<int>{segment.native(), "paged", {.capacity = 2}}), hf::Mismatch);
    CHECK_EQ((shm::Pool<int>{segment.native(), "paged", {.capacity = 2, .alignment = 4096}}.live()),
             std::uint64_t{0});
    CHECK_THROWS((shm::Pool<Frame>{segment.native(), "f", {.capacity = 2, .alignment = 64}}),
                 hf::InvalidArgument);
}

TEST(event_is_set_and_waited_for) {
    auto segment = segment_make();
    shm::Event manual{segment.native(), "manual"};
    shm::Event automatic{segment.native(), "automatic", {.automatic = true, .set = true}};
    CHECK(!manual.wait(1ms));
    manual.set();
    CHECK(manual.wait() && manual.wait() && manual.is_set());
    manual.clear();
    CHECK(!manual.is_set());
    CHECK(automatic.wait());
    CHECK(!automatic.wait(shm::Timeout{}));
    std::thread setter([&] { automatic.set(); });
    CHECK(automatic.wait(10s));
    setter.join();
    CHECK_THROWS((shm::Event{segment.native(), "automatic"}), hf::Mismatch);
    CHECK_THROWS((shm::Event{segment.native(), "none", {}, HF_SHM_OPEN}), hf::NotFound);
}

TEST(semaphore_permits_die_with_their_holder) {
    auto segment = segment_make();
    shm::Semaphore semaphore{segment.native(), "held", {.permits = 3}};
    {
        auto permits = semaphore.hold(2);
        CHECK_EQ(semaphore.value(), std::uint64_t{1});
        CHECK_EQ(semaphore.held(), std::uint64_t{2});
        CHECK(!semaphore.try_acquire_for(1ms, 2));
        CHECK(semaphore.try_acquire());
        semaphore.release();
        CHECK_THROWS(semaphore.hold(3, 1ms), hf::Timeout);
    }
    CHECK_EQ(semaphore.value(), std::uint64_t{3});
    CHECK_THROWS(semaphore.release(), hf::InvalidArgument);
    shm::Semaphore counted{segment.native(), "counted", {.permits = 0, .counted = true, .most = 2}};
    counted.release(2);
    CHECK_THROWS(counted.release(), hf::Full);
    counted.acquire();
    shm::Semaphore same{segment.native(), "counted"};
    CHECK_EQ(same.value(), std::uint64_t{1});
}

TEST(mutex_works_with_standard_locks) {
    auto segment = segment_make();
    shm::Mutex mutex{segment.native(), "mutex"}, other{segment.native(), "other"};
    int sum = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++)
        threads.emplace_back([&] {
            for (int i = 0; i < 500; i++) {
                std::lock_guard lock{mutex};
                sum = sum + 1;
            }
        });
    for (std::thread &thread : threads)
        thread.join();
    CHECK_EQ(sum, 2000);
    {
        std::scoped_lock both{mutex, other};
        CHECK_THROWS(mutex.lock(), hf::Busy);
        std::thread([&] {
            CHECK(!mutex.try_lock());
            CHECK(!mutex.try_lock_for(1ms));
            std::unique_lock late{mutex, std::chrono::steady_clock::now() + 1ms};
            CHECK(!late.owns_lock());
            CHECK_THROWS(mutex.unlock(), hf::InvalidArgument);
        }).join();
    }
    std::unique_lock timed{mutex, 10s};
    CHECK(timed.owns_lock());
}

TEST(mutex_of_a_dead_owner_is_mended_or_thrown) {
    auto segment = segment_make();
    shm::Mutex mutex{segment.native(), "mutex"};
    const auto die_with_it = [&] {
        const pid_t child = fork();
        if (child == 0) {
            (void)mutex.lock_for();
            _exit(0);
        }
        CHECK_EQ(waitpid(child, nullptr, 0), child);
    };
    die_with_it();
    CHECK_THROWS(mutex.lock(), hf::OwnerDied);
    CHECK(mutex.is_inconsistent());
    int mended = 0;
    mutex.on_owner_died([&] { ++mended; });
    {
        std::lock_guard lock{mutex};
        CHECK_EQ(mended, 1);
        CHECK(!mutex.is_inconsistent());
    }
    die_with_it();
    CHECK(mutex.lock_for() == shm::Locked::owner_died);
    mutex.consistent();
    mutex.unlock();
    CHECK(mutex.lock_for(shm::Timeout{}) == shm::Locked::yes);
    mutex.unlock();
}

TEST(barrier_lets_all_pass_at_once) {
    auto segment = segment_make();
    shm::Barrier barrier{segment.native(), "step", {.parties = 3}};
    CHECK(!barrier.arrive_for(1ms).has_value());
    shm::Cells<std::uint64_t> came{segment.native(), "came", {.count = 1}};
    std::vector<std::thread> threads;
    std::atomic<int> early{0}; // checks are for one thread
    for (int t = 0; t < 3; t++)
        threads.emplace_back([&] {
            for (std::uint64_t round = 1; round <= 50; round++) {
                came.add(0, 1);
                (void)barrier.arrive_and_wait();
                early += came.load(0) < 3 * round;
            }
        });
    for (std::thread &thread : threads)
        thread.join();
    CHECK_EQ(early.load(), 0);
    CHECK_EQ(barrier.round(), std::uint32_t{50});
    CHECK_EQ(barrier.waiting(), std::uint32_t{0});
}

TEST(cells_of_every_type) {
    auto segment = segment_make();
    for (bool packed : {false, true}) {
        const std::string suffix = packed ? "p" : "";
        shm::Cells<std::int64_t> wide{segment.native(), "i64" + suffix, {4, packed}};
        shm::Cells<std::uint32_t> narrow{segment.native(), "u32" + suffix, {4, packed}};
        shm::Cells<std::int32_t> sign{segment.native(), "i32" + suffix, {4, packed}};
        shm::Cells<double> real{segment.native(), "f64" + suffix, {4, packed}};
        CHECK_EQ(wide.add(3, -5), std::int64_t{0});
        CHECK_EQ(wide.max(3, -7), std::int64_t{-5});
        CHECK_EQ(wide.min(3, -7), std::int64_t{-5});
        CHECK_EQ(wide.load(3), std::int64_t{-7});
        CHECK_EQ(narrow.add(0, 0xffffffffu), 0u);
        CHECK_EQ(narrow.add(0, 2), 0xffffffffu);
        CHECK_EQ(narrow.load(0), 1u);
        CHECK_EQ(narrow.load(1), 0u);
        CHECK_EQ(sign.min(2, -1), 0);
        CHECK_EQ(sign.max(2, 3), -1);
        CHECK_EQ(sign.exchange(2, -9), 3);
        CHECK_EQ(real.add(1, 0.5), 0.0);
        CHECK_EQ(real.add(1, 0.25), 0.5);
        real.store(0, std::numeric_limits<double>::quiet_NaN());
        (void)real.max(0, -1.0);
        CHECK_EQ(real.load(0), -1.0);
        (void)real.min(0, std::numeric_limits<double>::quiet_NaN());
        CHECK_EQ(real.load(0), -1.0);
        std::int64_t expected = 1;
        CHECK(!wide.compare_exchange(3, expected, 2));
        CHECK_EQ(expected, std::int64_t{-7});
        CHECK(wide.compare_exchange(3, expected, 2));
        CHECK_EQ(wide.ref(3).fetch_or(4), std::int64_t{2});
        CHECK_THROWS(wide.load(4), hf::InvalidArgument);
        CHECK_THROWS(wide.add(4, 1), hf::InvalidArgument);
        CHECK(!wide.wait(0, 0, 1ms));
        std::thread other([&] {
            wide.add(0, 1);
            wide.notify(0);
        });
        CHECK(wide.wait(0, 0, 10s));
        other.join();
        CHECK_EQ(hf_shm_cells_stride(narrow.native()), std::uint64_t{packed ? 4u : 64u});
    }
    CHECK_THROWS((shm::Cells<double>{segment.native(), "i64", {4}}), hf::Mismatch);
    CHECK_THROWS((shm::Cells<std::int64_t>{segment.native(), "i64", {4, true}}), hf::Mismatch);
    CHECK_THROWS((shm::Cells<std::int64_t>{segment.native(), "none", {0}}), hf::InvalidArgument);
}

int main() {
    return hft::run();
}
