// expect: checked,hardened,debug USE_AFTER_FREE offset=0
// with: 8 24 100 1000 4096 20000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    free(p);
    memset(sin_opaque(p), 'A', n);
}
