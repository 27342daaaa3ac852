/* steps_versioned - versioned arrays: every crash point of a writer, every order of it and a reader.
 *
 * Method: the content is a function of the version; whatever happened, a read brings one version
 * whole, and the next writer makes the one after it. */
#include <holdfast/shm_versioned.h>

#include "stream.h"

#include "shm/segment.h"

#define WORDS 6

struct world {
    uint32_t buffers;
    hf_shm *shm, *shms[2];
    hf_shm_versioned *array, *arrays[2];
};

static hf_shm_versioned *array_open(hf_shm *shm, uint32_t buffers) {
    hf_shm_versioned_options options;
    hf_shm_versioned_options_init(&options, 8, WORDS);
    options.buffers = buffers;
    hf_shm_versioned *array = NULL;
    hf_status status = hf_shm_versioned_open(shm, "array", HF_SHM_OPEN_OR_CREATE, &options, &array);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    return array;
}

static void content_fill(uint64_t *words, uint64_t version) {
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = item_word(version, i % 8);
}

static void content_write(hf_shm_versioned *array) {
    uint64_t words[WORDS], version = 0;
    CHECK_EQ(hf_shm_versioned_claim(array), HF_OK);
    uint64_t next = hf_shm_versioned_version(array) + 1;
    content_fill(words, next);
    CHECK_EQ(hf_shm_versioned_write(array, words, &version), HF_OK);
    CHECK_EQ(version, next);
}

/* The version that a read brings, which must be whole. */
static uint64_t content_read(hf_shm_versioned *array) {
    uint64_t words[WORDS], expected[WORDS], version = 0;
    hf_status status = hf_shm_versioned_read(array, words, &version);
    CHECK_SAY(status == HF_OK, "%d, %s", status, hf_shm_detail());
    content_fill(expected, version);
    CHECK_SAY(memcmp(words, expected, sizeof words) == 0, "version %" PRIu64 " is torn", version);
    return version;
}

static void world_setup(void *raw) {
    struct world *world = raw;
    world->shm = stream_segment("steps-versioned", 64 << 10);
    world->array = array_open(world->shm, world->buffers);
    for (int i = 0; i < 5; i++)
        content_write(world->array);
    CHECK_EQ(hf_shm_versioned_release(world->array), HF_OK);
}

static void world_teardown(void *raw) {
    struct world *world = raw;
    CHECK_EQ(hf_shm_versioned_close(world->array), HF_OK);
    CHECK_EQ(hf_shm_close(world->shm), HF_OK);
}

/* --- crash points ----------------------------------------------------------------------------- */

static void victim_prepare(void *raw) {
    struct world *world = raw;
    world->shms[0] = stream_segment("steps-versioned", 0);
    world->arrays[0] = array_open(world->shms[0], world->buffers);
}

/* Each way of writing; every one leaves the whole content of the next version. */
static void victim_writes(void *raw) {
    struct world *world = raw;
    hf_shm_versioned *array = world->arrays[0];
    content_write(array);
    uint64_t words[WORDS], version = hf_shm_versioned_version(array) + 1;
    void *data = NULL;
    content_fill(words, version);
    CHECK_EQ(hf_shm_versioned_begin(array, 1, &data), HF_OK);
    hfi_shm_copy(data, words, sizeof words);
    CHECK_EQ(hf_shm_versioned_commit(array, NULL), HF_OK);
    content_fill(words, version + 1);
    CHECK_EQ(hf_shm_versioned_write_range(array, 0, words, sizeof words, NULL), HF_OK);
    CHECK_EQ(hf_shm_versioned_release(array), HF_OK);
}

static void rescuer_writes(void *raw) {
    victim_prepare(raw);
    victim_writes(raw);
}

static void crash_verify(void *raw, bool finished) {
    struct world *world = raw;
    uint64_t version = content_read(world->array);
    CHECK_GE(version, 5);
    if (finished) CHECK_EQ(version, 8);
    for (uint32_t i = 0; i < 2 * world->buffers; i++) {
        content_write(world->array);
        CHECK_EQ(content_read(world->array), ++version);
    }
    stream_check(world->shm);
    CHECK_EQ(hf_shm_sweep(world->shm, NULL), HF_OK);
    stream_check(world->shm);
}

static const struct harness_steps writes = {.name = "writer",
                                            .setup = world_setup,
                                            .prepare = victim_prepare,
                                            .victim = victim_writes,
                                            .rescuer = rescuer_writes,
                                            .verify = crash_verify,
                                            .teardown = world_teardown};

static void test_writer_is_killed_anywhere(void) {
    for (uint32_t buffers = 2; buffers <= 3; buffers++) {
        struct world world = {.buffers = buffers};
        harness_crash_points(&writes, &world, 9);
    }
}

static void test_faults_of_crashes_are_caught(void) {
    struct world world = {.buffers = 2};
    struct harness_steps alone = writes;
    alone.rescuer = NULL;
    harness_mutant_is_caught(&alone, &world, 703); /* fills the version that readers take */
}

/* --- interleavings ---------------------------------------------------------------------------- */

static void weave_setup(void *raw) {
    struct world *world = raw;
    world_setup(raw);
    for (unsigned i = 0; i < 2; i++) {
        world->shms[i] = stream_segment("steps-versioned", 0);
        world->arrays[i] = array_open(world->shms[i], world->buffers);
    }
}

