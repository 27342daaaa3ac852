/* map_find.h - a key as the program gave it, and a key as a record holds it.
 *
 * Contract    map_key_fits: the size is one that the map's keys have. map_key_same may compare bytes
 *             that are overwritten meanwhile: the caller looks at the record's own word afterwards.
 * Talks to    map.h.   Called by map_read.c, map_write.c, map_health.c.
 * Threads     any. */
#ifndef HFI_SHM_MAP_FIND_H
#define HFI_SHM_MAP_FIND_H

#include "map.h"

#define MAP_NONE UINT64_MAX

/* A key under the lock of its shard. */
struct map_place {
    uint32_t shard, print;
    struct map_shape shape;
    uint64_t cell;   /* the key's, if `record` is one; else the first empty one, or MAP_NONE */
    uint64_t record; /* MAP_NONE: the key is not there                                       */
};
/* map_write.c: fills the rest from shard and print. HF_E_CORRUPT: a cell refers to a record of others. */
hf_status hfi_map_find(hf_shm_map *map, struct map_place *place, const void *key, size_t key_size);

/* A cell under the lock of its shard, where every state is final. */
static inline hf_status map_place_damaged(uint32_t shard) {
    return hfi_shm_say(HF_E_CORRUPT,
                       "a place in shard %u of the map refers to no record of it: repair it with "
                       "hf_shm_repair",
                       shard);
}

static inline bool map_key_fits(const hf_shm_map *map, const void *key, size_t key_size) {
    if (key_size == map->g.key_size) return key != NULL;
    return map->g.bytes && key_size < map->g.key_size && (key != NULL || key_size == 0);
}

static inline hf_status map_key_refused(const hf_shm_map *map, const void *key, size_t key_size) {
    if (map == NULL || map_key_fits(map, key, key_size))
        return hfi_shm_say(HF_E_INVALID, "no map, or a size without its bytes");
    return hfi_shm_say(HF_E_INVALID, "a key of %zu bytes%s: keys of this map have %s%u", key_size,
                       key == NULL ? " at NULL" : "", map->g.bytes ? "0 to " : "", map->g.key_size);
}

/* relaxed words: the own word of the record says whether what they told was true. */
static inline bool map_key_same(const char *shared, const void *key, size_t size) {
    hfi_shm_step();
    const char *mine = key;
    for (; size >= 8; shared += 8, mine += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, mine, 8);
        if (hfi_peek(*(const hfi_racy_word *)(const void *)shared) != word) return false;
    }
    for (; size > 0; shared++, mine++, size--)
        if (hfi_peek(*shared) != *mine) return false;
    return true;
}

#endif
