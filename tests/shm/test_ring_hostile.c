/* test_ring_hostile - garbage in rings, versioned arrays and arrays: an error or no harm.
 *
 * Method: all bytes of the structure, headers more often; then every operation, by one who has it open
 * already and by one who opens it, with timeouts of at most a millisecond. */
#include <holdfast/shm_array.h>
#include <holdfast/shm_versioned.h>

#include "stream.h"
#include "view_help.h"

struct world {
    bool reliable;
    hf_shm *shm;
    hf_shm_ring *ring;
    hf_shm_ring_reader *reader;
    hf_shm_versioned *versioned;
    hf_shm_array *array;
    const char *target;
    uint64_t header; /* bytes of it in front of the elements */
};

static void world_setup(void *raw) {
    struct world *world = raw;
    world->shm = stream_segment("ring-hostile", 1 << 20);
    hf_shm_ring_options ring;
    hf_shm_ring_options_init(&ring, sizeof(item), 9);
    ring.reliable = world->reliable;
    ring.readers_max = 3;
    CHECK_EQ(hf_shm_ring_open(world->shm, "ring", HF_SHM_CREATE, &ring, &world->ring), HF_OK);
    CHECK_EQ(hf_shm_ring_reader_open(world->ring, NULL, &world->reader), HF_OK);
    CHECK_EQ(items_push(world->ring, 7, 0, NULL), HF_OK);
    hf_shm_versioned_options versioned;
    hf_shm_versioned_options_init(&versioned, 8, 20);
    CHECK_EQ(hf_shm_versioned_open(world->shm, "versioned", HF_SHM_CREATE, &versioned,
                                   &world->versioned),
             HF_OK);
    uint64_t words[20] = {1};
    CHECK_EQ(hf_shm_versioned_write(world->versioned, words, NULL), HF_OK);
    hf_shm_array_options array;
    hf_shm_array_options_init(&array, 8, 20);
    CHECK_EQ(hf_shm_array_open(world->shm, "array", HF_SHM_CREATE, &array, &world->array), HF_OK);
}

static void world_target(void *raw, char **bytes_out, size_t *size_out) {
    struct world *world = raw;
    hf_shm_entry entry;
    CHECK_EQ(hf_shm_find(world->shm, world->target, &entry), HF_OK);
    *bytes_out = hf_shm_at(world->shm, entry.span, 0, entry.span.size);
    *size_out =
        world->header && world->header < entry.span.size ? world->header : (size_t)entry.span.size;
}

static int nobody(const hf_shm_ring_reader_info *info, void *context) {
    (void)info, (void)context;
    return 0;
}

static void ring_use(hf_shm_ring *ring, hf_shm_ring_reader *reader) {
    item items[16] = {item_of(0)};
    uint64_t count, position = 0;
    void *run;
    const void *view;
    (void)hf_shm_ring_push(ring, items, 20000);
    (void)hf_shm_ring_push_bulk(ring, items, 12, 20000, &count);
    if (hf_shm_ring_reserve(ring, 5, 20000, &run, &count) == HF_OK) {
        CHECK(count >= 1 && count <= 5);
        memset(run, 1, count * sizeof(item));
        (void)hf_shm_ring_commit(ring, count - 1);
    }
    if (hf_shm_ring_latest(ring, items, 16, &count, &position) == HF_OK) CHECK_LE(count, 9);
    if (hf_shm_ring_read_at(ring, position, items, 16, &count) == HF_OK) CHECK_LE(count, 9);
    (void)hf_shm_ring_oldest(ring);
    (void)hf_shm_ring_readers(ring, nobody, NULL);
    (void)hf_shm_ring_writer(ring, NULL);
    for (int i = 0; i < 4 && reader != NULL; i++) {
        if (hf_shm_ring_pop_bulk(reader, items, 16, 20000, &count, NULL) == HF_OK)
            CHECK(count >= 1 && count <= 9);
        (void)hf_shm_ring_pop(reader, items, 20000);
        (void)hf_shm_ring_peek(reader, items, 16, &count);
        if (hf_shm_ring_view(reader, 16, &view, &count) == HF_OK) {
            CHECK(count >= 1 && count <= 9);
            memcpy(items, view, count * sizeof(item));
            (void)hf_shm_ring_advance(reader, count, NULL);
        }
        (void)hf_shm_ring_wait(reader, 2, 20000);
        (void)hf_shm_ring_lag(reader);
        (void)hf_shm_ring_seek(reader, hf_shm_ring_position(reader));
    }
    (void)hf_shm_ring_release(ring);
}

