/* poison.h - telling AddressSanitizer and Valgrind which bytes of an arena are blocks.
 *
 *   made, reset, rewound --> hfi_poison_hide      allocated --> hfi_poison_show
 *
 * Contract    a program that runs under either finds a use after reset or rewind where it happens. Without
 *             them hfi_poison_watched is false and nobody calls the rest.
 * Talks to    the runtime of ASan through weak symbols, memcheck through client requests, which are
 *             a few instructions without effect outside of it. Other tools of Valgrind say no.
 * Threads     any. */
#ifndef HFI_POISON_H
#define HFI_POISON_H

#include <stdbool.h>
#include <stddef.h>

bool hfi_poison_watched(void);
/* Nobody may touch these bytes. */
void hfi_poison_hide(const void *address, size_t size);
/* A block: usable, undefined until written. */
void hfi_poison_show(const void *address, size_t size);
/* Usable and defined: zeroed blocks, memory that goes back to its owner. */
void hfi_poison_clear(const void *address, size_t size);

#endif
