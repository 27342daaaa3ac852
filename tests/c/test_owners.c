/* test_owners.c - the list of owners, and the hooks through which they join decay and limits.
 * Method      invented owners are added, visited, removed, also by the visitor and by other threads; invented servers
 *             answer the hooks. */
#include <base/hooks.h>
#include <base/lock.h>
#include <base/owners.h>
#include <pthread.h>
#include <stdatomic.h>

#include "check.h"

typedef struct invented {
    struct hfi_owner_entry entry;
    uint64_t bytes;
    int forks[3];
    hf_status answer;
} invented;

static hf_status invented_stats(void *self, hf_stats *out) {
    invented *owner = self;
    CHECK_EQ(out->bytes_mapped, 0); /* it comes zeroed */
    if (owner->answer == HF_OK) out->bytes_mapped = owner->bytes;
    return owner->answer;
}

static void invented_fork(void *self, enum hfi_fork moment) {
    ((invented *)self)->forks[moment]++;
}

static void add(invented *owner, hf_owner_kind kind, const char *name, uint64_t bytes) {
    *owner = (invented){.bytes = bytes};
    owner->entry = (struct hfi_owner_entry){
        .kind = kind, .name = name, .stats = invented_stats, .fork = invented_fork, .self = owner};
    hfi_owners_add(&owner->entry);
}

enum { SEEN_MAX = 64 };
typedef struct seen {
    hf_owner owners[SEEN_MAX];
    size_t count, stop_at;
    invented *remove;
} seen;

static int see(const hf_owner *owner, void *context) {
    seen *s = context;
    if (owner->kind != HF_OWNER_STACKS) return 0; /* those of this test */
    CHECK_LT(s->count, SEEN_MAX);
    s->owners[s->count++] = *owner;
    if (s->remove != NULL) {
        hfi_owners_remove(&s->remove->entry);
        s->remove = NULL;
    }
    return s->count == s->stop_at;
}

static void test_visit_shows_every_owner_oldest_first(void) {
    static invented owners[5];
    static const char *const names[] = {"a", "b", NULL,
                                        "a name that is longer than what an owner may keep", ""};
    seen s = {.count = 0};
    for (int i = 0; i < 5; i++)
        add(&owners[i], HF_OWNER_STACKS, names[i], 100 + (uint64_t)i);
    owners[1].answer = HF_E_CLOSED; /* cannot tell: zeros, still listed */
    CHECK_EQ(hf_owners_visit(see, &s), HF_OK);
    CHECK_EQ(s.count, 5);
    for (size_t i = 0; i < 5; i++) {
        CHECK_EQ(s.owners[i].id, owners[i].entry.id);
        if (i > 0) CHECK_GT(s.owners[i].id, s.owners[i - 1].id);
        CHECK_EQ(s.owners[i].stats.bytes_mapped, i == 1 ? 0 : 100 + i);
    }
    CHECK_STR(s.owners[0].name, "a");
    CHECK_STR(s.owners[2].name, "");
    CHECK_EQ(strlen(s.owners[3].name), HF_OWNER_NAME_MAX);
    /* Stopping, and removing what comes next from inside the visitor. */
    s = (seen){.stop_at = 2};
    CHECK_EQ(hf_owners_visit(see, &s), HF_OK);
    CHECK_EQ(s.count, 2);
    s = (seen){.remove = &owners[1]};
    CHECK_EQ(hf_owners_visit(see, &s), HF_OK);
    CHECK_EQ(s.count, 4);
    CHECK_EQ(s.owners[1].id, owners[2].entry.id);
    uint64_t youngest = owners[4].entry.id;
    hfi_owners_remove(&owners[4].entry);
    add(&owners[4], HF_OWNER_STACKS, "again", 1);
    CHECK_GT(owners[4].entry.id, youngest); /* ids are never used twice */
    for (int i = 0; i < 5; i++)
        if (i != 1) hfi_owners_remove(&owners[i].entry);
    s = (seen){.count = 0};
    CHECK_EQ(hf_owners_visit(see, &s), HF_OK);
    CHECK_EQ(s.count, 0);
    CHECK_EQ(hf_owners_visit(NULL, NULL), HF_E_INVALID);
}

static void count_each(void *self, void *context) {
    *(uint64_t *)context += ((invented *)self)->bytes;
}

static void test_each_calls_one_kind_only(void) {
    invented pool, stacks;
    uint64_t sum = 0;
    add(&pool, HF_OWNER_POOL, "pool", 1000);
    add(&stacks, HF_OWNER_STACKS, "stacks", 7);
    hfi_owners_each(HF_OWNER_STACKS, count_each, &sum);
    CHECK_EQ(sum, 7);
    hfi_owners_each(HF_OWNER_POOL, count_each, &sum);
    CHECK_EQ(sum, 1007);
    hfi_owners_remove(&pool.entry);
    hfi_owners_remove(&stacks.entry);
}

