// expect: checked UNDERFLOW offset=e-8 length=8
// expect: hardened,debug UNDERFLOW offset=-8 length=8
// with: 10 16 90 490
#include "../sin.h"

/* The pattern between the payload before and its trailer is whole: it cannot have been an overflow. */
SIN(n) {
    char *next, *p = sin_neighbours(n, &next);
    sin_overwrite(next - 8, 8);
    free(next);
    free(p);
}
