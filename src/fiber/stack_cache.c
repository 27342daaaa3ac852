/* stack_cache.c - take and give: a thread's own magazine first, the pool's lists behind it.
 *
 *   take: magazine pop  --empty-->  half a magazine of warm stacks, or one cold, or a fresh one
 *   give: magazine push --full-->   the older half goes to warm
 * Contract    holdfast/stack.h, stack_pool.h.
 * Invariants  only its thread changes a magazine, and says so with `busy`. Withdrawal closes it by its
 *             limits, makes every thread pass a barrier, and finds it not busy: then the thread will
 *             see the limits before it touches anything, and waits for the lock.
 * Threads     no lock and no locked instruction where the magazine serves.
 * Fails with  HF_E_NO_MEMORY, HF_E_LIMIT; HF_E_INVALID and a report for a stack that is not out.
 * Source      Bonwick and Adams 2001, magazines; Dice et al., "Asymmetric Dekker synchronization". */
#include <pthread.h>
#include <string.h>

#include "base/hooks.h"
#include "base/report.h"
#include "fiber/annotate.h"
#include "fiber/stack_pool.h"

struct cached {
    uint64_t id; /* of the pool; 0: none */
    struct hfi_stack_magazine *magazine;
};
_Static_assert(sizeof(struct cached) == HFI_STACK_CACHED_SIZE, "places are found by their offset");

/* The last place stays empty. */
static __thread
    __attribute__((tls_model("initial-exec"))) struct cached cached[HFI_STACK_POOLS_CACHED + 1];

static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static bool exit_key_made;

#define relaxed_load(field)         atomic_load_explicit(&(field), memory_order_relaxed)
#define relaxed_store(field, value) atomic_store_explicit(&(field), value, memory_order_relaxed)

static size_t magazine_bytes(void) {
    return (sizeof(struct hfi_stack_magazine) + HFI_PAGE - 1) & ~(HFI_PAGE - 1);
}

/* --- a thread's magazine -------------------------------------------------------------------- */

static inline struct cached *place_of(const hf_stack_pool *pool) {
    return (struct cached *)((char *)cached + pool->thread_offset);
}

static inline struct hfi_stack_magazine *magazine_of(const hf_stack_pool *pool) {
    const struct cached *place = place_of(pool);
    if (__builtin_expect(place->id != pool->id, 0)) return NULL;
    struct hfi_stack_magazine *m = place->magazine;
    if (m == NULL) __builtin_unreachable(); /* an id is only there with a magazine */
    return m;
}

/* The owner goes in. What it may do there the limits say, which are asked after that. */
static inline void magazine_enter(struct hfi_stack_magazine *m) {
    relaxed_store(m->busy, 1);
    /* The other half is hfi_os_barrier_all_threads in hfi_stack_withdraw. */
    atomic_signal_fence(memory_order_seq_cst);
}
static inline void magazine_leave(struct hfi_stack_magazine *m) {
    /* SYNC(magazine.turns): what was done to the stacks in it; pairs with the acquire in withdraw. */
    atomic_store_explicit(&m->busy, 0, memory_order_release);
}

static inline void magazine_limit(struct hfi_stack_magazine *m, uint32_t floor, uint32_t capacity) {
    /* SYNC(magazine.limits): what a withdrawal left in it; pairs with the acquires in take and give. */
    atomic_store_explicit(&m->floor, floor, memory_order_release);
    atomic_store_explicit(&m->capacity, capacity, memory_order_release);
}

static inline void magazine_set_count(struct hfi_stack_magazine *m, uint32_t count) {
    relaxed_store(m->turns, hfi_stack_magazine_takes(m) * HFI_STACK_TAKES + count);
}

/* Everything, or the older half, goes to warm. The owner, or a withdrawal. */
static void magazine_flush(struct hfi_stack_magazine *m, uint32_t count)
    HF_REQUIRES(m->pool->lock) {
    uint32_t all = hfi_stack_magazine_count(m), now = hfi_stack_now_ms();
    for (uint32_t i = 0; i < count; i++)
        hfi_stack_push_warm(m->pool, relaxed_load(m->items[i]), now);
    for (uint32_t i = count; i < all; i++)
        relaxed_store(m->items[i - count], relaxed_load(m->items[i]));
    magazine_set_count(m, all - count);
    if (count > 0) m->pool->flushes++;
}

