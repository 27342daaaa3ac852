/* test_shm_segment_kill.c - segments are made, opened, used and left by processes that race and are
 * killed: one maker, true counts, no byte lost, nothing left behind.
 *
 * Method: two processes at one starting line; storms of kills over makers, openers and users of the
 * table; processes that end without closing, all at once. */
#include <holdfast/shm.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "shm/segment_state.h"
#include "shm_help.h"

/* --- races ------------------------------------------------------------------------------------ */

struct line {
    _Atomic uint32_t arrived[8];
    char id[2][33];
    hf_status status[2];
};

/* Both go on together. */
static void meet(struct line *line, uint32_t *mine, unsigned who) {
    atomic_store(&line->arrived[who], ++*mine);
    while (atomic_load(&line->arrived[1 - who]) < *mine)
        sched_yield();
}

static void race(struct line *line, unsigned who, unsigned rounds, const char *name) {
    uint32_t mine = 0;
    for (unsigned round = 0; round < rounds; round++) {
        hf_shm_options options;
        hf_shm *shm = NULL;
        hf_shm_options_init(&options, 256 << 10);
        bool only_one = round % 2 == 0;
        meet(line, &mine, who);
        line->status[who] =
            hf_shm_open(name, only_one ? HF_SHM_CREATE : HF_SHM_OPEN_OR_CREATE, &options, &shm);
        if (line->status[who] == HF_E_EXISTS) OK(hf_shm_open(name, HF_SHM_OPEN, NULL, &shm));
        CHECK_SAY(shm != NULL, "round %u: %s", round, hf_shm_detail());
        /* Whole from the first look. */
        hf_shm_info info = help_info(shm);
        CHECK_EQ(info.size, 256 << 10);
        CHECK(info.participants_live >= 1 && info.participants_live <= 2);
        OK(hf_shm_check(shm, NULL, NULL, NULL));
        memcpy(line->id[who], info.id, sizeof info.id);
        meet(line, &mine, who);
        CHECK_STR(line->id[0], line->id[1]);
        if (only_one) CHECK_NE(line->status[0] == HF_OK, line->status[1] == HF_OK);
        CHECK_EQ(help_info(shm).participants_live, 2);
        meet(line, &mine, who);
        OK(hf_shm_close(shm));
        meet(line, &mine, who);
        CHECK_SAY(!help_is_there(name), "round %u", round);
    }
}

static void test_of_two_makers_one_makes_and_nobody_sees_half(void) {
    const char *name = harness_name("race");
    struct line *line = harness_shared(sizeof *line);
    unsigned rounds = harness_kills(2000);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        harness_watchdog(100);
        race(line, 1, rounds, name);
        _exit(0);
    }
    race(line, 0, rounds, name);
    harness_expect_ok(child, "the other maker");
}

/* One opens while the last one leaves: it gets a whole segment, or makes the next. */
static void test_who_opens_while_the_last_one_leaves_gets_a_whole_segment(void) {
    const char *name = harness_name("change");
    unsigned rounds = harness_kills(2000);
    fflush(stdout);
    pid_t children[3];
    for (unsigned who = 0; who < 3; who++) {
        children[who] = fork();
        if (children[who] != 0) continue;
        harness_watchdog(100);
        for (unsigned round = 0; round < rounds; round++) {
            hf_shm *shm = help_make(name, 256 << 10);
            hf_shm_span span;
            char own[16];
            (void)snprintf(own, sizeof own, "own-%u", who);
            OK(hf_shm_add(shm, own, 100, &span));
            OK(hf_shm_erase(shm, own));
            OK(hf_shm_close(shm));
        }
        _exit(0);
    }
    for (unsigned who = 0; who < 3; who++)
        harness_expect_ok(children[who], "opener");
    CHECK(!help_is_there(name));
}

/* --- ends without a close --------------------------------------------------------------------- */

