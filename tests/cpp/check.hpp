// check.hpp - the smallest test harness that says where and what: one function per test, run by name.
//
//   TEST(free_of_null_does_nothing) { CHECK(...); CHECK_EQ(a, b); CHECK_THROWS(expr, Type); }
//   int main() { return hft::run(); }
//
// A failed check prints and the program goes on, so that one run shows everything that is wrong;
// the exit code is 1 if anything failed. An exception that leaves a test is a failure of that test.
#ifndef HFT_CHECK_HPP
#define HFT_CHECK_HPP

#include <cstdio>
#include <exception>
#include <sstream>
#include <string>
#include <unistd.h>

namespace hft {

struct Test {
    Test(const char *test_name, void (*test_run)()) : name(test_name), run(test_run), next(first) {
        first = this;
    }
    const char *name;
    void (*run)();
    Test *next;
    static inline Test *first = nullptr;
};

inline int checks = 0;
inline int failures = 0;

inline void report(bool ok, const char *file, int line, const std::string &what) {
    ++checks;
    if (ok) return;
    ++failures;
    std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

template <class A, class B>
void equal(const A &a, const B &b, const char *file, int line, const char *text) {
    std::ostringstream what;
    const bool ok = a == b;
    if (!ok) what << text << ": " << a << " is not " << b;
    report(ok, file, line, what.str());
}

// True if `function` throws something that a handler for Type catches.
template <class Type, class Function> bool throws(Function &&function) {
    try {
        function();
    } catch (const Type &) {
        return true;
    } catch (...) {
    }
    return false;
}

inline int run(unsigned seconds = 120) {
    int count = 0;
    alarm(seconds); // a hang becomes a death by SIGALRM
    for (Test *test = Test::first; test != nullptr; test = test->next) {
        ++count;
        try {
            test->run();
        } catch (const std::exception &e) {
            report(false, test->name, 0, std::string("left by an exception: ") + e.what());
        } catch (...) {
            report(false, test->name, 0, "left by an unknown exception");
        }
    }
    std::printf("%d tests, %d checks, %d failures\n", count, checks, failures);
    return count == 0 || checks == 0 || failures != 0;
}

} // namespace hft

#define TEST(name)                                                                                 \
    static void name();                                                                            \
    static hft::Test name##_test(#name, name);                                                     \
    static void name()
#define CHECK(condition) hft::report((condition), __FILE__, __LINE__, #condition)
#define CHECK_EQ(a, b)   hft::equal((a), (b), __FILE__, __LINE__, #a " == " #b)
#define CHECK_THROWS(expression, Type)                                                             \
    hft::report(hft::throws<Type>([&] { (void)(expression); }), __FILE__, __LINE__,                \
                #expression " throws " #Type)

#endif
