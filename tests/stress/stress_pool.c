/* stress_pool.c - many threads on few blocks: nobody is forgotten, nobody gets what another holds.
 *
 *   stress_pool wait | fail | share | grow | timeout | fork
 *
 * Method      wait     more threads than blocks, everyone waits without a limit: a wake-up that is lost
 *                      hangs the program, and the watchdog ends it. Singles and bulks mix.
 *             fail     threads hoard more than there is: refusals, and nothing lost by them.
 *             share    each holds its share of the capacity at most: nobody may ever be refused.
 *             grow     blocks wander between threads that come and go, with trims and checks.
 *             timeout  waits that end in every phase of a hand-over; nothing is lost or kept.
 *             fork     children in the middle of all this use the pool and end well.
 * Contract    a block carries the number of its holder while it is out. At the end the account adds up
 *             and all blocks can be acquired. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "../c/pool_check.h"
#include "stress.h"

enum { THREADS = 8, SIZE = 40 };

static hf_pool *pool;
static _Atomic uint64_t served, refused;
static size_t most; /* blocks that one thread holds */

static void mark(void *block, uint64_t owner) {
    uint64_t *words = block;
    for (size_t i = 0; i < SIZE / 8; i++)
        words[i] = owner;
}

static void verify(const void *block, uint64_t owner) {
    const uint64_t *words = block;
    for (size_t i = 0; i < SIZE / 8; i++)
        CHECK_SAY(words[i] == owner, "block %p of %" PRIu64 " holds %" PRIu64, block, owner,
                  words[i]);
}

static void hold(check_random *random) {
    if (check_random_below(random, 4) == 0) sched_yield();
}

static void *waiter(void *argument) {
    uint64_t owner = (uintptr_t)argument;
    check_random random = {owner};
    for (unsigned step = 0; step < stress_scaled(20000); step++) {
        void *blocks[3];
        size_t count = 1 + check_random_below(&random, 20) / 18 * 2;
        CHECK_EQ(hf_pool_acquire_bulk(pool, blocks, count), HF_OK);
        for (size_t i = 0; i < count; i++)
            mark(blocks[i], owner);
        hold(&random);
        for (size_t i = 0; i < count; i++)
            verify(blocks[i], owner);
        if (count == 1)
            CHECK_EQ(hf_pool_release(pool, blocks[0]), HF_OK);
        else
            CHECK_EQ(hf_pool_release_bulk(pool, blocks, count), HF_OK);
        atomic_fetch_add(&served, count);
    }
    return NULL;
}

static void *impatient(void *argument) {
    uint64_t owner = (uintptr_t)argument;
    check_random random = {owner};
    for (unsigned step = 0; step < stress_scaled(10000); step++) {
        void *blocks[2] = {NULL, NULL};
        size_t count = 1 + check_random_below(&random, 2);
        hf_status status =
            count == 1
                ? hf_pool_acquire_within(pool, check_random_below(&random, 60000), &blocks[0])
                : hf_pool_acquire_bulk(pool, blocks, 2);
        if (status != HF_OK) {
            CHECK_EQ(status, HF_E_TIMEOUT);
            atomic_fetch_add(&refused, 1);
            continue;
        }
        for (size_t i = 0; i < count; i++)
            mark(blocks[i], owner);
        hold(&random);
        for (size_t i = 0; i < count; i++) {
            verify(blocks[i], owner);
            CHECK_EQ(hf_pool_release(pool, blocks[i]), HF_OK);
        }
        atomic_fetch_add(&served, 1);
    }
    return NULL;
}

enum { CAPACITY_FAIL = 200 };

static void *hoarder(void *argument) {
    uint64_t owner = (uintptr_t)argument;
    check_random random = {owner};
    void *held[CAPACITY_FAIL];
    size_t count = 0;
    for (unsigned step = 0; step < stress_scaled(60000); step++) {
        if (check_random_below(&random, 2) == 0 && count < most) {
            void *block = NULL;
            hf_status status = hf_pool_acquire(pool, &block);
            if (status == HF_OK) {
                mark(block, owner);
                held[count++] = block;
                atomic_fetch_add(&served, 1);
            } else {
                CHECK_EQ(status, HF_E_LIMIT);
                CHECK_EQ(most, CAPACITY_FAIL);
                atomic_fetch_add(&refused, 1);
            }
        } else if (count > 0) {
            size_t i = check_random_below(&random, count);
            verify(held[i], owner);
            CHECK_EQ(hf_pool_release(pool, held[i]), HF_OK);
            held[i] = held[--count];
        }
    }
    for (size_t i = 0; i < count; i++) {
        verify(held[i], owner);
        CHECK_EQ(hf_pool_release(pool, held[i]), HF_OK);
    }
    return NULL;
}

enum { EXCHANGE = 64 };
static void *_Atomic exchange[EXCHANGE];

