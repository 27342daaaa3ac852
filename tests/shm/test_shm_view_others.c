/* test_shm_view_others - what other processes have is shown as theirs, alive, at work or dead.
 *
 * Method: a process takes something of every kind and is killed: what it left is shown with its process
 * id and as dead, until the sweep. The bytes of the whole segment are compared before and after looking,
 * and a watcher, whose mapping cannot be written to, looks at everything. Another process works without
 * end while it is looked at. */
#include <signal.h>
#include <sys/wait.h>

#include "shm/map.h"
#include "view_world.h"

static const char *const names[] = {"span", "array", "barrier", "cells",    "event",
                                    "map",  "mutex", "pool",    "queue",    "texts",
                                    "ring", "held",  "counted", "versioned"};
#define NAMES (sizeof names / sizeof *names)

/* --- who was killed --------------------------------------------------------------------------- */

static pid_t child_start(const char *tag, void (*run)(struct parts *), int *ready_out) {
    int pipes[2];
    CHECK_EQ(pipe(pipes), 0);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(60);
        struct parts parts = {0};
        close(pipes[0]);
        parts_open(&parts, help_join(harness_name(tag)));
        run(&parts);
        CHECK_EQ(write(pipes[1], "", 1), 1);
        (void)hf_shm_barrier_wait(parts.barrier, HF_FOREVER, NULL);
        _exit(0);
    }
    close(pipes[1]);
    *ready_out = pipes[0];
    return child;
}

static void child_kill(pid_t child) {
    int status = 0;
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
}

/* Has something of every kind in hand. */
static void take_everything(struct parts *parts) {
    hf_shm_handle handle;
    hf_shm_slot reading, writing;
    uint64_t values[4] = {1, 2, 3, 4}, count = 0;
    void *run = NULL;
    OK(hf_shm_queue_put(parts->queue, values, 8, 0));
    OK(hf_shm_queue_peek(parts->queue, 0, &reading));
    OK(hf_shm_queue_reserve(parts->queue, 8, 0, &writing));
    OK(hf_shm_queue_put(parts->texts, "text", 4, 0));
    OK(hf_shm_pool_acquire(parts->pool, 0, &handle));
    OK(hf_shm_ring_push_bulk(parts->ring, values, 2, 0, &count));
    OK(hf_shm_ring_reserve(parts->ring, 2, 0, &run, &count));
    hf_shm_ring_reader *reader = NULL;
    OK(hf_shm_ring_reader_open(parts->ring, NULL, &reader));
    OK(hf_shm_versioned_write(parts->versioned, values, NULL));
    OK(hf_shm_versioned_begin(parts->versioned, 0, &run));
    OK(hf_shm_semaphore_wait(parts->held, 2, 0));
    OK(hf_shm_mutex_lock(parts->mutex, 0));
    OK(hfi_map_lock(parts->map, 0, 0));
}

/* Everything it has is shown as its own. */
static void expect_everything(hf_shm *shm, pid_t pid, bool dead) {
    const struct help_items *seen = help_view(shm, "queue");
    expect_owned(help_find(seen, HF_SHM_PIECE_SLOT, 0), HF_SHM_STATE_READING, pid, dead);
    expect_owned(help_find(seen, HF_SHM_PIECE_SLOT, 1), HF_SHM_STATE_WRITING, pid, dead);
    seen = help_view(shm, "texts");
    expect_owned(help_find(seen, HF_SHM_PIECE_PRODUCER, 0), HF_SHM_STATE_HELD, pid, dead);
    expect_free(help_find(seen, HF_SHM_PIECE_SLOT, 0), HF_SHM_STATE_FULL);
    seen = help_view(shm, "pool");
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_OBJECT, HF_SHM_STATE_TAKEN), 1);
    for (size_t i = 0; i < seen->count; i++)
        if (seen->items[i].state == HF_SHM_STATE_TAKEN)
            expect_owned(&seen->items[i], HF_SHM_STATE_TAKEN, pid, dead);
    seen = help_view(shm, "ring");
    expect_owned(help_find(seen, HF_SHM_PIECE_WRITER, 0), HF_SHM_STATE_HELD, pid, dead);
    expect_owned(help_find(seen, HF_SHM_PIECE_READER, 0), HF_SHM_STATE_RELIABLE, pid, dead);
    expect_free(help_find(seen, HF_SHM_PIECE_ELEMENT, 1), HF_SHM_STATE_FULL);
    expect_owned(help_find(seen, HF_SHM_PIECE_ELEMENT, 2), HF_SHM_STATE_WRITING, pid, dead);
    seen = help_view(shm, "versioned");
    expect_owned(help_find(seen, HF_SHM_PIECE_WRITER, 0), HF_SHM_STATE_HELD, pid, dead);
    expect_free(help_find(seen, HF_SHM_PIECE_COPY, 1), HF_SHM_STATE_CURRENT);
    expect_owned(help_find(seen, HF_SHM_PIECE_COPY, 2), HF_SHM_STATE_WRITING, pid, dead);
    seen = help_view(shm, "held");
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_PERMIT, HF_SHM_STATE_HELD), 2);
    seen = help_view(shm, "mutex");
    expect_owned(help_find(seen, HF_SHM_PIECE_LOCK, 0), HF_SHM_STATE_HELD, pid, dead);
    seen = help_view(shm, "map");
    expect_owned(help_find(seen, HF_SHM_PIECE_SHARD, 0), HF_SHM_STATE_HELD, pid, dead);
    seen = help_view(shm, "barrier");
    CHECK_EQ(help_count(seen, HF_SHM_PIECE_SEAT, HF_SHM_STATE_WAITING), 1);
    for (size_t i = 0; i < seen->count; i++)
        if (seen->items[i].state == HF_SHM_STATE_WAITING)
            expect_owned(&seen->items[i], HF_SHM_STATE_WAITING, pid, dead);
}

