/* test_shm_sync - events, semaphores, mutexes: what each call answers, alone and between two.
 *
 * Method: a second participant is the segment opened a second time, or a child; whoever waits is a
 * child that ends with 0 if it was woken for the right reason. Kills under load: test_shm_sync_kill.
 * Barriers: test_shm_barrier. */
#include <pthread.h>

#include <holdfast/shm_event.h>
#include <holdfast/shm_mutex.h>
#include <holdfast/shm_semaphore.h>

#include "shm_help.h"

#define MS        ((uint64_t)1000000)
#define LONG_WAIT (10000 * MS)

static const char *name;

/* --- event ------------------------------------------------------------------------------------ */

static hf_shm_event *event_open(hf_shm *shm, uint32_t automatic) {
    hf_shm_event_options options;
    hf_shm_event *event = NULL;
    hf_shm_event_options_init(&options);
    options.automatic = automatic;
    OK(hf_shm_event_open(shm, automatic ? "auto" : "manual", HF_SHM_OPEN_OR_CREATE, &options,
                         &event));
    return event;
}

static void test_manual_event_stays_set_until_cleared(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_event *event = event_open(shm, 0), *other = NULL;
    CHECK_EQ(hf_shm_event_wait(event, 0), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_event_wait(event, 3 * MS), HF_E_TIMEOUT);
    OK(hf_shm_event_set(event));
    OK(hf_shm_event_set(event));
    OK(hf_shm_event_open(shm, "manual", HF_SHM_OPEN, NULL, &other));
    for (int i = 0; i < 3; i++)
        OK(hf_shm_event_wait(other, HF_FOREVER));
    CHECK_EQ(hf_shm_event_is_set(other), 1);
    OK(hf_shm_event_clear(event));
    CHECK_EQ(hf_shm_event_wait(other, 0), HF_E_TIMEOUT);
    hf_shm_event_close(other);
    hf_shm_event_close(event);
    OK(hf_shm_close(shm));
}

static void test_automatic_event_lets_one_pass(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_event *event = event_open(shm, 1), *wrong = NULL;
    hf_shm_event_options options;
    OK(hf_shm_event_set(event));
    OK(hf_shm_event_wait(event, 0));
    CHECK_EQ(hf_shm_event_wait(event, 0), HF_E_TIMEOUT);
    hf_shm_event_options_init(&options);
    CHECK_EQ(hf_shm_event_open(shm, "auto", HF_SHM_OPEN, &options, &wrong), HF_E_MISMATCH);
    CHECK(strstr(hf_shm_detail(), "automatic") && strstr(hf_shm_detail(), "manual"));
    options.automatic = 2;
    CHECK_EQ(hf_shm_event_open(shm, "x", HF_SHM_CREATE, &options, &wrong), HF_E_INVALID);
    CHECK_EQ(hf_shm_event_open(shm, "x", HF_SHM_CREATE, NULL, &wrong), HF_E_INVALID);
    CHECK_EQ(hf_shm_event_wait(NULL, 0), HF_E_INVALID);
    hf_shm_event_close(event);
    OK(hf_shm_close(shm));
}

static void body_waits_manual(hf_shm *shm) {
    OK(hf_shm_event_wait(event_open(shm, 0), LONG_WAIT));
}
static void body_waits_auto(hf_shm *shm) {
    OK(hf_shm_event_wait(event_open(shm, 1), LONG_WAIT));
}

static void test_set_wakes_those_who_wait(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_event *manual = event_open(shm, 0), *automatic = event_open(shm, 1);
    pid_t all[3], each[3];
    for (int i = 0; i < 3; i++)
        all[i] = help_run(name, body_waits_manual), each[i] = help_run(name, body_waits_auto);
    usleep(20000);
    OK(hf_shm_event_set(manual));
    for (int i = 0; i < 3; i++)
        harness_expect_ok(all[i], "waits for the manual event");
    for (int woken = 0; woken < 3; woken++) { /* each set lets one more pass */
        OK(hf_shm_event_set(automatic));
        while (hf_shm_event_is_set(automatic))
            usleep(100);
    }
    for (int i = 0; i < 3; i++)
        harness_expect_ok(each[i], "waits for the automatic event");
    hf_shm_event_close(manual);
    hf_shm_event_close(automatic);
    OK(hf_shm_close(shm));
}

/* --- semaphore -------------------------------------------------------------------------------- */

