/* test_threads.c - ten thousand short threads, blocks that outlive the thread that made them, and
 * destructors of thread-specific data that allocate and free when the thread is nearly gone.
 * Method: contents are checked by another thread than the one that wrote them; memory held after
 * the churn is bounded by what one wave of threads needs, not by how many threads there were. */
#define _GNU_SOURCE
#include "preload_test.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

enum { SHORT_THREADS = 10000, AT_ONCE = 8, PER_THREAD = 24 };

struct gift {
    unsigned seed;
    size_t size;
    unsigned char *bytes;
};

static void *make_gifts(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    struct gift *gifts = calloc(PER_THREAD, sizeof *gifts);
    for (unsigned i = 0; i < PER_THREAD; i++) {
        free(malloc(64 + i));
        gifts[i].seed = seed + i;
        gifts[i].size = 1 + (seed * 7u + i * 211u) % 5000;
        gifts[i].bytes = malloc(gifts[i].size);
        fill(gifts[i].bytes, gifts[i].size, gifts[i].seed);
    }
    return gifts;
}

static void take_gifts(struct gift *gifts) {
    for (unsigned i = 0; i < PER_THREAD; i++) {
        CHECK(is_filled(gifts[i].bytes, gifts[i].size, gifts[i].seed));
        free(gifts[i].bytes);
    }
    free(gifts);
}

static void churn(unsigned threads) {
    for (unsigned done = 0; done < threads; done += AT_ONCE) {
        pthread_t wave[AT_ONCE];
        for (unsigned i = 0; i < AT_ONCE; i++)
            CHECK(pthread_create(&wave[i], NULL, make_gifts, (void *)(uintptr_t)(done + i)) == 0);
        for (unsigned i = 0; i < AT_ONCE; i++) {
            void *gifts = NULL;
            CHECK(pthread_join(wave[i], &gifts) == 0);
            take_gifts(gifts);
        }
    }
}

static void test_short_threads_leave_nothing_behind(void) {
    churn(SHORT_THREADS / 10);
    size_t before = mallinfo2().arena;
    churn(SHORT_THREADS);
    size_t after = mallinfo2().arena;
    if (after >= before + ((size_t)16 << 20))
        fprintf(stderr, "mapped %zu, then %zu\n", before, after);
    CHECK(after < before + ((size_t)16 << 20));
}

/* Keys: each round of destructors allocates, frees what the thread made, and asks for one more. */
static pthread_key_t keys[3];
static atomic_uint destructor_calls;

static void destructor(void *value) {
    unsigned *rounds = value;
    atomic_fetch_add(&destructor_calls, 1);
    void *blocks[50];
    for (unsigned i = 0; i < 50; i++)
        blocks[i] = malloc(16 + i * 37);
    for (unsigned i = 0; i < 50; i++)
        CHECK(blocks[i] != NULL);
    for (unsigned i = 0; i < 50; i++)
        free(blocks[i]);
    if (rounds[1] > 0) {
        unsigned *next = malloc(2 * sizeof *next);
        next[0] = rounds[0];
        next[1] = rounds[1] - 1;
        CHECK(pthread_setspecific(keys[next[0]], next) == 0);
    }
    free(rounds);
}

static void *leave_values(void *argument) {
    for (unsigned key = 0; key < 3; key++) {
        unsigned *value = malloc(2 * sizeof *value);
        value[0] = key;
        value[1] = 2; /* rounds more; PTHREAD_DESTRUCTOR_ITERATIONS is 4 */
        CHECK(pthread_setspecific(keys[key], value) == 0);
    }
    free(malloc(100));
    return argument;
}

static void test_key_destructors_may_allocate(void) {
    for (unsigned key = 0; key < 3; key++)
        CHECK(pthread_key_create(&keys[key], destructor) == 0);
    enum { THREADS = 200 };
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, leave_values, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    CHECK(atomic_load(&destructor_calls) == THREADS * 3 * 3);
}

/* Detached, cancelled and exiting from the middle. */
static void *exit_in_the_middle(void *argument) {
    char *block = strdup("left to the joiner");
    (void)argument;
    pthread_exit(block);
}

static void *wait_to_be_cancelled(void *argument) {
    free(malloc(1000));
    for (;;)
        pause();
    return argument;
}

static void test_other_ways_to_end(void) {
    for (unsigned i = 0; i < 200; i++) {
        pthread_t leaver, waiter;
        void *text = NULL;
        CHECK(pthread_create(&leaver, NULL, exit_in_the_middle, NULL) == 0);
        CHECK(pthread_create(&waiter, NULL, wait_to_be_cancelled, NULL) == 0);
        CHECK(pthread_join(leaver, &text) == 0);
        CHECK(strcmp(text, "left to the joiner") == 0);
        free(text);
        CHECK(pthread_cancel(waiter) == 0);
        CHECK(pthread_join(waiter, &text) == 0);
        CHECK(text == PTHREAD_CANCELED);
    }
}

int main(void) {
    test_begin(170);
    test_key_destructors_may_allocate();
    test_other_ways_to_end();
    test_short_threads_leave_nothing_behind();
    test_end();
    return 0;
}
