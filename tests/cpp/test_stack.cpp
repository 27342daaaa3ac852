// test_stack - stack pools and stacks as objects, and the allocator behind Boost.Context's concept:
// checked against a concept written from its manual, and against Boost itself where it is installed.
#include <concepts>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "check.hpp"
#include <holdfast/fiber.hpp>
#include <holdfast/report.hpp>
#include <holdfast/stack.hpp>

#if __has_include(<boost/context/fiber.hpp>) && defined(HF_TEST_BOOST)
#include <boost/context/fiber.hpp>
#define HAVE_BOOST 1
#endif

template <class A, class Context>
concept StackAllocator = std::copy_constructible<A> && requires(A a, Context &context) {
    typename A::traits_type;
    { A::traits_type::is_unbounded() } -> std::same_as<bool>;
    { A::traits_type::page_size() } -> std::same_as<std::size_t>;
    { A::traits_type::default_size() } -> std::same_as<std::size_t>;
    { A::traits_type::minimum_size() } -> std::same_as<std::size_t>;
    { A::traits_type::maximum_size() } -> std::same_as<std::size_t>;
    { a.allocate() } -> std::same_as<Context>;
    { a.deallocate(context) } -> std::same_as<void>;
};
static_assert(StackAllocator<hf::stack_allocator, hf::StackContext>);
static_assert(sizeof(hf::StackPool) == sizeof(void *) &&
              sizeof(hf::stack_allocator) == sizeof(void *));
static_assert(!std::is_copy_constructible_v<hf::Stack> &&
              !std::is_copy_constructible_v<hf::StackPool>);
static_assert(std::is_nothrow_move_constructible_v<hf::Stack>);

TEST(stack_is_given_back_when_it_goes) {
    hf::StackPool pool{{.stack_size = 32768, .name = "cpp"}};
    CHECK_EQ(std::string(pool.name()), std::string("cpp"));
    {
        hf::Stack stack = pool.take();
        CHECK_EQ(stack.size(), 32768u);
        std::memset(static_cast<char *>(stack.top()) - 5000, 1, 5000);
        CHECK_EQ(stack.high_water(), 8192u);
        CHECK_EQ(pool.stats().blocks_in_use, 1u);
        hf::Stack other = std::move(stack);
        CHECK(other && !stack);
        stack = pool.take();
        stack = std::move(other);
        CHECK_EQ(pool.stats().blocks_in_use, 1u);
        stack.name("mine");
        CHECK(stack.guard_high() == stack.top());
    }
    CHECK_EQ(pool.info().count_taken, 0u);
    CHECK(pool.stats().adds_up());
    CHECK(pool.trim() > 0);
}

TEST(bad_options_and_exhaustion_throw) {
    CHECK_THROWS(hf::StackPool({.stack_size = 100}), hf::InvalidArgument);
    hf::StackPool pool{{.count_max = 2}};
    hf::Stack a = pool.take(), b = pool.take();
    CHECK_THROWS((void)pool.take(), std::bad_alloc);
    a.give();
    hf::Stack c = pool.take();
    CHECK(!a && b && c);
}

TEST(allocator_hands_out_stacks_of_the_pool) {
    hf::StackPool pool;
    auto allocator = pool.allocator();
    hf::stack_allocator copy = allocator;
    hf::StackContext context = allocator.allocate();
    CHECK_EQ(context.size, 65536u);
    std::memset(static_cast<char *>(context.sp) - context.size, 1, context.size);
    hf::StackContext again = context;
    copy.deallocate(context);
    CHECK_EQ(pool.stats().blocks_in_use, 0u);
    int reports = 0;
    auto watch = hf::on_corruption([&](const hf::Report &) { ++reports; });
    copy.deallocate(again); // twice: reported, not followed
    hf::StackContext foreign{.size = 65536, .sp = &reports};
    copy.deallocate(foreign);
    CHECK_EQ(reports, 2);
}

#ifdef HAVE_BOOST
TEST(boost_fibers_run_on_our_stacks) {
    namespace ctx = boost::context;
    using Allocator = hf::BasicStackAllocator<ctx::stack_context>;
    static_assert(StackAllocator<Allocator, ctx::stack_context>);
    hf::StackPool pool;
    int steps = 0;
    {
        std::vector<ctx::fiber> fibers;
        for (int i = 0; i < 50; ++i)
            fibers.emplace_back(std::allocator_arg, Allocator(pool.allocator<ctx::stack_context>()),
                                [&](ctx::fiber &&back) {
                                    for (int k = 0; k < 3; ++k) {
                                        ++steps;
                                        back = std::move(back).resume();
                                    }
                                    return std::move(back);
                                });
        CHECK_EQ(pool.stats().blocks_in_use, 50u);
        for (int k = 0; k < 2; ++k)
            for (auto &fiber : fibers)
                fiber = std::move(fiber).resume();
        CHECK_EQ(steps, 100);
    } // the rest is unwound by Boost
    CHECK_EQ(pool.stats().blocks_in_use, 0u);
}
#else
TEST(boost_is_not_installed) {
    std::puts("  Boost.Context is not installed: the concept alone was checked");
}
#endif

int main() {
    return hft::run();
}
