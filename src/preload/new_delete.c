/* new_delete.c - C++ new and delete, by their mangled names, in C.
 *
 *   new --> dispatch.malloc --> block
 *                   | NULL
 *                   v
 *      new-handler installed?  yes: call it, try again      no: throw std::bad_alloc
 *
 * The C++ runtime is looked for only when an allocation failed: programs without one never load
 * one, and a runtime that came with a dlopened module is found all the same.
 * Threads     any; the handler is called without locks held and may throw.
 * Fails with  std::bad_alloc through the program's own runtime; NULL in the nothrow forms; where
 *             there is no runtime that could throw, one sentence on stderr and abort.
 * Talks to    heap/dispatch.h.   Called by compiled C++ code.
 * Source      ISO C++20 [new.delete]; Itanium C++ ABI section 5.1.5 for the names. Built with
 *             -fexceptions, since exceptions travel through these frames. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#pragma GCC visibility push(hidden)
#include "heap/dispatch.h"
#pragma GCC visibility pop

#include "os/os.h"
#include <holdfast/export.h>

_Static_assert(sizeof(size_t) == sizeof(unsigned long), "size_t is mangled as m below");

#define LIKELY(x) __builtin_expect(!!(x), 1)

typedef struct nothrow_tag nothrow_tag; /* std::nothrow_t, passed by reference, never read */
typedef void (*new_handler)(void);
typedef void *(*nothrow_new)(size_t size, const nothrow_tag *tag);
typedef void *(*nothrow_new_aligned)(size_t size, size_t alignment, const nothrow_tag *tag);

extern new_handler _ZSt15get_new_handlerv(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak));

/* A symbol of the C++ runtime, wherever the runtime is: a module opened with RTLD_LOCAL brings its
 * own where neither the weak references nor the global scope see it. NULL if there is none. */
static void *runtime_symbol(const char *name) {
    static const char *const libraries[] = {"libstdc++.so.6", "libc++abi.so.1", "libc++.so.1"};
    void *symbol = dlsym(RTLD_NEXT, name); /* next: never the forms of this file */
    for (size_t i = 0; symbol == NULL && i < sizeof libraries / sizeof libraries[0]; i++) {
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
        if (library == NULL) continue;
        symbol = dlsym(library, name);
        dlclose(library);
    }
    return symbol;
}

static new_handler current_handler(void) {
    new_handler (*get)(void) = _ZSt15get_new_handlerv;
    if (get == NULL)
        get = (new_handler(*)(void))(uintptr_t)runtime_symbol("_ZSt15get_new_handlerv");
    return get != NULL ? get() : NULL;
}

static _Noreturn void throw_bad_alloc(void) {
    void (*throw_it)(void) = _ZSt17__throw_bad_allocv;
    if (throw_it == NULL)
        throw_it = (void (*)(void))(uintptr_t)runtime_symbol("_ZSt17__throw_bad_allocv");
    if (throw_it != NULL) throw_it();
    static const char sentence[] = "holdfast: operator new ran out of memory and no C++ runtime is "
                                   "loaded to throw bad_alloc\n";
    hfi_os_write(STDERR_FILENO, sentence, sizeof sentence - 1);
    abort();
}

static inline void *try_aligned(size_t size, size_t alignment) {
    bool valid = alignment != 0 && (alignment & (alignment - 1)) == 0;
    return valid ? hfi_dispatch.aligned_alloc(alignment, size) : NULL;
}

/* The handler makes room, throws, or ends the program; alignment 0 is none in particular. */
static __attribute__((noinline, cold)) void *new_failed(size_t size, size_t alignment) {
    if ((alignment & (alignment - 1)) != 0) throw_bad_alloc();
    for (;;) {
        new_handler handler = current_handler();
        if (handler == NULL) throw_bad_alloc();
        handler();
        void *block = alignment == 0 ? hfi_dispatch.malloc(size) : try_aligned(size, alignment);
        if (block != NULL) return block;
    }
}

/* A handler may throw, and C cannot catch: with a handler the runtime's own nothrow form, which is
 * a catch around the throwing form above, does the rest. */
