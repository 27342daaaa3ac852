// expect: checked,hardened,debug DOUBLE_FREE size=n|0 found_by=free
// with: 24 1000 50000 2000000
#include <pthread.h>

#include "../sin.h"

static void *other(void *p) {
    free(p);
    return NULL;
}

SIN(n) {
    pthread_t thread;
    char *p = sin_alloc(n);
    pthread_create(&thread, NULL, other, p);
    pthread_join(thread, NULL);
    free(sin_opaque(p));
}
