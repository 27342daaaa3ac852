/* steps_map - a map whose writers are killed between any two accesses, and readers among writers.
 *
 * Method: every change (put, replace, erase, clear, and those that put a level or further groups into
 * use) is killed at each of its steps; then another participant reads, writes and fills the map to
 * its capacity, with and without a sweep before. Half of them again with a rescuer who is killed
 * as well. Interleavings of readers with writers that use a record again. Each deliberate fault of
 * map*.c must be caught. */
#include "map_world.h"

#include "shm/map.h"
#include "shm/map_hash.h"

enum { KEYS = 64, ABSENT = 0, RESCUED = 55 };

struct world;
struct operation {
    const char *name;
    uint64_t capacity, present; /* keys [0, present) are there with number 1        */
    bool collide;               /* every key has the same hash                      */
    void (*run)(hf_shm_map *map);
    uint64_t first, count; /* keys that change                                 */
    uint64_t after;        /* their number afterwards                          */
};

struct world {
    const struct operation *operation;
    hf_shm *shm;
    hf_shm_map *map;
    hf_shm *victim_shm;
    hf_shm_map *victim_map;
    unsigned runs;
};

static uint64_t same_hash(const void *key, size_t size) {
    (void)key, (void)size;
    return UINT64_C(0x123456789ABCDEF0);
}

static void key_put(hf_shm_map *map, uint64_t key, uint64_t number) {
    hf_status status = map_put_number(map, key, number);
    CHECK_SAY(status == HF_OK, "put: status %d, %s", status, hf_shm_detail());
}

static void key_erase(hf_shm_map *map, uint64_t key) {
    CHECK_EQ(hf_shm_map_erase(map, &key, sizeof key), HF_OK);
}

/* --- crash points ------------------------------------------------------------------------------ */

static void run_put_known(hf_shm_map *map) {
    key_put(map, 3, 2);
}
static void run_put_fresh(hf_shm_map *map) {
    key_put(map, 4, 2);
}
static void run_put_seventh(hf_shm_map *map) {
    key_put(map, 6, 2);
}
static void run_put_behind(hf_shm_map *map) {
    key_put(map, 24, 2);
}
static void run_erase(hf_shm_map *map) {
    key_erase(map, 1);
}
static void run_erase_last(hf_shm_map *map) {
    key_erase(map, 0);
}
static void run_replace(hf_shm_map *map) {
    uint64_t key = 2, version = 0;
    struct map_value value;
    CHECK_EQ(hf_shm_map_get(map, &key, 8, &value, sizeof value, NULL, &version), HF_OK);
    value = map_value_make(2, 2);
    CHECK_EQ(hf_shm_map_replace_if(map, &key, 8, &value, sizeof value, version, NULL), HF_OK);
}
static void run_clear(hf_shm_map *map) {
    CHECK_EQ(hf_shm_map_clear(map), HF_OK);
}
static void run_walk(hf_shm_map *map) {
    CHECK_EQ(map_walk(map, NULL, 0), 4);
}

static const struct operation operations[] = {
    {"put of a known key", 12, 4, false, run_put_known, 3, 1, 2},
    {"put of a new key", 12, 4, false, run_put_fresh, 4, 1, 2},
    {"put into a new level", 12, 6, false, run_put_seventh, 6, 1, 2},
    {"put behind full groups", 40, 24, true, run_put_behind, 24, 1, 2},
    {"erase", 12, 4, false, run_erase, 1, 1, ABSENT},
    {"erase of the last key", 12, 1, false, run_erase_last, 0, 1, ABSENT},
    {"replace_if", 12, 4, false, run_replace, 2, 1, 2},
    {"clear", 12, 4, false, run_clear, 0, 4, ABSENT},
    {"walk", 12, 4, false, run_walk, 0, 0, 0},
};

