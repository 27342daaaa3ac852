// expect: checked,hardened,debug OVERFLOW size=n offset=n length=1 found_by=free owner=small
// expect: fast none
// with: 1..40 128 1016
#include "../sin.h"

/* The string that forgot its terminator. */
SIN(n) {
    char *p = sin_alloc(n);
    p[n] = p[n] == '\0'; /* a change, whatever stood there */
    free(p);
}
