// expect: checked,hardened,debug INTERIOR_FREE size=100 found_by=free
// with: 1..15
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(100);
    free(sin_opaque(p + n));
}
