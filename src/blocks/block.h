/* block.h - one allocation: payload, slack, trailer.
 *
 *   |<------------------ extent ------------------->|
 *   | payload (size) | pattern | ... | site? | trailer|
 *
 * trailer = (its address - note + secret) * MULTIPLIER, and its complement once the block is freed.
 * note    = slack : 13 | domain : 2 | site : 1, slack = extent - 8 - size (- 8 if a site is kept).
 * For libc's blocks without a site "address - note" is the end of the payload, where the pattern is.
 * Undoing the product gives `note` back; any damage to the trailer makes it a random 64-bit number,
 * so one comparison against 16 bits answers "whole?", "live?" and "how long?" at once.
 * The 8 bytes after the payload hold a pattern (as far as there is slack): an overflow by one byte
 * hits it. The first 8 bytes of a freed block hold it too: a write after free hits that.
 * Invariants  decode(seal(note)) == note; decode of a freed or damaged trailer is > NOTE_MAX, but
 *             for 1 damaged word in 2^48.
 * Talks to    nothing.   Called by slab, fit's owner, large, shm.
 * Threads     plain stores: a block belongs to one thread at a time.
 * Source      canaries after StackGuard (Cowan et al. 1998); a multiplicative code so that slack is
 *             protected by the same word, at the price of one multiplication. */
#ifndef HFI_BLOCK_H
#define HFI_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/racy.h"
#include "base/visibility.h"

#define HFI_TRAILER   ((size_t)8)
#define HFI_SITE_WORD ((size_t)8)
#define HFI_FILL_MAX  ((size_t)256) /* of a freed block, hardened: bytes filled and checked */

#define HFI_SLACK_MAX    0x1fffu
#define HFI_DOMAIN_SHIFT 13
#define HFI_NOTE_SITE    0x8000u
#define HFI_NOTE_MAX     0xffffu

#define HFI_BLOCK_MULTIPLIER UINT64_C(0x9E3779B97F4A7C15)
#define HFI_BLOCK_INVERSE    UINT64_C(0xF1DE83E19937733D)
_Static_assert(HFI_BLOCK_MULTIPLIER *HFI_BLOCK_INVERSE == 1, "the product can be undone");

/* Drawn once at start. The pattern's bytes are all different and all >= 0x80: text and zeroes, what
 * programs overflow with, never look like it. Four words of their own and not a structure: then
 * each is one memory operand on the hot path. */
extern HFI_HIDDEN uint64_t hfi_block_secret;
extern HFI_HIDDEN uint64_t hfi_block_pattern;
extern HFI_HIDDEN uint64_t hfi_block_multiplier; /* the constants above, as operands */
extern HFI_HIDDEN uint64_t hfi_block_inverse;

void hfi_block_secret_start(void);