/* Nobody has anything; what was half written says so. */
static void expect_given_back(hf_shm *shm) {
    for (size_t i = 0; i < NAMES; i++) {
        const struct help_items *seen = help_view(shm, names[i]);
        for (size_t k = 0; k < seen->count; k++)
            CHECK_SAY(seen->items[k].participant == HF_SHM_NOBODY, "%s: %s %" PRIu64, names[i],
                      hf_shm_piece_name(seen->items[k].piece), seen->items[k].index);
    }
    const struct help_items *seen = help_view(shm, "queue");
    const hf_shm_view_item *returned = help_find(seen, HF_SHM_PIECE_SLOT, 0);
    expect_free(returned, HF_SHM_STATE_FULL);
    CHECK_EQ(returned->value, 1); /* times it was returned */
    expect_free(help_find(seen, HF_SHM_PIECE_SLOT, 1), HF_SHM_STATE_SKIPPED);
    seen = help_view(shm, "mutex");
    expect_free(help_find(seen, HF_SHM_PIECE_LOCK, 0), HF_SHM_STATE_IN_DOUBT);
    seen = help_view(shm, "ring");
    expect_free(help_find(seen, HF_SHM_PIECE_ELEMENT, 2), HF_SHM_STATE_WRITING);
    seen = help_view(shm, "versioned");
    expect_free(help_find(seen, HF_SHM_PIECE_COPY, 2), HF_SHM_STATE_WRITING);
    CHECK_EQ(help_count(help_view(shm, "pool"), HF_SHM_PIECE_OBJECT, HF_SHM_STATE_FREE), 5);
    CHECK_EQ(help_count(help_view(shm, "held"), HF_SHM_PIECE_PERMIT, HF_SHM_STATE_FREE), 3);
    CHECK_EQ(help_count(help_view(shm, "barrier"), HF_SHM_PIECE_SEAT, HF_SHM_STATE_FREE), 3);
}

static char *segment_copy(hf_shm *shm) {
    uint64_t size = help_info(shm).size;
    char *copy = malloc(size);
    CHECK(copy != NULL);
    CHECK_EQ(pread(hf_shm_file(shm), copy, size, 0), size);
    return copy;
}

static void test_what_a_killed_process_left_is_shown_until_it_is_given_back(void) {
    static const char tag[] = "view-killed";
    struct parts parts = parts_make(tag);
    hf_shm *watcher = watcher_open(tag);
    int ready = -1;
    char byte;
    pid_t child = child_start(tag, take_everything, &ready);
    CHECK_EQ(read(ready, &byte, 1), 1);
    while (hf_shm_barrier_waiting(parts.barrier) == 0)
        usleep(1000);
    expect_everything(parts.shm, child, false);
    child_kill(child);
    size_t size = help_info(parts.shm).size, recovered = 0;
    char *before = segment_copy(parts.shm);
    expect_everything(parts.shm, child, true); /* looking recovers nobody */
    expect_everything(watcher, child, true);
    for (size_t i = 0; i < NAMES; i++)
        (void)help_view(parts.shm, names[i]);
    char *after = segment_copy(parts.shm);
    CHECK(memcmp(before, after, size) == 0); /* and changes no byte of the segment */
    free(before);
    free(after);
    OK(hf_shm_sweep(parts.shm, &recovered));
    CHECK_EQ(recovered, 2); /* what it inherited by the fork, and what it opened */
    expect_given_back(parts.shm);
    expect_given_back(watcher);
    close(ready);
    OK(hf_shm_close(watcher));
    parts_close(&parts);
}

