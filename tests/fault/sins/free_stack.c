// expect: checked,hardened,debug,fast INVALID_FREE size=0 found_by=free
// with: 0 8 16 100
#include "../sin.h"

SIN(n) {
    char bytes[256];
    memset(bytes, 0, sizeof bytes);
    free(sin_opaque(bytes + n));
}