static inline uint64_t hfi_load64(const void *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline void hfi_store64(void *at, uint64_t value) {
    memcpy(at, &value, sizeof value);
}

static inline void hfi_complement64(void *at) {
#if defined(__x86_64__)
    /* One instruction on memory; the compiler would keep the loaded word and store it back. */
    __asm__("notq %0" : "+m"(*(uint64_t *)at));
#else
    hfi_store64(at, ~hfi_load64(at));
#endif
}

/* Where the trailer of a block stands. */
static inline char *hfi_block_trailer(const void *payload, size_t extent) {
    return (char *)payload + extent - HFI_TRAILER;
}

/* What a trailer says of itself: its address less the note. */
static inline uintptr_t hfi_block_end(const char *trailer) {
    return hfi_load64(trailer) * hfi_block_inverse - hfi_block_secret;
}

/* The note of a live, whole block; anything above HFI_NOTE_MAX otherwise. */
static inline uint64_t hfi_block_note(const void *payload, size_t extent) {
    const char *at = hfi_block_trailer(payload, extent);
    return (uintptr_t)at - hfi_block_end(at);
}

/* The note of a freed, whole block; anything above HFI_NOTE_MAX otherwise. */
static inline uint64_t hfi_block_note_freed(const void *payload, size_t extent) {
    const char *at = hfi_block_trailer(payload, extent);
    return (uintptr_t)at - (~hfi_load64(at) * hfi_block_inverse - hfi_block_secret);
}

/* The same of a block that another thread may be sealing, writing to or freeing right now. */
static inline uint64_t hfi_block_peek_note(const void *payload, size_t extent) {
    const char *at = hfi_block_trailer(payload, extent);
    return (uintptr_t)at - (hfi_peek64(at) * hfi_block_inverse - hfi_block_secret);
}

static inline uint64_t hfi_block_peek_note_freed(const void *payload, size_t extent) {
    const char *at = hfi_block_trailer(payload, extent);
    return (uintptr_t)at - (~hfi_peek64(at) * hfi_block_inverse - hfi_block_secret);
}

/* The trailer of a live block with this note. */
static inline uint64_t hfi_block_word(const void *payload, size_t extent, uint64_t note) {
    return ((uintptr_t)payload + extent - HFI_TRAILER - note + hfi_block_secret) *
           hfi_block_multiplier;
}

/* Makes the block live: writes pattern and trailer. `note` carries slack, domain and site flag;
 * slack must be what note says. */
static inline void hfi_block_seal(void *payload, size_t extent, size_t size, uint64_t note) {
    hfi_store64((char *)payload + size, hfi_block_pattern);
    hfi_store64(hfi_block_trailer(payload, extent), hfi_block_word(payload, extent, note));
}

static inline void hfi_block_mark_freed(void *payload, size_t extent) {
    hfi_complement64(hfi_block_trailer(payload, extent));
}

/* Words of a freed block that hold the pattern where whole blocks are filled. `note` is the freed
 * block's; a site word stays readable: it names who freed the block. */
static inline size_t hfi_block_fill_words(size_t extent, uint64_t note) {
    size_t bytes = extent - HFI_TRAILER - ((note & HFI_NOTE_SITE) ? HFI_SITE_WORD : 0);
    return (bytes < HFI_FILL_MAX ? bytes : HFI_FILL_MAX) / 8;
}

static inline void hfi_block_fill(void *payload, size_t words) {
    uint64_t pattern = hfi_block_pattern;
    for (size_t i = 0; i < words; i++)
        hfi_store64((char *)payload + 8 * i, pattern);
}

/* The same of a block without a site, in steps of 16 bytes that overlap in the middle: four kinds of
 * length, and no loop whose end a branch predictor must guess. */
typedef uint64_t hfi_pair __attribute__((vector_size(16), aligned(8), may_alias));
#define HFI_BLOCK_PAIRS(from, to, act)                                                             \
    do {                                                                                           \
        for (size_t i_ = (from); i_ < (to); i_++) {                                                \
            act(i_ * sizeof(hfi_pair));                                                            \
            act(bytes - (i_ + 1) * sizeof(hfi_pair));                                              \
        }                                                                                          \
    } while (0)

static inline void hfi_block_fill_whole(void *payload, size_t extent) {
    size_t bytes = 8 * hfi_block_fill_words(extent, 0);
    char *at = (char *)payload;
    hfi_pair pattern = {hfi_block_pattern, hfi_block_pattern};
#define HFI_PUT(offset) (*(hfi_pair *)(at + (offset)) = pattern)
    if (bytes < 32) { /* 8 or 24 */
        hfi_store64(at, hfi_block_pattern);
        hfi_store64(at + (bytes & 16) / 2, hfi_block_pattern);
        hfi_store64(at + (bytes & 16), hfi_block_pattern);
        return;
    }
    HFI_BLOCK_PAIRS(0, 2, HFI_PUT);
    if (bytes <= 64) return;
    HFI_BLOCK_PAIRS(2, 4, HFI_PUT);
    if (bytes <= 128) return;
    HFI_BLOCK_PAIRS(4, 8, HFI_PUT);
#undef HFI_PUT
}

/* True if all of that is there still. */
HFI_UNWATCHED bool hfi_block_filled_whole(const void *payload, size_t extent) {
    size_t bytes = 8 * hfi_block_fill_words(extent, 0);
    const char *at = (const char *)payload;
    if (bytes < 32) {
        uint64_t pattern = hfi_block_pattern;
        return ((hfi_peek64(at) ^ pattern) | (hfi_peek64(at + (bytes & 16) / 2) ^ pattern) |
                (hfi_peek64(at + (bytes & 16)) ^ pattern)) == 0;
    }
    hfi_pair pattern = {hfi_block_pattern, hfi_block_pattern}, differs = {0, 0};
#define HFI_LOOK(offset) (differs |= *(const hfi_pair *)(at + (offset)) ^ pattern)
    HFI_BLOCK_PAIRS(0, 2, HFI_LOOK);
    if (bytes > 64) HFI_BLOCK_PAIRS(2, 4, HFI_LOOK);
    if (bytes > 128) HFI_BLOCK_PAIRS(4, 8, HFI_LOOK);
#undef HFI_LOOK
    return (differs[0] | differs[1]) == 0;
}

/* Makes memory look like a block that was freed: pattern at the start (or all over), freed trailer. */
static inline void hfi_block_freshen(void *payload, size_t extent, bool fill) {
    hfi_block_fill(payload, fill ? hfi_block_fill_words(extent, 0) : 1);
    hfi_store64(hfi_block_trailer(payload, extent), ~hfi_block_word(payload, extent, 0));
}

/* End of what belongs to the program and its slack: trailer, or site word if one is kept. */
static inline char *hfi_block_limit(const void *payload, size_t extent, uint64_t note) {
    return hfi_block_trailer(payload, extent) - ((note & HFI_NOTE_SITE) ? HFI_SITE_WORD : 0);
}

static inline size_t hfi_block_size(size_t extent, uint64_t note) {
    return extent - HFI_TRAILER - ((note & HFI_NOTE_SITE) ? HFI_SITE_WORD : 0) -
           (size_t)(note & HFI_SLACK_MAX);
}

/* The trailer at this address is whole, live or freed; one product for both answers. */
static inline bool hfi_block_trailer_whole(const char *at) {
    uint64_t product = hfi_peek64(at) * hfi_block_inverse;
    uint64_t live = (uintptr_t)at + hfi_block_secret - product;
    uint64_t freed = (uintptr_t)at + hfi_block_secret + product + hfi_block_inverse;
    return ((live <= HFI_NOTE_MAX) | (freed <= HFI_NOTE_MAX)) != 0;
}

/* `word` stands where the payload ends: as far as there is slack, is it the pattern? */
static inline bool hfi_block_is_pattern(uint64_t word, size_t slack) {
    uint64_t found = word ^ hfi_block_pattern;
    if (__builtin_expect(found == 0, 1)) return true;
    return slack < 8 && (slack == 0 || found << (64 - 8 * slack) == 0);
}

/* True if the bytes after the payload are as the seal left them. */
static inline bool hfi_block_pattern_whole(const char *limit, size_t slack) {
    return hfi_block_is_pattern(hfi_load64(limit - slack), slack);
}

static inline bool hfi_block_peek_pattern(const char *limit, size_t slack) {
    return hfi_block_is_pattern(hfi_peek64(limit - slack), slack);
}

#endif
