/* stress_arena.c - arenas under many hands.
 *
 *   stress_arena shared | safety | watched
 *
 * Method      shared, safety: threads fill one thread-safe arena, mark every block with its owner, and meet; all
 *             blocks must be whole and apart; then one of them resets it, and so on.
 *             watched: each thread has a plain arena of its own and uses it inline, while others read all figures,
 *             force the decay, and borrow. What an arena holds must never change under its owner.
 * Contract    nothing overlaps, the account adds up, the thread sanitizer finds nothing. */
#include <holdfast/arena.h>
#include <holdfast/heap.h>
#include <holdfast/owner.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../c/arena_account.h"
#include "stress.h"

enum { THREADS = 4, BLOCKS = 3000, OWN = 2000 };

static hf_arena *arena;
static pthread_barrier_t barrier;
static char *blocks[THREADS][BLOCKS];
static unsigned rounds;

static size_t size_of(size_t thread, size_t i) {
    return i % 200 == 0 ? 30000 + thread * 100 : 1 + (i * 37 + thread * 11) % 300;
}

static void *fill(void *argument) {
    size_t me = (uintptr_t)argument;
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            size_t size = size_of(me, i);
            char *block =
                i % 7 == 0 ? hf_arena_alloc_aligned(arena, size, 256) : hf_arena_alloc(arena, size);
            CHECK(block != NULL);
            CHECK_EQ((uintptr_t)block % (i % 7 == 0 ? 256 : 16), 0);
            blocks[me][i] = block;
            content_fill(block, size, me * 1000003 + i);
        }
        for (size_t i = 0; i < BLOCKS; i++)
            CHECK(content_whole(blocks[me][i], size_of(me, i), me * 1000003 + i));
        if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
            hf_arena_figures f = arena_figures(arena);
            CHECK_EQ(f.blocks, THREADS * BLOCKS);
            arena_account(arena);
            arena_whole(arena);
            CHECK_EQ(round % 5 == 4 ? hf_arena_release(arena) : hf_arena_reset(arena), HF_OK);
        }
        (void)pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void run_shared(hf_arena_policy policy) {
    hf_arena_options options;
    pthread_t ids[THREADS];
    hf_arena_options_init(&options, policy);
    options.thread_safe = options.statistics = 1;
    options.reserve = 1 << 20; /* many chunks: the list grows under everybody's feet */
    arena = arena_open(&options);
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&ids[i], NULL, fill, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(ids[i], NULL), 0);
    arena_close(arena);
}

/* --- watched ----------------------------------------------------------------------------------- */

static _Atomic int stop;
static _Atomic(hf_arena *) lent[THREADS];

static void *own(void *argument) {
    size_t me = (uintptr_t)argument;
    static char *mine[THREADS][OWN];
    hf_arena_options options;
    hf_arena_options_init(&options, HF_ARENA_DEFAULT);
    options.reserve = 4 << 20;
    options.decay_ms = 1;
    hf_arena *a = arena_open(&options);
    for (unsigned round = 0; round < rounds; round++) {
        /* Others may borrow and give back only while it is lent. */
        atomic_store(&lent[me], a);
        hf_mark mark;
        for (size_t i = 0; i < OWN; i++) {
            if (i == OWN / 2) CHECK_EQ(hf_arena_mark(a, &mark), HF_OK);
            mine[me][i] = hf_arena_alloc(a, size_of(me, i) * (round % 9 == 0 ? 20 : 1));
            CHECK(mine[me][i] != NULL);
            content_fill(mine[me][i], size_of(me, i), i);
        }
        for (size_t i = 0; i < OWN; i++)
            CHECK(content_whole(mine[me][i], size_of(me, i), i));
        atomic_store(&lent[me], NULL);
        while (hf_arena_borrows(a) != 0)
            sched_yield();
        hf_status rewound = hf_arena_rewind(a, &mark), reset = hf_arena_reset(a);
        CHECK(rewound == HF_OK || rewound == HF_E_BUSY);
        while (reset == HF_E_BUSY) /* a borrower that had looked before it was taken back */
            reset = hf_arena_reset(a);
        CHECK_EQ(reset, HF_OK);
    }
    return a;
}

static int look(const hf_owner *owner, void *context) {
    *(uint64_t *)context += owner->stats.bytes_mapped;
    return 0;
}

static void *watch(void *argument) {
    uint64_t sum = 0;
    while (atomic_load(&stop) == 0) {
        CHECK_EQ(hf_owners_visit(look, &sum), HF_OK);
        (void)hf_reclaim();
        for (size_t i = 0; i < THREADS; i++) {
            hf_arena *a = atomic_load(&lent[i]);
            if (a == NULL) continue;
            uint64_t ticket = hf_arena_borrow(a);
            (void)arena_figures(a);
            hf_arena_give_back(a, ticket);
        }
    }
    return argument;
}

static void run_watched(void) {
    pthread_t ids[THREADS], watcher;
    void *arenas[THREADS];
    CHECK_EQ(pthread_create(&watcher, NULL, watch, NULL), 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&ids[i], NULL, own, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(ids[i], &arenas[i]), 0);
    atomic_store(&stop, 1);
    CHECK_EQ(pthread_join(watcher, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        arena_close(arenas[i]);
}

int main(int argc, char **argv) {
    CHECK_WATCHDOG(120);
    rounds = stress_scaled(60);
    if (argc == 2 && strcmp(argv[1], "shared") == 0)
        run_shared(HF_ARENA_DEFAULT);
    else if (argc == 2 && strcmp(argv[1], "safety") == 0)
        run_shared(HF_ARENA_SAFETY);
    else if (argc == 2 && strcmp(argv[1], "watched") == 0)
        run_watched();
    else
        CHECK_FAIL("usage: %s shared | safety | watched", argv[0]);
    return 0;
}