static void magazine_unlink(struct hfi_stack_magazine *m) HF_REQUIRES(m->pool->lock) {
    hf_stack_pool *pool = m->pool;
    *(m->prev != NULL ? &m->prev->next : &pool->magazines) = m->next;
    if (m->next != NULL) m->next->prev = m->prev;
    pool->takes += hfi_stack_magazine_takes(m);
    pool->magazine_count--;
    hfi_os_unmap(m, magazine_bytes());
}

/* Runs for every pool that still lives, with the list of owners locked. */
static void leave_pool(void *self, void *context) {
    hf_stack_pool *pool = self;
    struct hfi_stack_magazine *m = magazine_of(pool);
    (void)context;
    if (m == NULL) return;
    hfi_lock_acquire(&pool->lock);
    magazine_flush(m, hfi_stack_magazine_count(m));
    magazine_unlink(m);
    hfi_lock_release(&pool->lock);
    *place_of(pool) = (struct cached){0, NULL};
}

static void thread_exit_hook(void *unused) {
    (void)unused;
    hfi_owners_each(HF_OWNER_STACKS, leave_pool, NULL);
    hfi_reclaim_wake();
}

static void exit_key_make(void) {
    exit_key_made = pthread_key_create(&exit_key, thread_exit_hook) == 0;
}

struct hfi_stack_magazine *hfi_stack_magazine_mine(hf_stack_pool *pool) {
    struct hfi_stack_magazine *m = magazine_of(pool);
    if (m != NULL || pool->magazine_capacity == 0) return m;
    (void)pthread_once(&exit_once, exit_key_make);
    if (!exit_key_made) return NULL;
    m = hfi_os_map(magazine_bytes());
    if (m == NULL) return NULL; /* without a cache, then */
    m->pool = pool;
    magazine_limit(m, 0, pool->magazine_capacity);
    hfi_lock_acquire(&pool->lock);
    m->next = pool->magazines;
    if (m->next != NULL) m->next->prev = m;
    pool->magazines = m;
    pool->magazine_count++;
    hfi_lock_release(&pool->lock);
    *place_of(pool) = (struct cached){pool->id, m};
    (void)pthread_setspecific(exit_key, m);
    return m;
}

void hfi_stack_magazines_free(hf_stack_pool *pool) {
    while (pool->magazines != NULL)
        magazine_unlink(pool->magazines);
}

void hfi_stack_withdraw(hf_stack_pool *pool, bool all) {
    bool any = false;
    for (struct hfi_stack_magazine *m = pool->magazines; m != NULL; m = m->next) {
        uint64_t turns = relaxed_load(m->turns);
        bool idle = turns == m->seen;
        m->seen = turns;
        if (hfi_stack_magazine_count(m) == 0 || !(all || idle)) continue;
        if (m == magazine_of(pool)) {
            magazine_flush(m, hfi_stack_magazine_count(m));
            continue;
        }
        magazine_limit(m, HFI_STACK_ALL, 0);
        any = true;
    }
    if (!any) return;
    bool passed = hfi_os_barrier_all_threads();
    for (struct hfi_stack_magazine *m = pool->magazines; m != NULL; m = m->next) {
        if (relaxed_load(m->floor) == 0) continue;
        /* SYNC(magazine.turns): pairs with the release in magazine_leave. */
        if (passed && atomic_load_explicit(&m->busy, memory_order_acquire) == 0)
            magazine_flush(m, hfi_stack_magazine_count(m));
        magazine_limit(m, 0, pool->magazine_capacity);
    }
}

void hfi_stack_cache_fork_child(hf_stack_pool *pool) HF_NO_THREAD_SAFETY {
    enum { MINE = -2, COLD = -3 };
    struct hfi_stack_magazine *mine = magazine_of(pool);
    bool lost = pool->moving > 0;
    for (struct hfi_stack_magazine *m = pool->magazines, *next; m != NULL; m = next) {
        next = m->next;
        if (m == mine) continue;
        lost = true;
        magazine_unlink(m);
    }
    if (!lost) return;
    /* What other threads had in their hands is free all the same: only the tags know. */
    for (uint32_t i = 0; mine != NULL && i < hfi_stack_magazine_count(mine); i++)
        relaxed_load(mine->items[i])->prev = MINE;
    for (int32_t i = pool->cold.head; i >= 0; i = hfi_stack_slot_at(pool, i)->next)
        hfi_stack_slot_at(pool, i)->prev = COLD;
    pool->warm = (struct hfi_stack_list){HFI_STACK_NONE, HFI_STACK_NONE, 0};
    pool->moving = 0;
    uint32_t now = hfi_stack_now_ms();
    for (uint32_t i = hfi_stack_created(pool); i-- > 0;) {
        struct hfi_stack_slot *slot = &pool->slots[i];
        if (hfi_stack_is_taken(slot)) continue;
        if (slot->prev == MINE || slot->prev == COLD)
            slot->prev = HFI_STACK_NONE;
        else
            hfi_stack_push_warm(pool, slot, now);
    }
}

