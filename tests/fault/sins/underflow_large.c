// expect: checked UNDERFLOW size=n offset=-1 length=1 found_by=free owner=large
// with: 1500000 2000000 9000000
#include "../sin.h"

/* The header of the large tier stands there; in hardened and debug these blocks end at a guard and
 * have none. */
SIN(n) {
    char *p = sin_alloc(n);
    p[-1] ^= 'A';
    free(p);
}
