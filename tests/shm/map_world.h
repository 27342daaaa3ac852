/* map_world.h - what the tests of maps share: a value that tells whether it is whole, and an account.
 *
 *   value = key | number | filler, a function of both | check over all of it
 *
 * Contract    map_value_number fails the test if one byte of the value is of another key or number.
 *             map_sound: the segment's own check finds nothing, count and walk agree, each key once. */
#ifndef HF_TESTS_MAP_WORLD_H
#define HF_TESTS_MAP_WORLD_H

#include <holdfast/shm_map.h>

#include "harness.h"

enum { MAP_VALUE_WORDS = 7 };

struct map_value {
    uint64_t key, number, filler[MAP_VALUE_WORDS - 3], check;
};

static inline uint64_t map_mix(uint64_t a, uint64_t b) {
    check_random random = {a * UINT64_C(0x9E3779B97F4A7C15) ^ b};
    return check_random_next(&random);
}

static inline struct map_value map_value_make(uint64_t key, uint64_t number) {
    struct map_value value = {.key = key, .number = number};
    uint64_t sum = map_mix(key, number);
    for (unsigned i = 0; i < MAP_VALUE_WORDS - 3; i++)
        sum ^= value.filler[i] = map_mix(sum, i);
    value.check = sum;
    return value;
}

static inline uint64_t map_value_number(uint64_t key, const struct map_value *value, size_t size) {
    CHECK_EQ(size, sizeof *value);
    struct map_value right = map_value_make(key, value->number);
    CHECK_SAY(memcmp(value, &right, sizeof right) == 0,
              "key %" PRIu64 ": torn or of another: key %" PRIu64 ", number %" PRIu64, key,
              value->key, value->number);
    return value->number;
}

static inline hf_status map_put_number(hf_shm_map *map, uint64_t key, uint64_t number) {
    struct map_value value = map_value_make(key, number);
    return hf_shm_map_put(map, &key, sizeof key, &value, sizeof value, NULL);
}

/* HF_E_NOT_FOUND or HF_OK; anything else fails the test. */
static inline hf_status map_get_number(hf_shm_map *map, uint64_t key, uint64_t *number_out) {
    struct map_value value;
    size_t size = 0;
    hf_status status = hf_shm_map_get(map, &key, sizeof key, &value, sizeof value, &size, NULL);
    CHECK_SAY(status == HF_OK || status == HF_E_NOT_FOUND, "key %" PRIu64 ": status %d, %s", key,
              status, hf_shm_detail());
    if (status == HF_OK) *number_out = map_value_number(key, &value, size);
    return status;
}

static inline int map_fault(const char *name, const char *fault, void *context) {
    (void)context;
    fprintf(stderr, "%s: %s\n", name, fault);
    return 0;
}

/* Keys of the walk, each counted in `seen` (below `keys`; NULL: only counted). */
static inline uint64_t map_walk(hf_shm_map *map, unsigned *seen, uint64_t keys) {
    hf_shm_map_cursor cursor = {0};
    uint64_t key = 0, count = 0;
    struct map_value value;
    size_t size = 0, key_size = 0;
    hf_status status;
    while ((status = hf_shm_map_next(map, &cursor, &key, sizeof key, &key_size, &value,
                                     sizeof value, &size, NULL)) == HF_OK) {
        CHECK_EQ(key_size, sizeof key);
        map_value_number(key, &value, size);
        if (seen) {
            CHECK_LT(key, keys);
            seen[key]++;
        }
        count++;
    }
    CHECK_EQ(status, HF_E_EMPTY);
    return count;
}

static inline void map_sound(hf_shm *shm, const char *name, hf_shm_map *map) {
    hf_status status = hf_shm_check(shm, name, map_fault, NULL);
    CHECK_SAY(status == HF_OK, "check: status %d: %s", status, hf_shm_detail());
    CHECK_EQ(map_walk(map, NULL, 0), hf_shm_map_count(map));
}

/* Exactly as many new keys as there is room for; they are taken out again. */
static inline void map_fills_up(hf_shm_map *map, uint64_t capacity, uint64_t from) {
    uint64_t count = hf_shm_map_count(map), put = 0;
    hf_status status;
    while ((status = map_put_number(map, from + put, 1)) == HF_OK)
        put++;
    CHECK_EQ(status, HF_E_FULL);
    CHECK_EQ(count + put, capacity);
    for (uint64_t i = 0; i < put; i++) {
        uint64_t key = from + i;
        CHECK_EQ(hf_shm_map_erase(map, &key, sizeof key), HF_OK);
    }
}

static inline hf_shm *map_segment(uint64_t size) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, size);
    hf_status status = hf_shm_create_anonymous(&options, &shm);
    if (status == HF_E_NO_SPACE) CHECK_SKIP("/dev/shm has no room for the segment");
    CHECK_SAY(status == HF_OK, "status %d: %s", status, hf_shm_detail());
    return shm;
}

/* Another participant of the same segment. */
static inline hf_shm *map_join(hf_shm *shm) {
    hf_shm_options options;
    hf_shm *other = NULL;
    hf_shm_options_init(&options, 0);
    hf_status status = hf_shm_open_file(hf_shm_file(shm), &options, &other);
    CHECK_SAY(status == HF_OK, "status %d: %s", status, hf_shm_detail());
    return other;
}

/* NULL for capacity 0: opens what is there. */
static inline hf_shm_map *map_open(hf_shm *shm, const char *name, uint64_t capacity) {
    hf_shm_map_options options;
    hf_shm_map *map = NULL;
    hf_shm_map_options_init(&options, sizeof(uint64_t), sizeof(struct map_value), capacity);
    options.wait_ns = UINT64_C(60000000000);
    hf_status status =
        hf_shm_map_open(shm, name, capacity ? HF_SHM_CREATE : HF_SHM_OPEN, &options, &map);
    CHECK_SAY(status == HF_OK, "status %d: %s", status, hf_shm_detail());
    return map;
}

#endif