static void versioned_use(hf_shm_versioned *versioned) {
    uint64_t words[20] = {2}, version = 0;
    void *data;
    const void *view;
    (void)hf_shm_versioned_read(versioned, words, &version);
    (void)hf_shm_versioned_read_range(versioned, 8, words, 16, &version);
    (void)hf_shm_versioned_read_newer(versioned, version, words, &version);
    (void)hf_shm_versioned_wait(versioned, version, 20000, &version);
    if (hf_shm_versioned_view(versioned, &view, &version) == HF_OK) {
        memcpy(words, view, sizeof words);
        (void)hf_shm_versioned_intact(versioned, version);
    }
    (void)hf_shm_versioned_write(versioned, words, &version);
    (void)hf_shm_versioned_write_range(versioned, 16, words, 16, &version);
    if (hf_shm_versioned_begin(versioned, 1, &data) == HF_OK) {
        memset(data, 1, sizeof words);
        (void)hf_shm_versioned_commit(versioned, NULL);
    }
    (void)hf_shm_versioned_writer(versioned, NULL);
    (void)hf_shm_versioned_release(versioned);
}

static void array_use(hf_shm_array *array) {
    uint64_t index = 19;
    CHECK_EQ(hf_shm_array_element_count(array), 20);
    memset(hf_shm_array_data(array), 1, hf_shm_array_size(array));
    CHECK(hf_shm_array_at(array, &index) != NULL);
}

static int no_fault(const char *name, const char *fault, void *context) {
    (void)name, (void)fault, (void)context;
    return 0;
}

static void world_use(void *raw) {
    struct world *world = raw;
    hf_shm_figures figures;
    help_view_garbage(world->shm, "ring");
    help_view_garbage(world->shm, "versioned");
    help_view_garbage(world->shm, "array");
    ring_use(world->ring, world->reader);
    versioned_use(world->versioned);
    array_use(world->array);
    (void)hf_shm_check(world->shm, NULL, no_fault, NULL);
    (void)hf_shm_figures_of(world->shm, world->target, &figures);
    hf_shm_ring *ring = NULL;
    hf_shm_ring_reader *reader = NULL;
    hf_shm_versioned *versioned = NULL;
    if (hf_shm_ring_open(world->shm, "ring", HF_SHM_OPEN, NULL, &ring) == HF_OK) {
        (void)hf_shm_ring_reader_open(ring, NULL, &reader);
        ring_use(ring, reader);
        hf_shm_ring_reader_close(reader);
        (void)hf_shm_ring_close(ring);
    }
    if (hf_shm_versioned_open(world->shm, "versioned", HF_SHM_OPEN, NULL, &versioned) == HF_OK) {
        versioned_use(versioned);
        (void)hf_shm_versioned_close(versioned);
    }
    (void)hf_shm_repair(world->shm, NULL, NULL);
    ring_use(world->ring, world->reader);
    versioned_use(world->versioned);
    (void)hf_shm_sweep(world->shm, NULL);
}

static void world_teardown(void *raw) {
    struct world *world = raw;
    hf_shm_array_close(world->array);
    (void)hf_shm_versioned_close(world->versioned);
    hf_shm_ring_reader_close(world->reader);
    (void)hf_shm_ring_close(world->ring);
    CHECK_EQ(hf_shm_close(world->shm), HF_OK);
}

