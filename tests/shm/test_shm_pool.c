/* test_shm_pool - objects in a segment: what each call answers, who has what, kills under load.
 *
 * Method: two participants in one process (the segment opened twice) for what calls answer; worker
 * processes that are killed at random, with a number in each object, for what is lost (nothing) and
 * doubled (nothing); a queue's part in passing objects is played by a table of handles with a claim. */
#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>

#include <holdfast/shm_pool.h>

#include "view_help.h"

static const char *segment_name;

static hf_shm *segment_open(hf_shm_mode mode) {
    hf_shm_options options;
    hf_shm *shm = NULL;
    hf_shm_options_init(&options, 4 << 20);
    CHECK_SAY(hf_shm_open(segment_name, mode, &options, &shm) == HF_OK, "%s", hf_shm_detail());
    return shm;
}

static hf_shm_pool *pool_open(hf_shm *shm, uint64_t capacity, uint64_t size, uint32_t sanitize) {
    hf_shm_pool_options options;
    hf_shm_pool *pool = NULL;
    hf_shm_pool_options_init(&options, capacity, size);
    options.sanitize = sanitize;
    CHECK_SAY(hf_shm_pool_open(shm, "pool", HF_SHM_OPEN_OR_CREATE, &options, &pool) == HF_OK, "%s",
              hf_shm_detail());
    return pool;
}

static void segment_close(hf_shm *shm) {
    CHECK_SAY(hf_shm_close(shm) == HF_OK, "%s", hf_shm_detail());
}

static void test_acquire_gives_every_object_once(void) {
    segment_name = harness_name("pool");
    hf_shm *shm = segment_open(HF_SHM_CREATE);
    hf_shm_pool *pool = pool_open(shm, 100, 100, 0);
    CHECK_EQ(hf_shm_pool_capacity(pool), 100);
    CHECK_EQ(hf_shm_pool_object_size(pool), 100);
    CHECK_EQ(hf_shm_pool_stride(pool), 128);
    hf_shm_handle handles[100], more;
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(hf_shm_pool_acquire(pool, 0, &handles[i]), HF_OK);
        char *at = hf_shm_pool_at(pool, handles[i]);
        CHECK(at != NULL && (uintptr_t)at % 64 == 0);
        memset(at, i, 100);
    }
    CHECK_EQ(hf_shm_pool_acquire(pool, 0, &more), HF_E_EMPTY);
    CHECK_EQ(hf_shm_pool_acquire(pool, 3000000, &more), HF_E_TIMEOUT);
    CHECK_EQ(hf_shm_pool_live(pool), 100);
    for (int i = 0; i < 100; i++)
        for (int b = 0; b < 100; b++)
            CHECK_EQ(((char *)hf_shm_pool_at(pool, handles[i]))[b], i);
    size_t released = 0;
    CHECK_EQ(hf_shm_pool_release_bulk(pool, handles, 100, &released), HF_OK);
    CHECK_EQ(released, 100);
    CHECK_EQ(hf_shm_pool_live(pool), 0);
    for (int i = 0; i < 100; i++) {
        CHECK_PTR(hf_shm_pool_at(pool, handles[i]), NULL);
        CHECK_EQ(hf_shm_pool_release(pool, handles[i]), HF_E_STALE);
    }
    CHECK(strstr(hf_shm_detail(), "is free") != NULL);
    CHECK_EQ(hf_shm_check(shm, "pool", NULL, NULL), HF_OK);
    hf_shm_pool_close(pool);
    segment_close(shm);
}

static void test_bulk_takes_what_there_is(void) {
    hf_shm *shm = segment_open(HF_SHM_CREATE);
    hf_shm_pool *pool = pool_open(shm, 70, 8, 0);
    hf_shm_handle handles[100];
    size_t got = 0;
    CHECK_EQ(hf_shm_pool_acquire_bulk(pool, 0, handles, 40, &got), HF_OK);
    CHECK_EQ(got, 40);
    CHECK_EQ(hf_shm_pool_acquire_bulk(pool, HF_FOREVER, handles + 40, 60, &got), HF_OK);
    CHECK_EQ(got, 30);
    CHECK_EQ(hf_shm_pool_acquire_bulk(pool, 0, handles, 1, &got), HF_E_EMPTY);
    handles[3] = handles[2];
    CHECK_EQ(hf_shm_pool_release_bulk(pool, handles, 70, &got), HF_E_STALE);
    CHECK_EQ(got, 69);
    CHECK_EQ(hf_shm_pool_live(pool), 1);
    hf_shm_pool_close(pool);
    segment_close(shm);
}

