// expect: checked,hardened,debug DOUBLE_FREE size=n found_by=free owner=small
// with: 8 24 100 1000 4096
#include "../sin.h"

/* Other blocks of the size were freed in between. */
SIN(n) {
    char *p[64];
    for (int i = 0; i < 64; i++)
        p[i] = sin_alloc(n);
    for (int i = 0; i < 64; i++)
        free(p[i]);
    free(sin_opaque(p[10]));
}