static void world_setup(void *raw) {
    struct world *world = raw;
    const struct operation *operation = world->operation;
    hfi_map_hash_hook = operation->collide ? same_hash : NULL;
    world->shm = map_segment(1 << 18);
    world->map = map_open(world->shm, "m", operation->capacity);
    for (uint64_t key = 0; key < operation->present; key++)
        key_put(world->map, key, 1);
}

static void world_prepare(void *raw) {
    struct world *world = raw;
    world->victim_shm = map_join(world->shm);
    world->victim_map = map_open(world->victim_shm, "m", 0);
}

static void world_victim(void *raw) {
    struct world *world = raw;
    world->operation->run(world->victim_map);
}

/* Meets the dead one by writing, then recovers what is left of him. */
static void world_rescuer(void *raw) {
    struct world *world = raw;
    key_put(world->victim_map, world->operation->first, RESCUED);
    CHECK_EQ(hf_shm_sweep(world->victim_shm, NULL), HF_OK);
}

static void world_teardown(void *raw) {
    struct world *world = raw;
    hf_shm_map_close(world->map);
    hf_status status = hf_shm_close(world->shm);
    CHECK_SAY(status == HF_OK, "close: status %d, %s", status, hf_shm_detail());
    hfi_map_hash_hook = NULL;
}

/* The number of a key, ABSENT without it. */
static uint64_t key_number(hf_shm_map *map, uint64_t key) {
    uint64_t number = 0;
    return map_get_number(map, key, &number) == HF_OK ? number : ABSENT;
}

static void expect_numbers(struct world *world, bool finished, uint64_t *now) {
    const struct operation *operation = world->operation;
    for (uint64_t key = 0; key < KEYS; key++) {
        uint64_t before = key < operation->present ? 1 : ABSENT, number;
        bool changes = key >= operation->first && key < operation->first + operation->count;
        now[key] = number = key_number(world->map, key);
        if (!changes)
            CHECK_SAY(number == before || (number == RESCUED && key == operation->first),
                      "key %" PRIu64 ": number %" PRIu64, key, number);
        else if (finished)
            CHECK_EQ(number, operation->after);
        else
            CHECK_SAY(number == before || number == operation->after || number == RESCUED,
                      "key %" PRIu64 ": number %" PRIu64, key, number);
    }
}

static void world_verify(void *raw, bool finished) {
    struct world *world = raw;
    uint64_t now[KEYS];
    bool sweep_first = world->runs++ % 2 != 0;
    if (sweep_first) CHECK_EQ(hf_shm_sweep(world->shm, NULL), HF_OK);
    expect_numbers(world, finished, now); /* readers need nobody to be recovered */
    world->map->wait_ns = 0;              /* writers neither: who is dead is not waited for */
    if (sweep_first) map_sound(world->shm, "m", world->map);
    /* Writers go on, with the key in question and with others. */
    uint64_t key = world->operation->first;
    key_put(world->map, key, 7);
    CHECK_EQ(key_number(world->map, key), 7);
    key_erase(world->map, key);
    CHECK_EQ(key_number(world->map, key), ABSENT);
    CHECK_EQ(hf_shm_sweep(world->shm, NULL), HF_OK);
    for (uint64_t other = 0; other < KEYS; other++)
        CHECK_EQ(key_number(world->map, other), other == key ? ABSENT : now[other]);
    map_sound(world->shm, "m", world->map);
    map_fills_up(world->map, world->operation->capacity, 1000);
    map_sound(world->shm, "m", world->map);
}

static struct harness_steps world_steps(const struct operation *operation, bool rescuer) {
    return (struct harness_steps){.name = operation->name,
                                  .setup = world_setup,
                                  .prepare = world_prepare,
                                  .victim = world_victim,
                                  .rescuer = rescuer ? world_rescuer : NULL,
                                  .verify = world_verify,
                                  .teardown = world_teardown};
}

