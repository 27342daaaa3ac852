/* arenas.c - pymalloc's arenas. arenas.h is the contract.
 * Invariants  a slot is in the list `cached` iff CACHED, its bit is set iff COLD;
 *             used + cached + cold = slots made.
 * Threads     `lock` guards everything but slot->state, which is atomic because lookups take no
 *             lock; reservations are append-only and published by their count.
 * Why         CPython maps and unmaps each arena: on churning programs two thirds of all page
 *             faults come from that. Huge pages are asked for only beyond HUGE_FROM, so that small
 *             programs do not grow by a rounding of 2 MiB.
 * Source      PyObjectArenaAllocator, Doc/c-api/memory.rst; measured in docs/design/0002. */
#include "arenas.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <holdfast/options.h>

#include "base/hooks.h"
#include "os/os.h"
#include "python_api.h"
#include "trim.h"

#define RESERVATION_FIRST   ((size_t)64 << 20)
#define RESERVATION_LARGEST ((size_t)4 << 30)
#define RESERVATION_COUNT   64
#define HUGE_FROM           32 /* arenas in use from which on new ranges get huge pages */
#define WAKE_FROM           2  /* cached arenas from which on the reclaimer is woken     */
#define CHUNK_SIZE          ((size_t)16384) /* of the frame stack, the usual one */
#define CHUNK_COUNT         16

typedef struct reservation {
    char *base;            /* aligned to huge pages                    */
    size_t count;          /* arenas it has room for                   */
    size_t made;           /* arenas cut so far; guarded by: lock      */
    hfi_arena_slot *slots; /* one for each                             */
    uint64_t *cold;        /* a bit for each that is COLD; guarded by: lock */
} reservation;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static reservation reservations[RESERVATION_COUNT];
static _Atomic size_t reservation_count;                   /* SYNC(arenas.reservations) */
static struct { hfi_arena_slot *newest, *oldest; } cached; /* guarded by: lock */
static hfi_arenas_figures figures;                         /* guarded by: lock */
static struct {
    void *address;
    uint64_t freed_ns;
} chunks[CHUNK_COUNT]; /* the first other_cached */

static void state_set(hfi_arena_slot *slot, hfi_slot_state state) {
    /* relaxed: readers without the lock hold the arena, so they saw the value written. */
    atomic_store_explicit(&slot->state, state, memory_order_relaxed);
}

static hfi_slot_state state_of(const hfi_arena_slot *slot) {
    /* relaxed: as in state_set. */
    return (hfi_slot_state)atomic_load_explicit(&slot->state, memory_order_relaxed);
}

static void cached_push(hfi_arena_slot *slot) {
    slot->newer = NULL;
    slot->older = cached.newest;
    if (cached.newest != NULL) cached.newest->newer = slot;
    cached.newest = slot;
    if (cached.oldest == NULL) cached.oldest = slot;
    figures.cached++;
}

static void cached_remove(hfi_arena_slot *slot) {
    if (slot->newer != NULL)
        slot->newer->older = slot->older;
    else
        cached.newest = slot->older;
    if (slot->older != NULL)
        slot->older->newer = slot->newer;
    else
        cached.oldest = slot->newer;
    figures.cached--;
}

static bool huge_wanted(void) {
    uint32_t mode = hf_options_active()->huge_pages;
    if (mode == HF_HUGE_AUTO) return figures.used >= HUGE_FROM;
    return mode == HF_HUGE_ALWAYS;
}

static reservation *reservation_of(const void *address) {
    /* SYNC(arenas.reservations): sees the fields; pairs with the release in reservation_add. */
    size_t count = atomic_load_explicit(&reservation_count, memory_order_acquire);
    for (size_t i = count; i-- > 0;) {
        reservation *r = &reservations[i];
        if ((size_t)((const char *)address - r->base) < r->count * HFI_ARENA_SIZE) return r;
    }
    return NULL;
}

/* Low addresses first: arenas that share a huge page stay together. */
static hfi_arena_slot *cold_take(void) {
    if (figures.cold == 0) return NULL;
    size_t count = atomic_load_explicit(&reservation_count, memory_order_relaxed);
    for (size_t i = 0; i < count; i++) {
        reservation *r = &reservations[i];
        for (size_t word = 0; word < (r->made + 63) / 64; word++) {
            if (r->cold[word] == 0) continue;
            size_t bit = (size_t)__builtin_ctzll(r->cold[word]);
            r->cold[word] &= r->cold[word] - 1;
            figures.cold--;
            return &r->slots[word * 64 + bit];
        }
    }
    return NULL;
}

