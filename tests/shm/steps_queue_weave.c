/* steps_queue_weave.c - operations of several participants in every order of their shared accesses.
 *
 * Method: two or three short programs of puts, gets and repairs run as fibers, each on a participant of
 * its own, in queues of 1, 2 and 4 slots, in every order up to a bound of preemptions; then again with
 * the first one dying at each of its steps. Afterwards every item is accounted for: what was put came
 * out once or lies in the queue, in the order of its producer; what was refused never shows up; at most
 * what a dead one had in hand is missing; and the whole capacity can be used. */
#include "queue_world.h"

#include "shm/queue_claim.h"

enum { ACTORS = 3, OPERATIONS_MAX = 4, LOG_MAX = 64 };

/* p put, g get, P put 2, G get 2, r reserve and commit, a reserve and abandon, k peek and release,
 * s sweep, l length. A scenario fails where `must` says that all operations succeed. */
struct scenario {
    const char *name;
    const char *programs[ACTORS];
    uint64_t capacity, laps, fill;
    bool single, redeliver, must;
    unsigned preemptions;
    bool deadly;
};

static const struct scenario scenarios[] = {
    {"two puts find two places", {"p", "p"}, 2, 1, 0, .must = true, .preemptions = 5},
    {"three puts find four places", {"p", "p", "p"}, 4, 3, 0, .must = true, .preemptions = 3},
    {"two gets find two items", {"g", "g"}, 2, 1, 2, .must = true, .preemptions = 5},
    {"a get finds an item whatever is put", {"g", "p"}, 2, 0, 1, .must = true, .preemptions = 5},
    {"a put finds room whatever is got", {"p", "g"}, 2, 3, 1, .must = true, .preemptions = 5},
    {"puts and gets, one place", {"pp", "gg"}, 1, 0, 0, .preemptions = 5},
    {"puts and gets, one place, next lap", {"pg", "pg"}, 1, 1, 0, .preemptions = 5},
    {"puts and gets, two places", {"pg", "gp", "p"}, 2, 1, 1, .preemptions = 3},
    {"two producers, one consumer", {"pp", "pp", "gg"}, 2, 1, 0, .preemptions = 3},
    {"one producer, two consumers", {"pp", "gg", "gg"}, 2, 1, 1, .preemptions = 3},
    {"bulk against bulk", {"P", "G"}, 2, 1, 1, .preemptions = 5},
    {"in place", {"ra", "kg", "p"}, 2, 1, 1, .preemptions = 3},
    {"one each", {"pp", "gg"}, 2, 1, 1, .single = true, .preemptions = 5},
    {"one each, one place", {"rp", "kg"}, 1, 1, 0, .single = true, .preemptions = 5},
    {"a producer dies", {"p", "p", "g"}, 2, 1, 1, .preemptions = 2, .deadly = true},
    {"a producer dies, one place", {"p", "pg"}, 1, 1, 0, .preemptions = 3, .deadly = true},
    {"a consumer dies", {"g", "g", "p"}, 2, 1, 2, .preemptions = 2, .deadly = true},
    {"a consumer dies, one place", {"g", "pg"}, 1, 1, 1, .preemptions = 3, .deadly = true},
    {"a dead one's item comes again",
     {"g", "gg"},
     2,
     1,
     2,
     .redeliver = true,
     .preemptions = 2,
     .deadly = true},
    {"one repairs, one goes on", {"p", "s", "pg"}, 2, 1, 1, .preemptions = 1, .deadly = true},
    {"one who reserved dies", {"r", "pg"}, 2, 1, 1, .preemptions = 3, .deadly = true},
    {"a single producer dies",
     {"p", "gg"},
     2,
     1,
     1,
     .single = true,
     .preemptions = 3,
     .deadly = true},
    {"a single consumer dies",
     {"g", "pp"},
     2,
     1,
     1,
     .single = true,
     .preemptions = 3,
     .deadly = true},
};

struct weave_world {
    const struct scenario *scenario;
    struct world world; /* the observer's */
    hf_shm *shms[ACTORS];
    hf_shm_queue *queues[ACTORS];
    unsigned actors;
    bool dead;
    /* What happened, by actor: values put (bit of value), refused, being put, and got in order. */
    uint64_t put[ACTORS], putting[ACTORS], got[ACTORS][LOG_MAX];
    unsigned got_count[ACTORS], puts[ACTORS], getting[ACTORS];
};

