/* trim.c - memory inside live arenas goes back. trim.h is the contract.
 *
 *   a free pool:  first visit  class := NO_CLASS (a mark that use wipes away)
 *                 next visit   still marked: parked - taken off the list, its 16 KiB given back
 *   parked pools on top of the arena become "never taken" again; the others stay parked until the
 *   arena is free, which happens sooner: total_pools no longer counts them.
 *
 * Invariants  free_pools, total_pools, free_list, next_pool, the slot's parked bits and the usable
 *             list agree whenever the interpreter may run. An arena without live pools is never
 *             parked away: pymalloc could not free it any more.
 * Threads     `trim_lock` keeps passes apart. Under it the interpreter is still, or its GIL is
 *             ours.
 * Why         parking, not just emptying: a free pool that stays listed keeps its header, so 4 of
 *             its 16 KiB; after a load spike that alone was 15 of 47 MB (docs/design/0002).
 * Talks to    gil.h, pymalloc.h, squeeze.h, arenas.h, os, base/hooks.h.   Called by cpython.c. */
#include "trim.h"

#include <pthread.h>
#include <stdatomic.h>

#include <holdfast/options.h>

#include "arenas.h"
#include "base/hooks.h"
#include "gil.h"
#include "os/os.h"
#include "pymalloc.h"
#include "python_api.h"
#include "squeeze.h"

#define ARENAS_FROM  6           /* fewer are left alone: a small program has nothing to give  */
#define HELD_NS      200000u     /* the interpreter is kept still for about this long at most  */
#define PASS_NS      20000000u   /* one tick works for about this long                         */
#define QUIET_PASSES 3u          /* without a find before passes become rare                   */
#define QUIET_NS     1000000000u /* between rare passes                                        */
#define LOCATE_TRIES 64u

typedef struct pass {
    uint64_t now_ns;
    bool force;
    bool found;     /* something was marked or given back    */
    bool changed;   /* free_pools of an arena: lists are old */
    uint64_t bytes; /* given back                            */
} pass;

static pthread_mutex_t trim_lock = PTHREAD_MUTEX_INITIALIZER;
static hfi_pymalloc pymalloc;    /* guarded by: trim_lock                         */
static bool located;             /* guarded by: trim_lock                         */
static unsigned locate_tries;    /* guarded by: trim_lock                         */
static size_t cursor;            /* next index in the table; guarded by: trim_lock */
static bool found_in_round;      /* guarded by: trim_lock                         */
static uint64_t round_ns;        /* when the last round ended                     */
static hfi_trim_figures figures; /* guarded by: trim_lock, read without           */
static _Atomic uint32_t quiet;   /* rounds without a find                         */
static _Atomic uint32_t gil_tries;

static uint64_t settle_ns(void) {
    return hf_options_active()->decay_ms * 1000000u / 2;
}

static void give_up(const char *why) {
    hfi_part_set(HFI_PART_TRIM, false, why);
}

static uint32_t fingerprint(const hfi_pool *pool) {
    uint64_t mixed = pool->count + ((uint64_t)pool->next_offset << 16) +
                     ((uint64_t)pool->class_index << 32) +
                     ((uint64_t)(uintptr_t)pool->free_block << 24);
    mixed *= 0x9e3779b97f4a7c15u;
    return (uint32_t)(mixed >> 32) & ~1u; /* the lowest bit says: squeezed already */
}

/* Gives back whole pools; neighbours in one call. */
static size_t purge_pools(hfi_arena_slot *slot, uint64_t pools) {
    hfi_arenas_split_huge(slot);
    size_t bytes = 0;
    for (unsigned first = 0; first < HFI_ARENA_POOLS;) {
        unsigned run = 0;
        while (first + run < HFI_ARENA_POOLS && (pools >> (first + run) & 1) != 0)
            run++;
        if (run == 0) {
            first++;
            continue;
        }
        hfi_os_purge(slot->address + first * HFI_ARENA_POOL_SIZE, run * HFI_ARENA_POOL_SIZE);
        bytes += run * HFI_ARENA_POOL_SIZE;
        first += run;
    }
    return bytes;
}

/* Marks free pools; returns those that were marked already. */
static uint64_t mark_free(const hfi_arena_object *arena, uint64_t free_pools, pass *p) {
    uint64_t marked = 0;
    for (uint64_t left = free_pools; left != 0; left &= left - 1) {
        unsigned index = (unsigned)__builtin_ctzll(left);
        hfi_pool *pool = (hfi_pool *)(arena->address + index * HFI_ARENA_POOL_SIZE);
        if (p->force || pool->class_index == HFI_POOL_NO_CLASS) {
            marked |= (uint64_t)1 << index;
        } else {
            pool->class_index = HFI_POOL_NO_CLASS;
            p->found = true;
        }
    }
    return marked;
}

