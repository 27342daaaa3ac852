// expect: checked,hardened,debug,fast INVALID_FREE size=0 found_by=free
// with: 0 1 16 4000
#include "../sin.h"

static char bytes[8192];

SIN(n) {
    free(sin_opaque(bytes + n));
}
