// expect: checked,hardened,debug OVERFLOW size=n offset=n length=1 found_by=exit
// with: 1..24 1000 50000 2000001
#include "../sin.h"

/* The block is still live at the end of the program. */
SIN(n) {
    char *p = sin_alloc(n);
    p[n] ^= 'A';
}
