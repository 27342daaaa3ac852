/* poison.c - both watchers behind three verbs.
 * Threads     no state but an answer that never changes.
 * Fails with  nothing. */
#include "poison.h"

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define HFI_HAS_MEMCHECK 1
#endif
#endif

extern void __asan_poison_memory_region(const volatile void *address, size_t size)
    __attribute__((weak));
extern void __asan_unpoison_memory_region(const volatile void *address, size_t size)
    __attribute__((weak));

static bool under_asan(void) {
    return __asan_poison_memory_region != NULL && __asan_unpoison_memory_region != NULL;
}

static bool under_memcheck(void) {
#ifdef HFI_HAS_MEMCHECK
    char probe = 0;
    /* Callgrind and the others do not know the request and answer 0. */
    return RUNNING_ON_VALGRIND != 0 && VALGRIND_MAKE_MEM_DEFINED(&probe, sizeof probe) != 0;
#else
    return false;
#endif
}

bool hfi_poison_watched(void) {
    return under_asan() || under_memcheck();
}

void hfi_poison_hide(const void *address, size_t size) {
    if (under_asan()) __asan_poison_memory_region(address, size);
#ifdef HFI_HAS_MEMCHECK
    (void)VALGRIND_MAKE_MEM_NOACCESS(address, size);
#endif
}

void hfi_poison_show(const void *address, size_t size) {
    if (under_asan()) __asan_unpoison_memory_region(address, size);
#ifdef HFI_HAS_MEMCHECK
    (void)VALGRIND_MAKE_MEM_UNDEFINED(address, size);
#endif
}

void hfi_poison_clear(const void *address, size_t size) {
    if (under_asan()) __asan_unpoison_memory_region(address, size);
#ifdef HFI_HAS_MEMCHECK
    (void)VALGRIND_MAKE_MEM_DEFINED(address, size);
#endif
}
