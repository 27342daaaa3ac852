/* stress_watchers.c - statistics, views, checks, reclaim and reports while others allocate.
 *
 *   stress_watchers [PROFILE]
 *
 * Method      two threads churn; others ask everything that can be asked, all the time. A figure may
 *             be old, but no walk may find damage that is not there, and nothing may hang. */
#include <pthread.h>
#include <stdatomic.h>

#include "stress.h"

static hf_heap *heap;
static atomic_bool stop;
static unsigned steps;

static void *churn(void *argument) {
    check_random random = {(uintptr_t)argument};
    enum { SLOTS = 300 };
    unsigned char *blocks[SLOTS] = {NULL};
    size_t sizes[SLOTS] = {0};
    for (unsigned step = 0; step < steps; step++) {
        size_t i = check_random_below(&random, SLOTS);
        uint64_t kind = check_random_below(&random, 500);
        size_t size = check_random_below(&random, kind == 0 ? 3000000 : kind < 10 ? 90000 : 900);
        if (blocks[i] == NULL) {
            blocks[i] = hf_heap_malloc(heap, size);
        } else if (kind % 3 == 0) {
            CHECK(content_whole(blocks[i], sizes[i], i));
            blocks[i] = hf_heap_realloc(heap, blocks[i], size + 1);
            size++;
        } else {
            CHECK(content_whole(blocks[i], sizes[i], i));
            hf_heap_free(heap, blocks[i]);
            blocks[i] = NULL;
            continue;
        }
        CHECK(blocks[i] != NULL);
        sizes[i] = size;
        content_fill(blocks[i], size, i);
    }
    for (int i = 0; i < SLOTS; i++)
        hf_heap_free(heap, blocks[i]);
    return NULL;
}

static int visit(const hf_view_block *block, void *context) {
    CHECK_LE(block->size, block->class_size);
    CHECK(block->address != NULL);
    if (++*(size_t *)context % 512 == 0) hf_free(hf_malloc(100)); /* a visitor may allocate */
    return 0;
}

static void *watch(void *argument) {
    uintptr_t kind = (uintptr_t)argument;
    static _Thread_local char text[1 << 16];
    hf_class_stats classes[200];
    size_t count = 0, seen = 0;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        switch (kind) {
        case 0: {
            hf_stats stats = account_stats(heap);
            CHECK_GT(hf_stats_json(&stats, text, sizeof text), 100);
            CHECK_EQ(hf_heap_class_stats(heap, classes, 200, &count), HF_OK);
            CHECK_GT(hf_process_json(text, sizeof text), 100);
            break;
        }
        case 1: CHECK_EQ(hf_heap_view(heap, visit, &seen), HF_OK); break;
        case 2: account_whole(heap); break;
        default:
            (void)hf_heap_reclaim(heap);
            (void)hf_reclaim();
            hf_thread_flush();
        }
        usleep(500);
    }
    return NULL;
}

int main(int argc, char **argv) {
    CHECK_WATCHDOG(150);
    hf_report_handler_set(account_print_report, NULL);
    heap = stress_heap(argc, argv);
    steps = stress_scaled(150000);
    pthread_t workers[2], watchers[4];
    for (uintptr_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&watchers[i], NULL, watch, (void *)i), 0);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&workers[i], NULL, churn, (void *)(i + 1)), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(workers[i], NULL), 0);
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(watchers[i], NULL), 0);
    account_whole(heap);
    account_check(heap);
    CHECK_EQ(account_stats(heap).blocks_in_use, 0);
    CHECK_EQ(hf_report_count(), 0);
    CHECK_EQ(hf_heap_destroy(heap), HF_OK);
    return 0;
}
