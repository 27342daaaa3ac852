/* map.c - a hash map in shared memory is made, opened and closed; what follows from its options.
 *
 *   capacity --> shards of some 400 keys --> cells for 1.5 times as many --> levels 1 : 4 : 16
 *
 * Invariants  the geometry follows from four numbers alone: an opener computes it from the header's
 *             and believes them only if the structure has the size that follows from them.
 *             A shard has cells for 8 standard deviations more keys than its share, so it is not
 *             full before the records are, but with a probability below 1e-11 for the largest map.
 * Talks to    segment.h.   Called by the program.
 * Fails with  HF_E_INVALID, HF_E_MISMATCH, and what hfi_shm_attach says.
 * Source      Poisson tail: Chernoff; see docs/design/0006-shared-memory.md. */
#include "map.h"

#include <stdio.h>

#include "base/assert.h"
#include "os/os.h"
#include "pages/meta.h"

#define SHARD_KEYS       384 /* a shard's share, of large maps                 */
#define SHARD_KEYS_SMALL 64  /* likewise, of small ones                        */
#define SHARDS_SMALL     16  /* so many before shards get larger               */
#define LEVEL_PARTS      21  /* 1 + 4 + 16                                     */
#define WAIT_NS          UINT64_C(10000000000)
#define OPEN_TRIES       100

static uint64_t round_up(uint64_t value, uint64_t to) {
    return (value + to - 1) / to * to;
}

static uint64_t root(uint64_t value) {
    uint64_t result = 0;
    while ((result + 1) * (result + 1) <= value)
        result++;
    return result;
}

static uint32_t shard_count(uint64_t capacity) {
    uint64_t few = capacity / SHARD_KEYS_SMALL, many = capacity / SHARD_KEYS;
    if (few > SHARDS_SMALL) few = SHARDS_SMALL;
    uint64_t shards = many > few ? many : few;
    return shards > 0 ? (uint32_t)shards : 1;
}

bool hfi_map_geometry(const hf_shm_map_options *o, struct map_geometry *geometry_out) {
    if (o->bytes > 1 || o->key_size < 1 || o->key_size > HF_SHM_MAP_KEY_MAX ||
        o->value_size > HF_SHM_MAP_VALUE_MAX || o->capacity < 1 ||
        o->capacity > HF_SHM_MAP_CAPACITY_MAX)
        return false;
    struct map_geometry g = {.capacity = o->capacity,
                             .bytes = o->bytes,
                             .key_size = (uint32_t)o->key_size,
                             .value_size = (uint32_t)o->value_size,
                             .levels = MAP_LEVELS,
                             .shards = shard_count(o->capacity)};
    uint64_t share = (o->capacity + g.shards - 1) / g.shards;
    uint64_t cells = share + share / 2, least = share + 8 * root(share) + 16;
    if (cells < least) cells = least;
    uint32_t groups = (uint32_t)((cells + MAP_GROUP_CELLS - 1) / MAP_GROUP_CELLS);
    g.groups[0] = groups / LEVEL_PARTS > 0 ? groups / LEVEL_PARTS : 1;
    g.groups[1] = 4 * groups / LEVEL_PARTS > 0 ? 4 * groups / LEVEL_PARTS : 1;
    g.groups[2] = groups - g.groups[0] - g.groups[1];
    g.groups_all = groups;
    hf_assert(g.groups[2] <= MAP_GROUPS_MAX);
    for (uint32_t level = 0; level < g.levels; level++) {
        g.level_at[level] = g.cells;
        g.cells += (uint64_t)g.groups[level] * MAP_GROUP_CELLS * g.shards;
    }
    g.records = g.capacity + g.shards;
    g.words = (g.records + 63) / 64;
    g.value_at = (uint32_t)(sizeof(struct map_record) + round_up(o->key_size, 8));
    g.stride = round_up(g.value_at + o->value_size, 64);
    g.extents_at = sizeof(struct map_header);
    g.shards_at =
        g.extents_at + round_up((uint64_t)g.shards * sizeof(struct map_extent), HFI_SHM_LINE);
    g.taken_at = g.shards_at + (uint64_t)g.shards * sizeof(struct map_shard);
    g.cells_at = g.taken_at + round_up(g.words * 8, HFI_SHM_LINE);
    g.records_at = g.cells_at + round_up(g.cells * 8, HFI_SHM_LINE);
    g.size = g.records_at + g.records * g.stride; /* below 2^61 */
    if (g.size > HF_SHM_SIZE_MAX) return false;
    *geometry_out = g;
    return true;
}

static void map_bind(hf_shm_map *map) {
    char *base = map->part.base;
    map->extents = (struct map_extent *)(void *)(base + map->g.extents_at);
    map->shards = (struct map_shard *)(void *)(base + map->g.shards_at);
    map->taken = (_Atomic uint64_t *)(void *)(base + map->g.taken_at);
    map->cells = (_Atomic uint64_t *)(void *)(base + map->g.cells_at);
    map->records = base + map->g.records_at;
}

