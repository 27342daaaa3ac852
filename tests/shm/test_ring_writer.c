/* test_ring_writer - who writes a ring: one at a time, until it gives the place up or is dead.
 *
 * Method: writers in other processes, which are refused, killed or stopped in the middle of an element;
 * the reader's account is exact. Kills at random are in test_ring_kill.c. */
#include <signal.h>
#include <sys/wait.h>

#include "ring_help.h"

static void test_second_writer_is_refused_by_name(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 8, false, 1), *second = NULL;
    char pid[32];
    CHECK_EQ(hf_shm_ring_open(shm, ring_name(), HF_SHM_OPEN, NULL, &second), HF_OK);
    uint32_t participant = 99;
    CHECK_EQ(hf_shm_ring_writer(ring, &participant), 0);
    CHECK_EQ(items_push(ring, 1, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_writer(second, &participant), 1);
    CHECK_EQ(items_push(second, 1, 0, NULL), HF_E_BUSY);
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        CHECK_EQ(items_push(ring, 1, 0, NULL), HF_E_BUSY); /* the parent's handle, inherited */
        CHECK_SAY(strstr(hf_shm_detail(), pid) != NULL, "%s", hf_shm_detail());
        CHECK_EQ(hf_shm_ring_commit(ring, 0), HF_E_STALE);
        _exit(0);
    }
    harness_expect_ok(child, "second writer");
    CHECK_EQ(items_push(ring, 1, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_release(ring), HF_OK);
    CHECK_EQ(items_push(second, 2, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_total_written(ring), 4);
    CHECK_EQ(hf_shm_ring_close(second), HF_OK); /* which releases */
    CHECK_EQ(items_push(ring, 1, 0, NULL), HF_OK);
    ring_drop(ring);
}

static void test_writer_that_was_killed_is_followed(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 4, false, 1);
    hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    tally account = tally_of(reader);
    for (int round = 0; round < 5; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK_WATCHDOG(30);
            CHECK_EQ(items_push(ring, 3, 0, NULL), HF_OK);
            void *run;
            uint64_t count;
            CHECK_EQ(hf_shm_ring_reserve(ring, 1, 0, &run, &count), HF_OK);
            memset(run, 0x5a, sizeof(item));
            kill(getpid(), SIGKILL);
        }
        CHECK(waitpid(child, NULL, 0) == child);
        CHECK_EQ(tally_drain(&account, reader, 64), 3);
    }
    CHECK_EQ(account.lost, 0);
    CHECK_EQ(items_push(ring, 2, 0, NULL), HF_OK);
    CHECK_EQ(tally_drain(&account, reader, 64), 2);
    hf_shm_ring_reader_close(reader);
    ring_drop(ring);
}

/* A stopped writer is in the middle of something for as long as anybody likes. */
static void test_nobody_waits_for_a_stopped_writer(void) {
    hf_shm_ring *ring = ring_make(sizeof(item), 8, false, 2);
    hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
    tally account = tally_of(reader);
    CHECK_EQ(items_push(ring, 6, 0, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_release(ring), HF_OK);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        void *run;
        uint64_t count, position = hf_shm_ring_total_written(ring);
        CHECK_EQ(hf_shm_ring_reserve(ring, 2, 0, &run, &count), HF_OK);
        memset(run, 0x5a, 2 * sizeof(item));
        raise(SIGSTOP);
        ((item *)run)[0] = item_of(position);
        ((item *)run)[1] = item_of(position + 1);
        CHECK_EQ(hf_shm_ring_commit(ring, 2), HF_OK);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    CHECK_EQ(tally_drain(&account, reader, 4), 6); /* 0 and 1 are not yet overwritten: 6 + 2 = 8 */
    CHECK_EQ(items_push(ring, 1, 0, NULL), HF_E_BUSY);
    CHECK(strstr(hf_shm_detail(), "process") != NULL);
    item items[8];
    uint64_t got, position;
    CHECK_EQ(hf_shm_ring_latest(ring, items, 8, &got, &position), HF_OK);
    CHECK_EQ(got, 6);
    CHECK_EQ(hf_shm_sweep(shm, NULL), HF_OK);
    CHECK_EQ(hf_shm_ring_writer(ring, NULL), 1); /* it is not dead */
    CHECK_EQ(kill(child, SIGCONT), 0);
    harness_expect_ok(child, "stopped writer");
    CHECK_EQ(tally_drain(&account, reader, 4), 2);
    CHECK_EQ(account.lost, 0);
    hf_shm_ring_reader_close(reader);
    ring_drop(ring);
}

static void test_child_of_a_fork_reads_on_by_itself(void) {
    for (int reliable = 0; reliable < 2; reliable++) {
        hf_shm_ring *ring = ring_make(sizeof(item), 8, reliable, 2);
        hf_shm_ring_reader *reader = reader_make(ring, HF_SHM_RING_OLDEST, 0, false);
        CHECK_EQ(items_push(ring, 6, 0, NULL), HF_OK);
        tally account = tally_of(reader);
        item two[2];
        uint64_t got;
        CHECK_EQ(hf_shm_ring_pop_bulk(reader, two, 2, 0, &got, NULL), HF_OK);
        tally_take(&account, two, got, 0);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK_WATCHDOG(30);
            CHECK_EQ(tally_drain(&account, reader, 3), 4);
            CHECK_EQ(account.lost, 0);
            hf_shm_ring_reader_close(reader);
            _exit(0);
        }
        harness_expect_ok(child, "child");
        CHECK_EQ(tally_drain(&account, reader, 3), 4);
        CHECK_EQ(account.lost, 0);
        hf_shm_ring_reader_close(reader);
        ring_drop(ring);
    }
}

int main(void) {
    CHECK_WATCHDOG(100);
    shm = stream_segment("ring-writer", 4 << 20);
    CHECK_RUN(test_second_writer_is_refused_by_name);
    CHECK_RUN(test_writer_that_was_killed_is_followed);
    CHECK_RUN(test_nobody_waits_for_a_stopped_writer);
    CHECK_RUN(test_child_of_a_fork_reads_on_by_itself);
    CHECK_EQ(hf_shm_close(shm), HF_OK);
    return 0;
}
