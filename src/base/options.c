/* options.c - the table of options: names, defaults, values from text and back.
 * Invariants  one row per line of options.def, in its order; a value that was parsed is in range.
 * Talks to    format.h.   Called by the heap, the environment, the command line.
 * Threads     everything but hfi_options_freeze is stateless.
 * Fails with  HF_E_INVALID and a sentence that names the option, the text and what to write. */
#include "options.h"

#include <holdfast/heap.h>
#include <stdbool.h>
#include <string.h>

#include "assert.h"

static const hfi_option options_table[] = {
#define HF_OPTION_ENUM(name, value, choices, sentence)                                             \
    {#name, choices, sentence, value, 0, 0, HFI_OPTION_ENUM, offsetof(hf_options, name)},
#define HF_OPTION_SIZE(name, value, min, max, sentence)                                            \
    {#name, NULL, sentence, value, min, max, HFI_OPTION_SIZE, offsetof(hf_options, name)},
#define HF_OPTION_NUMBER(name, value, min, max, sentence)                                          \
    {#name, NULL, sentence, value, min, max, HFI_OPTION_NUMBER, offsetof(hf_options, name)},
#include <holdfast/options.def>
#undef HF_OPTION_ENUM
#undef HF_OPTION_SIZE
#undef HF_OPTION_NUMBER
};

enum { OPTIONS_COUNT = sizeof options_table / sizeof *options_table };

/* A table and not hf_options_init: the heap may ask before anything could have run. */
static hf_options options_frozen = {
    .struct_size = sizeof(hf_options),
#define HF_OPTION_ENUM(name, value, choices, sentence)    .name = (value),
#define HF_OPTION_SIZE(name, value, min, max, sentence)   .name = (value),
#define HF_OPTION_NUMBER(name, value, min, max, sentence) .name = (value),
#include <holdfast/options.def>
#undef HF_OPTION_ENUM
#undef HF_OPTION_SIZE
#undef HF_OPTION_NUMBER
};

const hf_options *const hfi_options = &options_frozen;

void hfi_options_freeze(const hf_options *options) {
    options_frozen = *options;
    (void)hf_policy_set((hf_policy)options->on_corruption);
}

const hf_options *hf_options_active(void) {
    return hfi_options;
}

void hf_options_init(hf_options *options) {
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
    for (size_t i = 0; i < OPTIONS_COUNT; i++)
        hfi_option_set(options, &options_table[i], options_table[i].value);
}

size_t hf_options_count(void) {
    return OPTIONS_COUNT;
}

hf_status hf_options_describe(size_t index, const char **name_out, const char **choices_out,
                              const char **sentence_out) {
    if (index >= OPTIONS_COUNT) return HF_E_INVALID;
    if (name_out != NULL) *name_out = options_table[index].name;
    if (choices_out != NULL) *choices_out = options_table[index].choices;
    if (sentence_out != NULL) *sentence_out = options_table[index].sentence;
    return HF_OK;
}

/* ---- one option ---- */

/* Enums are 32 bits wide, the others 64. */
uint64_t hfi_option_get(const hf_options *options, const hfi_option *option) {
    const char *field = (const char *)options + option->offset;
    if (option->shape == HFI_OPTION_ENUM) {
        uint32_t value;
        memcpy(&value, field, sizeof value);
        return value;
    }
    uint64_t value;
    memcpy(&value, field, sizeof value);
    return value;
}

void hfi_option_set(hf_options *options, const hfi_option *option, uint64_t value) {
    char *field = (char *)options + option->offset;
    uint32_t narrow = (uint32_t)value;
    if (option->shape == HFI_OPTION_ENUM)
        memcpy(field, &narrow, sizeof narrow);
    else
        memcpy(field, &value, sizeof value);
}

static char fold(char c) {
    if (c >= 'A' && c <= 'Z') return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

static bool same_word(const char *a, size_t a_length, const char *b, size_t b_length) {
    if (a_length != b_length) return false;
    for (size_t i = 0; i < a_length; i++)
        if (fold(a[i]) != fold(b[i])) return false;
    return true;
}

/* Letters to insert, delete, replace or swap to make one word of the other (Damerau 1964, optimal
 * string alignment). Words over 31 letters are far from everything. */
static unsigned word_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    enum { WORD_MAX = 31 };
    unsigned rows[3][WORD_MAX + 1];
    if (a_length > WORD_MAX || b_length > WORD_MAX) return WORD_MAX;
    for (size_t j = 0; j <= b_length; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a_length; i++) {
        unsigned *now = rows[i % 3], *above = rows[(i + 2) % 3], *second = rows[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            unsigned best = above[j - 1] + (fold(a[i - 1]) != fold(b[j - 1]));
            if (above[j] + 1 < best) best = above[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                           fold(a[i - 2]) == fold(b[j - 1]);
            if (swapped && second[j - 2] + 1 < best) best = second[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[a_length % 3][b_length];
}

/* Short words are close to each other by nature: one slip there, two in longer ones. */
static bool is_near(const char *text, size_t length, const char *word, size_t word_length) {
    return word_distance(text, length, word, word_length) <= (word_length < 6 ? 1u : 2u);
}

const hfi_option *hfi_option_find(const char *name, size_t length) {
    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        const char *known = options_table[i].name;
        if (same_word(name, length, known, strlen(known))) return &options_table[i];
    }
    return NULL;
}

const hfi_option *hfi_option_near(const char *name, size_t length) {
    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        const char *known = options_table[i].name;
        if (is_near(name, length, known, strlen(known))) return &options_table[i];
    }
    return NULL;
}

/* The word number `index` of "a|b|c", or NULL behind the last. */
static const char *choice_at(const char *choices, uint64_t index, size_t *length_out) {
    for (;;) {
        size_t length = 0;
        while (choices[length] != '\0' && choices[length] != '|')
            length++;
        if (index-- == 0) {
            *length_out = length;
            return choices;
        }
        if (choices[length] == '\0') return NULL;
        choices += length + 1;
    }
}

/* ---- text to value ---- */

static void write_quoted(hfi_writer *why, const char *text, size_t length) {
    enum { QUOTE_MAX = 40 };
    hfi_write_char(why, '\'');
    hfi_write_bytes(why, text, length < QUOTE_MAX ? length : QUOTE_MAX);
    hfi_write_text(why, length < QUOTE_MAX ? "'" : "...'");
}

static void write_choices(hfi_writer *why, const char *choices) {
    size_t length;
    const char *word;
    for (uint64_t i = 0; (word = choice_at(choices, i, &length)) != NULL; i++) {
        if (i > 0) hfi_write_text(why, word[length] == '\0' ? " or " : ", ");
        hfi_write_bytes(why, word, length);
    }
}

static bool parse_choice(const hfi_option *option, const char *text, uint64_t *value_out,
                         hfi_writer *why) {
    size_t length, text_length = strlen(text);
    const char *word;
    for (uint64_t i = 0; (word = choice_at(option->choices, i, &length)) != NULL; i++) {
        if (!same_word(text, text_length, word, length)) continue;
        *value_out = i;
        return true;
    }
    write_quoted(why, text, text_length);
    hfi_write_text(why, " is not a choice; write ");
    write_choices(why, option->choices);
    for (uint64_t i = 0; (word = choice_at(option->choices, i, &length)) != NULL; i++) {
        if (!is_near(text, text_length, word, length)) continue;
        hfi_write_text(why, " (did you mean ");
        hfi_write_bytes(why, word, length);
        hfi_write_text(why, "?)");
        break;
    }
    return false;
}

/* Bits to shift for a suffix K, M, G, T, each also with B or iB, blanks in front; -1 if `text` is none. */
static int suffix_shift(const char *text) {
    static const char letters[] = "kmgt";
    while (*text == ' ')
        text++;
    if (*text == '\0' || same_word(text, strlen(text), "b", 1)) return 0;
    for (int i = 0; letters[i] != '\0'; i++) {
        if (fold(*text) != letters[i]) continue;
        const char *rest = text + 1;
        size_t length = strlen(rest);
        bool known =
            length == 0 || same_word(rest, length, "b", 1) || same_word(rest, length, "ib", 2);
        return known ? 10 * (i + 1) : -1;
    }
    return -1;
}

/* "yes" and the like for options that are 0 or 1. */
static bool parse_switch(const char *text, uint64_t *value_out) {
    static const char *const words[] = {"no", "yes", "off", "on", "false", "true"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (!same_word(text, strlen(text), words[i], strlen(words[i]))) continue;
        *value_out = i & 1;
        return true;
    }
    return false;
}

static void write_range(hfi_writer *why, const hfi_option *option) {
    hfi_option_write(why, option, option->min);
    if (option->max == UINT64_MAX) {
        hfi_write_text(why, " or more");
    } else {
        hfi_write_text(why, " to ");
        hfi_option_write(why, option, option->max);
    }
}

static bool parse_number(const hfi_option *option, const char *text, uint64_t *value_out,
                         hfi_writer *why) {
    bool is_size = option->shape == HFI_OPTION_SIZE;
    if (option->max == 1 && parse_switch(text, value_out)) return true;
    uint64_t value = 0;
    bool fits = true;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        fits = fits && !__builtin_mul_overflow(value, (uint64_t)10, &value);
        fits = fits && !__builtin_add_overflow(value, (uint64_t)(*at - '0'), &value);
    }
    int shift = is_size ? suffix_shift(at) : *at == '\0' ? 0 : -1;
    if (at == text || shift < 0) {
        write_quoted(why, text, strlen(text));
        hfi_write_text(
            why, is_size ? " is not a size; write digits with an optional K, M, G or T, like 512M"
                         : " is not a number; write ");
        if (!is_size) write_range(why, option);
        return false;
    }
    fits = fits && !__builtin_mul_overflow(value, (uint64_t)1 << shift, &value);
    if (!fits || value < option->min || value > option->max) {
        write_quoted(why, text, strlen(text));
        hfi_write_text(why, " is out of range; write ");
        if (!fits && option->max == UINT64_MAX)
            hfi_write_text(why, "less than 16777216T");
        else
            write_range(why, option);
        return false;
    }
    *value_out = value;
    return true;
}

hf_status hf_options_parse(hf_options *options, const char *name, const char *text, char *why,
                           size_t why_size) {
    HF_EXPECT(options != NULL);
    HF_EXPECT(name != NULL);
    HF_EXPECT(text != NULL);
    hfi_writer writer = hfi_writer_make(why, why_size);
    size_t length = strlen(name);
    const hfi_option *option = hfi_option_find(name, length);
    bool good = false;
    if (option == NULL) {
        hfi_write_text(&writer, "there is no option ");
        write_quoted(&writer, name, length);
        const hfi_option *near = hfi_option_near(name, length);
        if (near != NULL) {
            hfi_write_text(&writer, "; did you mean ");
            hfi_write_text(&writer, near->name);
            hfi_write_char(&writer, '?');
        }
    } else {
        hfi_write_text(&writer, option->name);
        hfi_write_text(&writer, ": ");
        uint64_t value = 0;
        good = option->shape == HFI_OPTION_ENUM ? parse_choice(option, text, &value, &writer)
                                                : parse_number(option, text, &value, &writer);
        if (good) hfi_option_set(options, option, value);
    }
    /* The sentence is about failures: a value that was taken leaves an empty one. */
    if (good) writer = hfi_writer_make(why, why_size);
    (void)hfi_writer_finish(&writer);
    return good ? HF_OK : HF_E_INVALID;
}

/* ---- value to text ---- */

void hfi_option_write(hfi_writer *writer, const hfi_option *option, uint64_t value) {
    if (option->shape == HFI_OPTION_ENUM) {
        size_t length = 0;
        const char *word = choice_at(option->choices, value, &length);
        if (word != NULL)
            hfi_write_bytes(writer, word, length);
        else
            hfi_write_u64(writer, value);
        return;
    }
    unsigned unit = 0;
    while (option->shape == HFI_OPTION_SIZE && unit < 4 && value != 0 && value % 1024 == 0) {
        value /= 1024;
        unit++;
    }
    hfi_write_u64(writer, value);
    if (unit > 0) hfi_write_char(writer, "?KMGT"[unit]);
}

size_t hf_options_text(const hf_options *options, const char *name, char *buffer, size_t size) {
    hfi_writer writer = hfi_writer_make(buffer, size);
    const hfi_option *option = hfi_option_find(name, strlen(name));
    if (option != NULL) hfi_option_write(&writer, option, hfi_option_get(options, option));
    return hfi_writer_finish(&writer);
}

void hfi_write_options(hfi_writer *writer, const hf_options *options) {
    hfi_json_open(writer, '{');
    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        const hfi_option *option = &options_table[i];
        uint64_t value = hfi_option_get(options, option);
        hfi_json_key(writer, option->name);
        if (option->shape == HFI_OPTION_ENUM) {
            hfi_write_char(writer, '"');
            hfi_option_write(writer, option, value);
            hfi_write_char(writer, '"');
        } else {
            hfi_json_u64(writer, value);
        }
    }
    hfi_json_close(writer, '}');
}
