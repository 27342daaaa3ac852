/* map_show.c - the shards and records of a map, one by one, for who looks from outside.
 *
 *   record   own names no shard: free     its home cell refers to it: live     else spare, or in hand
 *
 * Contract    one item per shard and per record, whatever stands in them; no lock is taken, nothing is
 *             written. While a writer is at work a record may be between two states: it is in hand.
 * Bounds      one pass over each, by private numbers; a few looks at a record that changes.
 * Talks to    map.h, segment.h.   Called by the segment through hfi_shm_map_kind.
 * Threads     any, while others use the map. */
#include "map.h"

static bool shard_show(hf_shm_map *map, uint32_t shard, struct hfi_shm_showing *showing) {
    const struct map_shard *s = &map->shards[shard];
    hf_shm_view_item item = {.piece = HF_SHM_PIECE_SHARD, .index = shard};
    for (unsigned looks = 0; looks < HFI_SHM_LOOKS; looks++) {
        uint32_t owner = hfi_shm_lock_owner(&s->lock);
        item.state = owner != 0 ? HF_SHM_STATE_HELD : HF_SHM_STATE_FREE;
        item.number = hfi_shm_load64(&s->version);
        item.value = hfi_shm_load64(&s->count);
        hfi_shm_show_owner(map->part.shm, &item, owner);
        if (hfi_shm_lock_owner(&s->lock) == owner) break;
    }
    return hfi_shm_show(showing, &item, s, sizeof *s);
}

static uint32_t cell_level(const hf_shm_map *map, uint64_t cell) {
    uint32_t level = map->g.levels - 1;
    while (level > 0 && cell < map->g.level_at[level])
        level--;
    return level;
}

/* One look. False: the record changed hands meanwhile. */
static bool record_look(hf_shm_map *map, uint64_t index, hf_shm_view_item *item,
                        uint64_t *size_out) {
    struct map_record *record = map_record(map, index);
    uint64_t own = hfi_shm_load64(&record->own), home = hfi_shm_load32(&record->home);
    uint32_t shard = map_owner_shard(own), owner = 0;
    *item = (hf_shm_view_item){.piece = HF_SHM_PIECE_RECORD, .index = index};
    *size_out = map->g.stride;
    if (shard == 0) {
        item->state = HF_SHM_STATE_FREE;
    } else if (shard > map->g.shards) {
        item->state = HF_SHM_STATE_DAMAGED;
    } else if (hfi_map_record_linked(map, index)) {
        uint64_t value_size = hfi_shm_load32(&record->value_size);
        item->state = HF_SHM_STATE_LIVE;
        item->number = hfi_shm_load64(&record->version);
        item->value = cell_level(map, home);
        if (value_size <= map->g.value_size) *size_out = map->g.value_at + value_size;
    } else if (hfi_shm_load64(&map->shards[shard - 1].spare) == index) {
        item->state = HF_SHM_STATE_SPARE;
    } else {
        item->state = HF_SHM_STATE_TAKEN;
        owner = hfi_shm_lock_owner(&map->shards[shard - 1].lock);
    }
    hfi_shm_show_owner(map->part.shm, item, owner);
    return hfi_shm_load64(&record->own) == own && hfi_shm_load32(&record->home) == home &&
           (item->state == HF_SHM_STATE_LIVE) ==
               (shard != 0 && shard <= map->g.shards && hfi_map_record_linked(map, index));
}

hf_status hfi_map_show(const struct hfi_shm_part *part, struct hfi_shm_showing *showing) {
    hf_shm_map map;
    if (!hfi_map_view(part, &map))
        return hfi_shm_say(HF_E_CORRUPT,
                           "the header of the map does not give the size that the table says");
    for (uint32_t shard = 0; shard < map.g.shards; shard++)
        if (!shard_show(&map, shard, showing)) return HF_OK;
    for (uint64_t index = 0; index < map.g.records; index++) {
        hf_shm_view_item item;
        uint64_t size = 0;
        for (unsigned looks = 0; looks < HFI_SHM_LOOKS; looks++)
            if (record_look(&map, index, &item, &size)) break;
        if (!hfi_shm_show(showing, &item, map_record(&map, index), size)) break;
    }
    return HF_OK;
}
