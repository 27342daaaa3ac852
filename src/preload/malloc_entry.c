/* malloc_entry.c - libc's allocation family: what a program means when it says malloc.
 *
 *   malloc(n) --> jmp *hfi_dispatch.malloc     one jump; the profile was chosen at start
 *
 * Invariants  every pointer this library gives to the program came through hfi_dispatch, and every
 *             pointer the program gives back goes through it: no other allocator is ever asked.
 * Threads     any, before libc's constructors, after the destructors, in the child of a fork.
 * Fails with  NULL and ENOMEM; EINVAL for an alignment that is no power of two. posix_memalign
 *             returns the code instead and leaves errno alone; the free functions keep errno.
 * Talks to    heap/dispatch.h.   Called by the program and by every library in it.
 * Source      C23 7.24.3, POSIX.1-2024, and the GNU manual for what only glibc has. */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#pragma GCC visibility push(hidden) /* so that the jump reads the table, not its address first */
#include "heap/dispatch.h"
#pragma GCC visibility pop

#include "os/os.h"
#include <holdfast/heap.h>

#if __has_attribute(copy)
#define COPY_OF(name) copy(name),
#else
#define COPY_OF(name)
#endif

static bool is_power_of_two(size_t value) {
    return value != 0 && (value & (value - 1)) == 0;
}

static void *refuse(int code) {
    errno = code;
    return NULL;
}

HF_API void *malloc(size_t size) {
    return hfi_dispatch.malloc(size);
}

HF_API void free(void *block) {
    hfi_dispatch.free(block);
}

HF_API void *calloc(size_t count, size_t size) {
    return hfi_dispatch.calloc(count, size);
}

HF_API void *realloc(void *block, size_t size) {
    return hfi_dispatch.realloc(block, size);
}

HF_API void *reallocarray(void *block, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return refuse(ENOMEM);
    return hfi_dispatch.realloc(block, bytes);
}

HF_API void *aligned_alloc(size_t alignment, size_t size) {
    if (!is_power_of_two(alignment)) return refuse(EINVAL);
    return hfi_dispatch.aligned_alloc(alignment, size);
}

/* glibc's rule, older than C's: any alignment is taken and rounded up to a power of two. */
HF_API void *memalign(size_t alignment, size_t size) {
    if (alignment > SIZE_MAX / 2 + 1) return refuse(EINVAL);
    size_t power = _Alignof(max_align_t);
    while (power < alignment)
        power <<= 1;
    return hfi_dispatch.aligned_alloc(power, size);
}

HF_API int posix_memalign(void **block_out, size_t alignment, size_t size) {
    if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0) return EINVAL;
    int saved = errno;
    void *block = hfi_dispatch.aligned_alloc(alignment, size);
    errno = saved;
    if (block == NULL) return ENOMEM;
    *block_out = block;
    return 0;
}

HF_API void *valloc(size_t size) {
    return hfi_dispatch.aligned_alloc(HFI_PAGE, size);
}

/* Whole pages; one page for none. */
HF_API void *pvalloc(size_t size) {
    size_t bytes;
    if (__builtin_add_overflow(size, HFI_PAGE - 1, &bytes)) return refuse(ENOMEM);
    bytes &= ~(HFI_PAGE - 1);
    return hfi_dispatch.aligned_alloc(HFI_PAGE, bytes == 0 ? HFI_PAGE : bytes);
}

HF_API size_t malloc_usable_size(void *block) {
    return hfi_dispatch.usable_size(block);
}

/* C23; glibc 2.36 has neither, hence the prototypes. */
HF_API void free_sized(void *block, size_t size);
HF_API void free_aligned_sized(void *block, size_t alignment, size_t size);

HF_API void free_sized(void *block, size_t size) {
    hfi_dispatch.free_sized(block, size);
}

HF_API void free_aligned_sized(void *block, size_t alignment, size_t size) {
    (void)alignment; /* a block knows its own; the size is what can be compared */
    hfi_dispatch.free_sized(block, size);
}

/* Whether the program's malloc is ours: not in a process that opened this library late, nor in a
 * program that brings a malloc of its own. The alias has malloc's address here, whatever the linker
 * made of the name elsewhere. */
extern void *hfi_malloc_here(size_t size)
    __attribute__((COPY_OF(malloc) alias("malloc"), visibility("hidden")));

HF_API int hf_is_active(void) {
    static _Atomic int known; /* 0 not asked yet, 1 no, 2 yes */
    int answer = atomic_load_explicit(&known, memory_order_relaxed); /* same answer for everybody */
    if (answer == 0) {
        void *bound = dlsym(RTLD_DEFAULT, "malloc");
        answer = bound == (void *)(uintptr_t)hfi_malloc_here ? 2 : 1;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == 2;
}

/* Names some programs and older loaders use for "the libc's own": here they are the same. */
#define SAME_AS(name) __attribute__((COPY_OF(name) alias(#name), visibility("default")))
void *__libc_malloc(size_t size) SAME_AS(malloc);
void __libc_free(void *block) SAME_AS(free);
void *__libc_calloc(size_t count, size_t size) SAME_AS(calloc);
void *__libc_realloc(void *block, size_t size) SAME_AS(realloc);
void *__libc_reallocarray(void *block, size_t count, size_t size) SAME_AS(reallocarray);
void *__libc_memalign(size_t alignment, size_t size) SAME_AS(memalign);
void *__libc_valloc(size_t size) SAME_AS(valloc);
void *__libc_pvalloc(size_t size) SAME_AS(pvalloc);
int __posix_memalign(void **block_out, size_t alignment, size_t size) SAME_AS(posix_memalign);