/* --- take ----------------------------------------------------------------------------------- */

/* volatile: one store for each field. Putting two together for a wider one takes longer. */
static inline void fill_handle(const hf_stack_pool *pool, const struct hfi_stack_slot *slot,
                               uint32_t tag, volatile hf_stack *out) {
    char *top = slot->top;
    out->stack_ptr = top;
    out->size = pool->stack_size;
    out->guard_low = top - pool->stride;
    out->guard_high = top;
    out->index = slot->index;
    out->generation = tag;
}

static __attribute__((cold, noinline)) void report_misuse(hf_stack_pool *pool, hf_report_kind kind,
                                                          const struct hfi_stack_slot *slot,
                                                          const void *address, const char *by) {
    hf_report report = {.kind = kind, .found_by = by, .address = address, .owner = pool->name};
    if (slot != NULL) {
        report.block = hfi_stack_low(pool, slot);
        report.block_size = pool->stack_size;
        report.address = report.block;
        hfi_stack_describe(pool, slot, report.name);
    }
    atomic_fetch_add_explicit(&pool->reports, 1, memory_order_relaxed);
    hfi_report_emit(&report);
}

/* One free slot from wherever there is one; half a magazine of warm ones comes along. */
static struct hfi_stack_slot *pop_slot(hf_stack_pool *pool, struct hfi_stack_magazine *m,
                                       hf_status *status_out) HF_REQUIRES(pool->lock) {
    bool refused;
    uint32_t kept = m != NULL ? hfi_stack_magazine_count(m) : 0;
    if (kept > 0) {
        magazine_set_count(m, kept - 1);
        return relaxed_load(m->items[kept - 1]);
    }
    for (uint32_t i = 0; m != NULL && i < pool->magazine_capacity / 2 && pool->warm.count > 1;
         i++) {
        relaxed_store(m->items[i], hfi_stack_pop(pool, &refused));
        magazine_set_count(m, i + 1);
        if (i == 0) pool->refills++;
    }
    /* They came newest first and are taken from the end: turn them round. */
    uint32_t got = m != NULL ? hfi_stack_magazine_count(m) : 0;
    for (uint32_t i = 0; i < got / 2; i++) {
        struct hfi_stack_slot *swap = relaxed_load(m->items[i]);
        relaxed_store(m->items[i], relaxed_load(m->items[got - 1 - i]));
        relaxed_store(m->items[got - 1 - i], swap);
    }
    if (got > 0) {
        magazine_set_count(m, got - 1);
        return relaxed_load(m->items[got - 1]);
    }
    for (;;) {
        struct hfi_stack_slot *slot = hfi_stack_pop(pool, &refused);
        if (slot != NULL) return slot;
        *status_out = refused ? HF_E_LIMIT : hfi_stack_grow(pool);
        if (*status_out != HF_OK) return NULL;
    }
}

static __attribute__((noinline)) hf_status take_slow(hf_stack_pool *pool, hf_stack *out) {
    hf_status status = HF_OK;
    struct hfi_stack_slot *slot;
    uint32_t tag;
    if (hfi_stack_overflow_installed()) (void)hf_stack_thread_prepare();
    for (;;) {
        struct hfi_stack_magazine *m = pool->odd ? NULL : hfi_stack_magazine_mine(pool);
        hfi_lock_acquire(&pool->lock);
        slot = pop_slot(pool, m, &status);
        if (slot == NULL) {
            pool->failures++;
            if (status == HF_E_LIMIT) pool->limit_hits++;
            hfi_lock_release(&pool->lock);
            return status;
        }
        tag = relaxed_load(slot->tag);
        if ((tag & 1) == 0) pool->takes++;
        hfi_lock_release(&pool->lock);
        if ((tag & 1) == 0) break;
        /* It is in somebody's hands: two threads gave it at once. Once out, it stays out. */
        report_misuse(pool, HF_REPORT_DOUBLE_FREE, slot, slot->top, "take");
    }
    relaxed_store(slot->tag, tag + 1);
    if (pool->paint) hfi_stack_paint_take(pool, slot);
    if (pool->valgrind)
        slot->prev = hfi_valgrind_stack_register(hfi_stack_low(pool, slot), slot->top);
    fill_handle(pool, slot, tag + 1, out);
    hfi_reclaim_wake();
    return HF_OK;
}

