// expect: checked,hardened,debug OVERFLOW size=n offset=n length=1 found_by=free owner=small
// expect: fast none
// with: 1..40 100 255 1000 1015 1016 1017 4096 4104 20000 32768 32776
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    p[n] ^= 'A';
    free(p);
}