static void *use_for_ever(void *raw) {
    hf_shm *shm = raw;
    for (;;) {
        hf_shm_span span;
        char own[32];
        (void)snprintf(own, sizeof own, "own-%d", (int)getpid());
        if (hf_shm_add(shm, own, 100, &span) == HF_OK) (void)hf_shm_erase(shm, own);
    }
    return NULL;
}

static void test_of_processes_that_end_together_the_last_takes_it_along(void) {
    const char *name = harness_name("ends");
    for (unsigned round = 0; round < (CHECK_SANITIZED ? 10 : 100); round++) {
        _Atomic uint32_t *ready = harness_shared(sizeof *ready);
        fflush(stdout);
        pid_t children[3];
        for (unsigned who = 0; who < 3; who++) {
            children[who] = fork();
            if (children[who] != 0) continue;
            CHECK_WATCHDOG(30);
            hf_shm *shm = help_make(name, 256 << 10);
            pthread_t thread;
            if (round % 2 == 1) CHECK(pthread_create(&thread, NULL, use_for_ever, shm) == 0);
            atomic_fetch_add(ready, 1);
            while (atomic_load(ready) < 3)
                sched_yield();
            exit(0);
        }
        for (unsigned who = 0; who < 3; who++)
            harness_expect_ok(children[who], "one that ends");
        CHECK_SAY(!help_is_there(name), "round %u", round);
    }
}

static void test_who_ended_without_closing_was_not_killed(void) {
    const char *name = harness_name("ended");
    hf_shm *shm = help_make(name, 256 << 10);
    uint64_t free_before = help_info(shm).bytes_free;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        hf_shm *own = help_join(name);
        struct hfi_shm_request request = {
            .name = "held", .kind = HF_SHM_KIND_SPAN, .layout = 1, .size = 500};
        struct hfi_shm_part part;
        OK(hfi_shm_attach(own, HF_SHM_CREATE, &request, &part));
        exit(0);
    }
    harness_expect_ok(child, "child");
    CHECK_EQ(help_info(shm).participants_live, 1);
    CHECK_EQ(help_info(shm).participants_dead, 0);
    size_t recovered = 9;
    OK(hf_shm_sweep(shm, &recovered));
    CHECK_EQ(recovered, 0);
    CHECK_EQ(help_info(shm).recoveries, 0);
    OK(hf_shm_erase(shm, "held"));
    CHECK_EQ(help_info(shm).bytes_free, free_before);
    OK(hf_shm_close(shm));
    CHECK(!help_is_there(name));
}

/* --- storms ----------------------------------------------------------------------------------- */

struct world {
    const char *name;
    bool kept; /* the test's process has it open, too */
    _Atomic uint64_t done;
};

/* Bytes that are ours have our pattern until we give them back. */
static void use_table(hf_shm *shm, check_random *random, unsigned worker, struct world *world) {
    char name[32];
    uint64_t size =
        1 + check_random_below(random, check_random_below(random, 4) == 0 ? 20000 : 500);
    (void)snprintf(name, sizeof name, "w%u-%u", worker, (unsigned)check_random_below(random, 3));
    struct hfi_shm_request request = {
        .name = name, .kind = HF_SHM_KIND_SPAN, .layout = 1, .size = size};
    struct hfi_shm_part part;
    hf_status status = hfi_shm_attach(shm, HF_SHM_CREATE, &request, &part);
    if (status == HF_E_EXISTS) { /* of a former life */
        OK(hf_shm_erase(shm, name));
        return;
    }
    if (status == HF_E_NO_SPACE || status == HF_E_LIMIT) {
        (void)hf_shm_sweep(shm, NULL);
        return;
    }
    CHECK_SAY(status == HF_OK, "%s", hf_shm_detail());
    for (uint64_t i = 0; i < size; i++)
        CHECK_EQ(part.base[i], 0);
    memset(part.base, (int)worker + 1, size);
    if (check_random_below(random, 2) == 0) OK(hf_shm_erase(shm, name));
    for (uint64_t i = 0; i < size; i++)
        CHECK_EQ(part.base[i], worker + 1);
    hfi_shm_detach(&part);
    atomic_fetch_add(&world->done, 1);
}

