// bench_arena.cpp - arenas side by side in one process: ours, std::pmr, LLVM's, protobuf's, bumpalo, glibc.
//
//   bench_arena [ROUNDS [LIBRARY]]              one line of JSON per workload and arena, slices interleaved
//   bench_arena --count ARENA WORKLOAD CYCLES   only that, so many times: for callgrind
//
// Method      a cycle fills the arena and resets it. A slice is as many cycles as take about half a
//             millisecond; slices of all arenas take turns; the least time counts, since nothing
//             but other programs makes a slice longer. LIBRARY is bumpalo behind a C door (../rust).
// Invariants  every block is written: 8 bytes at its start. "null" is the loop and the store alone.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <memory_resource>
#include <string>
#include <vector>

#include <holdfast/arena.hpp>

#if defined(BENCH_LLVM)
#include <llvm/Support/Allocator.h>
#endif
#if defined(BENCH_PROTOBUF)
#include <google/protobuf/arena.h>
#endif

namespace {

constexpr int cycle_16 = 8192, cycle_mixed = 1000, cycle_big = 1000000, cycle_mark = 1000;
constexpr int cycle_reset = 100;
std::vector<std::uint32_t> mixed, big; // sizes, the same for everybody

inline void touch(void *block) {
    asm volatile("" : : "r"(block) : "memory");
    *static_cast<volatile std::uint64_t *>(block) = 1;
}

// --- the contenders: alloc, alloc64, reset, and marks where there are any ------------------------

struct Null {
    static constexpr const char *name = "null";
    static constexpr bool marks = false;
    alignas(64) char bytes[4096];
    void *alloc(std::size_t) { return bytes; }
    void *alloc64(std::size_t) { return bytes; }
    void reset() {}
};

struct Holdfast {
    static constexpr const char *name = "holdfast";
    static constexpr bool marks = true;
    hf::Arena arena;
    hf_arena *native = arena.native();
    void *alloc(std::size_t size) { return hf_arena_alloc(native, size); }
    void *alloc64(std::size_t size) { return hf_arena_alloc_aligned(native, size, 64); }
    void reset() { (void)hf_arena_reset(native); }
    void scope() {
        hf_mark mark;
        (void)hf_arena_mark(native, &mark);
        touch(hf_arena_alloc(native, 48));
        (void)hf_arena_leave(native, &mark);
    }
};

// Every allocation through the library's door.
struct HoldfastCall : Holdfast {
    static constexpr const char *name = "holdfast-call";
    void *alloc(std::size_t size) { return hf_arena_allocate(native, size, 0); }
    void *alloc64(std::size_t size) { return hf_arena_allocate(native, size, 64); }
};

struct Counted : Holdfast {
    static constexpr const char *name = "holdfast-statistics";
    Counted() {
        hf::ArenaOptions options;
        options.statistics = 1;
        arena = hf::Arena(options);
        native = arena.native();
    }
};

struct Shared : Holdfast {
    static constexpr const char *name = "holdfast-thread-safe";
    Shared() {
        hf::ArenaOptions options;
        options.thread_safe = 1;
        arena = hf::Arena(options);
        native = arena.native();
    }
};

struct Safety : Holdfast {
    static constexpr const char *name = "holdfast-safety";
    Safety() {
        arena = hf::Arena(HF_ARENA_SAFETY);
        native = arena.native();
    }
};

struct Pmr {
    static constexpr const char *name = "pmr";
    static constexpr bool marks = false;
    std::pmr::monotonic_buffer_resource resource;
    void *alloc(std::size_t size) { return resource.allocate(size, 16); }
    void *alloc64(std::size_t size) { return resource.allocate(size, 64); }
    void reset() { resource.release(); }
};

struct PmrBuffer {
    static constexpr const char *name = "pmr-buffer";
    static constexpr bool marks = false;
    std::vector<char> memory = std::vector<char>(8 << 20);
    std::pmr::monotonic_buffer_resource resource{memory.data(), memory.size()};
    void *alloc(std::size_t size) { return resource.allocate(size, 16); }
    void *alloc64(std::size_t size) { return resource.allocate(size, 64); }
    void reset() { resource.release(); }
};

#if defined(BENCH_LLVM)
struct Llvm {
    static constexpr const char *name = "llvm";
    static constexpr bool marks = false;
    llvm::BumpPtrAllocator arena;
    void *alloc(std::size_t size) { return arena.Allocate(size, llvm::Align(16)); }
    void *alloc64(std::size_t size) { return arena.Allocate(size, llvm::Align(64)); }
    void reset() { arena.Reset(); }
};
#endif

#if defined(BENCH_PROTOBUF)
struct Protobuf {
    static constexpr const char *name = "protobuf";
    static constexpr bool marks = false;
    google::protobuf::Arena arena;
    void *alloc(std::size_t size) {
        return google::protobuf::Arena::CreateArray<char>(&arena, (size + 15) & ~15ul);
    }
    void *alloc64(std::size_t size) {
        const auto at = reinterpret_cast<std::uintptr_t>(alloc(size + 63));
        return reinterpret_cast<void *>((at + 63) & ~63ul);
    }
    void reset() { arena.Reset(); }
};
#endif

struct Glibc {
    static constexpr const char *name = "glibc";
    static constexpr bool marks = false;
    std::vector<void *> live = [] {
        std::vector<void *> blocks;
        blocks.reserve(cycle_big);
        return blocks;
    }();
    void *keep(void *block) {
        live.push_back(block);
        return block;
    }
    void *alloc(std::size_t size) { return keep(std::malloc(size)); }
    void *alloc64(std::size_t size) { return keep(std::aligned_alloc(64, (size + 63) & ~63ul)); }
    void reset() {
        for (void *block : live)
            std::free(block);
        live.clear();
    }
};

// --- workloads: one cycle each -------------------------------------------------------------------

template <class A> __attribute__((noinline)) void small(A &arena) {
    for (int i = 0; i < cycle_16; ++i)
        touch(arena.alloc(16));
    arena.reset();
}

template <class A> __attribute__((noinline)) void runtime(A &arena) {
    std::size_t size = 16;
    asm volatile("" : "+r"(size));
    for (int i = 0; i < cycle_16; ++i)
        touch(arena.alloc(size));
    arena.reset();
}

template <class A> __attribute__((noinline)) void aligned(A &arena) {
    for (int i = 0; i < cycle_16; ++i)
        touch(arena.alloc64(64));
    arena.reset();
}

template <class A> __attribute__((noinline)) void mixture(A &arena) {
    for (int i = 0; i < cycle_mixed; ++i)
        touch(arena.alloc(mixed[static_cast<std::size_t>(i)]));
    arena.reset();
}

template <class A> __attribute__((noinline)) void large(A &arena) {
    for (int i = 0; i < cycle_big; ++i)
        touch(arena.alloc(big[static_cast<std::size_t>(i)]));
    arena.reset();
}

template <class A> __attribute__((noinline)) void scopes(A &arena) {
    if constexpr (A::marks)
        for (int i = 0; i < cycle_mark; ++i)
            arena.scope();
}

template <class A> __attribute__((noinline)) void resets(A &arena) {
    for (int i = 0; i < cycle_reset; ++i)
        arena.reset();
}

struct Workload {
    const char *name;
    int per_cycle;
};
constexpr Workload workloads[] = {
    {"16", cycle_16},   {"16-runtime", cycle_16}, {"64-aligned", cycle_16}, {"mixed", cycle_mixed},
    {"big", cycle_big}, {"scope", cycle_mark},    {"reset", cycle_reset}};
constexpr int workload_count = static_cast<int>(std::size(workloads));

struct Contender {
    std::string name;
    void *arena;
    void (*cycle[workload_count])(void *arena);
};
const char *wanted = nullptr; // the only one to build; null: all

template <class A> Contender contender() {
    Contender c{A::name, nullptr, {}};
    if (wanted == nullptr || c.name == wanted) c.arena = new A();
    c.cycle[0] = [](void *a) { small(*static_cast<A *>(a)); };
    c.cycle[1] = [](void *a) { runtime(*static_cast<A *>(a)); };
    c.cycle[2] = [](void *a) { aligned(*static_cast<A *>(a)); };
    c.cycle[3] = [](void *a) { mixture(*static_cast<A *>(a)); };
    c.cycle[4] = [](void *a) { large(*static_cast<A *>(a)); };
    c.cycle[5] = A::marks ? +[](void *a) { scopes(*static_cast<A *>(a)); } : nullptr;
    // Only an arena that keeps its memory has a reset to speak of.
    c.cycle[6] = A::marks ? +[](void *a) { resets(*static_cast<A *>(a)); } : nullptr;
    return c;
}

// bumpalo keeps its own loops: a call per block would not be what a Rust program pays.
std::vector<Contender> foreign(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    if (library == nullptr) {
        std::fprintf(stderr, "bench_arena: %s\n", dlerror());
        return {};
    }
    auto *make =
        reinterpret_cast<void *(*)(const std::uint32_t *, std::size_t, const std::uint32_t *,
                                   std::size_t)>(dlsym(library, "bumpalo_make"));
    const char *const cycles[workload_count] = {"bumpalo_16",    "bumpalo_16_runtime", "bumpalo_64",
                                                "bumpalo_mixed", "bumpalo_big",        nullptr,
                                                nullptr};
    Contender c{"bumpalo", make(mixed.data(), mixed.size(), big.data(), big.size()), {}};
    for (int i = 0; i < workload_count; ++i)
        c.cycle[i] = cycles[i] == nullptr
                         ? nullptr
                         : reinterpret_cast<void (*)(void *)>(dlsym(library, cycles[i]));
    return {c};
}

std::vector<Contender> everybody(const char *library) {
    std::vector<Contender> all = {contender<Null>(),         contender<Holdfast>(),
                                  contender<HoldfastCall>(), contender<Counted>(),
                                  contender<Shared>(),       contender<Safety>(),
                                  contender<Pmr>(),          contender<PmrBuffer>()};
#if defined(BENCH_LLVM)
    all.push_back(contender<Llvm>());
#endif
#if defined(BENCH_PROTOBUF)
    all.push_back(contender<Protobuf>());
#endif
    all.push_back(contender<Glibc>());
    if (library != nullptr)
        for (const Contender &c : foreign(library))
            all.push_back(c);
    return all;
}

double slice(const Contender &c, int workload, int cycles) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < cycles; ++i)
        c.cycle[workload](c.arena);
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
    return took.count() / cycles / workloads[workload].per_cycle;
}

