/* test_map - a map by one process: what every function says, growth by levels, and random programs
 * against a table of what must be there.
 *
 * Method: values tell their key and number, and every byte of them follows from these; after each
 * program the segment's check must find nothing. */
#include "map_world.h"

enum { UNIVERSE = 3000 };

static void test_map_gives_back_what_was_put(void) {
    hf_shm *shm = map_segment(1 << 20);
    hf_shm_map *map = map_open(shm, "m", 100);
    uint64_t number = 0, key = 7;
    CHECK_EQ(map_get_number(map, 7, &number), HF_E_NOT_FOUND);
    CHECK_EQ(map_put_number(map, 7, 1), HF_OK);
    CHECK_EQ(map_get_number(map, 7, &number), HF_OK);
    CHECK_EQ(number, 1);
    CHECK_EQ(map_put_number(map, 7, 2), HF_OK);
    CHECK_EQ(map_get_number(map, 7, &number), HF_OK);
    CHECK_EQ(number, 2);
    CHECK_EQ(hf_shm_map_count(map), 1);
    CHECK_EQ(hf_shm_map_erase(map, &key, 8), HF_OK);
    CHECK_EQ(hf_shm_map_erase(map, &key, 8), HF_E_NOT_FOUND);
    CHECK_EQ(map_get_number(map, 7, &number), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_map_count(map), 0);
    map_sound(shm, "m", map);
    hf_shm_map_close(map);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
}

static void test_map_versions_decide_conditional_changes(void) {
    hf_shm *shm = map_segment(1 << 20);
    hf_shm_map *map = map_open(shm, "m", 10);
    uint64_t key = 1, first = 0, second = 0, third = 0;
    struct map_value value = map_value_make(1, 1);
    CHECK_EQ(hf_shm_map_replace_if(map, &key, 8, &value, sizeof value, 5, NULL), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_map_put_if_absent(map, &key, 8, &value, sizeof value, &first), HF_OK);
    CHECK_NE(first, 0);
    CHECK_EQ(hf_shm_map_put_if_absent(map, &key, 8, &value, sizeof value, NULL), HF_E_EXISTS);
    CHECK_EQ(hf_shm_map_replace_if(map, &key, 8, &value, sizeof value, 0, NULL), HF_E_EXISTS);
    CHECK_EQ(hf_shm_map_replace_if(map, &key, 8, &value, sizeof value, first, &second), HF_OK);
    CHECK_NE(first, second);
    CHECK_EQ(hf_shm_map_replace_if(map, &key, 8, &value, sizeof value, first, NULL), HF_E_STALE);
    CHECK_EQ(hf_shm_map_erase_if(map, &key, 8, first), HF_E_STALE);
    CHECK_EQ(hf_shm_map_erase_if(map, &key, 8, second), HF_OK);
    CHECK_EQ(hf_shm_map_erase_if(map, &key, 8, second), HF_E_NOT_FOUND);
    /* A key that went and came again has not the version it had. */
    CHECK_EQ(hf_shm_map_replace_if(map, &key, 8, &value, sizeof value, 0, &third), HF_OK);
    CHECK(third != first && third != second);
    uint64_t version = 0;
    CHECK_EQ(hf_shm_map_get(map, &key, 8, &value, sizeof value, NULL, &version), HF_OK);
    CHECK_EQ(version, third);
    hf_shm_map_close(map);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
}

