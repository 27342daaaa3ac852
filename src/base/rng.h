/* rng.h - random numbers for choices, never for secrets (those come from hfi_os_random).
 *
 * A generator is one uint64_t that belongs to one thread; any value but 0 is a state of
 * hfi_rng_next. hfi_rng_seed makes one from anything, also from 0 and from counters.
 * Source  splitmix64: Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195;
 *         xorshift64*: Vigna 2016, doi:10.1145/2845077;
 *         unbiased enough multiply-shift range: Lemire 2019, doi:10.1145/3230636. */
#ifndef HFI_RNG_H
#define HFI_RNG_H

#include <stdint.h>

/* One step of splitmix64: a good mix of every bit of `value`. */
static inline uint64_t hfi_rng_mix(uint64_t value) {
    value += 0x9E3779B97F4A7C15u;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

/* A state from any value. */
static inline uint64_t hfi_rng_seed(uint64_t value) {
    uint64_t state = hfi_rng_mix(value);
    return state != 0 ? state : 0x9E3779B97F4A7C15u;
}

static inline uint64_t hfi_rng_next(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1Du;
}

/* 0 <= result < bound; 0 for bound 0. Bias at most bound / 2^32 for bounds of 32 bits. */
static inline uint32_t hfi_rng_below(uint64_t *state, uint32_t bound) {
    return (uint32_t)(((hfi_rng_next(state) >> 32) * bound) >> 32);
}

#endif
