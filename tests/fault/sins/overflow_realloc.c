// expect: checked,hardened,debug OVERFLOW size=n offset=n length=1 found_by=realloc owner=small
// with: 1..40 1000 20000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    p[n] ^= 'A';
    p = realloc(p, n * 2 + 100);
    if (p == NULL) sin_fail("realloc");
    for (size_t i = 0; i < n; i++)
        if (p[i] != 'x') sin_fail("realloc lost the content");
    free(p);
}
