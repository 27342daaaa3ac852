/* map_write.c - changes of a map: under the lock of the key's shard, each of them one store of a cell.
 *
 *   find the key, or the first empty place: newest level first, then the others, then `reach` groups
 *   nothing empty, or three quarters full --> the next level is in use --> reach + 1 --> HF_E_FULL
 *
 * Invariants  the order of stores is that of map_shard.c: intent before anything changes hands, the
 *             record whole before the cell refers to it, intent = 0 last.
 *             A level or a longer reach is announced before the first key is put there.
 * Talks to    map.h, map_hash.h, map_find.h.   Called by the program.
 * Threads     any; the lock is the shard's.
 * Fails with  HF_E_FULL, HF_E_EXISTS, HF_E_STALE, HF_E_NOT_FOUND, HF_E_INVALID, HF_E_TIMEOUT;
 *             HF_E_CORRUPT if a place refers to no record of its shard. */
#include "map.h"
#include "map_hash.h"

#include "map_find.h"

hf_status hfi_map_find(hf_shm_map *map, struct map_place *p, const void *key, size_t key_size) {
    uint64_t empty = MAP_NONE;
    p->record = MAP_NONE;
    p->shape = map_shape_of(map, p->shard, p->print);
    for (uint32_t n = 0; n < map_probes(p->shape); n++) {
        uint64_t cell = map_probe(map, p->shard, p->print, p->shape, n);
        for (uint64_t i = cell; i < cell + MAP_GROUP_CELLS; i++) {
            uint64_t word = hfi_shm_load64(&map->cells[i]);
            if ((uint32_t)word == 0) {
                if (empty == MAP_NONE) empty = i;
                continue;
            }
            if (word >> 32 != p->print) continue;
            uint64_t index = map_cell_record(word);
            if (index >= map->g.records) return map_place_damaged(p->shard);
            struct map_record *record = map_record(map, index);
            if (map_owner_shard(hfi_shm_load64(&record->own)) != p->shard + 1)
                return map_place_damaged(p->shard);
            if (hfi_shm_load32(&record->key_size) != key_size ||
                !map_key_same(map_record_key(record), key, key_size))
                continue;
            p->cell = i;
            p->record = index;
            return HF_OK;
        }
    }
    p->cell = empty;
    return HF_OK;
}

static uint64_t group_empty(hf_shm_map *map, uint64_t cell) {
    for (uint64_t i = cell; i < cell + MAP_GROUP_CELLS; i++)
        if ((uint32_t)hfi_shm_load64(&map->cells[i]) == 0) return i;
    return MAP_NONE;
}

/* Places in the levels of this shape, of one shard. */
static uint64_t shape_cells(const hf_shm_map *map, struct map_shape shape) {
    uint64_t groups = 0;
    for (uint32_t level = 0; level < shape.levels; level++)
        groups += map->g.groups[level];
    return groups * MAP_GROUP_CELLS;
}

/* An empty place for a key that is not there: p->cell if that is good, or further ones come into use. */
static bool place_make(hf_shm_map *map, struct map_place *p, uint64_t count) {
    struct map_shape all = map_shape_load(map, p->shard);
    while (all.levels < map->g.levels &&
           (p->cell == MAP_NONE || (count + 1) * 4 > shape_cells(map, all) * 3)) {
        p->shape.levels = ++all.levels;
        uint64_t cell = group_empty(map, map_probe(map, p->shard, p->print, p->shape, 0));
        if (cell != MAP_NONE) p->cell = cell;
        if (!HFI_SHM_MUTANT(805)) map_shape_store(map, p->shard, all);
    }
    while (p->cell == MAP_NONE && p->shape.reach + 1 < map->g.groups_all) {
        p->shape.reach++;
        p->cell = group_empty(
            map, map_probe(map, p->shard, p->print, p->shape, map_probes(p->shape) - 1));
        if (p->cell == MAP_NONE) continue;
        if (all.reach < p->shape.reach) all.reach = p->shape.reach;
        (void)hfi_shm_or64(&map->extents[p->shard].behind, map_behind_bit(map, p->print));
        map_shape_store(map, p->shard, all);
    }
    return p->cell != MAP_NONE;
}

/* --- changes ----------------------------------------------------------------------------------- */

struct change {
    const void *key, *value;
    size_t key_size, value_size;
    enum { ALWAYS, ABSENT, VERSION } when;
    uint64_t version; /* wanted, then the new one */
};