static void test_map_of_bytes_holds_keys_of_every_length(void) {
    enum { LONGEST = 40 };
    hf_shm *shm = map_segment(1 << 20);
    hf_shm_map_options options;
    hf_shm_map_options_init(&options, LONGEST, 100, 200);
    options.bytes = 1;
    hf_shm_map *map = NULL;
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_CREATE, &options, &map), HF_OK);
    char key[LONGEST + 1], value[100];
    for (size_t size = 0; size <= LONGEST; size++) {
        memset(key, 'k', sizeof key);
        memset(value, (int)size, sizeof value);
        CHECK_EQ(hf_shm_map_put(map, key, size, value, size * 2, NULL), HF_OK);
        if (size == 0) continue;
        key[size - 1] = 'x'; /* differs in its last byte */
        CHECK_EQ(hf_shm_map_put(map, key, size, value, 1, NULL), HF_OK);
    }
    CHECK_EQ(hf_shm_map_count(map), 2 * LONGEST + 1);
    for (size_t size = 0; size <= LONGEST; size++) {
        size_t found = 0;
        memset(key, 'k', sizeof key);
        CHECK_EQ(hf_shm_map_get(map, key, size, value, sizeof value, &found, NULL), HF_OK);
        CHECK_EQ(found, 2 * size);
        for (size_t i = 0; i < found; i++)
            CHECK_EQ(value[i], size);
    }
    size_t needed = 0;
    CHECK_EQ(hf_shm_map_get(map, key, LONGEST, value, 10, &needed, NULL), HF_E_INVALID);
    CHECK_EQ(needed, 2 * LONGEST);
    CHECK_EQ(hf_shm_map_put(map, key, LONGEST + 1, value, 1, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_map_put(map, key, 1, value, 101, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_check(shm, "m", map_fault, NULL), HF_OK);
    hf_shm_map_close(map);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
}

static void test_map_refuses_arguments_that_make_no_sense(void) {
    hf_shm *shm = map_segment(1 << 20);
    hf_shm_map_options options;
    hf_shm_map *map = NULL;
    hf_shm_map_options_init(&options, 0, 8, 10);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_CREATE, &options, &map), HF_E_INVALID);
    hf_shm_map_options_init(&options, HF_SHM_MAP_KEY_MAX + 1, 8, 10);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_CREATE, &options, &map), HF_E_INVALID);
    hf_shm_map_options_init(&options, 8, HF_SHM_MAP_VALUE_MAX + 1, 10);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_CREATE, &options, &map), HF_E_INVALID);
    hf_shm_map_options_init(&options, 8, 8, 0);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_CREATE, &options, &map), HF_E_INVALID);
    hf_shm_map_options_init(&options, 8, HF_SHM_MAP_VALUE_MAX, HF_SHM_MAP_CAPACITY_MAX);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_CREATE, &options, &map), HF_E_INVALID);
    hf_shm_map_options_init(&options, 8, 8, 1000000);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_CREATE, &options, &map), HF_E_NO_SPACE);
    hf_shm_map_options_init(&options, 8, 8, 10);
    options.struct_size--;
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_CREATE, &options, &map), HF_E_INVALID);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_CREATE, NULL, &map), HF_E_INVALID);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_OPEN, NULL, &map), HF_E_NOT_FOUND);
    CHECK(map == NULL);
    map = map_open(shm, "m", 10);
    uint64_t key = 1;
    CHECK_EQ(hf_shm_map_put(map, NULL, 8, &key, 8, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_map_put(map, &key, 7, &key, 8, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_map_put(map, &key, 8, NULL, 8, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_map_put(NULL, &key, 8, &key, 8, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_map_get(map, &key, 9, &key, 8, NULL, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_map_get(map, &key, 8, NULL, 8, NULL, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_map_erase(map, &key, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_map_next(map, NULL, &key, 8, NULL, &key, 8, NULL, NULL), HF_E_INVALID);
    CHECK(hf_shm_detail()[0] != 0);
    /* An empty value is a value. */
    size_t size = 9;
    CHECK_EQ(hf_shm_map_put(map, &key, 8, NULL, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_map_get(map, &key, 8, NULL, 0, &size, NULL), HF_OK);
    CHECK_EQ(size, 0);
    hf_shm_map_close(map);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
}

static void expect_mismatch(hf_shm *shm, const hf_shm_map_options *options) {
    hf_shm_map *map = NULL;
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_OPEN, options, &map), HF_E_MISMATCH);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_OPEN_OR_CREATE, options, &map), HF_E_MISMATCH);
    CHECK(map == NULL);
}

static void test_map_opened_as_another_is_a_mismatch(void) {
    hf_shm *shm = map_segment(1 << 20);
    hf_shm_map_options made, asked;
    hf_shm_map_options_init(&made, 8, 16, 100);
    made.key_format = "<u8";
    made.value_format = "<f8";
    hf_shm_map *map = NULL, *other = NULL;
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_CREATE, &made, &map), HF_OK);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_CREATE, &made, &other), HF_E_EXISTS);
    asked = made, asked.key_size = 16, expect_mismatch(shm, &asked);
    asked = made, asked.bytes = 1, expect_mismatch(shm, &asked);
    asked = made, asked.value_size = 24, expect_mismatch(shm, &asked);
    asked = made, asked.capacity = 101, expect_mismatch(shm, &asked);
    asked = made, asked.value_format = "<i8", expect_mismatch(shm, &asked);
    asked = made, asked.key_format = "<i8", expect_mismatch(shm, &asked);
    hf_shm_span span;
    CHECK_EQ(hf_shm_add(shm, "bytes", 100, &span), HF_OK);
    CHECK_EQ(hf_shm_map_open(shm, "bytes", HF_SHM_OPEN, NULL, &other), HF_E_MISMATCH);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_OPEN_OR_CREATE, &made, &other), HF_OK);
    hf_shm_map_close(other);
    asked = made, asked.value_format = NULL; /* whatever it is */
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_OPEN_OR_CREATE, &asked, &other), HF_OK);
    hf_shm_map_close(other);
    CHECK_EQ(hf_shm_map_open(shm, "m", HF_SHM_OPEN, NULL, &other), HF_OK);
    hf_shm_map_options found;
    hf_shm_map_options_of(other, &found);
    CHECK_EQ(found.key_size, 8);
    CHECK_EQ(found.value_size, 16);
    CHECK_EQ(found.capacity, 100);
    CHECK_STR(found.key_format, "<u8");
    CHECK_STR(found.value_format, "<f8");
    hf_shm_map_close(other);
    hf_shm_map_close(map);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
}

