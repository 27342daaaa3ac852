// expect: checked,hardened,debug UNDERFLOW size=n offset=-1 length=1 found_by=free owner=middle
// expect: fast UNDERFLOW found_by=free owner=middle
// with: 40000 100000 300000
#include "../sin.h"

/* The header of the middle tier stands there. */
SIN(n) {
    char *p = sin_alloc(n);
    p[-1] ^= 'A';
    free(p);
}
