/* cpython.h - CPython served by the heap: what the preload library calls.
 *
 *   constructor --> hfi_python_start --> arenas | domains, frames, trim
 *
 * Invariants  the interpreter is found by dlsym, never linked; without one in the process nothing
 *             here does anything. What was installed is never taken out again: CPython keeps blocks
 *             and function pointers beyond any moment we could choose.
 * Threads     start: once, before Py_Initialize. json and ranges: any thread, also while exiting.
 * Talks to    os, base/format.h, base/hooks.h, the public headers.   Called by src/preload.
 * Fails with  nothing: a part that cannot be served is off and says why in the JSON. */
#ifndef HFI_CPYTHON_H
#define HFI_CPYTHON_H

#include <stddef.h>
#include <stdint.h>

/* Installs what the options ask for. Nothing happens in a process without Python. */
void hfi_python_start(void);
/* Mode, parts and figures as one JSON object, "null" without Python; returns the wanted length. */
size_t hfi_python_json(char *buffer, size_t size);
/* Names every range held for the interpreter: "python arenas", "python stack". */
typedef void (*hfi_python_range)(uintptr_t begin, uintptr_t end, const char *kind, void *context);
void hfi_python_ranges(hfi_python_range visitor, void *context);

#endif