/* Volatile: each number is read once, whatever a peer writes there now. */
static hf_shm_map_options header_options(const struct hfi_shm_part *part) {
    const volatile struct map_header *header = (const void *)part->base;
    uint64_t bytes = header->bytes;
    return (hf_shm_map_options){.struct_size = sizeof(hf_shm_map_options),
                                .bytes = bytes > 1 ? 2 : (uint32_t)bytes,
                                .key_size = header->key_size,
                                .value_size = header->value_size,
                                .capacity = header->capacity};
}

bool hfi_map_view(const struct hfi_shm_part *part, hf_shm_map *map_out) {
    if (part->size < sizeof(struct map_header)) return false;
    hf_shm_map_options found = header_options(part);
    *map_out = (hf_shm_map){.part = *part, .wait_ns = WAIT_NS};
    if (!hfi_map_geometry(&found, &map_out->g) || map_out->g.size > part->size ||
        map_out->g.capacity != part->element_count)
        return false;
    const struct map_header *header = (const void *)part->base;
    memcpy(map_out->seed, header->seed, sizeof map_out->seed);
    memcpy(map_out->formats, header->formats, sizeof map_out->formats);
    map_out->formats[0][MAP_FORMAT_SIZE - 1] = map_out->formats[1][MAP_FORMAT_SIZE - 1] = 0;
    map_bind(map_out);
    return true;
}

/* --- making and opening ------------------------------------------------------------------------ */

/* Before anybody else can see it: plain stores. A taken bit of 0 and an own word of 0 are "free". */
static void map_init(struct hfi_shm_part *part, const void *options) {
    const hf_shm_map_options *o = options;
    hf_shm_map map = {.part = *part};
    if (!hfi_map_geometry(o, &map.g)) return; /* cannot be: open looked */
    map_bind(&map);
    struct map_header *header = (void *)part->base;
    *header = (struct map_header){.bytes = o->bytes,
                                  .key_size = o->key_size,
                                  .value_size = o->value_size,
                                  .capacity = o->capacity};
    hfi_os_random(header->seed, sizeof header->seed);
    if (o->key_format) strncpy(header->formats[0], o->key_format, MAP_FORMAT_SIZE - 1);
    if (o->value_format) strncpy(header->formats[1], o->value_format, MAP_FORMAT_SIZE - 1);
    for (uint32_t shard = 0; shard < map.g.shards; shard++) {
        map.shards[shard].spare = shard;
        map.shards[shard].hint = (uint64_t)shard * map.g.words / map.g.shards;
        map_record(&map, shard)->own = MAP_GENERATION | (shard + 1);
        map.taken[shard / 64] |= UINT64_C(1) << shard % 64;
    }
    for (uint64_t bit = map.g.records; bit < map.g.words * 64; bit++)
        map.taken[bit / 64] |= UINT64_C(1) << bit % 64; /* behind the last record */
}

static bool differs(const char *asked, const char *found) {
    return asked != NULL && strncmp(asked, found, MAP_FORMAT_SIZE) != 0;
}

static hf_status map_accept(struct hfi_shm_part *part, const void *options) {
    const hf_shm_map_options *o = options;
    hf_shm_map map;
    if (!hfi_map_view(part, &map))
        return hfi_shm_say(HF_E_CORRUPT,
                           "the header of the map is damaged: its sizes do not give the %llu bytes "
                           "that the table says; erase it and make it again",
                           (unsigned long long)part->size);
    if ((o->key_size && (o->key_size != map.g.key_size || o->bytes != map.g.bytes)) ||
        (o->value_size && o->value_size != map.g.value_size) ||
        (o->capacity && o->capacity != map.g.capacity))
        return hfi_shm_say(HF_E_MISMATCH,
                           "asked for a map of %llu keys of %s%llu bytes with values up to %llu, "
                           "found one of %llu keys of %s%u bytes with values up to %u",
                           (unsigned long long)o->capacity, o->bytes ? "up to " : "",
                           (unsigned long long)o->key_size, (unsigned long long)o->value_size,
                           (unsigned long long)map.g.capacity, map.g.bytes ? "up to " : "",
                           map.g.key_size, map.g.value_size);
    if (differs(o->key_format, map.formats[0]) || differs(o->value_format, map.formats[1]))
        return hfi_shm_say(
            HF_E_MISMATCH, "asked for a map from '%s' to '%s', found one from '%s' to '%s'",
            o->key_format ? o->key_format : "any", o->value_format ? o->value_format : "any",
            map.formats[0], map.formats[1]);
    return HF_OK;
}

void hf_shm_map_options_init(hf_shm_map_options *options, uint64_t key_size, uint64_t value_size,
                             uint64_t capacity) {
    *options = (hf_shm_map_options){.struct_size = sizeof *options,
                                    .key_size = key_size,
                                    .value_size = value_size,
                                    .capacity = capacity,
                                    .wait_ns = WAIT_NS};
}

