// expect: checked,hardened,debug,fast INVALID_FREE size=0 found_by=free
// with: 0xffff800000000000 0xffffffffffffffff 0xfffffffffffffff0
#include "../sin.h"

SIN(n) {
    free(sin_opaque((void *)n));
}
