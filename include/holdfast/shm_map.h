/* shm_map.h - a map in shared memory: keys to values, for any number of processes.
 *
 *   hf_shm_map_options options;                          hf_shm_map *map;
 *   hf_shm_map_options_init(&options, 8, 64, 100000);    hf_shm_map_open(shm, "prices", HF_SHM_OPEN_OR_CREATE, &options, &map);
 *   hf_shm_map_put(map, &key, 8, value, 64, NULL);       hf_shm_map_get(map, &key, 8, value, 64, &size, &version);
 *
 * Readers     never lock and never wait: they see a whole value, the one before a change or the one
 *             after it. Writers of the same shard (some hundred keys) take turns.
 * Caveats
 *  - The room for `capacity` keys is reserved when the map is made. Within it a map grows by levels:
 *    nothing that is in it ever moves.
 *  - A writer that is killed leaves the old value or the new one. A writer that is stopped holds up
 *    the writers of its shard, for `wait_ns` at most, and no reader.
 *  - Keys and values are bytes: a padding byte of a struct is part of it.
 *  - HF_E_NOT_FOUND, _EXISTS, _STALE and _EMPTY of an open map are answers: hf_shm_detail says nothing.
 *  - Every function may be called from any thread; close when no other thread uses the handle. */
#ifndef HOLDFAST_SHM_MAP_H
#define HOLDFAST_SHM_MAP_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/export.h>
#include <holdfast/shm.h>
#include <holdfast/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hf_shm_map hf_shm_map;

#define HF_SHM_MAP_KEY_MAX      4096                /* longest key [bytes]   */
#define HF_SHM_MAP_VALUE_MAX    ((uint64_t)1 << 30) /* longest value [bytes] */
#define HF_SHM_MAP_CAPACITY_MAX ((uint64_t)1 << 30) /* keys                  */
#define HF_SHM_MAP_LEVELS       3

/* What the keys are. With HF_SHM_OPEN zeroes and NULL mean "as it was made". */
typedef struct hf_shm_map_options {
    uint32_t struct_size;
    uint32_t bytes;           /* 1: keys of 0 to key_size bytes; 0: of exactly key_size       */
    uint64_t key_size;        /* 1 to HF_SHM_MAP_KEY_MAX [bytes]                              */
    uint64_t value_size;      /* longest value, 0 to HF_SHM_MAP_VALUE_MAX [bytes]             */
    uint64_t capacity;        /* keys it has room for, 1 to HF_SHM_MAP_CAPACITY_MAX           */
    const char *key_format;   /* as NumPy writes it; NULL: not said, any                      */
    const char *value_format; /* likewise                                                     */
    uint64_t wait_ns;         /* of this handle: longest wait for a living writer, 10 s       */
} hf_shm_map_options;

/* Keys of exactly `key_size` bytes; set .bytes = 1 for keys up to that. */
HF_API void hf_shm_map_options_init(hf_shm_map_options *options, uint64_t key_size,
                                    uint64_t value_size, uint64_t capacity);
/* HF_E_MISMATCH (another kind, sizes, capacity or formats), HF_E_NOT_FOUND, HF_E_EXISTS,
 * HF_E_NO_SPACE, HF_E_LIMIT, HF_E_INVALID. */
HF_API hf_status hf_shm_map_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                                 const hf_shm_map_options *options, hf_shm_map **map_out);
HF_API void hf_shm_map_close(hf_shm_map *map);
/* What the map was made with; the formats are "" if they were not said, and live as long as the map. */
HF_API void hf_shm_map_options_of(const hf_shm_map *map, hf_shm_map_options *options_out);

/* --- reading ----------------------------------------------------------------------------------- */

/* Copies the value. *size_out (may be NULL) is its length, *version_out (may be NULL) changes with every
 * change of this key and is never 0. HF_E_NOT_FOUND: no such key. HF_E_INVALID: the value is longer
 * than `value_size` (*size_out says how long), or the key's size is wrong. The bytes at `value_out`
 * mean something after HF_OK only. */
