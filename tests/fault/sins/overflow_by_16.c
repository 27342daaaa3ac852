// expect: checked,hardened,debug OVERFLOW size=n|0 offset=n found_by=free owner=small
// with: 1..40 100 1000 1016 4096 20000
#include "../sin.h"

/* More than a trailer: the neighbour may be hit as well, so it is a free block here. */
SIN(n) {
    char *p = sin_alloc(n);
    memset(p + n, 'A', 16);
    free(p);
}
