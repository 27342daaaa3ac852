/* steps_slots - the algorithm of pools by itself: every crash point, every order of two and three.
 *
 * Method: slots over plain shared memory, owners by number, death by decree. After a death and its
 * recovery each slot must be had exactly once; at rest without one, without a rebuild. Content shows
 * double ownership: an owner writes its number into its slot and finds it there before it gives back. */
#include "harness.h"

#include "shm/slots.h"

#define SELF    1u /* who verifies    */
#define VICTIM  7u /* actor 0         */
#define RESCUER 8u
#define SMALL   3u
#define LARGE   641u /* eleven words: two levels */

struct world {
    uint32_t count;
    uint32_t kept; /* slots that somebody else holds from the beginning */
    void *memory;
    struct hfi_shm_slots slots;
    uint64_t *passed;           /* handle that the victim gave away, and whether it came to that */
    _Atomic uint64_t *contents; /* one per slot */
    bool clean;
};

static void world_setup(void *raw) {
    struct world *world = raw;
    uint64_t size = hfi_shm_slots_size(world->count);
    if (!world->memory) {
        world->memory = harness_shared(size);
        world->passed = harness_shared(64);
        world->contents = harness_shared(world->count * 8ul);
    }
    memset(world->memory, 0, size);
    memset(world->passed, 0, 64);
    for (uint32_t i = 0; i < world->count; i++)
        world->contents[i] = 0;
    hfi_shm_slots_view(&world->slots, world->memory, world->count);
    hfi_shm_slots_init(&world->slots);
    uint64_t handles[LARGE];
    CHECK_EQ(hfi_shm_slots_acquire_many(&world->slots, SELF, handles, world->kept), world->kept);
}

static void wipe(void *context, uint32_t index) {
    struct world *world = context;
    hfi_shm_store64(&world->contents[index], 0);
}

static void recover(struct world *world, uint32_t dead, uint32_t self) {
    hfi_shm_slots_recover(&world->slots, dead, self, world->clean ? wipe : NULL, world);
}

/* Everything that is not kept can be had once, and not twice; then it is all given back. */
static void check_capacity(struct world *world, uint32_t expected, bool rebuild) {
    static uint64_t handles[LARGE + 1];
    static bool seen[LARGE];
    memset(seen, 0, sizeof seen);
    uint32_t had = 0;
    for (int pass = 0; pass < 2; pass++) {
        uint64_t handle;
        while ((handle = hfi_shm_slots_acquire(&world->slots, SELF)) != 0) {
            CHECK_LT(had, world->count);
            CHECK((uint32_t)handle < world->count && !seen[(uint32_t)handle]);
            CHECK(hfi_shm_slots_live(&world->slots, handle));
            if (world->clean) CHECK_EQ(world->contents[(uint32_t)handle], 0);
            seen[(uint32_t)handle] = true;
            handles[had++] = handle;
        }
        if (!rebuild || !hfi_shm_slots_suspect(&world->slots)) break;
        hfi_shm_slots_rebuild(&world->slots);
    }
    CHECK_EQ(had, expected);
    for (uint32_t i = 0; i < had; i++) {
        CHECK_EQ(hfi_shm_slots_release(&world->slots, SELF, handles[i]), HF_OK);
        CHECK_EQ(hfi_shm_slots_release(&world->slots, SELF, handles[i]), HF_E_STALE);
    }
}

/* --- crash points ----------------------------------------------------------------------------- */

static void victim_takes_and_gives(void *raw) {
    struct world *world = raw;
    uint64_t one = hfi_shm_slots_acquire(&world->slots, VICTIM), two[2];
    CHECK(one != 0);
    hfi_shm_store64(&world->contents[(uint32_t)one], VICTIM);
    CHECK_EQ(hfi_shm_slots_acquire_many(&world->slots, VICTIM, two, 2), 2);
    if (world->clean) {
        CHECK_EQ(hfi_shm_slots_retire(&world->slots, VICTIM, one), HF_OK);
        wipe(world, (uint32_t)one);
        CHECK_EQ(hfi_shm_slots_free_retired(&world->slots, VICTIM, one), HF_OK);
    } else {
        CHECK_EQ(hfi_shm_slots_release(&world->slots, VICTIM, one), HF_OK);
    }
    world->passed[0] = two[1];
    CHECK_EQ(hfi_shm_slots_pass(&world->slots, VICTIM, two[1]), HF_OK);
    one = hfi_shm_slots_acquire(&world->slots, VICTIM);
    hfi_shm_store64(&world->contents[(uint32_t)one], VICTIM);
}

