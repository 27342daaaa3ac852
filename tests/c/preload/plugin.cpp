// plugin.cpp - a module that allocates when it is opened, keeps blocks, and frees them when it closes.
// Opened and closed in a loop by test_dlopen.c; opened with RTLD_LOCAL by a program without C++ too.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <new>
#include <string>

namespace {

struct State {
    std::map<int, std::string> words;
    void *raw = std::malloc(5000);
    int *numbers = new int[1000]();
    State() {
        for (int i = 0; i < 100; ++i)
            words[i] = std::string(static_cast<std::size_t>(i) * 7, 'x');
    }
    ~State() {
        std::free(raw);
        delete[] numbers;
    }
};

State state;
thread_local std::string of_this_thread = std::string(200, 't');
volatile std::size_t impossible = PTRDIFF_MAX;

} // namespace

extern "C" std::size_t plugin_size() {
    return state.words.size() + of_this_thread.size();
}

// 1 if a failing operator new became std::bad_alloc inside this module.
extern "C" int plugin_catches_bad_alloc() {
    try {
        void *volatile kept = ::operator new(impossible);
        ::operator delete(kept);
    } catch (const std::bad_alloc &) {
        return ::operator new(impossible, std::nothrow) == nullptr;
    }
    return 0;
}
