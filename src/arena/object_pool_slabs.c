/* object_pool_slabs.c - the slabs of one pool: made, taken from lowest first, given back, purged.
 * Contract    see object_pool.h.
 * Invariants  open bit i <=> slab i is neither FULL nor QUARANTINED; a purged slab is EMPTY and has
 *             no memory and no charge; made == slab_count * slab_size.
 * Threads     under the pool's lock.
 * Fails with  HF_E_LIMIT (the pool's capacity, or the process's limit), HF_E_NO_MEMORY.
 * Why         Lowest first packs live blocks at the low end, so that slabs of the high end empty. */
#include <string.h>

#include "arena/object_pool.h"
#include "base/hooks.h"
#include "pages/meta.h"

#define COMMIT_MOST ((size_t)4 << 20)
#define FIRST_TABLE 64u
#define IDLE_TICKS  2u

static void mapped_add(hf_pool *pool, size_t bytes) {
    pool->bytes_mapped += bytes;
    if (pool->bytes_mapped > pool->bytes_mapped_peak) pool->bytes_mapped_peak = pool->bytes_mapped;
}

void hfi_objects_note_meta(hf_pool *pool, size_t before, size_t now) {
    pool->bytes_meta += now - before;
    mapped_add(pool, now - before);
}

static void open_set(hf_pool *pool, uint32_t slab, bool open) {
    uint64_t bit = UINT64_C(1) << (slab % 64);
    if (open) {
        pool->open[slab / 64] |= bit;
        if (slab / 64 < pool->open_hint) pool->open_hint = slab / 64;
    } else {
        pool->open[slab / 64] &= ~bit;
    }
}

static struct hfi_slab *open_first(hf_pool *pool) {
    uint32_t words = (pool->slab_count + 63) / 64;
    for (uint32_t w = pool->open_hint; w < words; w++) {
        pool->open_hint = w;
        if (pool->open[w] != 0)
            return pool->slabs[w * 64 + (uint32_t)__builtin_ctzll(pool->open[w])];
    }
    return NULL;
}

static uint32_t slab_number(const hf_pool *pool, const struct hfi_slab *slab) {
    return (uint32_t)((size_t)(slab->base - pool->base) / pool->slab_size);
}

/* Tables with room for one slab more. */
static bool tables_grow(hf_pool *pool) HF_REQUIRES(pool->lock) {
    if (pool->slab_count < pool->slab_room) return true;
    uint32_t room = pool->slab_room == 0 ? FIRST_TABLE : pool->slab_room * 2;
    struct hfi_slab **slabs = hfi_meta_alloc(room * sizeof *slabs);
    uint64_t *open = hfi_meta_alloc(room / 8);
    if (slabs == NULL || open == NULL) {
        hfi_meta_free(slabs, room * sizeof *slabs);
        hfi_meta_free(open, room / 8);
        return false;
    }
    if (pool->slab_count != 0) {
        memcpy(slabs, pool->slabs, pool->slab_count * sizeof *slabs);
        memcpy(open, pool->open, pool->slab_room / 8);
    }
    hfi_meta_free(pool->slabs, pool->slab_room * sizeof *slabs);
    hfi_meta_free(pool->open, pool->slab_room / 8);
    hfi_objects_note_meta(pool, pool->slab_room * (sizeof *slabs) + pool->slab_room / 8,
                          room * (sizeof *slabs) + room / 8);
    pool->slabs = slabs;
    pool->open = open;
    pool->slab_room = room;
    return true;
}

/* Some more than is needed at once, so that a large pool asks the system less often. */
static int commit(struct hfi_region *region, size_t bytes, size_t step, int node) {
    if (bytes <= region->committed) return 0;
    size_t ahead = region->committed < COMMIT_MOST ? region->committed : COMMIT_MOST;
    if (ahead > step && region->size - region->committed > ahead &&
        hfi_region_commit(region, region->committed + ahead, false, node) == 0)
        return 0;
    return hfi_region_commit(region, bytes, false, node);
}

/* Blocks the pool may still make: all that are not out of service count. */
static uint64_t room_left(const hf_pool *pool) {
    uint64_t standing = pool->standing;
    if (!pool->bounded) return UINT64_MAX;
    for (uint32_t i = 0, left = pool->quarantined_count; left != 0; i++) {
        const struct hfi_slab *slab = pool->slabs[i];
        uint32_t first = i << pool->slab_shift;
        if (slab->state != HFI_SLAB_QUARANTINED) continue;
        standing += hfi_object_counts_of(pool, first, first + slab->count).live;
        left--;
    }
    return standing < pool->capacity ? pool->capacity - standing : 0;
}

