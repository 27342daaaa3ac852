// expect: checked,hardened,debug DOUBLE_FREE size=n found_by=free owner=small
// with: 1..40 100 1000 4096 20000 32768
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    free(p);
    free(sin_opaque(p));
}