/* A null pool or handle faults at its first use: no need to ask in the few instructions there are. */
__attribute__((aligned(64))) hf_status hf_stack_take(hf_stack_pool *pool, hf_stack *stack_out) {
    struct hfi_stack_magazine *m = magazine_of(pool);
    if (__builtin_expect(m == NULL, 0)) return take_slow(pool, stack_out);
    magazine_enter(m);
    /* SYNC(magazine.limits): what is read below is not older; pairs with magazine_limit. */
    uint32_t floor = atomic_load_explicit(&m->floor, memory_order_acquire);
    uint64_t turns = relaxed_load(m->turns);
    uint32_t count = turns % HFI_STACK_TAKES;
    if (__builtin_expect(count > floor, 1)) {
        struct hfi_stack_slot *slot = relaxed_load(m->items[count - 1]);
        uint32_t tag = relaxed_load(slot->tag);
        if (__builtin_expect((tag & 1) == 0, 1)) {
            relaxed_store(m->turns, turns + HFI_STACK_TAKES - 1);
            relaxed_store(slot->tag, tag + 1);
            magazine_leave(m);
            fill_handle(pool, slot, tag + 1, stack_out);
            return HF_OK;
        }
    }
    magazine_leave(m);
    return take_slow(pool, stack_out);
}

/* --- give ----------------------------------------------------------------------------------- */

/* The slot of a handle that is out, and its tag; NULL otherwise. */
static inline struct hfi_stack_slot *slot_of(hf_stack_pool *pool, const hf_stack *stack,
                                             uint32_t *tag_out) {
    uint32_t index = stack->index;
    if (__builtin_expect(index >= hfi_stack_created(pool), 0)) return NULL;
    struct hfi_stack_slot *slot = &pool->slots[index];
    uint32_t tag = *tag_out = relaxed_load(slot->tag);
    if (__builtin_expect(tag != stack->generation, 0)) return NULL;
    if (__builtin_expect(slot->top != stack->stack_ptr, 0)) return NULL;
    return __builtin_expect((tag & 1) != 0, 1) ? slot : NULL;
}

static __attribute__((cold, noinline)) hf_status refuse_give(hf_stack_pool *pool,
                                                             const hf_stack *stack) {
    struct hfi_stack_slot *slot =
        stack->index < hfi_stack_created(pool) ? &pool->slots[stack->index] : NULL;
    if (slot != NULL && slot->top == stack->stack_ptr)
        report_misuse(pool, HF_REPORT_DOUBLE_FREE, slot, stack->stack_ptr, "give");
    else
        report_misuse(pool, HF_REPORT_FOREIGN_FREE, NULL, stack->stack_ptr, "give");
    return HF_E_INVALID;
}

static __attribute__((noinline)) void give_slow(hf_stack_pool *pool, struct hfi_stack_slot *slot) {
    uint32_t flags = relaxed_load(slot->flags);
    if ((flags & HFI_STACK_NAMED) != 0) memset(pool->names[slot->index], 0, sizeof *pool->names);
    relaxed_store(slot->flags, flags & HFI_STACK_PAINTED);
    if (pool->odd) hfi_asan_unpoison(hfi_stack_low(pool, slot), pool->stack_size);
    if (pool->valgrind) hfi_valgrind_stack_deregister(slot->prev);
    if (pool->paint) hfi_stack_paint_give(pool, slot);
    struct hfi_stack_magazine *m = pool->odd ? NULL : hfi_stack_magazine_mine(pool);
    hfi_lock_acquire(&pool->lock);
    relaxed_store(slot->tag, relaxed_load(slot->tag) + 1);
    if (m != NULL) {
        uint32_t count = hfi_stack_magazine_count(m);
        if (count == pool->magazine_capacity) magazine_flush(m, (count + 1) / 2);
        count = hfi_stack_magazine_count(m);
        relaxed_store(m->items[count], slot);
        magazine_set_count(m, count + 1);
    } else {
        hfi_stack_push_warm(pool, slot, hfi_stack_now_ms());
    }
    hfi_lock_release(&pool->lock);
    if (pool->decay_ns == 0)
        (void)hfi_stack_trim(pool, false, UINT32_MAX);
    else
        hfi_reclaim_wake();
}

