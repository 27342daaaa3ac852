/* steps_segment.c - whoever is killed while it makes, opens, changes or leaves a segment: the others go
 * on, and every byte, entry and place comes back.
 *
 * Method: the victim is a forked child, killed at each access to shared memory; afterwards a sweep, a
 * check, the whole capacity in use at once, and the file gone with its last participant. A second
 * victim that repairs is killed at its steps as well. */
#include <holdfast/shm.h>
#include <signal.h>
#include <sys/wait.h>

#include "shm/access.h"
#include "shm/segment_state.h"
#include "shm_help.h"

struct world {
    const char *name;
    hf_shm *shm; /* of the test's process; NULL: the victim is alone */
    uint64_t free_bytes;
    bool alone;
};

static hf_shm *open_small(const char *name, hf_shm_mode mode) {
    hf_shm_options options;
    hf_shm_options_init(&options, 64 << 10);
    options.size_max = 128 << 10;
    options.participants_max = 4;
    options.entries_max = 3;
    options.lock_wait_ns = UINT64_C(20000000000);
    if (mode == HF_SHM_OPEN) options.size = 0;
    hf_shm *shm = NULL;
    OK(hf_shm_open(name, mode, &options, &shm));
    return shm;
}

static void world_setup(void *raw) {
    struct world *world = raw;
    CHECK(!help_is_there(world->name));
    world->shm = world->alone ? NULL : open_small(world->name, HF_SHM_CREATE);
    if (!world->alone) world->free_bytes = help_info(world->shm).bytes_free;
}

/* --- what everything comes back to ------------------------------------------------------------ */

static int name_take(const hf_shm_entry *entry, void *context) {
    (void)snprintf(context, 64, "%s", entry->name);
    return 1;
}

static void erase_all(hf_shm *shm) {
    for (;;) {
        char name[64] = "";
        OK(hf_shm_list(shm, name_take, name));
        if (name[0] == '\0') return;
        OK(hf_shm_erase(shm, name));
    }
}

static int fault_print(const char *name, const char *fault, void *context) {
    (void)context;
    printf("  fault: %s: %s\n", name, fault);
    return 0;
}

static void expect_whole(hf_shm *shm, uint64_t free_bytes) {
    size_t repaired = 1;
    OK(hf_shm_sweep(shm, NULL));
    OK(hf_shm_check(shm, NULL, fault_print, NULL));
    hf_shm_info info = help_info(shm);
    CHECK_EQ(info.participants_live, 1);
    CHECK_EQ(info.participants_dead, 0);
    erase_all(shm);
    info = help_info(shm);
    CHECK_EQ(info.entries, 0);
    CHECK_EQ(info.bytes_used, 0);
    CHECK_EQ(info.bytes_free, free_bytes + info.size - (64 << 10));
    OK(hf_shm_repair(shm, NULL, &repaired));
    CHECK_EQ(repaired, 0);
    /* All rows, all bytes; zero although they were used. */
    hf_shm_span span[3];
    OK(hf_shm_add(shm, "a", 128, &span[0]));
    OK(hf_shm_add(shm, "b", 4096, &span[1]));
    OK(hf_shm_add(shm, "c", help_info(shm).largest_free, &span[2]));
    for (unsigned i = 0; i < 3; i++) {
        const char *bytes = hf_shm_at(shm, span[i], 0, span[i].size);
        CHECK(bytes != NULL);
        for (uint64_t k = 0; k < span[i].size; k++)
            CHECK_EQ(bytes[k], 0);
    }
    CHECK_EQ(hf_shm_add(shm, "d", 128, &span[0]), HF_E_LIMIT);
    erase_all(shm);
    OK(hf_shm_add(shm, "all", info.bytes_free, &span[0]));
    CHECK_EQ(hf_shm_add(shm, "more", 128, &span[1]), HF_E_NO_SPACE);
    erase_all(shm);
    /* All places. */
    hf_shm *others[3];
    for (unsigned i = 0; i < 3; i++)
        others[i] = open_small(help_info(shm).name, HF_SHM_OPEN);
    for (unsigned i = 0; i < 3; i++)
        OK(hf_shm_close(others[i]));
}

static void verify_with_others(void *raw, bool finished) {
    struct world *world = raw;
    (void)finished;
    expect_whole(world->shm, world->free_bytes);
    OK(hf_shm_close(world->shm));
    CHECK(!help_is_there(world->name));
}

