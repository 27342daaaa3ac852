/* test_map_kill - writers of one map, killed and stopped at random under load, with an account.
 *
 * Method: each worker has keys of its own and says in shared memory, before each change, what the key
 * holds and what it is to hold: after its death it must hold one of the two. Counters that all of them
 * add to with replace_if must lie between the additions that were finished and those that were begun.
 * At the end: the segment's check, every key, and room for exactly the capacity.
 * HOLDFAST_TEST_KILLS sets the number of kills; with it the map has 100,000 keys. */
#include "map_world.h"

enum { WORKERS = 4, COUNTERS = 8, SWEEPS = 64 };

struct account {
    _Atomic uint64_t key, before, after, begun; /* begun != 0: a change is under way */
    _Atomic uint64_t additions_begun, additions;
    _Atomic uint64_t changes, reads;
};

struct storm {
    uint64_t keys; /* keys [COUNTERS, keys) belong to worker key % WORKERS */
    hf_shm *shm;
    hf_shm_map *map;
    struct account *accounts;
    _Atomic uint64_t *holds; /* number of each key, 0: absent; written by its worker */
};

static uint64_t own_key(const struct storm *storm, check_random *random, unsigned worker) {
    uint64_t mine = (storm->keys - COUNTERS) / WORKERS;
    return COUNTERS + check_random_below(random, mine) * WORKERS + worker;
}

static void change_key(struct storm *storm, hf_shm_map *map, check_random *random,
                       unsigned worker) {
    struct account *account = &storm->accounts[worker];
    uint64_t key = own_key(storm, random, worker), before = storm->holds[key], after = 0;
    if (check_random_below(random, 4) != 0) after = account->changes + 1;
    account->key = key;
    account->before = before;
    account->after = after;
    account->begun = 1;
    if (after != 0) {
        hf_status status = map_put_number(map, key, after);
        CHECK_SAY(status == HF_OK, "put: %d, %s", status, hf_shm_detail());
    } else {
        CHECK_EQ(hf_shm_map_erase(map, &key, sizeof key), before ? HF_OK : HF_E_NOT_FOUND);
    }
    storm->holds[key] = after;
    account->begun = 0;
    account->changes++;
}

static void add_to_counter(struct storm *storm, hf_shm_map *map, check_random *random,
                           unsigned worker) {
    uint64_t key = check_random_below(random, COUNTERS), version = 0;
    storm->accounts[worker].additions_begun++;
    for (hf_status status = HF_E_STALE; status != HF_OK;) {
        struct map_value value;
        size_t size = 0;
        CHECK_EQ(hf_shm_map_get(map, &key, 8, &value, sizeof value, &size, &version), HF_OK);
        value = map_value_make(key, map_value_number(key, &value, size) + 1);
        status = hf_shm_map_replace_if(map, &key, 8, &value, sizeof value, version, NULL);
        CHECK_SAY(status == HF_OK || status == HF_E_STALE, "%d, %s", status, hf_shm_detail());
    }
    storm->accounts[worker].additions++;
}

static int storm_work(void *raw, unsigned worker, unsigned incarnation, const volatile int *stop) {
    struct storm *storm = raw;
    check_random random = {(uint64_t)getpid() << 20 ^ incarnation};
    hf_shm *shm = map_join(storm->shm);
    hf_shm_map *map = map_open(shm, "m", 0);
    while (!*stop) {
        for (unsigned i = 0; i < 20; i++)
            change_key(storm, map, &random, worker);
        for (unsigned i = 0; i < 20; i++) {
            uint64_t number = 0, mine = own_key(storm, &random, worker);
            hf_status status = map_get_number(map, mine, &number);
            CHECK_EQ(status, storm->holds[mine] ? HF_OK : HF_E_NOT_FOUND);
            CHECK_EQ(number, storm->holds[mine]);
            (void)map_get_number(map, check_random_below(&random, storm->keys), &number);
            storm->accounts[worker].reads += 2;
        }
        add_to_counter(storm, map, &random, worker);
        if (check_random_below(&random, SWEEPS) == 0) (void)hf_shm_sweep(shm, NULL);
    }
    hf_shm_map_close(map);
    return hf_shm_close(shm) == HF_OK ? 0 : 1;
}

static void storm_killed(void *raw, unsigned worker, unsigned incarnation) {
    struct storm *storm = raw;
    struct account *account = &storm->accounts[worker];
    (void)incarnation;
    if (account->begun == 0) return;
    uint64_t key = account->key, number = 0;
    (void)map_get_number(storm->map, key, &number);
    CHECK_SAY(number == account->before || number == account->after,
              "key %" PRIu64 " holds %" PRIu64 ", not %" PRIu64 " or %" PRIu64, key, number,
              account->before, account->after);
    storm->holds[key] = number;
    account->begun = 0;
}

