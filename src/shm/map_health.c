/* map_health.c - a map's recovery, check, repair and figures.
 *
 *   cell --> record in range, of this shard, at home here --> its key leads back to this cell
 *
 * Invariants  everything that is judged is judged under the lock of its shard; a shard whose living
 *             holder does not let go is passed over, as being changed is no fault.
 *             After repair every cell leads to a key that is found there, every record belongs to a
 *             cell or is its shard's spare or free, and every count and hint is exact.
 * Talks to    map.h, map_hash.h, map_find.h.   Called by the segment through hfi_shm_map_kind.
 * Trust       the words may be garbage: indexes are below private numbers, loops run over them. */
#include "map.h"
#include "map_hash.h"

#include "map_find.h"

#define WAIT_NS UINT64_C(200000000)

/* The lock of a shard for somebody who looks at all of them: waits once for one that is stopped. */
static bool shard_enter(hf_shm_map *map, uint32_t shard, uint64_t *wait_ns) {
    if (hfi_map_lock(map, shard, *wait_ns) == HF_OK) return true;
    *wait_ns = 0;
    return false;
}

static void map_recover(const struct hfi_shm_part *part, uint32_t owner) {
    hf_shm_map map;
    if (!hfi_map_view(part, &map)) return;
    for (uint32_t shard = 0; shard < map.g.shards; shard++) {
        if (!hfi_shm_lock_seize(part->shm, &map.shards[shard].lock, owner)) continue;
        hfi_map_settle(&map, shard);
        hfi_map_unlock(&map, shard);
    }
}

/* --- one cell ---------------------------------------------------------------------------------- */

/* What is wrong with a cell that is not empty; NULL: nothing, and its print and hash are right. */
static const char *cell_fault(hf_shm_map *map, uint32_t shard, uint64_t cell, uint64_t word) {
    uint64_t index = map_cell_record(word);
    if (index >= map->g.records) return "refers to a record that does not exist";
    struct map_record *record = map_record(map, index);
    uint64_t own = hfi_shm_load64(&record->own);
    if (map_owner_shard(own) != shard + 1) return "refers to a record of another shard";
    if (hfi_shm_load32(&record->home) != cell)
        return "refers to a record that is at home elsewhere";
    uint32_t key_size = hfi_shm_load32(&record->key_size);
    if (key_size > map->g.key_size || (key_size < map->g.key_size && !map->g.bytes) ||
        hfi_shm_load32(&record->value_size) > map->g.value_size)
        return "refers to a record with impossible sizes";
    char key[HF_SHM_MAP_KEY_MAX];
    memcpy(key, map_record_key(record), key_size);
    uint64_t hash = map_hash(map->seed, key, key_size);
    if ((uint32_t)hash != word >> 32 || map_hash_shard(map, hash) != shard)
        return "has the print of another key";
    return NULL;
}

/* The same, and the key is found here and nowhere else before. */
static const char *cell_lost(hf_shm_map *map, uint32_t shard, uint64_t cell, uint64_t word) {
    if (map_cell_record(word) >= map->g.records) return "changed under the lock";
    struct map_record *record = map_record(map, map_cell_record(word));
    uint32_t key_size = hfi_shm_load32(&record->key_size);
    char key[HF_SHM_MAP_KEY_MAX];
    if (key_size > map->g.key_size) return "changed under the lock";
    memcpy(key, map_record_key(record), key_size);
    struct map_place place = {.shard = shard, .print = (uint32_t)(word >> 32)};
    if (hfi_map_find(map, &place, key, key_size) != HF_OK) return "cannot be searched for";
    if (place.record == MAP_NONE) return "is not where its key is looked for";
    return place.cell == cell ? NULL : "has a key that another place has, too";
}

/* Calls `visit` for every cell of a shard that is not empty. */
typedef void (*cell_visitor)(hf_shm_map *map, uint32_t shard, uint32_t level, uint64_t cell,
                             uint64_t word, void *context);
static void shard_visit(hf_shm_map *map, uint32_t shard, cell_visitor visit, void *context) {
    for (uint32_t level = 0; level < map->g.levels; level++) {
        uint64_t first = map_group_cell(map, shard, level, 0);
        uint64_t count = (uint64_t)map->g.groups[level] * MAP_GROUP_CELLS;
        for (uint64_t cell = first; cell < first + count; cell++) {
            uint64_t word = hfi_shm_load64(&map->cells[cell]);
            if ((uint32_t)word != 0) visit(map, shard, level, cell, word, context);
        }
    }
}

