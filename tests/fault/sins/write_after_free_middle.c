// expect: hardened,debug USE_AFTER_FREE offset=0 length=64 owner=middle size=n
// expect: checked USE_AFTER_FREE offset=0 length=8 owner=middle size=n
// with: 40000 100000 300000
#include "../sin.h"

/* `checked` looks at the first 8 bytes; found when the memory is used or given back, or by the walk at
 * exit. Its neighbours are freed behind it: the blocks melt together, the evidence stays. */
SIN(n) {
    char *before = sin_alloc(n), *p = sin_alloc(n), *behind = sin_alloc(n);
    free(p);
    memset(sin_opaque(p), 'A', 64);
    free(before);
    free(behind);
}