static void fill_and_empty(uint64_t capacity) {
    hf_shm *shm = map_segment((1 << 20) + capacity * 512);
    hf_shm_map *map = map_open(shm, "m", capacity);
    for (unsigned round = 0; round < 2; round++) {
        map_fills_up(map, capacity, 1000 * round);
        CHECK_EQ(hf_shm_map_count(map), 0);
        for (uint64_t key = 0; key < capacity; key++)
            CHECK_EQ(map_put_number(map, key, round), HF_OK);
        CHECK_EQ(map_put_number(map, capacity, 1), HF_E_FULL);
        CHECK_SAY(strstr(hf_shm_detail(), "made for") != NULL, "%s", hf_shm_detail());
        uint64_t number = 0;
        CHECK_EQ(map_get_number(map, capacity, &number), HF_E_NOT_FOUND);
        for (uint64_t key = 0; key < capacity; key++) { /* full: but every key can change */
            CHECK_EQ(map_put_number(map, key, 100 + round), HF_OK);
            CHECK_EQ(map_get_number(map, key, &number), HF_OK);
            CHECK_EQ(number, 100 + round);
        }
        map_sound(shm, "m", map);
        CHECK_EQ(hf_shm_map_clear(map), HF_OK);
        CHECK_EQ(hf_shm_map_count(map), 0);
        map_sound(shm, "m", map);
    }
    hf_shm_map_close(map);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
}

static void test_map_holds_exactly_its_capacity(void) {
    static const uint64_t capacities[] = {1, 2, 7, 63, 64, 129, 1000, 1500, 6143, 20000};
    for (unsigned i = 0; i < sizeof capacities / sizeof *capacities; i++)
        fill_and_empty(capacities[i]);
}

static void test_map_grows_by_levels_and_finds_in_few_lines(void) {
    enum { KEYS = 50000 };
    hf_shm *shm = map_segment(32 << 20);
    hf_shm_map *map = map_open(shm, "m", KEYS);
    hf_shm_map_figures figures;
    CHECK_EQ(hf_shm_map_figures_of(map, &figures), HF_OK);
    CHECK_EQ(figures.levels, 1);
    CHECK_EQ(figures.count, 0);
    CHECK_LT(figures.cells_active * 10, figures.cells);
    uint64_t active = figures.cells_active;
    for (uint64_t key = 0; key < KEYS; key++) {
        CHECK_EQ(map_put_number(map, key << 20, 1), HF_OK);
        if (key % 5000 != 0) continue;
        CHECK_EQ(hf_shm_map_figures_of(map, &figures), HF_OK);
        CHECK_EQ(figures.count, key + 1);
        CHECK_GE(figures.cells_active, active); /* grows, and nothing else */
        active = figures.cells_active;
    }
    CHECK_EQ(hf_shm_map_figures_of(map, &figures), HF_OK);
    CHECK_EQ(figures.levels, HF_SHM_MAP_LEVELS);
    CHECK_EQ(figures.cells_active, figures.cells);
    CHECK_EQ(figures.changes, KEYS);
    printf("  full: %.2f lines per hit, most %u, miss at most %u, load %.2f\n",
           (double)figures.lines_hit / KEYS, figures.lines_hit_max, figures.lines_miss_max,
           (double)figures.count / (double)figures.cells);
    CHECK_LT(figures.lines_hit, 2 * KEYS);
    CHECK_LE(figures.lines_miss_max, 3 + 12);
    uint64_t number = 0;
    for (uint64_t key = 0; key < KEYS; key++)
        CHECK_EQ(map_get_number(map, key << 20, &number), HF_OK);
    CHECK_EQ(map_get_number(map, 1, &number), HF_E_NOT_FOUND);
    CHECK_EQ(hf_shm_map_clear(map), HF_OK);
    CHECK_EQ(hf_shm_map_figures_of(map, &figures), HF_OK);
    CHECK_EQ(figures.levels, 1); /* an empty map is as small as a new one */
    map_sound(shm, "m", map);
    hf_shm_map_close(map);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
}

