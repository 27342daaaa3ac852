// expect: checked,hardened,debug DOMAIN_MISMATCH size=n found_by=free
// expect: fast none
// with: 24 1000 50000
#include "../sin.h"

SIN(n) {
    char *p = sin_opaque(hf_domain_malloc(HF_DOMAIN_PY_MEM, n));
    if (p == NULL) sin_fail("hf_domain_malloc");
    free(p);
}
