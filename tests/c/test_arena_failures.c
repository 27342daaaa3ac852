/* test_arena_failures.c - the system refuses memory once, at every place where an arena asks for it.
 * Method      one workload of creation, growth, debug records, chunks, reset and release runs with the Nth call refused,
 *             N = 1, 2, ... until no call is left. An answer may be NULL with ENOMEM or HF_E_NO_MEMORY;
 *             what was made before stays whole, the account adds up, and the same call works afterwards.
 *             Threads that are refused by the limit of the process see no chunk half grown. */
#include <errno.h>
#include <os/os.h>
#include <pthread.h>

#include "arena_account.h"
#include "content.h"

enum { BLOCKS = 60 };

static void workload(const hf_arena_options *options) {
    hf_arena *arena = NULL;
    hf_status made = hf_arena_create(options, &arena);
    if (made != HF_OK) {
        CHECK_EQ(made, HF_E_NO_MEMORY);
        CHECK(arena == NULL);
        made = hf_arena_create(options, &arena);
        /* The one refusal is used up. */
        CHECK_EQ(made, HF_OK);
    }
    for (int cycle = 0; cycle < 3; cycle++) {
        char *blocks[BLOCKS] = {NULL};
        size_t sizes[BLOCKS] = {0};
        for (size_t i = 0; i < BLOCKS; i++) {
            sizes[i] = i % 10 == 9 ? 400000 : 100 + i * 331;
            errno = 0;
            blocks[i] = hf_arena_alloc(arena, sizes[i]);
            if (blocks[i] == NULL) {
                CHECK_EQ(errno, ENOMEM);
                blocks[i] = hf_arena_alloc(arena, sizes[i]);
            }
            CHECK(blocks[i] != NULL);
            content_fill(blocks[i], sizes[i], i);
        }
        for (size_t i = 0; i < BLOCKS; i++)
            CHECK(content_whole(blocks[i], sizes[i], i));
        arena_account(arena);
        arena_whole(arena);
        CHECK_EQ(cycle == 1 ? hf_arena_release(arena) : hf_arena_reset(arena), HF_OK);
    }
    arena_close(arena);
}

static unsigned refuse_each(const hf_arena_options *options) {
    unsigned nth = 1;
    for (; nth < 500; nth++) {
        uint64_t before = hfi_os_map_failures();
        hfi_os_fail_after(nth);
        workload(options);
        bool reached = hfi_os_map_failures() != before;
        hfi_os_fail_after(0);
        if (!reached) break;
    }
    return nth - 1;
}

static void test_every_refusal_is_survived(void) {
    for (int policy = 0; policy < 3; policy++)
        for (int shared = 0; shared < 2; shared++) {
            hf_arena_options options;
            hf_arena_options_init(&options, (hf_arena_policy)policy);
            options.reserve = 512 << 10;
            options.thread_safe = (uint32_t)shared;
            unsigned refused = refuse_each(&options);
            CHECK_GT(refused, 5);
            CHECK_LT(refused, 499);
        }
}

/* What the thread sanitizer sees here is the test: chunks grow while others are refused. */
static void *allocate_past_the_limit(void *argument) {
    hf_arena *arena = argument;
    size_t refused = 0;
    for (size_t i = 0; i < 4000; i++) {
        size_t size = i % 2 != 0 ? 1 << 20 : 3000;
        char *block = hf_arena_alloc(arena, size);
        if (block != NULL)
            block[size - 1] = 1;
        else
            refused++;
    }
    CHECK_GT(refused, 0);
    return NULL;
}

static void test_threads_are_refused_while_others_grow_the_arena(void) {
    enum { THREADS = 4 };
    hf_heap *heap = hf_heap_default();
    hf_stats stats = account_stats(heap);
    hf_arena_options options = arena_options(HF_ARENA_DEFAULT);
    options.thread_safe = 1;
    hf_arena *arena = arena_open(&options);
    pthread_t threads[THREADS];
    size_t asked = 0;
    CHECK_EQ(hf_heap_limit(heap, stats.bytes_mapped + (24 << 20), 0, NULL, NULL), HF_OK);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, allocate_past_the_limit, arena), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    hf_arena_last_refusal(arena, &asked, NULL);
    CHECK(asked == 3000 || asked == 1 << 20);
    CHECK_EQ(hf_heap_limit(heap, 0, 0, NULL, NULL), HF_OK);
    arena_close(arena);
}

int main(void) {
    CHECK_WATCHDOG(60);
    /* The library has started: what is refused is the arena's. */
    arena_close(arena_open(NULL));
    CHECK_RUN(test_every_refusal_is_survived);
    CHECK_RUN(test_threads_are_refused_while_others_grow_the_arena);
    return 0;
}
