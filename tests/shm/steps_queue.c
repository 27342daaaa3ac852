/* steps_queue.c - whoever is killed at any access of any operation: the queue goes on.
 *
 * Method: every operation, in queues of 1, 2 and 4 slots, from positions in the first lap and later, empty,
 * with one item and full; the victim is a forked child, its parent then puts and gets. What the victim
 * had not finished may be in the queue or not, whole; all else must be there, in order, once; then the
 * whole capacity is used twice round. A second child that repairs is killed at its steps as well. */
#include "queue_world.h"

#include "shm/queue_claim.h"

enum { VICTIMS_FIRST = 5000 }; /* values that the victim puts */

struct trial {
    struct world world;
    uint64_t *got; /* shared: items that the victim counts as its own, once each is in its hands */
};

static void trial_setup(void *raw) {
    struct trial *trial = raw;
    world_open(&trial->world);
    world_fill(&trial->world);
    *trial->got = 0;
}

static void trial_teardown(void *raw) {
    world_close(&((struct trial *)raw)->world);
}

/* `single`: the child is its own user, so its parent's roles are given up. */
static void trial_setup_free(void *raw) {
    struct trial *trial = raw;
    trial_setup(raw);
    CHECK_EQ(hf_shm_queue_close(trial->world.queue), HF_OK);
    CHECK_EQ(hf_shm_queue_open(trial->world.shm, "queue", HF_SHM_OPEN, NULL, &trial->world.queue),
             HF_OK);
}

/* --- victims --------------------------------------------------------------------------------------- */

static void victim_put(void *raw) {
    struct trial *trial = raw;
    hf_status status = world_put(&trial->world, VICTIMS_FIRST, 0);
    CHECK(status == HF_OK || status == HF_E_FULL);
}

static void victim_put_bulk(void *raw) {
    struct trial *trial = raw;
    struct world_item items[2] = {world_item_of(VICTIMS_FIRST), world_item_of(VICTIMS_FIRST + 1)};
    uint64_t done = 0;
    hf_status status = hf_shm_queue_put_bulk(trial->world.queue, items, NULL, 2, 0, &done);
    CHECK(status == (done == 2 ? HF_OK : HF_E_FULL));
}

static void victim_put_segmented(void *raw) {
    struct trial *trial = raw;
    struct world_item item = world_item_of(VICTIMS_FIRST);
    const hf_shm_bytes parts[] = {{&item, 24}, {(const char *)&item + 24, sizeof item - 24}};
    hf_status status = hf_shm_queue_put_segmented(trial->world.queue, parts, 2, 0);
    CHECK(status == HF_OK || status == HF_E_FULL);
}

static void victim_reserve(void *raw) {
    struct trial *trial = raw;
    struct world_item items[2] = {world_item_of(VICTIMS_FIRST), world_item_of(VICTIMS_FIRST + 1)};
    hf_shm_slot slots[2];
    unsigned count = 0;
    while (count < 2 && hf_shm_queue_reserve(trial->world.queue, 0, 0, &slots[count]) == HF_OK)
        count++;
    for (unsigned i = 0; i < count; i++)
        hfi_shm_copy(slots[i].data, &items[i], sizeof items[i]);
    for (unsigned i = 0; i < count; i++)
        CHECK_EQ(hf_shm_queue_commit(trial->world.queue, &slots[i]), HF_OK);
}

static void victim_abandon(void *raw) {
    struct trial *trial = raw;
    hf_shm_slot slots[2];
    unsigned count = 0;
    while (count < 2 && hf_shm_queue_reserve(trial->world.queue, 0, 0, &slots[count]) == HF_OK)
        count++;
    while (count-- > 0)
        CHECK_EQ(hf_shm_queue_abandon(trial->world.queue, &slots[count]), HF_OK);
}

static void victim_get(void *raw) {
    struct trial *trial = raw;
    uint64_t value = 0;
    hf_status status = world_get(&trial->world, &value, 0);
    CHECK(status == HF_OK || status == HF_E_EMPTY);
    if (status != HF_OK) return;
    CHECK_EQ(value, trial->world.next_out);
    *trial->got = 1;
}

static void victim_get_bulk(void *raw) {
    struct trial *trial = raw;
    struct world_item items[2];
    uint64_t done = 0;
    hf_status status = hf_shm_queue_get_bulk(trial->world.queue, items, NULL, 2, 0, &done);
    CHECK(status == HF_OK || status == HF_E_EMPTY);
    for (uint64_t i = 0; i < done; i++)
        CHECK_EQ(world_value(&items[i]), trial->world.next_out + i);
    *trial->got = done;
}

static void victim_peek(void *raw) {
    struct trial *trial = raw;
    hf_shm_slot slots[2];
    uint64_t count = 0;
    while (count < 2 && hf_shm_queue_peek(trial->world.queue, 0, &slots[count]) == HF_OK)
        count++;
    for (uint64_t i = count; i-- > 0;) {
        CHECK_EQ(world_value(slots[i].data), trial->world.next_out + i);
        CHECK_EQ(hf_shm_queue_release(trial->world.queue, &slots[i]), HF_OK);
    }
    *trial->got = count;
}

