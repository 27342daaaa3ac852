/* test_map_hostile - garbage in the bytes of a map: an error or no harm, and repair makes it a map again.
 *
 * Method: a child uses everything on a map that was damaged, at rest or while the damage goes on; a
 * signal or a hang fails. After repair the check must find nothing, unless a lock names a process that
 * lives: nobody can tell that from a stopped writer. */
#include "map_world.h"
#include "view_help.h"

#include "shm/map.h"

enum { CAPACITY = 300, KEYS = 200 };

struct world {
    hf_shm *shm;
    hf_shm_map *map;
    bool meanwhile;
};

static void world_setup(void *raw) {
    struct world *world = raw;
    world->shm = map_segment(1 << 19);
    world->map = map_open(world->shm, "m", CAPACITY);
    for (uint64_t key = 0; key < KEYS; key++)
        CHECK_EQ(map_put_number(world->map, key, key), HF_OK);
}

static void world_target(void *raw, char **bytes_out, size_t *size_out) {
    struct world *world = raw;
    *bytes_out = world->map->part.base;
    *size_out = world->map->g.size;
}

/* The words that lead somewhere: all but the records. */
static void world_target_words(void *raw, char **bytes_out, size_t *size_out) {
    struct world *world = raw;
    *bytes_out = world->map->part.base + sizeof(struct map_header);
    *size_out = world->map->g.records_at - sizeof(struct map_header);
}

static void world_teardown(void *raw) {
    struct world *world = raw;
    hf_shm_map_close(world->map);
    (void)hf_shm_close(world->shm);
}

/* Everything, whatever it answers. */
static void use_all(hf_shm_map *map) {
    struct map_value value;
    size_t size = 0;
    for (uint64_t key = 0; key < KEYS + 20; key++) {
        uint64_t version = 0;
        (void)hf_shm_map_get(map, &key, 8, &value, sizeof value, &size, &version);
        value = map_value_make(key, 2);
        (void)hf_shm_map_replace_if(map, &key, 8, &value, sizeof value, version, NULL);
        if (key % 3 == 0) (void)hf_shm_map_put(map, &key, 8, &value, sizeof value, NULL);
        if (key % 5 == 0) (void)hf_shm_map_erase(map, &key, 8);
    }
    hf_shm_map_cursor cursor = {0};
    uint64_t key = 0;
    for (unsigned i = 0; i < 10000; i++)
        if (hf_shm_map_next(map, &cursor, &key, 8, NULL, &value, sizeof value, NULL, NULL) ==
            HF_E_EMPTY)
            break;
    hf_shm_map_figures figures;
    (void)hf_shm_map_figures_of(map, &figures);
    (void)hf_shm_map_count(map);
}

static int fault_ignored(const char *name, const char *fault, void *context) {
    (void)name, (void)fault, (void)context;
    return 0;
}

static bool locks_are_free(hf_shm_map *map) {
    for (uint32_t shard = 0; shard < map->g.shards; shard++)
        if (hfi_shm_load32(&map->shards[shard].lock.word) != 0) return false;
    return true;
}

static void world_use(void *raw) {
    struct world *world = raw;
    hf_shm *shm = map_join(world->shm);
    hf_shm_map_options options;
    hf_shm_map *map = NULL;
    hf_shm_map_options_init(&options, 8, sizeof(struct map_value), CAPACITY);
    options.wait_ns = 20000;
    hf_status status = hf_shm_map_open(shm, "m", HF_SHM_OPEN, &options, &map);
    if (status != HF_OK) { /* its header: a clear error */
        CHECK(status == HF_E_CORRUPT || status == HF_E_MISMATCH);
        CHECK(hf_shm_detail()[0] != 0);
        return;
    }
    help_view_garbage(shm, "m");
    use_all(map);
    (void)hf_shm_check(shm, "m", fault_ignored, NULL);
    (void)hf_shm_repair(shm, "m", NULL);
    if (!world->meanwhile && locks_are_free(map)) {
        status = hf_shm_check(shm, "m", map_fault, NULL);
        CHECK_SAY(status == HF_OK, "after the repair: %d, %s", status, hf_shm_detail());
        CHECK_EQ(hf_shm_map_clear(map), HF_OK);
        CHECK_EQ(hf_shm_map_count(map), 0);
        map_fills_up(map, CAPACITY, 0);
    }
    (void)hf_shm_map_clear(map);
    use_all(map);
    hf_shm_map_close(map);
    (void)hf_shm_close(shm);
}

static void hostile(const char *name, bool words, bool meanwhile, unsigned rounds, unsigned flips) {
    struct world world = {.meanwhile = meanwhile};
    struct harness_hostile test = {.name = name,
                                   .setup = world_setup,
                                   .target = words ? world_target_words : world_target,
                                   .use = world_use,
                                   .teardown = world_teardown,
                                   .rounds = CHECK_SANITIZED ? rounds / 5 : rounds,
                                   .flips_max = flips,
                                   .meanwhile = meanwhile};
    harness_hostile(&test, &world);
}

static void test_map_with_garbage_is_an_error_and_can_be_repaired(void) {
    hostile("map", false, false, 80, 8);
    hostile("words of a map", true, false, 80, 8);
    hostile("words of a map, many", true, false, 15, 1000);
}

static void test_map_with_garbage_from_a_peer_does_no_harm(void) {
    hostile("map under a hostile peer", false, true, 15, 1);
    hostile("words under a hostile peer", true, true, 30, 1);
}

int main(void) {
    CHECK_WATCHDOG(150);
    CHECK_RUN(test_map_with_garbage_is_an_error_and_can_be_repaired);
    CHECK_RUN(test_map_with_garbage_from_a_peer_does_no_harm);
    return 0;
}