static hf_shm_semaphore *semaphore_open(hf_shm *shm, uint32_t counted, uint64_t permits) {
    hf_shm_semaphore_options options;
    hf_shm_semaphore *semaphore = NULL;
    hf_shm_semaphore_options_init(&options, permits);
    options.counted = counted;
    if (counted) options.most = 100;
    OK(hf_shm_semaphore_open(shm, counted ? "counted" : "held", HF_SHM_OPEN_OR_CREATE, &options,
                             &semaphore));
    return semaphore;
}

static void test_held_permits_belong_to_their_participant(void) {
    hf_shm *mine = help_make(name, 1 << 20), *theirs = help_join(name);
    hf_shm_semaphore *here = semaphore_open(mine, 0, 70), *there = semaphore_open(theirs, 0, 70);
    OK(hf_shm_semaphore_wait(here, 30, 0));
    OK(hf_shm_semaphore_wait(there, 40, 0));
    CHECK_EQ(hf_shm_semaphore_value(here), 0);
    CHECK_EQ(hf_shm_semaphore_held(here), 30);
    CHECK_EQ(hf_shm_semaphore_held(there), 40);
    CHECK_EQ(hf_shm_semaphore_wait(here, 1, 0), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_semaphore_wait(here, 1, 2 * MS), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_semaphore_post(here, 31), HF_E_INVALID);
    CHECK(strstr(hf_shm_detail(), "holds 30") != NULL);
    CHECK_EQ(hf_shm_semaphore_held(here), 30);
    OK(hf_shm_semaphore_post(here, 30));
    CHECK_EQ(hf_shm_semaphore_post(here, 1), HF_E_INVALID);
    CHECK_EQ(hf_shm_semaphore_wait(here, 31, 2 * MS), HF_E_TIMEOUT); /* keeps none of them */
    CHECK_EQ(hf_shm_semaphore_value(here), 30);
    CHECK_EQ(hf_shm_semaphore_wait(here, 71, 0), HF_E_INVALID);
    CHECK_EQ(hf_shm_semaphore_wait(here, 0, 0), HF_E_INVALID);
    hf_shm_semaphore_close(there);
    OK(hf_shm_close(theirs)); /* leaves with 40 */
    OK(hf_shm_semaphore_wait(here, 70, LONG_WAIT));
    OK(hf_shm_semaphore_post(here, 70));
    hf_shm_semaphore_close(here);
    OK(hf_shm_close(mine));
}

static void test_counted_permits_are_a_number(void) {
    hf_shm *mine = help_make(name, 1 << 20), *theirs = help_join(name);
    hf_shm_semaphore *here = semaphore_open(mine, 1, 2), *there = semaphore_open(theirs, 1, 2);
    hf_shm_semaphore *any = NULL;
    OK(hf_shm_semaphore_wait(here, 2, 0));
    CHECK_EQ(hf_shm_semaphore_wait(here, 1, 0), HF_E_TIMEOUT);
    OK(hf_shm_semaphore_post(there, 100)); /* who posts need not have waited */
    CHECK_EQ(hf_shm_semaphore_post(there, 1), HF_E_FULL);
    OK(hf_shm_semaphore_wait(here, 99, 0));
    hf_shm_semaphore_close(there);
    OK(hf_shm_close(theirs));
    CHECK_EQ(hf_shm_semaphore_value(here), 1);
    OK(hf_shm_semaphore_open(mine, "counted", HF_SHM_OPEN, NULL, &any));
    CHECK_EQ(hf_shm_semaphore_value(any), 1);
    hf_shm_semaphore_close(any);
    hf_shm_semaphore_options options;
    hf_shm_semaphore_options_init(&options, 2);
    CHECK_EQ(hf_shm_semaphore_open(mine, "counted", HF_SHM_OPEN, &options, &any), HF_E_MISMATCH);
    hf_shm_semaphore_options_init(&options, 0);
    CHECK_EQ(hf_shm_semaphore_open(mine, "x", HF_SHM_CREATE, &options, &any), HF_E_INVALID);
    hf_shm_semaphore_options_init(&options, HF_SHM_SEMAPHORE_PERMITS_MAX + 1);
    CHECK_EQ(hf_shm_semaphore_open(mine, "x", HF_SHM_CREATE, &options, &any), HF_E_INVALID);
    hf_shm_semaphore_close(here);
    OK(hf_shm_close(mine));
}