static void rescue(void *raw) {
    struct world *world = raw;
    recover(world, VICTIM, RESCUER);
    if (hfi_shm_slots_suspect(&world->slots)) hfi_shm_slots_rebuild(&world->slots);
}

static void crash_verify(void *raw, bool finished) {
    struct world *world = raw;
    recover(world, VICTIM, SELF);
    recover(world, RESCUER, SELF);
    uint32_t expected = world->count - world->kept;
    uint64_t mine = 0, passed = world->passed[0];
    hf_status adopted = passed ? hfi_shm_slots_adopt(&world->slots, SELF, passed, &mine) : HF_OK;
    if (finished) CHECK_EQ(adopted, HF_OK);
    if (passed) CHECK(adopted == HF_OK || adopted == HF_E_STALE); /* killed before it was passed */
    if (mine) {
        CHECK_EQ(hfi_shm_slots_adopt(&world->slots, SELF, passed, &mine), HF_E_STALE);
        CHECK_EQ(hfi_shm_slots_release(&world->slots, SELF, passed), HF_E_STALE);
        wipe(world, (uint32_t)mine);
        CHECK_EQ(hfi_shm_slots_release(&world->slots, SELF, mine), HF_OK);
    }
    check_capacity(world, expected, true);
    check_capacity(world, expected, false); /* and the hints are right again */
}

static const struct harness_steps crash = {.name = "take and give",
                                           .setup = world_setup,
                                           .victim = victim_takes_and_gives,
                                           .rescuer = rescue,
                                           .verify = crash_verify};

static void test_kill_anywhere_leaves_every_slot_to_be_had(void) {
    struct world world = {.count = SMALL};
    harness_crash_points(&crash, &world, 1);
}

static void test_kill_while_contents_are_cleaned(void) {
    struct world world = {.count = SMALL, .clean = true};
    harness_crash_points(&crash, &world, 1);
}

static void test_kill_in_two_levels(void) {
    /* Three are free, in the last word: each step empties and fills words of both levels. */
    struct world world = {.count = LARGE, .kept = LARGE - 3};
    struct harness_steps alone = crash;
    alone.rescuer = NULL;
    harness_crash_points(&alone, &world, 1);
}

static void test_faults_of_crashes_are_caught(void) {
    struct world small = {.count = SMALL};
    world_setup(&small);
    struct harness_steps alone = crash;
    alone.rescuer = NULL;
    harness_mutant_is_caught(&alone, &small, 502); /* generations stand still            */
    harness_mutant_is_caught(&alone, &small, 504); /* nobody learns that hints are gone  */
}

/* --- interleavings ---------------------------------------------------------------------------- */

static void use(struct world *world, uint32_t owner) {
    uint64_t handle = hfi_shm_slots_acquire(&world->slots, owner);
    if (handle == 0) return;
    _Atomic uint64_t *content = &world->contents[(uint32_t)handle];
    CHECK(hfi_shm_slots_live(&world->slots, handle));
    if (world->clean) CHECK_EQ(hfi_shm_load64(content), 0);
    hfi_shm_store64(content, owner);
    CHECK_EQ(hfi_shm_load64(content), owner);
    if (world->clean) {
        CHECK_EQ(hfi_shm_slots_retire(&world->slots, owner, handle), HF_OK);
        wipe(world, (uint32_t)handle);
        CHECK_EQ(hfi_shm_slots_free_retired(&world->slots, owner, handle), HF_OK);
        return;
    }
    CHECK_EQ(hfi_shm_slots_release(&world->slots, owner, handle), HF_OK);
    CHECK_EQ(hfi_shm_slots_release(&world->slots, owner, handle), HF_E_STALE);
}

static void actor_0(void *raw) {
    use(raw, VICTIM);
}
static void actor_1(void *raw) {
    use(raw, 2);
}
static void actor_2(void *raw) {
    use(raw, 3);
}
static void actor_recovers(void *raw) {
    struct world *world = raw;
    if (world->passed[1]) recover(world, VICTIM, 2);
    use(world, 2);
}
static void actor_recovers_too(void *raw) {
    struct world *world = raw;
    if (world->passed[1]) recover(world, VICTIM, 3);
    use(world, 3);
}
static void actor_dies(void *raw, unsigned actor) {
    struct world *world = raw;
    CHECK_EQ(actor, 0);
    world->passed[1] = 1;
}