/* `further` of map_behind for the group that a key is in; 0: it is at home in its level. */
static uint32_t cell_distance(const hf_shm_map *map, uint32_t shard, uint32_t level, uint64_t cell,
                              uint64_t word) {
    uint32_t last = map->g.levels - 1, groups = map->g.groups[level];
    uint32_t home = map_group(map, (uint32_t)(word >> 32), level);
    uint32_t group = (uint32_t)((cell - map_group_cell(map, shard, level, 0)) / MAP_GROUP_CELLS);
    if (group == home) return 0;
    if (level == last) return group > home ? group - home : group + groups - home;
    for (uint32_t above = level + 1; above <= last; above++)
        group += map->g.groups[above];
    return group;
}

/* The spare is ours and nobody refers to it. */
static bool spare_is_sound(hf_shm_map *map, uint32_t shard) {
    uint64_t spare = hfi_shm_load64(&map->shards[shard].spare);
    return spare < map->g.records &&
           map_owner_shard(hfi_shm_load64(&map_record(map, spare)->own)) == shard + 1 &&
           !hfi_map_record_linked(map, spare);
}

/* The record belongs to a cell or is the spare of the shard whose lock is held. */
static bool record_is_used(hf_shm_map *map, uint32_t shard, uint64_t index) {
    return index == hfi_shm_load64(&map->shards[shard].spare) || hfi_map_record_linked(map, index);
}

/* --- check ------------------------------------------------------------------------------------- */

struct check {
    struct hfi_shm_finding *finding;
    uint64_t count;
};

static void check_cell(hf_shm_map *map, uint32_t shard, uint32_t level, uint64_t cell,
                       uint64_t word, void *context) {
    struct check *check = context;
    check->count++;
    const char *fault = cell_fault(map, shard, cell, word);
    if (fault == NULL) fault = cell_lost(map, shard, cell, word);
    if (fault)
        hfi_shm_fault(check->finding, "place %llu (shard %u, level %u) %s",
                      (unsigned long long)cell, shard, level, fault);
}

/* Some writer has this record in hand: taking or freeing it takes two stores. */
static bool record_in_doubt(hf_shm_map *map, uint64_t index) {
    for (uint32_t shard = 0; shard < map->g.shards; shard++)
        if (hfi_shm_load64(&map->shards[shard].intent) == index + 1) return true;
    return false;
}

static bool hint_is_missing(hf_shm_map *map, uint64_t index) {
    return map_owner_shard(hfi_shm_load64(&map_record(map, index)->own)) == 0 &&
           (hfi_shm_load64(&map->taken[index / 64]) >> index % 64 & 1) != 0;
}

static void check_record(hf_shm_map *map, uint64_t index, struct hfi_shm_finding *finding,
                         uint64_t *wait_ns) {
    struct map_record *record = map_record(map, index);
    uint32_t shard = map_owner_shard(hfi_shm_load64(&record->own));
    if (shard > map->g.shards) {
        hfi_shm_fault(finding, "record %llu belongs to shard %u of %u", (unsigned long long)index,
                      shard - 1, map->g.shards);
    } else if (shard != 0) {
        if (!shard_enter(map, shard - 1, wait_ns)) return;
        if (map_owner_shard(hfi_shm_load64(&record->own)) == shard &&
            !record_is_used(map, shard - 1, index))
            hfi_shm_fault(finding, "record %llu is lost: shard %u has it and does not use it",
                          (unsigned long long)index, shard - 1);
        hfi_map_unlock(map, shard - 1);
    } else if (hint_is_missing(map, index) && !record_in_doubt(map, index) &&
               hint_is_missing(map, index)) {
        hfi_shm_fault(finding, "record %llu is free and its hint says taken",
                      (unsigned long long)index);
    }
}

