/* racy_copy.c - racing copies of any length: bytes up to a word, words, bytes; or one instruction.
 *
 * Contract    racy_copy.h.
 * Talks to    os/stream.h.   Called by ring, versioned.
 * Threads     stateless.   Fails with  nothing. */
#include "racy_copy.h"

#include "os/stream.h"

/* Whether the run is long enough for the instruction; the thread sanitizer would not see it. */
static bool racy_streams(size_t size) {
#ifdef HFI_TSAN
    (void)size;
    return false;
#else
    return hfi_os_stream_pays(size);
#endif
}

/* relaxed: the fences order them against the intent. */
static void racy_bytes_in(char *to, const char *from, size_t size) {
    for (size_t i = 0; i < size; i++)
        hfi_poke(to[i], from[i]);
}

static void racy_bytes_out(char *to, const char *from, size_t size) {
    for (size_t i = 0; i < size; i++)
        to[i] = hfi_peek(from[i]);
}

/* Bytes until a word of the shared side begins. */
static size_t racy_head(const void *shared, size_t size) {
    size_t head = (size_t)(-(uintptr_t)shared & 7);
    return head < size ? head : size;
}

void hfi_racy_in_any(char *to, const char *from, size_t size) {
    if (racy_streams(size)) {
        hfi_os_stream(to, from, size);
        return;
    }
    size_t head = racy_head(to, size);
    racy_bytes_in(to, from, head);
    to += head, from += head, size -= head;
    for (; size >= 8; to += 8, from += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, from, 8);
        hfi_poke(*(hfi_racy_word *)(void *)to, word);
    }
    racy_bytes_in(to, from, size);
}

void hfi_racy_out_any(char *to, const char *from, size_t size) {
    if (racy_streams(size)) {
        hfi_os_stream(to, from, size);
        return;
    }
    size_t head = racy_head(from, size);
    racy_bytes_out(to, from, head);
    to += head, from += head, size -= head;
    for (; size >= 8; to += 8, from += 8, size -= 8) {
        uint64_t word = hfi_peek(*(const hfi_racy_word *)(const void *)from);
        memcpy(to, &word, 8);
    }
    racy_bytes_out(to, from, size);
}
