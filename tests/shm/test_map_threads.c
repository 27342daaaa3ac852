/* test_map_threads - one handle and several threads: counters lose nothing, readers see whole values.
 *
 * Method: writers add to a few counters with replace_if and churn keys of their own, so that records go
 * round; readers check every byte of what they get, and walks see the keys that stay exactly once.
 * Under the thread sanitizer this is the proof that no access is unordered. */
#include "map_world.h"

#include <pthread.h>

enum { WRITERS = 3, READERS = 2, COUNTERS = 3, CHURN = 40 };

struct shared {
    hf_shm_map *map;
    _Atomic int stop;
    unsigned rounds;
};
struct role {
    struct shared *shared;
    unsigned number;
    pthread_t thread;
};

static void *write_keys(void *raw) {
    struct role *role = raw;
    hf_shm_map *map = role->shared->map;
    for (unsigned round = 0; round < role->shared->rounds; round++) {
        uint64_t key = round % COUNTERS, version = 0;
        for (hf_status status = HF_E_STALE; status != HF_OK;) {
            struct map_value value;
            size_t size = 0;
            CHECK_EQ(hf_shm_map_get(map, &key, 8, &value, sizeof value, &size, &version), HF_OK);
            value = map_value_make(key, map_value_number(key, &value, size) + 1);
            status = hf_shm_map_replace_if(map, &key, 8, &value, sizeof value, version, NULL);
            CHECK(status == HF_OK || status == HF_E_STALE);
        }
        uint64_t mine = 100 + role->number * CHURN + round % CHURN;
        CHECK_EQ(map_put_number(map, mine, round), HF_OK);
        if (round % 3 == 0) CHECK_EQ(hf_shm_map_erase(map, &mine, 8), HF_OK);
    }
    return NULL;
}

static void *read_keys(void *raw) {
    struct role *role = raw;
    hf_shm_map *map = role->shared->map;
    uint64_t last[COUNTERS] = {0}, number = 0;
    static _Thread_local unsigned seen[1000];
    while (!role->shared->stop) {
        for (uint64_t key = 0; key < COUNTERS; key++) {
            CHECK_EQ(map_get_number(map, key, &number), HF_OK);
            CHECK_GE(number, last[key]); /* a counter never goes back */
            last[key] = number;
        }
        for (uint64_t key = 100; key < 100 + WRITERS * CHURN; key++)
            (void)map_get_number(map, key, &number);
        memset(seen, 0, sizeof seen);
        map_walk(map, seen, 1000);
        for (uint64_t key = 0; key < COUNTERS; key++)
            CHECK_EQ(seen[key], 1);
    }
    return NULL;
}

static void test_map_threads_lose_nothing(void) {
    hf_shm *shm = map_segment(1 << 20);
    struct shared shared = {.map = map_open(shm, "m", 500),
                            .rounds = CHECK_SANITIZED ? 20000 : 200000};
    struct role roles[WRITERS + READERS];
    for (uint64_t key = 0; key < COUNTERS; key++)
        CHECK_EQ(map_put_number(shared.map, key, 0), HF_OK);
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        roles[i] = (struct role){.shared = &shared, .number = i};
        CHECK_EQ(
            pthread_create(&roles[i].thread, NULL, i < WRITERS ? write_keys : read_keys, &roles[i]),
            0);
    }
    for (unsigned i = 0; i < WRITERS + READERS; i++) {
        if (i == WRITERS) shared.stop = 1;
        CHECK_EQ(pthread_join(roles[i].thread, NULL), 0);
    }
    uint64_t total = 0, number = 0;
    for (uint64_t key = 0; key < COUNTERS; key++) {
        CHECK_EQ(map_get_number(shared.map, key, &number), HF_OK);
        total += number;
    }
    CHECK_EQ(total, (uint64_t)WRITERS * shared.rounds);
    map_sound(shm, "m", shared.map);
    map_fills_up(shared.map, 500, 10000);
    hf_shm_map_close(shared.map);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
}

int main(void) {
    CHECK_WATCHDOG(100);
    CHECK_RUN(test_map_threads_lose_nothing);
    return 0;
}