/* Memory of the caller is the caller's to account for. */
static bool slab_charge(const hf_pool *pool, const struct hfi_slab *slab) {
    return pool->borrowed || hfi_external_charge(hfi_object_slab_bytes(pool, slab));
}

static hf_status slab_make(hf_pool *pool) HF_REQUIRES(pool->lock) {
    uint64_t room = room_left(pool);
    if (room == 0) return HF_E_LIMIT;
    uint32_t count = UINT32_C(1) << pool->slab_shift;
    if (room < count) count = (uint32_t)room;
    size_t made = (size_t)pool->slab_count * pool->slab_size;
    size_t states = (size_t)pool->slab_count << pool->slab_shift;
    if (made + pool->slab_size > pool->region.size)
        return pool->borrowed ? HF_E_LIMIT : HF_E_NO_MEMORY;
    if (!tables_grow(pool)) return HF_E_NO_MEMORY;
    size_t states_before = pool->state_region.committed;
    if (commit(&pool->state_region, states + (UINT32_C(1) << pool->slab_shift), HFI_PAGE, -1) != 0)
        return HF_E_NO_MEMORY;
    hfi_objects_note_meta(pool, states_before, pool->state_region.committed);
    if (commit(&pool->region, made + pool->slab_size, pool->slab_size, pool->node) != 0)
        return HF_E_NO_MEMORY;
    struct hfi_slab *slab = hfi_meta_alloc(hfi_slab_meta_size(count));
    if (slab == NULL) return HF_E_NO_MEMORY;
    hfi_slab_init(slab, pool->base + made, 0, pool->stride, 0, count);
    if (!slab_charge(pool, slab)) {
        hfi_meta_free(slab, hfi_slab_meta_size(count));
        pool->limit_hits++;
        return HF_E_LIMIT;
    }
    slab->number = pool->slab_count;
    hfi_objects_note_meta(pool, 0, hfi_slab_meta_size(count));
    mapped_add(pool, hfi_object_slab_bytes(pool, slab));
    for (uint32_t i = 0; i < count; i++)
        atomic_store_explicit(&pool->states[states + i], HFI_OBJECT_FREE, memory_order_relaxed);
    pool->slabs[pool->slab_count] = slab;
    open_set(pool, pool->slab_count, true);
    pool->slab_count++;
    pool->standing += count;
    /* SYNC(pool.made): publishes the states; pairs with the acquire in hfi_objects_made. */
    atomic_store_explicit(&pool->made, made + pool->slab_size, memory_order_release);
    return HF_OK;
}

/* A purged slab gets memory again by being touched; its charge is due first. */
static bool slab_wake(hf_pool *pool, struct hfi_slab *slab) {
    slab->idle = 0;
    if (!slab->purged) return true;
    if (!slab_charge(pool, slab)) {
        pool->limit_hits++;
        return false;
    }
    slab->purged = false;
    mapped_add(pool, hfi_object_slab_bytes(pool, slab));
    return true;
}

uint32_t hfi_objects_take(hf_pool *pool, uint32_t *indexes_out, uint32_t wanted, uint8_t to,
                          hf_status *why_out) {
    uint32_t got = 0;
    void *batch[HFI_OBJECT_BATCH];
    while (got < wanted) {
        struct hfi_slab *slab = open_first(pool);
        if (slab == NULL) {
            if (why_out == NULL || got != 0) break; /* one block is enough to go on with */
            *why_out = slab_make(pool);
            if (*why_out != HF_OK) break;
            continue;
        }
        if (!slab_wake(pool, slab)) {
            if (why_out != NULL) *why_out = HF_E_LIMIT;
            break;
        }
        uint32_t ask = wanted - got < HFI_OBJECT_BATCH ? wanted - got : HFI_OBJECT_BATCH;
        uint32_t fresh = slab->fresh, number = slab_number(pool, slab);
        uint32_t first = number << pool->slab_shift, count = hfi_slab_take(slab, batch, ask);
        for (uint32_t i = 0; i < count; i++) {
            size_t offset = (size_t)((char *)batch[i] - pool->base);
            uint32_t index = (uint32_t)hfi_object_index(pool, offset);
            if (pool->sanitize == HF_POOL_PATTERN && index - first >= fresh)
                hfi_object_fill(pool, batch[i]);
            if (pool->borrowed && pool->sanitize == HF_POOL_ZERO && index - first >= fresh)
                memset(batch[i], 0, pool->stride);
            /* SYNC(pool.state): with the block goes its content. */
            atomic_store_explicit(&pool->states[index], to, memory_order_release);
            indexes_out[got++] = index;
        }
        slab->state = slab->taken == slab->count ? HFI_SLAB_FULL : HFI_SLAB_PARTIAL;
        if (slab->state == HFI_SLAB_FULL) open_set(pool, number, false);
    }
    return got;
}

