// expect: checked,hardened,debug OVERFLOW size=n offset=n length=1 found_by=free
// with: 1..24 1000 50000
#include "../sin.h"

SIN(n) {
    char *p = sin_opaque(calloc(n, 1));
    p[n] ^= 'A';
    free(p);
}
