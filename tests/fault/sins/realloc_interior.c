// expect: checked,hardened,debug INTERIOR_FREE size=n found_by=realloc
// expect: fast INTERIOR_FREE found_by=realloc
// with: 100 1000 50000 2000000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    char *q = realloc(sin_opaque(p + 32), n * 2);
    if (q != NULL) sin_fail("realloc of an interior pointer gave a block");
    for (size_t i = 0; i < n; i++)
        if (p[i] != 'x') sin_fail("the block was touched");
}
