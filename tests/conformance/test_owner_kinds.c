/* test_owner_kinds.c - what every kind of owner promises, whatever it owns: heaps, arenas, pools, stacks.
 *
 *   test_owner_kinds KIND        heap | arena | arena-threads | pool | pool-capacity | stacks
 *
 * Method      a kind is a table of functions; each test states one promise that owner.h, stats.h and the
 *             threat model make for all of them and tries it on the kind. The malloc family's own
 *             promises are test_conformance.c's.
 * Contract    every test makes its owner and destroys it; nothing stays among the owners. */
#include <holdfast/holdfast.h>
#include <os/os.h>
#include <pthread.h>
#include <sys/wait.h>

#include "../c/account.h"
#include "../c/content.h"

enum { COUNT = 200, SIZE = 4000 };

typedef struct kind {
    const char *word;
    hf_owner_kind kind;
    bool threads; /* several at once may take and give */
    hf_status (*make)(const char *name, void **owner_out);
    hf_status (*destroy)(void *owner);
    void *(*take)(void *owner, size_t i); /* SIZE bytes; NULL if refused      */
    void (*give)(void *owner, size_t i, void *block);
    void (*empty)(void *owner); /* what gives back all at once, or NULL */
    hf_status (*stats)(void *owner, hf_stats *out);
    hf_status (*check)(void *owner);
} kind;

/* --- heap ----------------------------------------------------------------------------------- */

static hf_status heap_make(const char *name, void **out) {
    return hf_heap_create(NULL, name, -1, (hf_heap **)out);
}
static hf_status heap_destroy(void *owner) {
    return hf_heap_destroy(owner);
}
static void *heap_take(void *owner, size_t i) {
    (void)i;
    return hf_heap_malloc(owner, SIZE);
}
static void heap_give(void *owner, size_t i, void *block) {
    (void)i;
    hf_heap_free(owner, block);
}
static hf_status heap_stats(void *owner, hf_stats *out) {
    return hf_heap_stats(owner, out);
}
static hf_status heap_check(void *owner) {
    return hf_heap_check(owner, NULL);
}

/* --- arena ---------------------------------------------------------------------------------- */

static hf_status arena_make_with(const char *name, bool threads, void **out) {
    hf_arena_options options;
    hf_arena_options_init(&options, HF_ARENA_DEFAULT);
    options.thread_safe = threads;
    options.statistics = 1; /* without it an arena counts no blocks */
    options.name = name;
    return hf_arena_create(&options, (hf_arena **)out);
}
static hf_status arena_make(const char *name, void **out) {
    return arena_make_with(name, false, out);
}
static hf_status arena_make_threads(const char *name, void **out) {
    return arena_make_with(name, true, out);
}
static hf_status arena_destroy(void *owner) {
    return hf_arena_destroy(owner);
}
static void *arena_take(void *owner, size_t i) {
    (void)i;
    return hf_arena_allocate(owner, SIZE, 16);
}
static void arena_empty(void *owner) {
    CHECK_EQ(hf_arena_reset(owner), HF_OK);
}
static hf_status arena_stats(void *owner, hf_stats *out) {
    return hf_arena_stats(owner, out);
}
static hf_status arena_check(void *owner) {
    return hf_arena_check(owner, NULL);
}

/* --- pool ----------------------------------------------------------------------------------- */

static hf_status pool_make_with(const char *name, size_t capacity, void **out) {
    hf_pool_options options;
    hf_pool_options_init(&options, SIZE);
    options.name = name;
    options.capacity = capacity;
    options.on_exhausted = capacity != 0 ? HF_POOL_FAIL : HF_POOL_GROW;
    return hf_pool_create(&options, (hf_pool **)out);
}
static hf_status pool_make(const char *name, void **out) {
    return pool_make_with(name, 0, out);
}
static hf_status pool_make_capacity(const char *name, void **out) {
    return pool_make_with(name, COUNT * 4, out);
}
static hf_status pool_destroy(void *owner) {
    return hf_pool_destroy(owner);
}
static void *pool_take(void *owner, size_t i) {
    void *block = NULL;
    (void)i;
    return hf_pool_acquire(owner, &block) == HF_OK ? block : NULL;
}
static void pool_give(void *owner, size_t i, void *block) {
    (void)i;
    CHECK_EQ(hf_pool_release(owner, block), HF_OK);
}
static hf_status pool_stats(void *owner, hf_stats *out) {
    return hf_pool_stats(owner, out);
}
static hf_status pool_check(void *owner) {
    return hf_pool_check(owner, NULL);
}

/* --- stacks --------------------------------------------------------------------------------- */

static hf_stack stacks[COUNT * 4];