static void test_options_out_of_range_are_refused(void) {
    hf_shm *shm = segment_open(HF_SHM_CREATE);
    hf_shm_pool *pool = NULL;
    hf_shm_pool_options options;
    hf_shm_pool_options_init(&options, 4, 8);
    CHECK_EQ(hf_shm_pool_open(NULL, "p", HF_SHM_CREATE, &options, &pool), HF_E_INVALID);
    CHECK_EQ(hf_shm_pool_open(shm, NULL, HF_SHM_CREATE, &options, &pool), HF_E_INVALID);
    CHECK_EQ(hf_shm_pool_open(shm, "p", HF_SHM_CREATE, NULL, &pool), HF_E_INVALID);
    CHECK_EQ(hf_shm_pool_open(shm, "p", HF_SHM_CREATE, &options, NULL), HF_E_INVALID);
    static const uint64_t wrong[][3] = {{0, 8, 64},
                                        {4, 0, 64},
                                        {HF_SHM_POOL_CAPACITY_MAX + 1, 8, 64},
                                        {4, HF_SHM_POOL_OBJECT_MAX + 1, 64},
                                        {1 << 20, (uint64_t)1 << 40, 64},
                                        {4, 8, 4},
                                        {4, 8, 96},
                                        {4, 8, 8192},
                                        {UINT64_MAX, UINT64_MAX, UINT64_MAX}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        hf_shm_pool_options_init(&options, wrong[i][0], wrong[i][1]);
        options.alignment = wrong[i][2];
        CHECK_EQ(hf_shm_pool_open(shm, "p", HF_SHM_CREATE, &options, &pool), HF_E_INVALID);
    }
    hf_shm_pool_options_init(&options, 1000, 1 << 20);
    CHECK_EQ(hf_shm_pool_open(shm, "p", HF_SHM_CREATE, &options, &pool), HF_E_NO_SPACE);
    options.struct_size = 3;
    CHECK_EQ(hf_shm_pool_open(shm, "p", HF_SHM_CREATE, &options, &pool), HF_E_INVALID);
    CHECK_PTR(pool, NULL);
    CHECK_EQ(hf_shm_pool_acquire(NULL, 0, NULL), HF_E_INVALID);
    CHECK_EQ(hf_shm_pool_release(NULL, 1), HF_E_INVALID);
    CHECK_PTR(hf_shm_pool_at(NULL, 1), NULL);
    hf_shm_pool_close(NULL);
    segment_close(shm);
}

static void test_another_pool_of_the_name_is_a_mismatch(void) {
    hf_shm *shm = segment_open(HF_SHM_CREATE);
    hf_shm_pool *pool = pool_open(shm, 10, 24, 0), *other = NULL;
    hf_shm_pool_options options;
    hf_shm_pool_options_init(&options, 10, 32);
    CHECK_EQ(hf_shm_pool_open(shm, "pool", HF_SHM_OPEN, &options, &other), HF_E_MISMATCH);
    hf_shm_pool_options_init(&options, 11, 24);
    CHECK_EQ(hf_shm_pool_open(shm, "pool", HF_SHM_OPEN, &options, &other), HF_E_MISMATCH);
    hf_shm_pool_options_init(&options, 10, 24);
    options.alignment = 128;
    CHECK_EQ(hf_shm_pool_open(shm, "pool", HF_SHM_OPEN, &options, &other), HF_E_MISMATCH);
    options.alignment = 0;
    CHECK_EQ(hf_shm_pool_open(shm, "pool", HF_SHM_CREATE, &options, &other), HF_E_EXISTS);
    CHECK_EQ(hf_shm_pool_open(shm, "nobody", HF_SHM_OPEN, &options, &other), HF_E_NOT_FOUND);
    hf_shm_pool_options_init(&options, 0, 0);
    CHECK_SAY(hf_shm_pool_open(shm, "pool", HF_SHM_OPEN, &options, &other) == HF_OK, "%s",
              hf_shm_detail());
    CHECK_EQ(hf_shm_pool_capacity(other), 10);
    hf_shm_pool_close(other);
    CHECK_EQ(hf_shm_pool_open(shm, "pool", HF_SHM_OPEN_OR_CREATE, NULL, &other), HF_E_INVALID);
    CHECK_EQ(hf_shm_pool_open(shm, "pool", HF_SHM_OPEN, NULL, &other), HF_OK);
    CHECK_EQ(hf_shm_pool_object_size(other), 24);
    hf_shm_pool_close(other);
    hf_shm_pool_close(pool);
    segment_close(shm);
}

