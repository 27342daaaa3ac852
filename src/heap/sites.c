/* sites.c - a hash table of stacks that only grows.
 * Invariants  a site's frames never change once its number is published.
 * Threads     buckets are read with acquire; sites_lock serialises adding, the making of the table too.
 * Fails with  0 when full (a million sites) or memory is short.
 * Source      stack depots of the sanitizers (Serebryany et al. 2012). */
#include "sites.h"

#include <stdatomic.h>
#include <string.h>

#include "base/lock.h"
#include "base/report.h"
#include "base/rng.h"
#include "pages/meta.h"
#include "types.h"

#define BUCKETS     65536u
#define BLOCKS_MAX  1024u
#define BLOCK_SITES 1024u

struct site {
    uint64_t hash;
    uint32_t next; /* number of the next site of the bucket; 0 ends */
    uint32_t count;
    uintptr_t frames[];
};

static hfi_lock sites_lock;
static _Atomic uint32_t *buckets;
static _Atomic(struct site *) *blocks[BLOCKS_MAX]; /* sites by number */
static _Atomic uint32_t site_count;

void hfi_sites_start(void) {
    hfi_lock_init(&sites_lock, HFI_RANK_SITES);
}

static struct site *site_at(uint32_t number) {
    /* relaxed: the number was read with acquire. */
    return atomic_load_explicit(&blocks[number / BLOCK_SITES][number % BLOCK_SITES],
                                memory_order_relaxed);
}

static uint32_t find(uint64_t hash, const uintptr_t *frames, uint32_t count) {
    /* SYNC(sites.bucket): pairs with the release in add. */
    uint32_t number = atomic_load_explicit(&buckets[hash % BUCKETS], memory_order_acquire);
    while (number != 0) {
        const struct site *site = site_at(number);
        if (site->hash == hash && site->count == count &&
            memcmp(site->frames, frames, count * sizeof *frames) == 0)
            return number;
        number = site->next;
    }
    return 0;
}

static uint32_t add(uint64_t hash, const uintptr_t *frames, uint32_t count)
    HF_REQUIRES(sites_lock) {
    uint32_t number = find(hash, frames, count);
    if (number != 0) return number;
    number = atomic_load_explicit(&site_count, memory_order_relaxed) + 1;
    if (number >= BLOCKS_MAX * BLOCK_SITES) return 0;
    struct site *site = hfi_meta_alloc(sizeof *site + count * sizeof *frames);
    if (blocks[number / BLOCK_SITES] == NULL)
        blocks[number / BLOCK_SITES] = hfi_meta_alloc(BLOCK_SITES * sizeof(struct site *));
    if (site == NULL || blocks[number / BLOCK_SITES] == NULL) return 0;
    site->hash = hash;
    site->count = count;
    site->next = atomic_load_explicit(&buckets[hash % BUCKETS], memory_order_relaxed);
    memcpy(site->frames, frames, count * sizeof *frames);
    atomic_store_explicit(&blocks[number / BLOCK_SITES][number % BLOCK_SITES], site,
                          memory_order_relaxed);
    atomic_store_explicit(&site_count, number, memory_order_relaxed);
    /* SYNC(sites.bucket): publishes the site; pairs with the acquire in find. */
    atomic_store_explicit(&buckets[hash % BUCKETS], number, memory_order_release);
    return number;
}

uint32_t hfi_site_here(void) {
    uintptr_t frames[HFI_SITE_FRAMES];
    size_t count = hfi_site_capture_now(frames, HFI_SITE_FRAMES);
    if (count == 0) return 0;
    uint64_t hash = count;
    for (size_t i = 0; i < count; i++)
        hash = hfi_rng_mix(hash ^ frames[i]);
    uint32_t number = hfi_peek(buckets) != NULL ? find(hash, frames, (uint32_t)count) : 0;
    if (number != 0) return number;
    hfi_lock_acquire(&sites_lock);
    if (buckets == NULL) hfi_poke(buckets, hfi_os_map(BUCKETS * sizeof *buckets));
    if (buckets != NULL) number = add(hash, frames, (uint32_t)count);
    hfi_lock_release(&sites_lock);
    return number;
}

size_t hfi_site_text(uint32_t number, char *buffer, size_t size) {
    if (size != 0) buffer[0] = '\0';
    if (number == 0 || number > atomic_load_explicit(&site_count, memory_order_acquire)) return 0;
    const struct site *site = site_at(number);
    return hfi_site_render_to(site->frames, site->count, buffer, size);
}

size_t hfi_sites_count(void) {
    return atomic_load_explicit(&site_count, memory_order_relaxed);
}

void hfi_sites_fork_prepare(void) {
    hfi_lock_acquire(&sites_lock);
}

void hfi_sites_fork_parent(void) {
    hfi_lock_release(&sites_lock);
}

void hfi_sites_fork_child(void) {
    hfi_lock_reinit(&sites_lock);
}
