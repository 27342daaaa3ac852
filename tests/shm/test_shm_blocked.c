/* test_shm_blocked - who waits for ever goes on when the one it waits for is killed, and nobody helps.
 *
 * Method: a victim takes what the waiter needs and rests. The waiter calls with HF_FOREVER and has
 * looked in vain for much longer than any spin or patience before the victim is killed. Nobody else
 * touches the segment, and the victim stays a zombie until the waiter is through. Storms of kills do
 * not show this: there somebody always comes along who cleans up. */
#include <signal.h>
#include <sys/wait.h>

#include <holdfast/shm_barrier.h>
#include <holdfast/shm_map.h>
#include <holdfast/shm_mutex.h>
#include <holdfast/shm_pool.h>
#include <holdfast/shm_queue.h>
#include <holdfast/shm_ring.h>
#include <holdfast/shm_semaphore.h>

#include "shm_help.h"

enum { IN_VAIN_US = 300000 };

static const char *name;

struct blocked {
    void (*take)(hf_shm *shm); /* the victim: takes it, or says `ready` and waits itself */
    void (*wait)(hf_shm *shm); /* the waiter: ends when it has it                        */
};
static _Atomic uint32_t *ready;
static hf_shm_semaphore *third; /* what the test's process has a permit of, if anything */

static void say_ready(void) {
    atomic_fetch_add(ready, 1);
}

static pid_t actor(void (*body)(hf_shm *shm), bool rests) {
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_WATCHDOG(60);
        hf_shm *shm = help_join(name);
        if (!rests) say_ready();
        body(shm);
        if (rests) say_ready();
        while (rests)
            pause();
        _exit(0);
    }
    return child;
}

static void run(void (*setup)(hf_shm *shm), const struct blocked *b, bool victim_waits) {
    hf_shm *shm = help_make(name, 1 << 22);
    if (setup != NULL) setup(shm);
    *ready = 0;
    pid_t victim = actor(b->take, !victim_waits);
    while (*ready < 1)
        usleep(1000);
    pid_t waiter = actor(b->wait, false);
    while (*ready < 2)
        usleep(1000);
    usleep(IN_VAIN_US);
    int status = 0;
    CHECK_SAY(waitpid(waiter, &status, WNOHANG) == 0, "it did not wait: %d", status);
    CHECK_EQ(kill(victim, SIGKILL), 0);
    harness_expect_ok(waiter, "the one who waited");
    CHECK_EQ(waitpid(victim, &status, 0), victim);
    hf_shm_semaphore_close(third);
    third = NULL;
    OK(hf_shm_close(shm));
}

/* --- queue ------------------------------------------------------------------------------------ */

static hf_shm_queue *queue_open(hf_shm *shm, uint32_t redeliver) {
    hf_shm_queue_options options;
    hf_shm_queue *queue = NULL;
    hf_shm_queue_options_init(&options, sizeof(uint64_t), 2);
    options.redeliver = redeliver;
    OK(hf_shm_queue_open(shm, "queue", HF_SHM_OPEN_OR_CREATE, &options, &queue));
    return queue;
}

static void queue_fill(hf_shm *shm) {
    hf_shm_queue *queue = queue_open(shm, 0);
    uint64_t capacity = hf_shm_queue_capacity(queue);
    for (uint64_t i = 0; i < capacity; i++)
        OK(hf_shm_queue_put(queue, &i, sizeof i, 0));
    OK(hf_shm_queue_close(queue));
}

static void queue_hold_oldest(hf_shm *shm) {
    hf_shm_slot slot;
    OK(hf_shm_queue_peek(queue_open(shm, 0), 0, &slot));
}

static void queue_put_waits(hf_shm *shm) {
    uint64_t item = 7;
    OK(hf_shm_queue_put(queue_open(shm, 0), &item, sizeof item, HF_FOREVER));
}

static void queue_put_bulk_waits(hf_shm *shm) {
    uint64_t item = 7, done = 0;
    OK(hf_shm_queue_put_bulk(queue_open(shm, 0), &item, NULL, 1, HF_FOREVER, &done));
    CHECK_EQ(done, 1);
}

static void queue_reserve_waits(hf_shm *shm) {
    hf_shm_slot slot;
    OK(hf_shm_queue_reserve(queue_open(shm, 0), sizeof(uint64_t), HF_FOREVER, &slot));
}

