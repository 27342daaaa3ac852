/* map.h - a hash map in shared memory: shards, levels, groups, cells, records. Internal.
 *
 *   header | extent[shards] | shard[shards] | taken bits | cells: level 0, 1, 2 | records
 *
 *   key --hash--> shard (upper half)        one lock, one version, one spare record
 *             \-> a group per level (lower) 8 cells in one cache line
 *   cell   = print:32 | record + 1:32       0: empty; the print is the lower half of the hash
 *   record = own:64 | version | home | sizes | key | value
 *   own    = generation:40 | shard + 1:24               shard + 1 = 0: free; only its shard changes it
 *
 * Rules       a record is filled while nothing refers to it, and one store of a cell makes it the
 *             value; the one it replaces becomes the shard's spare. A key stays in its cell until it
 *             is erased, whatever level that is. So a reader needs no lock and no version of a shard.
 * Who changes what  cells, spare, intent, count, version, extent and the records of a shard: who holds
 *             its lock. A free record: who puts his shard in its own word by compare-and-swap. The taken
 *             bits are a hint.
 * A death     under the lock leaves at most two records in doubt, `spare` and `intent`; whoever gets
 *             the lock after it settles both by looking at the cell that each calls home (map_shard.c).
 * Talks to    segment.h, access.h, racy_copy.h.   Included by map*.c and their tests only.
 * Source      one store makes a value: copy-on-write as in LMDB; 8 cells to a line: bucketised hash
 *             tables; levels of growing size tried in turn: multilevel adaptive hashing, Broder and
 *             Karlin, SODA 1990; check around the copy: seqlock, Boehm, MSPC 2012. */
#ifndef HFI_SHM_MAP_H
#define HFI_SHM_MAP_H

#include <holdfast/shm_map.h>

#include "segment.h"

#include "racy_copy.h"

#define MAP_LAYOUT      1
#define MAP_GROUP_CELLS 8
#define MAP_LEVELS      HF_SHM_MAP_LEVELS
#define MAP_GROUPS_MAX  64 /* of the last level of a shard: one bit each in map_extent.behind */

#define MAP_SHARD_BITS ((uint64_t)0xffffff) /* of an own word: shard + 1       */
#define MAP_GENERATION ((uint64_t)1 << 24)  /* one filling, or change of hands */

#define MAP_FORMAT_SIZE 192 /* bytes of a format with its 0 */

/* At offset 0; written when the map is made. */
struct map_header {
    uint64_t bytes;                   /* as in the options    */
    uint64_t key_size;                /* likewise             */
    uint64_t value_size;              /* likewise             */
    uint64_t capacity;                /* likewise             */
    uint64_t seed[2];                 /* of the hash, random  */
    char formats[2][MAP_FORMAT_SIZE]; /* of keys, of values   */
    uint64_t spare[10];
};

/* Changed by the holder of `lock` only. */
struct map_shard {
    struct hfi_shm_lock lock;
    _Atomic uint64_t spare;   /* record that the next value goes into                            */
    _Atomic uint64_t intent;  /* record + 1 that changes hands now; 0: none                      */
    _Atomic uint64_t version; /* of the last change                                              */
    _Atomic uint64_t count;   /* cells that are not empty; counted again after a death           */
    _Atomic uint64_t hint;    /* word of the taken bits to look at first                         */
    _Atomic uint64_t
        recovered; /* deaths that were put right                                      */
    uint64_t unused[9];
};

/* Read by every look for a key, changed when a shard grows: apart from what every change touches. */
struct map_extent {
    _Atomic uint32_t shape; /* reach:24 | levels in use - 1:8                                     */
    uint32_t spare;
    _Atomic uint64_t
        behind; /* bit g: keys of group g of the last level may lie up to `reach` behind */
};

struct map_record {
    _Atomic uint64_t own;
    _Atomic uint64_t version;
    _Atomic uint32_t home; /* index of the cell that refers to it, or did last */
    _Atomic uint32_t key_size;
    _Atomic uint32_t value_size;
    _Atomic uint32_t spare;
    /* key, padded to 8 bytes; value */
};

