/* racy_copy.h - bytes that one process copies while another overwrites them, by design.
 *
 *   writer:  intent = ...;  hfi_shm_intent_fence;  hfi_shm_copy_in;   commit = ...  (release)
 *   reader:  ... = commit;  hfi_shm_copy_out;      hfi_shm_valid_fence;  look at intent
 *
 * Contract    what copy_out brought is used only if the look at the intent afterwards says that nobody
 *             had begun to overwrite it: a reader that saw one byte of the new content also sees the
 *             intent that went before it, by the two fences.
 * Why         relaxed atomic words: no torn word, no data race for the C standard or the thread
 *             sanitizer. Long runs go through os/stream.h, which the compiler cannot look into.
 * Talks to    access.h (steps), os/stream.h.   Called by ring, versioned.
 * Source      seqlocks and the C memory model: Boehm, "Can seqlocks get along with programming
 *             language memory models?", MSPC 2012. */
#ifndef HFI_SHM_RACY_COPY_H
#define HFI_SHM_RACY_COPY_H

#include "access.h"
#include "base/racy.h"
#include "os/stream.h"

typedef uint64_t __attribute__((may_alias)) hfi_racy_word;

/* SYNC(shm.intent): whoever sees a byte copied in after this also sees what was stored before it. */
static inline void hfi_shm_intent_fence(void) {
#ifndef HFI_TSAN /* which does not know fences, and needs none: the words are atomic */
    atomic_thread_fence(memory_order_release);
#endif
}

/* SYNC(shm.intent): what is loaded from now on is no older than what was copied out before. */
static inline void hfi_shm_valid_fence(void) {
#ifndef HFI_TSAN
    atomic_thread_fence(memory_order_acquire);
#endif
}

/* Whether the run is long enough for the instruction; the thread sanitizer would not see it. */
static inline bool hfi_racy_streams(size_t size) {
#ifdef HFI_TSAN
    (void)size;
    return false;
#else
    return hfi_os_stream_pays(size);
#endif
}

/* relaxed: the fences order them against the intent. */
static inline void hfi_racy_bytes_in(char *to, const char *from, size_t size) {
    for (size_t i = 0; i < size; i++)
        hfi_poke(to[i], from[i]);
}

static inline void hfi_racy_bytes_out(char *to, const char *from, size_t size) {
    for (size_t i = 0; i < size; i++)
        to[i] = hfi_peek(from[i]);
}

/* Bytes until a word of the shared side begins. */
static inline size_t hfi_racy_head(const void *shared, size_t size) {
    size_t head = (size_t)(-(uintptr_t)shared & 7);
    return head < size ? head : size;
}

static inline void hfi_racy_in(char *to, const char *from, size_t size) {
    if (hfi_racy_streams(size)) {
        hfi_os_stream(to, from, size);
        return;
    }
    size_t head = hfi_racy_head(to, size);
    hfi_racy_bytes_in(to, from, head);
    to += head, from += head, size -= head;
    for (; size >= 8; to += 8, from += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, from, 8);
        hfi_poke(*(hfi_racy_word *)(void *)to, word);
    }
    hfi_racy_bytes_in(to, from, size);
}

static inline void hfi_racy_out(char *to, const char *from, size_t size) {
    if (hfi_racy_streams(size)) {
        hfi_os_stream(to, from, size);
        return;
    }
    size_t head = hfi_racy_head(from, size);
    hfi_racy_bytes_out(to, from, head);
    to += head, from += head, size -= head;
    for (; size >= 8; to += 8, from += 8, size -= 8) {
        uint64_t word = hfi_peek(*(const hfi_racy_word *)(const void *)from);
        memcpy(to, &word, 8);
    }
    hfi_racy_bytes_out(to, from, size);
}

/* Into shared memory that readers may be copying out. In builds with steps there is one in the middle. */
static inline void hfi_shm_copy_in(void *to, const void *from, size_t size) {
    hfi_shm_step();
#if HFI_SHM_STEPS
    hfi_racy_in(to, from, size / 2);
    hfi_shm_step();
    hfi_racy_in((char *)to + size / 2, (const char *)from + size / 2, size - size / 2);
#else
    hfi_racy_in(to, from, size);
#endif
}

/* Out of shared memory that a writer may be overwriting. */
static inline void hfi_shm_copy_out(void *to, const void *from, size_t size) {
    hfi_shm_step();
#if HFI_SHM_STEPS
    hfi_racy_out(to, from, size / 2);
    hfi_shm_step();
    hfi_racy_out((char *)to + size / 2, (const char *)from + size / 2, size - size / 2);
#else
    hfi_racy_out(to, from, size);
#endif
}

#endif
