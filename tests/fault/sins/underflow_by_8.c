// expect: checked,hardened,debug UNDERFLOW offset=-8 length=8
// with: 8 24 40 100 1000
#include "../sin.h"

SIN(n) {
    char *next, *p = sin_neighbours(n, &next);
    memset(next - 8, 'A', 8);
    free(next);
    free(p);
}
