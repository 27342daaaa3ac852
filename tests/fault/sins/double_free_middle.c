// expect: checked,hardened,debug,fast DOUBLE_FREE found_by=free owner=middle
// with: 33000 65536 100000 300000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n), *keep = sin_alloc(n);
    free(p);
    free(sin_opaque(p));
    free(keep);
}
