// expect: checked,hardened,debug DOUBLE_FREE found_by=realloc
// with: 8 24 100 1000 50000 2000000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    free(p);
    errno = 0;
    char *q = realloc(sin_opaque(p), n * 2);
    if (q != NULL) sin_fail("realloc of a freed block gave a block");
    if (errno == 0) sin_fail("realloc failed without an errno");
}
