// expect: checked,hardened,debug USE_AFTER_FREE offset=0 owner=large
// with: 2000000 9000000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    free(p);
    memset(sin_opaque(p), 'A', 64);
}