static void storm_open(struct storm *storm, uint64_t keys) {
    uint64_t capacity = keys + 100;
    storm->keys = keys;
    storm->shm = map_segment((4 << 20) + capacity * 256);
    storm->map = map_open(storm->shm, "m", capacity);
    storm->accounts = harness_shared(WORKERS * sizeof *storm->accounts);
    storm->holds = harness_shared(keys * sizeof *storm->holds);
    for (uint64_t key = 0; key < COUNTERS; key++)
        CHECK_EQ(map_put_number(storm->map, key, 0), HF_OK);
}

/* Everything is accounted for; returns the changes. */
static void storm_close(struct storm *storm) {
    uint64_t begun = 0, done = 0, changes = 0, reads = 0, total = 0, number = 0, present = 0;
    CHECK_EQ(hf_shm_sweep(storm->shm, NULL), HF_OK);
    for (unsigned worker = 0; worker < WORKERS; worker++) {
        begun += storm->accounts[worker].additions_begun;
        done += storm->accounts[worker].additions;
        changes += storm->accounts[worker].changes;
        reads += storm->accounts[worker].reads;
    }
    for (uint64_t key = 0; key < COUNTERS; key++) {
        CHECK_EQ(map_get_number(storm->map, key, &number), HF_OK);
        total += number;
    }
    CHECK_SAY(done <= total && total <= begun,
              "%" PRIu64 " additions, %" PRIu64 " finished, %" PRIu64 " begun", total, done, begun);
    for (uint64_t key = COUNTERS; key < storm->keys; key++) {
        number = 0;
        (void)map_get_number(storm->map, key, &number);
        CHECK_SAY(number == storm->holds[key], "key %" PRIu64 " holds %" PRIu64 ", not %" PRIu64,
                  key, number, storm->holds[key]);
        present += number != 0;
    }
    CHECK_EQ(hf_shm_map_count(storm->map), present + COUNTERS);
    map_sound(storm->shm, "m", storm->map);
    hf_shm_map_figures figures;
    CHECK_EQ(hf_shm_map_figures_of(storm->map, &figures), HF_OK);
    map_fills_up(storm->map, figures.capacity, UINT64_C(1) << 40);
    map_sound(storm->shm, "m", storm->map);
    printf("  %" PRIu64 " changes, %" PRIu64 " reads, %" PRIu64 " shards put right\n", changes,
           reads, figures.recovered);
    hf_shm_map_close(storm->map);
    CHECK_EQ(hf_shm_close(storm->shm), HF_OK);
}

static void test_map_keeps_every_key_when_writers_are_killed(void) {
    struct storm storm;
    storm_open(&storm, getenv("HOLDFAST_TEST_KILLS") ? 100000 : 10000);
    struct harness_storm kills = {.name = "map",
                                  .workers = WORKERS,
                                  .kills = harness_kills(150),
                                  .work = storm_work,
                                  .killed = storm_killed};
    harness_storm(&kills, &storm);
    storm_close(&storm);
}

static void test_map_with_few_keys_is_not_held_up_by_the_dead(void) {
    struct storm storm;
    storm_open(&storm, COUNTERS + 5 * WORKERS); /* one shard: every death meets everybody */
    struct harness_storm kills = {.name = "small map",
                                  .workers = WORKERS,
                                  .kills = harness_kills(150),
                                  .work = storm_work,
                                  .killed = storm_killed};
    harness_storm(&kills, &storm);
    storm_close(&storm);
}

static void test_map_is_not_repaired_behind_a_stopped_writer(void) {
    struct storm storm;
    storm_open(&storm, COUNTERS + 5 * WORKERS);
    struct harness_storm stops = {
        .name = "stopped writers", .workers = WORKERS, .stops = 20, .work = storm_work};
    harness_storm(&stops, &storm);
    hf_shm_map_figures figures;
    CHECK_EQ(hf_shm_map_figures_of(storm.map, &figures), HF_OK);
    CHECK_EQ(figures.recovered, 0);
    storm_close(&storm);
}

int main(void) {
    harness_watchdog(100);
    CHECK_RUN(test_map_keeps_every_key_when_writers_are_killed);
    CHECK_RUN(test_map_with_few_keys_is_not_held_up_by_the_dead);
    CHECK_RUN(test_map_is_not_repaired_behind_a_stopped_writer);
    return 0;
}
