/* annotate.h - what sanitizers and Valgrind are told about stacks; nothing where they are not there.
 *
 * The sanitizers' functions are weak: one library serves programs with and without them, as their
 * runtime is in the program. Valgrind's requests are instructions that do nothing outside of it.
 * Threads     as the functions they wrap.
 * Source      sanitizer/common_interface_defs.h, tsan_interface.h, valgrind/valgrind.h. */
#ifndef HFI_FIBER_ANNOTATE_H
#define HFI_FIBER_ANNOTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>
#define HFI_HAVE_VALGRIND 1
#endif
#endif

#define HFI_WEAK __attribute__((weak))
HFI_WEAK void __asan_unpoison_memory_region(const volatile void *address, size_t size);
HFI_WEAK void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t size);
HFI_WEAK void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);
HFI_WEAK void *__tsan_get_current_fiber(void);
HFI_WEAK void *__tsan_create_fiber(unsigned flags);
HFI_WEAK void __tsan_destroy_fiber(void *fiber);
HFI_WEAK void __tsan_switch_to_fiber(void *fiber, unsigned flags);

static inline bool hfi_asan_is_here(void) {
    return &__sanitizer_start_switch_fiber != NULL;
}
static inline bool hfi_tsan_is_here(void) {
    return &__tsan_create_fiber != NULL;
}
static inline void hfi_asan_unpoison(void *low, size_t size) {
    if (&__asan_unpoison_memory_region != NULL) __asan_unpoison_memory_region(low, size);
}

#ifdef HFI_HAVE_VALGRIND
static inline bool hfi_valgrind_is_here(void) {
    return RUNNING_ON_VALGRIND != 0;
}
static inline int32_t hfi_valgrind_stack_register(void *low, void *top) {
    (void)VALGRIND_MAKE_MEM_UNDEFINED(low, (size_t)((char *)top - (char *)low));
    return (int32_t)VALGRIND_STACK_REGISTER(low, (char *)top - 1);
}
static inline void hfi_valgrind_stack_deregister(int32_t number) {
    VALGRIND_STACK_DEREGISTER((unsigned)number);
}
#else
static inline bool hfi_valgrind_is_here(void) {
    return false;
}
static inline int32_t hfi_valgrind_stack_register(void *low, void *top) {
    (void)low, (void)top;
    return 0;
}
static inline void hfi_valgrind_stack_deregister(int32_t number) {
    (void)number;
}
#endif

#endif
