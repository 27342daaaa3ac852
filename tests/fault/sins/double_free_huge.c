// expect: checked,hardened,debug,fast DOUBLE_FREE found_by=free owner=large
// with: 5000000 20000000
#include "../sin.h"

/* Above 4 MiB the memory serves nothing but large blocks, so fast sees it as well. */
SIN(n) {
    char *p = sin_alloc(n);
    free(p);
    free(sin_opaque(p));
}
