// expect: checked,hardened,debug none
// with: 2000000 9000000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    free(p);
    memset(sin_opaque(p), 'A', 64);
}