static void test_alignments_hold_in_every_mapping(void) {
    hf_shm *shm = segment_open(HF_SHM_CREATE);
    for (uint64_t align = 8; align <= 4096; align *= 2) {
        char name[16];
        hf_shm_pool *pool = NULL;
        hf_shm_pool_options options;
        hf_shm_handle one, two;
        snprintf(name, sizeof name, "a%u", (unsigned)align);
        hf_shm_pool_options_init(&options, 2, 5);
        options.alignment = align;
        CHECK_SAY(hf_shm_pool_open(shm, name, HF_SHM_CREATE, &options, &pool) == HF_OK, "%s",
                  hf_shm_detail());
        CHECK_EQ(hf_shm_pool_acquire(pool, 0, &one), HF_OK);
        CHECK_EQ(hf_shm_pool_acquire(pool, 0, &two), HF_OK);
        CHECK_EQ((uintptr_t)hf_shm_pool_at(pool, one) % align, 0);
        CHECK_EQ((uintptr_t)hf_shm_pool_at(pool, two) % align, 0);
        CHECK_EQ(hf_shm_pool_stride(pool), align);
        hf_shm_pool_close(pool);
    }
    segment_close(shm);
}

static void test_handles_of_others_are_refused_and_named(void) {
    hf_shm *mine = segment_open(HF_SHM_CREATE), *theirs = segment_open(HF_SHM_OPEN);
    hf_shm_pool *here = pool_open(mine, 4, 64, 0), *there = pool_open(theirs, 4, 64, 0);
    hf_shm_handle handle, adopted;
    hf_shm_info info;
    uint32_t owner = 77;
    CHECK_EQ(hf_shm_info_of(theirs, &info), HF_OK);
    CHECK_EQ(hf_shm_pool_acquire(there, 0, &handle), HF_OK);
    strcpy(hf_shm_pool_at(there, handle), "hello");
    CHECK_STR(hf_shm_pool_at(here, handle), "hello");
    CHECK_EQ(hf_shm_pool_owner(here, handle, &owner), HF_OK);
    CHECK_EQ(owner, info.self);
    CHECK_EQ(hf_shm_pool_release(here, handle), HF_E_INVALID);
    char who[32];
    snprintf(who, sizeof who, "participant %u", info.self);
    CHECK_SAY(strstr(hf_shm_detail(), who) != NULL, "%s", hf_shm_detail());
    CHECK_EQ(hf_shm_pool_pass(here, handle), HF_E_INVALID);
    static const hf_shm_handle strange[] = {0, 1, UINT64_MAX, (uint64_t)1 << 32 | 4};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        CHECK_PTR(hf_shm_pool_at(here, strange[i]), NULL);
        CHECK_NE(hf_shm_pool_release(here, strange[i]), HF_OK);
        CHECK_NE(hf_shm_pool_adopt(here, strange[i], &adopted), HF_OK);
        CHECK_NE(hf_shm_pool_owner(here, strange[i], &owner), HF_OK);
    }
    /* passed on: the sender's handle is stale from the moment it is adopted */
    CHECK_EQ(hf_shm_pool_pass(there, handle), HF_OK);
    CHECK_EQ(hf_shm_pool_owner(here, handle, &owner), HF_OK);
    CHECK_EQ(owner, HF_SHM_POOL_PASSED);
    CHECK_EQ(hf_shm_pool_release(there, handle), HF_E_INVALID);
    CHECK_EQ(hf_shm_pool_adopt(here, handle, &adopted), HF_OK);
    CHECK_STR(hf_shm_pool_at(there, adopted), "hello");
    CHECK_PTR(hf_shm_pool_at(there, handle), NULL);
    CHECK_EQ(hf_shm_pool_adopt(there, handle, &adopted), HF_E_STALE);
    CHECK_EQ(hf_shm_pool_pass(there, handle), HF_OK); /* the receiver was faster */
    CHECK_EQ(hf_shm_pool_release(there, handle), HF_E_STALE);
    CHECK_EQ(hf_shm_pool_release(here, adopted), HF_OK);
    hf_shm_pool_close(here);
    hf_shm_pool_close(there);
    segment_close(theirs);
    segment_close(mine);
}

