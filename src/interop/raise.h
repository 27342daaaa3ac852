/* raise.h - policy `raise` for Python programs that do not import holdfast. */
#ifndef HFI_RAISE_H
#define HFI_RAISE_H

#include <stdbool.h>

/* Finds what it needs of the interpreter; false if something is missing. Before Py_Initialize. */
bool hfi_raise_start(void *(*symbol)(const char *name));
/* A report was made: where the policy says so, the interpreter raises it at its next safe point. */
void hfi_raise_ask(void);

#endif
