/* python.h - a Python process on this heap: what its interpreter is served with.
 *
 * Both functions live in libholdfast_malloc.so only, hence weak: compare with NULL before the call
 * unless hf_is_active() is true. They answer "null" and 0 in a process without an interpreter. */
#ifndef HOLDFAST_PYTHON_H
#define HOLDFAST_PYTHON_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Mode, parts with the reason where one is off, arenas, pools, call sites, as one JSON object.
 * Returns the wanted length. Any thread. */
HF_API size_t hf_python_json(char *buffer, size_t size) __attribute__((weak));
/* Gives back free memory inside the interpreter's arenas now, whatever its age; the caller holds
 * the GIL. Returns the bytes. What becomes free as whole arenas goes with the next hf_reclaim. */
HF_API uint64_t hf_python_reclaim(void) __attribute__((weak));

#ifdef __cplusplus
}
#endif
#endif
