/* test_shm_barrier - barriers: who passes when, what a death does to a round, who takes part.
 *
 * Method: parties are children; a second participant is the segment opened a second time. Kills under
 * load: test_shm_sync_kill; crash points and orders: steps_sync. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include <holdfast/shm_barrier.h>

#include "shm_help.h"

#define MS        ((uint64_t)1000000)
#define LONG_WAIT (10000 * MS)

static const char *name;

#define PARTIES 4

static hf_shm_barrier *barrier_open(hf_shm *shm, uint32_t on_death) {
    hf_shm_barrier_options options;
    hf_shm_barrier *barrier = NULL;
    hf_shm_barrier_options_init(&options, PARTIES);
    options.on_death = on_death;
    OK(hf_shm_barrier_open(shm, on_death ? "go on" : "break", HF_SHM_OPEN_OR_CREATE, &options,
                           &barrier));
    return barrier;
}

static _Atomic uint32_t *tally; /* shared: arrivals */

static void body_rounds(hf_shm *shm) {
    hf_shm_barrier *barrier = barrier_open(shm, HF_SHM_BARRIER_BREAK);
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t place = 99;
        tally[0]++;
        OK(hf_shm_barrier_wait(barrier, LONG_WAIT, &place));
        CHECK_LT(place, PARTIES);
        CHECK_EQ(tally[1 + place * 300 + round]++, 0); /* each place once in each round */
        CHECK_GE(tally[0], (round + 1) * PARTIES);     /* all have come */
        CHECK_LE(tally[0], (round + 2) * PARTIES);
    }
    hf_shm_barrier_close(barrier);
    OK(hf_shm_close(shm));
}

static void test_nobody_passes_before_all_have_come(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_barrier *barrier = barrier_open(shm, HF_SHM_BARRIER_BREAK);
    pid_t children[PARTIES];
    tally = harness_shared(4 * (1 + 300 * PARTIES));
    for (int i = 0; i < PARTIES; i++)
        children[i] = help_run(name, body_rounds);
    for (int i = 0; i < PARTIES; i++)
        harness_expect_ok(children[i], "party");
    CHECK_EQ(hf_shm_barrier_round(barrier), 300);
    CHECK_EQ(hf_shm_barrier_waiting(barrier), 0);
    /* Who gives up has not come. */
    CHECK_EQ(hf_shm_barrier_wait(barrier, 0, NULL), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_barrier_wait(barrier, 3 * MS, NULL), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_barrier_waiting(barrier), 0);
    hf_shm_barrier_close(barrier);
    OK(hf_shm_close(shm));
}

static void *thread_comes(void *barrier) {
    uint32_t place = 99;
    OK(hf_shm_barrier_wait(barrier, LONG_WAIT, &place));
    return (void *)(uintptr_t)place;
}

static void test_threads_are_parties(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_barrier *barrier = barrier_open(shm, HF_SHM_BARRIER_BREAK);
    for (int round = 0; round < 20; round++) {
        pthread_t threads[PARTIES];
        unsigned places = 0;
        for (int i = 0; i < PARTIES; i++)
            CHECK_EQ(pthread_create(&threads[i], NULL, thread_comes, barrier), 0);
        for (int i = 0; i < PARTIES; i++) {
            void *place;
            CHECK_EQ(pthread_join(threads[i], &place), 0);
            places |= 1u << (uintptr_t)place;
        }
        CHECK_EQ(places, (1u << PARTIES) - 1);
    }
    hf_shm_barrier_close(barrier);
    OK(hf_shm_close(shm));
}

static void body_sees_the_break(hf_shm *shm) {
    hf_shm_barrier *barrier = barrier_open(shm, HF_SHM_BARRIER_BREAK);
    CHECK_EQ(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL), HF_E_OWNER_DIED);
    OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL)); /* with the successor */
}
static void body_waits_to_die(hf_shm *shm) {
    (void)hf_shm_barrier_wait(barrier_open(shm, HF_SHM_BARRIER_BREAK), HF_FOREVER, NULL);
    CHECK_FAIL("it was to be killed in the barrier");
}
static void body_comes_once(hf_shm *shm) {
    OK(hf_shm_barrier_wait(barrier_open(shm, HF_SHM_BARRIER_BREAK), LONG_WAIT, NULL));
}

static void test_a_death_breaks_one_round_for_all(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_barrier *barrier = barrier_open(shm, HF_SHM_BARRIER_BREAK);
    pid_t two[2] = {help_run(name, body_sees_the_break), help_run(name, body_sees_the_break)};
    pid_t victim = help_run(name, body_waits_to_die);
    while (hf_shm_barrier_waiting(barrier) != 3)
        usleep(100);
    help_kill(victim);
    while (hf_shm_barrier_round(barrier) == 0)
        usleep(1000);
    /* This one had it open and was elsewhere: told once. */
    CHECK_EQ(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL), HF_E_OWNER_DIED);
    pid_t successor = help_run(name, body_comes_once);
    OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL));
    harness_expect_ok(two[0], "party");
    harness_expect_ok(two[1], "party");
    harness_expect_ok(successor, "successor");
    CHECK_EQ(hf_shm_barrier_round(barrier), 2);
    hf_shm_barrier_close(barrier);
    OK(hf_shm_close(shm));
}

