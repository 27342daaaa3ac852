// expect: checked,hardened,debug OVERFLOW size=n offset=n length=1 found_by=free
// with: 1 24 100 1000 5000 40000
#include "../sin.h"

SIN(n) {
    char *p = sin_opaque(aligned_alloc(64, n));
    memset(p, 'x', n);
    p[n] ^= 'A';
    free(p);
}
