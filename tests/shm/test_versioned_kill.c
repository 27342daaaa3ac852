/* test_versioned_kill - versioned arrays under load, with writers and readers killed and stopped.
 *
 * Method: the content is a function of the version; every read must bring one version whole, and no
 * older one than the read before. */
#include <holdfast/shm_versioned.h>

#include "stream.h"

#define WRITERS   2
#define READERS   3
#define WORDS_MAX 4096

struct world {
    uint64_t words;
    uint32_t buffers;
    hf_shm *shm;
    hf_shm_versioned *array;
    struct counters {
        _Atomic uint64_t reads, lapped, written;
    } * counters;
};

static hf_shm_versioned *array_open(const struct world *world, hf_shm *shm, hf_shm_mode mode) {
    hf_shm_versioned_options options;
    hf_shm_versioned_options_init(&options, 8, world->words);
    options.buffers = world->buffers;
    hf_shm_versioned *array = NULL;
    hf_status status = hf_shm_versioned_open(shm, "array", mode, &options, &array);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    return array;
}

static uint64_t content_word(uint64_t version, uint64_t index) {
    return version == 0 ? 0 : item_word(version, (unsigned)(index % 1000));
}

static int writer(struct world *world, hf_shm_versioned *array, check_random *random,
                  const volatile int *stop) {
    static uint64_t words[WORDS_MAX];
    while (!*stop) {
        hf_status status = hf_shm_versioned_claim(array);
        if (status == HF_E_BUSY) {
            usleep(300);
            continue;
        }
        CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
        uint64_t next = hf_shm_versioned_version(array) + 1, *to = words;
        bool in_place = check_random_below(random, 3) == 0;
        void *data = NULL;
        if (in_place) {
            CHECK_EQ(hf_shm_versioned_begin(array, (int)check_random_below(random, 2), &data),
                     HF_OK);
            to = data;
        }
        for (uint64_t i = 0; i < world->words; i++)
            to[i] = content_word(next, i);
        if (in_place && check_random_below(random, 5) == 0)
            CHECK_EQ(hf_shm_versioned_cancel(array), HF_OK);
        else if (in_place)
            CHECK_EQ(hf_shm_versioned_commit(array, NULL), HF_OK);
        else
            CHECK_EQ(hf_shm_versioned_write(array, words, NULL), HF_OK);
        world->counters->written++;
        if (check_random_below(random, 100) == 0) CHECK_EQ(hf_shm_versioned_release(array), HF_OK);
        if (check_random_below(random, 20) == 0) usleep(20);
    }
    return 0;
}

static int reader(struct world *world, hf_shm_versioned *array, check_random *random,
                  const volatile int *stop) {
    static uint64_t words[WORDS_MAX];
    uint64_t before = 0;
    while (!*stop) {
        uint64_t first = 0, count = world->words, version = 0;
        hf_status status;
        if (check_random_below(random, 3) == 0) {
            first = check_random_below(random, world->words);
            count = 1 + check_random_below(random, world->words - first);
            status = hf_shm_versioned_read_range(array, first * 8, words, count * 8, &version);
        } else {
            status = hf_shm_versioned_read(array, words, &version);
        }
        if (status == HF_E_BUSY) {
            world->counters->lapped++;
            continue;
        }
        CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
        CHECK_GE(version, before);
        before = version;
        for (uint64_t i = 0; i < count; i++)
            CHECK_SAY(words[i] == content_word(version, first + i),
                      "word %" PRIu64 " is not of version %" PRIu64, first + i, version);
        world->counters->reads++;
        if (check_random_below(random, 10) == 0) {
            status = hf_shm_versioned_wait(array, version, 1000000, &version);
            CHECK(status == HF_OK || status == HF_E_TIMEOUT);
        }
    }
    return 0;
}

static int work(void *raw, unsigned worker, unsigned incarnation, const volatile int *stop) {
    struct world *world = raw;
    check_random random = {harness_seed() + worker * 1000 + incarnation};
    hf_shm *shm = stream_segment("versioned-kill", 0);
    hf_shm_versioned *array = array_open(world, shm, HF_SHM_OPEN);
    int result = worker < WRITERS ? writer(world, array, &random, stop)
                                  : reader(world, array, &random, stop);
    CHECK_EQ(hf_shm_versioned_close(array), HF_OK);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
    return result;
}

static void storm_run(const char *name, uint64_t words, uint32_t buffers, unsigned kills,
                      unsigned stops) {
    struct world world = {.words = words, .buffers = buffers};
    CHECK_LE(words, WORDS_MAX);
    world.counters = harness_shared(sizeof *world.counters);
    world.shm = stream_segment("versioned-kill", 4 << 20);
    world.array = array_open(&world, world.shm, HF_SHM_CREATE);
    struct harness_storm storm = {.name = name,
                                  .workers = WRITERS + READERS,
                                  .kills = kills,
                                  .stops = stops,
                                  .stop_ms = 5,
                                  .work = work,
                                  .pace_us = 1500};
    harness_storm(&storm, &world);
    stream_check(world.shm);
    CHECK_EQ(hf_shm_sweep(world.shm, NULL), HF_OK);
    uint64_t version = hf_shm_versioned_version(world.array);
    CHECK_EQ(hf_shm_versioned_claim(world.array), HF_OK);
    hf_shm_figures figures;
    CHECK_EQ(hf_shm_figures_of(world.shm, "array", &figures), HF_OK);
    CHECK_EQ(figures.written, version);
    if (kills == 0) CHECK_EQ(figures.recovered, 0);
    CHECK_GT(world.counters->reads, 0);
    printf("  %" PRIu64 " versions, %" PRIu64 " whole reads, %" PRIu64 " times lapped, %" PRIu64
           " recovered\n",
           version, (uint64_t)world.counters->reads, (uint64_t)world.counters->lapped,
           figures.recovered);
    CHECK_EQ(hf_shm_versioned_close(world.array), HF_OK);
    CHECK_EQ(hf_shm_close(world.shm), HF_OK);
}

static void test_every_read_is_one_version_whole(void) {
    storm_run("eight words", 8, 2, harness_kills(200), 5);
    storm_run("four pages", 2048, 2, harness_kills(200), 5);
    storm_run("four pages, four buffers", 2048, 4, harness_kills(200), 5);
}

static void test_stopped_writers_are_not_dead_and_nobody_waits_for_them(void) {
    storm_run("stops", 512, 2, 0, 40);
}

int main(void) {
    harness_watchdog(280);
    CHECK_RUN(test_every_read_is_one_version_whole);
    CHECK_RUN(test_stopped_writers_are_not_dead_and_nobody_waits_for_them);
    return 0;
}
