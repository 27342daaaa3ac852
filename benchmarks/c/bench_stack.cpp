// bench_stack.cpp - a guarded 64 KiB stack taken and given back: ours, Boost.Context's, the bare system's.
//
//   bench_stack [ROUNDS]                        see contest.hpp
//   bench_stack --million [COUNT]               that many guarded stacks at once, one page of each touched
//
// Workloads   warm: one at a time. touch: the same, its top page written. burst: 1000 live, then all back.
//             fresh: 1000 that nobody had before, from an empty pool or from the system, untouched.
#include <cstring>
#include <ctime>
#include <memory>
#include <sys/mman.h>

#include "contest.hpp"
#include <holdfast/stack.hpp>

#if defined(BENCH_BOOST)
#include <boost/context/fixedsize_stack.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#endif

namespace {

constexpr std::size_t stack_size = 65536, page = 4096, many = 1000;

hf_stack_pool_options options() {
    hf_stack_pool_options o;
    hf_stack_pool_options_init(&o);
    o.unregistered = 1;
    return o;
}

struct Holdfast {
    static constexpr const char *name = "holdfast";
    static constexpr bool pooled = true;
    using Stack = hf_stack;
    hf::StackPool pool = hf::StackPool::make(options());
    hf_stack_pool *native = pool.native();
    Stack take() {
        hf_stack stack;
        if (hf_stack_take(native, &stack) != HF_OK) std::abort();
        return stack;
    }
    static void *top(const Stack &stack) { return stack.stack_ptr; }
    void give(Stack &stack) { (void)hf_stack_give(native, &stack); }
};

struct System { // what a program does that has no library
    static constexpr const char *name = "mmap+mprotect";
    static constexpr bool pooled = false;
    using Stack = char *;
    Stack take() {
        void *base = mmap(nullptr, stack_size + page, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED || mprotect(base, page, PROT_NONE) != 0) std::abort();
        return static_cast<char *>(base);
    }
    static void *top(const Stack &stack) { return stack + stack_size + page; }
    void give(Stack &stack) { munmap(stack, stack_size + page); }
};

#if defined(BENCH_BOOST)
template <class Allocator> struct Boost {
    static const char *name;
    static constexpr bool pooled = false;
    using Stack = boost::context::stack_context;
    Allocator allocator{stack_size};
    Stack take() { return allocator.allocate(); }
    static void *top(const Stack &stack) { return stack.sp; }
    void give(Stack &stack) { allocator.deallocate(stack); }
};
using Protected = Boost<boost::context::protected_fixedsize_stack>;
using Fixed = Boost<boost::context::fixedsize_stack>;
using Pooled = Boost<boost::context::pooled_fixedsize_stack>;
template <> const char *Protected::name = "boost protected";
template <> const char *Fixed::name = "boost fixedsize";
template <> const char *Pooled::name = "boost pooled";
#endif

template <class Subject> void warm(const char *workload, bool touch) {
    auto subject = std::make_shared<Subject>();
    contest::add(workload, Subject::name, [subject, touch](std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            auto stack = subject->take();
            if (touch) static_cast<volatile char *>(Subject::top(stack))[-64] = 1;
            asm volatile("" : : "r"(&stack) : "memory");
            subject->give(stack);
        }
    });
}

template <class Subject> void burst() {
    auto subject = std::make_shared<Subject>();
    auto stacks = std::make_shared<std::vector<typename Subject::Stack>>(many);
    contest::add(
        "burst of 1000, each", Subject::name,
        [subject, stacks](std::size_t count) {
            for (std::size_t done = 0; done < count; done += many) {
                for (auto &stack : *stacks)
                    stack = subject->take();
                for (auto &stack : *stacks)
                    subject->give(stack);
            }
        },
        many);
}

template <class Subject> void fresh() {
    auto stacks = std::make_shared<std::vector<typename Subject::Stack>>(many);
    contest::add(
        "1000 fresh, each", Subject::name,
        [stacks](std::size_t count) {
            for (std::size_t done = 0; done < count; done += many) {
                Subject subject; // pools start empty
                for (auto &stack : *stacks)
                    stack = subject.take();
                for (auto &stack : *stacks)
                    subject.give(stack);
            }
        },
        many);
}