static int work(void *raw, unsigned worker, unsigned incarnation, const volatile int *stop) {
    struct world *world = raw;
    check_random random = {harness_seed() + worker * 1000003u + incarnation};
    while (!*stop) {
        hf_shm *shm = help_make(world->name, 256 << 10);
        for (unsigned i = 0; i < 20 && !*stop; i++)
            use_table(shm, &random, worker, world);
        OK(hf_shm_check(shm, "", NULL, NULL));
        OK(hf_shm_close(shm));
    }
    return 0;
}

static int name_take(const hf_shm_entry *entry, void *context) {
    (void)snprintf(context, 64, "%s", entry->name);
    return 1;
}

static void storm(const char *tag, bool kept, unsigned kills, unsigned stops) {
    struct world *world = harness_shared(sizeof *world);
    world->name = harness_name(tag);
    world->kept = kept;
    (void)harness_seed();
    hf_shm *keeper = NULL;
    uint64_t free_before = 0;
    struct harness_storm storm = {.name = tag,
                                  .workers = 4,
                                  .kills = kills,
                                  .stops = stops,
                                  .stop_ms = 5,
                                  .pace_us = 1500,
                                  .work = work};
    if (kept) {
        hf_shm_options options;
        hf_shm_options_init(&options, 256 << 10);
        OK(hf_shm_create_anonymous(&options, &keeper)); /* the fork's handler has work to do, too */
        OK(hf_shm_close(keeper));
        keeper = help_make(world->name, 256 << 10);
        free_before = help_info(keeper).bytes_free;
    }
    harness_storm(&storm, world);
    CHECK_GT(world->done, 0);
    if (!kept) {
        CHECK(!help_is_there(world->name)); /* the last worker closed */
        return;
    }
    OK(hf_shm_sweep(keeper, NULL));
    OK(hf_shm_check(keeper, NULL, NULL, NULL));
    for (;;) {
        char name[64] = "";
        OK(hf_shm_list(keeper, name_take, name));
        if (name[0] == '\0') break;
        OK(hf_shm_erase(keeper, name));
    }
    hf_shm_info info = help_info(keeper);
    CHECK_EQ(info.bytes_free, free_before);
    CHECK_EQ(info.participants_live, 1);
    CHECK_EQ(info.participants_dead, 0);
    /* Every worker is a participant by the fork, and by its own opening most of the time; those that
     * stopped in good order ended without closing what the fork gave them. */
    CHECK_LE(info.recoveries, 2 * kills + 4);
    if (kills > 0) CHECK_GE(info.recoveries, kills);
    OK(hf_shm_close(keeper));
    CHECK(!help_is_there(world->name));
}

static void test_killed_users_leave_the_table_whole(void) {
    storm("kept", true, harness_kills(400), 0);
}

static void test_killed_makers_and_openers_leave_no_segment(void) {
    storm("unkept", false, harness_kills(400), 0);
}

static void test_stopped_processes_are_never_recovered(void) {
    const char *name = harness_name("stops");
    hf_shm *keeper = help_make(name, 256 << 10);
    OK(hf_shm_close(keeper));
    storm("stops", false, 0, CHECK_SANITIZED ? 20 : 150);
}

int main(void) {
    harness_watchdog(900);
    CHECK_RUN(test_of_two_makers_one_makes_and_nobody_sees_half);
    CHECK_RUN(test_who_opens_while_the_last_one_leaves_gets_a_whole_segment);
    CHECK_RUN(test_of_processes_that_end_together_the_last_takes_it_along);
    CHECK_RUN(test_who_ended_without_closing_was_not_killed);
    CHECK_RUN(test_killed_users_leave_the_table_whole);
    CHECK_RUN(test_killed_makers_and_openers_leave_no_segment);
    CHECK_RUN(test_stopped_processes_are_never_recovered);
    return 0;
}
