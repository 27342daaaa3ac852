// test_fiber - fibers and tasks in C++: values out, exceptions out, destructors on cancellation, and
// exceptions that are being handled while others run.
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "check.hpp"
#include <holdfast/fiber.hpp>
#include <holdfast/report.hpp>

static_assert(!std::is_copy_constructible_v<hf::Fiber<int>> &&
              !std::is_copy_constructible_v<hf::Task<>>);
static_assert(std::is_nothrow_move_constructible_v<hf::Fiber<>>);
static_assert(!std::is_base_of_v<std::exception, hf::FiberUnwind>);

namespace {

struct Witness {
    explicit Witness(int *place) : count(place) {}
    Witness(const Witness &) = delete;
    ~Witness() { ++*count; }
    int *count;
};

} // namespace

TEST(fiber_yields_values_until_it_returns) {
    hf::Fiber<int> squares{[](hf::Yield<int> &yield) {
        for (int i = 1; i <= 5; ++i)
            yield(i * i);
    }};
    std::vector<int> seen;
    while (auto value = squares.next())
        seen.push_back(*value);
    CHECK((seen == std::vector<int>{1, 4, 9, 16, 25}));
    CHECK(squares.finished() && !squares);
    CHECK_THROWS(squares.resume(), hf::InvalidArgument);
}

TEST(move_only_values_and_functions_travel) {
    auto start = std::make_unique<std::string>("a");
    hf::Fiber<std::unique_ptr<std::string>> fiber{
        [start = std::move(start)](hf::Yield<std::unique_ptr<std::string>> &yield) mutable {
            yield(std::move(start));
            yield(std::make_unique<std::string>("b"));
        }};
    hf::Fiber<std::unique_ptr<std::string>> moved = std::move(fiber);
    auto first = moved.next();
    CHECK(first && **first == "a");
    CHECK(moved.resume() && *moved.value() == "b");
    CHECK(!moved.resume());
}

TEST(exception_comes_out_of_the_resume) {
    int gone = 0;
    hf::Fiber<> fiber{[&](hf::Yield<> &yield) {
        Witness witness(&gone);
        yield();
        throw std::runtime_error("from the fiber");
    }};
    CHECK(fiber.resume());
    CHECK_EQ(gone, 0);
    try {
        fiber.resume();
        CHECK(false);
    } catch (const std::runtime_error &error) {
        CHECK_EQ(std::string(error.what()), std::string("from the fiber"));
    }
    CHECK_EQ(gone, 1);
    CHECK(fiber.finished());
}

TEST(destroying_a_suspended_fiber_unwinds_it) {
    int gone = 0, finished = 0;
    {
        hf::Fiber<int> fiber{[&](hf::Yield<int> &yield) {
            Witness outer(&gone);
            try {
                Witness inner(&gone);
                for (int i = 0;; ++i)
                    yield(i);
            } catch (const std::exception &) {
                finished = -1; // cancellation is no std::exception
            }
            finished = 1;
        }};
        CHECK(fiber.next() == 0);
        CHECK(fiber.next() == 1);
        CHECK_EQ(gone, 0);
    }
    CHECK_EQ(gone, 2);
    CHECK_EQ(finished, 0);
    {
        hf::Fiber<int> never{[witness = std::make_shared<Witness>(&gone)](hf::Yield<int> &) {}};
        CHECK_EQ(gone, 2);
    }
    CHECK_EQ(gone, 3);
}

TEST(what_an_unwound_fiber_throws_is_dropped_and_freed) {
    int gone = 0, round = 0;
    struct Error : std::runtime_error {
        explicit Error(int *place)
            : std::runtime_error("instead"), witness(std::make_shared<Witness>(place)) {}
        std::shared_ptr<Witness> witness;
    };
    auto body = [&](hf::Yield<> &yield) {
        try {
            yield();
        } catch (const hf::FiberUnwind &) {
            throw Error(&gone);
        }
    };
    {
        hf::Fiber<> dropped(body);
        CHECK(dropped.resume());
    }
    CHECK_EQ(gone, ++round);
    hf::Fiber<> cancelled(body);
    CHECK(cancelled.resume());
    cancelled.cancel();
    CHECK(cancelled.finished());
    CHECK_EQ(gone, ++round);
    hf::Fiber<> empty;
    CHECK(empty.finished() && !empty);
    empty.cancel();
    hf::Fiber<> inside{[&](hf::Yield<> &) { CHECK_THROWS(inside.cancel(), hf::Busy); }};
    CHECK(!inside.resume());
}

TEST(a_function_that_cannot_be_moved_throws_from_the_constructor) {
    struct Stubborn {
        Stubborn() = default;
        Stubborn(const Stubborn &) { throw std::logic_error("no copy"); }
        void operator()(hf::Yield<> &) const {}
    };
    const Stubborn stubborn;
    CHECK_THROWS(hf::Fiber<>(stubborn), std::logic_error);
}

// Each handler is left by another fiber's turn: without care for what is being handled the second
// rethrow would throw the wrong exception.
TEST(yield_inside_a_handler_keeps_exceptions_apart) {
    auto body = [](int number) {
        return [number](hf::Yield<> &yield) {
            try {
                throw number;
            } catch (int) {
                CHECK_EQ(std::uncaught_exceptions(), 0);
                yield();
                try {
                    throw; // the one of this fiber
                } catch (int again) {
                    CHECK_EQ(again, number);
                }
                yield();
            }
            CHECK(std::current_exception() == nullptr);
        };
    };
    std::vector<hf::Fiber<>> fibers;
    for (int i = 0; i < 10; ++i)
        fibers.emplace_back(body(i));
    try {
        throw std::string("outside");
    } catch (const std::string &) {
        for (int round = 0; round < 3; ++round)
            for (auto &fiber : fibers)
                fiber.resume();
        try {
            throw;
        } catch (const std::string &again) {
            CHECK_EQ(again, std::string("outside"));
        }
    }
    for (auto &fiber : fibers)
        CHECK(fiber.finished());
}