static uint64_t value_of(unsigned actor, unsigned number) {
    return 100 * (actor + 1) + number;
}

static void act_put(struct weave_world *w, unsigned actor, bool in_place) {
    unsigned number = w->puts[actor]++;
    struct world_item item = world_item_of(value_of(actor, number));
    w->putting[actor] = UINT64_C(1) << number;
    hf_status status;
    if (in_place) {
        hf_shm_slot slot;
        status = hf_shm_queue_reserve(w->queues[actor], 0, 0, &slot);
        if (status == HF_OK) {
            hfi_shm_copy(slot.data, &item, sizeof item);
            status = hf_shm_queue_commit(w->queues[actor], &slot);
            CHECK_EQ(status, HF_OK);
        }
    } else {
        status = hf_shm_queue_put(w->queues[actor], &item, sizeof item, 0);
    }
    w->putting[actor] = 0;
    if (status == HF_OK) w->put[actor] |= UINT64_C(1) << number;
    CHECK(status == HF_OK || (status == HF_E_FULL && !w->scenario->must));
}

static void act_put_bulk(struct weave_world *w, unsigned actor) {
    unsigned number = w->puts[actor];
    struct world_item items[2] = {world_item_of(value_of(actor, number)),
                                  world_item_of(value_of(actor, number + 1))};
    w->puts[actor] += 2;
    uint64_t done = 0;
    hf_status status = hf_shm_queue_put_bulk(w->queues[actor], items, NULL, 2, 0, &done);
    CHECK_EQ(status, done == 2 ? HF_OK : HF_E_FULL);
    for (uint64_t i = 0; i < done; i++)
        w->put[actor] |= UINT64_C(1) << (number + i);
}

static void keep(struct weave_world *w, unsigned actor, uint64_t value) {
    CHECK_LT(w->got_count[actor], LOG_MAX);
    w->got[actor][w->got_count[actor]++] = value;
}

static void act_get(struct weave_world *w, unsigned actor, bool in_place) {
    w->getting[actor] = 1;
    hf_status status;
    if (in_place) {
        hf_shm_slot slot;
        status = hf_shm_queue_peek(w->queues[actor], 0, &slot);
        if (status == HF_OK) {
            uint64_t value = world_value(slot.data);
            CHECK_EQ(hf_shm_queue_release(w->queues[actor], &slot), HF_OK);
            keep(w, actor, value);
        }
    } else {
        struct world_item item;
        status = hf_shm_queue_get(w->queues[actor], &item, sizeof item, 0, NULL);
        if (status == HF_OK) keep(w, actor, world_value(&item));
    }
    w->getting[actor] = 0;
    CHECK(status == HF_OK || (status == HF_E_EMPTY && !w->scenario->must));
}

static void act_get_bulk(struct weave_world *w, unsigned actor) {
    struct world_item items[2];
    uint64_t done = 0;
    w->getting[actor] = 2;
    hf_status status = hf_shm_queue_get_bulk(w->queues[actor], items, NULL, 2, 0, &done);
    w->getting[actor] = 0;
    CHECK_EQ(status, done > 0 ? HF_OK : HF_E_EMPTY);
    for (uint64_t i = 0; i < done; i++)
        keep(w, actor, world_value(&items[i]));
}

static void act_abandon(struct weave_world *w, unsigned actor) {
    hf_shm_slot slot;
    if (hf_shm_queue_reserve(w->queues[actor], 0, 0, &slot) == HF_OK)
        CHECK_EQ(hf_shm_queue_abandon(w->queues[actor], &slot), HF_OK);
}

static void actor_run(struct weave_world *w, unsigned actor) {
    size_t recovered = 0;
    for (const char *program = w->scenario->programs[actor]; *program; program++) {
        switch (*program) {
        case 'p': act_put(w, actor, false); break;
        case 'r': act_put(w, actor, true); break;
        case 'P': act_put_bulk(w, actor); break;
        case 'g': act_get(w, actor, false); break;
        case 'k': act_get(w, actor, true); break;
        case 'G': act_get_bulk(w, actor); break;
        case 'a': act_abandon(w, actor); break;
        case 'l': CHECK_LE(hf_shm_queue_length(w->queues[actor]), w->scenario->capacity); break;
        case 's': CHECK_EQ(hf_shm_sweep(w->shms[actor], &recovered), HF_OK); break;
        default: CHECK_FAIL("program %s", program);
        }
    }
}

