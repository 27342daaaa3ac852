// expect: checked,hardened,debug OVERFLOW size=n|0 offset=n|e-8 length=8 found_by=free owner=small
// expect: fast none
// with: 1..40 100 1000 1016 4096 20000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    sin_overwrite(p + n, 8);
    free(p);
}