static void map_check(const struct hfi_shm_part *part, struct hfi_shm_finding *finding) {
    hf_shm_map map;
    uint64_t wait_ns = WAIT_NS;
    if (!hfi_map_view(part, &map)) {
        hfi_shm_fault(finding, "the header does not give the size that the table says");
        return;
    }
    for (uint32_t shard = 0; shard < map.g.shards; shard++) {
        if (!shard_enter(&map, shard, &wait_ns)) continue;
        struct check check = {.finding = finding};
        shard_visit(&map, shard, check_cell, &check);
        uint64_t count = hfi_shm_load64(&map.shards[shard].count);
        if (count != check.count)
            hfi_shm_fault(finding, "shard %u counts %llu keys and has %llu", shard,
                          (unsigned long long)count, (unsigned long long)check.count);
        if (!spare_is_sound(&map, shard))
            hfi_shm_fault(finding, "the spare record of shard %u is none of its own or in use",
                          shard);
        if (hfi_shm_load64(&map.shards[shard].intent) != 0)
            hfi_shm_fault(finding, "shard %u has a record in doubt and nobody at work", shard);
        hfi_map_unlock(&map, shard);
    }
    for (uint64_t index = 0; index < map.g.records; index++)
        check_record(&map, index, finding, &wait_ns);
}

/* --- repair ------------------------------------------------------------------------------------ */

struct mending {
    struct map_shape shape;
    uint64_t behind;
    uint64_t count;
    size_t put_right;
};

static void cell_drop(hf_shm_map *map, uint64_t cell, struct mending *mending) {
    hfi_shm_store64(&map->cells[cell], 0);
    mending->put_right++;
}

/* Drops what is no key of this shard; the others say which levels and groups are in use. */
static void mend_cell(hf_shm_map *map, uint32_t shard, uint32_t level, uint64_t cell, uint64_t word,
                      void *context) {
    struct mending *mending = context;
    if (cell_fault(map, shard, cell, word) != NULL) {
        cell_drop(map, cell, mending);
        return;
    }
    if (mending->shape.levels < level + 1) mending->shape.levels = level + 1;
    uint32_t distance = cell_distance(map, shard, level, cell, word);
    if (mending->shape.reach < distance) mending->shape.reach = distance;
    if (distance != 0) mending->behind |= map_behind_bit(map, (uint32_t)(word >> 32));
}

/* Drops what is not found where it is. */
static void mend_place(hf_shm_map *map, uint32_t shard, uint32_t level, uint64_t cell,
                       uint64_t word, void *context) {
    struct mending *mending = context;
    (void)level;
    if (cell_lost(map, shard, cell, word) != NULL)
        cell_drop(map, cell, mending);
    else
        mending->count++;
}

/* Under the lock. */
static size_t mend_shard(hf_shm_map *map, uint32_t shard) {
    struct map_shard *s = &map->shards[shard];
    struct mending mending = {.shape = map_shape_load(map, shard)};
    uint32_t before = map_probes(mending.shape);
    if (hfi_shm_load64(&s->intent) != 0) {
        hfi_map_settle(map, shard);
        mending.put_right++;
    }
    shard_visit(map, shard, mend_cell, &mending);
    if (map_probes(mending.shape) != before) mending.put_right++;
    map_shape_store(map, shard, mending.shape);
    if (mending.behind & ~hfi_shm_or64(&map->extents[shard].behind, mending.behind))
        mending.put_right++;
    shard_visit(map, shard, mend_place, &mending);
    if (hfi_shm_load64(&s->count) != mending.count) {
        hfi_shm_store64(&s->count, mending.count);
        mending.put_right++;
    }
    if (!spare_is_sound(map, shard)) hfi_shm_store64(&s->spare, MAP_NONE);
    return mending.put_right;
}

static size_t mend_record(hf_shm_map *map, uint64_t index, uint64_t *wait_ns) {
    struct map_record *record = map_record(map, index);
    uint64_t own = hfi_shm_load64(&record->own);
    uint32_t shard = map_owner_shard(own);
    size_t put_right = 0;
    if (shard > map->g.shards) { /* no cell refers to it: those were dropped */
        if (hfi_shm_swap64(&record->own, &own, own & ~MAP_SHARD_BITS)) put_right++;
    } else if (shard != 0 && shard_enter(map, shard - 1, wait_ns)) {
        if (map_owner_shard(hfi_shm_load64(&record->own)) == shard &&
            !record_is_used(map, shard - 1, index)) {
            hfi_map_record_free(map, index);
            put_right++;
        }
        hfi_map_unlock(map, shard - 1);
    }
    uint64_t bit = UINT64_C(1) << index % 64;
    if (map_owner_shard(hfi_shm_load64(&record->own)) == 0 &&
        hfi_shm_and64(&map->taken[index / 64], ~bit) & bit)
        put_right++;
    return put_right;
}

