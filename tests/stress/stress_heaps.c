/* stress_heaps.c - heaps are made and destroyed by several threads, more at once than have caches.
 *
 *   stress_heaps [PROFILE]
 *
 * Method      each thread holds up to 40 heaps, uses each a little, destroys them in any order with
 *             blocks inside; some blocks are made on one thread and freed on another. At the end the
 *             process must not be larger than after the first rounds. Before that heaps die while
 *             the threads that used them end. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "stress.h"

enum { THREADS = 3, HELD = 40 };

static hf_profile profile;
static unsigned rounds;

static void *storm(void *argument) {
    check_random random = {(uintptr_t)argument};
    hf_heap *heaps[HELD] = {NULL};
    for (unsigned round = 0; round < rounds; round++) {
        size_t i = check_random_below(&random, HELD);
        if (heaps[i] == NULL) {
            char name[40];
            snprintf(name, sizeof name, "storm %u", round);
            heaps[i] = account_heap(profile);
            CHECK(hf_heap_id(heaps[i]) != 0);
        } else if (check_random_below(&random, 3) == 0) {
            CHECK_EQ(hf_heap_destroy(heaps[i]), HF_OK);
            heaps[i] = NULL;
            continue;
        }
        unsigned char *blocks[20];
        size_t sizes[20];
        for (int b = 0; b < 20; b++) {
            sizes[b] = 1 + check_random_below(&random, b == 0 ? 200000 : 500);
            blocks[b] = hf_heap_malloc(heaps[i], sizes[b]);
            CHECK(blocks[b] != NULL);
            CHECK_PTR(hf_heap_of(blocks[b]), heaps[i]);
            content_fill(blocks[b], sizes[b], round + (unsigned)b);
        }
        for (int b = 0; b < 20; b++) {
            CHECK(content_whole(blocks[b], sizes[b], round + (unsigned)b));
            if (b % 4 != 0) hf_free(blocks[b]);
        }
        if (round % 64 == 0) account_check(heaps[i]);
    }
    for (int i = 0; i < HELD; i++)
        if (heaps[i] != NULL) CHECK_EQ(hf_heap_destroy(heaps[i]), HF_OK);
    return NULL;
}

static void storm_all(void) {
    pthread_t ids[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&ids[i], NULL, storm, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
}

/* Threads that are done with a heap end, or run out of another one, while the heap is destroyed: both
 * go through the caches that the thread still has of it. */
enum { USERS = 3 };
static _Atomic unsigned users_done;
static hf_heap *shared;

static void *use_and_leave(void *argument) {
    hf_heap *full = account_heap(profile);
    CHECK_EQ(hf_heap_limit(full, 1, 0, NULL, NULL), HF_OK);
    for (int i = 0; i < 64; i++)
        hf_heap_free(shared, hf_heap_malloc(shared, 16 + 16 * (size_t)i));
    atomic_fetch_add(&users_done, 1);
    /* Fails, and gives back all that the thread holds before it does. */
    for (int i = 0; argument != NULL && i < 3; i++)
        CHECK(hf_heap_malloc(full, 100) == NULL);
    CHECK_EQ(hf_heap_destroy(full), HF_OK);
    return NULL;
}

static void test_heap_destroyed_while_its_users_end(void) {
    unsigned count = stress_scaled(600);
    for (unsigned round = 0; round < count; round++) {
        pthread_t ids[USERS];
        shared = account_heap(profile);
        atomic_store(&users_done, 0);
        for (int i = 0; i < USERS; i++)
            CHECK_EQ(pthread_create(&ids[i], NULL, use_and_leave, i % 2 == 0 ? &ids : NULL), 0);
        while (atomic_load(&users_done) != USERS)
            sched_yield();
        CHECK_EQ(hf_heap_destroy(shared), HF_OK);
        for (int i = 0; i < USERS; i++)
            CHECK_EQ(pthread_join(ids[i], NULL), 0);
    }
}

static void test_destroy_of_no_heap_is_refused(void) {
    CHECK_EQ(hf_heap_destroy(hf_heap_default()), HF_E_INVALID);
    CHECK_EQ(hf_heap_destroy(NULL), HF_E_INVALID);
}

int main(int argc, char **argv) {
    CHECK_WATCHDOG(150);
    profile = stress_profile(argc, argv);
    rounds = stress_scaled(1200);
    test_destroy_of_no_heap_is_refused();
    test_heap_destroyed_while_its_users_end();
    storm_all();
    (void)hf_reclaim();
    size_t first = stress_resident();
    for (int i = 0; i < 3; i++)
        storm_all();
    (void)hf_reclaim();
    size_t last = stress_resident();
    printf("resident after one storm %zu KiB, after four %zu KiB\n", first / 1024, last / 1024);
    if (!CHECK_SANITIZED) CHECK_LE(last, first * 2 + ((size_t)32 << 20));
    CHECK_EQ(hf_report_count(), 0);
    return 0;
}
