/* map_shard.c - the lock of a shard, the records it takes and frees, and what a dead holder leaves.
 *
 *   put of a new key   intent = n; own[n] free -> ours; spare filled; cell = spare; spare = n; intent = 0
 *   put of a known key intent = old;                    spare filled; cell = spare; spare = old; intent = 0
 *   erase              intent = old; cell = 0; own[old] = free; intent = 0
 *
 * Invariants  without a holder the spare is ours and no cell refers to it, and intent is 0.
 *             Between any two stores at most `spare` and `intent` are in doubt, and which of them a cell
 *             refers to says how far the dead one came: settle() is right from each of these states,
 *             and from every state that a settle() that was killed leaves.
 * Talks to    segment.h.   Called by map_write.c, map_health.c.
 * Threads     everything but rescue needs the lock of the shard. */
#include "map.h"

/* --- records ----------------------------------------------------------------------------------- */

static void taken_set(hf_shm_map *map, uint64_t index) {
    hfi_shm_or64(&map->taken[index / 64], UINT64_C(1) << index % 64);
}

static void taken_clear(hf_shm_map *map, uint64_t index) {
    hfi_shm_and64(&map->taken[index / 64], ~(UINT64_C(1) << index % 64));
}

/* The hint says that this record is free; it may be wrong. */
static bool record_claim(hf_shm_map *map, uint32_t shard, uint64_t index) {
    struct map_record *record = map_record(map, index);
    /* From here on our death frees it again if it has become ours. */
    hfi_shm_store64(&map->shards[shard].intent, index + 1);
    uint64_t own = hfi_shm_load64(&record->own);
    if (map_owner_shard(own) == 0 &&
        hfi_shm_swap64(&record->own, &own, own + MAP_GENERATION + (shard + 1))) {
        taken_set(map, index);
        return true;
    }
    /* Its owner clears the bit after it has freed it: before our set, or we see it free now. */
    taken_set(map, index);
    if (map_owner_shard(hfi_shm_load64(&record->own)) == 0) taken_clear(map, index);
    return false;
}

bool hfi_map_record_take(hf_shm_map *map, uint32_t shard, uint64_t *index_out) {
    struct map_shard *s = &map->shards[shard];
    uint64_t first = hfi_shm_load64(&s->hint);
    if (first >= map->g.words) first = 0;
    for (uint64_t i = 0; i < map->g.words; i++) {
        uint64_t word = first + i < map->g.words ? first + i : first + i - map->g.words;
        uint64_t free = ~hfi_shm_load64(&map->taken[word]);
        for (; free != 0; free &= free - 1) {
            uint64_t index = word * 64 + (uint64_t)__builtin_ctzll(free);
            if (index >= map->g.records || !record_claim(map, shard, index)) continue;
            if (i != 0) hfi_shm_store64(&s->hint, word);
            *index_out = index;
            return true;
        }
    }
    hfi_shm_store64(&s->intent, 0);
    return false;
}

void hfi_map_record_free(hf_shm_map *map, uint64_t index) {
    struct map_record *record = map_record(map, index);
    uint64_t own = hfi_shm_load64(&record->own);
    hfi_shm_store64(&record->own, own & ~MAP_SHARD_BITS);
    if (HFI_SHM_MUTANT(801)) return;
    taken_clear(map, index);
}

/* --- after a death ----------------------------------------------------------------------------- */

static bool record_is_ours(hf_shm_map *map, uint32_t shard, uint64_t index) {
    return index < map->g.records &&
           map_owner_shard(hfi_shm_load64(&map_record(map, index)->own)) == shard + 1;
}

bool hfi_map_record_linked(hf_shm_map *map, uint64_t index) {
    uint64_t home = hfi_shm_load32(&map_record(map, index)->home);
    return home < map->g.cells && map_cell_record(hfi_shm_load64(&map->cells[home])) == index;
}

static uint64_t shard_cells(hf_shm_map *map, uint32_t shard) {
    uint64_t count = 0;
    for (uint32_t level = 0; level < map->g.levels; level++) {
        const _Atomic uint64_t *cell = &map->cells[map_group_cell(map, shard, level, 0)];
        for (uint32_t i = 0; i < map->g.groups[level] * MAP_GROUP_CELLS; i++)
            count += (uint32_t)hfi_shm_load64(&cell[i]) != 0;
    }
    return count;
}

void hfi_map_settle(hf_shm_map *map, uint32_t shard) {
    struct map_shard *s = &map->shards[shard];
    uint64_t spare = hfi_shm_load64(&s->spare), doubt = hfi_shm_load64(&s->intent) - 1;
    if (doubt < map->g.records && doubt != spare) {
        if (!record_is_ours(map, shard, doubt)) {
            /* Free, or already of another shard. A hint that says free too often does no harm. */
            if (map_owner_shard(hfi_shm_load64(&map_record(map, doubt)->own)) == 0)
                taken_clear(map, doubt);
        } else if (!hfi_map_record_linked(map, doubt)) {
            if (record_is_ours(map, shard, spare) && hfi_map_record_linked(map, spare))
                hfi_shm_store64(&s->spare, doubt); /* the put was done but for this */
            else
                hfi_map_record_free(map, doubt); /* the put had not begun, or the erase is done */
        }
    }
    if (!HFI_SHM_MUTANT(802)) hfi_shm_store64(&s->count, shard_cells(map, shard));
    hfi_shm_store64(&s->recovered, hfi_shm_load64(&s->recovered) + 1);
    hfi_shm_store64(&s->intent, 0);
}

/* --- the lock ---------------------------------------------------------------------------------- */

hf_status hfi_map_lock(hf_shm_map *map, uint32_t shard, uint64_t wait_ns) {
    struct hfi_shm_lock *lock = &map->shards[shard].lock;
    uint32_t died = 0;
    if (hfi_shm_self(map->part.shm) == 0) return hfi_shm_closed(map->part.shm);
    /* Without a wait first: that needs no clock. */
    hf_status status = hfi_shm_lock_acquire(map->part.shm, lock, 0, &died);
    if (status == HF_E_TIMEOUT && wait_ns != 0)
        status = hfi_shm_lock_acquire(map->part.shm, lock, hfi_shm_deadline(wait_ns), &died);
    if (status != HF_OK)
        return status == HF_E_TIMEOUT
                   ? hfi_shm_say(status,
                                 "another writer held shard %u of the map for %llu ms: it is "
                                 "stopped, or waits for memory",
                                 shard, (unsigned long long)(wait_ns / 1000000))
                   : status;
    if (died != 0 && !HFI_SHM_MUTANT(803)) hfi_map_settle(map, shard);
    return HF_OK;
}

void hfi_map_unlock(hf_shm_map *map, uint32_t shard) {
    hfi_shm_lock_release(map->part.shm, &map->shards[shard].lock);
}

size_t hfi_map_rescue(hf_shm_map *map) {
    size_t found = 0;
    hf_shm *shm = map->part.shm;
    for (uint32_t shard = 0; shard < map->g.shards; shard++) {
        uint32_t owner = hfi_shm_lock_owner(&map->shards[shard].lock);
        if (owner == 0 || owner == hfi_shm_self(shm) || !hfi_shm_dead(shm, owner)) continue;
        hfi_shm_recover(shm, owner);
        found++;
    }
    return found;
}
