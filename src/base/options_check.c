/* options_check.c - options that contradict each other, and options from the environment.
 * Invariants  each rule names one option whose default does not break the rule, so that giving up
 *             that option ends the contradiction; the defaults break no rule.
 * Talks to    options.h, and fd 2 for what is wrong in the environment.
 * Fails with  HF_E_CONFLICT for combinations, HF_E_INVALID for values no parser would have made. */
#include <stdbool.h>
#include <string.h>

#include "options.h"
#include "os/os.h"

/* ---- rules ---- */

static const char *rule_sites(const hf_options *o, hfi_writer *why) {
    if (o->sites != HF_SITES_ALL || o->profile != HF_PROFILE_FAST) return NULL;
    hfi_write_text(why, "sites=all with profile=fast: fast keeps no trailer, so it cannot remember "
                        "call sites; use profile=checked");
    return "sites";
}

static const char *rule_zero(const hf_options *o, hfi_writer *why) {
    if (o->zero_on_free == 0 || o->profile != HF_PROFILE_FAST) return NULL;
    hfi_write_text(why, "zero_on_free=1 with profile=fast: fast does not touch a block when it is "
                        "freed; use profile=checked");
    return "zero_on_free";
}

static const char *rule_guard(const hf_options *o, hfi_writer *why) {
    if (o->guard_every == 0 || o->profile == HF_PROFILE_DEBUG) return NULL;
    hfi_write_text(why, "guard_every=");
    hfi_write_u64(why, o->guard_every);
    hfi_write_text(why, " without profile=debug: only debug puts guard pages around single blocks; "
                        "use profile=debug");
    return "guard_every";
}

/* "limit_soft=2G is above limit=1G: <because>" */
static void write_above(hfi_writer *why, const hf_options *o, const char *name,
                        const char *because) {
    char text[32];
    (void)hf_options_text(o, name, text, sizeof text);
    hfi_write_text(why, name);
    hfi_write_char(why, '=');
    hfi_write_text(why, text);
    (void)hf_options_text(o, "limit", text, sizeof text);
    hfi_write_text(why, " is above limit=");
    hfi_write_text(why, text);
    hfi_write_text(why, because);
}

static const char *rule_limit_soft(const hf_options *o, hfi_writer *why) {
    if (o->limit == 0 || o->limit_soft <= o->limit) return NULL;
    write_above(why, o, "limit_soft",
                ": it would never be reached; make it smaller or raise limit");
    return "limit_soft";
}

static const char *rule_limit_block(const hf_options *o, hfi_writer *why) {
    if (o->limit == 0 || o->limit_block <= o->limit) return NULL;
    write_above(why, o, "limit_block",
                ": no block can be that large; make it smaller or raise limit");
    return "limit_block";
}

const hfi_option *hfi_options_conflict(const hf_options *options, hfi_writer *why) {
    static const char *(*const rules[])(const hf_options *, hfi_writer *) = {
        rule_sites, rule_zero, rule_guard, rule_limit_soft, rule_limit_block,
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const char *name = rules[i](options, why);
        if (name != NULL) return hfi_option_find(name, strlen(name));
    }
    return NULL;
}

/* A program may fill hf_options by hand: what it wrote is checked like text. */
static bool values_are_valid(const hf_options *options, hfi_writer *why) {
    if (options->struct_size != sizeof *options) {
        hfi_write_text(why, "struct_size is ");
        hfi_write_u64(why, options->struct_size);
        hfi_write_text(why, " where this library has ");
        hfi_write_u64(why, sizeof *options);
        hfi_write_text(why, "; start with hf_options_init of the library that is loaded");
        return false;
    }
    for (size_t i = 0; i < hf_options_count(); i++) {
        const char *name;
        char text[32], sentence[192];
        hf_options scratch = *options;
        (void)hf_options_describe(i, &name, NULL, NULL);
        (void)hf_options_text(options, name, text, sizeof text);
        if (hf_options_parse(&scratch, name, text, sentence, sizeof sentence) == HF_OK) continue;
        hfi_write_text(why, sentence);
        return false;
    }
    return true;
}

hf_status hf_options_check(const hf_options *options, char *why, size_t why_size) {
    hfi_writer writer = hfi_writer_make(why, why_size);
    hf_status status = HF_OK;
    if (!values_are_valid(options, &writer))
        status = HF_E_INVALID;
    else if (hfi_options_conflict(options, &writer) != NULL)
        status = HF_E_CONFLICT;
    (void)hfi_writer_finish(&writer);
    return status;
}