/* Fills the shard's spare record with the change, for a cell; false if it is not the shard's. */
static bool spare_fill(hf_shm_map *map, const struct map_place *p, struct change *change,
                       uint64_t *spare_out) {
    struct map_shard *s = &map->shards[p->shard];
    uint64_t spare = hfi_shm_load64(&s->spare);
    if (spare >= map->g.records) return false;
    struct map_record *record = map_record(map, spare);
    uint64_t own = hfi_shm_load64(&record->own);
    if (map_owner_shard(own) != p->shard + 1) return false;
    uint64_t version = hfi_shm_load64(&s->version) + 1;
    hfi_shm_store64(&s->version, version);
    hfi_shm_intent_fence(); /* who sees a byte of the new content sees that no cell refers to it */
    hfi_shm_store64(&record->version, version);
    hfi_shm_store32(&record->home, (uint32_t)p->cell);
    hfi_shm_store32(&record->key_size, (uint32_t)change->key_size);
    hfi_shm_store32(&record->value_size, (uint32_t)change->value_size);
    if (change->key_size) hfi_shm_copy_in(map_record_key(record), change->key, change->key_size);
    if (change->value_size)
        hfi_shm_copy_in(map_record_value(map, record), change->value, change->value_size);
    /* SYNC(map.own): the content of this generation is complete. */
    if (!HFI_SHM_MUTANT(806)) hfi_shm_store64(&record->own, own + MAP_GENERATION);
    change->version = version;
    *spare_out = spare;
    return true;
}

/* SYNC(map.cell): from this store on the record is the key's value. */
static void cell_store(hf_shm_map *map, const struct map_place *p, uint64_t record) {
    hfi_shm_store64(&map->cells[p->cell], (uint64_t)p->print << 32 | (record + 1));
}

static hf_status change_replace(hf_shm_map *map, const struct map_place *p, struct change *change) {
    struct map_shard *s = &map->shards[p->shard];
    uint64_t spare = 0;
    if (!HFI_SHM_MUTANT(807)) hfi_shm_store64(&s->intent, p->record + 1);
    if (!spare_fill(map, p, change, &spare)) return map_place_damaged(p->shard);
    cell_store(map, p, spare);
    hfi_shm_store64(&s->spare, p->record);
    hfi_shm_store64(&s->intent, 0);
    return HF_OK;
}

/* HF_E_FULL without a sentence: there may be room after a rescue. */
static hf_status change_insert(hf_shm_map *map, struct map_place *p, struct change *change) {
    struct map_shard *s = &map->shards[p->shard];
    uint64_t count = hfi_shm_load64(&s->count), spare = 0, fresh = 0;
    if (!place_make(map, p, count) || !hfi_map_record_take(map, p->shard, &fresh)) return HF_E_FULL;
    if (!spare_fill(map, p, change, &spare)) {
        hfi_map_record_free(map, fresh);
        hfi_shm_store64(&s->intent, 0);
        return map_place_damaged(p->shard);
    }
    hfi_shm_store64(&s->count, count + 1);
    cell_store(map, p, spare);
    hfi_shm_store64(&s->spare, fresh);
    hfi_shm_store64(&s->intent, 0);
    return HF_OK;
}

static void change_erase(hf_shm_map *map, const struct map_place *p) {
    struct map_shard *s = &map->shards[p->shard];
    uint64_t left = hfi_shm_load64(&s->count) - 1;
    if (!HFI_SHM_MUTANT(808)) hfi_shm_store64(&s->intent, p->record + 1);
    hfi_shm_store64(&s->version, hfi_shm_load64(&s->version) + 1);
    hfi_shm_store64(&map->cells[p->cell], 0);
    hfi_shm_store64(&s->count, left);
    hfi_map_record_free(map, p->record);
    hfi_shm_store64(&s->intent, 0);
    /* Nobody looks for what is not there: the shard may begin with its first level again. */
    if (left != 0 || map_probes(map_shape_load(map, p->shard)) == 1) return;
    map_shape_store(map, p->shard, (struct map_shape){1, 0});
    hfi_shm_store64(&map->extents[p->shard].behind, 0);
}

static hf_status change_put(hf_shm_map *map, struct map_place *p, struct change *change) {
    if (p->record == MAP_NONE) {
        if (change->when == VERSION && change->version != 0) return HF_E_NOT_FOUND;
        return change_insert(map, p, change);
    }
    if (change->when == ABSENT || (change->when == VERSION && change->version == 0))
        return HF_E_EXISTS;
    if (change->when == VERSION &&
        hfi_shm_load64(&map_record(map, p->record)->version) != change->version)
        return HF_E_STALE;
    return change_replace(map, p, change);
}

