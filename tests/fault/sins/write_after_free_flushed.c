// expect: checked,hardened,debug USE_AFTER_FREE offset=0 length=8
// with: 24 100 1000
#include "../sin.h"

/* The block is in its slab again when it is written to. */
SIN(n) {
    char *keep = sin_alloc(n), *p = sin_alloc(n);
    free(p);
    hf_thread_flush();
    memset(sin_opaque(p), 'A', 8);
    free(keep);
}
