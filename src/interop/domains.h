/* domains.h - CPython's three allocator domains on the heap.
 * Invariants  the functions carry no context and are never taken out: CPython reads the four
 *             pointers one by one, and blocks outlive every moment at which we could leave.
 * Threads     installed once, before Py_Initialize.
 * Fails with  nothing: where the interpreter was asked for other allocators the part stays off. */
#ifndef HFI_DOMAINS_H
#define HFI_DOMAINS_H

#include <stdbool.h>

/* Installs raw, mem and obj; raw and mem only on free-threaded builds. */
void hfi_domains_start(void);
/* True if PYTHONMALLOC asks for malloc: pymalloc is out of use and there are no arenas to serve. */
bool hfi_domains_are_malloc(void);

#endif
