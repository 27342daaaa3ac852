// arena_parser - expressions parsed into trees that live in an arena, one scope per line.
//
// Nodes are never freed one by one: a scope rewinds when its line is done. A name that is assigned must outlive
// its line, so it goes to a second arena. Memory per line is bounded by the longest line, not by their number.
#include <cctype>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>

#include <holdfast/arena.hpp>
#include <holdfast/arena_memory.hpp>

namespace {

struct Node {
    char operation; // + - * / or 0 for a number
    double value;
    const Node *left, *right;
};

using Names = std::pmr::unordered_map<std::string_view, double>;

class Parser {
public:
    Parser(std::string_view text, const Names &names, hf::ArenaRef arena)
        : rest_(text), names_(names), arena_(arena) {}

    const Node *parse() {
        const Node *tree = sum();
        skip();
        if (!rest_.empty()) throw std::runtime_error("unexpected: " + std::string(rest_));
        return tree;
    }

private:
    void skip() {
        while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_[0])))
            rest_.remove_prefix(1);
    }
    bool take(char wanted) {
        skip();
        if (rest_.empty() || rest_[0] != wanted) return false;
        rest_.remove_prefix(1);
        return true;
    }
    const Node *node(char operation, const Node *left, const Node *right) {
        return arena_.create<Node>(Node{operation, 0, left, right});
    }
    const Node *sum() {
        const Node *left = product();
        for (;;) {
            if (take('+'))
                left = node('+', left, product());
            else if (take('-'))
                left = node('-', left, product());
            else
                return left;
        }
    }
    const Node *product() {
        const Node *left = atom();
        for (;;) {
            if (take('*'))
                left = node('*', left, atom());
            else if (take('/'))
                left = node('/', left, atom());
            else
                return left;
        }
    }
    const Node *atom() {
        if (take('(')) {
            const Node *inside = sum();
            if (!take(')')) throw std::runtime_error("a bracket is not closed");
            return inside;
        }
        skip();
        std::size_t length = 0;
        while (length < rest_.size() &&
               (std::isalnum(static_cast<unsigned char>(rest_[length])) || rest_[length] == '.'))
            ++length;
        if (length == 0) throw std::runtime_error("a number is missing");
        const std::string_view word = rest_.substr(0, length);
        rest_.remove_prefix(length);
        if (std::isalpha(static_cast<unsigned char>(word[0]))) {
            const auto found = names_.find(word);
            if (found == names_.end()) throw std::runtime_error("unknown: " + std::string(word));
            return arena_.create<Node>(Node{0, found->second, nullptr, nullptr});
        }
        return arena_.create<Node>(Node{0, std::stod(std::string(word)), nullptr, nullptr});
    }

    std::string_view rest_;
    const Names &names_;
    hf::ArenaRef arena_;
};

double value_of(const Node *node) {
    switch (node->operation) {
    case '+': return value_of(node->left) + value_of(node->right);
    case '-': return value_of(node->left) - value_of(node->right);
    case '*': return value_of(node->left) * value_of(node->right);
    case '/': return value_of(node->left) / value_of(node->right);
    default: return node->value;
    }
}

} // namespace

int main() {
    hf::ArenaOptions options;
    options.statistics = 1;
    options.name = "trees";
    hf::Arena trees(options), lasting;
    hf::ArenaResource resource(lasting);
    Names names(&resource);

    const std::string_view lines[] = {"width = 3 * (4 + 5)", "height = width / 2",
                                      "area = width * height", "broken = (1 + 2", "area + missing"};
    for (const std::string_view line : lines) {
        hf::ArenaScope scope(trees); // everything below dies here, also when an exception passes
        try {
            const auto equals = line.find('=');
            const bool assigns = equals != std::string_view::npos;
            Parser parser(assigns ? line.substr(equals + 1) : line, names, trees);
            const double value = value_of(parser.parse());
            std::printf("%.*s  ->  %g, %llu nodes\n", static_cast<int>(line.size()), line.data(),
                        value, static_cast<unsigned long long>(trees.figures().blocks));
            if (assigns) names.emplace(lasting.copy(line.substr(0, line.find(' '))), value);
        } catch (const std::runtime_error &error) {
            std::printf("%.*s  ->  %s\n", static_cast<int>(line.size()), line.data(), error.what());
        }
    }

    std::string long_line = "1";
    for (int i = 0; i < 1000; ++i)
        long_line += " + 2 * 3";
    double sum = 0;
    for (int i = 0; i < 1000; ++i) {
        hf::ArenaScope scope(trees);
        sum += value_of(Parser(long_line, names, trees).parse());
    }
    const hf::AllocationStats figures = trees.figures();
    std::printf("%g from %llu nodes; never more than %llu KiB at once, %llu live now\n", sum,
                static_cast<unsigned long long>(figures.blocks_total),
                static_cast<unsigned long long>(figures.bytes_in_use_peak / 1024),
                static_cast<unsigned long long>(figures.blocks));
    std::printf("damaged places: %zu\n", trees.check() + lasting.check());
    return 0;
}
