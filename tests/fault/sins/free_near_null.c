// expect: checked,hardened,debug,fast INVALID_FREE size=0 found_by=free
// with: 1 8
#include "../sin.h"

SIN(n) {
    free(sin_opaque((void *)n));
}