/* --- while others work ------------------------------------------------------------------------ */

/* Goes on until it is killed. */
static void work_without_end(struct parts *parts) {
    uint64_t values[4] = {0}, count = 0;
    hf_shm_handle handle;
    for (uint64_t turn = 0;; turn++) {
        uint64_t key = turn % 300;
        (void)hf_shm_queue_put(parts->queue, &turn, 8, 0);
        if (turn % 3 != 0) (void)hf_shm_queue_get(parts->queue, values, 8, 0, NULL);
        if (hf_shm_pool_acquire(parts->pool, 0, &handle) == HF_OK)
            (void)hf_shm_pool_release(parts->pool, handle);
        (void)hf_shm_map_put(parts->map, &key, 8, &turn, 8, NULL);
        if (turn % 2 != 0) (void)hf_shm_map_erase(parts->map, &key, 8);
        (void)hf_shm_ring_push_bulk(parts->ring, values, 1 + turn % 3, 0, &count);
        (void)hf_shm_versioned_write(parts->versioned, values, NULL);
        (void)hf_shm_semaphore_wait(parts->held, 1, 0);
        (void)hf_shm_semaphore_post(parts->held, 1);
        if (hf_shm_mutex_lock(parts->mutex, 0) == HF_OK) (void)hf_shm_mutex_unlock(parts->mutex);
    }
}

/* Every slot once, each in a state that it can have, and what has an owner is the worker's. */
static void expect_plausible(const struct help_items *seen, uint64_t count, pid_t worker) {
    uint64_t slots = 0;
    for (size_t i = 0; i < seen->count; i++) {
        const hf_shm_view_item *item = &seen->items[i];
        slots += item->piece != HF_SHM_PIECE_WRITER;
        CHECK_NE(item->state, HF_SHM_STATE_DAMAGED);
        if (item->participant == HF_SHM_NOBODY) continue;
        CHECK_EQ(item->pid, worker);
        CHECK_EQ(item->dead, 0);
    }
    CHECK_EQ(slots, count);
}

static void test_view_while_others_work(void) {
    static const char tag[] = "view-work";
    struct parts parts = parts_make(tag);
    int ready = -1;
    pid_t worker = child_start(tag, work_without_end, &ready);
    while (hf_shm_versioned_version(parts.versioned) == 0)
        usleep(1000);
    for (unsigned round = 0; round < (CHECK_SANITIZED ? 200 : 5000); round++) {
        expect_plausible(help_view(parts.shm, "queue"), 4, worker);
        expect_plausible(help_view(parts.shm, "pool"), 5, worker);
        expect_plausible(help_view(parts.shm, "held"), 3, worker);
        expect_plausible(help_view(parts.shm, "mutex"), 1, worker);
        expect_plausible(help_view(parts.shm, "map"), parts.map->g.shards + parts.map->g.records,
                         worker);
        const struct help_items *seen = help_view(parts.shm, "ring");
        expect_plausible(seen, 6, worker);
        for (size_t i = 1; i < seen->count; i++) /* positions grow, whatever the writer does */
            if (seen->items[i - 1].piece == HF_SHM_PIECE_ELEMENT)
                CHECK_GT(seen->items[i].number, seen->items[i - 1].number);
        seen = help_view(parts.shm, "versioned");
        expect_plausible(seen, 3, worker);
        for (size_t i = 0; i < seen->count; i++)
            if (seen->items[i].piece == HF_SHM_PIECE_COPY && seen->items[i].number != 0)
                CHECK_EQ(seen->items[i].number % 3, seen->items[i].index);
    }
    child_kill(worker);
    close(ready);
    parts_close(&parts);
}

int main(void) {
    CHECK_WATCHDOG(120);
    CHECK_RUN(test_what_a_killed_process_left_is_shown_until_it_is_given_back);
    CHECK_RUN(test_view_while_others_work);
    return 0;
}