static void verify_alone(void *raw, bool finished) {
    struct world *world = raw;
    if (finished) CHECK(!help_is_there(world->name));
    /* There is none, or a complete one. */
    int removed = 0;
    hf_shm *shm = open_small(world->name, HF_SHM_OPEN_OR_CREATE);
    expect_whole(shm, world->free_bytes);
    OK(hf_shm_close(shm));
    CHECK(!help_is_there(world->name));
    CHECK_EQ(hf_shm_collect(world->name, &removed), HF_E_NOT_FOUND);
}

/* --- victims ---------------------------------------------------------------------------------- */

static void victim_make_and_leave(void *raw) {
    struct world *world = raw;
    hf_shm *shm = open_small(world->name, HF_SHM_OPEN_OR_CREATE);
    hf_shm_span span;
    hf_status status = hf_shm_add(shm, "x", 200, &span);
    CHECK(status == HF_OK || status == HF_E_EXISTS);
    OK(hf_shm_close(shm));
}

static void victim_make_and_exit(void *raw) {
    struct world *world = raw;
    hf_shm *shm = open_small(world->name, HF_SHM_OPEN_OR_CREATE);
    hfi_shm_at_exit(shm, NULL);
}

static void victim_open_and_leave(void *raw) {
    struct world *world = raw;
    OK(hf_shm_close(open_small(world->name, HF_SHM_OPEN)));
}

static void victim_open_and_exit(void *raw) {
    struct world *world = raw;
    hfi_shm_at_exit(open_small(world->name, HF_SHM_OPEN), NULL);
}

/* On the participant that the fork made it. */
static void victim_add_and_erase(void *raw) {
    struct world *world = raw;
    hf_shm_span span;
    hf_status status = hf_shm_add(world->shm, "small", 300, &span);
    CHECK(status == HF_OK || status == HF_E_EXISTS);
    if (status == HF_OK) memset(hf_shm_at(world->shm, span, 0, 300), 7, 300);
    status = hf_shm_add(world->shm, "pages", 8192, &span);
    CHECK(status == HF_OK || status == HF_E_EXISTS);
    if (status == HF_OK) memset(hf_shm_at(world->shm, span, 0, 8192), 7, 8192);
    (void)hf_shm_erase(world->shm, "small");
    status = hf_shm_add(world->shm, "again", 300, &span);
    CHECK(status == HF_OK || status == HF_E_EXISTS);
}

static void fill(struct hfi_shm_part *part, const void *options) {
    (void)options;
    hfi_shm_step();
    memset(part->base, 9, part->size);
}

static void victim_attach_and_detach(void *raw) {
    struct world *world = raw;
    struct hfi_shm_request request = {.name = "part",
                                      .kind = HF_SHM_KIND_SPAN,
                                      .layout = 1,
                                      .size = 500,
                                      .element_size = 1,
                                      .element_count = 500,
                                      .init = fill};
    struct hfi_shm_part one, two;
    OK(hfi_shm_attach(world->shm, HF_SHM_OPEN_OR_CREATE, &request, &one));
    OK(hfi_shm_attach(world->shm, HF_SHM_OPEN, &request, &two));
    CHECK(one.base == two.base && one.base[499] == 9);
    OK(hf_shm_erase(world->shm, "part"));
    hfi_shm_detach(&one);
    CHECK_EQ(two.base[0], 9);
    hfi_shm_detach(&two);
}

static void victim_grow(void *raw) {
    struct world *world = raw;
    OK(hf_shm_grow(world->shm, 96 << 10));
    OK(hf_shm_grow(world->shm, 128 << 10));
}

static void victim_fork(void *raw) {
    struct world *world = raw;
    struct hfi_shm_request request = {
        .name = "held", .kind = HF_SHM_KIND_SPAN, .layout = 1, .size = 500};
    struct hfi_shm_part part;
    OK(hfi_shm_attach(world->shm, HF_SHM_OPEN_OR_CREATE, &request, &part));
    pid_t child = fork();
    if (child == 0) _exit(0);
    CHECK(waitpid(child, NULL, 0) == child);
    OK(hf_shm_erase(world->shm, "held"));
    hfi_shm_detach(&part);
}

static void rescuer_sweep(void *raw) {
    struct world *world = raw;
    OK(hf_shm_sweep(world->shm, NULL));
    OK(hf_shm_repair(world->shm, NULL, NULL));
}

static void run(const char *what, void (*victim)(void *), void (*rescuer)(void *), bool alone,
                unsigned stride, unsigned mutant) {
    struct world world = {.name = harness_name("steps"), .alone = alone};
    hf_shm *shm = open_small(world.name, HF_SHM_CREATE);
    world.free_bytes = help_info(shm).bytes_free;
    OK(hf_shm_close(shm));
    struct harness_steps steps = {.name = what,
                                  .setup = world_setup,
                                  .victim = victim,
                                  .rescuer = CHECK_SANITIZED ? NULL : rescuer, /* many forks */
                                  .verify = alone ? verify_alone : verify_with_others};
    harness_crash_points(&steps, &world, stride);
    steps.rescuer = NULL;
    if (mutant != 0) {
        harness_mutant_is_caught(&steps, &world, mutant);
        (void)hf_shm_remove(world.name); /* of the child that failed */
    }
}

