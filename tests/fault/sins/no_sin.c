// expect: checked,hardened,debug,fast none
// with: 0 1 24 1000 50000 2000000
#include "../sin.h"

/* Every byte that was asked for may be used. */
SIN(n) {
    for (int i = 0; i < 1000; i++) {
        char *p = sin_alloc(n);
        if (i % 7 != 0) free(p);
        if (i > 20 && n > 100000) break;
    }
}