/* Takes `leave` off the free list and off the arena. */
static void park(hfi_arena_object *arena, hfi_arena_slot *slot, uint64_t leave, unsigned carved) {
    hfi_pool **link = &arena->free_list;
    uint32_t listed = 0;
    for (hfi_pool *pool = arena->free_list, *next; pool != NULL; pool = next) {
        next = pool->next;
        if ((leave >> ((uintptr_t)pool - arena->address) / HFI_ARENA_POOL_SIZE & 1) != 0) continue;
        *link = pool;
        link = &pool->next;
        listed++;
    }
    *link = NULL;
    uint64_t parked = slot->parked | leave;
    while (carved > 0 && (parked >> (carved - 1) & 1) != 0)
        parked &= ~((uint64_t)1 << --carved);
    slot->parked = parked;
    arena->next_pool = (char *)arena->address + carved * HFI_ARENA_POOL_SIZE;
    arena->total_pools = HFI_ARENA_POOLS - (uint32_t)__builtin_popcountll(parked);
    arena->free_pools = listed + HFI_ARENA_POOLS - carved;
}

/* An arena must go on having two pools at least. Where the last pool of an arena is free the
 * interpreter takes the arena off its list; with one pool only that would be its first free one, and
 * the arena not on the list. */
static uint64_t keep_two(const hfi_arena_slot *slot, uint64_t leave) {
    bool alone = leave != 0 && __builtin_popcountll(slot->parked | leave) == HFI_ARENA_POOLS - 1;
    return alone ? leave & (leave - 1) : leave;
}

static void squeeze_live(const hfi_arena_object *arena, hfi_arena_slot *slot, uint64_t live,
                         bool settled, pass *p) {
    for (; live != 0; live &= live - 1) {
        unsigned index = (unsigned)__builtin_ctzll(live);
        hfi_pool *pool = (hfi_pool *)(arena->address + index * HFI_ARENA_POOL_SIZE);
        uint32_t print = fingerprint(pool);
        if (slot->seen[index] == (print | 1)) continue;
        if (!p->force && (!settled || slot->seen[index] != print)) {
            p->found = true;
            slot->seen[index] = print;
            continue;
        }
        size_t bytes = hfi_pool_squeeze(pool);
        slot->seen[index] = fingerprint(pool) | 1;
        if (bytes == 0) continue;
        hfi_arenas_split_huge(slot);
        figures.pools_squeezed++;
        p->bytes += bytes;
        p->found = true;
    }
}

/* Looks at one arena. False: it is not what it should be, and was not touched. */
static bool visit(hfi_arena_object *arena, uint32_t index, pass *p) {
    hfi_arena_slot *slot = hfi_arenas_find((void *)arena->address);
    uint64_t free_pools;
    unsigned carved;
    if (slot == NULL) return false;
    bool settled = slot->visited_ns != 0 && p->now_ns - slot->visited_ns >= settle_ns();
    if (!p->force && !settled && slot->visited_ns != 0) {
        p->found = true; /* too early: come again */
        return true;
    }
    if (!hfi_pymalloc_arena_check(arena, index, slot, &free_pools, &carved)) return false;
    if (slot->visited_ns == 0) {
        for (unsigned i = 0; i < HFI_ARENA_POOLS; i++)
            slot->seen[i] = 1;
    }
    slot->visited_ns = p->now_ns;
    figures.scans++;
    uint64_t below = carved == HFI_ARENA_POOLS ? ~(uint64_t)0 : ((uint64_t)1 << carved) - 1;
    uint64_t live = below & ~free_pools & ~slot->parked;
    uint64_t leave = mark_free(arena, free_pools, p);
    if (live == 0 && leave != free_pools)
        leave = 0; /* all or nothing: something must stay listed */
    if (live == 0 && leave != 0) leave |= slot->parked;
    leave = keep_two(slot, leave);
    if (leave != 0) {
        park(arena, slot, leave, carved);
        p->bytes += purge_pools(slot, leave);
        figures.pools_parked += (uint64_t)__builtin_popcountll(leave);
        p->changed = p->found = true;
    }
    squeeze_live(arena, slot, live, settled, p);
    return true;
}

