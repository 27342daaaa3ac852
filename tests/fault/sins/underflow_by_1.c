// expect: checked,hardened,debug UNDERFLOW offset=-1 length=1
// with: 8 24 40 100 1000
#include "../sin.h"

/* The byte belongs to the block before, which is live. */
SIN(n) {
    char *next, *p = sin_neighbours(n, &next);
    next[-1] = 'A';
    free(next);
    free(p);
}
