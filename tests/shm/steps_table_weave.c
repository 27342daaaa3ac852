/* steps_table_weave.c - structures are made, opened, erased and reused at once, in every order.
 *
 * Method: participants of one segment as fibers, every order of their accesses with a bound on
 * preemptions, and again with one of them dying at each point; afterwards nothing is lost and no bytes
 * belonged to two. */
#include <holdfast/shm.h>

#include "shm/access.h"
#include "shm/segment_state.h"
#include "shm_help.h"

enum { ACTORS = 3, SIZE = 400 };

struct world {
    const char *name;
    hf_shm *keeper, *shm[ACTORS];
    uint64_t free_bytes;
    hf_status status[ACTORS];
    char *bytes[ACTORS]; /* of the structure that the actor has in its hands */
};

static hf_shm *join(const char *name) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 0);
    options.lock_wait_ns = HF_FOREVER;
    OK(hf_shm_open(name, HF_SHM_OPEN, &options, &shm));
    return shm;
}

static struct hfi_shm_request request_of(const char *name) {
    return (struct hfi_shm_request){.name = name,
                                    .kind = HF_SHM_KIND_SPAN,
                                    .layout = 1,
                                    .size = SIZE,
                                    .element_size = 1,
                                    .element_count = SIZE};
}

static void world_setup(void *raw) {
    struct world *world = raw;
    hf_shm_span span;
    for (unsigned i = 0; i < ACTORS; i++) {
        if (world->shm[i] == NULL) world->shm[i] = join(world->name);
        world->status[i] = HF_E_SYSTEM;
        world->bytes[i] = NULL;
    }
    OK(hf_shm_add(world->keeper, "old", SIZE, &span));
}

static void dead_forget(hf_shm **shm) {
    (*shm)->opened = 0; /* its handles died with it */
    OK(hf_shm_close(*shm));
    *shm = NULL;
}

static void world_verify(void *raw, int died) {
    struct world *world = raw;
    size_t recovered = 0;
    OK(hf_shm_sweep(world->keeper, &recovered));
    CHECK_LE(recovered, died >= 0); /* another one may have swept */
    OK(hf_shm_check(world->keeper, NULL, NULL, NULL));
    for (unsigned i = 0; i < ACTORS; i++)
        if ((int)i != died) CHECK_EQ(hf_shm_opened(world->shm[i]), 0);
    if (died >= 0) dead_forget(&world->shm[died]);
    (void)hf_shm_erase(world->keeper, "old");
    (void)hf_shm_erase(world->keeper, "new");
    (void)hf_shm_erase(world->keeper, "other");
    hf_shm_info info = help_info(world->keeper);
    CHECK_EQ(info.entries, 0);
    CHECK_EQ(info.bytes_free, world->free_bytes);
    CHECK_EQ(info.participants_live, 1 + ACTORS - (died >= 0));
    CHECK_EQ(info.participants_dead, 0);
}

static void actor_dies(void *raw, unsigned actor) {
    struct world *world = raw;
    hfi_shm_abandon(world->shm[actor]);
    world->bytes[actor] = NULL;
}

/* Has the bytes to itself from the attach to the detach. */
static void use(struct world *world, unsigned actor, hf_shm_mode mode, const char *name,
                const char *twin) {
    struct hfi_shm_request request = request_of(name);
    struct hfi_shm_part part;
    world->status[actor] = hfi_shm_attach(world->shm[actor], mode, &request, &part);
    if (world->status[actor] != HF_OK) return;
    world->bytes[actor] = part.base;
    for (unsigned i = 0; i < ACTORS; i++) /* another structure has other bytes */
        if (i != actor && twin == NULL) CHECK(world->bytes[i] != part.base);
    part.base[SIZE - 1] = (char)(actor + 1);
    hfi_shm_step();
    if (twin == NULL) CHECK_EQ(part.base[SIZE - 1], actor + 1);
    world->bytes[actor] = NULL;
    hfi_shm_detach(&part);
}

static void use_old(void *raw) {
    use(raw, 0, HF_SHM_OPEN, "old", NULL);
}
static void erase_old(void *raw) {
    struct world *world = raw;
    world->status[1] = hf_shm_erase(world->shm[1], "old");
    CHECK_EQ(world->status[1], HF_OK);
}
static void make_new(void *raw) {
    use(raw, 2, HF_SHM_CREATE, "new", NULL);
    CHECK_EQ(((struct world *)raw)->status[2], HF_OK);
}

