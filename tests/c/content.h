/* content.h - bytes a test writes into a block and expects to find again.
 *
 *   content_fill(block, size, tag);  ...  CHECK(content_whole(block, size, tag));
 *
 * Contract    byte i is a function of (tag, i), so a block moved or mixed up with another is noticed.
 *             Blocks above CONTENT_DENSE are written and read at both ends and once per 512 bytes:
 *             every page is touched, the test stays fast. content_whole_to checks a prefix, as
 *             realloc promises it.
 * Threads     plain memory; a block belongs to one thread at a time. */
#ifndef HF_TESTS_CONTENT_H
#define HF_TESTS_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTENT_DENSE ((size_t)8192)
#define CONTENT_EDGE  ((size_t)64)
#define CONTENT_STEP  ((size_t)512)

static inline unsigned char content_byte(uint64_t tag, size_t index) {
    uint64_t z = (tag + index) * UINT64_C(0x9E3779B97F4A7C15);
    return (unsigned char)(z >> 56);
}

/* The next index to look at behind `index`, in a block of `size`. */
static inline size_t content_next(size_t index, size_t size) {
    if (size <= CONTENT_DENSE || index + 1 < CONTENT_EDGE || index + CONTENT_EDGE >= size)
        return index + 1;
    size_t next = index - index % CONTENT_STEP + CONTENT_STEP;
    return next + CONTENT_EDGE < size ? next : size - CONTENT_EDGE;
}

static inline void content_fill(void *block, size_t size, uint64_t tag) {
    unsigned char *bytes = block;
    for (size_t i = 0; i < size; i = content_next(i, size))
        bytes[i] = content_byte(tag, i);
}

/* The first `prefix` bytes of a block that was filled with `size` bytes are as they were. */
static inline bool content_whole_to(const void *block, size_t size, size_t prefix, uint64_t tag) {
    const unsigned char *bytes = block;
    for (size_t i = 0; i < size && i < prefix; i = content_next(i, size))
        if (bytes[i] != content_byte(tag, i)) return false;
    return true;
}

static inline bool content_whole(const void *block, size_t size, uint64_t tag) {
    return content_whole_to(block, size, size, tag);
}

/* Every byte is zero; calloc promises it for all of them. */
static inline bool content_zero(const void *block, size_t size) {
    const unsigned char *bytes = block;
    unsigned char seen = 0;
    for (size_t i = 0; i < size; i++)
        seen |= bytes[i];
    return seen == 0;
}

#endif