static hf_status map_put(hf_shm_map *map, struct change *change, uint64_t *version_out) {
    if (map == NULL || !map_key_fits(map, change->key, change->key_size))
        return map_key_refused(map, change->key, change->key_size);
    if (change->value_size > map->g.value_size || (change->value == NULL && change->value_size))
        return hfi_shm_say(HF_E_INVALID, "a value of %zu bytes%s: values of this map have up to %u",
                           change->value_size, change->value ? "" : " at NULL", map->g.value_size);
    uint64_t hash = map_hash(map->seed, change->key, change->key_size);
    struct map_place p = {.shard = map_hash_shard(map, hash), .print = (uint32_t)hash};
    for (bool again = true;; again = false) {
        hf_status status = hfi_map_lock(map, p.shard, map->wait_ns);
        if (status != HF_OK) return status;
        status = hfi_map_find(map, &p, change->key, change->key_size);
        if (status == HF_OK) status = change_put(map, &p, change);
        hfi_map_unlock(map, p.shard);
        if (status == HF_OK && version_out) *version_out = change->version;
        /* Somebody may have died with the last record in his hands. */
        if (status != HF_E_FULL) return status;
        if (again && hfi_map_rescue(map) != 0) continue;
        return hfi_shm_say(status, "no room for another key: the map was made for %llu",
                           (unsigned long long)map->g.capacity);
    }
}

hf_status hf_shm_map_put(hf_shm_map *map, const void *key, size_t key_size, const void *value,
                         size_t value_size, uint64_t *version_out) {
    return map_put(map, &(struct change){key, value, key_size, value_size, ALWAYS, 0}, version_out);
}

hf_status hf_shm_map_put_if_absent(hf_shm_map *map, const void *key, size_t key_size,
                                   const void *value, size_t value_size, uint64_t *version_out) {
    return map_put(map, &(struct change){key, value, key_size, value_size, ABSENT, 0}, version_out);
}

hf_status hf_shm_map_replace_if(hf_shm_map *map, const void *key, size_t key_size,
                                const void *value, size_t value_size, uint64_t version,
                                uint64_t *version_out) {
    return map_put(map, &(struct change){key, value, key_size, value_size, VERSION, version},
                   version_out);
}

static hf_status map_erase(hf_shm_map *map, const void *key, size_t key_size, bool any,
                           uint64_t version) {
    if (map == NULL || !map_key_fits(map, key, key_size))
        return map_key_refused(map, key, key_size);
    uint64_t hash = map_hash(map->seed, key, key_size);
    struct map_place p = {.shard = map_hash_shard(map, hash), .print = (uint32_t)hash};
    hf_status status = hfi_map_lock(map, p.shard, map->wait_ns);
    if (status != HF_OK) return status;
    status = hfi_map_find(map, &p, key, key_size);
    if (status == HF_OK) {
        if (p.record == MAP_NONE)
            status = HF_E_NOT_FOUND;
        else if (!any && hfi_shm_load64(&map_record(map, p.record)->version) != version)
            status = HF_E_STALE;
        else
            change_erase(map, &p);
    }
    hfi_map_unlock(map, p.shard);
    return status;
}

hf_status hf_shm_map_erase(hf_shm_map *map, const void *key, size_t key_size) {
    return map_erase(map, key, key_size, true, 0);
}

hf_status hf_shm_map_erase_if(hf_shm_map *map, const void *key, size_t key_size, uint64_t version) {
    return map_erase(map, key, key_size, false, version);
}

/* Under the lock: every cell of a shard. */
static hf_status shard_clear(hf_shm_map *map, uint32_t shard) {
    struct map_place p = {.shard = shard};
    for (uint32_t level = 0; level < map->g.levels; level++) {
        uint64_t first = map_group_cell(map, shard, level, 0);
        for (p.cell = first; p.cell < first + map->g.groups[level] * MAP_GROUP_CELLS; p.cell++) {
            uint64_t word = hfi_shm_load64(&map->cells[p.cell]);
            if ((uint32_t)word == 0) continue;
            p.record = map_cell_record(word);
            if (p.record >= map->g.records ||
                map_owner_shard(hfi_shm_load64(&map_record(map, p.record)->own)) != shard + 1)
                return map_place_damaged(shard);
            change_erase(map, &p);
        }
    }
    return HF_OK;
}

hf_status hf_shm_map_clear(hf_shm_map *map) {
    if (map == NULL) return map_key_refused(map, NULL, 0);
    for (uint32_t shard = 0; shard < map->g.shards; shard++) {
        hf_status status = hfi_map_lock(map, shard, map->wait_ns);
        if (status != HF_OK) return status;
        status = shard_clear(map, shard);
        hfi_map_unlock(map, shard);
        if (status != HF_OK) return status;
    }
    return HF_OK;
}
