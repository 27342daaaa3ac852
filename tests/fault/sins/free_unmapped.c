// expect: checked,hardened,debug,fast INVALID_FREE size=0 found_by=free
// with: 0x10 0x1000 0x123456789ab0 0x7ffffffff000
#include "../sin.h"

/* Addresses with nothing behind them: looking there would crash. */
SIN(n) {
    free(sin_opaque((void *)n));
}
