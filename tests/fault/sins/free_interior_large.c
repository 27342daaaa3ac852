// expect: checked,hardened,debug INTERIOR_FREE size=n found_by=free owner=large
// expect: fast INTERIOR_FREE found_by=free owner=large
// with: 2000000 9000000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    free(sin_opaque(p + n / 2 / 4096 * 4096));
}