/* The victim reserves the oldest place, and an item lies behind it. */
static void queue_reserve_before(hf_shm *shm) {
    hf_shm_queue *queue = queue_open(shm, 0);
    uint64_t item = 5;
    hf_shm_slot slot;
    OK(hf_shm_queue_reserve(queue, sizeof item, 0, &slot));
    OK(hf_shm_queue_put(queue, &item, sizeof item, 0));
}

static void queue_get_waits(hf_shm *shm) {
    uint64_t item = 0, size;
    OK(hf_shm_queue_get(queue_open(shm, 0), &item, sizeof item, HF_FOREVER, &size));
    CHECK_EQ(item, 5);
}

static void queue_peek_waits(hf_shm *shm) {
    hf_shm_slot slot;
    OK(hf_shm_queue_peek(queue_open(shm, 0), HF_FOREVER, &slot));
    CHECK_EQ(*(const uint64_t *)slot.data, 5);
}

/* The victim has the only item in hand; it is delivered again. */
static void queue_one_again(hf_shm *shm) {
    uint64_t item = 5;
    hf_shm_queue *queue = queue_open(shm, 1);
    OK(hf_shm_queue_put(queue, &item, sizeof item, 0));
    OK(hf_shm_queue_close(queue));
}

static void queue_hold_again(hf_shm *shm) {
    hf_shm_slot slot;
    OK(hf_shm_queue_peek(queue_open(shm, 1), 0, &slot));
}

static void queue_get_again_waits(hf_shm *shm) {
    uint64_t item = 0, size;
    OK(hf_shm_queue_get(queue_open(shm, 1), &item, sizeof item, HF_FOREVER, &size));
    CHECK_EQ(item, 5);
}

static void test_queue(void) {
    run(queue_fill, &(struct blocked){queue_hold_oldest, queue_put_waits}, false);
    run(queue_fill, &(struct blocked){queue_hold_oldest, queue_put_bulk_waits}, false);
    run(queue_fill, &(struct blocked){queue_hold_oldest, queue_reserve_waits}, false);
    run(NULL, &(struct blocked){queue_reserve_before, queue_get_waits}, false);
    run(NULL, &(struct blocked){queue_reserve_before, queue_peek_waits}, false);
    run(queue_one_again, &(struct blocked){queue_hold_again, queue_get_again_waits}, false);
}

/* --- ring ------------------------------------------------------------------------------------- */

static hf_shm_ring *ring_open(hf_shm *shm) {
    hf_shm_ring_options options;
    hf_shm_ring *ring = NULL;
    hf_shm_ring_options_init(&options, sizeof(uint64_t), 8);
    options.reliable = 1;
    options.readers_max = 2;
    OK(hf_shm_ring_open(shm, "ring", HF_SHM_OPEN_OR_CREATE, &options, &ring));
    return ring;
}

static void ring_make(hf_shm *shm) {
    OK(hf_shm_ring_close(ring_open(shm)));
}

static void ring_read_nothing(hf_shm *shm) {
    hf_shm_ring_reader *reader = NULL;
    OK(hf_shm_ring_reader_open(ring_open(shm), NULL, &reader));
}

static void ring_push_waits(hf_shm *shm) {
    hf_shm_ring *ring = ring_open(shm);
    for (uint64_t i = 0; i < 100; i++)
        OK(hf_shm_ring_push(ring, &i, HF_FOREVER));
}

static void ring_push_bulk_waits(hf_shm *shm) {
    uint64_t items[100] = {0}, pushed = 0;
    OK(hf_shm_ring_push_bulk(ring_open(shm), items, 100, HF_FOREVER, &pushed));
    CHECK_EQ(pushed, 100);
}

static void ring_reserve_waits(hf_shm *shm) {
    hf_shm_ring *ring = ring_open(shm);
    void *place;
    uint64_t count = 0, items[8] = {0};
    OK(hf_shm_ring_push_bulk(ring, items, 8, HF_FOREVER, NULL));
    OK(hf_shm_ring_reserve(ring, 8, HF_FOREVER, &place, &count));
    CHECK(count > 0);
}