_Static_assert(sizeof(struct map_header) == 4 * HFI_SHM_LINE, "layout");
_Static_assert(sizeof(struct map_shard) == HFI_SHM_LINE, "layout");
_Static_assert(sizeof(struct map_record) == 32, "layout");
_Static_assert(sizeof(struct map_extent) == 16, "layout");

/* Everything that follows from the options; private. */
struct map_geometry {
    uint64_t size;     /* of the whole structure [bytes]              */
    uint64_t capacity; /* keys                                        */
    uint64_t records;  /* capacity + one spare per shard              */
    uint64_t words;    /* of taken bits                               */
    uint64_t cells;    /* in all levels of all shards                 */
    uint64_t stride;   /* of a record [bytes]                         */
    uint64_t extents_at, shards_at, taken_at, cells_at, records_at; /* offsets [bytes] */
    uint64_t level_at[MAP_LEVELS]; /* first cell of the level        */
    uint32_t groups[MAP_LEVELS];   /* per shard                      */
    uint32_t groups_all;           /* per shard, of all levels */
    uint32_t levels;               /* that have groups               */
    uint32_t shards;
    uint32_t key_size, value_size; /* the most [bytes]                            */
    uint32_t value_at;             /* in a record [bytes]                         */
    uint32_t bytes;                /* keys may be shorter                         */
};

struct hf_shm_map {
    struct hfi_shm_part part;
    struct map_geometry g;
    uint64_t seed[2];
    uint64_t wait_ns;
    struct map_extent *extents;
    struct map_shard *shards;
    _Atomic uint64_t *taken;
    _Atomic uint64_t *cells;
    char *records;
    char formats[2][MAP_FORMAT_SIZE]; /* of keys, of values */
};

/* --- map.c ------------------------------------------------------------------------------------- */

/* False if no map can be made so. */
bool hfi_map_geometry(const hf_shm_map_options *options, struct map_geometry *geometry_out);
/* A view of a part whose header may be garbage; false if it is. For recover, check and repair. */
bool hfi_map_view(const struct hfi_shm_part *part, hf_shm_map *map_out);

/* --- map_shard.c: under the lock of the shard -------------------------------------------------- */

/* Takes the lock and puts right what a dead holder left. */
hf_status hfi_map_lock(hf_shm_map *map, uint32_t shard, uint64_t wait_ns);
void hfi_map_unlock(hf_shm_map *map, uint32_t shard);
/* Settles spare and intent, counts again. Idempotent, may be killed in it. */
void hfi_map_settle(hf_shm_map *map, uint32_t shard);
/* A free record becomes the shard's; `intent` names it. False: there is none. */
bool hfi_map_record_take(hf_shm_map *map, uint32_t shard, uint64_t *index_out);
/* The shard's record becomes free; `intent` names it. */
void hfi_map_record_free(hf_shm_map *map, uint64_t index);
/* True if a cell refers to the record. */
bool hfi_map_record_linked(hf_shm_map *map, uint64_t index);
/* Recovers whoever died with a shard's lock in his hands; returns how many. Without the lock of any. */
size_t hfi_map_rescue(hf_shm_map *map);

/* map_show.c: for struct hfi_shm_kind. */
hf_status hfi_map_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing);

/* --- words, and what they say ------------------------------------------------------------------ */

static inline struct map_record *map_record(const hf_shm_map *map, uint64_t index) {
    return (struct map_record *)(void *)(map->records + index * map->g.stride);
}
static inline char *map_record_key(struct map_record *record) {
    return (char *)record + sizeof *record;
}
static inline char *map_record_value(const hf_shm_map *map, struct map_record *record) {
    return (char *)record + map->g.value_at;
}
/* Record of a cell's word; not below g.records if the word is empty or garbage. */
static inline uint64_t map_cell_record(uint64_t word) {
    return (uint64_t)(uint32_t)word - 1;
}
static inline uint32_t map_owner_shard(uint64_t own) { /* + 1 */
    return (uint32_t)(own & MAP_SHARD_BITS);
}