/* At rest every level shows the words with hints of the one below. */
static void check_levels(const struct hfi_shm_slots *slots) {
    for (uint32_t level = 0; level + 1 < slots->levels; level++)
        for (uint32_t w = 0; w < slots->words[level]; w++)
            CHECK_EQ(slots->hints[level][w] != 0, slots->hints[level + 1][w / 64] >> (w % 64) & 1);
}

static void weave_verify(void *raw, int died) {
    struct world *world = raw;
    if (died >= 0)
        recover(world, VICTIM, SELF);
    else
        check_levels(&world->slots);
    check_capacity(world, world->count - world->kept, died >= 0);
}

static const struct harness_weave uses = {.name = "three use",
                                          .actors = 3,
                                          .setup = world_setup,
                                          .actor = {actor_0, actor_1, actor_2},
                                          .verify = weave_verify,
                                          .preemptions = 2};

static const struct harness_weave deaths = {.name = "one dies, two recover",
                                            .actors = 3,
                                            .setup = world_setup,
                                            .actor = {actor_0, actor_recovers, actor_recovers_too},
                                            .die = actor_dies,
                                            .verify = weave_verify,
                                            .preemptions = 2};

static void test_every_order_of_three_who_take_and_give(void) {
    struct world one = {.count = 1}, two = {.count = 2};
    harness_weave(&uses, &one);
    harness_weave(&uses, &two);
}

static void test_every_order_in_two_levels(void) {
    struct world world = {.count = LARGE, .kept = LARGE - 2};
    struct harness_weave weave = uses;
    weave.actors = 2;
    weave.schedules_max = 4000;
    harness_weave(&weave, &world);
}

static void test_every_order_of_a_death_and_two_who_recover(void) {
    struct world plain = {.count = 1}, cleaned = {.count = 1, .clean = true};
    harness_weave(&deaths, &plain);
    harness_weave(&deaths, &cleaned);
}

static void actor_adopts(void *raw) {
    struct world *world = raw;
    uint64_t mine = 0;
    hf_status status = hfi_shm_slots_adopt(&world->slots, 2, world->passed[0], &mine);
    CHECK(status == HF_OK || status == HF_E_STALE);
    world->passed[2] += status == HF_OK;
}
static void actor_adopts_too(void *raw) {
    struct world *world = raw;
    uint64_t mine = 0;
    hf_status status = hfi_shm_slots_adopt(&world->slots, 3, world->passed[0], &mine);
    CHECK(status == HF_OK || status == HF_E_STALE);
    world->passed[2] += status == HF_OK;
}
static void actor_passes(void *raw) {
    struct world *world = raw;
    CHECK_EQ(hfi_shm_slots_pass(&world->slots, VICTIM, world->passed[0]), HF_OK);
}
static void pass_setup(void *raw) {
    struct world *world = raw;
    world_setup(raw);
    world->passed[0] = hfi_shm_slots_acquire(&world->slots, VICTIM);
}
static void pass_verify(void *raw, int died) {
    struct world *world = raw;
    (void)died;
    CHECK_EQ(world->passed[2], 1);
    CHECK_EQ(hfi_shm_slots_recover(&world->slots, VICTIM, SELF, NULL, NULL), 0);
    CHECK_EQ(hfi_shm_slots_recover(&world->slots, 2, SELF, NULL, NULL) +
                 hfi_shm_slots_recover(&world->slots, 3, SELF, NULL, NULL),
             1);
    check_capacity(world, world->count, true);
}

static void test_of_two_who_adopt_one_has_it(void) {
    struct world world = {.count = 2};
    struct harness_weave weave = {.name = "pass and adopt",
                                  .actors = 3,
                                  .setup = pass_setup,
                                  .actor = {actor_passes, actor_adopts, actor_adopts_too},
                                  .verify = pass_verify,
                                  .preemptions = 3};
    harness_weave(&weave, &world);
}

