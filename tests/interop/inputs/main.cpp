#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

int main() {
    std::map<std::string, std::vector<int>> groups;
    for (int i = 0; i < 5000; ++i) groups[std::to_string(i % 97)].push_back(i);
    long sum = 0;
    for (auto &[name, members] : groups)
        for (int member : members) sum += member * static_cast<long>(name.size());
    auto last = std::make_unique<std::string>(groups.rbegin()->first);
    std::printf("%ld %s\n", sum, last->c_str());
}
