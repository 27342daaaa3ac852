// expect: checked,hardened,debug DOMAIN_MISMATCH size=n found_by=free domain=py_obj freed_as=py_raw
// expect: fast none
// with: 24 1000 50000 2000000
#include "../sin.h"

SIN(n) {
    char *p = sin_opaque(hf_domain_malloc(HF_DOMAIN_PY_OBJ, n));
    if (p == NULL) sin_fail("hf_domain_malloc");
    hf_domain_free(HF_DOMAIN_PY_RAW, p);
}
