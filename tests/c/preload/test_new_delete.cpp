// test_new_delete.cpp - every form of operator new and delete, and what happens when there is no memory.
// Method: each form by explicit call, allocated and released with its partner; failure with and
// without a new-handler that gives up, that throws, and that makes room.
#include "preload_test.h"

#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t sizes[] = {0, 1, 8, 16, 24, 100, 1000, 5000, 40000, 300000, 3u << 20};
constexpr std::size_t alignments[] = {1, 8, 16, 32, 64, 128, 4096, 65536};
volatile std::size_t impossible = PTRDIFF_MAX;
void *volatile kept; // a result that goes nowhere may take the whole call with it

bool aligned(const void *block, std::size_t alignment) {
    return reinterpret_cast<std::uintptr_t>(block) % alignment == 0;
}

void *use(void *block, std::size_t size) {
    CHECK(block != nullptr);
    memset(block, 0x33, size);
    return block;
}

void test_every_plain_form() {
    for (std::size_t size : sizes) {
        ::operator delete(use(::operator new(size), size));
        ::operator delete(use(::operator new(size), size), size);
        ::operator delete(use(::operator new(size, std::nothrow), size), std::nothrow);
        ::operator delete[](use(::operator new[](size), size));
        ::operator delete[](use(::operator new[](size), size), size);
        ::operator delete[](use(::operator new[](size, std::nothrow), size), std::nothrow);
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    ::operator delete (nullptr, std::size_t{8});
}

void test_every_aligned_form() {
    for (std::size_t raw : alignments) {
        auto alignment = static_cast<std::align_val_t>(raw);
        for (std::size_t size : sizes) {
            void *blocks[] = {
                ::operator new(size, alignment),
                ::operator new(size, alignment),
                ::operator new(size, alignment, std::nothrow),
                ::operator new[](size, alignment),
                ::operator new[](size, alignment),
                ::operator new[](size, alignment, std::nothrow),
            };
            for (void *block : blocks)
                CHECK(aligned(use(block, size), raw));
            ::operator delete(blocks[0], alignment);
            ::operator delete(blocks[1], size, alignment);
            ::operator delete(blocks[2], alignment, std::nothrow);
            ::operator delete[](blocks[3], alignment);
            ::operator delete[](blocks[4], size, alignment);
            ::operator delete[](blocks[5], alignment, std::nothrow);
        }
    }
}

template <class Call> bool throws_bad_alloc(Call call) {
    try {
        call();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

constexpr auto wide = std::align_val_t{64};

void test_failure_throws_bad_alloc() {
    CHECK(throws_bad_alloc([] { kept = ::operator new(impossible); }));
    CHECK(throws_bad_alloc([] { kept = ::operator new[](impossible); }));
    CHECK(throws_bad_alloc([] { kept = ::operator new(impossible, wide); }));
    CHECK(throws_bad_alloc([] { kept = ::operator new[](impossible, wide); }));
    CHECK(::operator new(impossible, std::nothrow) == nullptr);
    CHECK(::operator new[](impossible, std::nothrow) == nullptr);
    CHECK(::operator new(impossible, wide, std::nothrow) == nullptr);
    CHECK(::operator new[](impossible, wide, std::nothrow) == nullptr);
    CHECK(throws_bad_alloc([] { std::vector<char> huge(impossible); }) ||
          !"a vector of half the address space was made");
}

void test_bad_alignment_is_refused() {
    static volatile std::size_t three = 3;
    auto odd = static_cast<std::align_val_t>(three);
    CHECK(throws_bad_alloc([&] { kept = ::operator new(64, odd); }));
    CHECK(::operator new(64, odd, std::nothrow) == nullptr);
}

int handler_calls;

void handler_gives_up_at_third_call() {
    if (++handler_calls == 3) std::set_new_handler(nullptr);
}

void test_new_handler_is_called_until_it_gives_up() {
    void (*attempts[])() = {
        [] { kept = ::operator new(impossible); },
        [] { kept = ::operator new[](impossible); },
        [] { kept = ::operator new(impossible, wide); },
        [] { kept = ::operator new[](impossible, wide); },
    };
    for (auto attempt : attempts) {
        handler_calls = 0;
        std::set_new_handler(handler_gives_up_at_third_call);
        CHECK(throws_bad_alloc(attempt));
        CHECK(handler_calls == 3);
    }
    void *(*quiet_attempts[])() = {
        [] { return ::operator new(impossible, std::nothrow); },
        [] { return ::operator new[](impossible, std::nothrow); },
        [] { return ::operator new(impossible, wide, std::nothrow); },
        [] { return ::operator new[](impossible, wide, std::nothrow); },
    };
    for (auto attempt : quiet_attempts) {
        handler_calls = 0;
        std::set_new_handler(handler_gives_up_at_third_call);
        CHECK(attempt() == nullptr);
        CHECK(handler_calls == 3);
    }
}

void handler_throws() {
    ++handler_calls;
    throw std::bad_alloc();
}

void test_new_handler_may_throw() {
    std::set_new_handler(handler_throws);
    handler_calls = 0;
    CHECK(throws_bad_alloc([] { kept = ::operator new(impossible); }));
    CHECK(::operator new(impossible, std::nothrow) == nullptr);
    CHECK(::operator new[](impossible, std::nothrow) == nullptr);
    CHECK(::operator new(impossible, wide, std::nothrow) == nullptr);
    CHECK(handler_calls >= 4);
    std::set_new_handler(nullptr);
}

// What unwinding through our frames must not break: destructors of the caller run.
void test_destructors_run_when_new_throws() {
    struct Witness {
        bool &seen;
        ~Witness() { seen = true; }
    };
    bool seen = false;
    CHECK(throws_bad_alloc([&] {
        Witness witness{seen};
        kept = ::operator new(impossible);
    }));
    CHECK(seen);
}

struct alignas(128) Wide {
    char bytes[200];
};

// The forms compilers choose by themselves, on several threads at once.
void test_ordinary_code() {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([] {
            for (int i = 0; i < 2000; ++i) {
                auto wide_one = std::make_unique<Wide>();
                CHECK(aligned(wide_one.get(), 128));
                std::unique_ptr<Wide[]> several(new Wide[3]);
                CHECK(aligned(several.get(), 128));
                std::vector<std::string> words(10, "a word that is longer than the small buffer");
                words.resize(30);
                auto shared = std::make_shared<std::string>(words[5]);
                CHECK(shared->size() == words[5].size());
            }
        });
    for (auto &thread : threads)
        thread.join();
}

} // namespace

int main() {
    test_begin(60);
    test_every_plain_form();
    test_every_aligned_form();
    test_failure_throws_bad_alloc();
    test_bad_alignment_is_refused();
    test_new_handler_is_called_until_it_gives_up();
    test_new_handler_may_throw();
    test_destructors_run_when_new_throws();
    test_ordinary_code();
    test_end();
    return 0;
}
