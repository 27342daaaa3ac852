// bench_switch.cpp - one switch between two stacks, and a fiber from its start to its end.
//
//   bench_switch [ROUNDS]                       see contest.hpp
//
// Workloads   switch: half a round trip. fiber: half of resume and yield. spawn: create, run, finish,
//             destroy. turn: one turn of 1000 fibers, and of 20000 tasks, that all yield.
// Contenders  that save the same registers: "+fp" also saves the FP control words, as fcontext and
//             boost::context::fiber do; swapcontext saves the signal mask by two system calls as well.
#include <memory>
#include <ucontext.h>

#include "contest.hpp"
#include <holdfast/fiber.hpp>

#if defined(BENCH_BOOST)
#include <boost/context/detail/fcontext.hpp>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#endif

namespace {

hf_stack_pool *pool() {
    static hf_stack_pool *made = [] {
        hf_stack_pool_options o;
        hf_stack_pool *p = nullptr;
        hf_stack_pool_options_init(&o);
        o.unregistered = 1;
        if (hf_stack_pool_create(&o, &p) != HF_OK) std::abort();
        return p;
    }();
    return made;
}

// --- switch ----------------------------------------------------------------------------------------

using Switch = void *(*)(hf_context *, const hf_context *, void *);
template <Switch turn> struct Raw {
    static inline hf_context here, there;
    static void entry(void *, void *value) {
        for (;;)
            value = turn(&there, &here, value);
    }
    static void run(std::size_t count) {
        for (std::size_t i = 0; i < count; i += 2)
            (void)turn(&here, &there, nullptr);
    }
    static void add(const char *name, int float_control) {
        hf_stack stack;
        if (hf_stack_take(pool(), &stack) != HF_OK) std::abort();
        hf_context_make(&there, stack.stack_ptr, entry, nullptr, float_control);
        contest::add("switch", name, run);
    }
};

[[gnu::noinline]] void *plain_call(void *value) {
    asm volatile("" : "+r"(value) : : "memory");
    return value;
}

ucontext_t system_here, system_there;
char system_stack[65536];
void system_entry() {
    for (;;)
        swapcontext(&system_there, &system_here);
}

void add_switches() {
    Raw<hf_context_switch>::add("holdfast", 0);
    Raw<hf_context_switch_float>::add("holdfast +fp", 1);
#if defined(BENCH_BOOST)
    namespace raw = boost::context::detail;
    static raw::fcontext_t there;
    static char stack[65536];
    there = raw::make_fcontext(stack + sizeof stack, sizeof stack, [](raw::transfer_t t) {
        for (;;)
            t = raw::jump_fcontext(t.fctx, nullptr);
    });
    contest::add("switch", "boost jump_fcontext", [](std::size_t count) {
        for (std::size_t i = 0; i < count; i += 2)
            there = raw::jump_fcontext(there, nullptr).fctx;
    });
#endif
    getcontext(&system_there);
    system_there.uc_stack.ss_sp = system_stack;
    system_there.uc_stack.ss_size = sizeof system_stack;
    makecontext(&system_there, system_entry, 0);
    contest::add("switch", "swapcontext", [](std::size_t count) {
        for (std::size_t i = 0; i < count; i += 2)
            swapcontext(&system_here, &system_there);
    });
    contest::add("switch", "call of a function", [](std::size_t count) {
        for (std::size_t i = 0; i < count; ++i)
            (void)plain_call(nullptr);
    });
}

// --- fiber -----------------------------------------------------------------------------------------

void *yields_for_ever(hf_fiber *self, void *) {
    while (hf_fiber_yield(self, nullptr, nullptr) == HF_OK)
        ;
    return nullptr;
}

void add_fibers() {
    for (unsigned flags = 0; flags <= HF_FIBER_FLOAT_CONTROL; ++flags) {
        hf_fiber *fiber = nullptr;
        if (hf_fiber_create(pool(), yields_for_ever, nullptr, nullptr, flags, &fiber) != HF_OK)
            std::abort();
        contest::add("fiber", flags == 0 ? "holdfast" : "holdfast +fp", [fiber](std::size_t count) {
            for (std::size_t i = 0; i < count; i += 2)
                (void)hf_fiber_resume(fiber, nullptr, nullptr);
        });
    }
    auto object = std::make_shared<hf::Fiber<>>(
        [](hf::Yield<> &yield) {
            for (;;)
                yield();
        },
        hf::FiberOptions{.pool = pool()});
    contest::add("fiber", "hf::Fiber", [object](std::size_t count) {
        for (std::size_t i = 0; i < count; i += 2)
            object->resume();
    });
#if defined(BENCH_BOOST)
    namespace ctx = boost::context;
    auto boost = std::make_shared<ctx::fiber>([](ctx::fiber &&back) {
        for (;;)
            back = std::move(back).resume();
        return std::move(back);
    });
    contest::add("fiber", "boost::context::fiber", [boost](std::size_t count) {
        for (std::size_t i = 0; i < count; i += 2)
            *boost = std::move(*boost).resume();
    });
#endif
}

// --- spawn -----------------------------------------------------------------------------------------

void *ends_at_once(hf_fiber *, void *argument) {
    return argument;
}

void add_spawns() {
    contest::add("spawn", "holdfast", [](std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            hf_fiber *fiber;
            if (hf_fiber_create(pool(), ends_at_once, nullptr, nullptr, 0, &fiber) != HF_OK)
                std::abort();
            (void)hf_fiber_resume(fiber, nullptr, nullptr);
            (void)hf_fiber_destroy(fiber);
        }
    });
#if defined(BENCH_BOOST)
    namespace ctx = boost::context;
    const auto run = [](auto &&allocator, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i)
            (void)ctx::fiber(std::allocator_arg, allocator, [](ctx::fiber &&back) {
                return std::move(back);
            }).resume();
    };
    contest::add("spawn", "boost pooled, no guard", [run](std::size_t count) {
        static ctx::pooled_fixedsize_stack stacks(65536);
        run(stacks, count);
    });
    contest::add("spawn", "boost protected", [run](std::size_t count) {
        static ctx::protected_fixedsize_stack stacks(65536);
        run(stacks, count);
    });