static void *wanderer(void *argument) {
    check_random random = {(uintptr_t)argument};
    for (unsigned step = 0; step < stress_scaled(8000); step++) {
        void *block = NULL;
        CHECK_EQ(hf_pool_acquire(pool, &block), HF_OK);
        mark(block, (uintptr_t)block);
        /* Somebody else's block is released by us, ours by somebody else. */
        block = atomic_exchange(&exchange[check_random_below(&random, EXCHANGE)], block);
        if (block != NULL) {
            verify(block, (uintptr_t)block);
            CHECK_EQ(hf_pool_release(pool, block), HF_OK);
        }
        if (step % 1000 == 999) (void)hf_pool_trim(pool);
        if (step % 2000 == 1999) CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
        atomic_fetch_add(&served, 1);
    }
    return NULL;
}

static void run(void *(*body)(void *), unsigned generations) {
    for (unsigned g = 0; g < generations; g++) {
        pthread_t threads[THREADS];
        for (uintptr_t i = 0; i < THREADS; i++)
            CHECK_EQ(pthread_create(&threads[i], NULL, body, (void *)(g * THREADS + i + 1)), 0);
        for (int i = 0; i < THREADS; i++)
            CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
}

static void settle(size_t capacity) {
    pool_account(pool, 0);
    CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
    void **blocks = calloc(capacity + 1, sizeof *blocks);
    CHECK(blocks != NULL);
    for (size_t i = 0; i < capacity; i++)
        CHECK_EQ(hf_pool_acquire_within(pool, 0, &blocks[i]), HF_OK);
    CHECK(hf_pool_acquire_within(pool, 0, &blocks[capacity]) != HF_OK);
    pool_account(pool, capacity);
    CHECK_EQ(hf_pool_release_bulk(pool, blocks, capacity), HF_OK);
    free(blocks);
    CHECK_EQ(hf_pool_destroy(pool), HF_OK);
}

static void *forker(void *argument) {
    for (unsigned i = 0; i < 15; i++) {
        pid_t child = fork();
        CHECK_GE(child, 0);
        if (child == 0) {
            CHECK_WATCHDOG(30);
            void *blocks[64];
            size_t count = 0;
            while (count < 64 && hf_pool_acquire_within(pool, 0, &blocks[count]) == HF_OK)
                count++;
            CHECK_EQ(hf_pool_release_bulk(pool, blocks, count), HF_OK);
            CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
            (void)hf_pool_destroy_forced(pool);
            _exit(0);
        }
        int status = 0;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
    }
    return argument;
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "wait";
    CHECK_WATCHDOG(240);
    if (strcmp(mode, "wait") == 0) {
        pool = pool_bounded(SIZE, 5, HF_POOL_WAIT);
        run(waiter, 2);
        settle(5);
    } else if (strcmp(mode, "timeout") == 0) {
        hf_pool_options options;
        hf_pool_options_init(&options, SIZE);
        options.capacity = 3;
        options.on_exhausted = HF_POOL_WAIT;
        options.wait_ns = 30000; /* of bulks; singles bring their own */
        pool = pool_make(&options);
        run(impatient, 2);
        hf_pool_figures f;
        CHECK_EQ(hf_pool_figures_of(pool, &f), HF_OK);
        CHECK_EQ(f.refusals, atomic_load(&refused));
        settle(3);
    } else if (strcmp(mode, "fail") == 0) {
        most = CAPACITY_FAIL;
        pool = pool_bounded(SIZE, CAPACITY_FAIL, HF_POOL_FAIL);
        run(hoarder, 2);
        settle(CAPACITY_FAIL);
    } else if (strcmp(mode, "share") == 0) {
        most = 2;
        pool = pool_bounded(SIZE, THREADS * most, HF_POOL_FAIL);
        run(hoarder, 8);
        settle(THREADS * most);
    } else if (strcmp(mode, "grow") == 0) {
        pool = pool_bounded(SIZE, 0, HF_POOL_GROW);
        run(wanderer, 4);
        for (int i = 0; i < EXCHANGE; i++)
            if (exchange[i] != NULL) CHECK_EQ(hf_pool_release(pool, exchange[i]), HF_OK);
        pool_account(pool, 0);
        CHECK_EQ(hf_pool_check(pool, NULL), HF_OK);
        CHECK_EQ(hf_pool_destroy(pool), HF_OK);
    } else if (strcmp(mode, "fork") == 0) {
        if (CHECK_TSAN) CHECK_SKIP("the thread sanitizer allows no threads after a fork");
        pool = pool_bounded(SIZE, 64, HF_POOL_WAIT);
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, forker, NULL), 0);
        run(waiter, 2);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        settle(64);
    } else {
        CHECK_FAIL("usage: %s wait | fail | share | grow | timeout | fork", argv[0]);
    }
    printf("%s: %" PRIu64 " served, %" PRIu64 " refused\n", mode, atomic_load(&served),
           atomic_load(&refused));
    return 0;
}
