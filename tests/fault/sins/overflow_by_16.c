// expect: checked,hardened,debug OVERFLOW size=n|0 offset=n|e-8 found_by=free owner=small
// with: 9..16 25..32 97..104 1000 4090 20000
#include "../sin.h"

/* More than a trailer is long, in sizes where it stays inside what the block occupies. */
SIN(n) {
    char *p = sin_alloc(n);
    sin_overwrite(p + n, 16);
    free(p);
}