__attribute__((aligned(64))) hf_status hf_stack_give(hf_stack_pool *pool, const hf_stack *stack) {
    uint32_t tag;
    struct hfi_stack_slot *slot = slot_of(pool, stack, &tag);
    if (__builtin_expect(slot == NULL, 0)) return refuse_give(pool, stack);
    struct hfi_stack_magazine *m = magazine_of(pool);
    if (__builtin_expect(m != NULL && relaxed_load(slot->flags) == 0, 1)) {
        magazine_enter(m);
        /* SYNC(magazine.limits): as in take. */
        uint32_t capacity = atomic_load_explicit(&m->capacity, memory_order_acquire);
        uint64_t turns = relaxed_load(m->turns);
        uint32_t count = turns % HFI_STACK_TAKES;
        if (__builtin_expect(count < capacity, 1)) {
            relaxed_store(slot->tag, tag + 1);
            /* Mostly it comes back to where it was: not writing keeps the next take from waiting for
             * this store. */
            if (relaxed_load(m->items[count]) != slot) relaxed_store(m->items[count], slot);
            relaxed_store(m->turns, turns + 1);
            magazine_leave(m);
            return HF_OK;
        }
        magazine_leave(m);
    }
    give_slow(pool, slot);
    return HF_OK;
}

/* --- handles -------------------------------------------------------------------------------- */

hf_status hf_stack_name(hf_stack_pool *pool, const hf_stack *stack, const char *name) {
    HF_EXPECT(pool != NULL);
    HF_EXPECT(stack != NULL);
    uint32_t tag;
    struct hfi_stack_slot *slot = slot_of(pool, stack, &tag);
    if (slot == NULL) return HF_E_INVALID;
    uint32_t flags = relaxed_load(slot->flags);
    bool named = name != NULL && name[0] != '\0';
    if (!named && (flags & HFI_STACK_NAMED) == 0) return HF_OK;
    hfi_lock_acquire(&pool->lock);
    bool room = hfi_stack_names_commit(pool);
    hfi_lock_release(&pool->lock);
    if (!room) return HF_E_NO_MEMORY;
    char *place = pool->names[stack->index];
    memset(place, 0, sizeof *pool->names);
    if (named) memcpy(place, name, strnlen(name, HF_STACK_NAME_MAX));
    relaxed_store(slot->flags, named ? flags | HFI_STACK_NAMED : flags & ~HFI_STACK_NAMED);
    return HF_OK;
}

hf_status hf_stack_high_water(hf_stack_pool *pool, const hf_stack *stack, size_t *bytes_out) {
    HF_EXPECT(pool != NULL);
    HF_EXPECT(stack != NULL);
    HF_EXPECT(bytes_out != NULL);
    uint32_t tag;
    struct hfi_stack_slot *slot = slot_of(pool, stack, &tag);
    if (slot == NULL) return HF_E_INVALID;
    *bytes_out = hfi_stack_used(pool, slot);
    hfi_stack_high_water_note(pool, *bytes_out);
    return HF_OK;
}

hf_status hf_stack_find(hf_stack_pool *pool, const void *address, hf_stack *stack_out) {
    HF_EXPECT(pool != NULL);
    HF_EXPECT(stack_out != NULL);
    /* SYNC(pool.regions): pairs with the release in region_add. */
    uint32_t regions = atomic_load_explicit(&pool->region_count, memory_order_acquire);
    for (uint32_t i = 0; i < regions; i++) {
        uintptr_t offset = (uintptr_t)address - (uintptr_t)pool->regions[i].base;
        if (offset >= pool->regions[i].size) continue;
        uint32_t index = pool->region_first[i] + (uint32_t)(offset / pool->stride);
        if (index >= hfi_stack_created(pool)) return HF_E_INVALID;
        fill_handle(pool, &pool->slots[index], relaxed_load(pool->slots[index].tag), stack_out);
        return HF_OK;
    }
    return HF_E_INVALID;
}