static void test_faults_of_order_are_caught(void) {
    struct world small = {.count = 1}, cleaned = {.count = 1, .clean = true};
    struct world large = {.count = LARGE, .kept = LARGE - 2};
    struct harness_weave pair = uses;
    pair.actors = 2;
    harness_weave_mutant_is_caught(&uses, &small, 503);     /* claims without comparing   */
    harness_weave_mutant_is_caught(&pair, &large, 501);     /* empties and does not look  */
    harness_weave_mutant_is_caught(&deaths, &cleaned, 505); /* cleans what is not its own */
}

/* --- plain ------------------------------------------------------------------------------------ */

static void test_sizes_up_to_three_levels(void) {
    static const uint32_t counts[] = {1, 63, 64, 65, 512, 513, 32768, 32769, 262145, 2000003};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        struct hfi_shm_slots slots;
        uint64_t size = hfi_shm_slots_size(counts[c]);
        char *memory = calloc(1, size + 8);
        CHECK(memory != NULL);
        memset(memory + size, 0x5a, 8);
        hfi_shm_slots_view(&slots, memory, counts[c]);
        hfi_shm_slots_init(&slots);
        for (uint32_t i = 0; i < counts[c]; i++)
            CHECK(hfi_shm_slots_acquire(&slots, 1) != 0);
        CHECK_EQ(hfi_shm_slots_acquire(&slots, 1), 0);
        CHECK_EQ(hfi_shm_slots_taken(&slots), counts[c]);
        for (uint32_t level = 0; level < slots.levels; level++)
            for (uint32_t w = 0; w < slots.words[level]; w++)
                CHECK_EQ(slots.hints[level][w], 0);
        CHECK_EQ(hfi_shm_slots_recover(&slots, 1, 2, NULL, NULL), counts[c]);
        CHECK_EQ(hfi_shm_slots_rebuild(&slots), 0);
        for (size_t i = 0; i < 8; i++)
            CHECK_EQ(memory[size + i], 0x5a);
        free(memory);
    }
}

static void test_generations_skip_zero(void) {
    struct world world = {.count = 1};
    world_setup(&world);
    world.slots.own[0] = (uint64_t)UINT32_MAX << 32;
    uint64_t handle = hfi_shm_slots_acquire(&world.slots, 5);
    CHECK_EQ(handle, (uint64_t)UINT32_MAX << 32);
    CHECK_EQ(hfi_shm_slots_release(&world.slots, 5, handle), HF_OK);
    handle = hfi_shm_slots_acquire(&world.slots, 5);
    CHECK_EQ(handle, (uint64_t)1 << 32);
    CHECK_EQ(hfi_shm_slots_release(&world.slots, 6, handle), HF_E_INVALID);
    CHECK_EQ(hfi_shm_slots_release(&world.slots, 5, handle + 1), HF_E_INVALID);
    CHECK_EQ(hfi_shm_slots_pass(&world.slots, 6, handle), HF_E_INVALID);
}

static void test_garbage_words_are_freed_by_repair(void) {
    struct world world = {.count = 70};
    world_setup(&world);
    world.slots.own[0] = 0;
    world.slots.own[1] = UINT64_MAX;
    world.slots.own[69] = ((uint64_t)9 << 32) | 2000;
    world.slots.hints[0][0] = 0;
    world.slots.hints[0][1] = UINT64_MAX;
    CHECK_GT(hfi_shm_slots_repair(&world.slots), 3);
    check_capacity(&world, 70, false);
}

int main(void) {
    CHECK_WATCHDOG(200);
    CHECK_RUN(test_sizes_up_to_three_levels);
    CHECK_RUN(test_generations_skip_zero);
    CHECK_RUN(test_garbage_words_are_freed_by_repair);
    CHECK_RUN(test_kill_anywhere_leaves_every_slot_to_be_had);
    CHECK_RUN(test_kill_while_contents_are_cleaned);
    CHECK_RUN(test_kill_in_two_levels);
    CHECK_RUN(test_faults_of_crashes_are_caught);
    CHECK_RUN(test_every_order_of_three_who_take_and_give);
    CHECK_RUN(test_every_order_in_two_levels);
    CHECK_RUN(test_every_order_of_a_death_and_two_who_recover);
    CHECK_RUN(test_of_two_who_adopt_one_has_it);
    CHECK_RUN(test_faults_of_order_are_caught);
    return 0;
}
