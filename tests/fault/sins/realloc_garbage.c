// expect: checked,hardened,debug,fast INVALID_FREE size=0 found_by=realloc
// with: 0x10 0x123456789ab0 0x4141414141414141 0xffffffffffffffff
#include "../sin.h"

SIN(n) {
    errno = 0;
    char *q = realloc(sin_opaque((void *)n), 100);
    if (q != NULL) sin_fail("realloc of garbage gave a block");
    if (errno == 0) sin_fail("realloc failed without an errno");
}
