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
 * Talks to    access.h (steps), racy_copy.c.   Called by ring, versioned.
 * Source      seqlocks and the C memory model: Boehm, "Can seqlocks get along with programming
 *             language memory models?", MSPC 2012. */
#ifndef HFI_SHM_RACY_COPY_H
#define HFI_SHM_RACY_COPY_H

#include "access.h"
#include "base/racy.h"

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

/* Of any length and alignment: racy_copy.c. */
void hfi_racy_in_any(char *to, const char *from, size_t size);
void hfi_racy_out_any(char *to, const char *from, size_t size);

/* Few words that lie at words: copied in line, which is most elements. */
static inline bool hfi_racy_is_small(const void *shared, size_t size) {
    return (((uintptr_t)shared | size) & 7) == 0 && size <= 128;
}

/* relaxed: the fences order them against the intent. */
static inline void hfi_racy_in(char *to, const char *from, size_t size) {
    if (!hfi_racy_is_small(to, size)) {
        hfi_racy_in_any(to, from, size);
        return;
    }
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        hfi_poke(*(hfi_racy_word *)(void *)(to + i), word);
    }
}

static inline void hfi_racy_out(char *to, const char *from, size_t size) {
    if (!hfi_racy_is_small(from, size)) {
        hfi_racy_out_any(to, from, size);
        return;
    }
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = hfi_peek(*(const hfi_racy_word *)(const void *)(from + i));
        memcpy(to + i, &word, 8);
    }
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