static void test_leaving_gives_back_and_closing_does_not(void) {
    hf_shm *mine = segment_open(HF_SHM_CREATE), *theirs = segment_open(HF_SHM_OPEN);
    hf_shm_pool *here = pool_open(mine, 2, 64, 0), *there = pool_open(theirs, 2, 64, 0);
    hf_shm_handle one, two, again;
    CHECK_EQ(hf_shm_pool_acquire(there, 0, &one), HF_OK);
    CHECK_EQ(hf_shm_pool_acquire(there, 0, &two), HF_OK);
    CHECK_EQ(hf_shm_pool_pass(there, two), HF_OK);
    hf_shm_pool_close(there);
    CHECK_EQ(hf_shm_pool_acquire(here, 0, &again), HF_E_EMPTY);
    segment_close(theirs);
    CHECK_EQ(hf_shm_pool_acquire(here, 1000000000, &again), HF_OK);
    CHECK_PTR(hf_shm_pool_at(here, one), NULL);
    CHECK(hf_shm_pool_at(here, two) != NULL); /* on its way: nobody's leaving frees it */
    CHECK_EQ(hf_shm_pool_adopt(here, two, &two), HF_OK);
    hf_shm_pool_close(here);
    segment_close(mine);
}

static int count_object(const hf_shm_pool_object *object, void *context) {
    uint64_t *sum = context;
    CHECK(object->address != NULL);
    sum[0]++;
    sum[1] += *(uint64_t *)object->address;
    return sum[0] == 3;
}

static void test_visit_sees_what_is_out(void) {
    hf_shm *shm = segment_open(HF_SHM_CREATE);
    hf_shm_pool *pool = pool_open(shm, 8, 8, 0);
    hf_shm_handle handles[4];
    uint64_t sum[2] = {0};
    for (uint64_t i = 0; i < 4; i++) {
        CHECK_EQ(hf_shm_pool_acquire(pool, 0, &handles[i]), HF_OK);
        *(uint64_t *)hf_shm_pool_at(pool, handles[i]) = 10 + i;
    }
    CHECK_EQ(hf_shm_pool_release(pool, handles[3]), HF_OK);
    CHECK_EQ(hf_shm_pool_release(pool, handles[0]), HF_OK);
    CHECK_EQ(hf_shm_pool_visit(pool, count_object, sum), HF_OK);
    CHECK_EQ(sum[0], 2);
    CHECK_EQ(sum[1], 11 + 12);
    hf_shm_figures figures;
    CHECK_EQ(hf_shm_figures_of(shm, "pool", &figures), HF_OK);
    CHECK_EQ(figures.capacity, 8);
    CHECK_EQ(figures.count, 2);
    hf_shm_pool_close(pool);
    segment_close(shm);
}

static void test_sanitize_zeroes_what_is_given_back(void) {
    hf_shm *mine = segment_open(HF_SHM_CREATE), *theirs = segment_open(HF_SHM_OPEN);
    hf_shm_pool *here = pool_open(mine, 1, 100, 1), *there = pool_open(theirs, 1, 100, 1);
    hf_shm_handle handle;
    for (int round = 0; round < 2; round++) {
        hf_shm_pool *pool = round == 0 ? here : there;
        CHECK_EQ(hf_shm_pool_acquire(pool, 0, &handle), HF_OK);
        char *bytes = hf_shm_pool_at(pool, handle);
        for (int i = 0; i < 100; i++)
            CHECK_EQ(bytes[i], 0);
        memset(bytes, 0x77, 100);
        if (round == 0) CHECK_EQ(hf_shm_pool_release(pool, handle), HF_OK);
    }
    hf_shm_pool_close(there);
    segment_close(theirs); /* leaves with it */
    CHECK_EQ(hf_shm_pool_acquire(here, 1000000000, &handle), HF_OK);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(((char *)hf_shm_pool_at(here, handle))[i], 0);
    hf_shm_pool_close(here);
    segment_close(mine);
}

