// expect: checked,hardened,debug OVERFLOW size=n offset=n length=8 found_by=free owner=small
// expect: fast none
// with: 1..40 100 1000 1016 4096 20000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    memset(p + n, 'A', 8);
    free(p);
}
