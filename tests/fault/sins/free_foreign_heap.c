// expect: checked,hardened,debug FOREIGN_FREE size=n found_by=free
// expect: fast FOREIGN_FREE size=e found_by=free
// with: 24 1000 50000 2000000
#include "../sin.h"

SIN(n) {
    hf_heap *heap;
    if (hf_heap_create(NULL, "mine", -1, &heap) != HF_OK) sin_fail("hf_heap_create");
    char *theirs = sin_alloc(n);
    hf_heap_free(heap, sin_opaque(theirs));
    hf_heap_destroy(heap);
}