static void rescuer(void *raw) {
    struct trial *trial = raw;
    size_t recovered = 0;
    CHECK_EQ(hf_shm_sweep(trial->world.shm, &recovered), HF_OK);
}

/* --- verdicts -------------------------------------------------------------------------------------- */

static hf_status take(struct world *world, uint64_t *value_out) {
    return world_get(world, value_out, 0);
}

static void trial_end(struct trial *trial) {
    struct world *world = &trial->world;
    world_expect_sound(world);
    size_t recovered = 0;
    CHECK_EQ(hf_shm_sweep(world->shm, &recovered), HF_OK);
    hf_shm_info info;
    CHECK_EQ(hf_shm_info_of(world->shm, &info), HF_OK);
    CHECK_EQ(info.participants_dead, 0);
    world_expect_sound(world);
}

/* After a producer: the items from before, then those of the victim that it finished, then ours. The
 * one in its hand may be among them. `puts`: how many it wanted to put. */
static void verify_put(struct trial *trial, bool finished, uint64_t puts) {
    struct world *world = &trial->world;
    uint64_t value = 0, capacity = hf_shm_queue_capacity(world->queue);
    uint64_t room = capacity - world->fill;
    for (; world->next_out < world->next_in; world->next_out++)
        world_expect_get(world, world->next_out);
    /* A full queue whose last place is a dead one's, and a get that must not step over it wrongly. */
    hf_status status = take(world, &value);
    uint64_t mine = VICTIMS_FIRST;
    while (status == HF_OK) {
        CHECK_SAY(value >= mine && value < VICTIMS_FIRST + puts, "%" PRIu64 " came out", value);
        mine = value + 1;
        status = take(world, &value);
    }
    CHECK_EQ(status, HF_E_EMPTY);
    for (uint64_t i = 0; i < capacity; i++) {
        world_expect_put(world, 6000 + i);
        if (i > 0) continue;
        /* What it published behind one that it did not comes out before ours. */
        while ((status = world_get(world, &value, world_patience)) == HF_OK && value != 6000) {
            CHECK_SAY(value >= mine && value < VICTIMS_FIRST + puts, "%" PRIu64 " came out", value);
            mine = value + 1;
        }
        CHECK_SAY(status == HF_OK, "%s", hf_status_name(status));
        world_expect_put(world, 6000);
    }
    for (uint64_t i = 0; i < capacity; i++)
        world_expect_get(world, 6000 + i);
    if (finished) CHECK_EQ(mine - VICTIMS_FIRST, puts < room ? puts : room);
    trial_end(trial);
}

static void verify_put_1(void *raw, bool finished) {
    verify_put(raw, finished, 1);
}
static void verify_put_2(void *raw, bool finished) {
    verify_put(raw, finished, 2);
}
static void verify_abandon(void *raw, bool finished) {
    (void)finished;
    verify_put(raw, false, 0);
}

/* After a consumer: the items it did not take, in order. Of up to `hands` that it had in hand some may
 * be gone (or, with redeliver, come again, all of them); what it counted as got is gone. */
static void verify_get(struct trial *trial, bool finished, uint64_t hands) {
    struct world *world = &trial->world;
    uint64_t value = 0, capacity = hf_shm_queue_capacity(world->queue), seen = 0, lost = 0;
    bool redeliver = world->options.redeliver;
    uint64_t first = world->next_out, fill = world->fill;
    bool found[8] = {false};
    world->next_out = world->next_in;
    hf_status status = HF_OK;
    if (redeliver) {
        size_t recovered = 0; /* a get that waits does this by itself */
        CHECK_EQ(hf_shm_sweep(world->shm, &recovered), HF_OK);
    }
    uint64_t last = 0;
    while ((status = take(world, &value)) == HF_OK) {
        CHECK_SAY(value >= first && value < first + fill, "%" PRIu64 " came out", value);
        CHECK_SAY(!found[value - first], "%" PRIu64 " came out twice", value);
        CHECK_SAY(redeliver || seen == 0 || value > last, "%" PRIu64 " is out of order", value);
        found[value - first] = true;
        last = value;
        seen++;
    }
    CHECK_EQ(status, HF_E_EMPTY);
    for (uint64_t i = 0; i < fill; i++) {
        if (i < *trial->got) CHECK(!found[i]);
        if (!found[i]) lost = i + 1; /* only the first ones can have been in its hand */
    }
    CHECK_LE(lost, hands);
    if (finished) CHECK_EQ(seen, fill - *trial->got);
    if (redeliver && !finished && *trial->got == 0 && hands == 1 && lost > 0) {
        /* It gave the slot back and died before it could say so. */
        hf_shm_figures figures;
        CHECK_EQ(hf_shm_figures_of(world->shm, "queue", &figures), HF_OK);
        CHECK_EQ(figures.recovered, 0);
    }
    for (uint64_t i = 0; i < capacity; i++)
        world_expect_put(world, 6000 + i);
    for (uint64_t i = 0; i < capacity; i++)
        world_expect_get(world, 6000 + i);
    trial_end(trial);
}

