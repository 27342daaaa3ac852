// expect: checked,hardened,debug OVERFLOW size=n offset=n length=1 found_by=free owner=large
// expect: fast none
// with: 2000000 2000001 3000007 4194300 9999999
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    p[n] ^= 'A';
    free(p);
}
