/* stack_pool.c - stack pools come and go; their figures; fork; the decay.
 *
 *   create: options --> sizes --> table of slots (reserved) --> list of owners
 * Contract    holdfast/stack.h.
 * Invariants  at rest: created == taken + in magazines + warm + cold, and allocs - frees == taken.
 * Talks to    owners, hooks, heap.h (which starts the library).
 * Threads     the pool's lock; create and destroy by whoever owns the pool.
 * Fails with  HF_E_INVALID, HF_E_NO_MEMORY; HF_E_BUSY from destroy; HF_E_CORRUPT from check. */
#include "fiber/stack_pool.h"

#include <holdfast/heap.h>
#include <pthread.h>
#include <string.h>

#include "base/hooks.h"
#include "base/report.h"
#include "fiber/annotate.h"

enum { COUNT_MAX = 1 << 24, TRIM_PER_TICK = 8192 };
#define STACK_MOST     ((size_t)1 << 40)
#define MAGAZINE_BYTES ((size_t)8 << 20) /* of stacks that one thread keeps to itself */

static _Atomic uint32_t thread_places; /* bit i: place i of every thread is somebody's */

static size_t page_up(size_t bytes) {
    return (bytes + HFI_PAGE - 1) & ~(HFI_PAGE - 1);
}

void hf_stack_pool_options_init(hf_stack_pool_options *options) {
    HF_EXPECT(options != NULL);
    *options = (hf_stack_pool_options){.struct_size = sizeof *options,
                                       .count_max = 1 << 22,
                                       .stack_size = (size_t)64 << 10,
                                       .guard_size = (size_t)16 << 10,
                                       .decay_ns = 1000000000u,
                                       .retain = 16,
                                       .name = "stacks"};
}

/* --- figures -------------------------------------------------------------------------------- */

struct census {
    uint64_t created, taken, cached, takes;
};

static struct census count_all(hf_stack_pool *pool) HF_REQUIRES(pool->lock) {
    struct census c = {.created = hfi_stack_created(pool), .takes = pool->takes};
    for (struct hfi_stack_magazine *m = pool->magazines; m != NULL; m = m->next) {
        c.cached += hfi_stack_magazine_count(m);
        c.takes += hfi_stack_magazine_takes(m);
    }
    uint64_t free_ones = c.cached + pool->warm.count + pool->cold.count + pool->moving;
    c.taken = c.created > free_ones ? c.created - free_ones : 0;
    return c;
}

static hf_status owner_stats(void *self, hf_stats *out) {
    hf_stack_pool *pool = self;
    hfi_lock_acquire(&pool->lock);
    struct census c = count_all(pool);
    uint64_t magazine = page_up(sizeof(struct hfi_stack_magazine));
    out->bytes_in_use = c.taken * pool->stack_size;
    out->bytes_cached = c.cached * pool->stack_size;
    out->bytes_free = ((uint64_t)pool->warm.count + pool->moving) * pool->stack_size;
    out->bytes_meta = page_up(sizeof *pool) + pool->slots_committed + pool->names_committed +
                      pool->magazine_count * magazine;
    out->bytes_mapped = out->bytes_in_use + out->bytes_cached + out->bytes_free + out->bytes_meta;
    out->bytes_mapped_peak = pool->peak + out->bytes_meta;
    if (out->bytes_mapped_peak < out->bytes_mapped) out->bytes_mapped_peak = out->bytes_mapped;
    out->bytes_returned = pool->returned;
    out->allocs = c.takes;
    out->frees = c.takes - c.taken; /* what was taken and is not out has been given */
    out->blocks_in_use = c.taken;
    out->cache_refills = pool->refills;
    out->cache_flushes = pool->flushes;
    out->failures = pool->failures;
    out->limit_hits = pool->limit_hits;
    out->purges = pool->purges;
    out->threads = pool->magazine_count;
    out->lock_waits = pool->lock.waits;
    out->lock_wait_ns = pool->lock.wait_ns;
    out->reports = atomic_load_explicit(&pool->reports, memory_order_relaxed);
    hfi_lock_release(&pool->lock);
    return HF_OK;
}

hf_status hf_stack_pool_stats(hf_stack_pool *pool, hf_stats *stats_out) {
    HF_EXPECT(pool != NULL);
    HF_EXPECT(stats_out != NULL);
    hf_stats stats = {.struct_size = sizeof stats};
    hf_status status = owner_stats(pool, &stats);
    if (status == HF_OK) *stats_out = stats;
    return status;
}

hf_status hf_stack_pool_info_get(hf_stack_pool *pool, hf_stack_pool_info *info_out) {
    HF_EXPECT(pool != NULL);
    HF_EXPECT(info_out != NULL);
    hfi_lock_acquire(&pool->lock);
    struct census c = count_all(pool);
    *info_out = (hf_stack_pool_info){
        .struct_size = sizeof *info_out,
        .light_guards = pool->light,
        .stack_size = pool->stack_size,
        .guard_size = pool->guard_size,
        .count = c.created,
        .count_taken = c.taken,
        .count_max = pool->count_max,
        .regions = atomic_load_explicit(&pool->region_count, memory_order_relaxed),
        .high_water_max = atomic_load_explicit(&pool->high_water_max, memory_order_relaxed)};
    hfi_lock_release(&pool->lock);
    return HF_OK;
}

