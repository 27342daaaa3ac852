/* map_read.c - reads of a map: no lock, no wait, whatever writers do or died doing.
 *
 *   cell  ->  record of this shard?  ->  copy  ->  same cell?  same own word?  else again
 *
 * Invariants  a cell is changed away from a record before that record is filled again, and the own word
 *             changes after the filling and before a cell refers to it. So if the cell is the same
 *             after the copy, and then the own word as before it, nobody filled the record while it was
 *             copied, and the copy is the value that the key had when the cell was looked at again.
 *             A key never changes its cell, so a look at every place where it may be misses it only if
 *             it was absent at some moment of the look.
 * Talks to    map.h, map_hash.h.   Called by the program.
 * Threads     any. After TRIES_MAX times "again" the shard's lock is taken: a bound, not a need.
 * Fails with  HF_E_NOT_FOUND; HF_E_INVALID; HF_E_CORRUPT if a cell refers to no record of its shard
 *             under the lock; HF_E_TIMEOUT from there. */
#include "map.h"
#include "map_hash.h"

#include "map_find.h"

#define TRIES_MAX 200

#if HFI_SHM_STEPS
uint64_t (*hfi_map_hash_hook)(const void *key, size_t size);
#endif

enum outcome { OTHER, FOUND, AGAIN };

/* What is wanted of a record, and what was got. */
struct reading {
    void *key_out, *value_out;
    size_t key_room, value_room;
    uint32_t key_size, value_size;
    uint64_t version;
};

/* Copies the record behind a cell's word if it is the key's (NULL: whatever it is). */
static enum outcome record_read(hf_shm_map *map, uint32_t shard, const _Atomic uint64_t *cell,
                                uint64_t word, const void *key, size_t key_size,
                                struct reading *reading) {
    uint64_t index = map_cell_record(word);
    if (index >= map->g.records) return AGAIN;
    struct map_record *record = map_record(map, index);
    /* SYNC(map.own): content that goes with this word was written before it. */
    uint64_t own = hfi_shm_load64(&record->own);
    if (map_owner_shard(own) != shard + 1) return AGAIN;
    uint32_t found_key = hfi_shm_load32(&record->key_size);
    uint32_t found_value = hfi_shm_load32(&record->value_size);
    bool same = key == NULL ||
                (found_key == key_size && map_key_same(map_record_key(record), key, key_size));
    if (same) {
        if (found_key > map->g.key_size || found_value > map->g.value_size) return AGAIN;
        reading->key_size = found_key;
        reading->value_size = found_value;
        reading->version = hfi_shm_load64(&record->version);
        if (key == NULL && found_key <= reading->key_room)
            hfi_shm_copy_out(reading->key_out, map_record_key(record), found_key);
        if (found_value <= reading->value_room)
            hfi_shm_copy_out(reading->value_out, map_record_value(map, record), found_value);
    }
    hfi_shm_valid_fence();
    if (HFI_SHM_MUTANT(804)) return same ? FOUND : OTHER;
    if (hfi_shm_load64(cell) != word || hfi_shm_load64(&record->own) != own) return AGAIN;
    return same ? FOUND : OTHER;
}

/* FOUND, OTHER (it is not there) or AGAIN (gave up after *tries). */
static enum outcome key_read(hf_shm_map *map, uint64_t hash, const void *key, size_t key_size,
                             struct reading *reading, unsigned *tries) {
    uint32_t shard = map_hash_shard(map, hash), print = (uint32_t)hash;
    struct map_shape shape = map_shape_of(map, shard, print);
    for (uint32_t place = 0; place < map_probes(shape); place++) {
        const _Atomic uint64_t *cell = &map->cells[map_probe(map, shard, print, shape, place)];
        for (uint32_t i = 0; i < MAP_GROUP_CELLS; i++) {
            /* SYNC(map.cell): the record it refers to was filled before. */
            uint64_t word = hfi_shm_load64(&cell[i]);
            while (word >> 32 == print && (uint32_t)word != 0) {
                enum outcome outcome =
                    record_read(map, shard, &cell[i], word, key, key_size, reading);
                if (outcome == FOUND) return FOUND;
                if (outcome == OTHER) break;
                if (++*tries > TRIES_MAX) return AGAIN;
                word = hfi_shm_load64(&cell[i]);
            }
        }
    }
    return OTHER;
}

