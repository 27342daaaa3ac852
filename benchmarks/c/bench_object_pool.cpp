// bench_object_pool - pools of equal blocks side by side in one process.
//
//   bench_object_pool ROUNDS                          one JSON line per pool and workload
//   bench_object_pool --count POOL WORKLOAD CYCLES    that many cycles and nothing else (callgrind)
//
// Workloads, blocks of 64 B, nanoseconds per acquire and release:
//   pair    one out and back          stack   100 out, back in reverse order
//   queue   1,000 out, back in order  random  10,000 out, one at random replaced at a time
//   threads four threads, each as `stack`     handed  out on one thread, back on another
// Slices of all pools take turns; the least and the median slice count. The first word of every block
// is written. Pools that are no pools for threads sit out the last two.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <memory_resource>
#include <string>
#include <thread>
#include <vector>

#include <holdfast/pool.hpp>
#ifdef BENCH_BOOST
#include <boost/pool/object_pool.hpp>
#include <boost/pool/pool.hpp>
#include <boost/pool/singleton_pool.hpp>
#endif

namespace {

constexpr std::size_t size = 64;

struct Subject {
    virtual ~Subject() = default;
    virtual void run(const std::string &workload, unsigned cycles) = 0;
    std::string name;
    bool threads = false;
};

inline void touch(void *block, std::uint64_t value) {
    *static_cast<volatile std::uint64_t *>(block) = value;
}

// One template per pool, so that no call through a pointer stands between loop and pool.
template <class Pool> struct Of final : Subject {
    explicit Of(const char *label, bool for_threads) {
        name = label;
        threads = for_threads;
    }

    void run(const std::string &workload, unsigned cycles) override {
        if (workload == "pair")
            for (unsigned i = 0; i < cycles * 1000; i++)
                one(i);
        else if (workload == "stack")
            for (unsigned i = 0; i < cycles * 10; i++)
                stack(100);
        else if (workload == "queue")
            for (unsigned i = 0; i < cycles; i++)
                queue(1000);
        else if (workload == "random")
            random(cycles * 1000);
        else if (workload == "threads")
            each_of(4, [&] {
                for (unsigned i = 0; i < cycles * 10 / 4; i++)
                    stack(100);
            });
        else
            handed(cycles * 1000);
    }

private:
    void one(unsigned i) {
        void *block = pool.acquire();
        touch(block, i);
        pool.release(block);
    }
    void stack(unsigned count) {
        void *blocks[100];
        for (unsigned i = 0; i < count; i++)
            touch(blocks[i] = pool.acquire(), i);
        while (count > 0)
            pool.release(blocks[--count]);
    }
    void queue(unsigned count) {
        static thread_local void *blocks[1000];
        for (unsigned i = 0; i < count; i++)
            touch(blocks[i] = pool.acquire(), i);
        for (unsigned i = 0; i < count; i++)
            pool.release(blocks[i]);
    }
    void random(unsigned steps) {
        if (held.empty())
            for (int i = 0; i < 10000; i++)
                held.push_back(pool.acquire());
        for (unsigned i = 0; i < steps; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            void *&slot = held[(state >> 33) % held.size()];
            pool.release(slot);
            touch(slot = pool.acquire(), i);
        }
    }
    template <class Body> void each_of(int count, Body body) {
        std::vector<std::thread> all;
        for (int i = 0; i < count; i++)
            all.emplace_back(body);
        for (std::thread &thread : all)
            thread.join();
    }
    void handed(unsigned count) {
        constexpr unsigned room = 256;
        static std::atomic<void *> ring[room];
        std::thread taker([&] {
            for (unsigned i = 0; i < count; i++) {
                void *block;
                while ((block = ring[i % room].exchange(nullptr, std::memory_order_acquire)) ==
                       nullptr)
                    std::this_thread::yield();
                pool.release(block);
            }
        });
        for (unsigned i = 0; i < count; i++) {
            void *block = pool.acquire();
            touch(block, i);
            while (ring[i % room].load(std::memory_order_relaxed) != nullptr)
                std::this_thread::yield();
            ring[i % room].store(block, std::memory_order_release);
        }
        taker.join();
    }

    Pool pool;
    std::vector<void *> held;
    std::uint64_t state = 42;
};

template <hf_pool_sanitize how, bool bounded> struct Holdfast {
    hf::BlockPool pool{make()};
    static hf::PoolOptions make() {
        hf::PoolOptions options{size};
        options.sanitize(how);
        if (bounded) options.capacity(20000);
        return options;
    }
    void *acquire() { return pool.acquire(); }
    void release(void *block) { (void)pool.release(block); }
};
struct Malloc {
    void *acquire() { return std::malloc(size); }
    void release(void *block) { std::free(block); }
};
template <class Resource> struct Pmr {
    Resource resource;
    void *acquire() { return resource.allocate(size, 16); }
    void release(void *block) { resource.deallocate(block, size, 16); }
};
#ifdef BENCH_BOOST
struct BoostPool {
    boost::pool<> pool{size};
    void *acquire() { return pool.malloc(); }
    void release(void *block) { pool.free(block); }
};
struct Tag {};
struct BoostSingleton {
    using Pool = boost::singleton_pool<Tag, size>;
    void *acquire() { return Pool::malloc(); }
    void release(void *block) { Pool::free(block); }
};
#endif

std::vector<std::unique_ptr<Subject>> subjects() {
    std::vector<std::unique_ptr<Subject>> all;
    all.push_back(std::make_unique<Of<Holdfast<HF_POOL_KEEP, false>>>("holdfast", true));
    all.push_back(std::make_unique<Of<Holdfast<HF_POOL_KEEP, true>>>("holdfast-capacity", true));
    all.push_back(std::make_unique<Of<Holdfast<HF_POOL_ZERO, false>>>("holdfast-zero", true));
    all.push_back(std::make_unique<Of<Holdfast<HF_POOL_PATTERN, false>>>("holdfast-pattern", true));
    all.push_back(std::make_unique<Of<Malloc>>("glibc", true));
    all.push_back(
        std::make_unique<Of<Pmr<std::pmr::synchronized_pool_resource>>>("pmr-synchronized", true));
    all.push_back(std::make_unique<Of<Pmr<std::pmr::unsynchronized_pool_resource>>>(
        "pmr-unsynchronized", false));
#ifdef BENCH_BOOST
    all.push_back(std::make_unique<Of<BoostSingleton>>("boost-singleton_pool", true));
    all.push_back(std::make_unique<Of<BoostPool>>("boost-pool", false));
#endif
    return all;
}

constexpr const char *workloads[] = {"pair", "stack", "queue", "random", "threads", "handed"};

bool takes_part(const Subject &subject, const std::string &workload) {
    return subject.threads || (workload != "threads" && workload != "handed");
}

} // namespace