static void test_killed_while_making_or_leaving(void) {
    run("make", victim_make_and_leave, victim_make_and_leave, true, 5, 0);
    run("make, exit", victim_make_and_exit, NULL, true, 1, 0);
}

static void test_killed_while_opening_or_leaving(void) {
    run("open", victim_open_and_leave, rescuer_sweep, false, 3, 0);
    run("open, exit", victim_open_and_exit, NULL, false, 1, 0);
}

static void test_killed_while_changing_the_table(void) {
    run("add, erase", victim_add_and_erase, rescuer_sweep, false, 3, TABLE_MUTANT_EARLY_PUBLISH);
    run("attach, detach", victim_attach_and_detach, rescuer_sweep, false, 3,
        TABLE_MUTANT_KEEP_BITS);
}

static void test_killed_while_growing(void) {
    run("grow", victim_grow, NULL, false, 1, 0);
}

static void test_killed_while_forking(void) {
    run("fork", victim_fork, NULL, false, 1, 0);
}

/* --- stopped is not dead ---------------------------------------------------------------------- */

static unsigned stop_at, stop_now;

static void stop_step(void) {
    if (++stop_now == stop_at) kill(getpid(), SIGSTOP);
}

/* A process that is stopped at any step of opening a segment alone, or of changing its table, makes
 * others wait as long as they were told and no longer; and is named where it is known. */
static void stopped_at(unsigned step, bool *reached, unsigned *named) {
    const char *name = harness_name("stopped");
    char pid[16];
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        stop_at = step;
        hfi_shm_step_hook = stop_step;
        hf_shm *shm = open_small(name, HF_SHM_OPEN_OR_CREATE);
        hf_shm_span span;
        OK(hf_shm_add(shm, "x", 200, &span));
        OK(hf_shm_close(shm));
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, WUNTRACED) == child);
    *reached = WIFSTOPPED(status);
    if (!*reached) return;
    (void)snprintf(pid, sizeof pid, "process %d ", (int)child);
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 64 << 10);
    options.size_max = 128 << 10;
    options.participants_max = 4;
    options.entries_max = 3;
    options.lock_wait_ns = UINT64_C(3000000);
    hf_status opened = hf_shm_open(name, HF_SHM_OPEN_OR_CREATE, &options, &shm);
    CHECK_SAY(opened == HF_OK || opened == HF_E_TIMEOUT, "%s", hf_shm_detail());
    if (opened == HF_E_TIMEOUT) {
        CHECK_SAY(strstr(hf_shm_detail(), pid) != NULL, "%s", hf_shm_detail());
        ++*named;
    } else {
        hf_shm_span span;
        hf_status added = hf_shm_add(shm, "y", 200, &span);
        CHECK_SAY(added == HF_OK || added == HF_E_TIMEOUT, "%s", hf_shm_detail());
        if (added == HF_E_TIMEOUT) {
            CHECK_SAY(strstr(hf_shm_detail(), pid) != NULL, "%s", hf_shm_detail());
            ++*named;
        }
    }
    kill(child, SIGCONT);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_SAY(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    if (shm != NULL) {
        OK(hf_shm_sweep(shm, NULL));
        CHECK_EQ(help_info(shm).recoveries, 0); /* nobody was taken for dead */
        OK(hf_shm_check(shm, NULL, fault_print, NULL));
        OK(hf_shm_close(shm));
    }
    CHECK(!help_is_there(name));
}

static void test_stopped_process_is_waited_for_named_and_never_robbed(void) {
    bool reached = true;
    unsigned step = 1, named = 0;
    for (; reached; step++)
        stopped_at(step, &reached, &named);
    CHECK_GT(step, 20);
    CHECK_GT(named, 5);
    printf("  %u steps, %u made others wait\n", step - 2, named);
}

int main(void) {
    CHECK_WATCHDOG(200);
    CHECK_RUN(test_killed_while_making_or_leaving);
    CHECK_RUN(test_killed_while_opening_or_leaving);
    CHECK_RUN(test_killed_while_changing_the_table);
    CHECK_RUN(test_killed_while_growing);
    CHECK_RUN(test_killed_while_forking);
    CHECK_RUN(test_stopped_process_is_waited_for_named_and_never_robbed);
    return 0;
}
