// expect: checked,hardened,debug INTERIOR_FREE size=n found_by=free owner=middle
// expect: fast INTERIOR_FREE found_by=free owner=middle
// with: 40000 100000 500000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    free(sin_opaque(p + n / 2 / 16 * 16));
}