const char *hf_stack_pool_name(const hf_stack_pool *pool) {
    HF_EXPECT(pool != NULL);
    return pool->name;
}

static const char *disagreement(hf_stack_pool *pool) HF_REQUIRES(pool->lock) {
    struct census c = count_all(pool);
    uint64_t warm = 0, cold = 0, taken = 0;
    for (int32_t i = pool->warm.head; i >= 0; i = hfi_stack_slot_at(pool, i)->next, warm++)
        if (hfi_stack_is_taken(hfi_stack_slot_at(pool, i)) || warm > pool->warm.count)
            return "a warm stack is taken";
    for (int32_t i = pool->cold.head; i >= 0; i = hfi_stack_slot_at(pool, i)->next, cold++)
        if (hfi_stack_is_taken(hfi_stack_slot_at(pool, i)) || cold > pool->cold.count)
            return "a cold stack is taken";
    if (warm != pool->warm.count || cold != pool->cold.count) return "lists and counts differ";
    for (uint64_t i = 0; i < c.created; i++)
        taken += hfi_stack_is_taken(&pool->slots[i]);
    if (taken != c.taken) return "tags and lists differ";
    return c.taken <= c.takes ? NULL : "more is taken than ever was";
}

hf_status hf_stack_pool_check(hf_stack_pool *pool) {
    HF_EXPECT(pool != NULL);
    hfi_lock_acquire(&pool->lock);
    const char *what = disagreement(pool);
    hfi_lock_release(&pool->lock);
    if (what == NULL) return HF_OK;
    hf_report report = {
        .kind = HF_REPORT_METADATA, .found_by = "check", .address = pool, .owner = pool->name};
    memcpy(report.name, what, strlen(what)); /* all shorter than a name */
    atomic_fetch_add_explicit(&pool->reports, 1, memory_order_relaxed);
    hfi_report_emit(&report);
    return HF_E_CORRUPT;
}

/* --- decay and fork ------------------------------------------------------------------------- */

struct tick {
    uint64_t now_ns, given;
    int force;
    bool more;
};

static void tick_pool(void *self, void *context) {
    hf_stack_pool *pool = self;
    struct tick *tick = context;
    hfi_lock_acquire(&pool->lock);
    /* A magazine is idle if nothing happened in it for half the decay time. */
    if (tick->force || tick->now_ns - pool->withdrawn_ns >= pool->decay_ns / 2) {
        pool->withdrawn_ns = tick->now_ns;
        hfi_stack_withdraw(pool, tick->force != 0);
    }
    hfi_lock_release(&pool->lock);
    tick->given += hfi_stack_trim(pool, tick->force != 0, tick->force ? UINT32_MAX : TRIM_PER_TICK);
    hfi_lock_acquire(&pool->lock);
    bool more = pool->warm.count > pool->retain;
    for (struct hfi_stack_magazine *m = pool->magazines; m != NULL && !more; m = m->next)
        more = hfi_stack_magazine_count(m) > 0;
    hfi_lock_release(&pool->lock);
    tick->more |= more;
}

static uint64_t decay_hook(uint64_t now_ns, int force) {
    struct tick tick = {.now_ns = now_ns, .force = force};
    hfi_owners_each(HF_OWNER_STACKS, tick_pool, &tick);
    if (tick.more) hfi_reclaim_wake();
    return tick.given;
}

size_t hf_stack_pool_trim(hf_stack_pool *pool) {
    HF_EXPECT(pool != NULL);
    hfi_lock_acquire(&pool->lock);
    hfi_stack_withdraw(pool, true);
    hfi_lock_release(&pool->lock);
    return hfi_stack_trim(pool, true, UINT32_MAX);
}

static void owner_fork(void *self, enum hfi_fork moment) HF_NO_THREAD_SAFETY {
    hf_stack_pool *pool = self;
    if (moment == HFI_FORK_PREPARE) {
        hfi_lock_acquire_peer(&pool->lock);
    } else if (moment == HFI_FORK_PARENT) {
        hfi_lock_release(&pool->lock);
    } else {
        hfi_lock_reinit(&pool->lock);
        hfi_stack_cache_fork_child(pool);
    }
}

/* --- create and destroy --------------------------------------------------------------------- */

static uint32_t place_take(void) {
    uint32_t places = atomic_load(&thread_places);
    for (;;) {
        uint32_t place = (uint32_t)__builtin_ctz(~places);
        if (place >= HFI_STACK_POOLS_CACHED) return HFI_STACK_POOLS_CACHED;
        if (atomic_compare_exchange_weak(&thread_places, &places, places | 1u << place))
            return place;
    }
}

static void place_give(uint32_t place) {
    if (place < HFI_STACK_POOLS_CACHED) atomic_fetch_and(&thread_places, ~(1u << place));
}