static void test_map_survives_a_kill_at_every_step(void) {
    for (unsigned i = 0; i < sizeof operations / sizeof *operations; i++) {
        struct world world = {.operation = &operations[i]};
        struct harness_steps steps = world_steps(&operations[i], false);
        (void)harness_crash_points(&steps, &world, 1);
    }
}

static void test_map_survives_a_kill_of_the_rescuer(void) {
    unsigned stride = CHECK_SANITIZED ? 31 : getenv("HOLDFAST_TEST_KILLS") ? 1 : 9;
    for (unsigned i = 0; i < 6; i++) {
        if (i == 2 || i == 3) continue;
        struct world world = {.operation = &operations[i]};
        struct harness_steps steps = world_steps(&operations[i], true);
        (void)harness_crash_points(&steps, &world, stride);
    }
}

static void test_map_faults_are_caught_at_some_step(void) {
    static const struct {
        unsigned mutant, operation;
    } faults[] = {
        {801, 4}, /* a freed record without its hint                  */
        {802, 1}, /* counts are not counted again                     */
        {803, 1}, /* a dead holder's shard is used as it is           */
        {805, 2}, /* a level is not announced                         */
        {807, 0}, /* the record that is replaced is not named before  */
        {808, 4}, /* nor the one that is erased                       */
    };
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct world world = {.operation = &operations[faults[i].operation]};
        struct harness_steps steps = world_steps(world.operation, false);
        harness_mutant_is_caught(&steps, &world, faults[i].mutant);
    }
}

/* Keys that all belong to one group fill every place of their shard, and are found there. */
static void test_map_shard_is_full_when_every_place_is_taken(void) {
    enum { CAPACITY = 400 };
    hfi_map_hash_hook = same_hash;
    hf_shm *shm = map_segment(1 << 20);
    hf_shm_map *map = map_open(shm, "m", CAPACITY);
    CHECK_GT(map->g.shards, 1);
    uint64_t places = (uint64_t)map->g.groups_all * MAP_GROUP_CELLS, put = 0;
    for (unsigned round = 0; round < 2; round++) {
        for (put = 0; map_put_number(map, put, 1) == HF_OK; put++)
            ;
        CHECK_EQ(put, places);
        for (uint64_t key = 0; key < put; key++) {
            CHECK_EQ(key_number(map, key), 1);
            key_put(map, key, 2); /* full, but it can change */
        }
        CHECK_EQ(key_number(map, put), ABSENT);
        map_sound(shm, "m", map);
        hf_shm_map_figures figures;
        CHECK_EQ(hf_shm_map_figures_of(map, &figures), HF_OK);
        CHECK_GE(figures.lines_hit_max, map->g.groups_all);
        CHECK_LT(figures.lines_hit_max, map->g.levels + map->g.groups_all);
        /* The words that say where to look are lost: repair finds them again. */
        memset((void *)map->extents, 0, map->g.shards * sizeof *map->extents);
        CHECK_EQ(hf_shm_check(shm, "m", NULL, NULL), HF_E_CORRUPT);
        CHECK_EQ(hf_shm_repair(shm, "m", NULL), HF_OK);
        for (uint64_t key = 0; key < put; key++)
            CHECK_EQ(key_number(map, key), 2);
        map_sound(shm, "m", map);
        for (uint64_t key = 0; key < put; key++)
            key_erase(map, key);
        CHECK_EQ(hf_shm_map_count(map), 0);
        CHECK_EQ(hf_shm_map_figures_of(map, &figures), HF_OK);
        CHECK_EQ(figures.levels, 1);
    }
    hf_shm_map_close(map);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
    hfi_map_hash_hook = NULL;
}

/* --- interleavings ----------------------------------------------------------------------------- */

enum { ACTORS = 3 };

struct meeting {
    hf_shm *shm;
    hf_shm_map *map;
    hf_shm *actor_shm[ACTORS];
    hf_shm_map *actor_map[ACTORS];
    void *fresh; /* the map's bytes before */
    uint64_t got[ACTORS];
    hf_status status[ACTORS];
};