static void body_takes_three(hf_shm *shm) {
    hf_shm_semaphore *semaphore = semaphore_open(shm, 0, 4);
    for (int i = 0; i < 50; i++) {
        OK(hf_shm_semaphore_wait(semaphore, 3, LONG_WAIT));
        OK(hf_shm_semaphore_post(semaphore, 3));
    }
    hf_shm_semaphore_close(semaphore);
    OK(hf_shm_close(shm));
}

static void test_waits_for_several_do_not_block_each_other(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_semaphore *semaphore = semaphore_open(shm, 0, 4);
    pid_t children[3];
    for (int i = 0; i < 3; i++)
        children[i] = help_run(name, body_takes_three);
    for (int i = 0; i < 200; i++) {
        OK(hf_shm_semaphore_wait(semaphore, 1, LONG_WAIT));
        OK(hf_shm_semaphore_post(semaphore, 1));
    }
    for (int i = 0; i < 3; i++)
        harness_expect_ok(children[i], "takes three");
    CHECK_EQ(hf_shm_semaphore_value(semaphore), 4);
    hf_shm_semaphore_close(semaphore);
    OK(hf_shm_close(shm));
}

static void body_takes_and_sleeps(hf_shm *shm) {
    hf_shm_semaphore *semaphore = semaphore_open(shm, 0, 4);
    OK(hf_shm_semaphore_wait(semaphore, 4, LONG_WAIT));
    for (;;)
        pause();
}

static void test_permits_of_a_killed_one_come_back(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_semaphore *semaphore = semaphore_open(shm, 0, 4);
    pid_t child = help_run(name, body_takes_and_sleeps);
    while (hf_shm_semaphore_value(semaphore) != 0)
        usleep(100);
    CHECK_EQ(hf_shm_semaphore_wait(semaphore, 1, 3 * MS), HF_E_TIMEOUT); /* it lives */
    help_kill(child);
    OK(hf_shm_semaphore_wait(semaphore, 4, LONG_WAIT));
    hf_shm_semaphore_close(semaphore);
    OK(hf_shm_close(shm));
}

static void body_collects_and_waits(hf_shm *shm) {
    (void)hf_shm_semaphore_wait(semaphore_open(shm, 0, 4), 4, HF_FOREVER);
    CHECK_FAIL("it was to be killed while it collected");
}

static void test_who_does_not_wait_finds_that_a_collector_was_killed(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_semaphore *semaphore = semaphore_open(shm, 0, 4);
    OK(hf_shm_semaphore_wait(semaphore, 1, 0));
    pid_t child = help_run(name, body_collects_and_waits);
    while (hf_shm_semaphore_value(semaphore) != 0)
        usleep(100);
    CHECK_EQ(hf_shm_semaphore_wait(semaphore, 3, 0), HF_E_TIMEOUT); /* it lives */
    help_kill(child);
    hf_status status = HF_E_TIMEOUT;
    for (int i = 0; i < 10000 && status == HF_E_TIMEOUT; i++) {
        status = hf_shm_semaphore_wait(semaphore, 3, 0);
        usleep(1000); /* the search for dead holders is bounded in time */
    }
    OK(status);
    OK(hf_shm_semaphore_post(semaphore, 4));
    hf_shm_semaphore_close(semaphore);
    OK(hf_shm_close(shm));
}

/* --- mutex ------------------------------------------------------------------------------------ */

static hf_shm_mutex *mutex_open(hf_shm *shm) {
    hf_shm_mutex *mutex = NULL;
    OK(hf_shm_mutex_open(shm, "mutex", HF_SHM_OPEN_OR_CREATE, &mutex));
    return mutex;
}

static void test_mutex_refuses_what_is_wrong(void) {
    hf_shm *mine = help_make(name, 1 << 20), *theirs = help_join(name);
    hf_shm_mutex *here = mutex_open(mine), *there = mutex_open(theirs);
    uint32_t participant = 99, thread = 0;
    char who[40];
    CHECK_EQ(hf_shm_mutex_unlock(here), HF_E_INVALID);
    CHECK_EQ(hf_shm_mutex_owner(here, &participant, &thread), HF_E_EMPTY);
    OK(hf_shm_mutex_lock(here, 0));
    CHECK_EQ(hf_shm_mutex_lock(here, 0), HF_E_BUSY);
    CHECK_EQ(hf_shm_mutex_lock(here, HF_FOREVER), HF_E_BUSY);
    CHECK_EQ(hf_shm_mutex_lock(there, 0), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_mutex_lock(there, 5 * MS), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_mutex_unlock(there), HF_E_INVALID);
    snprintf(who, sizeof who, "participant %u has", help_info(mine).self);
    CHECK_SAY(strstr(hf_shm_detail(), who) != NULL, "%s", hf_shm_detail());
    CHECK_EQ(hf_shm_mutex_consistent(there), HF_E_INVALID);
    OK(hf_shm_mutex_owner(there, &participant, &thread));
    CHECK_EQ(participant, help_info(mine).self);
    CHECK_EQ(thread, gettid());
    OK(hf_shm_mutex_unlock(here));
    OK(hf_shm_mutex_lock(there, HF_FOREVER));
    OK(hf_shm_mutex_unlock(there));
    CHECK_EQ(hf_shm_mutex_lock(NULL, 0), HF_E_INVALID);
    hf_shm_mutex_close(here);
    hf_shm_mutex_close(there);
    OK(hf_shm_close(theirs));
    OK(hf_shm_close(mine));
}

