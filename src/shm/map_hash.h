/* map_hash.h - where a key belongs: 64 bits from its bytes and the map's seed.
 *
 * Contract    a part of the layout: every process that opens a map computes the same.
 *             The seed is drawn when the map is made, so that whoever chooses keys but cannot read the
 *             segment cannot choose colliding ones.
 * Threads     pure.
 * Talks to    access.h (steps).   Called by map_read.c, map_write.c, map_health.c.
 * Source      multiply and fold the halves of the product: folded multiplication; constants: square roots of 2, 3, 5. */
#ifndef HFI_SHM_MAP_HASH_H
#define HFI_SHM_MAP_HASH_H

#include "access.h"

#if HFI_SHM_STEPS
/* Instead of the hash, for tests that want collisions. */
extern uint64_t (*hfi_map_hash_hook)(const void *key, size_t size);
#endif

static inline uint64_t map_fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t map_word(const char *at, size_t size) {
    uint64_t word = 0;
    memcpy(&word, at, size);
    return word;
}

/* The last 0 to 8 bytes of a key, in one word that differs for different ones of the same size. */
static inline uint64_t map_tail(const char *at, size_t size) {
    if (size >= 4) return map_word(at, 4) | map_word(at + size - 4, 4) << 32;
    if (size == 0) return 0;
    return (uint64_t)(unsigned char)at[0] | (uint64_t)(unsigned char)at[size / 2] << 8 |
           (uint64_t)(unsigned char)at[size - 1] << 16;
}

static inline uint64_t map_hash(const uint64_t seed[2], const void *key, size_t size) {
#if HFI_SHM_STEPS
    if (hfi_map_hash_hook) return hfi_map_hash_hook(key, size);
#endif
    const char *at = key;
    uint64_t hash = seed[0] ^ (size * UINT64_C(0x9E3779B97F4A7C15));
    for (; size > 8; at += 8, size -= 8)
        hash = map_fold(hash ^ map_word(at, 8), UINT64_C(0x6A09E667F3BCC909));
    hash = map_fold(hash ^ map_tail(at, size), UINT64_C(0xBB67AE8584CAA73B));
    return map_fold(hash ^ seed[1], UINT64_C(0x3C6EF372FE94F82B));
}

#endif