hf_status hf_shm_map_get(hf_shm_map *map, const void *key, size_t key_size, void *value_out,
                         size_t value_size, size_t *size_out, uint64_t *version_out) {
    if (map == NULL || (value_out == NULL && value_size != 0) || !map_key_fits(map, key, key_size))
        return map_key_refused(map, key, key_size);
    struct reading reading = {.value_out = value_out, .value_room = value_size};
    uint64_t hash = map_hash(map->seed, key, key_size);
    unsigned tries = 0;
    enum outcome outcome = key_read(map, hash, key, key_size, &reading, &tries);
    if (outcome == AGAIN) {
        uint32_t shard = map_hash_shard(map, hash);
        hf_status status = hfi_map_lock(map, shard, map->wait_ns);
        if (status != HF_OK) return status;
        tries = TRIES_MAX;
        outcome = key_read(map, hash, key, key_size, &reading, &tries);
        hfi_map_unlock(map, shard);
        if (outcome == AGAIN) return map_place_damaged(shard);
    }
    if (outcome == OTHER) return HF_E_NOT_FOUND;
    if (size_out) *size_out = reading.value_size;
    if (reading.value_size > value_size)
        return hfi_shm_say(HF_E_INVALID, "the value has %u bytes, the buffer %zu",
                           reading.value_size, value_size);
    if (version_out) *version_out = reading.version;
    return HF_OK;
}

/* --- the walk ---------------------------------------------------------------------------------- */

static uint32_t cell_shard(const hf_shm_map *map, uint64_t cell) {
    uint32_t level = map->g.levels - 1;
    while (cell < map->g.level_at[level])
        level--;
    return (uint32_t)((cell - map->g.level_at[level]) / MAP_GROUP_CELLS / map->g.groups[level]);
}

/* One cell: FOUND, or OTHER if it is empty. */
static enum outcome cell_read(hf_shm_map *map, uint64_t place, struct reading *reading,
                              unsigned tries) {
    const _Atomic uint64_t *cell = &map->cells[place];
    for (;;) {
        uint64_t word = hfi_shm_load64(cell);
        if ((uint32_t)word == 0) return OTHER;
        uint32_t shard = cell_shard(map, place);
        if (record_read(map, shard, cell, word, NULL, 0, reading) == FOUND) return FOUND;
        if (tries-- == 0) return AGAIN;
    }
}

/* The records of the group after this one: by the time the walk comes to them they are there. */
static void group_prefetch(const hf_shm_map *map, uint64_t place) {
    if (place % MAP_GROUP_CELLS != 0 || place + MAP_GROUP_CELLS >= map->g.cells) return;
    for (uint64_t i = place + MAP_GROUP_CELLS; i < place + 2 * MAP_GROUP_CELLS; i++) {
        uint64_t index = map_cell_record(hfi_shm_load64(&map->cells[i]));
        if (index >= map->g.records) continue;
        const char *record = (const char *)map_record(map, index);
        __builtin_prefetch(record);
        __builtin_prefetch(record + 64);
    }
}

hf_status hf_shm_map_next(hf_shm_map *map, hf_shm_map_cursor *cursor, void *key_out,
                          size_t key_size, size_t *key_size_out, void *value_out, size_t value_size,
                          size_t *value_size_out, uint64_t *version_out) {
    if (map == NULL || cursor == NULL || (key_out == NULL && key_size != 0) ||
        (value_out == NULL && value_size != 0))
        return hfi_shm_say(HF_E_INVALID, "a walk needs a map, a cursor and places for its keys");
    struct reading reading = {
        .key_out = key_out, .key_room = key_size, .value_out = value_out, .value_room = value_size};
    for (; cursor->place < map->g.cells; cursor->place++) {
        group_prefetch(map, cursor->place);
        enum outcome outcome = cell_read(map, cursor->place, &reading, TRIES_MAX);
        if (outcome == AGAIN) {
            uint32_t shard = cell_shard(map, cursor->place);
            hf_status status = hfi_map_lock(map, shard, map->wait_ns);
            if (status != HF_OK) return status;
            outcome = cell_read(map, cursor->place, &reading, 0);
            hfi_map_unlock(map, shard);
            if (outcome == AGAIN) {
                cursor->place++; /* the next call goes on behind it */
                return map_place_damaged(shard);
            }
        }
        if (outcome == OTHER) continue;
        if (key_size_out) *key_size_out = reading.key_size;
        if (value_size_out) *value_size_out = reading.value_size;
        if (reading.key_size > key_size || reading.value_size > value_size)
            return hfi_shm_say(HF_E_INVALID,
                               "the key has %u bytes, its buffer %zu; the value %u, "
                               "its buffer %zu",
                               reading.key_size, key_size, reading.value_size, value_size);
        if (version_out) *version_out = reading.version;
        cursor->place++;
        return HF_OK;
    }
    return HF_E_EMPTY;
}

uint64_t hf_shm_map_count(hf_shm_map *map) {
    uint64_t count = 0;
    for (uint32_t shard = 0; map != NULL && shard < map->g.shards; shard++)
        count += hfi_shm_load64(&map->shards[shard].count);
    return count;
}
