/* hot.h - fills the dispatch table for a profile. */
#ifndef HFI_HOT_H
#define HFI_HOT_H

#include "dispatch.h"
#include "types.h"

/* Called once, before the first block of the default heap. */
void hfi_hot_start(const hf_heap *heap);
/* The entries of profile hardened: malloc, free and the domains. */
void hfi_hot_hardened_start(struct hfi_dispatch *dispatch);

#endif
