/* squeeze.h - gives back the pages of one pool in use that hold no live block.
 * Invariants  every live block keeps its contents and place; the pool stays what pymalloc expects.
 * Threads     the interpreter is still (gil.h), or the caller holds its GIL.
 * Fails with  0 bytes: nothing to give, or the pool's live blocks cannot be told. */
#ifndef HFI_SQUEEZE_H
#define HFI_SQUEEZE_H

#include <stddef.h>

#include "pymalloc.h"

/* `pool` was checked by hfi_pymalloc_arena_check and holds at least one live block. */
size_t hfi_pool_squeeze(hfi_pool *pool);

#endif
