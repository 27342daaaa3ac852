// test_report - handlers as objects: newest first, restored when it goes; reports as values; policy
// `raise` as a C++ exception. The corruption is real: one byte after the end of a block.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "check.hpp"
#include <holdfast/heap.hpp>
#include <holdfast/report.hpp>

namespace {

// Writes `count` bytes past the end of a block of `size` bytes and frees it.
void overflow(hf::Heap &heap, std::size_t size, std::size_t count) {
    auto *block = static_cast<volatile char *>(heap.allocate(size));
    for (std::size_t i = 0; i < count; ++i)
        block[size + i] = 'Z';
    heap.deallocate(const_cast<char *>(block));
}

} // namespace

static_assert(!std::is_copy_constructible_v<hf::CorruptionHandler<void (*)(const hf::Report &)>>);

TEST(handler_is_told_what_was_written) {
    hf::Heap heap{"victim"};
    std::vector<hf::Report> seen;
    auto watch = hf::on_corruption([&](const hf::Report &report) { seen.push_back(report); });
    overflow(heap, 100, 3);
    CHECK_EQ(seen.size(), 1u);
    if (seen.empty()) return;
    const hf::Report &report = seen.front();
    CHECK_EQ(report.kind, HF_REPORT_OVERFLOW);
    CHECK_EQ(report.block_size, 100u);
    CHECK_EQ(report.damage_offset, 100);
    CHECK_EQ(report.damage_length, 3u);
    CHECK_EQ(report.heap_id, heap.id());
    CHECK(report.bytes_count >= 3 && std::memcmp(report.bytes, "ZZZ", 3) == 0);
}

TEST(report_text_and_json_carry_kind_and_anchor) {
    hf::Heap heap;
    std::string text, json;
    auto watch = hf::on_corruption([&](const hf::Report &report) {
        text = report.text();
        json = report.json();
        CHECK_EQ(std::string(report.kind_name()), std::string("OVERFLOW"));
        CHECK_EQ(std::string(report.anchor()), std::string("overflow"));
    });
    overflow(heap, 24, 1);
    CHECK(text.find("overflow") != std::string::npos);
    CHECK(json.size() > 2 && json.front() == '{' && json.back() == '}');
    CHECK(json.find("\"OVERFLOW\"") != std::string::npos);
}

TEST(handlers_nest_and_the_outer_one_comes_back) {
    hf::Heap heap;
    int outer = 0, inner = 0;
    auto first = hf::on_corruption([&](const hf::Report &) { ++outer; });
    {
        auto second = hf::on_corruption([&](const hf::Report &) { ++inner; });
        overflow(heap, 10, 1);
    }
    overflow(heap, 10, 1);
    CHECK_EQ(inner, 1);
    CHECK_EQ(outer, 1);
}

TEST(handlers_may_go_in_any_order) {
    hf::Heap heap;
    int first_calls = 0, second_calls = 0;
    const auto count_first = [&](const hf::Report &) { ++first_calls; };
    const auto count_second = [&](const hf::Report &) { ++second_calls; };
    auto first = std::make_unique<hf::CorruptionHandler<decltype(count_first)>>(count_first);
    auto second = std::make_unique<hf::CorruptionHandler<decltype(count_second)>>(count_second);
    first.reset();
    overflow(heap, 10, 1);
    CHECK_EQ(second_calls, 1);
    second.reset();
    overflow(heap, 10, 1);
    CHECK_EQ(first_calls, 0);
    CHECK_EQ(second_calls, 1);
}

TEST(handler_may_allocate) {
    hf::Heap heap;
    std::string copy;
    auto watch = hf::on_corruption([&](const hf::Report &) {
        copy.assign(10000, 'x');
        heap.deallocate(heap.allocate(500));
    });
    overflow(heap, 10, 2);
    CHECK_EQ(copy.size(), 10000u);
}

TEST(report_count_and_recent_agree) {
    hf::Heap heap{"recent"};
    auto watch = hf::on_corruption([](const hf::Report &) {});
    const std::uint64_t before = hf::report_count();
    overflow(heap, 48, 5);
    CHECK_EQ(hf::report_count(), before + 1);
    const auto recent = hf::recent_reports();
    CHECK(!recent.empty() && recent.size() <= 64);
    if (!recent.empty()) CHECK_EQ(recent.back().block_size, 48u);
}

TEST(heap_goes_on_after_a_report) {
    hf::Heap heap;
    auto watch = hf::on_corruption([](const hf::Report &) {});
    overflow(heap, 64, 1);
    for (int i = 0; i < 5000; ++i) {
        void *block = heap.allocate(64);
        std::memset(block, i, 64);
        heap.deallocate(block, 64);
    }
    CHECK_EQ(heap.stats().reports, 1u);
}

TEST(policy_raise_becomes_an_exception_at_a_safe_point) {
    hf::Heap heap;
    auto watch = hf::on_corruption([](const hf::Report &) {});
    hf::policy(HF_POLICY_RAISE);
    overflow(heap, 32, 4);
    try {
        hf::throw_pending_report();
        CHECK(false);
    } catch (const hf::Corruption &e) {
        const auto *reported = dynamic_cast<const hf::ReportedCorruption *>(&e);
        CHECK(reported != nullptr && reported->report().kind == HF_REPORT_OVERFLOW);
        CHECK_EQ(e.status(), HF_E_CORRUPT);
    }
    hf::throw_pending_report(); // taken once
    hf::policy(HF_POLICY_REPORT);
    overflow(heap, 32, 4);
    CHECK(!hf::take_pending_report().has_value());
}

int main() {
    return hft::run();
}
