// expect: checked,hardened,debug USE_AFTER_FREE offset=0 length=1
// with: 8 24 100 1000 4096 20000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    free(p);
    sin_opaque(p)[0] = 'A';
}
