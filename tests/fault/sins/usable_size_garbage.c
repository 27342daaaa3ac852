// expect: checked,hardened,debug,fast none
// with: 0x10 0x123456789ab0 0x4141414141414141 0xffffffffffffffff
#include "../sin.h"

/* A question, not a misuse: the answer is 0, nothing is reported. */
SIN(n) {
    if (malloc_usable_size(sin_opaque((void *)n)) != 0) sin_fail("garbage has a size");
    if (hf_usable_size(sin_opaque((void *)n)) != 0) sin_fail("garbage has a size");
    if (hf_heap_of(sin_opaque((void *)n)) != NULL) sin_fail("garbage has an owner");
}