/* --- other processes -------------------------------------------------------------------------- */

static void test_acquire_waits_for_a_release(void) {
    hf_shm *shm = segment_open(HF_SHM_CREATE);
    hf_shm_pool *pool = pool_open(shm, 1, 8, 0);
    hf_shm_handle handle;
    CHECK_EQ(hf_shm_pool_acquire(pool, 0, &handle), HF_OK);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        hf_shm_pool *same = pool_open(segment_open(HF_SHM_OPEN), 1, 8, 0);
        CHECK_EQ(hf_shm_pool_acquire(same, HF_FOREVER, &handle), HF_OK);
        *(uint64_t *)hf_shm_pool_at(same, handle) = 5;
        CHECK_EQ(hf_shm_pool_release(same, handle), HF_OK);
        _exit(0);
    }
    usleep(30000);
    CHECK_EQ(hf_shm_pool_release(pool, handle), HF_OK);
    harness_expect_ok(child, "the one who waits");
    CHECK_EQ(hf_shm_pool_acquire(pool, 0, &handle), HF_OK);
    CHECK_EQ(*(uint64_t *)hf_shm_pool_at(pool, handle), 5);
    hf_shm_pool_close(pool);
    segment_close(shm);
}

static void test_child_of_a_fork_holds_nothing(void) {
    hf_shm *shm = segment_open(HF_SHM_CREATE);
    hf_shm_pool *pool = pool_open(shm, 2, 8, 0);
    hf_shm_handle handle, other;
    CHECK_EQ(hf_shm_pool_acquire(pool, 0, &handle), HF_OK);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        CHECK_EQ(hf_shm_pool_release(pool, handle), HF_E_INVALID);
        CHECK_EQ(hf_shm_pool_acquire(pool, 0, &other), HF_OK);
        _exit(0); /* without a word: as good as killed */
    }
    harness_expect_ok(child, "child");
    CHECK_EQ(hf_shm_pool_acquire(pool, 1000000000, &other), HF_OK);
    CHECK_EQ(hf_shm_pool_release(pool, handle), HF_OK);
    hf_shm_pool_close(pool);
    segment_close(shm);
}

#define STORM_WORKERS  4
#define STORM_OBJECTS  96
#define STORM_MAILBOX  16
#define STORM_PER_TURN 5

/* What workers agree on besides the pool: who has which object, by their own account. */
struct storm {
    _Atomic int claimed[STORM_OBJECTS];      /* process id; cleared before the release         */
    _Atomic uint64_t mailbox[STORM_MAILBOX]; /* handles on their way                           */
    _Atomic uint64_t operations, adopted, stale;
};

/* The index of an object: its distance from the first. */
static uint32_t claim_of(uint64_t handle) {
    return (uint32_t)handle;
}

/* Nobody who lives has claimed it. A killed one's claim stands until its process is reaped. */
static void claim(struct storm *storm, uint64_t handle) {
    CHECK_LT(claim_of(handle), STORM_OBJECTS);
    _Atomic int *claimed = &storm->claimed[claim_of(handle)];
    int before = 0;
    while (!atomic_compare_exchange_strong(claimed, &before, getpid())) {
        for (int ms = 0; kill(before, 0) == 0; ms++) {
            CHECK_SAY(ms < 10000 && atomic_load(claimed) == before,
                      "object %u has two living owners: %d and %d", claim_of(handle), before,
                      getpid());
            usleep(1000);
        }
        CHECK_EQ(errno, ESRCH);
    }
}

