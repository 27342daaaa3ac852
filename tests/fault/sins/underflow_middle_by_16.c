// expect: checked,hardened,debug UNDERFLOW offset=-16 length=16 found_by=free owner=middle
// with: 40000 100000 300000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    sin_overwrite(p - 16, 16);
    free(p);
}