static void body_locks_and_sleeps(hf_shm *shm) {
    hf_status status = hf_shm_mutex_lock(mutex_open(shm), LONG_WAIT);
    CHECK(status == HF_OK || status == HF_E_OWNER_DIED);
    for (;;)
        pause();
}

static void test_owner_died_is_said_until_somebody_answers_for_it(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_mutex *mutex = mutex_open(shm);
    for (int round = 0; round < 3; round++) {
        pid_t child = help_run(name, body_locks_and_sleeps);
        while (hf_shm_mutex_owner(mutex, NULL, NULL) != HF_OK)
            usleep(100);
        help_kill(child);
        /* Without waiting, with, and after a sweep: the same answer. */
        size_t swept = 0;
        if (round == 2) OK(hf_shm_sweep(shm, &swept));
        CHECK_EQ(hf_shm_mutex_lock(mutex, round == 0 ? 0 : LONG_WAIT), HF_E_OWNER_DIED);
        CHECK_EQ(hf_shm_mutex_is_inconsistent(mutex), 1);
        OK(hf_shm_mutex_unlock(mutex)); /* without an answer: the doubt stays */
        CHECK_EQ(hf_shm_mutex_lock(mutex, 0), HF_E_OWNER_DIED);
        OK(hf_shm_mutex_consistent(mutex));
        OK(hf_shm_mutex_unlock(mutex));
        OK(hf_shm_mutex_lock(mutex, 0));
        OK(hf_shm_mutex_unlock(mutex));
    }
    hf_shm_mutex_close(mutex);
    OK(hf_shm_close(shm));
}

/* Who has waited for 1 ms asks to go first. */
static void test_a_try_takes_what_is_free_after_others_gave_up(void) {
    hf_shm *mine = help_make(name, 1 << 20), *theirs = help_join(name);
    hf_shm_mutex *here = mutex_open(mine), *there = mutex_open(theirs);
    for (int round = 0; round < 4; round++) {
        OK(hf_shm_mutex_lock(here, 0));
        CHECK_EQ(hf_shm_mutex_lock(there, 5 * MS), HF_E_TIMEOUT);
        OK(hf_shm_mutex_unlock(here));
        OK(hf_shm_mutex_lock(here, round % 2 == 0 ? 0 : MS / 10));
        OK(hf_shm_mutex_unlock(here));
    }
    hf_shm_mutex_close(here);
    hf_shm_mutex_close(there);
    OK(hf_shm_close(theirs));
    OK(hf_shm_close(mine));
}

static void body_waits_for_the_mutex(hf_shm *shm) {
    (void)hf_shm_mutex_lock(mutex_open(shm), HF_FOREVER);
    CHECK_FAIL("it was to be killed while it waited");
}

/* Nobody can tell that those who asked to go first were killed. */
static void test_tries_are_let_through_after_those_who_hurry_were_killed(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_mutex *mutex = mutex_open(shm), *fresh = NULL;
    for (int round = 0; round < 3; round++) {
        hf_status status = HF_E_TIMEOUT;
        OK(hf_shm_mutex_lock(mutex, HF_FOREVER));
        pid_t child = help_run(name, body_waits_for_the_mutex);
        usleep(20000);
        help_kill(child);
        OK(hf_shm_mutex_unlock(mutex));
        if (round == 1) { /* a handle that is opened for one try */
            fresh = mutex_open(shm);
            status = hf_shm_mutex_lock(fresh, 0);
            hf_shm_mutex_close(fresh);
        }
        for (int tries = 0; status == HF_E_TIMEOUT && tries < 1000; tries++) {
            CHECK(round != 1);
            status = hf_shm_mutex_lock(mutex, round == 0 ? 0 : MS / 10);
            usleep(500);
        }
        OK(status);
        OK(hf_shm_mutex_unlock(mutex));
    }
    hf_shm_mutex_close(mutex);
    OK(hf_shm_close(shm));
}

