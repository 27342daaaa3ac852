// expect: checked,hardened,debug,fast INVALID_FREE size=0 found_by=free
// with: 0 16 4096
#include "../sin.h"

SIN(n) {
    char *page = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) sin_fail("mmap");
    free(sin_opaque(page + n));
}