/* ---- the environment ---- */

static const char env_prefix[] = "HOLDFAST_";
enum { ENV_PREFIX = sizeof env_prefix - 1, LINE_MAX_BYTES = 512 };

static void write_variable(hfi_writer *writer, const char *name, size_t length) {
    enum { SHOWN_MAX = 40 };
    hfi_write_bytes(writer, env_prefix, ENV_PREFIX);
    for (size_t i = 0; i < length && i < SHOWN_MAX; i++)
        hfi_write_char(writer,
                       name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i]);
}

/* "holdfast: HOLDFAST_NAME: sentence; name=default is used\n" in one write; `option` NULL leaves the
 * part about the default out. */
static void env_complain(const char *name, size_t length, const char *sentence,
                         const hfi_option *option) {
    char line[LINE_MAX_BYTES];
    hfi_writer writer = hfi_writer_make(line, sizeof line - 1);
    hfi_write_text(&writer, "holdfast: ");
    write_variable(&writer, name, length);
    hfi_write_text(&writer, ": ");
    hfi_write_text(&writer, sentence);
    if (option != NULL) {
        hfi_write_text(&writer, "; ");
        hfi_write_text(&writer, option->name);
        hfi_write_char(&writer, '=');
        hfi_option_write(&writer, option, option->value);
        hfi_write_text(&writer, " is used");
    }
    (void)hfi_writer_finish(&writer);
    size_t end = (size_t)(writer.at - line);
    line[end++] = '\n'; /* one byte of the array was kept out of the writer for it */
    hfi_os_write(2, line, end);
}

/* A variable that is no option but nearly one would weaken the defence without a word. */
static void env_complain_near(const char *name, size_t length) {
    const hfi_option *near = hfi_option_near(name, length);
    if (near == NULL) return; /* not ours to judge: the front reads other variables */
    char sentence[160];
    hfi_writer writer = hfi_writer_make(sentence, sizeof sentence);
    hfi_write_text(&writer, "there is no such option and it is ignored; did you mean ");
    write_variable(&writer, near->name, strlen(near->name));
    hfi_write_char(&writer, '?');
    (void)hfi_writer_finish(&writer);
    env_complain(name, length, sentence, NULL);
}

/* Parses one variable behind its prefix; `seen` has a bit per option: the first one counts, as it
 * does for getenv. */
static void env_take(hf_options *options, const char *variable, uint64_t *seen) {
    size_t length = 0;
    while (variable[length] != '\0' && variable[length] != '=')
        length++;
    if (variable[length] == '\0') return;
    const char *text = variable + length + 1;
    const hfi_option *option = hfi_option_find(variable, length);
    if (option == NULL) {
        env_complain_near(variable, length);
        return;
    }
    uint64_t bit = (uint64_t)1 << (option->offset / sizeof(uint32_t));
    if ((*seen & bit) != 0) return;
    *seen |= bit;
    char sentence[256];
    if (hf_options_parse(options, option->name, text, sentence, sizeof sentence) == HF_OK) return;
    /* The line begins with the variable, so the option's name in front of the sentence is dropped. */
    env_complain(variable, length, sentence + strlen(option->name) + 2, option);
}

/* Every field starts at a multiple of four below 256, so the bits in env_take are distinct. */
_Static_assert(sizeof(hf_options) <= 64 * sizeof(uint32_t), "one bit per option in env_take");

void hfi_options_from_environment(hf_options *options_out, char **environment) {
    uint64_t seen = 0;
    hf_options_init(options_out);
    for (; environment != NULL && *environment != NULL; environment++)
        if (strncmp(*environment, env_prefix, ENV_PREFIX) == 0)
            env_take(options_out, *environment + ENV_PREFIX, &seen);
    for (;;) {
        char sentence[256];
        hfi_writer writer = hfi_writer_make(sentence, sizeof sentence);
        const hfi_option *option = hfi_options_conflict(options_out, &writer);
        if (option == NULL) break;
        (void)hfi_writer_finish(&writer);
        env_complain(option->name, strlen(option->name), sentence, option);
        hfi_option_set(options_out, option, option->value);
    }
}
