/* test_options.c - options from text, from the environment, and combinations that are refused.
 * Method  what goes to fd 2 is caught in a pipe; round trips go over every option of the table. */
#include "base/options.h"

#include "check.h"

static char why[256];

static hf_options defaults(void) {
    hf_options options;
    hf_options_init(&options);
    return options;
}

/* Runs hfi_options_from_environment and returns what it wrote to fd 2. */
static const char *environment(hf_options *options, char **variables) {
    static char text[4096];
    int ends[2], saved = dup(2);
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(dup2(ends[1], 2), 2);
    close(ends[1]);
    hfi_options_from_environment(options, variables);
    CHECK_EQ(dup2(saved, 2), 2); /* closes the last writing end */
    close(saved);
    size_t length = 0;
    ssize_t got;
    while ((got = read(ends[0], text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    close(ends[0]);
    text[length] = '\0';
    return text;
}

static void test_init_gives_the_defaults_and_they_agree(void) {
    hf_options options = defaults();
    CHECK_EQ(options.struct_size, sizeof options);
    CHECK_EQ(options.profile, HF_PROFILE_CHECKED);
    CHECK_EQ(options.decay_ms, 500);
    CHECK_EQ(options.large_cache, 256 << 20);
    strcpy(why, "left over");
    CHECK_EQ(hf_options_check(&options, why, sizeof why), HF_OK);
    CHECK_STR(why, "");
    CHECK_EQ(memcmp(hf_options_active(), &options, sizeof options), 0);
}

static void test_every_option_survives_text_and_back(void) {
    CHECK_GT(hf_options_count(), 15);
    for (size_t i = 0; i < hf_options_count(); i++) {
        const char *name, *choices, *sentence;
        char text[32], again[32];
        CHECK_EQ(hf_options_describe(i, &name, &choices, &sentence), HF_OK);
        CHECK_GT(strlen(sentence), 10);
        const hfi_option *option = hfi_option_find(name, strlen(name));
        CHECK(option != NULL);
        uint64_t last = option->max;
        if (choices != NULL) {
            last = 0;
            for (const char *c = choices; *c != '\0'; c++)
                last += *c == '|';
        }
        uint64_t values[] = {choices != NULL ? 0 : option->min, last, option->value};
        for (size_t v = 0; v < 3; v++) {
            hf_options from = defaults(), to = defaults();
            hfi_option_set(&from, option, values[v]);
            CHECK_EQ(hf_options_text(&from, name, text, sizeof text), strlen(text));
            CHECK_EQ(hf_options_parse(&to, name, text, why, sizeof why), HF_OK);
            CHECK(hfi_option_get(&to, option) == values[v]);
            CHECK_EQ(memcmp(&from, &to, sizeof from), 0); /* and no other field moved */
            (void)hf_options_text(&to, name, again, sizeof again);
            CHECK_STR(again, text);
        }
    }
    CHECK_EQ(hf_options_describe(hf_options_count(), NULL, NULL, NULL), HF_E_INVALID);
}

static void test_sizes_take_suffixes(void) {
    static const struct {
        const char *text;
        uint64_t value;
    } rows[] = {
        {"0", 0},
        {"512", 512},
        {"1K", 1024},
        {"1k", 1024},
        {"64M", 64 << 20},
        {"64MiB", 64 << 20},
        {"64 MiB", 64 << 20},
        {"64mb", 64 << 20},
        {"3G", 3ull << 30},
        {"2T", 2ull << 40},
        {"100B", 100},
        {"16777215T", 16777215ull << 40},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        hf_options options = defaults();
        CHECK_EQ(hf_options_parse(&options, "limit", rows[i].text, why, sizeof why), HF_OK);
        CHECK(options.limit == rows[i].value);
    }
    hf_options options = defaults();
    char text[32];
    options.limit = 64 << 20;
    (void)hf_options_text(&options, "limit", text, sizeof text);
    CHECK_STR(text, "64M");
    CHECK_EQ(hf_options_text(&options, "no_such", text, sizeof text), 0);
    CHECK_STR(text, "");
}

static void test_bad_values_leave_a_sentence_and_the_options_alone(void) {
    static const struct {
        const char *name, *text, *sentence;
    } rows[] = {
        {"profile", "chekced",
         "profile: 'chekced' is not a choice; write fast, checked, hardened or debug (did you mean "
         "checked?)"},
        {"profile", "", "profile: '' is not a choice; write fast, checked, hardened or debug"},
        {"limit", "12Q",
         "limit: '12Q' is not a size; write digits with an optional K, M, G or T, like 512M"},
        {"limit", "-1",
         "limit: '-1' is not a size; write digits with an optional K, M, G or T, like 512M"},
        {"limit", "1.5G",
         "limit: '1.5G' is not a size; write digits with an optional K, M, G or T, like 512M"},
        {"limit", "",
         "limit: '' is not a size; write digits with an optional K, M, G or T, like 512M"},
        {"limit", "99999999999999999999",
         "limit: '99999999999999999999' is out of range; write less than 16777216T"},
        {"limit", "16777216T", "limit: '16777216T' is out of range; write less than 16777216T"},
        {"site_interval", "0", "site_interval: '0' is out of range; write 1 or more"},
        {"nodes", "65", "nodes: '65' is out of range; write 0 to 64"},
        {"nodes", "4K", "nodes: '4K' is not a number; write 0 to 64"},
        {"reclaim_every", "0", "reclaim_every: '0' is out of range; write 1 to 1000000000"},
        {"profil", "fast", "there is no option 'profil'; did you mean profile?"},
        {"quux", "1", "there is no option 'quux'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        hf_options options = defaults(), before = options;
        CHECK_EQ(hf_options_parse(&options, rows[i].name, rows[i].text, why, sizeof why),
                 HF_E_INVALID);
        CHECK_STR(why, rows[i].sentence);
        CHECK_EQ(memcmp(&options, &before, sizeof options), 0);
        CHECK_EQ(hf_options_parse(&options, rows[i].name, rows[i].text, NULL, 0), HF_E_INVALID);
    }
}

static void test_names_and_switches_are_lenient(void) {
    hf_options options = defaults();
    CHECK_EQ(hf_options_parse(&options, "ON-CORRUPTION", "Abort", why, sizeof why), HF_OK);
    CHECK_EQ(options.on_corruption, HF_POLICY_ABORT);
    CHECK_EQ(hf_options_parse(&options, "zero_on_free", "yes", why, sizeof why), HF_OK);
    CHECK_EQ(options.zero_on_free, 1);
    CHECK_EQ(hf_options_parse(&options, "zero_on_free", "off", why, sizeof why), HF_OK);
    CHECK_EQ(options.zero_on_free, 0);
    CHECK_EQ(hf_options_parse(&options, "nodes", "yes", why, sizeof why), HF_E_INVALID);
}

static void test_contradictions_are_refused_with_a_sentence(void) {
    static const struct {
        const char *one, *one_text, *two, *two_text, *sentence;
    } rows[] = {
        {"sites", "all", "profile", "fast",
         "sites=all with profile=fast: fast keeps no trailer, so it cannot remember call sites; "
         "use profile=checked"},
        {"zero_on_free", "1", "profile", "fast",
         "zero_on_free=1 with profile=fast: fast does not touch a block when it is freed; use "
         "profile=checked"},
        {"guard_every", "10", "profile", "hardened",
         "guard_every=10 without profile=debug: only debug puts guard pages around single blocks; "
         "use profile=debug"},
        {"limit_soft", "2G", "limit", "1G",
         "limit_soft=2G is above limit=1G: it would never be reached; make it smaller or raise "
         "limit"},
        {"limit_block", "2G", "limit", "1G",
         "limit_block=2G is above limit=1G: no block can be that large; make it smaller or raise "
         "limit"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        hf_options options = defaults();
        CHECK_EQ(hf_options_parse(&options, rows[i].one, rows[i].one_text, why, sizeof why), HF_OK);
        hf_options alone = options;
        CHECK_EQ(hf_options_parse(&options, rows[i].two, rows[i].two_text, why, sizeof why), HF_OK);
        CHECK_EQ(hf_options_check(&options, why, sizeof why), HF_E_CONFLICT);
        CHECK_STR(why, rows[i].sentence);
        CHECK_EQ(hf_options_check(&options, NULL, 0), HF_E_CONFLICT);
        if (strcmp(rows[i].one, "guard_every") == 0) alone.profile = HF_PROFILE_DEBUG;
        CHECK_EQ(hf_options_check(&alone, why, sizeof why), HF_OK);
    }
    hf_options options = defaults();
    options.limit = options.limit_soft = options.limit_block =
        1 << 30; /* equal is no contradiction */
    CHECK_EQ(hf_options_check(&options, why, sizeof why), HF_OK);
}

static void test_structs_filled_by_hand_are_checked(void) {
    hf_options options = defaults();
    options.struct_size = 12;
    CHECK_EQ(hf_options_check(&options, why, sizeof why), HF_E_INVALID);
    CHECK(strstr(why, "struct_size is 12 ") == why);
    options = defaults();
    options.profile = 17;
    CHECK_EQ(hf_options_check(&options, why, sizeof why), HF_E_INVALID);
    CHECK_STR(why, "profile: '17' is not a choice; write fast, checked, hardened or debug");
    options = defaults();
    options.nodes = 1000;
    CHECK_EQ(hf_options_check(&options, why, sizeof why), HF_E_INVALID);
    CHECK_STR(why, "nodes: '1000' is out of range; write 0 to 64");
}

static void test_environment_is_read(void) {
    hf_options options;
    char *variables[] = {"PATH=/bin",
                         "HOLDFAST_PROFILE=hardened",
                         "HOLDFAST_LIMIT=2G",
                         "HOLDFAST_PROFILE=fast", /* the first counts, as for getenv */
                         "HOLDFAST_REPORT_DIR=/tmp",
                         "HOLDFAST_QUIET=1",
                         "HOLDFAST_NO_CHILDREN=1",
                         "HOLDFAST_",
                         "HOLDFAST_SITES",
                         "HOLDFASTER=1",
                         NULL};
    CHECK_STR(environment(&options, variables), "");
    CHECK_EQ(options.profile, HF_PROFILE_HARDENED);
    CHECK(options.limit == 2ull << 30);
    hf_options expected = defaults();
    expected.profile = HF_PROFILE_HARDENED;
    expected.limit = 2ull << 30;
    CHECK_EQ(memcmp(&options, &expected, sizeof options), 0);
    CHECK_STR(environment(&options, NULL), "");
    expected = defaults();
    CHECK_EQ(memcmp(&options, &expected, sizeof options), 0);
}

static void test_environment_complains_once_and_uses_the_default(void) {
    hf_options options, expected = defaults();
    char *bad[] = {"HOLDFAST_PROFILE=fsat", "HOLDFAST_NODES=9999", NULL};
    CHECK_STR(
        environment(&options, bad),
        "holdfast: HOLDFAST_PROFILE: 'fsat' is not a choice; write fast, checked, hardened or "
        "debug (did you mean fast?); profile=checked is used\n"
        "holdfast: HOLDFAST_NODES: '9999' is out of range; write 0 to 64; nodes=0 is used\n");
    CHECK_EQ(memcmp(&options, &expected, sizeof options), 0);

    char *slip[] = {"HOLDFAST_PROFLE=debug", NULL};
    CHECK_STR(environment(&options, slip),
              "holdfast: HOLDFAST_PROFLE: there is no such option and it is ignored; did you mean "
              "HOLDFAST_PROFILE?\n");
    CHECK_EQ(memcmp(&options, &expected, sizeof options), 0);
}

static void test_environment_gives_up_what_contradicts(void) {
    hf_options options;
    char *variables[] = {"HOLDFAST_PROFILE=fast", "HOLDFAST_SITES=all", "HOLDFAST_LIMIT=1M",
                         "HOLDFAST_LIMIT_SOFT=2M", NULL};
    const char *text = environment(&options, variables);
    CHECK(strstr(text, "holdfast: HOLDFAST_SITES: sites=all with profile=fast: ") == text);
    CHECK(strstr(text, "; sites=sampled is used\nholdfast: HOLDFAST_LIMIT_SOFT: ") != NULL);
    CHECK_EQ(options.profile, HF_PROFILE_FAST);
    CHECK_EQ(options.sites, HF_SITES_SAMPLED);
    CHECK_EQ(options.limit, 1 << 20);
    CHECK_EQ(options.limit_soft, 0);
    CHECK_EQ(hf_options_check(&options, NULL, 0), HF_OK);
}

static void test_freeze_shows_in_active(void) {
    hf_options options = defaults();
    options.profile = HF_PROFILE_DEBUG;
    options.guard_every = 7;
    hfi_options_freeze(&options);
    CHECK_EQ(memcmp(hf_options_active(), &options, sizeof options), 0);
    CHECK_EQ(hfi_options->guard_every, 7);
}

static void test_json_names_every_option(void) {
    char text[2048];
    hf_options options = defaults();
    hfi_writer writer = hfi_writer_make(text, sizeof text);
    hfi_write_options(&writer, &options);
    CHECK_LT(hfi_writer_finish(&writer), sizeof text);
    CHECK(strstr(text, "{\"profile\":\"checked\",\"on_corruption\":\"report\"") == text);
    CHECK(strstr(text, ",\"large_cache\":268435456,") != NULL);
    for (size_t i = 0; i < hf_options_count(); i++) {
        const char *name;
        char key[64];
        CHECK_EQ(hf_options_describe(i, &name, NULL, NULL), HF_OK);
        snprintf(key, sizeof key, "\"%s\":", name);
        CHECK(strstr(text, key) != NULL);
    }
}

int main(void) {
    CHECK_WATCHDOG(30);
    CHECK_RUN(test_init_gives_the_defaults_and_they_agree);
    CHECK_RUN(test_every_option_survives_text_and_back);
    CHECK_RUN(test_sizes_take_suffixes);
    CHECK_RUN(test_bad_values_leave_a_sentence_and_the_options_alone);
    CHECK_RUN(test_names_and_switches_are_lenient);
    CHECK_RUN(test_contradictions_are_refused_with_a_sentence);
    CHECK_RUN(test_structs_filled_by_hand_are_checked);
    CHECK_RUN(test_environment_is_read);
    CHECK_RUN(test_environment_complains_once_and_uses_the_default);
    CHECK_RUN(test_environment_gives_up_what_contradicts);
    CHECK_RUN(test_freeze_shows_in_active);
    CHECK_RUN(test_json_names_every_option);
    return 0;
}