static void body_goes_on(hf_shm *shm) {
    hf_shm_barrier *barrier = barrier_open(shm, HF_SHM_BARRIER_GO_ON);
    for (int round = 0; round < 5; round++)
        OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL));
    /* Killed, not left: the others are to see a death. */
    kill(getpid(), SIGKILL);
}

static void test_the_rest_goes_on_without_the_dead(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_barrier *barrier = barrier_open(shm, HF_SHM_BARRIER_GO_ON);
    pid_t children[PARTIES - 1];
    for (int i = 0; i < PARTIES - 1; i++)
        children[i] = help_run(name, body_goes_on);
    for (int round = 0; round < 20; round++) /* from the sixth on it is alone */
        OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL));
    for (int i = 0; i < PARTIES - 1; i++)
        CHECK_EQ(waitpid(children[i], NULL, 0), children[i]);
    for (int i = 0; i < PARTIES - 1; i++) /* new ones take the places of the dead */
        children[i] = help_run(name, body_goes_on);
    usleep(50000);
    for (int round = 0; round < 5; round++)
        OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL));
    for (int i = 0; i < PARTIES - 1; i++)
        CHECK_EQ(waitpid(children[i], NULL, 0), children[i]);
    hf_shm_barrier_close(barrier);
    OK(hf_shm_close(shm));
}

/* --- who takes part --------------------------------------------------------------------------- */

static hf_shm_barrier *barrier_of(hf_shm *shm, uint32_t parties) {
    hf_shm_barrier_options options;
    hf_shm_barrier *barrier = NULL;
    hf_shm_barrier_options_init(&options, parties);
    OK(hf_shm_barrier_open(shm, "few", HF_SHM_OPEN_OR_CREATE, &options, &barrier));
    return barrier;
}

static void body_comes_and_stays_away(hf_shm *shm) {
    OK(hf_shm_barrier_wait(barrier_of(shm, 3), LONG_WAIT, NULL));
    for (;;)
        pause();
}

static void test_every_death_is_told_also_of_one_who_missed_a_round(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_barrier *barrier = barrier_of(shm, 3);
    pid_t first = help_run(name, body_comes_and_stays_away);
    pid_t second = help_run(name, body_comes_and_stays_away);
    OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL));
    help_kill(first);
    CHECK_EQ(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL), HF_E_OWNER_DIED);
    help_kill(second); /* had not come to the round that is broken */
    CHECK_EQ(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL), HF_E_OWNER_DIED);
    CHECK_EQ(hf_shm_barrier_wait(barrier, 100 * MS, NULL),
             HF_E_TIMEOUT); /* two deaths, two rounds */
    CHECK_EQ(hf_shm_barrier_round(barrier), 3);
    hf_shm_barrier_close(barrier);
    OK(hf_shm_close(shm));
}

static void test_who_looks_without_waiting_is_told_of_a_death(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_barrier *barrier = barrier_of(shm, 3);
    pid_t two[2] = {help_run(name, body_comes_and_stays_away),
                    help_run(name, body_comes_and_stays_away)};
    OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL));
    CHECK_EQ(hf_shm_barrier_wait(barrier, 0, NULL), HF_E_TIMEOUT);
    help_kill(two[0]);
    CHECK_EQ(hf_shm_barrier_wait(barrier, 0, NULL), HF_E_OWNER_DIED);
    CHECK_EQ(hf_shm_barrier_wait(barrier, 0, NULL), HF_E_TIMEOUT);
    help_kill(two[1]);
    hf_shm_barrier_close(barrier);
    OK(hf_shm_close(shm));
}

static void body_gives_up_and_stays_away(hf_shm *shm) {
    hf_shm_barrier *barrier = barrier_of(shm, 2);
    OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL));
    CHECK_EQ(hf_shm_barrier_wait(barrier, 3 * MS, NULL), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_barrier_waiting(barrier), 0);
    tally[0] = 1;
    for (;;)
        pause();
}

static void test_death_of_one_who_gave_up_is_told(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_barrier *barrier = barrier_of(shm, 2);
    tally = harness_shared(sizeof *tally);
    pid_t child = help_run(name, body_gives_up_and_stays_away);
    OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL));
    while (tally[0] == 0)
        usleep(1000);
    help_kill(child);
    CHECK_EQ(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL), HF_E_OWNER_DIED);
    hf_shm_barrier_close(barrier);
    OK(hf_shm_close(shm));
}