static reservation *reservation_add(void) {
    size_t count = atomic_load_explicit(&reservation_count, memory_order_relaxed);
    if (count == RESERVATION_COUNT) return NULL;
    size_t size = RESERVATION_FIRST << (count < 6 ? count : 6);
    if (size > RESERVATION_LARGEST) size = RESERVATION_LARGEST;
    char *base = NULL;
    for (; size >= HFI_HUGE_PAGE && base == NULL; size /= 2)
        base = hfi_os_reserve(size, HFI_HUGE_PAGE);
    if (base == NULL) return NULL;
    size *= 2;
    reservation *r = &reservations[count];
    size_t arenas = size / HFI_ARENA_SIZE, words = (arenas + 63) / 64;
    size_t table = arenas * sizeof *r->slots + words * sizeof *r->cold;
    r->slots = hfi_os_map((table + HFI_PAGE - 1) & ~(HFI_PAGE - 1));
    if (r->slots == NULL) {
        hfi_os_unmap(base, size);
        return NULL;
    }
    r->base = base;
    r->count = arenas;
    r->cold = (uint64_t *)(r->slots + arenas);
    r->made = 0;
    figures.bytes_reserved += size;
    /* SYNC(arenas.reservations): publishes the fields; pairs with the acquire in reservation_of. */
    atomic_store_explicit(&reservation_count, count + 1, memory_order_release);
    return r;
}

/* Two arenas become usable at a time, as one huge page would hold them. */
static hfi_arena_slot *fresh_take(void) {
    size_t count = atomic_load_explicit(&reservation_count, memory_order_relaxed);
    reservation *r = count == 0 ? NULL : &reservations[count - 1];
    if (r == NULL || r->made == r->count) r = reservation_add();
    if (r == NULL) return NULL;
    hfi_arena_slot *slot = &r->slots[r->made];
    char *address = r->base + r->made * HFI_ARENA_SIZE;
    if (r->made % 2 == 0) {
        if (hfi_os_commit(address, HFI_HUGE_PAGE) != 0) return NULL;
        if (huge_wanted()) {
            hfi_os_huge(address, HFI_HUGE_PAGE, true);
            slot[0].huge = slot[1].huge = true;
            figures.huge += 2;
        }
    }
    slot->address = address;
    r->made++;
    return slot;
}

static void *arena_take(void) {
    if (!hfi_external_charge(HFI_ARENA_SIZE)) return NULL;
    hfi_arena_slot *slot = cached.newest;
    figures.allocs++;
    if (slot != NULL) {
        cached_remove(slot);
        figures.hits++;
    } else if ((slot = cold_take()) == NULL && (slot = fresh_take()) == NULL) {
        hfi_external_discharge(HFI_ARENA_SIZE);
        return NULL;
    }
    slot->visited_ns = 0;
    slot->parked = 0;
    state_set(slot, HFI_SLOT_USED);
    figures.used++;
    if (figures.used > figures.used_peak) figures.used_peak = figures.used;
    return slot->address;
}

static void arena_purge(hfi_arena_slot *slot) {
    hfi_os_purge(slot->address, HFI_ARENA_SIZE);
    state_set(slot, HFI_SLOT_COLD);
    reservation *r = reservation_of(slot->address);
    size_t index = (size_t)(slot - r->slots);
    r->cold[index / 64] |= (uint64_t)1 << index % 64;
    figures.cold++;
    figures.bytes_returned += HFI_ARENA_SIZE;
}

static void arena_give(hfi_arena_slot *slot, uint64_t now_ns) {
    const hf_options *options = hf_options_active();
    hfi_external_discharge(HFI_ARENA_SIZE);
    figures.used--;
    state_set(slot, HFI_SLOT_CACHED);
    slot->freed_ns = now_ns;
    if (options->decay_ms == 0 || (figures.cached + 1) * HFI_ARENA_SIZE > options->large_cache) {
        arena_purge(slot);
        return;
    }
    cached_push(slot);
}

static void *other_alloc(size_t size) {
    size_t rounded = (size + HFI_PAGE - 1) & ~(HFI_PAGE - 1);
    void *address;
    if (rounded == CHUNK_SIZE && figures.other_cached > 0) {
        address = chunks[--figures.other_cached].address;
    } else {
        address = hfi_os_map(rounded);
    }
    if (address == NULL) return NULL;
    figures.other_used++;
    figures.other_bytes += rounded;
    return address;
}

static void other_free(void *address, size_t size, uint64_t now_ns) {
    size_t rounded = (size + HFI_PAGE - 1) & ~(HFI_PAGE - 1);
    figures.other_used--;
    figures.other_bytes -= rounded;
    if (rounded == CHUNK_SIZE && figures.other_cached < CHUNK_COUNT) {
        chunks[figures.other_cached].address = address;
        chunks[figures.other_cached++].freed_ns = now_ns;
        return;
    }
    hfi_os_unmap(address, rounded);
}