static inline uint32_t map_range(uint32_t value, uint32_t bound) { /* Lemire 2019 */
    return (uint32_t)((uint64_t)value * bound >> 32);
}
static inline uint32_t map_hash_shard(const hf_shm_map *map, uint64_t hash) {
    return map_range((uint32_t)(hash >> 32), map->g.shards);
}
/* Group of a print in one level: from the print alone, so that a cell tells where it belongs. */
static inline uint32_t map_group(const hf_shm_map *map, uint32_t print, uint32_t level) {
    static const uint32_t mix[MAP_LEVELS] = {0x9E3779B1u, 0x85EBCA77u, 0xC2B2AE3Du};
    return map_range(print * mix[level], map->g.groups[level]);
}
/* How far keys lie in a shard. */
struct map_shape {
    uint32_t levels; /* in use, at least 1                                                */
    uint32_t reach;  /* groups behind the home group of the last level that may hold keys, see
                      * map_probe                                                         */
};
/* Of all keys of the shard, bounded by what there is. */
static inline struct map_shape map_shape_load(const hf_shm_map *map, uint32_t shard) {
    uint32_t word = hfi_shm_load32(&map->extents[shard].shape);
    struct map_shape shape = {(word & 0xff) + 1, word >> 8};
    if (shape.levels > map->g.levels) shape.levels = map->g.levels;
    if (shape.reach >= map->g.groups_all) shape.reach = map->g.groups_all - 1;
    return shape;
}
static inline void map_shape_store(hf_shm_map *map, uint32_t shard, struct map_shape shape) {
    hfi_shm_store32(&map->extents[shard].shape, shape.reach << 8 | (shape.levels - 1));
}

/* The bit of a print in `behind`. */
static inline uint64_t map_behind_bit(const hf_shm_map *map, uint32_t print) {
    return UINT64_C(1) << map_group(map, print, map->g.levels - 1);
}
/* Of keys with this print: most have nothing behind. */
static inline struct map_shape map_shape_of(const hf_shm_map *map, uint32_t shard, uint32_t print) {
    struct map_shape shape = map_shape_load(map, shard);
    if (shape.reach != 0 &&
        !(hfi_shm_load64(&map->extents[shard].behind) & map_behind_bit(map, print)))
        shape.reach = 0;
    return shape;
}

static inline uint64_t map_group_cell(const hf_shm_map *map, uint32_t shard, uint32_t level,
                                      uint32_t group) {
    return map->g.level_at[level] +
           ((uint64_t)shard * map->g.groups[level] + group) * MAP_GROUP_CELLS;
}
/* First cell of the group `further` behind the home group of the last level: the others of that level,
 * then all of the levels below it. 0 < further < groups_all. */
static inline uint64_t map_behind(const hf_shm_map *map, uint32_t shard, uint32_t print,
                                  uint32_t further) {
    uint32_t level = map->g.levels - 1, groups = map->g.groups[level];
    if (further < groups) {
        uint32_t group = map_group(map, print, level) + further;
        return map_group_cell(map, shard, level, group >= groups ? group - groups : group);
    }
    while (further >= map->g.groups[level])
        further -= map->g.groups[level--];
    return map_group_cell(map, shard, level, further);
}
/* First cell of the place'th group in the order in which a key is looked for: the newest level first. */
static inline uint64_t map_probe(const hf_shm_map *map, uint32_t shard, uint32_t print,
                                 struct map_shape shape, uint32_t place) {
    if (place >= shape.levels) return map_behind(map, shard, print, place - shape.levels + 1);
    uint32_t level = shape.levels - 1 - place;
    return map_group_cell(map, shard, level, map_group(map, print, level));
}
static inline uint32_t map_probes(struct map_shape shape) {
    return shape.levels + shape.reach;
}

#endif