static void test_closing_a_handle_leaves_who_waits_with_another(void) {
    hf_shm *shm = help_make(name, 1 << 20), *theirs = help_join(name);
    hf_shm_barrier *one = barrier_of(shm, 2), *two = barrier_of(shm, 2);
    hf_shm_barrier *other = barrier_of(theirs, 2);
    pthread_t thread;
    void *place;
    CHECK_EQ(pthread_create(&thread, NULL, thread_comes, two), 0);
    while (hf_shm_barrier_waiting(one) != 1)
        usleep(1000);
    hf_shm_barrier_close(one);
    CHECK_EQ(hf_shm_barrier_waiting(other), 1);
    OK(hf_shm_barrier_wait(other, LONG_WAIT, NULL));
    CHECK_EQ(pthread_join(thread, &place), 0);
    hf_shm_barrier_close(two);
    hf_shm_barrier_close(other);
    OK(hf_shm_close(theirs));
    OK(hf_shm_close(shm));
}

static void body_comes_and_exits(hf_shm *shm) {
    OK(hf_shm_barrier_wait(barrier_of(shm, 2), LONG_WAIT, NULL));
    exit(0);
}

static void test_who_exits_has_left_and_is_waited_for(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_barrier *barrier = barrier_of(shm, 2);
    pid_t child = help_run(name, body_comes_and_exits);
    OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL));
    harness_expect_ok(child, "exits");
    CHECK_EQ(hf_shm_barrier_wait(barrier, 20 * MS, NULL), HF_E_TIMEOUT);
    hf_shm_barrier_close(barrier);
    OK(hf_shm_close(shm));
}

static int count_fault(const char *part, const char *fault, void *context) {
    (void)part;
    CHECK_SAY(strstr(fault, "seat") != NULL, "%s", fault);
    (*(int *)context)++;
    return 0;
}

static void test_seat_of_a_round_to_come_is_found_and_freed(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_barrier *barrier = barrier_of(shm, 1);
    hf_shm_entry entry;
    int faults = 0;
    size_t repaired = 0;
    for (int round = 0; round < 9; round++)
        OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL));
    OK(hf_shm_check(shm, "few", count_fault, &faults));
    OK(hf_shm_find(shm, "few", &entry));
    uint64_t *phase = hf_shm_at(shm, entry.span, HFI_SHM_LINE, sizeof *phase);
    *phase -= UINT64_C(4) << 40; /* the round is counted back */
    CHECK_EQ(hf_shm_barrier_wait(barrier, MS, NULL), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_check(shm, "few", count_fault, &faults), HF_E_CORRUPT);
    CHECK_EQ(faults, 1);
    OK(hf_shm_repair(shm, "few", &repaired));
    CHECK_EQ(repaired, 1);
    OK(hf_shm_check(shm, "few", count_fault, &faults));
    OK(hf_shm_barrier_wait(barrier, LONG_WAIT, NULL));
    hf_shm_barrier_close(barrier);
    OK(hf_shm_close(shm));
}

static void test_barrier_options_are_checked(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_barrier *barrier = barrier_open(shm, HF_SHM_BARRIER_BREAK), *other = NULL;
    hf_shm_barrier_options options;
    hf_shm_barrier_options_init(&options, 0);
    CHECK_EQ(hf_shm_barrier_open(shm, "x", HF_SHM_CREATE, &options, &other), HF_E_INVALID);
    options.parties = HF_SHM_BARRIER_PARTIES_MAX + 1;
    CHECK_EQ(hf_shm_barrier_open(shm, "x", HF_SHM_CREATE, &options, &other), HF_E_INVALID);
    options.parties = PARTIES + 1;
    CHECK_EQ(hf_shm_barrier_open(shm, "break", HF_SHM_OPEN, &options, &other), HF_E_MISMATCH);
    options.parties = PARTIES;
    options.on_death = HF_SHM_BARRIER_GO_ON;
    CHECK_EQ(hf_shm_barrier_open(shm, "break", HF_SHM_OPEN, &options, &other), HF_E_MISMATCH);
    OK(hf_shm_barrier_open(shm, "break", HF_SHM_OPEN, NULL, &other));
    CHECK_EQ(hf_shm_barrier_parties(other), PARTIES);
    OK(hf_shm_check(shm, NULL, NULL, NULL));
    hf_shm_barrier_close(other);
    hf_shm_barrier_close(barrier);
    OK(hf_shm_close(shm));
}

int main(void) {
    CHECK_WATCHDOG(120);
    name = harness_name("barrier");
    CHECK_RUN(test_nobody_passes_before_all_have_come);
    CHECK_RUN(test_threads_are_parties);
    CHECK_RUN(test_a_death_breaks_one_round_for_all);
    CHECK_RUN(test_the_rest_goes_on_without_the_dead);
    CHECK_RUN(test_every_death_is_told_also_of_one_who_missed_a_round);
    CHECK_RUN(test_who_looks_without_waiting_is_told_of_a_death);
    CHECK_RUN(test_death_of_one_who_gave_up_is_told);
    CHECK_RUN(test_closing_a_handle_leaves_who_waits_with_another);
    CHECK_RUN(test_who_exits_has_left_and_is_waited_for);
    CHECK_RUN(test_seat_of_a_round_to_come_is_found_and_freed);
    CHECK_RUN(test_barrier_options_are_checked);
    return 0;
}
