// expect: checked,hardened,debug none
// with: 24 1000 50000 2000000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    free(p);
    if (hf_usable_size(sin_opaque(p)) != 0) sin_fail("a freed block has a size");
}