static __attribute__((noinline, cold)) void *new_failed_nothrow(size_t size,
                                                                const nothrow_tag *tag) {
    if (current_handler() == NULL) return NULL;
    nothrow_new next = (nothrow_new)(uintptr_t)runtime_symbol("_ZnwmRKSt9nothrow_t");
    return next != NULL ? next(size, tag) : NULL;
}

static __attribute__((noinline, cold)) void *
new_failed_aligned_nothrow(size_t size, size_t alignment, const nothrow_tag *tag) {
    if ((alignment & (alignment - 1)) != 0 || current_handler() == NULL) return NULL;
    nothrow_new_aligned next =
        (nothrow_new_aligned)(uintptr_t)runtime_symbol("_ZnwmSt11align_val_tRKSt9nothrow_t");
    return next != NULL ? next(size, alignment, tag) : NULL;
}

/* Each form is a function of its own, so that all of them are one load and one jump or call. */
#define NEW(name)                                                                                  \
    HF_API void *name(size_t size);                                                                \
    HF_API void *name(size_t size) {                                                               \
        void *block = hfi_dispatch.malloc(size);                                                   \
        return LIKELY(block != NULL) ? block : new_failed(size, 0);                                \
    }
#define NEW_NOTHROW(name)                                                                          \
    HF_API void *name(size_t size, const nothrow_tag *tag);                                        \
    HF_API void *name(size_t size, const nothrow_tag *tag) {                                       \
        void *block = hfi_dispatch.malloc(size);                                                   \
        return LIKELY(block != NULL) ? block : new_failed_nothrow(size, tag);                      \
    }
#define NEW_ALIGNED(name)                                                                          \
    HF_API void *name(size_t size, size_t alignment);                                              \
    HF_API void *name(size_t size, size_t alignment) {                                             \
        void *block = try_aligned(size, alignment);                                                \
        return LIKELY(block != NULL) ? block : new_failed(size, alignment);                        \
    }
#define NEW_ALIGNED_NOTHROW(name)                                                                  \
    HF_API void *name(size_t size, size_t alignment, const nothrow_tag *tag);                      \
    HF_API void *name(size_t size, size_t alignment, const nothrow_tag *tag) {                     \
        void *block = try_aligned(size, alignment);                                                \
        return LIKELY(block != NULL) ? block : new_failed_aligned_nothrow(size, alignment, tag);   \
    }
#define DELETE(name, ...)                                                                          \
    HF_API void name(void *block, ##__VA_ARGS__);                                                  \
    HF_API void name(void *block, ##__VA_ARGS__) {                                                 \
        hfi_dispatch.free(block);                                                                  \
    }
#define DELETE_SIZED(name, ...)                                                                    \
    HF_API void name(void *block, size_t size, ##__VA_ARGS__);                                     \
    HF_API void name(void *block, size_t size, ##__VA_ARGS__) {                                    \
        hfi_dispatch.free_sized(block, size);                                                      \
    }

#pragma GCC diagnostic ignored                                                                     \
    "-Wunused-parameter" /* tags and alignments choose the overload only */

NEW(_Znwm)
NEW(_Znam)
NEW_NOTHROW(_ZnwmRKSt9nothrow_t)
NEW_NOTHROW(_ZnamRKSt9nothrow_t)
NEW_ALIGNED(_ZnwmSt11align_val_t)
NEW_ALIGNED(_ZnamSt11align_val_t)
NEW_ALIGNED_NOTHROW(_ZnwmSt11align_val_tRKSt9nothrow_t)
NEW_ALIGNED_NOTHROW(_ZnamSt11align_val_tRKSt9nothrow_t)

DELETE(_ZdlPv)
DELETE(_ZdaPv)
DELETE(_ZdlPvRKSt9nothrow_t, const nothrow_tag *tag)
DELETE(_ZdaPvRKSt9nothrow_t, const nothrow_tag *tag)
DELETE(_ZdlPvSt11align_val_t, size_t alignment)
DELETE(_ZdaPvSt11align_val_t, size_t alignment)
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, size_t alignment, const nothrow_tag *tag)
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, size_t alignment, const nothrow_tag *tag)
DELETE_SIZED(_ZdlPvm)
DELETE_SIZED(_ZdaPvm)
DELETE_SIZED(_ZdlPvmSt11align_val_t, size_t alignment)
DELETE_SIZED(_ZdaPvmSt11align_val_t, size_t alignment)
