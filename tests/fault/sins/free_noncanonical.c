// expect: checked,hardened,debug,fast INVALID_FREE size=0 found_by=free
// with: 0x800000000000 0x4141414141414141 0xdeadbeefdeadbeef
#include "../sin.h"

SIN(n) {
    free(sin_opaque((void *)n));
}
