// expect: checked,hardened,debug INTERIOR_FREE size=n found_by=free owner=small
// with: 33 48 100 1000 20000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    free(sin_opaque(p + 16));
}
