/* stress_heaps.c - heaps are made and destroyed by several threads, more at once than have caches.
 *
 *   stress_heaps [PROFILE]
 *
 * Method      each thread holds up to 40 heaps, uses each a little, destroys them in any order with
 *             blocks inside; some blocks are made on one thread and freed on another. At the end the
 *             process must not be larger than after the first rounds. */
#include <pthread.h>
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

static void test_destroy_of_no_heap_is_refused(void) {
    CHECK_EQ(hf_heap_destroy(hf_heap_default()), HF_E_INVALID);
    CHECK_EQ(hf_heap_destroy(NULL), HF_E_INVALID);
}

int main(int argc, char **argv) {
    CHECK_WATCHDOG(150);
    profile = stress_profile(argc, argv);
    rounds = stress_scaled(1200);
    test_destroy_of_no_heap_is_refused();
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
