/* glibc_shim.c - the C library's own malloc, preloaded: the baseline for a program linked to
 * another one.
 * Why         Debian's redis-server links libjemalloc; without this its "glibc" row would be
 *             jemalloc.
 * Talks to    glibc only, by its exported __libc_ names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void __libc_free(void *block);

void *malloc(size_t size) {
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    return __libc_realloc(block, size);
}

void free(void *block) {
    __libc_free(block);
}

void *memalign(size_t align, size_t size) {
    return __libc_memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size) {
    return __libc_memalign(align, size);
}

int posix_memalign(void **block_out, size_t align, size_t size) {
    void *block = __libc_memalign(align, size);
    if (block == NULL) return ENOMEM;
    *block_out = block;
    return 0;
}

size_t malloc_usable_size(void *block) {
    static size_t (*usable)(void *);
    if (usable == NULL) {
        void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
        usable = (size_t(*)(void *))dlsym(libc, "malloc_usable_size");
    }
    return usable(block);
}