static void test_ring(void) {
    run(ring_make, &(struct blocked){ring_read_nothing, ring_push_waits}, false);
    run(ring_make, &(struct blocked){ring_read_nothing, ring_push_bulk_waits}, false);
    run(ring_make, &(struct blocked){ring_read_nothing, ring_reserve_waits}, false);
}

/* --- pool, semaphore, mutex, barrier ---------------------------------------------------------- */

static hf_shm_pool *pool_open(hf_shm *shm) {
    hf_shm_pool_options options;
    hf_shm_pool *pool = NULL;
    hf_shm_pool_options_init(&options, 70, 64);
    OK(hf_shm_pool_open(shm, "pool", HF_SHM_OPEN_OR_CREATE, &options, &pool));
    return pool;
}

static void pool_take_all(hf_shm *shm) {
    hf_shm_handle handles[70];
    size_t got = 0;
    OK(hf_shm_pool_acquire_bulk(pool_open(shm), 0, handles, 70, &got));
    CHECK_EQ(got, 70);
}

static void pool_acquire_waits(hf_shm *shm) {
    hf_shm_handle handle;
    OK(hf_shm_pool_acquire(pool_open(shm), HF_FOREVER, &handle));
}

static void pool_acquire_bulk_waits(hf_shm *shm) {
    hf_shm_handle handles[4];
    size_t got = 0;
    OK(hf_shm_pool_acquire_bulk(pool_open(shm), HF_FOREVER, handles, 4, &got));
}

static void test_pool(void) {
    run(NULL, &(struct blocked){pool_take_all, pool_acquire_waits}, false);
    run(NULL, &(struct blocked){pool_take_all, pool_acquire_bulk_waits}, false);
}

static hf_shm_semaphore *semaphore_open(hf_shm *shm) {
    hf_shm_semaphore_options options;
    hf_shm_semaphore *semaphore = NULL;
    hf_shm_semaphore_options_init(&options, 3);
    OK(hf_shm_semaphore_open(shm, "semaphore", HF_SHM_OPEN_OR_CREATE, &options, &semaphore));
    return semaphore;
}

static void semaphore_take_all(hf_shm *shm) {
    OK(hf_shm_semaphore_wait(semaphore_open(shm), 3, 0));
}
static void semaphore_take_two(hf_shm *shm) {
    OK(hf_shm_semaphore_wait(semaphore_open(shm), 2, 0));
}
static void semaphore_wait_one(hf_shm *shm) {
    OK(hf_shm_semaphore_wait(semaphore_open(shm), 1, HF_FOREVER));
}
static void semaphore_wait_all(hf_shm *shm) {
    OK(hf_shm_semaphore_wait(semaphore_open(shm), 3, HF_FOREVER));
}
/* Collects two of three while a third party has one, and is in the way of others who collect. */
static void semaphore_collects(hf_shm *shm) {
    say_ready();
    OK(hf_shm_semaphore_wait(semaphore_open(shm), 3, HF_FOREVER));
}
static void semaphore_one_out(hf_shm *shm) {
    third = semaphore_open(shm);
    OK(hf_shm_semaphore_wait(third, 1, 0));
}
static void semaphore_wait_two(hf_shm *shm) {
    OK(hf_shm_semaphore_wait(semaphore_open(shm), 2, HF_FOREVER));
}

static void test_semaphore(void) {
    run(NULL, &(struct blocked){semaphore_take_all, semaphore_wait_one}, false);
    run(NULL, &(struct blocked){semaphore_take_two, semaphore_wait_all}, false);
    run(semaphore_one_out, &(struct blocked){semaphore_collects, semaphore_wait_two}, true);
}

static hf_shm_mutex *mutex_open(hf_shm *shm) {
    hf_shm_mutex *mutex = NULL;
    OK(hf_shm_mutex_open(shm, "mutex", HF_SHM_OPEN_OR_CREATE, &mutex));
    return mutex;
}
static void mutex_take(hf_shm *shm) {
    OK(hf_shm_mutex_lock(mutex_open(shm), 0));
}
static void mutex_waits(hf_shm *shm) {
    CHECK_EQ(hf_shm_mutex_lock(mutex_open(shm), HF_FOREVER), HF_E_OWNER_DIED);
}

static void test_mutex(void) {
    run(NULL, &(struct blocked){mutex_take, mutex_waits}, false);
}

