/* options.h - the options inside the library: where they come from and where they stand.
 *
 * Invariants  hfi_options is never NULL: before hfi_options_freeze it shows the defaults.
 * Threads     hfi_options_freeze is called once, before there is a second thread; everything else
 *             from anywhere.
 * Called by   the heap at start; by its JSON. The public part is holdfast/options.h. */
#ifndef HFI_OPTIONS_H
#define HFI_OPTIONS_H

#include <holdfast/options.h>

#include "format.h"

/* The options the process-wide heap runs with. */
extern const hf_options *const hfi_options;

/* Copies them, and sets the policy on corruption. They have passed hf_options_check. */
void hfi_options_freeze(const hf_options *options);

/* Defaults, changed by the HOLDFAST_* variables of `environment` (as environ; may be NULL). Needs
 * neither libc's constructors nor getenv. A bad value, a variable that looks like a slip of the
 * pen and a contradiction cost one line on fd 2 each; the default is used. */
void hfi_options_from_environment(hf_options *options_out, char **environment);

/* {"profile":"checked","limit":0,...}: choices as text, the others as numbers. */
void hfi_write_options(hfi_writer *writer, const hf_options *options);

/* The row of options.def, for the files of this folder. */
typedef enum hfi_option_shape {
    HFI_OPTION_ENUM,
    HFI_OPTION_SIZE,
    HFI_OPTION_NUMBER
} hfi_option_shape;
typedef struct hfi_option {
    const char *name;
    const char *choices;  /* "a|b|c"; NULL for numbers      */
    const char *sentence; /* what it does                   */
    uint64_t value;       /* the default                    */
    uint64_t min;
    uint64_t max;
    hfi_option_shape shape;
    uint32_t offset; /* of the field in hf_options [bytes] */
} hfi_option;

/* By name, in any case, '-' for '_' allowed; NULL if there is none. */
const hfi_option *hfi_option_find(const char *name, size_t length);
/* The option whose name is one or two slips away from `name`; NULL if none is. */
const hfi_option *hfi_option_near(const char *name, size_t length);
uint64_t hfi_option_get(const hf_options *options, const hfi_option *option);
void hfi_option_set(hf_options *options, const hfi_option *option, uint64_t value);
void hfi_option_write(hfi_writer *writer, const hfi_option *option, uint64_t value);

/* The option to change so that the first contradiction goes away, with the sentence; NULL if there
 * is no contradiction. Its default is never part of one. */
const hfi_option *hfi_options_conflict(const hf_options *options, hfi_writer *why);

#endif