static void test_map_walk_sees_what_stays_once(void) {
    enum { KEYS = 2000 };
    static unsigned seen[2 * KEYS];
    hf_shm *shm = map_segment(4 << 20);
    hf_shm_map *map = map_open(shm, "m", 2 * KEYS);
    for (uint64_t key = 0; key < KEYS; key++)
        CHECK_EQ(map_put_number(map, key, 1), HF_OK);
    hf_shm_map_cursor cursor = {0};
    uint64_t key = 0, turn = 0;
    struct map_value value;
    hf_status status;
    memset(seen, 0, sizeof seen);
    while ((status = hf_shm_map_next(map, &cursor, &key, 8, NULL, &value, sizeof value, NULL,
                                     NULL)) == HF_OK) {
        CHECK_LT(key, 2 * KEYS);
        seen[key]++;
        /* Even keys stay and change; odd ones go; new ones come, and the map grows. */
        uint64_t change = turn * 2 % KEYS, odd = change + 1, fresh = KEYS + turn % KEYS;
        CHECK_EQ(map_put_number(map, change, turn), HF_OK);
        (void)hf_shm_map_erase(map, &odd, 8);
        CHECK_EQ(map_put_number(map, fresh, turn), HF_OK);
        turn++;
    }
    CHECK_EQ(status, HF_E_EMPTY);
    for (key = 0; key < KEYS; key += 2)
        CHECK_EQ(seen[key], 1);
    CHECK_EQ(hf_shm_map_next(map, &cursor, &key, 8, NULL, &value, sizeof value, NULL, NULL),
             HF_E_EMPTY);
    map_sound(shm, "m", map);
    hf_shm_map_close(map);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
}

/* One random program over keys below `universe`, with a table of what must be there. */
static void program(uint64_t seed, uint64_t capacity, uint64_t universe, unsigned length) {
    static uint64_t there[UNIVERSE]; /* number, 0: not there */
    static unsigned seen[UNIVERSE];
    check_random random = {seed};
    hf_shm *shm = map_segment((1 << 20) + capacity * 512);
    hf_shm_map *map = map_open(shm, "m", capacity);
    uint64_t count = 0;
    memset(there, 0, sizeof there);
    for (unsigned i = 1; i <= length; i++) {
        uint64_t key = check_random_below(&random, universe), number = 0;
        switch (check_random_below(&random, 16)) {
        default:
            CHECK_EQ(map_get_number(map, key, &number), there[key] ? HF_OK : HF_E_NOT_FOUND);
            CHECK_EQ(number, there[key]);
            break;
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
        case 5: {
            hf_status status = map_put_number(map, key, i);
            if (!there[key] && count == capacity) {
                CHECK_EQ(status, HF_E_FULL);
                break;
            }
            CHECK_EQ(status, HF_OK);
            count += !there[key];
            there[key] = i;
            break;
        }
        case 6:
        case 7:
        case 8:
        case 9:
            CHECK_EQ(hf_shm_map_erase(map, &key, 8), there[key] ? HF_OK : HF_E_NOT_FOUND);
            count -= there[key] != 0;
            there[key] = 0;
            break;
        case 10: {
            if (check_random_below(&random, 200) != 0) break;
            CHECK_EQ(hf_shm_map_clear(map), HF_OK);
            memset(there, 0, sizeof there);
            count = 0;
            break;
        }
        }
        CHECK_EQ(hf_shm_map_count(map), count);
    }
    memset(seen, 0, sizeof seen);
    CHECK_EQ(map_walk(map, seen, UNIVERSE), count);
    for (uint64_t key = 0; key < universe; key++)
        CHECK_SAY(seen[key] == (there[key] != 0), "seed %" PRIu64 ", key %" PRIu64, seed, key);
    map_sound(shm, "m", map);
    hf_shm_map_close(map);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
}

static void test_map_programs_do_as_the_model(void) {
    uint64_t seed = harness_seed();
    for (unsigned i = 0; i < 12; i++)
        program(seed + i, 1 + i * 90, 20 + i * 120, CHECK_SANITIZED ? 5000 : 30000);
    program(seed + 99, 2000, UNIVERSE, CHECK_SANITIZED ? 20000 : 100000);
}

int main(void) {
    CHECK_WATCHDOG(100);
    CHECK_RUN(test_map_gives_back_what_was_put);
    CHECK_RUN(test_map_versions_decide_conditional_changes);
    CHECK_RUN(test_map_of_bytes_holds_keys_of_every_length);
    CHECK_RUN(test_map_refuses_arguments_that_make_no_sense);
    CHECK_RUN(test_map_opened_as_another_is_a_mismatch);
    CHECK_RUN(test_map_holds_exactly_its_capacity);
    CHECK_RUN(test_map_grows_by_levels_and_finds_in_few_lines);
    CHECK_RUN(test_map_walk_sees_what_stays_once);
    CHECK_RUN(test_map_programs_do_as_the_model);
    return 0;
}