static void verify_get_1(void *raw, bool finished) {
    verify_get(raw, finished, 1);
}
static void verify_get_2(void *raw, bool finished) {
    verify_get(raw, finished, 2);
}

/* --- all of them ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    void (*victim)(void *);
    void (*verify)(void *, bool);
} operations[] = {{"put", victim_put, verify_put_1},
                  {"put_bulk", victim_put_bulk, verify_put_2},
                  {"put_segmented", victim_put_segmented, verify_put_1},
                  {"reserve", victim_reserve, verify_put_2},
                  {"abandon", victim_abandon, verify_abandon},
                  {"get", victim_get, verify_get_1},
                  {"get_bulk", victim_get_bulk, verify_get_2},
                  {"peek", victim_peek, verify_get_2}};
enum { OPERATIONS = sizeof operations / sizeof *operations };

enum { MANY, BYTES, SINGLE, REDELIVER, KINDS };
static const char *const kinds[] = {"many", "bytes", "single", "redeliver"};

static struct trial trial_of(unsigned kind, uint64_t capacity, uint64_t laps, uint64_t fill) {
    static uint64_t *got;
    if (!got) got = harness_shared(sizeof *got);
    struct trial trial = {world_with(capacity, kind == BYTES, kind == SINGLE, kind == REDELIVER),
                          got};
    trial.world.laps = laps;
    trial.world.fill = fill;
    return trial;
}

static struct harness_steps steps_of(unsigned kind, unsigned operation, bool nested) {
    return (struct harness_steps){.name = operations[operation].name,
                                  .setup = kind == SINGLE ? trial_setup_free : trial_setup,
                                  .victim = operations[operation].victim,
                                  .rescuer = nested ? rescuer : NULL,
                                  .verify = operations[operation].verify,
                                  .teardown = trial_teardown};
}

static void crash_points(unsigned kind, uint64_t capacity, uint64_t laps, uint64_t fill) {
    struct trial trial = trial_of(kind, capacity, laps, fill);
    printf(" %s, capacity %" PRIu64 ", lap %" PRIu64 ", %" PRIu64 " items\n", kinds[kind], capacity,
           laps / capacity, fill);
    for (unsigned i = 0; i < OPERATIONS; i++) {
        struct harness_steps steps = steps_of(kind, i, false);
        harness_crash_points(&steps, &trial, 0);
    }
}

static bool thorough(void) {
    return harness_kills(300) > 300;
}

static void test_a_kill_at_any_step_leaves_a_sound_queue(void) {
    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (uint64_t capacity = 1; capacity <= 4; capacity *= 2) {
            uint64_t laps[] = {0, capacity - 1, 2 * capacity + 1};
            for (unsigned lap = 0; lap < 3; lap++) {
                if (!thorough() && lap != (kind + capacity) % 3) continue;
                for (uint64_t fill = 0; fill <= capacity; fill++)
                    if (thorough() || fill == 0 || fill == capacity)
                        crash_points(kind, capacity, laps[lap], fill);
            }
        }
    }
}

static void test_a_kill_in_the_middle_of_repair_is_repaired(void) {
    static const struct {
        unsigned kind, operation;
        uint64_t fill;
    } cases[] = {{MANY, 0, 0}, {MANY, 5, 2}, {SINGLE, 3, 1}, {REDELIVER, 5, 2}, {REDELIVER, 7, 2}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct trial trial = trial_of(cases[i].kind, 2, 1, cases[i].fill);
        struct harness_steps steps = steps_of(cases[i].kind, cases[i].operation, true);
        printf(" %s\n", kinds[cases[i].kind]);
        harness_crash_points(&steps, &trial, thorough() ? 1 : 7);
    }
}

static void test_deliberate_faults_are_caught(void) {
    static const struct {
        unsigned mutant, operation;
        uint64_t capacity, fill;
    } cases[] = {{QUEUE_MUTANT_NO_RECOVERY, 0, 1, 0},  {QUEUE_MUTANT_NO_RECOVERY, 5, 1, 1},
                 {QUEUE_MUTANT_CLAIM_BY_ADD, 0, 2, 0}, {QUEUE_MUTANT_EARLY_PUBLISH, 0, 2, 0},
                 {QUEUE_MUTANT_SKIP_TO_FREE, 0, 2, 0}, {QUEUE_MUTANT_PUBLISH_DEAD, 0, 2, 0},
                 {QUEUE_MUTANT_OLD_READER, 5, 1, 1}};
    world_patience = UINT64_C(300000000);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct trial trial = trial_of(MANY, cases[i].capacity, 1, cases[i].fill);
        struct harness_steps steps = steps_of(MANY, cases[i].operation, false);
        harness_mutant_is_caught(&steps, &trial, cases[i].mutant);
    }
}

int main(void) {
    harness_watchdog(300);
    CHECK_RUN(test_a_kill_at_any_step_leaves_a_sound_queue);
    CHECK_RUN(test_a_kill_in_the_middle_of_repair_is_repaired);
    CHECK_RUN(test_deliberate_faults_are_caught);
    return 0;
}