static bool options_are_sane(const hf_stack_pool_options *o) {
    return o->struct_size == sizeof *o && o->stack_size >= HFI_PAGE &&
           o->stack_size <= STACK_MOST && o->guard_size >= 1 && o->guard_size <= STACK_MOST &&
           o->count_max >= 1 && o->count_max <= COUNT_MAX;
}

static bool table_reserve(hf_stack_pool *pool) {
    pool->table_slots = page_up((size_t)pool->count_max * sizeof *pool->slots);
    size_t names = page_up((size_t)pool->count_max * sizeof *pool->names);
    if (hfi_region_reserve(&pool->table, pool->table_slots + names, HFI_PAGE, HFI_PAGE) != 0)
        return false;
    pool->slots = (struct hfi_stack_slot *)pool->table.base;
    pool->names = (char(*)[HF_STACK_NAME_MAX + 1])(pool->table.base + pool->table_slots);
    return true;
}

static void pool_init(hf_stack_pool *pool, const hf_stack_pool_options *o) {
    pool->stack_size = page_up(o->stack_size);
    pool->guard_size = page_up(o->guard_size);
    pool->stride = pool->stack_size + pool->guard_size;
    pool->count_max = o->count_max;
    pool->decay_ns = o->decay_ns;
    pool->retain = o->retain > UINT32_MAX ? UINT32_MAX : (uint32_t)o->retain;
    if (o->decay_ns == 0) pool->retain = 0;
    pool->light = !o->own_mapping && hfi_os_guard_is_light();
    pool->paint = o->paint != 0;
    pool->valgrind = !o->unregistered && hfi_valgrind_is_here();
    pool->odd = pool->paint || pool->valgrind || hfi_asan_is_here();
    size_t fit = MAGAZINE_BYTES / pool->stack_size;
    pool->magazine_capacity = o->decay_ns == 0 || pool->odd ? 0
                              : fit < 2                     ? 2
                              : fit > HFI_STACK_MAGAZINE    ? HFI_STACK_MAGAZINE
                                                            : (uint32_t)fit;
    pool->warm = pool->cold = (struct hfi_stack_list){HFI_STACK_NONE, HFI_STACK_NONE, 0};
    hfi_lock_init(&pool->lock, HFI_RANK_OWNER);
    if (o->name != NULL) memcpy(pool->name, o->name, strnlen(o->name, HF_STACK_NAME_MAX));
}

hf_status hf_stack_pool_create(const hf_stack_pool_options *options, hf_stack_pool **pool_out) {
    HF_EXPECT(pool_out != NULL);
    hf_stack_pool_options standard;
    if (options == NULL) {
        hf_stack_pool_options_init(&standard);
        options = &standard;
    }
    if (!options_are_sane(options)) return HF_E_INVALID;
    (void)hf_heap_default(); /* fork handlers, decay and limits are its doing */
    hf_stack_pool *pool = hfi_os_map(page_up(sizeof *pool));
    if (pool == NULL) return HF_E_NO_MEMORY;
    pool_init(pool, options);
    if (!table_reserve(pool)) {
        hfi_os_unmap(pool, page_up(sizeof *pool));
        return HF_E_NO_MEMORY;
    }
    uint32_t place = pool->magazine_capacity > 0 ? place_take() : HFI_STACK_POOLS_CACHED;
    pool->thread_offset = (size_t)place * HFI_STACK_CACHED_SIZE;
    if (place == HFI_STACK_POOLS_CACHED) pool->magazine_capacity = 0;
    pool->owner = (struct hfi_owner_entry){.kind = HF_OWNER_STACKS,
                                           .name = pool->name,
                                           .stats = owner_stats,
                                           .fork = owner_fork,
                                           .self = pool};
    hfi_owners_add(&pool->owner);
    pool->id = pool->owner.id;
    hfi_reclaim_hook_add(decay_hook);
    *pool_out = pool;
    return HF_OK;
}

hf_status hf_stack_pool_destroy(hf_stack_pool *pool) {
    if (pool == NULL) return HF_OK;
    hfi_lock_acquire(&pool->lock);
    struct census c = count_all(pool);
    hfi_lock_release(&pool->lock);
    if (c.taken > 0) return HF_E_BUSY;
    hfi_owners_remove(&pool->owner);
    /* Nobody else looks any more. */
    hfi_lock_acquire(&pool->lock);
    uint64_t warm = c.created - pool->cold.count;
    hfi_stack_magazines_free(pool);
    hfi_lock_release(&pool->lock);
    hfi_external_discharge(warm * pool->stack_size);
    hfi_stack_regions_release(pool);
    hfi_region_release(&pool->table);
    place_give((uint32_t)(pool->thread_offset / HFI_STACK_CACHED_SIZE));
    hfi_os_unmap(pool, page_up(sizeof *pool));
    return HF_OK;
}

static hf_stack_pool *default_pool;
static pthread_once_t default_once = PTHREAD_ONCE_INIT;

static void default_make(void) {
    (void)hf_stack_pool_create(NULL, &default_pool);
}

hf_stack_pool *hf_stack_pool_default(void) {
    (void)pthread_once(&default_once, default_make);
    return default_pool;
}
