// test_options - the builder against the table: every row set, read back and written as text.
#include <string>
#include <utility>

#include "check.hpp"
#include <holdfast/options.hpp>

TEST(defaults_are_those_of_the_table) {
    const hf::Options options;
#define HF_OPTION_ENUM(name, value, choices, sentence)                                             \
    CHECK_EQ(options.name(), static_cast<std::uint32_t>(value));
#define HF_OPTION_SIZE(name, value, min, max, sentence)                                            \
    CHECK_EQ(options.name(), static_cast<std::uint64_t>(value));
#define HF_OPTION_NUMBER(name, value, min, max, sentence)                                          \
    CHECK_EQ(options.name(), static_cast<std::uint64_t>(value));
#include <holdfast/options.def>
#undef HF_OPTION_ENUM
#undef HF_OPTION_SIZE
#undef HF_OPTION_NUMBER
}

TEST(setters_chain_and_getters_answer) {
    const auto options =
        hf::Options{}.profile(HF_PROFILE_HARDENED).limit(1 << 30).decay_ms(0).fit(HF_FIT_BEST);
    CHECK_EQ(options.profile(), static_cast<std::uint32_t>(HF_PROFILE_HARDENED));
    CHECK_EQ(options.limit(), 1u << 30);
    CHECK_EQ(options.decay_ms(), 0u);
    CHECK_EQ(options.fit(), static_cast<std::uint32_t>(HF_FIT_BEST));
}

TEST(text_of_every_option_is_taken_back) {
    const auto source =
        hf::Options{}.profile(HF_PROFILE_DEBUG).limit(123456789).sites(HF_SITES_ALL);
    hf::Options copy;
#define HF_OPTION_ENUM(name, value, choices, sentence)    copy.set(#name, source.text(#name));
#define HF_OPTION_SIZE(name, value, min, max, sentence)   copy.set(#name, source.text(#name));
#define HF_OPTION_NUMBER(name, value, min, max, sentence) copy.set(#name, source.text(#name));
#include <holdfast/options.def>
#undef HF_OPTION_ENUM
#undef HF_OPTION_SIZE
#undef HF_OPTION_NUMBER
    CHECK_EQ(copy.profile(), source.profile());
    CHECK_EQ(copy.limit(), source.limit());
    CHECK_EQ(copy.sites(), source.sites());
    CHECK_EQ(copy.decay_ms(), source.decay_ms());
}

TEST(set_takes_suffixes_and_choices) {
    hf::Options options;
    options.set("limit", "64M").set("profile", "fast").set("reclaim", "serial");
    CHECK_EQ(options.limit(), 64u << 20);
    CHECK_EQ(options.profile(), static_cast<std::uint32_t>(HF_PROFILE_FAST));
    CHECK_EQ(options.reclaim(), static_cast<std::uint32_t>(HF_RECLAIM_SERIAL));
}

TEST(set_refuses_with_a_sentence_and_leaves_the_value) {
    const std::pair<const char *, const char *> refused[] = {
        {"limit", "twelve"}, {"profile", "safest"}, {"decay_ms", "-1"}, {"no_such_option", "1"}};
    for (const auto &[name, text] : refused) {
        hf::Options options;
        CHECK_THROWS(options.set(name, text), hf::InvalidArgument);
        try {
            options.set(name, text);
        } catch (const hf::InvalidArgument &e) {
            CHECK(std::string(e.what()).find(name) != std::string::npos);
        }
        CHECK_EQ(options.limit(), 0u);
        CHECK_EQ(options.profile(), static_cast<std::uint32_t>(HF_PROFILE_CHECKED));
    }
}

TEST(check_accepts_the_defaults_and_what_the_process_runs_with) {
    hf::Options{}.check();
    hf::Options::active().check();
    CHECK(true);
}

TEST(check_refuses_a_value_outside_its_range) {
    CHECK_THROWS(hf::Options{}.profile(99).check(), hf::InvalidArgument);
}

int main() {
    return hft::run();
}
