// expect: checked,hardened,debug SIZE_MISMATCH size=n found_by=free given_size=n+1
// expect: fast none
// with: 1..24 100 1000 50000 2000000
#include "../sin.h"

SIN(n) {
    char *p = sin_alloc(n);
    hf_free_sized(p, n + 1);
}