static hf_status stacks_make(const char *name, void **out) {
    hf_stack_pool_options options;
    hf_stack_pool_options_init(&options);
    options.name = name;
    return hf_stack_pool_create(&options, (hf_stack_pool **)out);
}
static hf_status stacks_destroy(void *owner) {
    return hf_stack_pool_destroy(owner);
}
static void *stacks_take(void *owner, size_t i) {
    if (hf_stack_take(owner, &stacks[i]) != HF_OK) return NULL;
    return (char *)stacks[i].stack_ptr - SIZE;
}
static void stacks_give(void *owner, size_t i, void *block) {
    (void)block;
    CHECK_EQ(hf_stack_give(owner, &stacks[i]), HF_OK);
}
static hf_status stacks_stats(void *owner, hf_stats *out) {
    return hf_stack_pool_stats(owner, out);
}
static hf_status stacks_check(void *owner) {
    return hf_stack_pool_check(owner);
}

static const kind kinds[] = {
    {"heap", HF_OWNER_HEAP, true, heap_make, heap_destroy, heap_take, heap_give, NULL, heap_stats,
     heap_check},
    {"arena", HF_OWNER_ARENA, false, arena_make, arena_destroy, arena_take, NULL, arena_empty,
     arena_stats, arena_check},
    {"arena-threads", HF_OWNER_ARENA, true, arena_make_threads, arena_destroy, arena_take, NULL,
     arena_empty, arena_stats, arena_check},
    {"pool", HF_OWNER_POOL, true, pool_make, pool_destroy, pool_take, pool_give, NULL, pool_stats,
     pool_check},
    {"pool-capacity", HF_OWNER_POOL, true, pool_make_capacity, pool_destroy, pool_take, pool_give,
     NULL, pool_stats, pool_check},
    {"stacks", HF_OWNER_STACKS, true, stacks_make, stacks_destroy, stacks_take, stacks_give, NULL,
     stacks_stats, stacks_check},
};
static const kind *k;

/* --- the promises --------------------------------------------------------------------------- */

static hf_stats account(void *owner) {
    hf_stats s = {.struct_size = sizeof s};
    CHECK_EQ(k->stats(owner, &s), HF_OK);
    account_adds_up(&s);
    return s;
}

static void *make(const char *name) {
    void *owner = NULL;
    CHECK_EQ(k->make(name, &owner), HF_OK);
    CHECK(owner != NULL);
    return owner;
}

static void take_all(void *owner, void **blocks, size_t from, size_t count) {
    for (size_t i = from; i < from + count; i++) {
        blocks[i] = k->take(owner, i);
        CHECK(blocks[i] != NULL);
        CHECK_EQ((uintptr_t)blocks[i] % 16, 0);
        content_fill(blocks[i], SIZE, i);
    }
}

static void give_all(void *owner, void **blocks, size_t from, size_t count) {
    for (size_t i = from; i < from + count; i++) {
        CHECK(content_whole(blocks[i], SIZE, i));
        if (k->give != NULL) k->give(owner, i, blocks[i]);
    }
}

static void test_account_adds_up_at_every_step(void) {
    void *owner = make("account"), *blocks[COUNT];
    CHECK_EQ(account(owner).blocks_in_use, 0);
    for (int round = 0; round < 3; round++) {
        take_all(owner, blocks, 0, COUNT);
        hf_stats s = account(owner);
        CHECK_EQ(s.blocks_in_use, COUNT);
        CHECK_GE(s.bytes_in_use, (uint64_t)COUNT * SIZE);
        CHECK_EQ(k->check(owner), HF_OK);
        give_all(owner, blocks, 0, COUNT);
        if (k->empty != NULL) k->empty(owner);
        s = account(owner);
        CHECK_EQ(s.blocks_in_use, 0);
        CHECK_EQ(s.bytes_in_use, 0);
        CHECK_EQ(k->check(owner), HF_OK);
    }
    CHECK_EQ(k->destroy(owner), HF_OK);
}

typedef struct found {
    const char *name;
    hf_owner owner;
    unsigned count;
} found;

static int find_name(const hf_owner *owner, void *context) {
    found *f = context;
    if (strcmp(owner->name, f->name) != 0) return 0;
    f->owner = *owner;
    f->count++;
    return 0;
}

static void test_owners_are_listed_by_name_while_they_live(void) {
    void *one = make("first of two"), *two = make("second of two"), *blocks[COUNT];
    found f = {.name = "second of two"}, g = {.name = "first of two"};
    take_all(two, blocks, 0, COUNT);
    CHECK_EQ(hf_owners_visit(find_name, &f), HF_OK);
    CHECK_EQ(hf_owners_visit(find_name, &g), HF_OK);
    CHECK_EQ(f.count, 1);
    CHECK_EQ(f.owner.kind, k->kind);
    CHECK_GT(f.owner.id, g.owner.id);
    CHECK_EQ(f.owner.stats.blocks_in_use, COUNT);
    CHECK_EQ(g.owner.stats.blocks_in_use, 0);
    give_all(two, blocks, 0, COUNT);
    if (k->empty != NULL) k->empty(two);
    CHECK_EQ(k->destroy(two), HF_OK);
    f.count = 0;
    CHECK_EQ(hf_owners_visit(find_name, &f), HF_OK);
    CHECK_EQ(f.count, 0);
    CHECK_EQ(k->destroy(one), HF_OK);
}

