/* context.h - the switch, under names that are called directly inside the library.
 * Contract    holdfast/fiber.h.   Called by fiber.   Served by context_<architecture>.c.
 * Threads     stateless. */
#ifndef HFI_OS_CONTEXT_H
#define HFI_OS_CONTEXT_H

#include <holdfast/fiber.h>

__attribute__((visibility("hidden"))) void *hfi_context_switch(hf_context *from,
                                                               const hf_context *to, void *value);
__attribute__((visibility("hidden"))) void *
hfi_context_switch_float(hf_context *from, const hf_context *to, void *value);
/* The same where a status is carried, so that a caller that returns it can jump instead of call. */
__attribute__((visibility("hidden"))) hf_status
hfi_context_go(hf_context *from, const hf_context *to, void *status) __asm__("hfi_context_switch");
__attribute__((visibility("hidden"))) hf_status
hfi_context_go_float(hf_context *from, const hf_context *to,
                     void *status) __asm__("hfi_context_switch_float");

#endif
