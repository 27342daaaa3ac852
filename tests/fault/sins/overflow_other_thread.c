// expect: checked,hardened,debug OVERFLOW size=n offset=n length=1 found_by=free
// with: 24 100 50000
#include <pthread.h>

#include "../sin.h"

static size_t size;

static void *other(void *p) {
    ((char *)p)[size] ^= 'A';
    free(p);
    return NULL;
}

SIN(n) {
    pthread_t thread;
    size = n;
    pthread_create(&thread, NULL, other, sin_alloc(n));
    pthread_join(thread, NULL);
}