typedef struct share {
    void *owner, **blocks;
    size_t from;
} share;

static void *share_run(void *argument) {
    share *s = argument;
    for (int round = 0; round < 20; round++) {
        take_all(s->owner, s->blocks, s->from, COUNT);
        give_all(s->owner, s->blocks, s->from, COUNT);
    }
    return NULL;
}

static void test_threads_get_blocks_of_their_own(void) {
    enum { THREADS = 4 };
    static void *blocks[COUNT * THREADS];
    void *owner = make("threads");
    pthread_t threads[THREADS];
    share shares[THREADS];
    if (!k->threads) {
        CHECK_EQ(k->destroy(owner), HF_OK);
        return;
    }
    for (size_t i = 0; i < THREADS; i++) {
        shares[i] = (share){owner, blocks, i * COUNT};
        CHECK_EQ(pthread_create(&threads[i], NULL, share_run, &shares[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    hf_stats s = account(owner);
    CHECK_EQ(s.allocs, COUNT * THREADS * 20);
    if (k->empty != NULL) k->empty(owner);
    CHECK_EQ(account(owner).blocks_in_use, 0);
    CHECK_EQ(k->check(owner), HF_OK);
    CHECK_EQ(k->destroy(owner), HF_OK);
}

static void test_child_of_a_fork_goes_on(void) {
    void *owner = make("fork"), *blocks[COUNT * 2];
    take_all(owner, blocks, 0, COUNT);
    pid_t child = fork();
    CHECK_GE(child, 0);
    if (child == 0) {
        CHECK_WATCHDOG(30);
        take_all(owner, blocks, COUNT, COUNT);
        CHECK_EQ(account(owner).blocks_in_use, COUNT * 2);
        give_all(owner, blocks, 0, COUNT * 2);
        if (k->empty != NULL) k->empty(owner);
        CHECK_EQ(account(owner).blocks_in_use, 0);
        CHECK_EQ(k->check(owner), HF_OK);
        CHECK_EQ(k->destroy(owner), HF_OK);
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    give_all(owner, blocks, 0, COUNT);
    if (k->empty != NULL) k->empty(owner);
    CHECK_EQ(k->destroy(owner), HF_OK);
}

/* The Nth request to the system fails, for every N that is reached: a refusal, and nothing lost. */
static void test_refusals_of_the_system_leave_an_owner_whole(void) {
    uint64_t refusals = hfi_os_map_failures();
    for (uint64_t nth = 1; nth <= 12; nth++) {
        void *owner = NULL, *blocks[COUNT];
        hfi_os_fail_after(nth);
        if (k->make("refused", &owner) != HF_OK) {
            hfi_os_fail_after(0);
            continue;
        }
        size_t count = 0;
        for (size_t i = 0; i < COUNT; i++) {
            blocks[count] = k->take(owner, count);
            if (blocks[count] == NULL) continue; /* refused, or got round */
            content_fill(blocks[count], SIZE, count);
            count++;
        }
        hfi_os_fail_after(0);
        CHECK_EQ(account(owner).blocks_in_use, count);
        give_all(owner, blocks, 0, count);
        if (k->empty != NULL) k->empty(owner);
        CHECK_EQ(account(owner).blocks_in_use, 0);
        CHECK_EQ(k->check(owner), HF_OK);
        CHECK_EQ(k->destroy(owner), HF_OK);
    }
    /* A heap has most of what it needs already. */
    if (k->kind != HF_OWNER_HEAP) CHECK_GT(hfi_os_map_failures(), refusals);
}

int main(int argc, char **argv) {
    for (size_t i = 0; argc == 2 && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(argv[1], kinds[i].word) == 0) k = &kinds[i];
    if (k == NULL) CHECK_FAIL("usage: %s KIND", argv[0]);
    CHECK_WATCHDOG(90);
    CHECK_RUN(test_account_adds_up_at_every_step);
    CHECK_RUN(test_owners_are_listed_by_name_while_they_live);
    CHECK_RUN(test_threads_get_blocks_of_their_own);
    /* The thread sanitizer allows no thread (ours of the decay) in the child of a threaded process. */
    if (!CHECK_TSAN) CHECK_RUN(test_child_of_a_fork_goes_on);
    CHECK_RUN(test_refusals_of_the_system_leave_an_owner_whole);
    return 0;
}
