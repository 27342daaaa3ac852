// Standard containers on a heap of their own: what they hold can be counted, limited and checked.
#include <holdfast/holdfast.hpp>

#include <iostream>
#include <memory_resource>
#include <string>
#include <unordered_map>
#include <vector>

struct Document {
    explicit Document(std::pmr::memory_resource *resource) : words(resource) {}
    std::pmr::unordered_map<std::pmr::string, int> words;
};

int main() {
    hf::Heap heap{hf::Options{}.limit(32 << 20), "documents"};
    hf::MemoryResource resource{heap};
    auto watch = hf::on_corruption([](const hf::Report &report) { std::cerr << report.text(); });

    {
        auto document = heap.make_unique<Document>(&resource); // one pointer wide, freed by scope
        for (int i = 0; i < 20000; ++i)
            ++document->words[std::pmr::string("a word with the number " + std::to_string(i % 5000),
                                               &resource)];
        const hf::Stats stats = heap.stats();
        std::cout << document->words.size() << " words in " << stats.blocks_in_use << " blocks, "
                  << stats.bytes_in_use / 1024 << " KiB in use, account adds up: " << std::boolalpha
                  << stats.adds_up() << '\n';

        std::size_t largest = 0;
        for (const hf::Block &block : hf::blocks(heap))
            if (block.state == HF_BLOCK_LIVE && block.size > largest) largest = block.size;
        std::cout << "largest block: " << largest << " bytes (the table of buckets)\n";
    }

    try {
        std::pmr::vector<char> too_much{64 << 20, &resource};
    } catch (const std::bad_alloc &e) {
        std::cout << "64 MiB: " << e.what() << '\n';
    }

    std::cout << heap.stats().blocks_in_use << " blocks left, " << heap.check() << " damaged\n";
    return heap.stats().blocks_in_use == 0 ? 0 : 1;
}