void hfi_objects_give(hf_pool *pool, uint32_t index) {
    uint32_t number = index >> pool->slab_shift;
    struct hfi_slab *slab = pool->slabs[number];
    hf_assert(slab->state != HFI_SLAB_QUARANTINED, index);
    enum hfi_slab_give given = hfi_slab_give(slab, index - (number << pool->slab_shift));
    HF_EXPECT(given == HFI_SLAB_GIVEN, index);
    open_set(pool, number, true);
    slab->state = slab->taken == 0 ? HFI_SLAB_EMPTY : HFI_SLAB_PARTIAL;
    slab->idle = 0;
}

void hfi_objects_drop(hf_pool *pool, void *block) {
    uint32_t index = (uint32_t)hfi_object_index(pool, (size_t)((char *)block - pool->base));
    if (hfi_object_step(pool, index, HFI_OBJECT_LIVE, HFI_OBJECT_FREE))
        hfi_objects_give(pool, index);
    else
        (void)hfi_object_step(pool, index, HFI_OBJECT_DOOMED, HFI_OBJECT_QUARANTINED);
}

static bool word_has(const hf_pool *pool, uint32_t index, uint8_t state) {
    uint64_t differ = hfi_object_states(pool, index) ^ (HFI_OBJECT_EACH * state);
    return ((differ - HFI_OBJECT_EACH) & ~differ & (HFI_OBJECT_EACH << 7)) != 0;
}

/* The next index from `from` on, below `end`, that is in `state`; `end` if there is none. Both are
 * multiples of 8 where slabs have 8 blocks or more. */
static uint32_t state_find(const hf_pool *pool, uint32_t from, uint32_t end, uint8_t state) {
    uint32_t i = from;
    while (i < end) {
        if (i % 8 == 0 && end - i >= 8 && !word_has(pool, i, state)) {
            i += 8;
            continue;
        }
        if (atomic_load_explicit(&pool->states[i], memory_order_seq_cst) == state) return i;
        i++;
    }
    return end;
}

bool hfi_objects_take_back(hf_pool *pool, uint32_t *index_out, uint32_t *hints_out,
                           uint32_t *extra) {
    uint32_t made = hfi_objects_made(pool), start = pool->cursor < made ? pool->cursor : 0;
    uint32_t wanted = *extra, named = 0;
    bool claimed = false;
    for (int round = 0; round < 2; round++) {
        uint32_t i = round == 0 ? start : 0, end = round == 0 ? made : start;
        while ((i = state_find(pool, i, end, HFI_OBJECT_CACHED)) < end) {
            if (!claimed) {
                claimed = hfi_object_step(pool, i, HFI_OBJECT_CACHED, HFI_OBJECT_LIVE);
                if (claimed) *index_out = i;
            } else if (named < wanted) {
                hints_out[named++] = i;
            }
            i++;
            if (claimed && named == wanted) {
                round = 2;
                break;
            }
        }
        pool->cursor = i;
    }
    pool->taken_back += claimed ? 1 + named : 0;
    *extra = named;
    return claimed;
}

void hfi_objects_take_back_all(hf_pool *pool) {
    uint32_t made = hfi_objects_made(pool), i = 0;
    while ((i = state_find(pool, i, made, HFI_OBJECT_CACHED)) < made) {
        if (hfi_object_step(pool, i, HFI_OBJECT_CACHED, HFI_OBJECT_FREE)) {
            hfi_objects_give(pool, i);
            pool->taken_back++;
        }
        i++;
    }
}