static hf_shm_barrier *barrier_open(hf_shm *shm) {
    hf_shm_barrier_options options;
    hf_shm_barrier *barrier = NULL;
    hf_shm_barrier_options_init(&options, 3);
    OK(hf_shm_barrier_open(shm, "barrier", HF_SHM_OPEN_OR_CREATE, &options, &barrier));
    return barrier;
}
static void barrier_comes(hf_shm *shm) {
    say_ready();
    (void)hf_shm_barrier_wait(barrier_open(shm), HF_FOREVER, NULL);
}
static void barrier_waits(hf_shm *shm) {
    CHECK_EQ(hf_shm_barrier_wait(barrier_open(shm), HF_FOREVER, NULL), HF_E_OWNER_DIED);
}

static void test_barrier(void) {
    run(NULL, &(struct blocked){barrier_comes, barrier_waits}, true);
}

/* --- locks that are held for moments only ----------------------------------------------------- */

static hf_shm_map *map_open(hf_shm *shm) {
    hf_shm_map_options options;
    hf_shm_map *map = NULL;
    hf_shm_map_options_init(&options, sizeof(uint64_t), 1024, 64);
    OK(hf_shm_map_open(shm, "map", HF_SHM_OPEN_OR_CREATE, &options, &map));
    return map;
}

static void map_puts(hf_shm *shm) {
    static char value[1024];
    hf_shm_map *map = map_open(shm);
    say_ready();
    for (uint64_t key = 0;; key = (key + 1) % 8)
        OK(hf_shm_map_put(map, &key, sizeof key, value, sizeof value, NULL));
}

static void map_puts_some(hf_shm *shm) {
    static char value[1024];
    hf_shm_map *map = map_open(shm);
    for (uint64_t key = 0; key < 8; key++)
        OK(hf_shm_map_put(map, &key, sizeof key, value, sizeof value, NULL));
}

static void table_changes(hf_shm *shm) {
    (void)hf_shm_erase(shm, "victim"); /* of the round before */
    say_ready();
    for (;;) {
        hf_shm_span span;
        OK(hf_shm_add(shm, "victim", 64, &span));
        OK(hf_shm_erase(shm, "victim"));
    }
}

static void table_changes_once(hf_shm *shm) {
    hf_shm_span span;
    OK(hf_shm_add(shm, "waiter", 64, &span));
    OK(hf_shm_erase(shm, "waiter"));
}

/* The victim is stopped wherever it is, mostly inside; some rounds it has what the waiter needs. */
static void rounds(void (*victim_body)(hf_shm *shm), void (*waiter_body)(hf_shm *shm)) {
    check_random random = {harness_seed()};
    hf_shm *shm = help_make(name, 1 << 22);
    unsigned blocked = 0;
    for (int round = 0; round < 24; round++) {
        *ready = 0;
        pid_t victim = actor(victim_body, true);
        while (*ready < 1)
            usleep(100);
        usleep((useconds_t)(500 + check_random_below(&random, 3000)));
        int status = 0;
        CHECK_EQ(kill(victim, SIGSTOP), 0);
        CHECK_EQ(waitpid(victim, &status, WUNTRACED), victim);
        pid_t waiter = actor(waiter_body, false);
        usleep(60000);
        bool waits = waitpid(waiter, &status, WNOHANG) == 0;
        CHECK_EQ(kill(victim, SIGKILL), 0);
        if (waits)
            harness_expect_ok(waiter, "the one who waited");
        else
            CHECK_EQ(status, 0);
        blocked += waits;
        CHECK_EQ(waitpid(victim, &status, 0), victim);
    }
    printf("    %u of 24 had to wait\n", blocked);
    OK(hf_shm_close(shm));
}

static void test_map(void) {
    rounds(map_puts, map_puts_some);
}
static void test_table(void) {
    rounds(table_changes, table_changes_once);
}

int main(void) {
    CHECK_WATCHDOG(120);
    name = harness_name("blocked");
    ready = harness_shared(sizeof *ready);
    CHECK_RUN(test_queue);
    CHECK_RUN(test_ring);
    CHECK_RUN(test_pool);
    CHECK_RUN(test_semaphore);
    CHECK_RUN(test_mutex);
    CHECK_RUN(test_barrier);
    CHECK_RUN(test_map);
    CHECK_RUN(test_table);
    return 0;
}