static void actor_join(struct meeting *m, unsigned actor) {
    m->actor_shm[actor] = map_join(m->shm);
    m->actor_map[actor] = map_open(m->actor_shm[actor], "m", 0);
}

static void actor_leave(struct meeting *m, unsigned actor) {
    if (m->actor_shm[actor] == NULL) return;
    hf_shm_map_close(m->actor_map[actor]);
    (void)hf_shm_close(m->actor_shm[actor]);
    m->actor_shm[actor] = NULL;
}

static void meeting_begin(struct meeting *m, uint64_t keys) {
    memset(m, 0, sizeof *m);
    m->shm = map_segment(1 << 18);
    m->map = map_open(m->shm, "m", 3);
    for (uint64_t key = 0; key < keys; key++)
        key_put(m->map, key, 1);
    for (unsigned actor = 0; actor < ACTORS; actor++)
        actor_join(m, actor);
    m->fresh = malloc(m->map->g.size);
    CHECK(m->fresh != NULL);
    memcpy(m->fresh, m->map->part.base, m->map->g.size);
}

static void meeting_end(struct meeting *m) {
    for (unsigned actor = 0; actor < ACTORS; actor++)
        actor_leave(m, actor);
    hf_shm_map_close(m->map);
    CHECK_EQ(hf_shm_close(m->shm), HF_OK);
    free(m->fresh);
}

static void meeting_setup(void *raw) {
    struct meeting *m = raw;
    if (m->actor_shm[0] == NULL) actor_join(m, 0);
    memcpy(m->map->part.base, m->fresh, m->map->g.size);
    memset(m->got, 0, sizeof m->got);
    memset(m->status, 0, sizeof m->status);
}

static void meeting_die(void *raw, unsigned actor) {
    struct meeting *m = raw;
    hfi_shm_abandon(m->actor_shm[actor]);
}

/* After a death: the shard is taken over, and nothing is lost. */
static void meeting_sound(struct meeting *m, int died) {
    if (died >= 0) {
        CHECK_EQ(hf_shm_sweep(m->shm, NULL), HF_OK);
        actor_leave(m, 0);
    }
    map_sound(m->shm, "m", m->map);
    map_fills_up(m->map, 3, 1000);
}

static void actor_put_twice(void *raw) {
    struct meeting *m = raw;
    key_put(m->actor_map[0], 0, 2);
    key_put(m->actor_map[0], 0, 3);
}
static void actor_move(void *raw) { /* the record of key 0 may become that of key 5 */
    struct meeting *m = raw;
    key_erase(m->actor_map[0], 0);
    key_put(m->actor_map[0], 5, 9);
}
static void actor_get(void *raw) {
    struct meeting *m = raw;
    m->got[1] = key_number(m->actor_map[1], 0);
}
static void actor_put(void *raw) {
    struct meeting *m = raw;
    key_put(m->actor_map[1], 0, 4);
}
static void actor_absent(struct meeting *m, unsigned actor) {
    uint64_t key = 2;
    struct map_value value = map_value_make(2, actor + 1);
    m->status[actor] =
        hf_shm_map_put_if_absent(m->actor_map[actor], &key, 8, &value, sizeof value, NULL);
}
static void actor_absent_first(void *raw) {
    actor_absent(raw, 0);
}
static void actor_absent_second(void *raw) {
    actor_absent(raw, 1);
}