static void test_fork_calls_reach_owners_that_want_them(void) {
    invented with, without;
    add(&with, HF_OWNER_STACKS, "with", 0);
    add(&without, HF_OWNER_STACKS, "without", 0);
    without.entry.fork = NULL;
    for (int moment = HFI_FORK_PREPARE; moment <= HFI_FORK_CHILD; moment++) {
        /* Heaps are listed, too, and have no fork call of their own. */
        if (moment == HFI_FORK_PREPARE) hfi_owners_fork_list(HFI_FORK_PREPARE);
        hfi_owners_fork_each((enum hfi_fork)moment);
    }
    hfi_owners_fork_list(HFI_FORK_PARENT);
    for (int moment = 0; moment < 3; moment++) {
        CHECK_EQ(with.forks[moment], 1);
        CHECK_EQ(without.forks[moment], 0);
    }
    hfi_owners_remove(&with.entry);
    hfi_owners_remove(&without.entry);
    CHECK_STR(hf_owner_kind_name(HF_OWNER_HEAP), "heap");
    CHECK_STR(hf_owner_kind_name(HF_OWNER_STACKS), "stacks");
    CHECK_STR(hf_owner_kind_name((hf_owner_kind)99), "");
}

static void *come_and_go(void *argument) {
    invented owners[8];
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 8; i++)
            add(&owners[i], HF_OWNER_ARENA, "passing", (uintptr_t)argument);
        for (int i = 7; i >= 0; i -= 2)
            hfi_owners_remove(&owners[i].entry);
        for (int i = 0; i < 8; i += 2)
            hfi_owners_remove(&owners[i].entry);
    }
    return NULL;
}

static int ordered(const hf_owner *owner, void *context) {
    uint64_t *before = context;
    CHECK_GT(owner->id, *before);
    *before = owner->id;
    return 0;
}

static void test_visit_while_owners_come_and_go(void) {
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, come_and_go, (void *)(i + 1)), 0);
    for (int round = 0; round < 200; round++) {
        uint64_t before = 0;
        CHECK_EQ(hf_owners_visit(ordered, &before), HF_OK);
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* --- hooks ------------------------------------------------------------------------------------- */

static int calls_a, calls_b, wakes;
static size_t charged;
static int forced;

static uint64_t hook_a(uint64_t now_ns, int force) {
    calls_a++;
    forced = force;
    CHECK_EQ(now_ns, 12345);
    return 10;
}
static uint64_t hook_b(uint64_t now_ns, int force) {
    (void)now_ns;
    (void)force;
    calls_b++;
    return 32;
}
static void serve_wake(void) {
    wakes++;
}
static bool serve_charge(size_t bytes) {
    if (charged + bytes > 1000) return false;
    charged += bytes;
    return true;
}
static void serve_discharge(size_t bytes) {
    CHECK_LE(bytes, charged);
    charged -= bytes;
}

static void test_hooks_run_once_each_and_sum_up(void) {
    uint64_t others = hfi_hooks_run(12345, 0);
    hfi_reclaim_hook_add(hook_a);
    hfi_reclaim_hook_add(hook_b);
    hfi_reclaim_hook_add(hook_a); /* there already */
    CHECK_EQ(hfi_hooks_run(12345, 1), others + 42);
    CHECK_EQ(calls_a, 1);
    CHECK_EQ(calls_b, 1);
    CHECK_EQ(forced, 1);
}

static void test_services_are_asked_once_they_serve(void) {
    static const struct hfi_hook_services services = {serve_wake, serve_charge, serve_discharge};
    hfi_hooks_serve(NULL); /* nobody serves: every charge is granted, nobody wakes */
    CHECK(hfi_external_charge((size_t)1 << 60));
    hfi_external_discharge((size_t)1 << 60);
    hfi_reclaim_wake();
    CHECK_EQ(wakes, 0);
    hfi_hooks_serve(&services);
    hfi_reclaim_wake();
    CHECK_EQ(wakes, 1);
    CHECK(hfi_external_charge(900));
    CHECK(!hfi_external_charge(200));
    hfi_external_discharge(900);
    CHECK(hfi_external_charge(200));
    CHECK_EQ(charged, 200);
}

int main(void) {
    CHECK_WATCHDOG(60);
    CHECK_RUN(test_visit_shows_every_owner_oldest_first);
    CHECK_RUN(test_each_calls_one_kind_only);
    CHECK_RUN(test_fork_calls_reach_owners_that_want_them);
    CHECK_RUN(test_visit_while_owners_come_and_go);
    CHECK_RUN(test_hooks_run_once_each_and_sum_up);
    CHECK_RUN(test_services_are_asked_once_they_serve);
    return 0;
}