static size_t map_repair(const struct hfi_shm_part *part) {
    hf_shm_map map;
    if (!hfi_map_view(part, &map)) return 0;
    size_t put_right = 0;
    uint64_t wait_ns = WAIT_NS;
    for (uint32_t shard = 0; shard < map.g.shards; shard++) {
        if (!shard_enter(&map, shard, &wait_ns)) continue;
        put_right += mend_shard(&map, shard);
        hfi_map_unlock(&map, shard);
    }
    for (uint64_t index = 0; index < map.g.records; index++)
        put_right += mend_record(&map, index, &wait_ns);
    for (uint32_t shard = 0; shard < map.g.shards; shard++) {
        if (!shard_enter(&map, shard, &wait_ns)) continue;
        uint64_t fresh = 0;
        if (!spare_is_sound(&map, shard) && hfi_map_record_take(&map, shard, &fresh)) {
            hfi_shm_store64(&map.shards[shard].spare, fresh);
            hfi_shm_store64(&map.shards[shard].intent, 0);
            put_right++;
        }
        hfi_map_unlock(&map, shard);
    }
    return put_right;
}

/* --- figures ----------------------------------------------------------------------------------- */

static void map_figures(const struct hfi_shm_part *part, hf_shm_figures *figures_out) {
    hf_shm_map map;
    if (!hfi_map_view(part, &map)) return;
    hf_shm_figures figures = {.capacity = map.g.capacity, .count = hf_shm_map_count(&map)};
    for (uint32_t shard = 0; shard < map.g.shards; shard++) {
        figures.written += hfi_shm_load64(&map.shards[shard].version);
        figures.recovered += hfi_shm_load64(&map.shards[shard].recovered);
    }
    *figures_out = figures;
}

static void figures_cell(hf_shm_map *map, uint32_t shard, uint32_t level, uint64_t cell,
                         uint64_t word, void *context) {
    hf_shm_map_figures *figures = context;
    struct map_shape shape = map_shape_load(map, shard);
    uint32_t lines = shape.levels > level ? shape.levels - level : 1;
    uint32_t distance = cell_distance(map, shard, level, cell, word);
    if (distance != 0) lines = shape.levels + distance;
    figures->lines_hit += lines;
    if (lines > figures->lines_hit_max) figures->lines_hit_max = lines;
}

hf_status hf_shm_map_figures_of(hf_shm_map *map, hf_shm_map_figures *figures_out) {
    if (map == NULL || figures_out == NULL) return map_key_refused(NULL, NULL, 0);
    hf_shm_figures sums = {0};
    map_figures(&map->part, &sums);
    hf_shm_map_figures figures = {.capacity = map->g.capacity,
                                  .count = sums.count,
                                  .cells = map->g.cells,
                                  .changes = sums.written,
                                  .recovered = sums.recovered,
                                  .bytes = map->g.size,
                                  .shards = map->g.shards};
    for (uint32_t shard = 0; shard < map->g.shards; shard++) {
        struct map_shape shape = map_shape_load(map, shard);
        for (uint32_t level = 0; level < shape.levels; level++)
            figures.cells_active += (uint64_t)map->g.groups[level] * MAP_GROUP_CELLS;
        if (shape.levels > figures.levels) figures.levels = shape.levels;
        uint32_t lines = map_probes(shape);
        if (lines > figures.lines_miss_max) figures.lines_miss_max = lines;
        shard_visit(map, shard, figures_cell, &figures);
    }
    *figures_out = figures;
    return HF_OK;
}

const struct hfi_shm_kind hfi_shm_map_kind = {.layout = MAP_LAYOUT,
                                              .recover = map_recover,
                                              .check = map_check,
                                              .repair = map_repair,
                                              .figures = map_figures,
                                              .show = hfi_map_show};