static hf_status options_check(const hf_shm_map_options *o, hf_shm_mode mode,
                               struct map_geometry *g) {
    if (o->struct_size != sizeof *o)
        return hfi_shm_say(HF_E_INVALID,
                           "options.struct_size is %u, not %zu: start from "
                           "hf_shm_map_options_init",
                           o->struct_size, sizeof *o);
    if ((o->key_format && strlen(o->key_format) >= MAP_FORMAT_SIZE) ||
        (o->value_format && strlen(o->value_format) >= MAP_FORMAT_SIZE))
        return hfi_shm_say(HF_E_INVALID, "a format of a map has at most %d bytes",
                           MAP_FORMAT_SIZE - 1);
    if (mode != HF_SHM_OPEN && !hfi_map_geometry(o, g))
        return hfi_shm_say(HF_E_INVALID,
                           "no map has %llu keys of %llu bytes with values of %llu: at most %llu "
                           "keys of 1 to %d bytes, values up to %llu, %llu bytes in all",
                           (unsigned long long)o->capacity, (unsigned long long)o->key_size,
                           (unsigned long long)o->value_size,
                           (unsigned long long)HF_SHM_MAP_CAPACITY_MAX, HF_SHM_MAP_KEY_MAX,
                           (unsigned long long)HF_SHM_MAP_VALUE_MAX,
                           (unsigned long long)HF_SHM_SIZE_MAX);
    return HF_OK;
}

/* An opener that names one of the two formats agrees with any other one: only map_accept can tell, so
 * the table is asked for a name and a kind, and told everything only when the map is made. */
static hf_status map_attach(hf_shm *shm, const char *name, hf_shm_mode mode,
                            const hf_shm_map_options *o, const struct map_geometry *g,
                            struct hfi_shm_part *part_out) {
    char format[2 * MAP_FORMAT_SIZE + 2] = "";
    if (o->key_format || o->value_format)
        snprintf(format, sizeof format, "%s:%s", o->key_format ? o->key_format : "",
                 o->value_format ? o->value_format : "");
    struct hfi_shm_request open = {.name = name,
                                   .kind = HF_SHM_KIND_MAP,
                                   .layout = MAP_LAYOUT,
                                   .options = o,
                                   .init = map_init,
                                   .accept = map_accept};
    struct hfi_shm_request make = open;
    make.size = g->size;
    make.element_size = (uint64_t)g->key_size + g->value_size;
    make.element_count = g->capacity;
    make.format = *format ? format : NULL;
    if (mode == HF_SHM_CREATE) return hfi_shm_attach(shm, mode, &make, part_out);
    hf_status status = HF_E_NOT_FOUND;
    for (unsigned tries = 0; tries < OPEN_TRIES;
         tries++) { /* made and erased by others meanwhile */
        status = hfi_shm_attach(shm, HF_SHM_OPEN, &open, part_out);
        if (status != HF_E_NOT_FOUND || mode == HF_SHM_OPEN) return status;
        status = hfi_shm_attach(shm, HF_SHM_CREATE, &make, part_out);
        if (status != HF_E_EXISTS) return status;
    }
    return status;
}

hf_status hf_shm_map_open(hf_shm *shm, const char *name, hf_shm_mode mode,
                          const hf_shm_map_options *options, hf_shm_map **map_out) {
    if (shm == NULL || name == NULL || map_out == NULL || (options == NULL && mode != HF_SHM_OPEN))
        return hfi_shm_say(HF_E_INVALID, "a map needs a segment, a name, options and a place for "
                                         "the handle");
    hf_shm_map_options any = {.struct_size = sizeof any, .wait_ns = WAIT_NS};
    const hf_shm_map_options *o = options != NULL ? options : &any;
    struct map_geometry g = {0};
    hf_status status = options_check(o, mode, &g);
    if (status != HF_OK) return status;
    struct hfi_shm_part part;
    status = map_attach(shm, name, mode, o, &g, &part);
    if (status != HF_OK) return status;
    hf_shm_map *map = hfi_meta_alloc(sizeof *map);
    if (map == NULL || !hfi_map_view(&part, map)) {
        if (map) hfi_meta_free(map, sizeof *map);
        hfi_shm_detach(&part);
        return map ? hfi_shm_say(HF_E_CORRUPT, "the header of map '%s' is damaged", name)
                   : hfi_shm_say(HF_E_NO_MEMORY, "map '%s': no memory for its handle", name);
    }
    map->wait_ns = o->wait_ns;
    *map_out = map;
    return HF_OK;
}

void hf_shm_map_close(hf_shm_map *map) {
    if (map == NULL) return;
    hfi_shm_detach(&map->part);
    hfi_meta_free(map, sizeof *map);
}

void hf_shm_map_options_of(const hf_shm_map *map, hf_shm_map_options *options_out) {
    *options_out = (hf_shm_map_options){.struct_size = sizeof *options_out,
                                        .bytes = map->g.bytes,
                                        .key_size = map->g.key_size,
                                        .value_size = map->g.value_size,
                                        .capacity = map->g.capacity,
                                        .key_format = map->formats[0],
                                        .value_format = map->formats[1],
                                        .wait_ns = map->wait_ns};
}
