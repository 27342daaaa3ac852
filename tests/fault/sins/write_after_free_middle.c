// expect: checked,hardened,debug none
// with: 40000 100000 300000
#include "../sin.h"

SIN(n) {
    char *before = sin_alloc(n), *p = sin_alloc(n), *behind = sin_alloc(n);
    free(p);
    memset(sin_opaque(p), 'A', 64);
    free(before);
    free(behind);
}
