// expect: checked,hardened,debug DOUBLE_FREE size=n found_by=free owner=small
// with: 8 24 100 1000 4096
#include "../sin.h"

/* The block went from the thread's cache to its slab. */
SIN(n) {
    char *p = sin_alloc(n), *keep = sin_alloc(n);
    free(p);
    hf_thread_flush();
    free(sin_opaque(p));
    free(keep);
}
