// contest.hpp - contenders in one process: slices take turns, the least time per operation counts.
//
//   contest::add("warm", "holdfast", [](std::size_t count) { ... count operations ... });
//   return contest::main(argc, argv);
//
//   PROGRAM [ROUNDS]                        one line of JSON per workload and contender
//   PROGRAM --count WORKLOAD NAME COUNT     only that, so many operations: for callgrind
// Method      a slice is as many operations as take about 200 us; slices of all contenders of a workload
//             take turns in every round; nothing but other programs makes a slice longer, hence the least.
#ifndef CONTEST_HPP
#define CONTEST_HPP

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace contest {

struct Contender {
    std::string workload, name;
    std::function<void(std::size_t)> run;
    std::size_t unit = 1; // operations that only go together
    std::size_t slice = 0;
    std::vector<double> ns = {};
};

inline std::vector<Contender> all;

inline void add(std::string workload, std::string name, std::function<void(std::size_t)> run,
                std::size_t unit = 1) {
    all.push_back({std::move(workload), std::move(name), std::move(run), unit});
}

inline double time_ns(const Contender &c, std::size_t count) {
    const auto start = std::chrono::steady_clock::now();
    c.run(count);
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    return took.count();
}

inline int main(int argc, char **argv) {
    if (argc == 5 && std::string(argv[1]) == "--count") {
        for (auto &c : all)
            if (c.workload == argv[2] && c.name == argv[3]) {
                c.run(std::strtoul(argv[4], nullptr, 10));
                return 0;
            }
        return 2;
    }
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 100;
    for (auto &c : all) {
        c.run(16 * c.unit);
        c.slice = c.unit;
        while (c.slice < 1u << 24 && time_ns(c, c.slice) < 200000)
            c.slice *= 2;
    }
    for (std::size_t first = 0; first < all.size();) {
        std::size_t last = first;
        while (last < all.size() && all[last].workload == all[first].workload)
            ++last;
        for (int round = 0; round < rounds; ++round)
            for (std::size_t i = first; i < last; ++i)
                all[i].ns.push_back(time_ns(all[i], all[i].slice) / double(all[i].slice));
        first = last;
    }
    for (auto &c : all) {
        std::sort(c.ns.begin(), c.ns.end());
        std::printf("{\"workload\": \"%s\", \"name\": \"%s\", \"ns\": %.3f, \"p10\": %.3f, "
                    "\"median\": %.3f}\n",
                    c.workload.c_str(), c.name.c_str(), c.ns.front(), c.ns[c.ns.size() / 10],
                    c.ns[c.ns.size() / 2]);
    }
    return 0;
}

} // namespace contest

#endif
