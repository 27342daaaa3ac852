// expect: checked UNDERFLOW|OVERFLOW offset=e-8 length=8
// expect: hardened,debug UNDERFLOW offset=-8 length=8
// expect: fast none
// with: 24 40 1000
#include "../sin.h"

/* The bytes belong to the trailer of the block before, which is live: checked finds it there. */
SIN(n) {
    char *next, *p = sin_neighbours(n, &next);
    sin_overwrite(next - 8, 8);
    free(next);
    free(p);
}