#endif
}

// --- turns -----------------------------------------------------------------------------------------

void *task_yields(void *) {
    while (hf_task_yield() == HF_OK)
        ;
    return nullptr;
}

void add_turns() {
    static std::vector<hf_fiber *> fibers(1000);
    for (auto &fiber : fibers)
        if (hf_fiber_create(pool(), yields_for_ever, nullptr, nullptr, 0, &fiber) != HF_OK)
            std::abort();
    contest::add("turn of 1000, each switch", "holdfast", [](std::size_t count) {
        for (std::size_t done = 0; done < count; done += 2 * fibers.size())
            for (hf_fiber *fiber : fibers)
                (void)hf_fiber_resume(fiber, nullptr, nullptr);
    });
#if defined(BENCH_BOOST)
    namespace ctx = boost::context;
    static std::vector<ctx::fiber> peers;
    for (int i = 0; i < 1000; ++i)
        peers.emplace_back(std::allocator_arg, ctx::protected_fixedsize_stack(65536),
                           [](ctx::fiber &&back) {
                               for (;;)
                                   back = std::move(back).resume();
                               return std::move(back);
                           });
    contest::add("turn of 1000, each switch", "boost::context::fiber", [](std::size_t count) {
        for (std::size_t done = 0; done < count; done += 2 * peers.size())
            for (auto &peer : peers)
                peer = std::move(peer).resume();
    });
#endif
    static hf_scheduler *tasks = nullptr;
    if (hf_scheduler_create(pool(), &tasks) != HF_OK) std::abort();
    for (int i = 0; i < 20000; ++i)
        if (hf_scheduler_spawn(tasks, task_yields, nullptr, nullptr, nullptr) != HF_OK)
            std::abort();
    contest::add("turn of 20000 tasks", "holdfast",
                 [](std::size_t count) { (void)hf_scheduler_run_some(tasks, count); });
}

} // namespace

int main(int argc, char **argv) {
    add_switches();
    add_fibers();
    add_spawns();
    add_turns();
    const int result = contest::main(argc, argv);
    std::fflush(stdout);
    std::_Exit(result); // most of them never end
}
