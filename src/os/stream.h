/* stream.h - copying a run of bytes that another process may be writing, without the compiler looking.
 *
 *   if (hfi_os_stream_pays(size)) hfi_os_stream(to, from, size);   else copy word by word
 *
 * Contract    moves `size` bytes, in any order among themselves, after everything before it and before
 *             everything after it in program order (Intel SDM volume 3, 9.2.4: string operations keep
 *             their order against other stores and loads).
 * Why         a memcpy of bytes that change meanwhile is undefined in C; one instruction is not C.
 * Threads     stateless.   Fails with  nothing.   Talks to  nothing. */
#ifndef HFI_OS_STREAM_H
#define HFI_OS_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__x86_64__)
/* From here on the instruction is faster than words: it starts slowly. */
#define HFI_OS_STREAM_FROM 512

static inline bool hfi_os_stream_pays(size_t size) {
    return size >= HFI_OS_STREAM_FROM;
}

static inline void hfi_os_stream(void *to, const void *from, size_t size) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}
#else
static inline bool hfi_os_stream_pays(size_t size) {
    (void)size;
    return false;
}

static inline void hfi_os_stream(void *to, const void *from, size_t size) {
    (void)to;
    (void)from;
    (void)size;
}
#endif

#endif