int main(int argc, char **argv) {
    const auto all = subjects();
    if (argc == 5 && std::strcmp(argv[1], "--count") == 0) {
        for (const auto &subject : all)
            if (subject->name == argv[2])
                subject->run(argv[3], static_cast<unsigned>(std::atoi(argv[4])));
        return 0;
    }
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 50;
    for (const char *workload : workloads) {
        constexpr unsigned cycles = 40;
        std::vector<std::vector<double>> slices(all.size());
        for (int round = -1; round < rounds; round++)
            for (std::size_t i = 0; i < all.size(); i++) {
                if (!takes_part(*all[i], workload)) continue;
                const auto start = std::chrono::steady_clock::now();
                all[i]->run(workload, cycles);
                const double ns = std::chrono::duration<double, std::nano>(
                                      std::chrono::steady_clock::now() - start)
                                      .count();
                if (round >= 0) slices[i].push_back(ns / (cycles * 1000));
            }
        for (std::size_t i = 0; i < all.size(); i++) {
            if (slices[i].empty()) continue;
            std::sort(slices[i].begin(), slices[i].end());
            std::printf(
                "{\"pool\": \"%s\", \"workload\": \"%s\", \"ns\": %.3f, \"median\": %.3f}\n",
                all[i]->name.c_str(), workload, slices[i].front(), slices[i][slices[i].size() / 2]);
        }
    }
    return 0;
}
