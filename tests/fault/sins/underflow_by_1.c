// expect: checked UNDERFLOW offset=e-1 length=1
// expect: hardened,debug UNDERFLOW offset=-1 length=1
// expect: fast none
// with: 8 20 24 36 40 100 1000
#include "../sin.h"

/* The byte belongs to the trailer of the block before, which is live: checked finds it there. */
SIN(n) {
    char *next, *p = sin_neighbours(n, &next);
    sin_overwrite(next - 1, 1);
    free(next);
    free(p);
}