static void weave_teardown(void *raw) {
    struct world *world = raw;
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(hf_shm_versioned_close(world->arrays[i]), HF_OK);
        CHECK_EQ(hf_shm_close(world->shms[i]), HF_OK);
    }
    world_teardown(raw);
}

static void weave_die(void *raw, unsigned actor) {
    struct world *world = raw;
    hfi_shm_abandon(world->shms[actor]);
}

static void actor_writes(void *raw) {
    struct world *world = raw;
    for (uint32_t i = 0; i < world->buffers + 1; i++)
        content_write(world->arrays[0]);
    CHECK_EQ(hf_shm_versioned_release(world->arrays[0]), HF_OK);
}

static void actor_reads(void *raw) {
    struct world *world = raw;
    uint64_t version = content_read(world->arrays[1]);
    CHECK_GE(version, 5);
    CHECK_GE(content_read(world->arrays[1]), version);
}

/* One of several writers: it writes, or is told who does. */
static void write_or_not(hf_shm_versioned *array) {
    hf_status status = hf_shm_versioned_claim(array);
    if (status == HF_E_BUSY) {
        CHECK(strstr(hf_shm_detail(), "process") != NULL);
        return;
    }
    CHECK_EQ(status, HF_OK);
    content_write(array);
    CHECK_EQ(hf_shm_versioned_release(array), HF_OK);
}

static void actor_may_write(void *raw) {
    struct world *world = raw;
    write_or_not(world->arrays[0]);
}

static void actor_may_write_too(void *raw) {
    struct world *world = raw;
    write_or_not(world->arrays[1]);
}

static void weave_verify(void *raw, int died) {
    struct world *world = raw;
    uint64_t version = content_read(world->array);
    if (died < 0) CHECK_EQ(version, 6 + world->buffers);
    content_write(world->array);
    CHECK_EQ(content_read(world->array), version + 1);
    stream_check(world->shm);
}

static const struct harness_weave reading = {.name = "write and read",
                                             .actors = 2,
                                             .setup = weave_setup,
                                             .actor = {actor_writes, actor_reads},
                                             .die = weave_die,
                                             .verify = weave_verify,
                                             .teardown = weave_teardown,
                                             .preemptions = 2,
                                             .schedules_max = 6000};

static void test_every_order_of_a_writer_and_a_reader(void) {
    for (uint32_t buffers = 2; buffers <= 3; buffers++) {
        struct world world = {.buffers = buffers};
        harness_weave(&reading, &world);
    }
}

static void pair_verify(void *raw, int died) {
    struct world *world = raw;
    uint64_t version = content_read(world->array);
    if (died < 0) CHECK_GE(version, 6); /* at least one of them wrote */
    CHECK_LE(version, 7);
    content_write(world->array);
    CHECK_EQ(content_read(world->array), version + 1);
    stream_check(world->shm);
}

static void test_every_order_of_two_writers(void) {
    struct world world = {.buffers = 2};
    struct harness_weave pair = reading;
    pair.name = "two writers";
    pair.actor[0] = actor_may_write;
    pair.actor[1] = actor_may_write_too;
    pair.verify = pair_verify;
    harness_weave(&pair, &world);
}

static void test_faults_of_order_are_caught(void) {
    struct world world = {.buffers = 2};
    harness_weave_mutant_is_caught(&reading, &world, 701); /* announces nothing               */
    harness_weave_mutant_is_caught(&reading, &world, 702); /* takes a version too old by one  */
}

/* --- a writer that goes round during every copy ------------------------------------------------ */

static hf_shm_versioned *lapping;
static unsigned lap_versions;
static void lap(void) {
    hfi_shm_step_hook = NULL;
    for (unsigned i = 0; i < lap_versions; i++)
        content_write(lapping);
    hfi_shm_step_hook = lap;
}

static void test_reader_that_is_lapped_every_time_is_told(void) {
    struct world world = {.buffers = 4};
    world_setup(&world);
    lapping = world.array;
    hf_shm_versioned *reader = array_open(world.shm, world.buffers);
    uint64_t words[WORDS], version = 99;
    lap_versions = 2; /* of the four accesses of a copy each: eight versions */
    hfi_shm_step_hook = lap;
    hf_status status = hf_shm_versioned_read(reader, words, &version);
    hfi_shm_step_hook = NULL;
    CHECK_EQ(status, HF_E_BUSY);
    CHECK_EQ(version, 99);
    lap_versions = 1; /* three between the load of the version and the look at the intent: whole */
    hfi_shm_step_hook = lap;
    uint64_t seen = content_read(reader);
    hfi_shm_step_hook = NULL;
    CHECK_EQ(seen + 3, hf_shm_versioned_version(world.array));
    CHECK_EQ(content_read(reader), seen + 3);
    CHECK_EQ(hf_shm_versioned_close(reader), HF_OK);
    world_teardown(&world);
}

int main(void) {
    CHECK_WATCHDOG(200);
    CHECK_RUN(test_writer_is_killed_anywhere);
    CHECK_RUN(test_faults_of_crashes_are_caught);
    CHECK_RUN(test_reader_that_is_lapped_every_time_is_told);
    CHECK_RUN(test_every_order_of_a_writer_and_a_reader);
    CHECK_RUN(test_every_order_of_two_writers);
    CHECK_RUN(test_faults_of_order_are_caught);
    return 0;
}
