// expect: checked,hardened,debug OVERFLOW size=n offset=n length=1 found_by=free owner=middle
// expect: fast none
// with: 33000 33001 33005 40000 65528 65536 100000 262144 262145 500000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    p[n] ^= 'A';
    free(p);
}