static void actor_0(void *raw) {
    actor_run(raw, 0);
}
static void actor_1(void *raw) {
    actor_run(raw, 1);
}
static void actor_2(void *raw) {
    actor_run(raw, 2);
}

/* --- worlds ------------------------------------------------------------------------------------------ */

static void actor_open(struct weave_world *w, unsigned actor) {
    CHECK_SAY(hf_shm_open_file(hf_shm_file(w->world.shm), NULL, &w->shms[actor]) == HF_OK, "%s",
              hf_shm_detail());
    CHECK_SAY(hf_shm_queue_open(w->shms[actor], "queue", HF_SHM_OPEN, NULL, &w->queues[actor]) ==
                  HF_OK,
              "%s", hf_shm_detail());
}

static void actor_close(struct weave_world *w, unsigned actor) {
    w->queues[actor]->held = 0; /* of one that died */
    CHECK_EQ(hf_shm_queue_close(w->queues[actor]), HF_OK);
    CHECK_EQ(hf_shm_close(w->shms[actor]), HF_OK);
}

static void handle_reset(hf_shm_queue *queue) {
    queue->tail = queue->head = 0;
    queue->producer = queue->consumer = 0;
    queue->held = 0;
    queue->put_likely = queue->get_likely = false;
    queue->looked_at = queue->looks = 0;
    queue->patience = (struct hfi_shm_patience){0};
}

static void weave_setup(void *raw) {
    struct weave_world *w = raw;
    if (w->dead) {
        actor_close(w, 0);
        actor_open(w, 0);
        w->dead = false;
    }
    struct queue_shape *shape = &w->world.queue->shape;
    struct queue_header was = *shape->header;
    memset(shape->header, 0, QUEUE_SLOTS_OFFSET + (shape->mask + 1) * shape->stride);
    shape->header->items = was.items;
    shape->header->single = was.single;
    shape->header->redeliver = was.redeliver;
    handle_reset(w->world.queue);
    for (unsigned i = 0; i < w->actors; i++)
        handle_reset(w->queues[i]);
    w->world.next_in = w->world.next_out = 0;
    world_fill(&w->world);
    shape->header->producer = shape->header->consumer = 0; /* the observer's roles */
    w->world.queue->producer = w->world.queue->consumer = 0;
    memset(w->put, 0, sizeof w->put);
    memset(w->putting, 0, sizeof w->putting);
    memset(w->got_count, 0, sizeof w->got_count);
    memset(w->puts, 0, sizeof w->puts);
    memset(w->getting, 0, sizeof w->getting);
}

static void weave_die(void *raw, unsigned actor) {
    struct weave_world *w = raw;
    hfi_shm_abandon(w->shms[actor]);
    w->dead = true;
}

/* --- the account ------------------------------------------------------------------------------------- */

struct account {
    unsigned times[8]; /* by number of the value */
};

static void account_add(struct account *accounts, uint64_t value) {
    CHECK_SAY(value / 100 <= ACTORS && value % 100 < 8, "%" PRIu64 " came out of nothing", value);
    accounts[value / 100].times[value % 100]++;
}

/* In one reader's hands the items of one producer are in its order; returned ones may be late. */
static void order_check(const struct weave_world *w, const uint64_t *values, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        for (unsigned k = i + 1; k < count; k++)
            if (values[i] / 100 == values[k] / 100 && !w->scenario->redeliver)
                CHECK_SAY(values[i] < values[k], "%" PRIu64 " came out before %" PRIu64, values[i],
                          values[k]);
}

static void roles_give_up(struct weave_world *w) {
    if (!w->scenario->single) return;
    struct queue_header *header = w->world.queue->shape.header;
    if (!w->dead || w->queues[0]->producer == 0)
        header->producer = 0; /* a living one would close its queue */
    if (!w->dead || w->queues[0]->consumer == 0) header->consumer = 0;
}

