// expect: checked,hardened,debug,fast INVALID_FREE size=0 found_by=free
#include "../sin.h"

SIN(n) {
    free(sin_opaque((void *)(uintptr_t)sin_continue));
}