size_t hfi_objects_purge(hf_pool *pool, bool force, bool *more_out) {
    size_t given = 0;
    if (pool->borrowed) return 0;
    for (uint32_t i = 0; i < pool->slab_count; i++) {
        struct hfi_slab *slab = pool->slabs[i];
        if (slab->state != HFI_SLAB_EMPTY || slab->purged) continue;
        if (!force && ++slab->idle < IDLE_TICKS) {
            *more_out = true;
            continue;
        }
        size_t from = (size_t)(slab->base - pool->base), bytes = hfi_object_slab_bytes(pool, slab);
        (void)hfi_region_purge(&pool->region, from, from + bytes);
        hfi_external_discharge(bytes);
        slab->purged = true;
        slab->fresh = 0;
        pool->bytes_mapped -= bytes;
        pool->bytes_returned += bytes;
        pool->purges++;
        given += bytes;
    }
    return given;
}

void hfi_objects_quarantine(hf_pool *pool, uint32_t index) {
    uint32_t number = index >> pool->slab_shift, first = number << pool->slab_shift;
    struct hfi_slab *slab = pool->slabs[number];
    if (slab->state == HFI_SLAB_QUARANTINED) return;
    slab->state = HFI_SLAB_QUARANTINED;
    pool->quarantined_count++;
    pool->standing -= slab->count;
    open_set(pool, number, false);
    for (uint32_t i = first; i < first + slab->count; i++) {
        /* Each block is in one of these, and moves meanwhile. */
        while (!hfi_object_step(pool, i, HFI_OBJECT_FREE, HFI_OBJECT_QUARANTINED) &&
               !hfi_object_step(pool, i, HFI_OBJECT_CACHED, HFI_OBJECT_QUARANTINED) &&
               !hfi_object_step(pool, i, HFI_OBJECT_LIVE, HFI_OBJECT_DOOMED) &&
               !hfi_object_step(pool, i, HFI_OBJECT_RELEASING, HFI_OBJECT_DOOMED) &&
               hfi_object_state_of(pool, i) != HFI_OBJECT_QUARANTINED &&
               hfi_object_state_of(pool, i) != HFI_OBJECT_DOOMED) {
        }
    }
}

/* Space for all blocks; *slabs may become fewer. */
static bool region_start(hf_pool *pool, uint64_t *slabs_inout) {
    uint64_t slabs = *slabs_inout;
    size_t size = slabs * pool->slab_size;
    /* Address space that is rationed (RLIMIT_AS) is left to others for the most part. */
    bool rationed = false;
    while (hfi_region_reserve(&pool->region, size, HFI_PAGE, HFI_PAGE) != 0) {
        if (pool->bounded || slabs <= 1) return false;
        slabs = slabs / 2;
        size = slabs * pool->slab_size;
        rationed = true;
    }
    if (rationed && slabs >= 16) {
        hfi_region_release(&pool->region);
        slabs /= 8;
        if (hfi_region_reserve(&pool->region, slabs * pool->slab_size, HFI_PAGE, HFI_PAGE) != 0)
            return false;
    }
    *slabs_inout = slabs;
    return true;
}

static void region_end(hf_pool *pool) {
    if (!pool->borrowed) hfi_region_release(&pool->region);
}

bool hfi_objects_start(hf_pool *pool, uint64_t blocks_max, char *buffer) {
    uint64_t slabs = (blocks_max + (UINT64_C(1) << pool->slab_shift) - 1) >> pool->slab_shift;
    size_t size = slabs * pool->slab_size; /* of the last slab, a buffer may hold a part */
    if (pool->borrowed)
        pool->region = (struct hfi_region){.base = buffer, .size = size, .committed = size};
    else if (!region_start(pool, &slabs))
        return false;
    size_t states = (size_t)(slabs << pool->slab_shift);
    states = hfi_page_up(states);
    if (hfi_region_reserve(&pool->state_region, states, HFI_PAGE, HFI_PAGE) != 0) {
        region_end(pool);
        return false;
    }
    pool->base = pool->region.base;
    pool->states = (_Atomic uint8_t *)pool->state_region.base;
    return true;
}

void hfi_objects_end(hf_pool *pool) {
    for (uint32_t i = 0; i < pool->slab_count; i++) {
        struct hfi_slab *slab = pool->slabs[i];
        if (!slab->purged && !pool->borrowed)
            hfi_external_discharge(hfi_object_slab_bytes(pool, slab));
        hfi_meta_free(slab, hfi_slab_meta_size(slab->count));
    }
    hfi_meta_free(pool->slabs, pool->slab_room * sizeof *pool->slabs);
    hfi_meta_free(pool->open, pool->slab_room / 8);
    region_end(pool);
    hfi_region_release(&pool->state_region);
}
