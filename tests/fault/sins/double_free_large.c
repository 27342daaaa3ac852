// expect: checked,hardened,debug DOUBLE_FREE found_by=free owner=large
// expect: fast DOUBLE_FREE found_by=free owner=large
// with: 2000000 4000000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    free(p);
    free(sin_opaque(p));
}
