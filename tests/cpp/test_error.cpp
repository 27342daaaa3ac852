// test_error - every row of status.def through hf::check: the class, the text, and that each class
// is caught by the standard handler a caller would write.
#include <cstring>
#include <type_traits>

#include "check.hpp"
#include <holdfast/error.hpp>

namespace {

struct Row {
    hf_status status;
    const char *name;
    const char *sentence;
};
const Row rows[] = {
#define HF_STATUS(name, value, python, sentence) {HF_##name, "HF_" #name, sentence},
#include <holdfast/status.def>
#undef HF_STATUS
};

} // namespace

// A base reached twice is ambiguous, and an ambiguous base is not caught.
static_assert(std::is_convertible_v<hf::OutOfMemory *, std::exception *>);
static_assert(std::is_convertible_v<hf::OutOfMemory *, std::bad_alloc *>);
static_assert(std::is_convertible_v<hf::OutOfMemory *, hf::Error *>);
static_assert(std::is_convertible_v<hf::InvalidArgument *, std::invalid_argument *>);
static_assert(std::is_convertible_v<hf::Corruption *, std::exception *>);
static_assert(std::is_nothrow_constructible_v<hf::OutOfMemory, hf_status>);

TEST(check_ok_returns) {
    hf::check(HF_OK);
    CHECK(true);
}

TEST(check_failure_throws_an_error_and_a_standard_exception) {
    for (const Row &row : rows) {
        if (row.status == HF_OK) continue;
        CHECK_THROWS(hf::check(row.status), hf::Error);
        CHECK_THROWS(hf::check(row.status), std::exception);
        try {
            hf::check(row.status);
        } catch (const hf::Error &e) {
            CHECK_EQ(e.status(), row.status);
            CHECK_EQ(std::string(e.what()), std::string(row.sentence));
        }
        try {
            hf::check(row.status);
        } catch (const std::exception &e) {
            CHECK_EQ(std::string(e.what()), std::string(row.sentence));
        }
    }
}

TEST(check_no_memory_throws_bad_alloc) {
    CHECK_THROWS(hf::check(HF_E_NO_MEMORY), std::bad_alloc);
    CHECK_THROWS(hf::check(HF_E_LIMIT), std::bad_alloc);
    CHECK(!hft::throws<std::bad_alloc>([] { hf::check(HF_E_BUSY); }));
}

TEST(check_classes_follow_the_status) {
    CHECK_THROWS(hf::check(HF_E_INVALID), std::invalid_argument);
    CHECK_THROWS(hf::check(HF_E_CONFLICT), hf::InvalidArgument);
    CHECK_THROWS(hf::check(HF_E_CLOSED), hf::InvalidArgument);
    CHECK_THROWS(hf::check(HF_E_UNSUPPORTED), hf::Unsupported);
    CHECK_THROWS(hf::check(HF_E_BUSY), hf::Busy);
    CHECK_THROWS(hf::check(HF_E_CORRUPT), hf::Corruption);
    CHECK_THROWS(hf::check(HF_E_SYSTEM), hf::SystemFailure);
    CHECK_THROWS(hf::check(HF_E_TIMEOUT), hf::Timeout);
    CHECK_THROWS(hf::check(HF_E_CANCELLED), hf::Cancelled);
    CHECK_THROWS(hf::check(HF_E_NOT_FOUND), hf::NotFound);
    CHECK_THROWS(hf::check(HF_E_EXISTS), hf::Exists);
    CHECK_THROWS(hf::check(HF_E_PERMISSION), hf::Permission);
    CHECK_THROWS(hf::check(HF_E_NO_SPACE), std::bad_alloc);
    CHECK_THROWS(hf::check(HF_E_LAYOUT), hf::Mismatch);
    CHECK_THROWS(hf::check(HF_E_MISMATCH), hf::Mismatch);
    CHECK_THROWS(hf::check(HF_E_OWNER_DIED), hf::OwnerDied);
    CHECK_THROWS(hf::check(HF_E_FULL), hf::Full);
    CHECK_THROWS(hf::check(HF_E_EMPTY), hf::Empty);
    CHECK_THROWS(hf::check(HF_E_STALE), hf::Stale);
    CHECK_THROWS(hf::check(static_cast<hf_status>(-77)), hf::SystemFailure);
}

TEST(check_with_a_sentence_says_it) {
    try {
        hf::check(HF_E_INVALID, "limit: 12Q is no size");
        CHECK(false);
    } catch (const hf::InvalidArgument &e) {
        CHECK_EQ(std::string(e.what()), std::string("limit: 12Q is no size"));
    }
}

TEST(status_names_are_those_of_the_table) {
    for (const Row &row : rows)
        CHECK_EQ(std::string(hf_status_name(row.status)), std::string(row.name));
}

int main() {
    return hft::run();
}