static void weave_verify(void *raw, int died) {
    struct weave_world *w = raw;
    struct account accounts[ACTORS + 1] = {0};
    uint64_t left[LOG_MAX];
    unsigned left_count = 0;
    roles_give_up(w);
    if (died >= 0 && w->scenario->redeliver) {
        size_t recovered = 0;
        CHECK_EQ(hf_shm_sweep(w->world.shm, &recovered), HF_OK);
    }
    while (left_count < LOG_MAX && world_get(&w->world, &left[left_count], 0) == HF_OK)
        left_count++;
    for (unsigned i = 0; i < w->actors; i++) {
        order_check(w, w->got[i], w->got_count[i]);
        for (unsigned k = 0; k < w->got_count[i]; k++)
            account_add(accounts, w->got[i][k]);
    }
    order_check(w, left, left_count);
    for (unsigned i = 0; i < left_count; i++)
        account_add(accounts, left[i]);
    /* What was in it before has the values from `laps` on; those of actors begin at 100. */
    unsigned missing = 0;
    for (uint64_t i = 0; i < 8; i++) {
        bool there = i >= w->scenario->laps && i < w->scenario->laps + w->scenario->fill;
        CHECK_LE(accounts[0].times[i], there);
        missing += there && accounts[0].times[i] == 0;
    }
    for (unsigned actor = 0; actor < w->actors; actor++) {
        for (unsigned number = 0; number < 8; number++) {
            bool put = w->put[actor] >> number & 1, putting = w->putting[actor] >> number & 1;
            unsigned times = accounts[actor + 1].times[number];
            CHECK_SAY(times <= (put || putting), "%" PRIu64 " came out %u times",
                      value_of(actor, number), times);
            missing += put && times == 0;
        }
    }
    CHECK_LE(missing, died >= 0 ? w->getting[0] : 0);
    world_expect_sound(&w->world);
    if (died >= 0) {
        size_t recovered = 0;
        CHECK_EQ(hf_shm_sweep(w->world.shm, &recovered), HF_OK);
    }
}

static struct harness_weave weave_of(const struct scenario *scenario) {
    return (struct harness_weave){
        .name = scenario->name,
        .actors = scenario->programs[2] ? 3 : 2,
        .setup = weave_setup,
        .actor = {actor_0, actor_1, actor_2},
        .die = scenario->deadly ? weave_die : NULL,
        .verify = weave_verify,
        .preemptions = scenario->preemptions,
        .schedules_max = harness_kills(300) > 300 ? 0
                         : CHECK_SANITIZED        ? 1000
                                                  : 20000,
    };
}

static void world_make(struct weave_world *w, const struct scenario *scenario) {
    *w = (struct weave_world){.scenario = scenario, .actors = scenario->programs[2] ? 3 : 2};
    w->world = world_with(scenario->capacity, false, scenario->single, scenario->redeliver);
    world_open(&w->world);
    w->world.laps = scenario->laps;
    w->world.fill = scenario->fill;
    for (unsigned i = 0; i < w->actors; i++)
        actor_open(w, i);
}

static void world_unmake(struct weave_world *w) {
    for (unsigned i = 0; i < w->actors; i++)
        actor_close(w, i);
    world_close(&w->world);
}

static void test_every_order_keeps_every_item(void) {
    for (unsigned i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        struct weave_world w;
        world_make(&w, &scenarios[i]);
        struct harness_weave weave = weave_of(&scenarios[i]);
        CHECK_GT(harness_weave(&weave, &w), 10);
        world_unmake(&w);
    }
}

static void test_deliberate_faults_are_caught(void) {
    static const struct {
        unsigned mutant, scenario;
    } cases[] = {{QUEUE_MUTANT_NO_WALK, 0},       {QUEUE_MUTANT_CLAIM_BY_ADD, 0},
                 {QUEUE_MUTANT_EARLY_PUBLISH, 5}, {QUEUE_MUTANT_SKIP_TO_FREE, 14},
                 {QUEUE_MUTANT_PUBLISH_DEAD, 14}, {QUEUE_MUTANT_NO_RECOVERY, 17}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weave_world w;
        world_patience = UINT64_C(300000000);
        world_make(&w, &scenarios[cases[i].scenario]);
        struct harness_weave weave = weave_of(&scenarios[cases[i].scenario]);
        harness_weave_mutant_is_caught(&weave, &w, cases[i].mutant);
        world_unmake(&w);
    }
}

int main(void) {
    harness_watchdog(600);
    CHECK_RUN(test_every_order_keeps_every_item);
    CHECK_RUN(test_deliberate_faults_are_caught);
    return 0;
}