static void rounds(const char *name, struct world world, unsigned count, bool meanwhile) {
    struct harness_hostile hostile = {.name = name,
                                      .setup = world_setup,
                                      .target = world_target,
                                      .use = world_use,
                                      .teardown = world_teardown,
                                      .rounds = CHECK_SANITIZED ? count / 4 : count,
                                      .flips_max = 6,
                                      .meanwhile = meanwhile};
    harness_hostile(&hostile, &world);
}

static void test_garbage_in_a_ring_does_no_harm(void) {
    rounds("ring", (struct world){.target = "ring"}, 100, false);
    rounds("ring, header", (struct world){.target = "ring", .header = 1300}, 150, false);
    rounds("reliable, header", (struct world){.target = "ring", .reliable = true, .header = 1300},
           300, false);
}

static void test_garbage_in_a_versioned_array_does_no_harm(void) {
    rounds("versioned", (struct world){.target = "versioned"}, 100, false);
    rounds("versioned, header", (struct world){.target = "versioned", .header = 512}, 120, false);
}

static void test_garbage_while_it_is_used_does_no_harm(void) {
    rounds("ring, meanwhile", (struct world){.target = "ring", .header = 1300}, 30, true);
    rounds("reliable, meanwhile",
           (struct world){.target = "ring", .reliable = true, .header = 1300}, 30, true);
    rounds("versioned, meanwhile", (struct world){.target = "versioned", .header = 512}, 30, true);
    rounds("array, meanwhile", (struct world){.target = "array"}, 10, true);
}

/* What damage leaves, repair ends: afterwards check finds nothing and the ring works. */
static void test_repair_makes_a_damaged_ring_usable(void) {
    struct world world = {.target = "ring", .header = 1300};
    for (uint64_t seed = 1; seed <= 200; seed++) {
        world_setup(&world);
        hf_shm_ring_reader_close(world.reader);
        CHECK_EQ(hf_shm_ring_release(world.ring), HF_OK);
        char *bytes;
        size_t size;
        world_target(&world, &bytes, &size);
        check_random random = {seed};
        for (int i = 0; i < 4; i++) { /* everything but the geometry */
            size_t at = 128 + (size_t)check_random_below(&random, (size - 136) / 8) * 8;
            uint64_t value = check_random_next(&random) >> check_random_below(&random, 64);
            memcpy(bytes + at, &value, 8);
        }
        size_t repaired = 0;
        (void)hf_shm_repair(world.shm, "ring", &repaired);
        hf_status status = hf_shm_check(world.shm, "ring", no_fault, NULL);
        CHECK_SAY(status == HF_OK, "seed %" PRIu64 ": %d, %s", seed, status, hf_shm_detail());
        status = items_push(world.ring, 9, 0, NULL);
        CHECK_SAY(status == HF_OK || status == HF_E_CORRUPT, "seed %" PRIu64 ": %d, %s", seed,
                  status, hf_shm_detail());
        item items[9];
        uint64_t got, position;
        if (status == HF_OK) {
            CHECK_EQ(hf_shm_ring_latest(world.ring, items, 9, &got, &position), HF_OK);
            CHECK_EQ(got, 9);
            for (unsigned i = 0; i < 9; i++)
                CHECK(item_is(&items[i], position + i));
        }
        CHECK_EQ(hf_shm_ring_reader_open(world.ring, NULL, &world.reader), HF_OK);
        world_teardown(&world);
    }
}

int main(void) {
    CHECK_WATCHDOG(120);
    CHECK_RUN(test_garbage_in_a_ring_does_no_harm);
    CHECK_RUN(test_garbage_in_a_versioned_array_does_no_harm);
    CHECK_RUN(test_garbage_while_it_is_used_does_no_harm);
    CHECK_RUN(test_repair_makes_a_damaged_ring_usable);
    return 0;
}
