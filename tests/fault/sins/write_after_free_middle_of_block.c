// expect: hardened,debug USE_AFTER_FREE offset=n/2 length=1
// expect: checked none
// with: 100 160 400
#include "../sin.h"

/* checked looks at the first 8 bytes, hardened at the first 256: that is their price, and documented. */
SIN(n) {
    char *p = sin_alloc(n);
    free(p);
    sin_opaque(p)[n / 2] = 'A';
}