void measure(std::vector<Contender> &all, int workload, int rounds) {
    const bool is_big = std::strcmp(workloads[workload].name, "big") == 0;
    std::vector<std::vector<double>> ns(all.size());
    for (int round = 0; round < (is_big ? std::max(3, rounds / 20) : rounds); ++round)
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (all[i].cycle[workload] == nullptr) continue;
            const int cycles = is_big ? 1 : std::max(1, 200000 / workloads[workload].per_cycle);
            // Between two turns an arena may have given its memory back: that is not the question.
            if (round == 0 || is_big) (void)slice(all[i], workload, 1);
            for (int again = 0; again < (is_big ? 3 : 1); ++again)
                ns[i].push_back(slice(all[i], workload, cycles));
        }
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (ns[i].empty()) continue;
        std::sort(ns[i].begin(), ns[i].end());
        std::printf("{\"workload\": \"%s\", \"arena\": \"%s\", \"ns\": %.4f, \"median\": %.4f}\n",
                    workloads[workload].name, all[i].name.c_str(), ns[i].front(),
                    ns[i][ns[i].size() / 2]);
    }
    std::fflush(stdout);
}

void draw(std::vector<std::uint32_t> &sizes, int count) {
    std::uint64_t state = 88172645463325252u;
    for (int i = 0; i < count; ++i) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        sizes.push_back(static_cast<std::uint32_t>(8 + state % 249));
    }
}

} // namespace

int main(int argc, char **argv) {
    draw(mixed, cycle_mixed);
    draw(big, cycle_big);
    if (argc == 5 && std::strcmp(argv[1], "--count") == 0) {
        wanted = argv[2];
        for (const Contender &c : everybody(std::getenv("BENCH_BUMPALO")))
            for (int w = 0; w < workload_count; ++w)
                if (c.name == argv[2] && std::strcmp(workloads[w].name, argv[3]) == 0 &&
                    c.cycle[w] != nullptr) {
                    (void)slice(c, w, std::atoi(argv[4]));
                    return 0;
                }
        std::fprintf(stderr, "bench_arena: no %s of %s\n", argv[3], argv[2]);
        return 2;
    }
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 200;
    std::vector<Contender> all = everybody(argc > 2 ? argv[2] : nullptr);
    for (int workload = 0; workload < workload_count; ++workload)
        measure(all, workload, rounds);
    return 0;
}