HF_API hf_status hf_shm_map_get(hf_shm_map *map, const void *key, size_t key_size, void *value_out,
                                size_t value_size, size_t *size_out, uint64_t *version_out);

/* A place in the walk over a map; all zero: before the first key. */
typedef struct hf_shm_map_cursor {
    uint64_t place;
} hf_shm_map_cursor;
/* One key with its value, copied; sizes and version may be NULL. HF_E_EMPTY: there are no more. A key
 * that is there from the first call to the last is seen exactly once, whatever else changes; its value
 * is of some moment in between. Buffers of the map's key_size and value_size always suffice. */
HF_API hf_status hf_shm_map_next(hf_shm_map *map, hf_shm_map_cursor *cursor, void *key_out,
                                 size_t key_size, size_t *key_size_out, void *value_out,
                                 size_t value_size, size_t *value_size_out, uint64_t *version_out);

/* Keys there are now: exact at rest. */
HF_API uint64_t hf_shm_map_count(hf_shm_map *map);

/* --- writing -----------------------------------------------------------------------------------
 * All in one piece, also for one who is killed in it. HF_E_FULL: no room for another key; a key that
 * is there can always be given another value. HF_E_TIMEOUT: a living writer held the shard for wait_ns.
 * *version_out (may be NULL) is the new version of the key. */

HF_API hf_status hf_shm_map_put(hf_shm_map *map, const void *key, size_t key_size,
                                const void *value, size_t value_size, uint64_t *version_out);
/* HF_E_EXISTS: there is one, and nothing happened. */
HF_API hf_status hf_shm_map_put_if_absent(hf_shm_map *map, const void *key, size_t key_size,
                                          const void *value, size_t value_size,
                                          uint64_t *version_out);
/* Compare and set: only if the key's version is `version` (0: only if it is absent, with HF_E_EXISTS
 * otherwise). HF_E_STALE: it has another one; HF_E_NOT_FOUND: it is gone. */
HF_API hf_status hf_shm_map_replace_if(hf_shm_map *map, const void *key, size_t key_size,
                                       const void *value, size_t value_size, uint64_t version,
                                       uint64_t *version_out);
/* HF_E_NOT_FOUND: no such key. */
HF_API hf_status hf_shm_map_erase(hf_shm_map *map, const void *key, size_t key_size);
/* Only if the key's version is `version`. HF_E_STALE, HF_E_NOT_FOUND. */
HF_API hf_status hf_shm_map_erase_if(hf_shm_map *map, const void *key, size_t key_size,
                                     uint64_t version);
/* Erases every key, shard by shard: a key put meanwhile may stay. */
HF_API hf_status hf_shm_map_clear(hf_shm_map *map);

/* --- figures ----------------------------------------------------------------------------------- */

typedef struct hf_shm_map_figures {
    uint64_t capacity, count; /* keys it has room for, has now                                  */
    uint64_t cells;           /* places in all levels                                           */
    uint64_t cells_active;    /* in the levels that are in use                                  */
    uint64_t changes;         /* puts and erases so far                                         */
    uint64_t recovered;       /* shards put right after the death of a writer                   */
    uint64_t bytes;           /* of the structure                                               */
    uint64_t lines_hit;       /* sum over all keys: cache lines of places looked at to find it  */
    uint32_t lines_hit_max;   /* the most of them                                               */
    uint32_t lines_miss_max;  /* cache lines of places looked at for a key that is not there    */
    uint32_t shards;
    uint32_t levels; /* in use in the fullest shard                                    */
} hf_shm_map_figures;
/* Walks over all places. */
HF_API hf_status hf_shm_map_figures_of(hf_shm_map *map, hf_shm_map_figures *figures_out);

#ifdef __cplusplus
}
#endif
#endif
