/* options.h - what a heap is made with; read once, at start.
 * hf_options_init gives the defaults; hf_options_parse sets one by name from text, as the
 * environment does; hf_options_check refuses combinations that contradict each other. */
#ifndef HOLDFAST_OPTIONS_H
#define HOLDFAST_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hf_profile {
    HF_PROFILE_FAST,
    HF_PROFILE_CHECKED,
    HF_PROFILE_HARDENED,
    HF_PROFILE_DEBUG
} hf_profile;
typedef enum hf_policy { HF_POLICY_REPORT, HF_POLICY_ABORT, HF_POLICY_RAISE } hf_policy;
typedef enum hf_reclaim_mode {
    HF_RECLAIM_SERIAL,
    HF_RECLAIM_BACKGROUND,
    HF_RECLAIM_OFF
} hf_reclaim_mode;
typedef enum hf_fit_order { HF_FIT_FIRST, HF_FIT_NEXT, HF_FIT_BEST } hf_fit_order;
typedef enum hf_sites_mode { HF_SITES_OFF, HF_SITES_SAMPLED, HF_SITES_ALL } hf_sites_mode;
typedef enum hf_huge_mode { HF_HUGE_AUTO, HF_HUGE_NEVER, HF_HUGE_ALWAYS } hf_huge_mode;
typedef enum hf_python_mode { HF_PYTHON_NONE, HF_PYTHON_ARENAS, HF_PYTHON_HEAP } hf_python_mode;

typedef struct hf_options {
    uint32_t struct_size;
#define HF_OPTION_ENUM(name, value, choices, sentence)    uint32_t name;
#define HF_OPTION_SIZE(name, value, min, max, sentence)   uint64_t name;
#define HF_OPTION_NUMBER(name, value, min, max, sentence) uint64_t name;
#include <holdfast/options.def>
#undef HF_OPTION_ENUM
#undef HF_OPTION_SIZE
#undef HF_OPTION_NUMBER
} hf_options;

HF_API void hf_options_init(hf_options *options);
/* HF_E_INVALID leaves *options untouched and writes a sentence to `why` (may be NULL). */
HF_API hf_status hf_options_parse(hf_options *options, const char *name, const char *text,
                                  char *why, size_t why_size);
/* HF_E_CONFLICT with a sentence for combinations that cannot be served. */
HF_API hf_status hf_options_check(const hf_options *options, char *why, size_t why_size);
/* The options the process-wide heap runs with. */
HF_API const hf_options *hf_options_active(void);
/* Number of options, and the name, choices (NULL for numbers) and sentence of one. */
HF_API size_t hf_options_count(void);
HF_API hf_status hf_options_describe(size_t index, const char **name_out, const char **choices_out,
                                     const char **sentence_out);
/* Value of an option by name as text, as hf_options_parse would take it. Returns the length. */
HF_API size_t hf_options_text(const hf_options *options, const char *name, char *buffer,
                              size_t size);

#ifdef __cplusplus
}
#endif
#endif
