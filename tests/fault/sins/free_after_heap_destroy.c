// expect: checked,hardened,debug INVALID_FREE|DOUBLE_FREE|INTERIOR_FREE found_by=free
// expect: fast INVALID_FREE|DOUBLE_FREE|INTERIOR_FREE found_by=free
// with: 24 1000 50000 2000000
#include "../sin.h"

/* The memory may serve the default heap by then; which kind it is depends on what stands there. */
SIN(n) {
    hf_heap *heap;
    if (hf_heap_create(NULL, "gone", -1, &heap) != HF_OK) sin_fail("hf_heap_create");
    char *p = sin_opaque(hf_heap_malloc(heap, n));
    if (p == NULL) sin_fail("hf_heap_malloc");
    hf_heap_destroy(heap);
    hf_free(sin_opaque(p));
}