static void test_who_waits_little_finds_a_dead_owner(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_mutex *mutex = mutex_open(shm);
    pid_t child = help_run(name, body_locks_and_sleeps);
    while (hf_shm_mutex_owner(mutex, NULL, NULL) != HF_OK)
        usleep(100);
    CHECK_EQ(hf_shm_mutex_lock(mutex, 1000), HF_E_TIMEOUT);
    help_kill(child);
    CHECK_EQ(hf_shm_mutex_lock(mutex, 1000), HF_E_OWNER_DIED);
    OK(hf_shm_mutex_consistent(mutex));
    OK(hf_shm_mutex_unlock(mutex));
    hf_shm_mutex_close(mutex);
    OK(hf_shm_close(shm));
}

static void *thread_locks_and_ends(void *mutex) {
    OK(hf_shm_mutex_lock(mutex, 0));
    return NULL;
}

static void test_thread_that_ended_with_the_lock_is_noticed(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_mutex *mutex = mutex_open(shm);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, thread_locks_and_ends, mutex), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(hf_shm_mutex_lock(mutex, LONG_WAIT), HF_E_OWNER_DIED);
    OK(hf_shm_mutex_consistent(mutex));
    OK(hf_shm_mutex_unlock(mutex));
    hf_shm_mutex_close(mutex);
    OK(hf_shm_close(shm));
}

static void body_holds_on(hf_shm *shm) {
    hf_shm_mutex *mutex = mutex_open(shm);
    for (int i = 0; i < 2000; i++) { /* gives it free for an instant only */
        OK(hf_shm_mutex_lock(mutex, LONG_WAIT));
        usleep(200);
        OK(hf_shm_mutex_unlock(mutex));
        if (i > 20 && hf_shm_event_is_set(event_open(shm, 0))) break;
    }
    hf_shm_event *stop = event_open(shm, 0);
    CHECK_EQ(hf_shm_event_is_set(stop), 1); /* the others were not starved meanwhile */
    _exit(0);
}

static void test_who_waits_gets_it_in_the_end(void) {
    hf_shm *shm = help_make(name, 1 << 20);
    hf_shm_mutex *mutex = mutex_open(shm);
    hf_shm_event *stop = event_open(shm, 0);
    pid_t children[2] = {help_run(name, body_holds_on), help_run(name, body_holds_on)};
    for (int i = 0; i < 20; i++) {
        OK(hf_shm_mutex_lock(mutex, LONG_WAIT));
        OK(hf_shm_mutex_unlock(mutex));
    }
    OK(hf_shm_event_set(stop));
    harness_expect_ok(children[0], "holds on");
    harness_expect_ok(children[1], "holds on");
    hf_shm_event_close(stop);
    hf_shm_mutex_close(mutex);
    OK(hf_shm_close(shm));
}

int main(void) {
    CHECK_WATCHDOG(120);
    name = harness_name("sync");
    CHECK_RUN(test_manual_event_stays_set_until_cleared);
    CHECK_RUN(test_automatic_event_lets_one_pass);
    CHECK_RUN(test_set_wakes_those_who_wait);
    CHECK_RUN(test_held_permits_belong_to_their_participant);
    CHECK_RUN(test_counted_permits_are_a_number);
    CHECK_RUN(test_waits_for_several_do_not_block_each_other);
    CHECK_RUN(test_permits_of_a_killed_one_come_back);
    CHECK_RUN(test_who_does_not_wait_finds_that_a_collector_was_killed);
    CHECK_RUN(test_mutex_refuses_what_is_wrong);
    CHECK_RUN(test_owner_died_is_said_until_somebody_answers_for_it);
    CHECK_RUN(test_a_try_takes_what_is_free_after_others_gave_up);
    CHECK_RUN(test_tries_are_let_through_after_those_who_hurry_were_killed);
    CHECK_RUN(test_who_waits_little_finds_a_dead_owner);
    CHECK_RUN(test_thread_that_ended_with_the_lock_is_noticed);
    CHECK_RUN(test_who_waits_gets_it_in_the_end);
    return 0;
}