static int storm_work(void *raw, unsigned worker, unsigned incarnation, const volatile int *stop) {
    struct storm *storm = raw;
    const uint32_t me = worker + 1;
    check_random random = {(uint64_t)worker << 32 | incarnation};
    hf_shm *shm = segment_open(HF_SHM_OPEN);
    hf_shm_pool *pool = pool_open(shm, STORM_OBJECTS, 64, 0);
    while (!*stop) {
        hf_shm_handle handles[STORM_PER_TURN * 3];
        size_t got = 0;
        hf_status status = hf_shm_pool_acquire_bulk(
            pool, 100000000, handles, 1 + check_random_below(&random, STORM_PER_TURN * 3), &got);
        if (status == HF_E_TIMEOUT) continue;
        CHECK_SAY(status == HF_OK, "%s", hf_shm_detail());
        for (size_t i = 0; i < got; i++)
            claim(storm, handles[i]);
        for (size_t i = 0; i < got; i++) {
            uint64_t *object = hf_shm_pool_at(pool, handles[i]);
            CHECK(object != NULL);
            object[0] = me;
            object[7] = handles[i];
            CHECK_EQ(object[0], me);
        }
        for (size_t i = 0; i < got; i++) {
            uint64_t *object = hf_shm_pool_at(pool, handles[i]);
            CHECK_EQ(object[0], me);
            CHECK_EQ(object[7], handles[i]);
            atomic_store(&storm->claimed[claim_of(handles[i])], 0);
            if (check_random_below(&random, 8) == 0) { /* pass it on instead */
                const size_t box = check_random_below(&random, STORM_MAILBOX);
                uint64_t nothing = 0;
                if (atomic_compare_exchange_strong(&storm->mailbox[box], &nothing, handles[i])) {
                    CHECK_SAY(hf_shm_pool_pass(pool, handles[i]) == HF_OK, "%s", hf_shm_detail());
                    continue;
                }
            }
            CHECK_SAY(hf_shm_pool_release(pool, handles[i]) == HF_OK, "%s", hf_shm_detail());
        }
        atomic_fetch_add(&storm->operations, got);
        const size_t box = check_random_below(&random, STORM_MAILBOX);
        const uint64_t sent = atomic_load(&storm->mailbox[box]);
        hf_shm_handle mine = 0;
        if (sent == 0) continue;
        /* As from a queue that redelivers: adopt first, then let the record go. */
        status = hf_shm_pool_adopt(pool, sent, &mine);
        uint64_t same = sent;
        atomic_compare_exchange_strong(&storm->mailbox[box], &same, 0);
        atomic_fetch_add(status == HF_OK ? &storm->adopted : &storm->stale, 1);
        if (status != HF_OK) {
            CHECK_EQ(status,
                     HF_E_STALE); /* its sender was killed in the middle, or another has it */
            continue;
        }
        claim(storm, mine);
        atomic_store(&storm->claimed[claim_of(mine)], 0);
        CHECK_EQ(hf_shm_pool_release(pool, mine), HF_OK);
    }
    hf_shm_pool_close(pool);
    segment_close(shm);
    return 0;
}

static void test_kills_lose_and_double_nothing(void) {
    struct storm *world = harness_shared(sizeof *world);
    hf_shm *shm = segment_open(HF_SHM_CREATE);
    hf_shm_pool *pool = pool_open(shm, STORM_OBJECTS, 64, 0);
    const struct harness_storm storm = {.name = "pool",
                                        .workers = STORM_WORKERS,
                                        .kills = harness_kills(300),
                                        .stops = 5,
                                        .pace_us = 2000,
                                        .work = storm_work};
    harness_storm(&storm, world);
    /* What is still on its way is adopted; then every object is to be had, once. */
    hf_shm_handle mine, handles[STORM_OBJECTS + 1];
    for (size_t i = 0; i < STORM_MAILBOX; i++)
        if (world->mailbox[i] && hf_shm_pool_adopt(pool, world->mailbox[i], &mine) == HF_OK)
            CHECK_EQ(hf_shm_pool_release(pool, mine), HF_OK);
    bool seen[STORM_OBJECTS] = {false};
    for (size_t i = 0; i < STORM_OBJECTS; i++) {
        CHECK_SAY(hf_shm_pool_acquire(pool, 1000000000, &handles[i]) == HF_OK,
                  "object %zu of %d is lost: %s", i, STORM_OBJECTS, hf_shm_detail());
        CHECK(!seen[claim_of(handles[i])]);
        seen[claim_of(handles[i])] = true;
    }
    CHECK_EQ(hf_shm_pool_acquire(pool, 0, &mine), HF_E_EMPTY);
    CHECK_EQ(hf_shm_check(shm, NULL, NULL, NULL), HF_OK);
    printf("  %" PRIu64 " operations, %" PRIu64 " adopted, %" PRIu64 " stale\n", world->operations,
           world->adopted, world->stale);
    CHECK_GT(world->operations, 0);
    CHECK_GT(world->adopted, 0);
    hf_shm_pool_close(pool);
    segment_close(shm);
}