TEST(fibers_nest_and_recurse) {
    struct Node {
        int value;
        std::unique_ptr<Node> left, right;
    };
    std::unique_ptr<Node> root;
    for (int value : {50, 20, 70, 10, 30, 60, 80}) {
        std::unique_ptr<Node> *at = &root;
        while (*at)
            at = value < (*at)->value ? &(*at)->left : &(*at)->right;
        *at = std::make_unique<Node>(Node{value, nullptr, nullptr});
    }
    auto walk = [&](auto &&self, Node *node, hf::Yield<int> &yield) -> void {
        if (node == nullptr) return;
        self(self, node->left.get(), yield);
        yield(node->value);
        self(self, node->right.get(), yield);
    };
    hf::Fiber<int> in_order{[&](hf::Yield<int> &yield) { walk(walk, root.get(), yield); }};
    hf::Fiber<int> doubled{[&](hf::Yield<int> &yield) {
        while (auto value = in_order.next())
            yield(2 * *value);
    }};
    std::vector<int> seen;
    while (auto value = doubled.next())
        seen.push_back(*value);
    CHECK((seen == std::vector<int>{20, 40, 60, 100, 120, 140, 160}));
}

TEST(pool_name_and_options_are_taken) {
    hf::StackPool pool{{.stack_size = 128 << 10}};
    hf::Fiber<> fiber{pool, [](hf::Yield<> &yield) { yield(); }, "named"};
    CHECK_EQ(pool.stats().blocks_in_use, 1u);
    CHECK_EQ(hf_fiber_stack(fiber.native())->size, std::size_t{128} << 10);
    fiber = hf::Fiber<>{};
    CHECK_EQ(pool.stats().blocks_in_use, 0u);
    CHECK_THROWS(fiber.resume(), hf::InvalidArgument);
}

TEST(tasks_return_throw_and_wait_for_each_other) {
    hf::Scheduler scheduler;
    std::vector<int> order;
    auto worker = [&](int number) {
        return [&order, number] {
            order.push_back(number);
            hf::this_task::yield();
            order.push_back(number + 10);
            return number;
        };
    };
    auto sum = scheduler.spawn([&] {
        std::vector<hf::Task<int>> children;
        for (int i = 1; i <= 3; ++i)
            children.push_back(scheduler.spawn(worker(i)));
        int total = 0;
        for (auto &child : children)
            total += child.join();
        return std::to_string(total);
    });
    auto failing = scheduler.spawn([]() -> int { throw std::out_of_range("task"); });
    CHECK(scheduler.run());
    CHECK_EQ(sum.join(), std::string("6"));
    CHECK_THROWS(sum.join(), hf::InvalidArgument);
    CHECK_THROWS(failing.join(), std::out_of_range);
    CHECK((order == std::vector<int>{1, 2, 3, 11, 12, 13}));
}

TEST(destroying_a_scheduler_unwinds_its_tasks) {
    int gone = 0;
    hf::Task<> outlives;
    {
        hf::Scheduler scheduler;
        outlives = scheduler.spawn([&] {
            Witness witness(&gone);
            hf::this_task::park();
        });
        scheduler.spawn([&] { // detached at once
            Witness witness(&gone);
            for (;;)
                hf::this_task::park();
        });
        CHECK(!scheduler.run());
        CHECK_EQ(gone, 0);
        scheduler.spawn([witness = std::make_shared<Witness>(&gone)] {}); // never starts
    }
    CHECK_EQ(gone, 3);
    CHECK(outlives.finished());
    CHECK_THROWS(outlives.join(), hf::InvalidArgument);
    CHECK_THROWS(hf::this_task::yield(), hf::InvalidArgument);
}

TEST(scheduler_goes_before_tasks_that_hold_handles_of_others) {
    int reports = 0, gone = 0;
    auto watch = hf::on_corruption([&](const hf::Report &) { ++reports; });
    hf::Task<> outlives;
    {
        hf::Scheduler scheduler;
        auto held = scheduler.spawn([&] {
            Witness witness(&gone);
            hf::this_task::park();
        });
        outlives = scheduler.spawn([] { hf::this_task::park(); });
        CHECK(!scheduler.run());
        scheduler.spawn([held = std::move(held)] {}); // neither starts
        scheduler.spawn([held = scheduler.spawn([w = std::make_shared<Witness>(&gone)] {})] {});
    }
    CHECK_EQ(gone, 2);
    CHECK_EQ(reports, 0);
    outlives.unpark();
    hf::Task<>{}.unpark();
}

TEST(parked_task_goes_on_after_unpark) {
    hf::Scheduler scheduler;
    int step = 0;
    auto task = scheduler.spawn([&] {
        step = 1;
        hf::this_task::park();
        step = 2;
    });
    CHECK(!scheduler.run());
    CHECK_EQ(step, 1);
    task.unpark();
    CHECK(scheduler.run());
    CHECK_EQ(step, 2);
    task.join();
}

int main() {
    return hft::run();
}