static void *interpreter_alloc(void *context, size_t size) {
    (void)context;
    pthread_mutex_lock(&lock);
    void *address = size == HFI_ARENA_SIZE ? arena_take() : other_alloc(size);
    pthread_mutex_unlock(&lock);
    if (size == HFI_ARENA_SIZE && address != NULL) hfi_trim_note_growth();
    return address;
}

static void interpreter_free(void *context, void *address, size_t size) {
    (void)context;
    uint64_t now_ns = hfi_os_clock_ns();
    bool wake = false;
    pthread_mutex_lock(&lock);
    reservation *r = size == HFI_ARENA_SIZE ? reservation_of(address) : NULL;
    if (r != NULL) {
        arena_give(&r->slots[(size_t)((char *)address - r->base) / HFI_ARENA_SIZE], now_ns);
        wake = figures.cached == WAKE_FROM;
    } else {
        other_free(address, size, now_ns);
    }
    pthread_mutex_unlock(&lock);
    /* Not while the interpreter ends: the process is about to give everything back. */
    if (wake && hfi_python.is_initialized()) hfi_reclaim_wake();
}

void hfi_arenas_start(void) {
    hfi_python_arena_allocator allocator = {NULL, interpreter_alloc, interpreter_free};
    hfi_python.set_arena_allocator(&allocator);
}

uint64_t hfi_arenas_decay(uint64_t now_ns, bool force, bool *left_out) {
    *left_out = true;
    if (pthread_mutex_trylock(&lock) != 0) return 0;
    uint64_t decay_ns = hf_options_active()->decay_ms * 1000000u;
    uint64_t before = figures.bytes_returned;
    for (hfi_arena_slot *slot = cached.oldest, *newer; slot != NULL; slot = newer) {
        newer = slot->newer;
        if (!force && now_ns - slot->freed_ns < decay_ns) break;
        cached_remove(slot);
        arena_purge(slot);
    }
    size_t kept = 0;
    for (size_t i = 0; i < figures.other_cached; i++) {
        if (!force && now_ns - chunks[i].freed_ns < decay_ns) {
            chunks[kept++] = chunks[i];
        } else {
            hfi_os_unmap(chunks[i].address, CHUNK_SIZE);
            figures.bytes_returned += CHUNK_SIZE;
        }
    }
    figures.other_cached = kept;
    uint64_t returned = figures.bytes_returned - before;
    *left_out = cached.oldest != NULL;
    pthread_mutex_unlock(&lock);
    return returned;
}

hfi_arena_slot *hfi_arenas_find(const void *address) {
    reservation *r = reservation_of(address);
    if (r == NULL) return NULL;
    size_t offset = (size_t)((const char *)address - r->base);
    hfi_arena_slot *slot = &r->slots[offset / HFI_ARENA_SIZE];
    return offset % HFI_ARENA_SIZE == 0 && state_of(slot) == HFI_SLOT_USED ? slot : NULL;
}

hfi_arena_slot *hfi_arenas_next(size_t *cursor) {
    size_t count = atomic_load_explicit(&reservation_count, memory_order_acquire);
    size_t first = 0; /* index of the first arena of reservation i */
    for (size_t i = 0; i < count; first += reservations[i++].count) {
        for (; *cursor < first + reservations[i].count; ++*cursor) {
            hfi_arena_slot *slot = &reservations[i].slots[*cursor - first];
            if (state_of(slot) != HFI_SLOT_USED) continue;
            ++*cursor;
            return slot;
        }
    }
    return NULL;
}

hfi_arenas_figures hfi_arenas_read(void) {
    pthread_mutex_lock(&lock);
    hfi_arenas_figures copy = figures;
    pthread_mutex_unlock(&lock);
    return copy;
}

void hfi_arenas_ranges(void (*visitor)(uintptr_t, uintptr_t, const char *, void *), void *context) {
    size_t count = atomic_load_explicit(&reservation_count, memory_order_acquire);
    for (size_t i = 0; i < count; i++) {
        uintptr_t base = (uintptr_t)reservations[i].base;
        if (reservations[i].made == 0) continue;
        visitor(base, base + reservations[i].made * HFI_ARENA_SIZE, "python arenas", context);
    }
}

void hfi_arenas_split_huge(hfi_arena_slot *slot) {
    if (!slot->huge) return;
    pthread_mutex_lock(&lock);
    reservation *r = reservation_of(slot->address);
    size_t even = (size_t)(slot - r->slots) & ~(size_t)1;
    hfi_os_huge(r->base + even * HFI_ARENA_SIZE, HFI_HUGE_PAGE, false);
    r->slots[even].huge = r->slots[even + 1].huge = false;
    figures.huge -= 2;
    pthread_mutex_unlock(&lock);
}

void hfi_arenas_fork_prepare(void) {
    pthread_mutex_lock(&lock);
}

void hfi_arenas_fork_done(void) {
    pthread_mutex_unlock(&lock);
}