static void verify_use(void *raw, int died) {
    struct world *world = raw;
    hf_status status = world->status[0];
    if (died < 0) CHECK(status == HF_OK || status == HF_E_NOT_FOUND);
    world_verify(raw, died);
}

static void make_same_0(void *raw) {
    use(raw, 0, HF_SHM_OPEN_OR_CREATE, "new", "new");
}
static void make_same_1(void *raw) {
    use(raw, 1, HF_SHM_OPEN_OR_CREATE, "new", "new");
}
static void verify_same(void *raw, int died) {
    struct world *world = raw;
    if (died < 0) CHECK_EQ(world->status[0], HF_OK);
    CHECK_EQ(world->status[1], HF_OK);
    CHECK_EQ(help_info(world->keeper).entries, 2); /* one "new" */
    world_verify(raw, died);
}

static void make_other_0(void *raw) {
    use(raw, 0, HF_SHM_CREATE, "other", NULL);
}
static void make_other_1(void *raw) {
    use(raw, 1, HF_SHM_CREATE, "new", NULL);
}
static void verify_other(void *raw, int died) {
    struct world *world = raw;
    if (died < 0) CHECK_EQ(world->status[0], HF_OK);
    CHECK_EQ(world->status[1], HF_OK);
    world_verify(raw, died);
}

static void sweep_others(void *raw) {
    struct world *world = raw;
    OK(hf_shm_sweep(world->shm[2], NULL));
}

static void run(const char *what, unsigned actors, void (*actor[3])(void *),
                void (*verify)(void *, int), unsigned mutant) {
    struct world world = {.name = harness_name("weave")};
    hf_shm_options options;
    hf_shm_options_init(&options, 64 << 10);
    options.participants_max = ACTORS + 1;
    options.entries_max = 4;
    OK(hf_shm_open(world.name, HF_SHM_CREATE, &options, &world.keeper));
    world.free_bytes = help_info(world.keeper).bytes_free;
    /* Every row and every byte was used once: what is done first is done no other way than later. */
    static const char *const rows[] = {"a", "b", "c", "d"};
    for (unsigned i = 0; i < 4; i++)
        OK(hf_shm_add(world.keeper, rows[i], 4096, &(hf_shm_span){0, 0}));
    for (unsigned i = 0; i < 4; i++)
        OK(hf_shm_erase(world.keeper, rows[i]));
    struct harness_weave weave = {.name = what,
                                  .actors = actors,
                                  .setup = world_setup,
                                  .die = actor_dies,
                                  .verify = verify,
                                  .preemptions = 1,
                                  .schedules_max = CHECK_SANITIZED ? 1000 : 0};
    for (unsigned i = 0; i < actors; i++)
        weave.actor[i] = actor[i];
    harness_weave(&weave, &world); /* and with deaths */
    weave.preemptions = 2;
    weave.die = NULL;
    harness_weave(&weave, &world);
    if (mutant != 0) harness_weave_mutant_is_caught(&weave, &world, mutant);
    for (unsigned i = 0; i < ACTORS; i++)
        if (world.shm[i] != NULL) OK(hf_shm_close(world.shm[i]));
    OK(hf_shm_close(world.keeper));
    CHECK(!help_is_there(world.name));
}

static void test_erased_bytes_belong_to_their_last_user_until_it_is_done(void) {
    run("use, erase, make", 3, (void (*[3])(void *)){use_old, erase_old, make_new}, verify_use,
        TABLE_MUTANT_FREE_USED);
}

static void test_two_make_the_same_and_get_the_same(void) {
    run("make the same", 2, (void (*[3])(void *)){make_same_0, make_same_1, NULL}, verify_same, 0);
}

static void test_two_make_and_get_different_bytes(void) {
    run("make others", 3, (void (*[3])(void *)){make_other_0, make_other_1, sweep_others},
        verify_other, 0);
}

int main(void) {
    CHECK_WATCHDOG(200);
    CHECK_RUN(test_erased_bytes_belong_to_their_last_user_until_it_is_done);
    CHECK_RUN(test_two_make_the_same_and_get_the_same);
    CHECK_RUN(test_two_make_and_get_different_bytes);
    return 0;
}