// --- a million -------------------------------------------------------------------------------------

std::size_t status_kb(const char *key) {
    std::size_t value = 0;
    char line[256];
    if (std::FILE *file = std::fopen("/proc/self/status", "r")) {
        while (std::fgets(line, sizeof line, file) != nullptr)
            if (std::strncmp(line, key, std::strlen(key)) == 0)
                value = std::strtoul(line + std::strlen(key), nullptr, 10);
        std::fclose(file);
    }
    return value;
}

std::size_t mappings() {
    std::size_t lines = 0;
    if (std::FILE *file = std::fopen("/proc/self/maps", "r")) {
        for (int c; (c = std::fgetc(file)) != EOF;)
            lines += c == '\n';
        std::fclose(file);
    }
    return lines;
}

int million(std::size_t count) {
    using Clock = std::chrono::steady_clock;
    const auto seconds = [](Clock::time_point from) {
        return std::chrono::duration<double>(Clock::now() - from).count();
    };
    hf_stack_pool_options o = options();
    hf_stack_pool *pool = nullptr;
    std::vector<hf_stack> stacks(count);
    o.count_max = static_cast<std::uint32_t>(count);
    const std::size_t maps_before = mappings();
    const std::clock_t cpu_start = std::clock();
    if (hf_stack_pool_create(&o, &pool) != HF_OK) return 1;
    auto start = Clock::now();
    for (auto &stack : stacks)
        if (hf_stack_take(pool, &stack) != HF_OK) return 1;
    const double take_s = seconds(start);
    start = Clock::now();
    for (auto &stack : stacks)
        static_cast<volatile char *>(stack.stack_ptr)[-64] = 1;
    const double touch_s = seconds(start);
    const double cpu_s = double(std::clock() - cpu_start) / CLOCKS_PER_SEC;
    const std::size_t rss = status_kb("VmRSS:"), tables = status_kb("VmPTE:"),
                      maps = mappings() - maps_before;
    // Every guard is there: the kernel faults as we would, and says so.
    int ends[2];
    std::size_t missed = 0;
    if (pipe(ends) != 0) return 1;
    for (std::size_t i = 0; i < count; i += 1 + count / 100000)
        missed += write(ends[1], static_cast<char *>(stacks[i].stack_ptr) - stack_size - 1, 1) >= 0;
    start = Clock::now();
    for (auto &stack : stacks)
        if (hf_stack_give(pool, &stack) != HF_OK) return 1;
    const double give_s = seconds(start);
    start = Clock::now();
    (void)hf_stack_pool_trim(pool);
    const double trim_s = seconds(start);
    if (hf_stack_pool_check(pool) != HF_OK || hf_stack_pool_destroy(pool) != HF_OK) return 1;
    std::printf(
        "{\"count\": %zu, \"take_s\": %.2f, \"touch_s\": %.2f, \"cpu_s\": %.2f, \"rss_mb\": %zu, "
        "\"page_tables_mb\": %zu, \"mappings\": %zu, \"guards_missed\": %zu, "
        "\"give_s\": %.3f, \"trim_s\": %.2f, \"rss_trimmed_mb\": %zu}\n",
        count, take_s, touch_s, cpu_s, rss / 1024, tables / 1024, maps, missed, give_s, trim_s,
        status_kb("VmRSS:") / 1024);
    return missed == 0 ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
    if (argc > 1 && std::string(argv[1]) == "--million")
        return million(argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1000000);
#if defined(BENCH_BOOST)
#define EVERYBODY(what, ...)                                                                       \
    what<Holdfast>(__VA_ARGS__), what<Protected>(__VA_ARGS__), what<Pooled>(__VA_ARGS__),          \
        what<Fixed>(__VA_ARGS__), what<System>(__VA_ARGS__)
#else
#define EVERYBODY(what, ...) what<Holdfast>(__VA_ARGS__), what<System>(__VA_ARGS__)
#endif
    EVERYBODY(warm, "warm", false);
    EVERYBODY(warm, "touch", true);
    EVERYBODY(burst);
    EVERYBODY(fresh);
    return contest::main(argc, argv);
}