static void verify_puts(void *raw, int died) {
    struct meeting *m = raw;
    if (died < 0) CHECK_EQ(key_number(m->map, 0), 3);
    CHECK(m->got[1] >= 1 && m->got[1] <= 3);
    meeting_sound(m, died);
}
static void verify_move(void *raw, int died) {
    struct meeting *m = raw;
    CHECK(m->got[1] == 1 || m->got[1] == ABSENT);
    if (died < 0) CHECK_EQ(key_number(m->map, 5), 9);
    meeting_sound(m, died);
}
static void verify_writers(void *raw, int died) {
    struct meeting *m = raw;
    uint64_t number = key_number(m->map, 0);
    if (died < 0)
        CHECK(number == 3 || number == 4);
    else
        CHECK(number >= 2 && number <= 4);
    meeting_sound(m, died);
}
static void verify_absent(void *raw, int died) {
    struct meeting *m = raw;
    uint64_t number = key_number(m->map, 2);
    if (died < 0) {
        CHECK_EQ((m->status[0] == HF_OK) + (m->status[1] == HF_OK), 1);
        CHECK_EQ((m->status[0] == HF_E_EXISTS) + (m->status[1] == HF_E_EXISTS), 1);
        CHECK_EQ(number, m->status[0] == HF_OK ? 1 : 2);
    } else {
        CHECK_EQ(number, m->status[1] == HF_OK ? 2 : 1);
    }
    meeting_sound(m, died);
}

#define MEETING(text, first, second, check)                                                        \
    {                                                                                              \
        .name = text, .actors = 2, .setup = meeting_setup, .actor = {first, second},               \
        .die = meeting_die, .verify = check, .preemptions = 2, .schedules_max = 2500               \
    }
static const struct harness_weave get_among_puts =
    MEETING("get among puts", actor_put_twice, actor_get, verify_puts);
static const struct harness_weave moves =
    MEETING("get while its record is used again", actor_move, actor_get, verify_move);
static const struct harness_weave writers =
    MEETING("puts of one key", actor_put_twice, actor_put, verify_writers);
static const struct harness_weave absents =
    MEETING("put_if_absent of one key", actor_absent_first, actor_absent_second, verify_absent);

/* The reader stops at the cell and in the middle of the copy: in between its record goes and comes. */
static void reader_first(void *raw) {
    actor_get(raw);
}
static void writer_second(void *raw) {
    struct meeting *m = raw;
    key_put(m->actor_map[0], 0, 2);
    key_put(m->actor_map[0], 0, 3);
}
static void verify_reader(void *raw, int died) {
    struct meeting *m = raw;
    (void)died;
    CHECK(m->got[1] >= 1 && m->got[1] <= 3);
}
static const struct harness_weave get_thrice_stopped = {.name = "get that is stopped three times",
                                                        .actors = 2,
                                                        .setup = meeting_setup,
                                                        .actor = {reader_first, writer_second},
                                                        .verify = verify_reader,
                                                        .preemptions = 3};

static void weave(const struct harness_weave *what) {
    struct meeting m;
    meeting_begin(&m, 2);
    (void)harness_weave(what, &m);
    meeting_end(&m);
}

static void test_map_readers_see_one_whole_value(void) {
    weave(&get_among_puts);
    weave(&moves);
    weave(&get_thrice_stopped);
}

static void test_map_writers_take_turns(void) {
    weave(&writers);
    weave(&absents);
}

static void test_map_faults_are_caught_in_some_order(void) {
    struct meeting m;
    meeting_begin(&m, 2);
    harness_weave_mutant_is_caught(&get_among_puts, &m,
                                   804); /* no look after the copy              */
    harness_weave_mutant_is_caught(&get_thrice_stopped, &m, 806); /* no new generation          */
    meeting_end(&m);
}

int main(void) {
    CHECK_WATCHDOG(240);
    CHECK_RUN(test_map_survives_a_kill_at_every_step);
    CHECK_RUN(test_map_survives_a_kill_of_the_rescuer);
    CHECK_RUN(test_map_faults_are_caught_at_some_step);
    CHECK_RUN(test_map_shard_is_full_when_every_place_is_taken);
    CHECK_RUN(test_map_readers_see_one_whole_value);
    CHECK_RUN(test_map_writers_take_turns);
    CHECK_RUN(test_map_faults_are_caught_in_some_order);
    return 0;
}