/* --- hostile bytes ---------------------------------------------------------------------------- */

static hf_shm *hostile_shm;
static hf_shm_pool *hostile_pool;

static void hostile_setup(void *world) {
    (void)world;
    hostile_shm = segment_open(HF_SHM_CREATE);
    hostile_pool = pool_open(hostile_shm, 20, 40, 1);
}

static void hostile_target(void *world, char **bytes_out, size_t *size_out) {
    (void)world;
    hf_shm_entry entry;
    CHECK_EQ(hf_shm_find(hostile_shm, "pool", &entry), HF_OK);
    *bytes_out = hf_shm_at(hostile_shm, entry.span, 0, entry.span.size);
    *size_out = entry.span.size;
}

static void hostile_use_pool(hf_shm_pool *pool) {
    hf_shm_handle handles[24];
    uint64_t sum[2] = {0};
    for (int round = 0; round < 3; round++) {
        size_t got = 0;
        for (int i = 0; i < 24; i++) {
            handles[i] = 0;
            if (hf_shm_pool_acquire(pool, i == 23 ? 1000000 : 0, &handles[i]) != HF_OK) continue;
            void *at = hf_shm_pool_at(pool, handles[i]);
            if (at) memset(at, i, 40);
        }
        (void)hf_shm_pool_pass(pool, handles[0]);
        (void)hf_shm_pool_adopt(pool, handles[0], &handles[0]);
        (void)hf_shm_pool_release_bulk(pool, handles, 24, &got);
        (void)hf_shm_pool_visit(pool, count_object, sum);
        sum[0] = 0;
    }
}

static void hostile_use(void *world) {
    (void)world;
    hf_shm_pool *again = NULL;
    hf_shm_pool_options options;
    size_t repaired = 0;
    help_view_garbage(hostile_shm, "pool");
    hostile_use_pool(hostile_pool);
    hf_shm_pool_options_init(&options, 0, 0);
    if (hf_shm_pool_open(hostile_shm, "pool", HF_SHM_OPEN, &options, &again) == HF_OK) {
        hostile_use_pool(again);
        hf_shm_pool_close(again);
    }
    (void)hf_shm_check(hostile_shm, "pool", NULL, NULL);
    (void)hf_shm_repair(hostile_shm, "pool", &repaired);
    (void)hf_shm_sweep(hostile_shm, &repaired);
    hostile_use_pool(hostile_pool);
}

static void hostile_teardown(void *world) {
    (void)world;
    hf_shm_pool_close(hostile_pool);
    segment_close(hostile_shm);
}

static void test_garbage_is_an_error_or_harmless(void) {
    struct harness_hostile hostile = {.name = "pool",
                                      .setup = hostile_setup,
                                      .target = hostile_target,
                                      .use = hostile_use,
                                      .teardown = hostile_teardown,
                                      .rounds = 60,
                                      .flips_max = 40};
    harness_hostile(&hostile, NULL);
    hostile.name = "pool, meanwhile";
    hostile.meanwhile = true;
    hostile.rounds = 10;
    harness_hostile(&hostile, NULL);
}

int main(void) {
    harness_watchdog(120);
    CHECK_RUN(test_acquire_gives_every_object_once);
    CHECK_RUN(test_bulk_takes_what_there_is);
    CHECK_RUN(test_options_out_of_range_are_refused);
    CHECK_RUN(test_another_pool_of_the_name_is_a_mismatch);
    CHECK_RUN(test_alignments_hold_in_every_mapping);
    CHECK_RUN(test_handles_of_others_are_refused_and_named);
    CHECK_RUN(test_leaving_gives_back_and_closing_does_not);
    CHECK_RUN(test_visit_sees_what_is_out);
    CHECK_RUN(test_sanitize_zeroes_what_is_given_back);
    CHECK_RUN(test_acquire_waits_for_a_release);
    CHECK_RUN(test_child_of_a_fork_holds_nothing);
    CHECK_RUN(test_kills_lose_and_double_nothing);
    CHECK_RUN(test_garbage_is_an_error_or_harmless);
    return 0;
}
