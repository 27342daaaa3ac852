// containers.cpp - the C++ containers as programs use them: maps of strings, lists, vectors that
// grow.
// Load        one thread; word counting in unordered_map, an ordered index, a list queue,
//             vectors of vectors, string building; 24-200 bytes mostly, vectors to 1 MiB; new
//             and sized delete.
// Checks      the index holds as many words as the table; totals agree.
#include <algorithm>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bench.h"

static std::string word(bench_rng &rng) {
    std::string text;
    std::size_t length = 4 + bench_below(&rng, 36);
    for (std::size_t i = 0; i < length; i++)
        text.push_back(static_cast<char>('a' + bench_below(&rng, 3)));
    return text;
}

static std::uint64_t count_words(bench_rng &rng) {
    std::unordered_map<std::string, std::vector<std::uint32_t>> places;
    for (std::uint32_t i = 0; i < 20000; i++)
        places[word(rng)].push_back(i);
    std::map<std::string, std::size_t> index;
    std::size_t total = 0;
    for (const auto &[text, where] : places) {
        index.emplace(text + "/" + std::to_string(where.size()), where.size());
        total += where.size();
    }
    if (total != 20000 || index.size() != places.size()) bench_fail("containers: words were lost");
    std::string joined;
    for (const auto &[text, count] : index)
        joined += text.substr(0, 20) + ";";
    return joined.size() + index.size();
}

static std::uint64_t run_queue(bench_rng &rng) {
    std::list<std::unique_ptr<std::string>> queue;
    std::uint64_t sum = 0;
    for (int i = 0; i < 40000; i++) {
        queue.push_back(std::make_unique<std::string>(word(rng)));
        if (queue.size() > 500) {
            sum += queue.front()->size();
            queue.pop_front();
        }
    }
    return sum;
}

static std::uint64_t grow_rows(bench_rng &rng) {
    std::vector<std::vector<double>> rows(400);
    for (int i = 0; i < 100000; i++) {
        auto &row = rows[bench_below(&rng, 400)];
        row.push_back(i);
        if (row.size() > 300) std::vector<double>().swap(row);
    }
    std::vector<double> flat;
    for (const auto &row : rows)
        flat.insert(flat.end(), row.begin(), row.end());
    std::sort(flat.begin(), flat.end());
    return flat.size();
}

int main(int argc, char **argv) {
    bench_start(argc, argv, 1);
    bench_rng rng = bench_seed(700);
    std::uint64_t checksum = 0;
    std::size_t rounds = bench_scaled(18);
    for (std::size_t i = 0; i < rounds; i++)
        checksum = checksum * 31 + count_words(rng) + run_queue(rng) + grow_rows(rng);
    return bench_done("containers", checksum);
}