/* Visits arenas until the time is over. True if it came to the end of the table. */
static bool visit_some(pass *p, uint64_t until_ns) {
    size_t count = hfi_pymalloc_count(&pymalloc);
    if (count == 0 || !hfi_pymalloc_check(&pymalloc, count)) {
        give_up("pymalloc's lists are not as expected");
        return true;
    }
    hfi_arena_object *table = *pymalloc.table;
    p->changed = false;
    bool right = true;
    for (; cursor < count && right; cursor++) {
        if (table[cursor].address == 0) continue;
        right = visit(&table[cursor], (uint32_t)cursor, p);
        if (hfi_os_clock_ns() >= until_ns) {
            cursor++;
            break;
        }
    }
    if (p->changed) hfi_pymalloc_relink(&pymalloc, count);
    if (!right) give_up("an arena is not as expected");
    return cursor >= count || !right;
}

/* The interpreter is still. False: trim is off, or not ready. */
static bool ready(void) {
    if (located) return true;
    const char *why = NULL;
    hfi_found found = hfi_pymalloc_locate(&pymalloc, &why);
    if (found == HFI_FOUND_NEVER) give_up(why);
    if (found == HFI_FOUND_NOT_YET && ++locate_tries == LOCATE_TRIES) {
        give_up("pymalloc's tables were not found");
    }
    located = found == HFI_FOUND;
    if (located) hfi_part_set(HFI_PART_TRIM, true, "pymalloc's tables were found and agree");
    return located;
}

static void end_round(uint64_t now_ns) {
    cursor = 0;
    round_ns = now_ns;
    if (found_in_round) {
        atomic_store_explicit(&quiet, 0, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&quiet, 1, memory_order_relaxed);
    }
    found_in_round = false;
}

/* Holds of HELD_NS with the interpreter free to run in between. */
static uint64_t run(pass *p) {
    uint64_t end_ns = hfi_os_clock_ns() + PASS_NS;
    bool done = false;
    while (!done && (p->force || hfi_os_clock_ns() < end_ns)) {
        if (!hfi_gil_try()) {
            figures.turned_away++;
            found_in_round = true;
            break;
        }
        uint64_t begin_ns = hfi_os_clock_ns();
        done = !ready() || visit_some(p, begin_ns + HELD_NS);
        hfi_gil_release();
        uint64_t held_ns = hfi_os_clock_ns() - begin_ns;
        if (held_ns > figures.held_ns_max) figures.held_ns_max = held_ns;
    }
    found_in_round |= p->found || !located;
    if (done) end_round(p->now_ns);
    figures.bytes_returned += p->bytes;
    return p->bytes;
}

void hfi_trim_start(void) {
    hfi_part_set(HFI_PART_TRIM, true, "waiting for enough arenas to recognise pymalloc by");
}

void hfi_trim_note_growth(void) {
    if (!hfi_part_is_on(HFI_PART_TRIM)) return;
    atomic_store_explicit(&quiet, 0, memory_order_relaxed);
    size_t at = 0;
    for (unsigned i = 0; i < ARENAS_FROM; i++) {
        if (hfi_arenas_next(&at) == NULL) return;
    }
    if (!hfi_gil_locate() &&
        atomic_fetch_add_explicit(&gil_tries, 1, memory_order_relaxed) == LOCATE_TRIES) {
        give_up("the interpreter lock was not recognised");
        return;
    }
    hfi_reclaim_wake();
}

uint64_t hfi_trim_tick(uint64_t now_ns, bool force, bool *left_out) {
    *left_out = false;
    if (!hfi_part_is_on(HFI_PART_TRIM) || !hfi_gil_is_known()) return 0;
    bool rare = atomic_load_explicit(&quiet, memory_order_relaxed) >= QUIET_PASSES;
    *left_out = !rare;
    if (rare && !force && now_ns - round_ns < QUIET_NS) return 0;
    if (pthread_mutex_trylock(&trim_lock) != 0) return 0;
    pass p = {.now_ns = now_ns, .force = force};
    uint64_t bytes = run(&p);
    pthread_mutex_unlock(&trim_lock);
    *left_out = atomic_load_explicit(&quiet, memory_order_relaxed) < QUIET_PASSES;
    return bytes;
}

uint64_t hfi_trim_now(void) {
    if (!hfi_part_is_on(HFI_PART_TRIM) || !hfi_gil_is_mine()) return 0;
    pthread_mutex_lock(&trim_lock);
    pass p = {.now_ns = hfi_os_clock_ns(), .force = true};
    if (ready()) {
        cursor = 0;
        visit_some(&p, UINT64_MAX);
        cursor = 0;
        figures.bytes_returned += p.bytes;
    }
    pthread_mutex_unlock(&trim_lock);
    return p.bytes;
}

hfi_trim_figures hfi_trim_read(void) {
    return figures;
}

void hfi_trim_fork_prepare(void) {
    pthread_mutex_lock(&trim_lock);
}

void hfi_trim_fork_done(void) {
    pthread_mutex_unlock(&trim_lock);
}
